"""What the store on PostgreSQL does beyond the contract: broken connections, logs that were changed, other writers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.commits import EUR, NEVER, SECOND, START, Desk, row
from fakes.loop import in_loop, until
from fakes.lossy_network import LossyNetwork, lossy_network
from fakes.postgres_server import SETTINGS, postgres_server
from fakes.store_postgres import DESK, SIDECAR, Installation, new_installation
from fakes.world import FakeClock, FakeIds
from psycopg.types.json import Jsonb
from remit.backends.store_postgres import queue as queue_module
from remit.backends.store_postgres import session as session_module
from remit.backends.store_postgres import writer as writer_module
from remit.backends.store_postgres.session import RETRY_SECONDS, Lost, Server
from remit.backends.store_postgres.store import PostgresStore
from remit.core.effect import (
    BindTrace,
    Commit,
    Committed,
    EndReservation,
    JoinLabels,
    KeepAnswer,
    PlaceHalt,
    ProlongReservation,
    Refused,
    UsePassport,
)
from remit.core.errors import BadRequest, StoreUnavailable
from remit.core.model import Halt, Versions
from remit.core.reason import Reason
from remit.ports import Store

KEY = Ed25519PrivateKey.generate()
DAY = 86_400 * SECOND


async def opened(server: Server, log: str = "mine", **more: Any) -> PostgresStore:
    """A store of a member's."""
    given: dict[str, Any] = {"clock": FakeClock(START), "ids": FakeIds(), "careless": True, "patience": 0.2, **more}
    store = await PostgresStore.open(server, log=log, kind="sidecar", key=given.pop("key", KEY), **given)
    store.activate("r1")
    return store


@asynccontextmanager
async def desk_on(installation: Installation, log: str = "mine", **more: Any) -> AsyncIterator[Desk]:
    """A desk with a store of its own, whose records have its log's name in front."""
    store = await opened(installation.reached(), log, **more)
    yield Desk(store)
    if not store.failed:
        await store.close()


@asynccontextmanager
async def desk_behind(installation: Installation, proxy: LossyNetwork, **more: Any) -> AsyncIterator[Desk]:
    """A desk whose connections go through a network that may break."""
    store = await opened(installation.reached(port=str(proxy.port)), **more)
    yield Desk(store)
    if not store.failed:
        await store.close()


async def killed(store: Store) -> None:
    """As if the process had been: nothing more is written, or signed."""
    assert isinstance(store, PostgresStore)
    await store._queue.stop("killed")
    store._stop_timer()
    await store._session.close()
    await store._reads.close()


async def sound(store: Store) -> None:
    """Every log verifies, and our key vouches for ours."""
    for found in await store.verify():
        assert found.problems == (), found
        assert found.authentic


# An outcome that nobody knows


@in_loop
async def test_a_commit_whose_answer_was_lost_is_found(installation: Installation) -> None:
    """It happened once, and its caller is told where."""
    async with lossy_network(installation.server.port) as proxy, desk_behind(installation, proxy) as desk:
        await desk.must()
        proxy.lose_answer = True
        done = await desk.must(desk.reserving(EUR, row(9 * EUR))[1])

        assert (proxy.lost, done) == (1, Committed("mine", 2))
        assert await desk.room(row(9 * EUR)) == (9 * EUR, 0, EUR)
        assert await desk.must() == Committed("mine", 3)
        await sound(desk.store)


@in_loop
async def test_a_commit_that_never_arrived_is_sent_again(installation: Installation) -> None:
    """And happens once."""
    async with lossy_network(installation.server.port) as proxy, desk_behind(installation, proxy) as desk:
        await desk.must()
        proxy.lose_request = True
        done = await desk.must(desk.reserving(EUR, row(9 * EUR))[1])

        assert (proxy.lost, done) == (1, Committed("mine", 2))
        assert await desk.room(row(9 * EUR)) == (9 * EUR, 0, EUR)


