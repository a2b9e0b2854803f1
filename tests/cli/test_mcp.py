"""`remit mcp run` between the official client and a published server (mcp-server-time)."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fakes.loop import in_loop, until
from fakes.sidecar_fake import sidecar
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters, stdio_client

REMIT = str(Path(sys.executable).with_name("remit"))
TIME = str(Path(sys.executable).with_name("mcp-server-time"))
TOKEN = "token-support"
ZONE = {"timezone": "Europe/Berlin"}
HANDSHAKE = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    b'"clientInfo":{"name":"x","version":"1"}}}\n'
)
ECHO = (
    "import os,sys,json; [print(json.dumps({'jsonrpc':'2.0','id':0,'result':dict(os.environ)})) for line in sys.stdin]"
)

STUBBORN = """
import os, pathlib, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path("pid").write_text(str(os.getpid()))
print("{}", flush=True)
signal.pause()
"""


def catalogue(place: Path, *command: str, more: str = "") -> None:
    hashed = "sha256:" + sha256(TOKEN.encode()).hexdigest()
    (place / "remit.yaml").write_text(f"""\
currency: EUR
teams: {{cx: {{}}}}
agents:
  support: {{team: cx, identity: {{token_hash: "{hashed}"}}}}
services:
  clock:
    owner: cx
    kind: mcp
    command: {json.dumps([*command])}
    operations: [get_current_time]
{more}
""")


def started(place: Path, address: str, *more: str) -> Any:
    environment = {"REMIT_ADDRESS": address, "REMIT_TOKEN": TOKEN, "PATH": os.environ["PATH"]}
    run = ["mcp", "run", "clock", *more]
    return stdio_client(StdioServerParameters(command=REMIT, args=run, cwd=place, env=environment))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@in_loop
async def test_each_call_is_asked_for_and_reported(tmp_path: Path, mode: Any) -> None:
    """The list is the catalogue's; a refusal is an error with its reason, and the session goes on."""
    catalogue(tmp_path, TIME, "--local-timezone", "UTC")
    async with sidecar() as fake, Client(started(tmp_path, fake.address), mode=mode) as client:
        assert [each.name for each in (await client.list_tools()).tools] == ["get_current_time"]
        told = await client.call_tool("get_current_time", ZONE)
        assert told.structured_content is not None and told.structured_content["timezone"] == "Europe/Berlin"
        asked = fake.asked()
        assert (asked.action, asked.resource.type, asked.resource.id) == ("tool.call", "service", "clock")
        assert (asked.resource.operation, json.loads(asked.context.arguments)) == ("get_current_time", ZONE)
        await until(lambda: fake.outcomes == ["succeeded"])

        fake.deny("service:clock", "budget_exhausted")
        with pytest.raises(MCPError, match=r"denied: budget_exhausted \(decision d2\)") as caught:
            await client.call_tool("get_current_time", ZONE)
        assert caught.value.error.data["remit"]["code"] == "budget_exhausted"
        fake.rulings.clear()
        assert not (await client.call_tool("get_current_time", ZONE)).is_error


APPROVAL = "a-support-service:clock"


@pytest.mark.parametrize(("mode", "more"), [("auto", ()), ("legacy", ("--wait", "30"))])
@in_loop
async def test_a_held_call_goes_on_once_it_is_approved(tmp_path: Path, mode: Any, more: tuple[str, ...]) -> None:
    """Its client tries again by itself in the newest version; with --wait the first try is kept open."""
    catalogue(tmp_path, TIME, "--local-timezone", "UTC")
    async with sidecar() as fake, Client(started(tmp_path, fake.address, *more), mode=mode) as client:
        fake.hold("service:clock")
        asking = asyncio.create_task(client.call_tool("get_current_time", ZONE))
        await until(lambda: bool(fake.waits) and fake.waiting > 0)
        await fake.move(APPROVAL, "approved")
        told = await asking
    assert not told.is_error and told.structured_content is not None
    assert (20 if mode == "auto" else 30) - 1 < max(fake.waits) <= (20 if mode == "auto" else 30)


@in_loop
async def test_a_held_call_of_an_older_client_fails_and_names_its_approval(tmp_path: Path) -> None:
    """The same call said again uses it; a refusal by whoever was asked is an error that names it as well."""
    catalogue(tmp_path, TIME, "--local-timezone", "UTC")
    async with sidecar() as fake, Client(started(tmp_path, fake.address), mode="legacy") as client:
        fake.hold("service:clock")
        told = await client.call_tool("get_current_time", ZONE)
        text = told.content[0].text  # type: ignore[union-attr]
        assert told.is_error and f"approval {APPROVAL}" in text and "lead or people with the role approver" in text
        await fake.move(APPROVAL, "approved")
        assert not (await client.call_tool("get_current_time", ZONE)).is_error
        await fake.move(APPROVAL, "denied")
        with pytest.raises(MCPError, match=f"Approval {APPROVAL} was denied") as caught:
            await client.call_tool("get_current_time", ZONE)
        ours = caught.value.error.data["remit"]
        assert (ours["code"], ours["approvals"][0]["state"]) == ("approval_denied", "denied")


