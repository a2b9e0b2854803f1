"""Sidecars that decide ahead of PostgreSQL leave to it what approvals, grants, claims and acts are asked about."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from fakes.approvals import TERMS, asked, is_granted
from fakes.commits import EUR, NEVER, SECOND, START, Desk, row
from fakes.loop import in_loop
from fakes.store_postgres import Installation
from integration.test_store_shared import CENT, Agent, sidecars
from remit.backends.store_shared.store import SharedStore
from remit.core.claim import Claim
from remit.core.effect import (
    Commit,
    Committed,
    Effect,
    JoinApproval,
    KeepAnswer,
    Kept,
    NoteAct,
    OpenApproval,
    Record,
    Refused,
    RespectClaims,
    TakeClaim,
    UseGrant,
)
from remit.core.model import Versions
from remit.core.reason import Reason
from remit.ports import ApprovalsQuery, FactsQuery

MONTH = row(100 * EUR)


class Held:
    """An agent whose calls are held, by a sidecar that has its session at home."""

    count = 0

    def __init__(self, store: SharedStore) -> None:
        self.store, self.agent = store, Agent(store, "ann", MONTH)

    async def decide(self, *effects: Effect) -> Committed | Refused:
        """One decision with these effects, on the facts of now."""
        Held.count += 1
        facts = await self.store.facts(FactsQuery("ann", "process", "", "model", ()))
        seen = Versions(facts.labels_version, 0, facts.halts_version, "r1")
        record = Record("decision", f"d_held_{Held.count:06d}", START, "ann", "", "", "", b"{}", bytes(16))
        return await self.store.commit(Commit(record, effects, seen, "ann", "", "api.call"))

    async def log(self, *effects: Effect) -> str:
        """The log that it was decided in."""
        outcome = await self.decide(*effects)
        assert isinstance(outcome, Committed), outcome
        return outcome.log


def kept(answer: bytes, *, provisional: bool = False, key: str = "k") -> KeepAnswer:
    """An answer to the same request."""
    return KeepAnswer("ann", "Authorize", key, "digest", answer, NEVER, provisional)


async def at_home(store: SharedStore) -> Held:
    """Whose decisions are made here, as far as they may be."""
    held = Held(store)
    await held.agent.until_at_home()
    return held


@in_loop
async def test_a_hold_is_kept_for_everybody_until_it_has_an_end(installation: Installation, tmp_path: Path) -> None:
    """Its answer is provisional wherever the agent asks again; what comes of it takes its place, and stays."""
    async with sidecars(installation, tmp_path, "a", "b") as (a, b):
        held = await at_home(a)
        assert await held.log(OpenApproval(asked("a1")), kept(b"hold", provisional=True)) == a.log
        for store in (a, b):
            assert await store.kept("ann", "Authorize", "k") == Kept("digest", b"hold", provisional=True)

        assert await held.log(kept(b"hold", provisional=True)) == a.log
        assert await held.log(kept(b"allow")) == a.log
        for store in (a, b):
            assert await store.kept("ann", "Authorize", "k") == Kept("digest", b"allow")
        assert await held.decide(kept(b"deny")) == Refused(Reason.IDEMPOTENCY_MISMATCH, "kept")
        assert await held.log(kept(b"hold", provisional=True, key="alone")) == a.log
        assert await held.log(kept(b"allow", key="other")) != a.log


@in_loop
async def test_a_final_answer_that_was_given_here_is_what_stays(installation: Installation, tmp_path: Path) -> None:
    """Whoever has kept a hold for its key meanwhile did so while this sidecar's lease was thought to be over."""
    async with sidecars(installation, tmp_path, "a", "b") as (a, b):
        held = await at_home(a)
        installation.run(
            "INSERT INTO remit.kept VALUES ('ann', 'Authorize', 'k', 'digest', 'hold', 9, true),"
            " ('ann', 'Authorize', 'final', 'digest', 'first', 9, false)"
        )
        assert await held.log(kept(b"allow")) != a.log
        assert await held.log(kept(b"second", key="final")) != a.log
        await a.unresolved(0, 1)  # and is shipped

        assert await b.kept("ann", "Authorize", "k") == Kept("digest", b"allow")
        assert await b.kept("ann", "Authorize", "final") == Kept("digest", b"first")


