#!/usr/bin/env bash
# Prints the path of the image as a docker-archive; builds it first where none is kept of these very sources.
# Needs no registry: unless BASE names another, the base is made by images/base.sh; where no Docker daemon answers,
# one is started for the build (as root).
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -n 1)
base=${BASE:-remit-base:${SUITE:-bookworm}}
# What goes in: by content, so that a commit elsewhere builds nothing.
sources() {
    printf '%s\n' "$base"
    find Dockerfile .dockerignore pyproject.toml README.md images requirements/server.txt requirements/pip.txt sidecar/remit \
        rego/remit rego/capabilities.json -type f ! -name '*.pyc' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
}
hash=$(sources | sha256sum | cut -c 1-16)
kept=${XDG_CACHE_HOME:-$HOME/.cache}/remit
archive=$kept/image-$hash.tar
if [ -s "$archive" ]; then
    printf '%s\n' "$archive"
    exit
fi
mkdir -p "$kept"
exec 9>"$kept/image.lock"
flock 9 # two at once would only be slower
started='' part=''
cleanup() {
    [ -z "$part" ] || rm -f "$part"
    [ -z "$started" ] || images/daemon.sh stop "$started"
}
trap cleanup EXIT
provide_base() {
    docker image inspect "$base" >/dev/null 2>&1 && return
    local made
    made=$kept/image-base-$({ printf '%s\n' "$base" && cat images/base.sh; } | sha256sum | cut -c 1-16).tar
    if [ ! -s "$made" ]; then
        images/base.sh "$base" >&2
        part=$(mktemp "$kept/image-build-XXXXXX")
        docker save --output "$part" "$base"
        mv "$part" "$made"
        part=''
    fi
    docker load --quiet --input "$made" >&2
}
if [ ! -s "$archive" ]; then
    if ! docker version >/dev/null 2>&1; then
        started=$(mktemp -d /tmp/remit-docker-XXXXXX)
        images/daemon.sh start "$started" 9>&-
        export DOCKER_HOST=unix://$started/docker.sock
    fi
    [ -n "${BASE:-}" ] || provide_base
    BASE=$base TAG=remit:$version images/build.sh >&2
    part=$(mktemp "$kept/image-build-XXXXXX")
    docker save --output "$part" "remit:$version"
    chmod 644 "$part"
    mv "$part" "$archive"
    part=''
    # Each is half a gigabyte: what nobody has built for a day goes.
    find "$kept" -maxdepth 1 -name 'image-*.tar' ! -name 'image-base-*' -mtime +0 -delete
fi
printf '%s\n' "$archive"
