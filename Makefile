# `make demo` and `make test` do all the set-up on a fresh machine: Python ≥ 3.11, git and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOCKS := requirements/build.txt requirements/dev.txt
# Compiled files are kept even where the environment says not to: tests and demo start Python hundreds of times.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test lint generate bench soak lock image clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

setup: $(READY) opa envoy htmx ## virtual environment with locked dependencies, OPA, Envoy and htmx

$(READY): $(LOCKS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "remit: found $$($(PYTHON) -V), expected Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements/build.txt -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

.PHONY: opa
opa: $(READY)
	@$(BIN)/remit opa install

.PHONY: envoy
envoy: $(READY)
	@$(BIN)/remit envoy install

.PHONY: htmx
htmx: $(READY)
	@$(BIN)/python -m remit.backends.htmx_install

demo: setup ## the product at work: the same agents without Remit, then with it (ARGS=--keep leaves it running)
	@$(BIN)/remit demo $(ARGS)

test: setup tools lint ## everything that CI runs
	@tests/packages.sh
	REMIT_PROFILE=$${REMIT_PROFILE:-ci} $(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder

.PHONY: test-cluster tools
test-cluster: setup ## the chart on a real API server and a real node, without a container registry; the node needs root
	@tests/cluster/packages.sh
	@PYTHON=$(BIN)/python tests/cluster/tools/install.sh cluster >/dev/null
	REMIT_CLUSTER=1 $(BIN)/python -m pytest -q --timeout=900 tests/cluster tests/images

tools: $(READY) ## what the tests of the chart run: helm, kubeconform, promtool
	@PYTHON=$(BIN)/python tests/cluster/tools/install.sh static >/dev/null

lint: $(READY) opa ## formats, types, import directions, proto, policies, generated code
	@tests/lint.sh

generate: $(READY) opa ## rewrite what is generated: proto and Envoy stubs, policy dispatch, capabilities, dashboards
	PYTHON=$(BIN)/python proto/generate.sh
	$(BIN)/python proto/generate_envoy.py
	$(BIN)/python rego/generate.py
	$(BIN)/python -m helm.grafana

bench: setup ## measure; prints a table and writes bench/latest.json
	PYTHONPATH=tests $(BIN)/python -m bench.run

soak: setup ## the full counts of the crash, race and property harnesses (hours)
	REMIT_PROFILE=soak $(BIN)/python -m pytest -q --timeout=0 tests/stateful tests/crash tests/race tests/contracts tests/core \
		tests/integration/test_egress_cuts.py tests/integration/test_egress_budgets.py tests/integration/test_egress_mutants.py \
		tests/integration/test_egress_litellm.py tests/integration/test_store_million.py \
		tests/integration/test_views_oracle.py tests/integration/test_views_leaks.py tests/integration/test_views_pairs.py

lock: $(READY) ## resolve the dependencies anew and lock them with hashes
	tests/lock.sh

image: setup ## build the container image (BASE=python:3.13-slim-trixie TAG=remit:VERSION); see docs/images.md
	@images/build.sh

clean: ## remove the virtual environment and what tests leave behind
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis artefacts