@in_loop
async def test_each_of_a_batch_is_told_what_became_of_it(installation: Installation) -> None:
    """Those that were recorded are found; the others are asked again, and are refused, or raise, as they would have."""
    async with lossy_network(installation.server.port) as proxy, desk_behind(installation, proxy) as desk:
        await desk.must()
        proxy.lose_answer = True
        done = await asyncio.gather(
            desk.commit(id="d_first"),
            desk.commit(desk.reserving(1, row(0))[1]),
            desk.commit(EndReservation("r_nothing", "settled", 1, {}, "")),
            desk.commit(id="d_last"),
            return_exceptions=True,
        )

        assert done[0] == Committed("mine", 2)
        assert done[1] == Refused(Reason.BUDGET_EXHAUSTED, "month")
        assert "reserved nothing" in str(done[2])
        assert done[3] == Committed("mine", 3)
        assert [each.record.id for each in await desk.store.journal(1, 10)] == ["d_first", "d_last"]


@pytest.mark.usefixtures("postgres")  # which says what becomes of this where there is none
def test_a_server_that_is_killed_has_all_that_was_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that waits for its disk needs no carelessness; one that was killed under load is gone on with."""
    monkeypatch.setattr(writer_module, "RESOLVE_SECONDS", 0.3)
    kept = {name: value for name, value in SETTINGS.items() if name not in ("fsync", "full_page_writes")}
    with postgres_server(kept) as server, new_installation(server) as installation:
        asyncio.run(_open_and_close(installation))
        for name in ("fsync", "full_page_writes"):  # a restart is quicker so
            server.run(f"ALTER SYSTEM SET {name} = off")
        server.run("SELECT pg_reload_conf()")
        asyncio.run(_kill_under_load(installation))


async def _open_and_close(installation: Installation) -> None:
    async with desk_on(installation, careless=False) as desk:
        await desk.must()


async def _kill_under_load(installation: Installation) -> None:
    async with desk_on(installation) as desk:
        limit = row(10**6 * EUR)
        commits = [asyncio.create_task(desk.commit(desk.reserving(1, limit)[1])) for _ in range(400)]
        await until(lambda: sum(each.done() for each in commits) > 60)
        await asyncio.to_thread(installation.server.kill)
        outcomes = await asyncio.gather(*commits, return_exceptions=True)
        await asyncio.to_thread(installation.server.start)

        done = [each for each in outcomes if isinstance(each, Committed)]
        lost = [each for each in outcomes if isinstance(each, StoreUnavailable)]
        assert len(done) + len(lost) == 400
        assert done
        assert lost
        await asyncio.sleep(RETRY_SECONDS)
        last = await desk.must()
        places = {each.sequence for each in await desk.store.journal(0, 1000)}
        assert {each.sequence for each in done} <= places == set(range(1, last.sequence + 1))
        assert await desk.room(limit) == (limit.limit, 0, last.sequence - 2)
        await sound(desk.store)


@in_loop
async def test_a_backend_that_is_killed_in_a_commit_has_done_nothing(installation: Installation) -> None:
    """While it waits for a lock, for one; the commit goes through on the next connection."""
    async with desk_on(installation) as desk:
        await desk.reserve(EUR, row(9 * EUR))
        with installation.server.connect(installation.name) as owner:
            with owner.transaction():
                owner.execute("SELECT FROM remit.budget FOR UPDATE")
                commit = asyncio.create_task(desk.must(desk.reserving(EUR, row(9 * EUR))[1]))
                await _until_waiting(installation)
                installation.run(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                )
            assert await commit == Committed("mine", 2)

        assert await desk.room(row(9 * EUR)) == (9 * EUR, 0, 2 * EUR)
        await sound(desk.store)


@in_loop
async def test_while_nothing_can_be_reached_callers_are_told_so(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for long, the store does not give up, and what was unknown is known before anything else is done."""
    monkeypatch.setattr(writer_module, "RESOLVE_SECONDS", 0.3)
    async with lossy_network(installation.server.port) as proxy, desk_behind(installation, proxy) as desk:
        await desk.must()
        proxy.refused = proxy.lose_answer = True
        with pytest.raises(StoreUnavailable, match="connection"):
            await desk.commit(id="d_unknown")
        with pytest.raises(StoreUnavailable):
            await desk.commit(id="d_never")
        assert not desk.store.failed
        proxy.refused = False
        await asyncio.sleep(0.25)

        assert await desk.must(id="d_after") == Committed("mine", 3)
        assert [each.record.id for each in await desk.store.journal(1, 10)] == ["d_unknown", "d_after"]
        await sound(desk.store)