@in_loop
async def test_two_sidecars_use_a_grant_once(installation: Installation, tmp_path: Path) -> None:
    """Whoever has the session at home decides nothing by a grant alone; of many at once one is let through."""
    async with sidecars(installation, tmp_path, "a", "b") as (a, b):
        held, other = await at_home(a), Held(b)
        await is_granted(Desk(a, count=10**6), asked("a1", terms=replace(TERMS, uses=1)))
        uses = [each.decide(UseGrant("a1", "b1", 40)) for each in (held, other) for _ in range(20)]
        outcomes = await asyncio.gather(*uses)

        done = [each for each in outcomes if isinstance(each, Committed)]
        assert len(done) == 1 and done[0].log in (a.log, b.log)
        assert {each for each in outcomes if isinstance(each, Refused)} == {Refused(Reason.FACTS_CHANGED, "grant")}
        (found,) = await b.approvals(ApprovalsQuery(ids=("a1",)))
        assert [(each.used, each.spent) for each in found.items] == [(1, 40)]


@in_loop
async def test_approvals_are_the_same_everywhere(installation: Installation, tmp_path: Path) -> None:
    """What one sidecar opens another sees, joins and sweeps, and both see the version move."""
    async with sidecars(installation, tmp_path, "a", "b") as (a, b):
        opened = asked("a1")
        before = await b.approvals_version()
        await Desk(a, count=10**6).must(OpenApproval(opened))
        assert await b.approvals_version() > before
        assert await b.approvals(ApprovalsQuery(subject="ann")) == (opened,)
        await Desk(b, count=2 * 10**6).must(JoinApproval("a1", 1, opened.items[0], same=True))
        (found,) = await a.due_approvals(opened.deadline, 10)
        assert (found.id, found.items[0].asked) == ("a1", opened.items[0].asked + 1)


@in_loop
async def test_claims_and_acts_of_others_are_seen_at_once(installation: Installation, tmp_path: Path) -> None:
    """Though the session, and with it the rest of the facts, is at home: they are not mirrored."""
    async with sidecars(installation, tmp_path, "a", "b") as (a, b):
        held, other = await at_home(a), Desk(b, count=10**6)
        asking = FactsQuery("ann", "process", "", "model", (), ("thing",), "object")
        assert (await a.facts(asking)).claims == (await a.facts(asking)).acts == ()

        claim = Claim("thing", "bob", "", 1, START + 60 * SECOND, START)
        await other.must(TakeClaim(claim, 0), NoteAct("", "object", "bob", "write", "d", 0, NEVER))
        facts = await a.facts(asking)
        assert facts.claims == (claim,) and [each.subject for each in facts.acts] == ["bob"]
        assert await a.claim("thing") == claim
        assert await a.claims(START, 10) == (claim,) and await a.due_claims(claim.expires, 10) == (claim,)
        refused = await held.decide(RespectClaims(("thing",), "ann", ""))
        assert refused == Refused(Reason.CLAIM_HELD, "thing")
        noted = await held.decide(NoteAct("", "object", "ann", "write", "d", 0, NEVER))
        assert noted == Refused(Reason.FACTS_CHANGED, "acts")


@in_loop
async def test_what_was_allowed_here_and_never_reported_is_listed(installation: Installation, tmp_path: Path) -> None:
    """At once, by every sidecar's store."""
    async with sidecars(installation, tmp_path, "a", "b") as (a, b):
        held = await at_home(a)
        id, outcome = await held.agent.call(CENT)
        assert isinstance(outcome, Committed) and outcome.log != a.log
        for store in (a, b):
            assert id in [each.decision for each in await store.unresolved(0, 1000)]
        await held.agent.settle(id, CENT)
        for store in (a, b):
            assert id not in [each.decision for each in await store.unresolved(0, 1000)]
