"""The connection that writes a log: one holds it, set up as it must be, and each call ends in one of four ways."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from fakes.commits import START
from fakes.loop import in_loop
from fakes.lossy_network import lossy_network
from fakes.postgres_server import OWNER
from fakes.store_postgres import SIDECAR, Installation
from remit.backends.store_postgres import server as server_module
from remit.backends.store_postgres import session as module
from remit.backends.store_postgres.migrate import latest
from remit.backends.store_postgres.session import LogState, Lost, Rejected, Server, Session, Unknown
from remit.backends.store_postgres.wire import ask
from remit.core.errors import StoreUnavailable

LOOK = {"log": "mine", "ids": []}
HOLDERS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 2 AND granted"


def session_of(server: Server, *, log: str = "mine", key: bytes = bytes(32), **more: Any) -> Session:
    """A session that does not mind that the tests' server keeps nothing over a power loss."""
    given: dict[str, Any] = {"kind": "sidecar", "now": lambda: START, "patience": 0.1, "careless": True, **more}
    return Session(server, log=log, key=key, **given)


@in_loop
async def test_one_writer_a_log(installation: Installation) -> None:
    """A second one is refused and told why, as long as the first is there; then it has the log."""
    first, second = (session_of(installation.reached()) for _ in range(2))
    await first.open()
    with pytest.raises(Lost, match="another process writes the log mine"):
        await second.open()
    assert (await first.call("look_up", LOOK))["sequence"] == 0

    await first.close()
    await second.open()
    with pytest.raises(StoreUnavailable, match="closed"):
        await first.call("look_up", LOOK)
    await second.close()


@in_loop
async def test_writers_of_several_logs_do_not_mind_each_other(installation: Installation) -> None:
    """Each holds its own."""
    sessions = [session_of(installation.reached(), log=f"log{n}") for n in range(3)]
    for each in sessions:
        await each.open()

    assert installation.rows(HOLDERS) == [(3,)]
    for each in sessions:
        await each.close()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"key": bytes(31) + b"x"}, "registered with another key"),
        ({"kind": "local"}, "registered as that of a sidecar"),
    ],
)
@in_loop
async def test_a_log_keeps_its_key_and_kind(installation: Installation, other: dict[str, Any], said: str) -> None:
    """A member with another key is another member, and takes no log that it could not sign."""
    first = session_of(installation.reached())
    await first.open()
    await first.close()

    with pytest.raises(Lost, match=said):
        await session_of(installation.reached(), **other).open()


@in_loop
async def test_calls_wait_for_each_other(installation: Installation) -> None:
    """Many at once are answered, one after the other, on one connection."""
    session = session_of(installation.reached())
    answers = await asyncio.gather(*(session.call("look_up", LOOK) for _ in range(20)))

    assert [each["sequence"] for each in answers] == [0] * 20
    assert installation.rows(HOLDERS) == [(1,)]
    await session.close()


@in_loop
async def test_what_the_server_refuses_has_not_happened(installation: Installation) -> None:
    """Its code and words are told, and the connection serves on."""
    session = session_of(installation.reached())
    with pytest.raises(Rejected, match="there is no log other") as refused:
        await session.call("sign_head", {"log": "other"})
    assert refused.value.code == "RM103"
    with pytest.raises(Rejected, match="does not exist"):
        await session.call("no_such_thing", {})
    with pytest.raises(ValueError, match="drop table"):
        await session.call("x(); drop table", {})

    assert await session.call("look_up", LOOK)
    await session.close()


@in_loop
async def test_a_lost_connection_is_unknown_and_then_made_anew(installation: Installation) -> None:
    """Whoever asked learns that nobody knows; the next call has a connection that holds the lock."""
    session = session_of(installation.reached())
    await session.open()
    for _ in range(3):
        installation.cut()
        with pytest.raises(Unknown):
            await session.call("look_up", LOOK)
        assert await session.call("look_up", LOOK)

    assert installation.rows(HOLDERS) == [(1,)]
    await session.close()


@in_loop
async def test_an_answer_that_is_lost_is_unknown(installation: Installation) -> None:
    """Also where the server has done what it was asked; its backend, which knows of no loss, gives up the lock."""
    async with lossy_network(installation.server.port) as proxy:
        session = session_of(installation.reached(port=str(proxy.port)))
        await session.open()
        proxy.lose_answer = True
        with pytest.raises(Unknown):
            await session.call("prepare_months", {"time": START})

        assert await session.call("look_up", LOOK)
        assert installation.rows(HOLDERS) == [(1,)]
        await session.close()


