"""docs/views.md: its example is played through, in order, against a real sidecar."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import remit as sdk
import views_page as page

from .conftest import Remit
from .test_up import Up

pytestmark = pytest.mark.opa

REMIT = shlex.quote(str(Path(sys.executable).with_name("remit")))
EXAMPLES = [
    (command.removeprefix("$ "), int(code) if code else 0)
    for block in page.blocks("console")
    for command, _, code in (line.partition("   # exit code ") for line in block.splitlines())
]


def test_the_page_is_played_through(remit: Remit, place: Path) -> None:
    """Each command ends as the page says, the first query prints the page's table, and the writes are done once."""
    hashes = [
        remit("env", "--new-token", "--token-file", f"{name}.token", "--shell", "json").document["token_hash"]
        for name in ("support", "ana")
    ]
    (place / "remit.yaml").write_text(page.catalogue(place, *hashes))
    (place / "policies").mkdir()
    for name, text in page.policies().items():
        (place / "policies" / name).write_text(text)
    with closing(sqlite3.connect(place / "crm.db")) as database:
        database.executescript(page.DATABASE)
    up = Up(place, "--policy", "policies")
    try:
        printed = [_ran(place, command, code) for command, code in EXAMPLES]
        asyncio.run(_write(up.said["addresses"][0], place))
    finally:
        up.stop()

    (shown,) = [block for block in page.blocks("text") if "***4567" in block]
    assert _cells(next(each for each in printed if "***4567" in each)) == _cells(shown)
    with closing(sqlite3.connect(place / "crm.db")) as database:
        assert database.execute("SELECT address FROM mails").fetchall() == [("ana@example.com",)]
        assert database.execute("SELECT count(*) FROM remit_executions").fetchone() == (2,)


def test_the_readmes_view_is_one(remit: Remit, place: Path) -> None:
    """Its catalogue and its view pass `remit check`, and are explained."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    catalogue, view = (page.blocks(kind, readme)[0] for kind in ("yaml", "rego"))
    (place / "remit.yaml").write_text(catalogue.replace("sha256:…", f"sha256:{'a' * 64}", 1).replace("…", "b" * 64))
    (place / "policies").mkdir()
    (place / "policies" / "crm.rego").write_text(view)

    assert remit("check", "--policy", "policies").code == 0
    explained = remit("views", "explain", "analysis", "crm", "--policy", "policies", "--json").document
    assert [each["filter"] for each in explained["tables"]] == ["region = 'eu'"]


def _ran(place: Path, command: str, code: int) -> str:
    ran = subprocess.run(
        ["sh", "-c", re.sub(r"\bremit ", f"{REMIT} ", command, count=1)],
        cwd=place,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == code, (command, ran)
    return ran.stdout


def _cells(text: str) -> list[list[str]]:
    """A table's cells; of a token its beginning."""
    return [[cell[:8] if cell.startswith("tok_") else cell for cell in line.split()] for line in text.splitlines()]


async def _write(address: str, place: Path) -> None:
    """The page's write, twice, and a mail to somebody whose address the agent never saw."""
    async with sdk.Agent.connect(address, (place / "support.token").read_text().strip()) as agent:
        for replayed in (False, True):
            around = {"agent": agent, "print": lambda *told: None}
            ran = eval(compile(page.blocks("python")[0], "views.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), around)
            assert inspect.iscoroutine(ran)
            await ran
            done = around["done"]
            assert (done.affected, done.replayed) == (1, replayed)
        found = await agent.query("SELECT email FROM customers WHERE id = 1", dataset="crm", purpose="support")
        token = next(iter(found))["email"]
        assert str(token).startswith("tok_")
        await agent.execute("queue_mail", dataset="crm", parameters={"to": token, "body": "hi"}, purpose="support")
