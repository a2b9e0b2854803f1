"""Where the team works: a catalogue of eight workers, two leads and a person, their policy, and a real sidecar."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import apsw
from fakes.governed import bare_environment
from fakes.ports import free_port
from remit.backends.store_sqlite import open_journal
from remit.cli.records import Entry, from_row

PERSON = "ana"
LEADS = ("lead-a", "lead-b")
WORKERS = {f"worker-{number}": LEADS[number % 2] for number in range(8)}
"""Each with its lead, whose supervisor is the person."""

ENDS = ("close_done", "close_refused", "close_compensated", "close_given_up")
"""How an order may end: operations that contradict each other, whoever does them to one order."""

LIMIT = 5
"""Of the team's budget, in EUR: not all that is asked for has room."""

HOLD_SECONDS = 2
USES = 3
"""Of a grant for the expensive variant."""

REMIT = [sys.executable, "-c", "from remit.cli.main import main; main()"]
AGENTS = Path(__file__).parents[1] / "e2e" / "agents"

RULE = """\
# METADATA
# title: Wires are looked at, and what became of an order is read
# schemas:
#   - input: schema.input
# custom:
#   owner: ops
#   codes:
#     wire_reviewed: "{{resource.ref}} is looked at before it leaves"
package remit.custom.team

hold contains {{"code": "wire_reviewed", "approval": approval}} if {{
	input.action.name == "api.call"
	input.resource.id == "wires"
	approval := {terms}
}}

record contains path if {{
	some path in {{"/arguments/order", "/arguments/why"}}
}}
"""
WIRES: dict[str, Any] = {"supervisor": True, "roles": ["approver"], "bind": "exact", "wait": 1, "ttl": 60}


def token_of(name: str) -> str:
    """How somebody of the team proves who they are."""
    return f"rmt_of_{name}_of_the_team"


def _proved(name: str) -> dict[str, Any]:
    return {"identity": {"token_hash": f"sha256:{sha256(token_of(name).encode()).hexdigest()}"}}


def catalogue() -> dict[str, Any]:
    """Who there is, and what they may ask for."""
    held: dict[str, Any] = {"owner": "ops", "metering": "agent", "hold_seconds": HOLD_SECONDS}
    large = {"roles": ["finance"], "supervisor": True, "bind": "variant", "uses": USES, "ttl": "60s", "wait": "1s"}
    works = {"team": "ops", "purposes": ["orders"]}
    return {
        "currency": "EUR",
        "sidecar": {"watch": False, "policies": ["policies"]},
        "teams": {"ops": {}},
        "people": {PERSON: {"roles": ["approver", "finance", "auditor"], **_proved(PERSON)}},
        "agents": {
            **{name: {**works, "roles": ["lead"], "supervisor": PERSON, **_proved(name)} for name in LEADS},
            **{
                name: {**works, "roles": ["clerk"], "supervisor": lead, "review": ["tool.call"], **_proved(name)}
                for name, lead in WORKERS.items()
            },
        },
        "services": {
            "orders": {
                **held,
                "operations": list(ENDS),
                "conflicts": {
                    "object": "/order",
                    "between": [list(pair) for pair in combinations_with_replacement(ENDS, 2)],
                    "policy": "first-wins",
                },
            },
            "models": {**held, "variants": {"small": {}, "large": {"approval": large, "cheaper": "small"}}},
            "bank": {**held, "operations": ["pay"]},
            "wires": {**held, "operations": ["send"]},
            "refunds": {**held, "operations": ["approve", "reject"], "conflicts": _contradict("first-wins")},
            "credits": {**held, "operations": ["approve", "reject"], "conflicts": _contradict("escalate")},
            "shop": {**held, "operations": ["ship", "unship"], "compensations": {"ship": "unship"}},
        },
        "prices": [
            {"match": "models/large", "unit": "call", "amount": 1, "currency": "EUR"},
            {"match": "models/small", "unit": "call", "amount": 0.05, "currency": "EUR"},
            {"match": "orders/*", "unit": "call", "amount": 0, "currency": "EUR"},
            {"match": "*/*", "unit": "call", "amount": 0.1, "currency": "EUR"},
        ],
        "budgets": {"team": {"when": {"team": "ops"}, "limit": LIMIT}},
    }


def _contradict(policy: str) -> dict[str, Any]:
    return {"object": "/ticket", "between": [["approve", "reject"]], "policy": policy}


class Place:
    """A directory with the team's sidecar, which may be killed and started again."""

    def __init__(self, directory: Path, *, failure: Mapping[str, Any], wires: Mapping[str, Any] = WIRES) -> None:
        self.directory = directory
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        self._process: subprocess.Popen[str] | None = None
        self._pinned = directory / "pinned.pub"
        rules = directory / "policies" / "team"
        rules.mkdir(parents=True)
        (rules / "team.rego").write_text(RULE.format(terms=json.dumps(wires)))
        (directory / "policies" / "config.json").write_text(json.dumps({"failure": failure}))
        (directory / "remit.yaml").write_text(json.dumps(catalogue()))
        (directory / "ana.token").write_text(token_of(PERSON))

    def environment(self, name: str) -> dict[str, str]:
        """All that an agent has."""
        return {**bare_environment(), "REMIT_ADDRESS": self.address, "REMIT_TOKEN": token_of(name)}

    def up(self, program: Path | None = None) -> None:
        """Start it, or `program` in its place; it serves once this returns."""
        command = [sys.executable, str(program)] if program else REMIT
        with (self.directory / "up.log").open("a") as log:
            self._process = subprocess.Popen(
                [*command, "up", "--json", "--socket", "off", "--grpc", self.address, "--http", "off"],
                cwd=self.directory,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), self.log
        if not self._pinned.exists():
            self._pinned.write_bytes((self.directory / ".remit" / "keys" / "journal.pub").read_bytes())

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, and wait."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            self._process.communicate(timeout=30)
        finally:
            self._process.kill()

    @property
    def log(self) -> str:
        """What it wrote on stderr."""
        return (self.directory / "up.log").read_text()

    def select(self, sql: str) -> list[tuple[Any, ...]]:
        """A look into its store."""
        connection = apsw.Connection(str(self.directory / ".remit" / "state.db"), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(1000)
        try:
            return list(connection.execute(sql))
        finally:
            connection.close()

    def records(self) -> list[Entry]:
        """The journal so far."""
        with open_journal(self.directory / ".remit" / "state.db") as journal:
            return [from_row(row) for row in journal.rows()]

    def command(self, *arguments: str) -> Sequence[str]:
        """A command line of the person's."""
        return [*REMIT, *arguments]

    def command_environment(self) -> dict[str, str]:
        """What the person's commands have around them."""
        return {**os.environ, "REMIT_ADDRESS": self.address, "REMIT_TOKEN_FILE": str(self.directory / "ana.token")}

    def verified(self) -> dict[str, Any]:
        """What `remit audit verify` says."""
        ran = subprocess.run(
            [*REMIT, "audit", "verify", "--key", str(self._pinned), "--json"],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        return json.loads(ran.stdout or "{}") | {"code": ran.returncode}
