#!/bin/bash
# A Slurm cluster of this one machine, for tests/slurm_test.py. As root, on Debian:
#
#   apt-get install --no-install-recommends slurm-wlm munge
#   tests/slurm/setup.sh start FOLDER     the daemons, with their configuration and logs in FOLDER
#   tests/slurm/setup.sh stop FOLDER
#
# SLURM_CONF=FOLDER/slurm.conf then tells srun, sbatch and the others where it is.
set -eu
action=$1 folder=$(realpath -m "$2")
host=$(hostname -s)

stop_daemon() {
    [ -f "$folder/$1.pid" ] && kill "$(cat "$folder/$1.pid")" 2>/dev/null || true
}

if [ "$action" = stop ]; then
    for daemon in slurmd slurmctld munged; do stop_daemon $daemon; done
    exit 0
fi

mkdir -p "$folder/state" "$folder/spool" "$folder/munge"
chmod 755 "$folder"
cat > "$folder/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0
MpiDefault=none
ReturnToService=2
KillWait=60
JobRequeue=1
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
CONF
head -c 1024 /dev/urandom > "$folder/munge/key"
chmod 700 "$folder/munge"
chmod 600 "$folder/munge/key"
chmod 711 "$folder/munge"
munged --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" --force
export SLURM_CONF="$folder/slurm.conf"
slurmctld -c
slurmd -c
for _ in $(seq 60); do
    sinfo --noheader --format=%T 2>/dev/null | grep -q idle && exit 0
    sleep 0.5
done
echo "the node did not become idle:" >&2
sinfo >&2 || true
tail -n 5 "$folder/slurmctld.log" "$folder/slurmd.log" >&2
exit 1
