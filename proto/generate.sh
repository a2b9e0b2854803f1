#!/bin/sh
# Generates sidecar/remit/v1 from proto/remit/v1 into the folder given (default: in place).
set -eu
cd "$(dirname "$0")/.."
out="${1:-sidecar}"
mkdir -p "$out/remit/v1"
"${PYTHON:-.venv/bin/python}" -m grpc_tools.protoc -I proto --python_out="$out" --pyi_out="$out" --grpc_python_out="$out" \
    proto/remit/v1/*.proto
: > "$out/remit/v1/__init__.py"
