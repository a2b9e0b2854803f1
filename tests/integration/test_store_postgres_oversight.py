"""Approvals, grants and claims on PostgreSQL beyond the contract: several members, batches, and what is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal

import pytest
from fakes.approvals import HOUR, TERMS, asked, is_granted, is_open, item, stored, taken_back, vote
from fakes.commits import NEVER, SECOND, START, Desk
from fakes.loop import in_loop
from fakes.store_postgres import Installation, open_store
from race.test_grants import UNLOCKED, impatient
from race.test_races import deadlocks
from remit.backends.clock_system import SystemClock
from remit.backends.ids_random import RandomIds
from remit.core.approval import State, Verdict, voted
from remit.core.claim import Claim
from remit.core.effect import (
    Committed,
    JoinApproval,
    MoveApproval,
    NoteAct,
    OpenApproval,
    PlaceHalt,
    Refused,
    ReleaseClaim,
    RespectClaims,
    TakeClaim,
    UseGrant,
)
from remit.core.errors import BadRequest, StoreUnavailable
from remit.core.model import Halt
from remit.core.reason import Reason
from remit.ports import ApprovalsQuery

MONTH = 30 * 24 * HOUR
ROUNDS = 40
STALE = Refused(Reason.FACTS_CHANGED, "approval")
SPENT = Refused(Reason.FACTS_CHANGED, "grant")


@asynccontextmanager
async def members(installation: Installation, count: int) -> AsyncIterator[list[Desk]]:
    """So many members, each with a log and ids of its own."""
    ids = RandomIds(SystemClock())
    stores = [await open_store(installation, f"log_{n}", ids=ids) for n in range(count)]
    yield [Desk(store, count=n * 10**6) for n, store in enumerate(stores)]
    for store in stores:
        await store.close()


# Several members


@in_loop
async def test_a_use_and_its_revocation_come_one_after_the_other(installation: Installation) -> None:
    """Whichever is first: what was let through is used, and nothing is let through once it is revoked."""
    async with members(installation, 3) as (a, b, c):
        used = 0
        for n in range(ROUNDS):
            id = f"a{n:03}"
            grant = await is_granted(a, asked(id, terms=replace(TERMS, uses=1)))
            revoking = asyncio.create_task(c.commit(taken_back(grant)))
            await asyncio.sleep(0.002 * (n % 3))  # a head start, for some
            using = [desk.commit(UseGrant(id, "b1", 1)) for desk in (a, b)]
            *uses, revoked = await asyncio.gather(*using, revoking)

            assert isinstance(revoked, Committed)
            done = sum(isinstance(each, Committed) for each in uses)
            assert (await stored(b, id)).items[0].used == done <= 1
            assert await b.commit(UseGrant(id, "b1", 1)) == SPENT
            used += done
        assert used < ROUNDS, "the revocation was never first: this proves nothing"


@in_loop
async def test_of_several_who_answer_the_same_version_one_is_heard(installation: Installation) -> None:
    """The others look again: members among themselves, and callers of one."""
    async with members(installation, 2) as (a, b):
        for n in range(ROUNDS // 2):
            opened = await is_open(a, asked(f"a{n:03}"))
            answers = [
                MoveApproval(voted(opened, vote(f"p{place}", verdict), outcome, START))
                for place, (verdict, outcome) in enumerate(
                    [(Verdict.APPROVE, "approved"), (Verdict.DENY, "denied"), (Verdict.HOLD, "pending")] * 2
                )
            ]
            outcomes = await asyncio.gather(
                *(desk.commit(each) for desk, each in zip([a, b] * 3, answers, strict=True))
            )
            assert outcomes.count(STALE) == len(answers) - 1
            assert len((await stored(a, opened.id)).votes) == 1


async def crossed(installation: Installation) -> int:
    """Uses, joins, claims and acts in both orders, while records are erased and what has ended is forgotten: how many
    deadlocks that made, and of the four how many had no answer."""
    found = -deadlocks(installation)
    async with members(installation, 4) as (a, b, c, d):
        for id in ("a1", "a2"):
            await is_granted(a, asked(id, terms=replace(TERMS, uses=10**6, cost=None, ttl=10**8)))
        for n in range(ROUNDS):
            await a.must(id=f"d_private{n}")
            await is_open(a, asked(f"w{n:02}", subject=f"agent{n}", items=(item(decision=f"d_private{n}"),)))

        async def work(desk: Desk, *, backwards: bool) -> None:
            order = -1 if backwards else 1
            for n in range(ROUNDS):
                uses = [UseGrant(each, "b1", 1) for each in ("a1", "a2")[::order]]
                things = ("x", "y")[::order]
                acts = [NoteAct("w", each, desk.store.log, "write", "d", 1, START) for each in things]
                await desk.commit(*uses, RespectClaims(things, "ann", ""), *acts)
                pair = (f"w{n:02}", f"w{(n + 1) % ROUNDS:02}")[::order]
                await desk.commit(*(JoinApproval(each, 1, item(f"{desk.store.log}{n}")) for each in pair))

        async def tidy(desk: Desk, *, odd: bool) -> None:
            for n in range(odd, ROUNDS, 2):
                await desk.store.erase(f"d_private{n}", by="ana", reason="")
                await desk.store.prune(START + 2 * MONTH)

        working = (work(a, backwards=False), work(b, backwards=True), tidy(c, odd=False), tidy(d, odd=True))
        ends = await asyncio.gather(*working, return_exceptions=True)
        assert all(each is None or isinstance(each, StoreUnavailable) for each in ends), ends
        if ends == [None] * len(working):
            shown = await a.store.approvals(ApprovalsQuery(states=(State.PENDING,), limit=1000))
            assert [each.items[0].shown for each in shown] == [""] * ROUNDS
        found += len(working) - ends.count(None)
    installation.cut()  # who leaves tells what it has met
    return found + deadlocks(installation)


@in_loop
async def test_no_two_members_wait_for_each_other(installation: Installation) -> None:
    """Whatever they change of the same things, and in whatever order."""
    assert await crossed(installation) == 0


@in_loop
async def test_locks_that_are_not_waited_for_make_deadlocks(installation: Installation) -> None:
    """The planted bug that the test above must find."""
    with (
        impatient(installation),
        installation.planted(*UNLOCKED),
        installation.planted("use_grant", "UPDATE approval_item", "PERFORM pg_sleep(0.01); UPDATE approval_item"),
    ):
        assert await crossed(installation) > 0


@in_loop
async def test_no_token_is_given_twice(installation: Installation) -> None:
    """Of two that take the same things again and again, while what they let go of is forgotten."""
    tokens: dict[str, list[int]] = {"x": [], "y": []}
    async with members(installation, 3) as (a, b, c):

        async def take(desk: Desk, subject: str) -> None:
            for n in range(ROUNDS):
                thing = "xy"[n % 2]
                last = await desk.store.claim(thing)
                taken = Claim(thing, subject, "", last.token + 1, START + SECOND, START)
                if isinstance(await desk.commit(TakeClaim(taken, last.token)), Committed):
                    tokens[thing].append(taken.token)
                    await desk.must(ReleaseClaim(thing, subject, "", taken.token))

        async def forget() -> None:
            for _ in range(ROUNDS):
                forgotten.append(await c.store.prune(START + 2 * MONTH))

        forgotten: list[int] = []
        await asyncio.gather(take(a, "ann"), take(b, "bob"), forget())
        assert sum(forgotten), "nothing was forgotten: this proves nothing"
    assert all(len(each) == len(set(each)) > 1 for each in tokens.values())


# One batch


@in_loop
async def test_what_one_caller_s_part_has_done_is_undone_alone(installation: Installation) -> None:
    """An approval whose commit is refused at its end is not there; those of others in the same batch are."""
    async with members(installation, 1) as (desk,):
        await is_granted(desk, asked("g", terms=replace(TERMS, uses=1)))
        before = await desk.store.approvals_version()
        claim = Claim("x", "ann", "", 1, NEVER, START)
        spent = UseGrant("g", "b1", 1)
        outcomes = await asyncio.gather(
            desk.commit(spent),
            desk.commit(OpenApproval(asked("a1")), TakeClaim(claim, 0), spent),
            desk.commit(OpenApproval(asked("a2"))),
        )

        assert [isinstance(each, Committed) for each in outcomes] == [True, False, True]
        assert [each.id for each in await desk.store.approvals(ApprovalsQuery())] == ["g", "a2"]
        assert await desk.store.claims(START, 10) == ()
        assert await desk.store.approvals_version() > before
        before = await desk.store.approvals_version()
        await desk.commit(OpenApproval(asked("a1")), spent)
        assert await desk.store.approvals_version() == before


# What is told, and what is stored


@in_loop
async def test_members_are_woken_by_halts_and_not_by_approvals(installation: Installation) -> None:
    """They stand in one row, and what decides ahead looks at halts alone."""
    async with members(installation, 1) as (desk,):
        with installation.connect() as listening:
            listening.execute("LISTEN remit")
            await is_granted(desk)
            await desk.must(PlaceHalt(Halt("h1", "agent", "bob", "ana", "", START)))
            told = [each.payload for each in listening.notifies(timeout=5, stop_after=1)]
    assert told == ["halts"]


@in_loop
async def test_an_alternative_is_stored_exactly(installation: Installation) -> None:
    """Its numbers are decimals; and text that PostgreSQL cannot hold is its caller's mistake."""
    async with members(installation, 1) as (desk,):
        alternative = {"arguments": {"amount": Decimal("0.10"), "many": 10**18, "name": "ü"}}
        opened = await is_open(desk, asked("a1", alternative=alternative))
        assert opened.alternative == alternative
        assert str(opened.alternative["arguments"]["amount"]) == "0.10"
        for bad in ("\0", "\ud800"):
            for parts in ({"reason": bad}, {"alternative": {"arguments": {"x": bad}}}, {"items": (item(bad),)}):
                with pytest.raises(BadRequest):
                    await desk.commit(OpenApproval(asked("a2", **parts)))


@in_loop
async def test_sidecars_of_before_ask_for_facts_as_they_did(installation: Installation) -> None:
    """While a store is migrated those that run go on."""
    with installation.connect() as member:
        asked = "SELECT remit.facts('ann', 'process', '', 'model', '{}', '{}', '{}', '{}')::jsonb"
        (facts,) = member.execute(asked).fetchone() or ()
    assert (facts["claims"], facts["acts"], facts["version"]) == (None, None, 0)