@in_loop
async def test_a_server_that_says_nothing_is_waited_for_so_long(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call has a bound, and so has a connection; afterwards our silent backend is ended, and all is well."""
    monkeypatch.setattr(server_module, "CONNECT_SECONDS", 1)
    async with lossy_network(installation.server.port) as proxy:
        session = session_of(installation.reached(port=str(proxy.port)))
        await session.open()
        proxy.silent = True
        began = time.monotonic()
        with pytest.raises(Unknown, match=r"no answer within 0\.3 s"):
            await session.call("look_up", LOOK, seconds=0.3)
        with pytest.raises(StoreUnavailable):
            await session.call("look_up", LOOK)
        assert time.monotonic() - began < 8
        proxy.silent = False
        await asyncio.sleep(module.RETRY_SECONDS)

        assert await session.call("look_up", LOOK)
        await session.close()


@in_loop
async def test_a_cancelled_call_leaves_no_answer_to_the_next(installation: Installation) -> None:
    """The connection on which something still comes is let go of."""
    session = session_of(installation.reached())
    await session.open()
    with installation.server.connect(installation.name) as owner, owner.transaction():
        owner.execute("LOCK TABLE remit.log IN ACCESS EXCLUSIVE MODE")
        call = asyncio.create_task(session.call("look_up", LOOK))
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    assert (await session.call("look_up", {"log": "mine", "ids": ["x"]}))["found"] == []
    await session.close()


@in_loop
async def test_a_server_that_is_gone_is_told_at_once(installation: Installation) -> None:
    """Nothing was sent: it certainly did not happen."""
    async with lossy_network(installation.server.port) as proxy:
        session = session_of(installation.reached(port=str(proxy.port)))
        await session.open()
        proxy.refused = True
        proxy.cut()
        with pytest.raises((Unknown, StoreUnavailable)):
            await session.call("look_up", LOOK)
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1"):
            await session.call("look_up", LOOK)
        proxy.refused = False
        await asyncio.sleep(module.RETRY_SECONDS)

        assert await session.call("look_up", LOOK)
        await session.close()


@in_loop
async def test_a_pooler_is_refused(installation: Installation) -> None:
    """Behind one the lock would be held by a connection that is somebody else's the next moment."""
    async with lossy_network(installation.server.port) as proxy:
        proxy.pooled = True
        with pytest.raises(StoreUnavailable, match="connection pooler"):
            await session_of(installation.reached(port=str(proxy.port))).open()


@in_loop
async def test_the_lock_s_return_is_looked_at(installation: Installation) -> None:
    """Whoever owns the session sees the log each time it was taken, and may refuse to go on."""
    seen: list[LogState] = []

    def look(state: LogState) -> None:
        if seen:
            raise Lost("it is not as I left it")
        seen.append(state)

    session = session_of(installation.reached(), check=look)
    await session.open()
    assert seen == [LogState(0, bytes(32), 0, "")]
    installation.cut()
    with pytest.raises(Unknown):
        await session.call("look_up", LOOK)
    with pytest.raises(Lost, match="not as I left it"):
        await session.call("look_up", LOOK)
    await session.close()


# The server and the role


@pytest.mark.parametrize("role_says", ["off", "local", "remote_write"])
@in_loop
async def test_commits_wait_for_the_disk_whatever_the_role_says(installation: Installation, role_says: str) -> None:
    """A role for which it is switched off gets on with it switched on."""
    installation.run(f"ALTER ROLE {SIDECAR} SET synchronous_commit = {role_says}")
    try:
        session = session_of(installation.reached())
        await session.open()
        assert session._connection is not None
        ((found,),) = await ask(session._connection, b"SHOW synchronous_commit")
        assert found == b"on"
        await session.close()
    finally:
        installation.run(f"ALTER ROLE {SIDECAR} RESET synchronous_commit")


@in_loop
async def test_what_is_stronger_stays(installation: Installation) -> None:
    """A server that waits until its standbys show it goes on to."""
    installation.run(f"ALTER ROLE {SIDECAR} SET synchronous_commit = remote_apply")
    try:
        session = session_of(installation.reached())
        await session.open()
        assert session._connection is not None
        ((found,),) = await ask(session._connection, b"SHOW synchronous_commit")
        assert found == b"remote_apply"
        await session.close()
    finally:
        installation.run(f"ALTER ROLE {SIDECAR} RESET synchronous_commit")


@in_loop
async def test_a_server_that_may_lose_commits_is_refused(installation: Installation) -> None:
    """As the tests' own: only they say that they do not mind."""
    with pytest.raises(StoreUnavailable, match="fsync is off"):
        await session_of(installation.reached(), careless=False).open()


@in_loop
async def test_a_server_that_only_lets_read_is_refused(installation: Installation) -> None:
    """A standby after a failover, for one: of several servers behind a name the primary is found."""
    installation.run(f"ALTER ROLE {SIDECAR} SET default_transaction_read_only = on")
    try:
        with pytest.raises(StoreUnavailable, match="read-only"):
            await session_of(installation.reached()).open()
    finally:
        installation.run(f"ALTER ROLE {SIDECAR} RESET default_transaction_read_only")


@in_loop
async def test_a_role_that_may_do_too_much_is_refused(installation: Installation) -> None:
    """A superuser, or whoever owns the store: they could rewrite the journal."""
    with pytest.raises(StoreUnavailable, match="it is a superuser"):
        await session_of(installation.reached(OWNER)).open()
    installation.run("CREATE ROLE owning NOLOGIN; ALTER SCHEMA remit OWNER TO owning")
    installation.run(f"GRANT owning TO {SIDECAR}")
    try:
        with pytest.raises(StoreUnavailable, match="it owns the store"):
            await session_of(installation.reached()).open()
    finally:
        installation.run(f"ALTER SCHEMA remit OWNER TO {OWNER}; DROP ROLE owning")


@in_loop
async def test_a_role_that_was_granted_nothing_is_told_what_to_run(installation: Installation) -> None:
    """And a database that is no store, which command makes it one."""
    installation.run("REVOKE remit_sidecar FROM remit_test_sidecar")
    try:
        with pytest.raises(StoreUnavailable, match=f"GRANT remit_sidecar TO {SIDECAR}"):
            await session_of(installation.reached()).open()
    finally:
        installation.run("GRANT remit_sidecar TO remit_test_sidecar")
    with pytest.raises(StoreUnavailable, match="remit store migrate"):
        await session_of(installation.reached(dbname="postgres")).open()


@pytest.mark.parametrize(
    ("change", "said", "kind"),
    [
        (f"INSERT INTO remit.migration VALUES ({latest() + 1}, 0)", "upgrade Remit", Lost),
        ("DELETE FROM remit.migration", "remit store migrate", StoreUnavailable),
    ],
)
@in_loop
async def test_another_schema_is_refused_both_ways(
    installation: Installation, change: str, said: str, kind: type[StoreUnavailable]
) -> None:
    """Also by a session that was open before, when it connects again: a newer one for good."""
    session = session_of(installation.reached())
    await session.open()
    before = installation.rows("SELECT * FROM remit.migration")
    installation.run(change)
    installation.cut()
    try:
        with pytest.raises(Unknown):
            await session.call("look_up", LOOK)
        with pytest.raises(StoreUnavailable, match=said) as refused:
            await session.call("look_up", LOOK)
        assert type(refused.value) is kind
    finally:
        installation.run("DELETE FROM remit.migration")
        for version, applied in before:
            installation.run(f"INSERT INTO remit.migration VALUES ({version}, {applied})")
        await session.close()


@pytest.mark.parametrize(
    "broken",
    [
        lambda server: Server({**server.settings, "user": "nobody_at_all"}, server.password, server.where),
        lambda server: Server({**server.settings, "dbname": "none_such"}, server.password, server.where),
        lambda server: Server(server.settings, _another_password, server.where),
    ],
)
@in_loop
async def test_what_is_wrong_with_the_address_is_told(
    installation: Installation, broken: Callable[[Server], Server]
) -> None:
    """As an unavailable store, with the server's words and no password in them."""
    with pytest.raises(StoreUnavailable) as refused:
        await session_of(broken(installation.reached())).open()

    assert "127.0.0.1" in refused.value.detail
    assert "wrong horse" not in refused.value.detail


async def _another_password() -> bytes:
    return b"wrong horse"
