# Remit's one image: sidecar, desk and lock-down, with the OPA and the Envoy that it runs.
# `make image` prepares dist/image (images/context.py) and builds; see docs/images.md.
#
# BASE is anything Debian-like with Python 3.11 or newer. Nothing is fetched here but nftables, and that only where the
# base has none: everything else lies in the context, each by its hash.
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS base
USER root
RUN python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || { echo "remit: expected a BASE with Python 3.11 or newer, found $(python3 -V)" >&2; exit 2; }
RUN command -v nft >/dev/null \
    || { apt-get update -qq && apt-get install -y -qq --no-install-recommends nftables; } \
    || { echo "remit: BASE has no nft (the lock-down needs it), and it could not be installed: use a base that has nftables (images/base.sh), or build with a network" >&2; exit 2; } \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/ldconfig/* /var/log/*.log /var/log/apt
COPY images/root.py /tmp/root.py
RUN python3 -I /tmp/root.py && rm /tmp/root.py

FROM base AS build
ARG SOURCE_DATE_EPOCH=0
ARG VERSION=0
COPY dist/image /context
COPY images/assemble.py images/sbom.py /context/
RUN SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} python3 -B /context/assemble.py /context "${VERSION}"

FROM base
ARG VERSION=0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="remit" \
      org.opencontainers.image.description="Gives each AI agent its remit: what it may do, see, pass on and spend." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
# What changes least comes first: a new Remit is one small layer.
COPY --from=build /usr/local/bin/envoy /usr/local/bin/envoy
COPY --from=build /usr/local/bin/opa /usr/local/bin/opa
COPY --from=build /opt/remit /opt/remit
COPY --from=build /usr/share/remit /usr/share/remit
# The state is the only place that is written to; where it is mounted, temporary files lie beside it.
ENV PATH=/opt/remit/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/remit \
    TMPDIR=/var/lib/remit \
    XDG_CACHE_HOME=/opt/remit/cache \
    REMIT_STATE=/var/lib/remit/state \
    REMIT_OPA_BIN=/usr/local/bin/opa \
    REMIT_ENVOY_BIN=/usr/local/bin/envoy
WORKDIR /var/lib/remit
USER 7450:7450
ENTRYPOINT ["/opt/remit/bin/remit"]
