#!/usr/bin/env bash
# Builds the image: BASE=python:3.13-slim-trixie TAG=remit:0.1.0 images/build.sh
# BASE is any Debian-like image with Python 3.11 or newer (images/base.sh makes one where no registry can be reached).
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
version=$("$python" -c 'from importlib.metadata import version; print(version("remit"))')
base=${BASE:-$(sed -n 's/^ARG BASE=//p' Dockerfile)}
tag=${TAG:-remit:$version}
command -v docker >/dev/null || { echo "images: found no docker, expected it on PATH" >&2; exit 2; }
docker image inspect "$base" >/dev/null 2>&1 || docker pull "$base" >&2 ||
    { echo "images: $base is not here and cannot be pulled; BASE=NAME names another, images/base.sh makes one" >&2; exit 2; }

# What the base is decides which wheels are fetched, and whether its build needs a network.
read -r minor machine glibc nft < <(docker run --rm --network=none --entrypoint python3 "$base" -c '
import os, platform, shutil, sys
print("%d.%d" % sys.version_info[:2], platform.machine(), os.confstr("CS_GNU_LIBC_VERSION").split()[1],
      "nft" if shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin") else "none")')
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
"$python" images/context.py --python "$minor" --machine "$machine" --glibc "$glibc"

network=()
[ "$nft" = none ] || network=(--network=none)
# A client without buildx can only use the old builder.
docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=${DOCKER_BUILDKIT:-0}
docker build "${network[@]}" --tag "$tag" \
    --build-arg BASE="$base" \
    --build-arg VERSION="$version" \
    --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
    --build-arg CREATED="$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" \
    --build-arg SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" \
    .
echo "images: built $tag from $base" >&2
