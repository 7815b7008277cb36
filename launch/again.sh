#!/bin/bash
# Gives a command again as long as its status says that the same command goes on (docs/pods.md): for machines on which no
# scheduler does.
#
#   launch/again.sh .venv/bin/geodesic train --config=quickstart --workdir=/shared/runs/faces
#
# SIGTERM and Ctrl-C go to the command, which saves, and end this too. TRIES: how often at most (100).
set -u
stopped=
trap 'stopped=yes; kill -TERM "$child" 2>/dev/null' TERM INT HUP
for try in $(seq "${TRIES:-100}"); do
    "$@" &
    child=$!
    wait "$child"
    status=$?
    while kill -0 "$child" 2>/dev/null; do  # the trap interrupted the wait, not the command
        wait "$child"
        status=$?
    done
    # 75: it hung, or another process is lost. Above 128: a signal, of the system or of whoever took the machine.
    if [ -n "$stopped" ] || { [ "$status" -ne 75 ] && [ "$status" -le 128 ]; }; then
        exit "$status"
    fi
    echo "ended with status $status (try $try): the same command again" >&2
    sleep "${PAUSE:-10}"
done
exit "$status"
