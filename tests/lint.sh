#!/usr/bin/env bash
# Formats, types, import directions, proto, generated code and policies; stops at the first that is not clean.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
opa="$("$bin/remit" opa path)"

say() { printf '%s\n' "lint: $1"; }

say "ruff"
"$bin/ruff" format --check --quiet .
"$bin/ruff" check --quiet .
say "mypy"
"$bin/mypy" --no-error-summary
say "import directions"
"$bin/lint-imports" --config pyproject.toml >/dev/null || "$bin/lint-imports" --config pyproject.toml
say "proto"
(cd proto && "../$bin/buf" lint)
drawn="$(mktemp -d)"
trap 'rm -rf "$drawn"' EXIT
PYTHON="$bin/python" proto/generate.sh "$drawn"
diff -r --exclude=__pycache__ "$drawn/remit/v1" sidecar/remit/v1 || { say "generated code is stale: make generate"; exit 1; }
# Envoy's messages are drawn from a pinned wheel, fetched once; where no index can be reached, CI's word has to do.
code=0
"$bin/python" proto/generate_envoy.py "$drawn" || code=$?
if [ "$code" = 3 ]; then
    say "Envoy's messages are not compared: skipped"
else
    [ "$code" = 0 ] && diff -r --exclude=__pycache__ "$drawn/remit/_envoy" sidecar/remit/_envoy \
        || { say "generated code is stale: make generate"; exit 1; }
fi
say "policies"
"$opa" fmt --fail --diff rego/remit >/dev/null || { "$opa" fmt --diff rego/remit; exit 1; }
"$opa" check --strict --schema rego/remit/schemas rego/remit
regal="${REGAL:-$(command -v regal || true)}"
if [ -n "$regal" ]; then "$regal" lint rego; else say "regal is not installed (set REGAL to its path): skipped"; fi
say "clean"
