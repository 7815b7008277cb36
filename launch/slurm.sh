#!/bin/bash
# Trains on a Slurm cluster, one process per accelerator; preempted, it saves, and is queued again to go on.
#
#   sbatch --nodes=4 --gpus-per-node=8 --ntasks-per-node=8 launch/slurm.sh --config=quickstart --workdir=/shared/runs/faces
#
# The workdir must lie on a file system that all nodes see. Everything after the script's name goes to `geodesic train`;
# PROGRAM=evaluate (or embed, search) runs that instead. GEODESIC is the command, where it is not that of .venv.
#SBATCH --job-name=geodesic
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
# Preempted or out of time: SIGTERM to the steps of srun 120 s before the end, in which they save.
#SBATCH --signal=TERM@120
# Lost with its node, or preempted: queued again.
#SBATCH --requeue
set -u

GEODESIC=${GEODESIC:-.venv/bin/geodesic}
PROGRAM=${PROGRAM:-train}

# --kill-on-bad-exit: a process that is lost takes the others with it at once. jax finds them by Slurm's environment.
srun --kill-on-bad-exit=1 --wait=60 $GEODESIC "$PROGRAM" "$@" &
step=$!
# --signal reaches the steps, a preempting scheduler this script alone: hand it on.
trap 'scancel --signal=TERM "$SLURM_JOB_ID"' TERM
wait "$step"
status=$?
if [ "$status" -gt 128 ] && kill -0 "$step" 2>/dev/null; then  # the trap interrupted the wait, not the step
    wait "$step"
    status=$?
fi

# 143: stopped by SIGTERM, and saved. 75: it hung, and its stacks are in stalled.txt. Both go on from the checkpoint.
if [ "$status" -eq 143 ] || [ "$status" -eq 75 ]; then
    echo "ended with status $status: queued again"
    scontrol requeue "$SLURM_JOB_ID"
    sleep 30
fi
exit "$status"
