"""A real OPA under supervision: private, without environment, back after it dies, exchanged without a gap."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from fakes.loop import in_loop, until
from fakes.policy import BAD, input_of, write_library
from remit.backends.opa_binary import find
from remit.backends.opa_bundle import Bundle, Sources, build
from remit.backends.opa_management import OpaManagement, OpaUnreachable
from remit.backends.opa_process import OpaFailed, OpaProcess
from remit.backends.opa_server import ExternalOpa, OpaServer, ServerSettings
from remit.backends.pdp_opa import OpaPdp, PdpSettings
from remit.core.decision import Effect
from remit.core.errors import PolicyFailure
from remit.core.reason import Reason

pytestmark = pytest.mark.opa

OPA = find(os.environ).path
PATIENT = PdpSettings(deadline=5)
BRIEF = ServerSettings(linger=0.1)


@dataclass
class Told:
    """What the supervisor said, in order."""

    changes: list[tuple[bool, str]] = field(default_factory=list)

    def __call__(self, up: bool, why: str) -> None:
        self.changes.append((up, why))

    @property
    def ups(self) -> list[bool]:
        return [up for up, _ in self.changes]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    directory = tmp_path_factory.mktemp("bundle")
    return build(Sources(write_library(directory), catalogue={"limit": 1}), OPA, directory)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same policy over another catalogue."""
    directory = tmp_path_factory.mktemp("other")
    return build(Sources(write_library(directory), catalogue={"limit": 2}), OPA, directory)


@asynccontextmanager
async def supervised(
    directory: Path,
    bundle: Bundle,
    settings: ServerSettings = BRIEF,
    asking: PdpSettings = PATIENT,
) -> AsyncIterator[tuple[OpaServer, Told]]:
    told = Told()
    server = OpaServer(OPA, directory / "opa", BAD, changed=told, settings=settings, asking=asking)
    await server.start(bundle)
    try:
        yield server, told
    finally:
        await server.stop()


async def effect(pdp: OpaPdp, kind: str) -> Effect | Reason:
    try:
        return (await pdp.ask(input_of(kind))).effect
    except PolicyFailure as failure:
        return failure.reason


def state(pid: int) -> str:
    """The kernel's letter for what a process does; Z where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def alive(pid: int) -> bool:
    return state(pid) != "Z"


@in_loop
async def test_a_real_opa_answers_each_kind_of_question_with_its_effect_or_reason(
    tmp_path: Path, bundle: Bundle
) -> None:
    async with supervised(tmp_path, bundle) as (server, _):
        wanted = {
            "good": Effect.ALLOW,
            "bad": Effect.DENY,
            "nothing": Reason.POLICY_UNDEFINED,
            "strange": Reason.POLICY_INVALID,
            "failing": Reason.POLICY_ERROR,
            "conflict": Reason.POLICY_ERROR,
            "good again": Reason.POLICY_UNDEFINED,
        }
        for kind, outcome in wanted.items():
            assert await effect(server.pdp, kind) == outcome, kind
        assert server.pdp.revision == bundle.revision


@in_loop
async def test_conflicting_undefined_and_slow_inputs_spoil_no_honest_one(tmp_path: Path, bundle: Bundle) -> None:
    wanted = {
        "good": Effect.ALLOW,
        "bad": Effect.DENY,
        "nothing": Reason.POLICY_UNDEFINED,
        "failing": Reason.POLICY_ERROR,
        "conflict": Reason.POLICY_ERROR,
        "slow": Reason.PDP_UNAVAILABLE,
    }
    kinds = ["slow", "good", "conflict", "bad", "nothing", "good", "slow", "failing", "good", "bad"] + ["good"] * 30
    async with supervised(tmp_path, bundle, asking=PdpSettings(deadline=2.0)) as (server, _):
        found = await asyncio.gather(*(effect(server.pdp, kind) for kind in kinds))
        assert list(found) == [wanted[kind] for kind in kinds]


@in_loop
async def test_a_long_answer_and_a_long_question_arrive_whole(tmp_path: Path, bundle: Bundle) -> None:
    async with supervised(tmp_path, bundle) as (server, _):
        verdicts = await asyncio.gather(
            *(server.pdp.ask(input_of("long", n=n, padding="x" * 100_000)) for n in range(8))
        )
        assert [verdict.record[-1] for verdict in verdicts] == [f"/200/{n}" for n in range(8)]


@in_loop
async def test_nobody_else_can_reach_opa_and_it_knows_nothing(tmp_path: Path, bundle: Bundle) -> None:
    async with supervised(tmp_path, bundle) as (server, _):
        (path,) = (tmp_path / "opa").glob("*.sock")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert environment(server.pid) == b"GOGC=400\0"
        assert not listening(server.pid)
        assert await refused_to_change(path)


def environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def listening(pid: int) -> list[str]:
    """The process's listening TCP sockets."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    tables = (Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6"))
    rows = [line.split() for table in tables for line in table.splitlines()]
    return [row[1] for row in rows if row[3] == "0A" and row[9] in inodes]


