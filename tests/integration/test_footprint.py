"""What a sidecar does not use it does not load: its memory and its start are every pod's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

UNUSED = (
    *("sqlglot", "remit.pep.query", "remit.core.view.rewrite"),  # queries: no dataset is in the catalogue
    *("remit.app.console", "starlette", "uvicorn", "jinja2", "authlib", "httpx2"),  # the console
    *("remit.app.mcp_stdio", "remit.listeners.mcp_stdio", "mcp"),  # MCP
    *("genai_prices", "pydantic"),  # public prices: no service has any
    *("rich", "openai", "anthropic", "testcontainers", "remit.demo"),
)
CATALOGUE = """\
currency: USD
teams: {cx: {}}
agents:
  support: {team: cx, roles: [worker], identity: {token_hash: "sha256:%s"}}
services:
  tickets:
    kind: http
    owner: cx
    endpoints: {here: {url: "http://127.0.0.1:9"}}
    routes: [{path: /tickets, operation: list}]
""" % ("0" * 64)
DATASET = """\
datasets:
  crm: {owner: cx, url: "sqlite:///%s", tables: {people: {columns: {id: []}}}}
"""
# Started as `remit up` is; once it is ready it says what it has loaded, and ends.
STARTED = """
import json, os, signal, sys, threading, time, urllib.request
from pathlib import Path
from remit.cli.entry import main

def watch(state, told):
    while True:
        time.sleep(0.05)
        try:
            listed = json.loads(state.joinpath("addresses.json").read_text())["addresses"]
            urllib.request.urlopen(listed[-1] + "/readyz", timeout=2)
            break
        except OSError:
            continue
    told.write_text(json.dumps(sorted(sys.modules)))
    os.kill(os.getpid(), signal.SIGTERM)

state, told = Path(sys.argv.pop(1)), Path(sys.argv.pop(1))
threading.Thread(target=watch, args=(state, told), daemon=True).start()
main()
"""


def loaded(directory: Path, catalogue: str) -> set[str]:
    """The modules of a sidecar with its egress, once it is ready."""
    file, told, state = directory / "remit.yaml", directory / "told.json", directory / "state"
    file.write_text(catalogue, encoding="utf-8")
    given = ["up", "--catalogue", file, "--state", state, "--socket", directory / "s", "--grpc", "off"]
    given += ["--http", "127.0.0.1:0", "--egress", "--egress-http", "127.0.0.1:0", "--egress-proxy", "off"]
    ran = subprocess.run(
        [sys.executable, "-c", STARTED, state, told, *given],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return set(json.loads(told.read_text(encoding="utf-8")))


def test_a_sidecar_that_serves_no_dataset_no_page_and_no_mcp_loads_none_of_them(tmp_path: Path) -> None:
    """Features are imported on first use."""
    found = loaded(tmp_path, CATALOGUE)

    assert "remit.pep.egress" in found
    assert [name for name in UNUSED if name in found] == []


def test_what_a_catalogue_needs_is_loaded_before_anybody_waits_for_it(tmp_path: Path) -> None:
    """The same look finds what reads SQL where a dataset is served, loaded before the first query."""
    found = loaded(tmp_path, CATALOGUE + DATASET % (tmp_path / "crm.db"))

    assert {"sqlglot", "remit.pep.query"} <= found
