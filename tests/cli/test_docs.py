"""docs/cli.md: its examples are run, in order, and its commands are those that there are."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from string import Template

import pytest
from remit.cli.main import COMMANDS
from remit.sdk.address import Credential, Target
from remit.sdk.agent import Agent

from .conftest import Ended, Remit
from .test_up import Up

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
REMIT = shlex.quote(str(Path(sys.executable).with_name("remit")))
EXAMPLES = [
    (line.partition("#")[0].strip(), int(line.rpartition("exit code ")[2]) if "# exit code" in line else 0)
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for line in block.replace("$ ", "").splitlines()
]


def test_every_command_is_on_the_page() -> None:
    """No command is missing."""
    assert [name for name in COMMANDS if f"remit {name}" not in PAGE] == []


@pytest.mark.opa
@pytest.mark.timeout(300)
def test_the_examples_work(remit: Remit, place: Path) -> None:
    """Each example ends with the exit code that the page says, against a real sidecar."""
    catalogue = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0]
    made = remit("env", "--new-token", "--token-file", "made.token", "--shell", "json").document
    ana = remit("env", "--new-token", "--token-file", "ana.token", "--shell", "json").document
    catalogue = catalogue.replace("SUPPORT_HASH", made["token_hash"]).replace("/DIRECTORY", str(place))
    catalogue = catalogue.replace("ANA_HASH", ana["token_hash"])
    (place / "remit.yaml").write_text(catalogue)
    _fill(place / "crm.db")
    assert remit("policy", "new", "views/crm", "--dir", "views").code == 0
    up = Up(place, "--policy", "views")
    try:
        support = Target(up.said["addresses"][0], Credential((place / "made.token").read_text().strip()))
        environment = {"WORKFLOW": asyncio.run(_workflow(support))}
        for command, code in EXAMPLES:
            ran = _typed(remit, command, environment)
            assert ran.code == code, (command, ran)
            if "--json" in command:
                _documents(command, ran.out)
            if "--variant large" in command:
                environment |= _held(remit)
            if command.startswith("remit env --new-token"):
                (place / "support.token").write_text((place / "made.token").read_text())
    finally:
        up.stop()


def _typed(remit: Remit, command: str, environment: Mapping[str, str]) -> Ended:
    """What comes of a line: in this process, or by a shell where it needs one. A process each would take seconds."""
    words = [Template(word).substitute(environment) for word in shlex.split(command)]
    if words[0] == "remit" and "|" not in words:
        return remit(*words[1:])
    line = re.sub(r"\bremit ", f"{REMIT} ", command, count=1)
    environment = {**os.environ, **environment}
    ran = subprocess.run(["sh", "-c", line], env=environment, capture_output=True, text=True, check=False)
    return Ended(ran.returncode, ran.stdout, ran.stderr)


def _fill(path: Path) -> None:
    """The database of the page's dataset."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, region TEXT, email TEXT)")
        database.executemany("INSERT INTO customers VALUES (?, ?, ?)", [(1, "eu", "ana@x"), (2, None, "bo@x")])


def _documents(command: str, printed: str) -> None:
    """One document, or one a line where rows are asked for."""
    for document in printed.splitlines() if command.startswith("remit query") else [printed]:
        json.loads(document)


def _held(remit: Remit) -> dict[str, str]:
    """What the page's held call waits for."""
    (approval,) = remit("approvals", "list", "--json").document
    return {"APPROVAL": approval["approval"], "DECISION": approval["items"][0]["decision"]}


async def _workflow(support: Target) -> str:
    """A workflow with one decision in it."""
    async with Agent(support) as agent:
        workflow = await agent.open_workflow(["support"])
        await agent.authorize("data.read", "dataset:crm", workflow=workflow.context)
        return workflow.id
