"""A real sidecar with its egress in front of local providers, and agents with only the environment of `remit env`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from fakes.ports import free_port
from fakes.provider import KEYS
from remit.backends.store_sqlite import open_journal
from remit.cli.records import Entry, from_row

AGENTS = Path(__file__).parents[1] / "e2e" / "agents"
TOKEN = "rmt_of_an_agent_in_the_tests"
CATALOGUE = """\
currency: EUR
teams: {cx: {contact: "#cx"}}
agents:
  support: {team: cx, roles: [support], purposes: [support], identity: {token_hash: "sha256:HASH"}}
services:
  openai:
    owner: cx
    kind: openai
    endpoints: {here: {url: "PROVIDER", region: eu}}
    credentials: [{file: openai.key}]
    variants: {gpt-small: {}}
  anthropic:
    owner: cx
    kind: anthropic
    endpoints: {here: {url: "PROVIDER", region: eu}}
    credentials: [{file: anthropic.key}]
    variants: {claude-small: {}}
  clock:
    owner: cx
    kind: mcp
    endpoints: {here: {url: "TOOLS", region: eu}}
    operations: [add]
prices:
  - {match: "openai/*", unit: input_token, per: 1_000_000, amount: 2, currency: EUR}
  - {match: "openai/*", unit: cache_read_token, per: 1_000_000, amount: 1, currency: EUR}
  - {match: "openai/*", unit: output_token, per: 1_000_000, amount: 8, currency: EUR}
  - {match: "anthropic/*", unit: input_token, per: 1_000_000, amount: 2, currency: EUR}
  - {match: "anthropic/*", unit: cache_read_token, per: 1_000_000, amount: 1, currency: EUR}
  - {match: "anthropic/*", unit: cache_write_token, per: 1_000_000, amount: 4, currency: EUR}
  - {match: "anthropic/*", unit: output_token, per: 1_000_000, amount: 8, currency: EUR}
  - {match: "clock/*", unit: call, amount: 0, currency: EUR}
budgets: {month: {when: {team: cx}, limit: 2000, window: month}}
"""
REMIT = [sys.executable, "-c", "from remit.cli.main import main; main()"]
LISTEN = ["--socket", "off", "--grpc", "127.0.0.1:0", "--http", "off"]


@dataclass(frozen=True, slots=True)
class Ran:
    """How an agent ended: the lines that it printed, as JSON."""

    said: Sequence[Mapping[str, Any]]
    code: int
    err: str


class Governed:
    """The sidecar of one place. `environment` is all that its agents have."""

    def __init__(self, place: Path, *, provider: str, tools: str = "http://127.0.0.1:9") -> None:
        self.place = place
        (place / "agent.token").write_text(TOKEN)
        (place / "openai.key").write_text(KEYS["openai"])
        (place / "anthropic.key").write_text(KEYS["anthropic"])
        hashed = sha256(TOKEN.encode()).hexdigest()
        text = CATALOGUE.replace("HASH", hashed).replace("PROVIDER", provider).replace("TOOLS", tools)
        (place / "remit.yaml").write_text(text)
        self._log = (place / "up.log").open("w")
        listen = [*LISTEN, "--egress-http", f"127.0.0.1:{free_port()}", "--egress-proxy", f"127.0.0.1:{free_port()}"]
        self._process = subprocess.Popen(
            [*REMIT, "up", "--egress", "--json", *listen],
            cwd=place,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            raise AssertionError(self.log)
        self.address: str = json.loads(line)["addresses"][0]
        self.environment = {**bare_environment(), **self._told()}

    @property
    def log(self) -> str:
        """What the sidecar wrote on stderr."""
        return (self.place / "up.log").read_text()

    def _told(self) -> Mapping[str, str]:
        asked = ["env", "--agent", "support", "--token-file", "agent.token", "--show", "--shell", "json"]
        told = subprocess.run([*REMIT, *asked], cwd=self.place, capture_output=True, text=True, check=True)
        return json.loads(told.stdout)  # type: ignore[no-any-return]

    def run(self, program: str, *arguments: str, tasks: Sequence[Mapping[str, Any]] = ()) -> Ran:
        """Run an agent with the environment of `remit env` alone."""
        return run_agent(self.environment, program, *arguments, tasks=tasks)

    def records(self) -> list[Entry]:
        """The journal so far."""
        with open_journal(self.place / ".remit" / "state.db") as journal:
            return [from_row(row) for row in journal.rows()]

    def stop(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.communicate(timeout=30)
        finally:
            self._process.kill()
            self._log.close()


def bare_environment() -> dict[str, str]:
    """What a process needs to run at all: no key, no proxy, no address of anything."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}


def run_agent(
    environment: Mapping[str, str], program: str, *arguments: str, tasks: Sequence[Mapping[str, Any]] = ()
) -> Ran:
    """Run one of `tests/e2e/agents`."""
    ended = subprocess.run(
        [sys.executable, str(AGENTS / program), *arguments],
        input="".join(json.dumps(task) + "\n" for task in tasks),
        capture_output=True,
        text=True,
        env=dict(environment),
        timeout=100,
        check=False,
    )
    return Ran([json.loads(line) for line in ended.stdout.splitlines()], ended.returncode, ended.stderr)


@contextmanager
def tool_server(port: int) -> Iterator[str]:
    """The MCP server, in a process of its own; its URL."""
    program = Path(__file__).with_name("tool_server.py")
    process = subprocess.Popen(
        [sys.executable, str(program), str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "Uvicorn running" in line:
                break
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.communicate()