async def refused_to_change(path: Path) -> bool:
    """Whether OPA refuses a new policy even from its own user: the bundle owns every path."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.put("http://opa/v1/policies/evil", data="package remit.evil\n\nx := 1\n") as put,
        session.put("http://opa/v1/data/remit/catalogue", json={}) as data,
    ):
        return put.status == 400 and data.status == 400


@in_loop
async def test_opa_killed_while_serving_is_unavailable_and_back_within_five_seconds(
    tmp_path: Path, bundle: Bundle
) -> None:
    async with supervised(tmp_path, bundle) as (server, told):
        assert await effect(server.pdp, "good") is Effect.ALLOW
        killed = server.pid
        os.kill(killed, signal.SIGKILL)
        began = time.monotonic()
        await until(lambda: not server.up)
        assert await effect(server.pdp, "good") is Reason.PDP_UNAVAILABLE
        outcomes = []
        while (outcome := await effect(server.pdp, "good")) is not Effect.ALLOW:
            outcomes.append(outcome)
            await asyncio.sleep(0.01)
            assert time.monotonic() - began < 5
        assert set(outcomes) <= {Reason.PDP_UNAVAILABLE}
        await until(lambda: server.up)
        assert server.pid != killed
        assert told.ups == [True, False, True]
        assert "ended with -9" in told.changes[1][1]


@in_loop
async def test_questions_in_flight_when_opa_is_killed_are_unavailable(tmp_path: Path, bundle: Bundle) -> None:
    async with supervised(tmp_path, bundle) as (server, _):
        asked = [asyncio.create_task(effect(server.pdp, "slow")) for _ in range(6)]
        await asyncio.sleep(0.1)
        os.kill(server.pid, signal.SIGKILL)
        assert set(await asyncio.wait_for(asyncio.gather(*asked), 4)) == {Reason.PDP_UNAVAILABLE}


@in_loop
async def test_an_opa_that_hangs_is_exchanged(tmp_path: Path, bundle: Bundle) -> None:
    settings = ServerSettings(check=0.05, strikes=2)
    async with supervised(tmp_path, bundle, settings, PdpSettings(deadline=0.2)) as (server, told):
        hung = server.pid
        os.kill(hung, signal.SIGSTOP)
        await until(lambda: state(hung) == "T")
        assert await effect(server.pdp, "good") is Reason.PDP_UNAVAILABLE
        await until(lambda: told.ups == [True, False, True], seconds=10)
        assert "did not answer" in told.changes[1][1]
        assert await effect(server.pdp, "good") is Effect.ALLOW


@in_loop
async def test_opa_is_started_again_however_often_it_dies(tmp_path: Path, bundle: Bundle) -> None:
    settings = ServerSettings(first_pause=0.01, longest_pause=0.02)
    async with supervised(tmp_path, bundle, settings) as (server, told):
        for deaths in range(1, 5):
            os.kill(server.pid, signal.SIGKILL)
            await until(lambda deaths=deaths: told.ups == [True, *[False, True] * deaths])  # type: ignore[misc]
            assert await effect(server.pdp, "good") is Effect.ALLOW


@in_loop
async def test_a_reload_answers_every_question_under_exactly_one_revision(
    tmp_path: Path, bundle: Bundle, other: Bundle
) -> None:
    """Decimals are exact on the way as well: 0.1 + 0.9 is the first catalogue's limit, 0.1 + 1.9 the second's."""
    held = {bundle.revision: "0.9", other.revision: "1.9"}
    async with supervised(tmp_path, bundle) as (server, _):
        revisions = []
        stop = asyncio.Event()

        async def keep_asking() -> None:
            while not stop.is_set():
                pdp = server.pdp
                await asyncio.sleep(0)
                document = b'{"kind":"sum","spent":0.1,"held":%b}' % held[pdp.revision].encode()
                assert (await pdp.ask(document)).effect is Effect.ALLOW
                revisions.append(pdp.revision)

        async with asyncio.TaskGroup() as group:
            for _ in range(6):
                group.create_task(keep_asking())
            for turn in range(4):
                before = server.pid
                await server.reload((other, bundle)[turn % 2])
                assert server.pid != before
                asked = len(revisions)
                await until(lambda asked=asked: len(revisions) > asked + 20)  # type: ignore[misc]
            stop.set()
        assert set(revisions) == set(held)


@in_loop
async def test_a_question_in_flight_is_answered_by_the_opa_that_it_was_put_to(
    tmp_path: Path, bundle: Bundle, other: Bundle
) -> None:
    async with supervised(tmp_path, bundle, ServerSettings(linger=0.0), PdpSettings(deadline=30)) as (server, _):
        old, first = server.pid, server.pdp
        asked = asyncio.create_task(first.ask(input_of("slow", work=1000)))
        await asyncio.sleep(0.05)
        await server.reload(other)
        assert not asked.done(), "the question must outlast the reload"
        assert (await asked).effect is Effect.ALLOW
        await until(lambda: not alive(old))
        with pytest.raises(PolicyFailure):
            await first.ask(input_of("good"))
        assert await effect(server.pdp, "good") is Effect.ALLOW


@in_loop
async def test_a_reload_that_fails_keeps_what_serves(tmp_path: Path, bundle: Bundle) -> None:
    broken = Bundle(tmp_path / "broken.tar.gz", "r")
    broken.path.write_bytes(b"no bundle")
    mislabelled = Bundle(bundle.path, "another-revision")
    async with supervised(tmp_path, bundle) as (server, told):
        pid = server.pid
        for bad in (broken, mislabelled):
            with pytest.raises(OpaFailed):
                await server.reload(bad)
        assert (server.pid, server.pdp.revision) == (pid, bundle.revision)
        assert await effect(server.pdp, "good") is Effect.ALLOW
        assert told.ups == [True]
        assert len(list((tmp_path / "opa").iterdir())) == 2


@in_loop
async def test_a_library_without_the_entry_points_is_not_served(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "main.rego").write_text("package remit\n\nx := 1\n")
    bundle = build(Sources(empty), OPA, tmp_path)
    with pytest.raises(OpaFailed, match="without a result"):
        async with supervised(tmp_path, bundle):
            pass


@in_loop
async def test_stopping_leaves_no_process_and_no_socket(tmp_path: Path, bundle: Bundle) -> None:
    async with supervised(tmp_path, bundle) as (server, told):
        pid = server.pid
    assert not alive(pid)
    assert list((tmp_path / "opa").iterdir()) == []
    assert told.ups == [True, False]
    with pytest.raises(PolicyFailure, match="not started"):
        _ = server.pdp


@in_loop
async def test_stopping_right_after_reloads_leaves_no_process_either(
    tmp_path: Path, bundle: Bundle, other: Bundle
) -> None:
    pids = []
    async with supervised(tmp_path, bundle, ServerSettings(linger=0.0)) as (server, _):
        for each in (other, bundle, other):
            pids.append(server.pid)
            await server.reload(each)
        pids.append(server.pid)
    assert not any(alive(pid) for pid in pids)
    assert list((tmp_path / "opa").iterdir()) == []


@in_loop
async def test_an_opa_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    stubborn = tmp_path / "opa"
    stubborn.write_text("#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n")
    stubborn.chmod(0o755)
    process = await OpaProcess.start(stubborn, tmp_path / "b", tmp_path / "s.sock")
    await process.stop()
    assert not process.running


@in_loop
async def test_what_an_earlier_run_left_is_cleared(tmp_path: Path, bundle: Bundle) -> None:
    directory = tmp_path / "opa"
    directory.mkdir(mode=0o755)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(directory / "opa-1.sock"))
    left.close()
    async with supervised(tmp_path, bundle) as (server, _):
        assert await effect(server.pdp, "good") is Effect.ALLOW


@in_loop
async def test_a_link_in_place_of_the_directory_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    target = tmp_path / "elsewhere"
    target.mkdir()
    (tmp_path / "opa").symlink_to(target)
    with pytest.raises(OpaFailed, match="not a directory of the user"):
        async with supervised(tmp_path, bundle):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
@in_loop
async def test_a_directory_of_another_user_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "opa").mkdir()
    os.chown(tmp_path / "opa", 12345, 12345)
    with pytest.raises(OpaFailed, match="not a directory of the user"):
        async with supervised(tmp_path, bundle):
            pass


@in_loop
async def test_a_state_directory_with_too_long_a_path_is_told(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(OpaFailed, match="too long for a Unix socket"):
        async with supervised(tmp_path / ("x" * 100), bundle):
            pass


SIDECAR = """
import asyncio, sys
from pathlib import Path
from remit.backends.opa_bundle import Bundle
from remit.backends.opa_server import OpaServer

