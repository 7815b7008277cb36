#!/bin/bash
# Trains on a TPU slice that was made with `gcloud compute tpus tpu-vm create` (or as a queued resource): from a checkout of
# this code on your own machine, with gcloud logged in.
#
#   launch/tpu_vm.sh NAME ZONE install
#   launch/tpu_vm.sh NAME ZONE start --config=quickstart --workdir=gs://bucket/runs/faces
#   launch/tpu_vm.sh NAME ZONE log | stop | fetch gs://bucket/runs/faces
#
# install: copies what git has committed to all hosts, and makes an environment there (uv brings its own Python). start: on
# all hosts, in the background, again for as long as the status says so. log: the end of the first host's log. stop: SIGTERM,
# at which the run saves. fetch: writes the report of an evaluated run on the first host, and copies it here.
# The workdir must lie where all hosts see it: in a bucket (gs://...), or on a volume that they share.
set -eu
[ $# -ge 3 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2; }
name=$1 zone=$2 action=$3
shift 3
cd "$(dirname "$0")/.."
on() { gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker="$1" --command="$2"; }

case $action in
install)
    archive=$(mktemp -d)/geodesic.tar.gz
    git archive --format=tar.gz --output="$archive" HEAD
    gcloud compute tpus tpu-vm scp "$archive" "$name:geodesic.tar.gz" --zone="$zone" --worker=all
    on all 'set -e
        mkdir -p geodesic && tar -xzf geodesic.tar.gz -C geodesic && cd geodesic
        python3 -m pip install --quiet --user uv && uv="python3 -m uv"
        [ -x .venv/bin/python ] || $uv venv --quiet --python 3.12 .venv
        $uv pip install --quiet --python .venv/bin/python -r requirements-tpu.txt -e ".[gcs]"'
    ;;
start)
    words=$(printf ' %q' "$@")
    on all "cd geodesic && { nohup launch/again.sh .venv/bin/geodesic train$words > train.log 2>&1 < /dev/null &
        echo \$! > train.pid; }"
    ;;
log) on 0 'tail -n 40 geodesic/train.log' ;;
stop) on all 'kill -TERM "$(cat geodesic/train.pid)"' ;;
fetch)
    on 0 "cd geodesic && JAX_PLATFORMS=cpu .venv/bin/geodesic report --workdir=$(printf %q "$1")"  # no TPU is taken
    case $1 in
    gs://*) gcloud storage cp "$1/report.html" . ;;
    *) gcloud compute tpus tpu-vm scp "$name:$1/report.html" . --zone="$zone" --worker=0 ;;
    esac
    ;;
*) echo "error: there is no action '$action': install, start, log, stop, fetch" >&2; exit 2 ;;
esac
