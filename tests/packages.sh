#!/usr/bin/env bash
# Installs what the tests of lock-down and dashboards run, where it is missing: as root on Debian only. Elsewhere they skip.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"
missing=()
command -v nft >/dev/null || missing+=(nftables)
command -v ip6tables >/dev/null || missing+=(iptables)
command -v ip >/dev/null || missing+=(iproute2)
command -v prometheus >/dev/null || missing+=(prometheus)
[ "${#missing[@]}" -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0
printf '%s\n' "tests: installing ${missing[*]}" >&2
apt-get update -qq >/dev/null 2>&1 || true
# What a package would start of itself is left alone.
RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    printf '%s\n' "tests: could not install ${missing[*]}; the tests that need them are skipped" >&2