@in_loop
async def test_nobody_waits_longer_than_is_said(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also behind a call that hangs: who waits in the queue certainly was not recorded."""
    monkeypatch.setattr(queue_module, "ANSWER_SECONDS", 0.2)
    async with desk_on(installation) as desk:
        await desk.reserve(EUR, row(9 * EUR))
        with installation.server.connect(installation.name) as owner, owner.transaction():
            owner.execute("SELECT FROM remit.budget FOR UPDATE")
            commits = [
                asyncio.create_task(desk.commit(desk.reserving(EUR, row(9 * EUR))[1], id=f"d_{n}")) for n in range(2)
            ]
            await asyncio.sleep(0)
            outcomes = await asyncio.gather(*commits, return_exceptions=True)
            assert [type(each) for each in outcomes] == [StoreUnavailable] * 2
        monkeypatch.setattr(queue_module, "ANSWER_SECONDS", 15)

        await desk.must()
        await sound(desk.store)


@in_loop
async def test_an_erasure_whose_answer_was_lost_is_found(installation: Installation) -> None:
    """It is done once, and its checkpoint is known."""
    async with lossy_network(installation.server.port) as proxy, desk_behind(installation, proxy) as desk:
        await desk.must(id="d_private")
        proxy.lose_answer = True
        assert await desk.store.erase("d_private", by="ana", reason="") == Committed("mine", 2)

        await desk.must()
        await sound(desk.store)


@in_loop
async def test_one_member_erases_what_another_recorded(installation: Installation) -> None:
    """Both logs verify; without the act the one does not, and with the body back in its place not the other."""
    async with desk_on(installation, "one") as one, desk_on(installation, "two") as two:
        await one.must(id="d_private")
        ((body, salt),) = installation.rows("SELECT body, salt FROM remit.journal")
        await two.store.erase("d_private", by="ana", reason="asked to be forgotten")
        assert {(each.log, each.state, each.erased) for each in await one.store.verify()} == {
            ("one", "authentic", 1),
            ("two", "consistent", 0),  # by a key that only the database names
        }

        installation.owner.execute("UPDATE remit.journal SET body = %s, salt = %s WHERE id = 'd_private'", [body, salt])
        found = {each.log: each.problem for each in await one.store.verify()}
        assert found == {"one": "", "two": "the act names a body that is not erased"}
        installation.run("UPDATE remit.journal SET body = NULL, salt = NULL WHERE id = 'd_private'")
        installation.run("UPDATE remit.journal SET kind = 'report' WHERE ref = 'd_private'")
        found = {each.log: each.problem for each in await one.store.verify()}
        assert found["one"] == "the body is gone, and no journalled act erased it"
        assert found["two"] == "the header does not match its hash"


# A log that is not as it was left


@in_loop
async def test_a_store_goes_on_where_it_ended(installation: Installation) -> None:
    """Also where nothing was signed at the end, as after a kill."""
    async with desk_on(installation, checkpoint_records=4) as desk:
        for _ in range(6):
            await desk.must()
        await killed(desk.store)
    async with desk_on(installation) as again:
        assert await again.must(id="d_7") == Committed("mine", 7)
        assert [each.size for each in await again.store.checkpoints()] == [4, 6]
        await sound(again.store)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE remit.journal SET body = 'x' WHERE sequence = 6", "record 6: the body does not match"),
        ("UPDATE remit.journal SET subject = 'bob' WHERE sequence = 5", "record 5: the header does not match"),
        ("DELETE FROM remit.journal WHERE sequence = 6", "ends at record 5"),
        ("UPDATE remit.log SET sequence = 5", "ends at record 6, and its head is record 5"),
        ("UPDATE remit.journal SET hash = previous WHERE sequence = 4", "not the one that the last checkpoint names"),
        ("UPDATE remit.checkpoint SET note = replace(note, 'mine', 'mina')", "not signed by this member's key"),
        ("UPDATE remit.checkpoint SET note = 'x'", "the last checkpoint cannot be read"),
    ],
)
@in_loop
async def test_a_log_that_was_changed_is_not_gone_on_with(installation: Installation, change: str, said: str) -> None:
    """What would be signed next would vouch for it."""
    async with desk_on(installation, checkpoint_records=4) as desk:
        for n in range(6):
            await desk.must()
            assert n < 4 or desk.store.checkpoint is not None  # type: ignore[attr-defined]
        await killed(desk.store)
    installation.run(change)

    with pytest.raises(StoreUnavailable, match=said):
        await opened(installation.reached())


@in_loop
async def test_records_that_were_lost_end_it_for_good(installation: Installation) -> None:
    """A failover to a standby that was behind: what was answered for is not there any more."""
    async with desk_on(installation) as desk:
        for _ in range(3):
            await desk.must()
        installation.run("DELETE FROM remit.journal WHERE sequence = 3")
        installation.run(
            "UPDATE remit.log SET sequence = 2, head = (SELECT hash FROM remit.journal WHERE sequence = 2)"
        )
        installation.cut()
        with pytest.raises(StoreUnavailable, match="lost records of the log mine"):
            await desk.commit()
        assert desk.store.failed
        with pytest.raises(StoreUnavailable, match="lost records"):
            await desk.commit()
        await desk.store.close()


@in_loop
async def test_a_database_that_was_set_back_is_found_at_the_next_start(
    installation: Installation, tmp_path: Path
) -> None:
    """By the copy of the last checkpoint that the member keeps; and so is another record in the signed one's place."""
    note = tmp_path / "sidecar.checkpoint"
    async with desk_on(installation, note=note) as desk:
        for _ in range(3):
            await desk.must()
    signed = note.read_text()
    async with desk_on(installation, note=note) as desk:
        await desk.must(id="d_later")

    note.write_text(signed)  # an older copy promises less, and is kept as well
    async with desk_on(installation, note=note):
        pass
    installation.run(
        "DELETE FROM remit.checkpoint; UPDATE remit.log SET sequence = 2, signed = 0,"
        " head = (SELECT hash FROM remit.journal WHERE sequence = 2)"
    )
    installation.run("DELETE FROM remit.journal WHERE sequence > 2")
    with pytest.raises(StoreUnavailable, match="lost records of the log mine"):
        await opened(installation.reached(), note=note)
    note.write_text(signed.replace("remit/mine", "remit/other"))
    with pytest.raises(StoreUnavailable, match="not signed by this member's key"):
        await opened(installation.reached(), note=note)


@in_loop
async def test_a_head_that_somebody_else_moved_ends_it_for_good(installation: Installation) -> None:
    """One writer a log: the server moves the head only from where the writer has it."""
    async with desk_on(installation) as desk:
        await desk.must()
        installation.run("UPDATE remit.log SET sequence = 7")
        with pytest.raises(StoreUnavailable, match="head of log mine is record 7, not 1"):
            await desk.commit()
        assert desk.store.failed
        await desk.store.close()


@in_loop
async def test_a_lock_that_was_lost_to_another_writer_ends_it_for_good(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the log has a new writer, the old one writes nothing more."""
    monkeypatch.setattr(session_module, "LOCK_SECONDS", 0.2)
    async with desk_on(installation) as desk:
        await desk.must()
        installation.cut()
        async with desk_on(installation) as other:
            with pytest.raises(StoreUnavailable, match="another process writes the log mine"):
                await desk.commit()
            assert desk.store.failed
            await other.must(id="d_other")
        await desk.store.close()


@in_loop
async def test_a_database_that_chains_records_wrongly_is_found_at_once(installation: Installation) -> None:
    """The client computes each hash itself."""
    source = installation.rows("SELECT pg_get_functiondef('remit.append(text, bigint, bytea, jsonb)'::regprocedure)")[
        0
    ][0]
    installation.run(source.replace("sha256(convert_to(", "sha256('x' || convert_to("))
    try:
        async with desk_on(installation) as desk:
            with pytest.raises(Lost, match="record 1 was not chained to record 0"):
                await desk.commit()
            assert desk.store.failed
            await desk.store.close()
    finally:
        installation.run(source)


# Text, months, batches


@in_loop
async def test_members_with_roles_of_their_own_cannot_write_for_each_other(installation: Installation) -> None:
    """Neither while the other is connected nor while it is away, nor by naming its local log as one's own."""
    async with desk_on(installation) as desk:
        await desk.must()
    with installation.connect(DESK) as stranger:
        for function, payload in (
            (
                "take_log",
                {"log": "mine", "kind": "sidecar", "key": KEY.public_key().public_bytes_raw().hex(), "time": 0},
            ),
            ("sign_head", {"log": "mine", "size": 1, "hash": "", "time": 0, "note": "", "revision": ""}),
            ("begin_term", {"log": "mine", "lease_ms": 1000, "now": 0}),
            ("pulse", {"log": "mine", "lease_ms": 1000}),
            ("ship", {"log": "mine", "first": -1, "records": [], "effects": [], "checkpoints": []}),
        ):
            with pytest.raises(
                psycopg.Error, match="written by the role remit_test_sidecar, which remit_test_desk is not"
            ):
                stranger.execute(f"SELECT remit.{function}(%s)", [Jsonb(payload)])
    with pytest.raises(StoreUnavailable, match="written by the role"):
        async with desk_behind_role(installation, own="mine") as other:
            await other.must()


@asynccontextmanager
async def desk_behind_role(installation: Installation, own: str) -> AsyncIterator[Desk]:
    """A member of another role, which says that a log of the first one's is its own local log."""
    given: dict[str, Any] = {"clock": FakeClock(START), "ids": FakeIds(), "careless": True, "key": KEY, "kind": "desk"}
    store = await PostgresStore.open(installation.reached(DESK), log="theirs", own=own, **given)
    try:
        yield Desk(store)
    finally:
        await store._session.close()
        await store._reads.close()


@pytest.mark.parametrize(
    ("effects", "parts", "field"),
    [
        ((), {"subject": "a\0b"}, "record.subject"),
        ((), {"id": "d\0"}, "record.id"),
        ((JoinLabels("ann", "", {"pi\0i": "d"}),), {}, "effects[0].labels's keys"),
        ((BindTrace("ann", "t", "w"), UsePassport("p\0", "ann", 1)), {}, "effects[1].id"),
        ((KeepAnswer("ann", "Authorize", "k\0", "d", b"\0", 1),), {}, "effects[0].key"),
        ((UsePassport("p\ud800", "ann", 1),), {}, "effects[0].id"),
        ((UsePassport("p", "ann", 1 << 64),), {}, "effects[0].expires"),
    ],
)
@in_loop
async def test_what_postgresql_cannot_hold_is_its_caller_s_mistake(
    installation: Installation, effects: Sequence[Any], parts: dict[str, Any], field: str
) -> None:
    """It is named, and harms nobody who is in the same batch."""
    async with desk_on(installation) as desk:
        outcomes = await asyncio.gather(
            desk.commit(id="d_good"), desk.commit(*effects, **parts), desk.commit(id="d_too"), return_exceptions=True
        )

        assert isinstance(outcomes[1], BadRequest)
        assert field in str(outcomes[1])
        assert (outcomes[0], outcomes[2]) == (Committed("mine", 1), Committed("mine", 2))


@in_loop
async def test_a_text_that_only_looks_like_nul_is_stored(installation: Installation) -> None:
    """A backslash and digits are text, and so is every other character."""
    async with desk_on(installation) as desk:
        for odd in ("\\u0000", "\\\\u0000", "\x01\x7f\u2028\U0001f600", '","previous":"', '"sequence":"0"', "'; --"):
            await desk.must(JoinLabels("ann", "", {odd: odd}), subject=odd, body=b"\0\xff")
            found = (await desk.store.latest(0, 1))[0].record
            assert (found.subject, found.body) == (odd, b"\0\xff")
        await sound(desk.store)


@in_loop
async def test_a_number_that_does_not_fit_harms_nobody_else(installation: Installation) -> None:
    """The server's own check refuses one caller's part alone."""
    async with desk_on(installation) as desk:
        _, reserve = desk.reserving(EUR, row(EUR, end=-1, start=-(1 << 62)))
        too_large = UsePassport("p" * 3000, "ann", 1)  # no index entry is that long
        outcomes = await asyncio.gather(
            desk.commit(reserve, id="d_1"),
            desk.commit(_random(too_large)),
            desk.commit(id="d_2"),
            return_exceptions=True,
        )

        assert [type(each) for each in outcomes] == [Committed, StoreUnavailable, Committed]
        assert "SQLSTATE 54000" in str(outcomes[1])


@in_loop
async def test_a_month_is_made_with_its_first_record(installation: Installation) -> None:
    """A decision next year, or in a year that is long past, is recorded, and so is who saw whom in it."""
    async with desk_on(installation) as desk:
        for time in (START + 300 * DAY, START - 3000 * DAY):
            desk.time = time
            await desk.must()
        assert len(await desk.store.journal(0, 10)) == 2
        desk.time = -1
        with pytest.raises(StoreUnavailable, match="before 1970"):
            await desk.commit()
        desk.time = START
        await desk.must()
        await sound(desk.store)


@in_loop
async def test_a_large_batch_is_sent_in_parts(installation: Installation) -> None:
    """Bodies of megabytes go through, whatever waits beside them."""
    async with desk_on(installation) as desk:
        done = await asyncio.gather(
            *(desk.must(body=b"x" * 1_500_000) for _ in range(3)), *(desk.must() for _ in range(40))
        )

        assert sorted(each.sequence for each in done) == list(range(1, 44))
        await sound(desk.store)


@in_loop
async def test_a_checkpoint_comes_soon_after_the_first_record(installation: Installation) -> None:
    """Without any other record, or a close."""
    async with desk_on(installation, checkpoint_seconds=0.02) as desk:
        await desk.must()
        await until(lambda: desk.store.checkpoint is not None)  # type: ignore[attr-defined]


# Several writers


@in_loop
async def test_members_decide_on_the_same_facts(installation: Installation) -> None:
    """What one member has changed makes another's facts stale: labels, halts, workflows; its money is everybody's."""
    async with desk_on(installation, "one") as one, desk_on(installation, "two") as two:
        two.count = 1000
        await one.open("w1")
        facts = await two.facts(workflow="w1")
        await one.join("pii")
        assert await two.judged(facts, workflow="w1") == Refused(Reason.FACTS_CHANGED, "labels")
        facts = await two.facts(workflow="w1")
        await one.must(PlaceHalt(Halt("h1", "service", "other", "ana", "", START)))
        assert await two.judged(facts, workflow="w1") == Refused(Reason.FACTS_CHANGED, "halts")
        facts = await two.facts(workflow="w1")
        await one.close("w1", by="lead")
        assert await two.judged(facts, workflow="w1") == Refused(Reason.WORKFLOW_INVALID, "w1")
        held = await one.reserve(3 * EUR, row(5 * EUR))
        assert isinstance(await two.commit(two.reserving(3 * EUR, row(5 * EUR))[1]), Refused)
        await two.must(ProlongReservation(held, NEVER))
        await two.end(held, cost=EUR, usage={"token": 3})
        assert await one.room(row(5 * EUR)) == (5 * EUR, EUR, 0)
        two.store.activate("r2")
        assert await two.judged(await two.facts()) == Refused(Reason.FACTS_CHANGED, "policy")
        assert isinstance(await one.judged(await one.facts()), Committed)
        assert sorted(installation.rows("SELECT name, revision FROM remit.log")) == [("one", "r1"), ("two", "r1")]


@in_loop
async def test_a_commit_that_waits_for_another_member_is_tried_again(installation: Installation) -> None:
    """A lock that is held for too long, or a deadlock, undoes a batch; its writer does it again."""
    async with desk_on(installation, "one") as desk:
        await desk.reserve(EUR, row(9 * EUR))
        again = installation.rows("SELECT pg_get_functiondef('remit.lock_homes(jsonb)'::regprocedure)")[0][0]
        installation.run("CREATE SEQUENCE public.turns")
        installation.run("GRANT ALL ON SEQUENCE public.turns TO PUBLIC")
        installation.run(
            again.replace(
                "BEGIN\n",
                "BEGIN\nIF nextval('public.turns') < 3 THEN RAISE 'x' USING ERRCODE = 'deadlock_detected'; END IF;\n",
                1,
            )
        )
        try:
            await desk.must(desk.reserving(EUR, row(9 * EUR))[1])
        finally:
            installation.run(again)
            turns = installation.rows("SELECT last_value FROM public.turns")
            installation.run("DROP SEQUENCE public.turns")

        assert turns == [(3,)]
        assert await desk.room(row(9 * EUR)) == (9 * EUR, 0, 2 * EUR)


# What others decide on by themselves


async def _lease(installation: Installation, log: str, seconds: float) -> None:
    installation.run(
        "INSERT INTO remit.log (name, kind, public_key, role, created) "
        f"VALUES ('{log}', 'local', '', '{SIDECAR}', 0) ON CONFLICT DO NOTHING"
    )
    installation.run(f"UPDATE remit.log SET lease = clock_timestamp() + interval '{seconds} s' WHERE name = '{log}'")


@in_loop
async def test_a_session_at_another_member_is_asked_for(installation: Installation) -> None:
    """While its lease lasts nothing is decided on it elsewhere, until it is given back, or the lease has passed."""
    asked: list[tuple[str, str]] = []

    async def recall(kind: str, name: str) -> bool:
        asked.append((kind, name))
        if len(asked) == 2:
            installation.run("DELETE FROM remit.home")
        return len(asked) < 3

    async with desk_on(installation, own="mine-local", recall=recall) as desk:
        for effects in (
            (),
            (JoinLabels("ann", "", {"pii": "d"}),),
            (KeepAnswer("ann", "Report", "k", "d", b"", NEVER),),
        ):
            asked.clear()
            await _lease(installation, "theirs", 60)
            installation.run("INSERT INTO remit.home (subject, log) VALUES ('ann', 'theirs')")
            versions = None if effects else Versions(revision="r1")
            await desk.store.commit(Commit(desk.record(), effects, versions, "ann"))
            assert asked == [("home", "ann")] * 2

        installation.run("INSERT INTO remit.home (subject, log) VALUES ('ann', 'theirs')")
        asked.extend([("", "")] * 5)
        with pytest.raises(StoreUnavailable, match="session of ann is another member's"):
            await desk.join("finance")
        assert isinstance(await desk.commit(), Committed)  # it changes nothing of the session
        assert isinstance(await desk.join("finance", subject="bob"), Committed)

        await _lease(installation, "theirs", -1)
        await desk.join("finance")
        assert installation.rows("SELECT count(*) FROM remit.home") == [(0,)]


@in_loop
async def test_a_session_at_home_is_its_own_member_s(installation: Installation) -> None:
    """The member by whose local log it is decided is not kept from it."""
    async with desk_on(installation, own="mine-local") as desk:
        await _lease(installation, "mine-local", 60)
        installation.run("INSERT INTO remit.home (subject, log) VALUES ('ann', 'mine-local')")

        await desk.join("pii")
        assert installation.rows("SELECT count(*) FROM remit.home") == [(1,)]


@in_loop
async def test_a_reservation_of_another_member_s_slice_is_its_own_to_end(installation: Installation) -> None:
    """While its lease lasts; then it is ended plainly, by whoever comes."""
    async with desk_on(installation) as desk:
        id = await desk.reserve(EUR, row(9 * EUR))
        await _lease(installation, "theirs", 60)
        installation.run("UPDATE remit.reservation SET allotted = 'theirs'")
        for effect in (EndReservation(id, "voided", 0, {}, ""), ProlongReservation(id, NEVER)):
            with pytest.raises(StoreUnavailable, match=f"reservation {id} is another member's"):
                await desk.commit(effect)

        await _lease(installation, "theirs", -1)
        await desk.end(id, cost=EUR)
        assert installation.rows("SELECT state, allotted FROM remit.reservation") == [("settled", "")]
        assert await desk.room(row(9 * EUR)) == (9 * EUR, EUR, 0)


@in_loop
async def test_room_that_others_hold_in_slices_is_asked_for(installation: Installation) -> None:
    """A refusal stands only once there is nothing left that could be given back."""
    asked: list[tuple[str, str]] = []

    async def recall(kind: str, name: str) -> bool:
        asked.append((kind, name))
        if len(asked) == 2:
            installation.run("UPDATE remit.budget SET held = 0; DELETE FROM remit.allotment")
        return True

    async with desk_on(installation, own="mine-local", recall=recall) as desk:
        limit = row(9 * EUR)
        await desk.end(await desk.reserve(EUR, limit), "voided")
        await _lease(installation, "theirs", 60)
        installation.run(f"UPDATE remit.budget SET held = {9 * EUR}")
        installation.run(
            f"INSERT INTO remit.allotment (budget, log, allotted) SELECT id, 'theirs', {9 * EUR} FROM remit.budget"
        )

        await desk.reserve(9 * EUR, limit)
        assert asked == [("budget", "month")] * 2
        assert isinstance(await desk.commit(desk.reserving(EUR, limit)[1]), Refused)
        assert len(asked) == 2


async def _until_waiting(installation: Installation) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    await until(lambda: installation.rows(waiting)[0][0] > 0)


def _random(passport: UsePassport) -> UsePassport:
    """The same with an id that cannot be compressed."""
    return UsePassport("".join(map(chr, range(0x4E00, 0x4E00 + len(passport.id)))), passport.by, passport.expires)
