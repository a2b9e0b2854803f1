#!/usr/bin/env bash
# Installs what `make test-cluster` runs beside the tools that it builds, where it is missing: as root on Debian only.
# Elsewhere the tests that need it are skipped, and say what is missing.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"
missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need etcd etcd-server
need ip iproute2
need containerd containerd
need runc runc
need dockerd docker.io
need mmdebstrap mmdebstrap
need prometheus prometheus
[ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
[ "${#missing[@]}" -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0
printf '%s\n' "tests: installing ${missing[*]}" >&2
apt-get update -qq >/dev/null 2>&1 || true
# The tests start their own; whatever the packages would start now is left alone.
RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    printf '%s\n' "tests: could not install ${missing[*]}; the tests that need them are skipped" >&2
