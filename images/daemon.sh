#!/usr/bin/env bash
# A Docker daemon of one's own, for a machine that runs none: images/daemon.sh start|stop DIRECTORY
# It is at unix://DIRECTORY/docker.sock, has no network and no bridge, and keeps everything in the directory. Needs root.
set -euo pipefail
place=${2:?expected: images/daemon.sh start|stop DIRECTORY}
case ${1:-} in
start)
    command -v dockerd >/dev/null || { echo "images: found no dockerd, expected it (Debian: apt-get install docker.io)" >&2; exit 2; }
    mkdir -p "$place"
    setsid dockerd --host "unix://$place/docker.sock" --data-root "$place/data" --exec-root "$place/exec" \
        --pidfile "$place/pid" --bridge=none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false \
        </dev/null >"$place/log" 2>&1 &
    for _ in $(seq 300); do
        DOCKER_HOST=unix://$place/docker.sock docker version >/dev/null 2>&1 && exit 0
        kill -0 $! 2>/dev/null || break
        sleep 0.2
    done
    echo "images: the Docker daemon did not start: $(tail -n 3 "$place/log")" >&2
    exit 3
    ;;
stop)
    [ -s "$place/pid" ] || exit 0
    pid=$(cat "$place/pid")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 150); do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
    kill -0 "$pid" 2>/dev/null && { echo "images: the Docker daemon $pid does not end" >&2; exit 3; }
    rm -rf "$place"
    ;;
*)
    echo "images: found ${1:-nothing}, expected: images/daemon.sh start|stop DIRECTORY" >&2
    exit 2
    ;;
esac
