#!/bin/bash
# Trains on GPUs of a Slurm cluster, one process for each; preempted, it saves, and is queued again to go on.
#
#   sbatch --nodes=4 --gpus-per-node=8 --ntasks-per-node=8 launch/slurm.sh --config=quickstart --workdir=/shared/runs/faces
#
# The workdir must lie on a file system that all nodes see. Everything after the script's name goes to `geodesic train`;
# PROGRAM=evaluate (or embed, search) runs that instead. GEODESIC is the command, where it is not that of .venv.
# RESTARTS: how often it is queued again at most (100).
#SBATCH --job-name=geodesic
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
# Preempted or out of time: SIGTERM to the steps of srun 120 s before the end, in which they save.
#SBATCH --signal=TERM@120
# Lost with its node, or preempted: queued again.
#SBATCH --requeue
set -u

export GEODESIC=${GEODESIC:-.venv/bin/geodesic}
export PROGRAM=${PROGRAM:-train}
# A process that ends with status 1 has said in a line what a person must mend, and leaves a mark: the status of the step
# is the highest of all processes', which is that of those who have lost it.
export MARK=$PWD/.geodesic-$SLURM_JOB_ID.failed
rm -f "$MARK"

# --kill-on-bad-exit: a process that is lost takes the others with it at once. jax finds them by Slurm's environment.
# The shell between them outlives SIGTERM, which its program gets too.
srun --kill-on-bad-exit=1 --wait=60 bash -c 'trap : TERM
    $GEODESIC "$PROGRAM" "$@"
    status=$?
    [ "$status" -ne 1 ] || : > "$MARK"
    exit "$status"' geodesic "$@" &
step=$!
# --signal reaches the steps, a preempting scheduler this script alone: hand it on.
trap 'scancel --signal=TERM "$SLURM_JOB_ID"' TERM
wait "$step"
status=$?
if [ "$status" -gt 128 ] && kill -0 "$step" 2>/dev/null; then  # the trap interrupted the wait, not the step
    wait "$step"
    status=$?
fi

if [ -e "$MARK" ]; then
    rm -f "$MARK"
    exit 1
fi
# 75: it hung (its stacks are in stalled.txt), or another process is lost. 143: stopped by SIGTERM, and saved. 134, 137,
# 139: ended by the system. All go on from the last checkpoint.
if { [ "$status" -eq 75 ] || [ "$status" -gt 128 ]; } && [ "${SLURM_RESTART_COUNT:-0}" -lt "${RESTARTS:-100}" ]; then
    echo "ended with status $status: queued again"
    scontrol requeue "$SLURM_JOB_ID"
    sleep 30
fi
exit "$status"