@in_loop
async def test_without_a_sidecar_no_call_goes_through(tmp_path: Path) -> None:
    """It fails closed, and recovers with the sidecar."""
    catalogue(tmp_path, TIME, "--local-timezone", "UTC")
    async with sidecar() as fake, Client(started(tmp_path, fake.address)) as client:
        await fake.kill()
        with pytest.raises(MCPError, match="no answer from the sidecar"):
            await client.call_tool("get_current_time", ZONE)
        await fake.start(fake.address)
        async with asyncio.timeout(10):
            assert not (await reached(client)).is_error


async def reached(client: Client) -> Any:
    """A call's result, once the sidecar is found again."""
    while True:
        try:
            return await client.call_tool("get_current_time", ZONE)
        except MCPError as error:
            assert "no answer from the sidecar" in str(error)


def ran(place: Path, said: bytes = HANDSHAKE, **environment: str) -> subprocess.CompletedProcess[bytes]:
    surroundings = {"PATH": os.environ["PATH"], "REMIT_TOKEN": TOKEN, "OTHER": "x", **environment}
    return subprocess.run(
        [REMIT, "mcp", "run", "clock"],
        input=said,
        cwd=place,
        env=surroundings,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_a_server_gets_its_credential_and_not_the_agents(tmp_path: Path) -> None:
    """From a file or a variable, under the server's own name; nothing else of the environment that is not usual."""
    (tmp_path / "secret").write_text("s3cret\n")
    given = "    credentials: [{file: ./secret, header: clock-key, prefix: 'Key '}]"
    catalogue(tmp_path, sys.executable, "-c", ECHO, more=given)
    seen = json.loads(ran(tmp_path).stdout)["result"]
    assert seen["CLOCK_KEY"] == "Key s3cret"
    assert not {"REMIT_TOKEN", "OTHER"} & seen.keys()

    catalogue(tmp_path, sys.executable, "-c", ECHO, more="    credentials: [{environment: CLOCK_TOKEN}]")
    assert json.loads(ran(tmp_path, CLOCK_TOKEN="t").stdout)["result"]["CLOCK_TOKEN"] == "t"


@pytest.mark.parametrize(
    ("command", "more", "environment", "code", "said"),
    [
        (["./nowhere"], "", {}, 2, "cannot be started"),
        ([sys.executable, "-c", "import sys; sys.exit(7)"], "", {}, 3, "has ended (exit code 7)"),
        ([TIME], "", {"REMIT_TOKEN": "another"}, 1, "knows no agent with this credential"),
        ([TIME], "    credentials: [{environment: GONE}]", {}, 2, "GONE is empty"),
        ([TIME], "    credentials: [{environment: X, when: {team: [cx], agent: [z]}}]", {}, 2, "z"),
        (
            [sys.executable, "-c", "import sys; print('x' * 5_000_000, flush=True); sys.stdin.read()"],
            "",
            {},
            2,
            "more than 4194304 bytes",
        ),
    ],
)
def test_what_cannot_be_run_is_told_in_a_line(
    tmp_path: Path, command: list[str], more: str, environment: dict[str, str], code: int, said: str
) -> None:
    """With the exit code that says whose turn it is."""
    catalogue(tmp_path, *command, more=more)
    waiting = subprocess.Popen(
        [REMIT, "mcp", "run", "clock"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "REMIT_TOKEN": TOKEN, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with waiting:
        assert waiting.stderr is not None and waiting.stdout is not None
        told = waiting.stderr.read().decode()
        assert (waiting.wait(60), waiting.stdout.read()) == (code, b""), told
    assert said in told and "Traceback" not in told


def test_the_server_ends_with_us(tmp_path: Path) -> None:
    """Even one that takes no notice of its input's end, and even where we are killed."""
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    catalogue(tmp_path, sys.executable, "stubborn.py")
    for number in (signal.SIGTERM, signal.SIGKILL):
        waiting = subprocess.Popen(
            [REMIT, "mcp", "run", "clock"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "REMIT_TOKEN": TOKEN},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with waiting:
            assert waiting.stdout is not None and waiting.stdout.readline() == b"{}\n"
            server = os.pidfd_open(int((tmp_path / "pid").read_text()))
            waiting.send_signal(number)
            assert waiting.wait(30) == (128 + number if number == signal.SIGTERM else -number)
            assert ended(server)


def ended(server: int) -> bool:
    """Whether a process has ended, or does within ten seconds."""
    ready, _, _ = select.select([server], [], [], 10)
    os.close(server)
    return bool(ready)