async def main(opa, bundle, revision, directory):
    server = OpaServer(Path(opa), Path(directory), {"kind": "bad"})
    await server.start(Bundle(Path(bundle), revision))
    print(server.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ties the two only on Linux")
def test_a_sidecar_that_is_killed_leaves_no_opa_behind(tmp_path: Path, bundle: Bundle) -> None:
    command = [sys.executable, "-c", SIDECAR, str(OPA), str(bundle.path), bundle.revision, str(tmp_path / "opa")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sidecar:
        assert sidecar.stdout is not None
        pid = int(sidecar.stdout.readline())
        assert alive(pid)
        sidecar.kill()
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(pid)


@in_loop
async def test_an_opa_of_somebody_else_is_asked_if_it_serves_the_same_bundle(
    tmp_path: Path, bundle: Bundle, other: Bundle
) -> None:
    async with supervised(tmp_path, bundle):
        (path,) = (tmp_path / "opa").glob("*.sock")
        told = Told()
        external = ExternalOpa(f"unix://{path}", BAD, changed=told)
        with pytest.raises(PolicyFailure):
            _ = external.pdp
        with pytest.raises(OpaFailed, match="expected"):
            await external.start(other)
        await external.start(bundle)
        assert await effect(external.pdp, "good") is Effect.ALLOW
        with pytest.raises(OpaFailed):
            await external.reload(other)
        assert await effect(external.pdp, "good") is Effect.ALLOW
        await external.stop()
        assert told.ups == [True, False]


@pytest.mark.parametrize("address", ["localhost:8181", "ftp://x", "http://", "http://x/path", "http://x?y", ""])
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="expected unix://"):
        ExternalOpa(address, BAD)


@in_loop
async def test_management_calls_reach_opa_over_its_socket(tmp_path: Path, bundle: Bundle) -> None:
    async with supervised(tmp_path, bundle):
        (path,) = (tmp_path / "opa").glob("*.sock")
        async with OpaManagement(path) as management:
            assert await management.healthy()
            assert any(name.endswith("remit/main.rego") for name in await management.policies())
            assert await management.data("remit/catalogue") == {"limit": 1}
            with pytest.raises(OpaUnreachable, match="data/remit/nothing"):
                await management.data("remit/nothing")


@in_loop
async def test_management_calls_to_nobody_end_soon(tmp_path: Path) -> None:
    async with OpaManagement(tmp_path / "none.sock") as management, asyncio.timeout(5):
        assert not await management.healthy()
        with pytest.raises(OpaUnreachable):
            await management.policies()
        with pytest.raises(OpaUnreachable, match="not ready within"):
            await management.ready(0.1, 0.02)
