#!/usr/bin/env bash
# Makes a base image of Debian packages where no registry can be reached: images/base.sh [NAME]
# Needs root, mmdebstrap, a Debian mirror that apt can reach, and a Docker daemon.
set -euo pipefail
name=${1:-remit-base:bookworm}
suite=${SUITE:-bookworm}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
command -v mmdebstrap >/dev/null || { echo "images/base.sh: found no mmdebstrap, expected it (Debian: apt-get install mmdebstrap)" >&2; exit 2; }
# Python and nftables only: pip comes with the build, and apt's lists would age in the image.
packages=python3,nftables,ca-certificates
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$(dirname "$0")" log -1 --format=%ct 2>/dev/null || echo 0)}
mmdebstrap --quiet --variant=minbase --include="$packages" \
    --aptopt='Acquire::Languages "none"' --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/cache/ldconfig/* "$1"/var/log/*.log "$1"/var/log/apt' \
    "$suite" - "$mirror" |
    docker import -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' -c 'ENV LANG=C.UTF-8' \
        -c 'CMD ["python3"]' - "$name"
