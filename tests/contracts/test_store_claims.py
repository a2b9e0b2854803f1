"""What every store holds of claims, and of what agents did to objects: in memory, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.commits import EUR, NEVER, SECOND, START, Desk, row
from fakes.loop import in_loop
from fakes.world import FakeClock, FakeIds
from remit.backends.store_sqlite import SqliteStore
from remit.core.claim import MOST_CLAIMS, Act, Claim, thing, things
from remit.core.effect import Committed, NoteAct, Refused, ReleaseClaim, RespectClaims, TakeClaim
from remit.core.errors import IllegalTransition, NotFound
from remit.core.reason import Reason
from remit.ports import FactsQuery, StoredFacts

LEASE = 60 * SECOND
MONTH = 30 * 86_400 * SECOND
CRM = thing("dataset", "crm")
ROW = thing("dataset", "crm", "customer 7")
STALE = Refused(Reason.FACTS_CHANGED, "claim")
HELD = Refused(Reason.CLAIM_HELD, CRM)


def taking(desk: Desk, before: Claim, subject: str = "ann", **parts: Any) -> TakeClaim:
    """A lease from now on, of what was read before."""
    given = {"workflow": "w1", "token": before.token + 1, "expires": desk.time + LEASE, "time": desk.time, **parts}
    return TakeClaim(Claim(before.key, subject, **given), before.token)


async def take(desk: Desk, subject: str = "ann", key: str = CRM, **parts: Any) -> Claim:
    """A thing that is taken."""
    taken = taking(desk, await desk.store.claim(key), subject, **parts)
    await desk.must(taken)
    return taken.claim


def renewing(desk: Desk, held: Claim) -> TakeClaim:
    """The same lease, longer."""
    return TakeClaim(replace(held, expires=desk.time + LEASE), held.token)


def releasing(held: Claim, **parts: Any) -> ReleaseClaim:
    """Its end."""
    given = {"key": held.key, "subject": held.subject, "workflow": held.workflow, "token": held.token, **parts}
    return ReleaseClaim(**given)


async def facts(desk: Desk, *keys: str, workflow: str = "w1", of: str = "", subject: str = "ann") -> StoredFacts:
    """What a decision on these would be made on."""
    return await desk.store.facts(FactsQuery(subject, "process", workflow, "model", (), things=keys, object=of))


# Taking


@in_loop
async def test_a_thing_that_was_never_taken_is_nobody_s(desk: Desk) -> None:
    """The first to take it gets the token after the one that is told."""
    before = await desk.store.claim(CRM)
    assert (before.key, before.subject, before.workflow, before.held(START)) == (CRM, "", "", False)
    taken = await take(desk)

    assert taken.token == before.token + 1
    assert await desk.store.claim(CRM) == taken
    assert (await desk.store.claim(ROW)).subject == ""


@in_loop
async def test_one_of_many_gets_it(desk: Desk) -> None:
    """Of eight at the same moment one; the others are told that it is held."""
    before = await desk.store.claim(CRM)
    outcomes = await asyncio.gather(*(desk.commit(taking(desk, before, f"agent{n}")) for n in range(8)))

    assert [isinstance(each, Committed) for each in outcomes].count(True) == 1
    assert outcomes.count(HELD) == 7


@pytest.mark.parametrize(("subject", "workflow"), [("bob", "w1"), ("ann", "w2"), ("ann", "")])
@in_loop
async def test_what_is_held_is_taken_by_nobody_else(desk: Desk, subject: str, workflow: str) -> None:
    """Nor by the same agent in another run, until it has expired; whether anybody noticed that or not."""
    held = await take(desk)
    other = taking(desk, held, subject, workflow=workflow, expires=NEVER)
    desk.time = held.expires - 1
    assert await desk.commit(other) == HELD
    desk.time += 1

    await desk.must(other)
    assert await desk.store.claim(CRM) == other.claim


@in_loop
async def test_renewing_keeps_the_token(desk: Desk) -> None:
    """And only what is held is renewed: whoever comes late takes it anew, by another token."""
    held = await take(desk)
    desk.time += LEASE - 1
    longer = renewing(desk, held)
    await desk.must(longer)
    assert await desk.store.claim(CRM) == longer.claim

    desk.time = longer.claim.expires
    assert await desk.commit(renewing(desk, held)) == STALE
    assert (await take(desk)).token == held.token + 1


@in_loop
async def test_every_taking_has_a_higher_token(desk: Desk) -> None:
    """After a release and after an expiry; by what was read before another taking nobody takes it."""
    old = await desk.store.claim(CRM)
    first = await take(desk)
    await desk.must(releasing(first))
    assert await desk.commit(taking(desk, old, "bob")) == STALE
    assert await desk.commit(TakeClaim(replace(first, subject="bob"), first.token)) == STALE
    second = await take(desk, "bob")
    desk.time = second.expires
    third = await take(desk, "cleo")

    assert [each.token - first.token for each in (first, second, third)] == [0, 1, 2]


@pytest.mark.parametrize("parts", [{"subject": ""}, {"expires": START}], ids=["nobody's", "over"])
@in_loop
async def test_a_claim_is_somebody_s_for_some_time(desk: Desk, parts: dict[str, Any]) -> None:
    """Anything else is none."""
    taken = taking(desk, await desk.store.claim(CRM))
    with pytest.raises(IllegalTransition):
        await desk.commit(replace(taken, claim=replace(taken.claim, **parts)))

    assert await desk.store.claims(START, 10) == ()


@in_loop
async def test_an_agent_holds_so_many_things_at_a_time(desk: Desk) -> None:
    """One more is refused; renewing is not, nor are others; what is released or expires makes room."""
    before = [await desk.store.claim(thing("object", "", f"o{n:03}")) for n in range(MOST_CLAIMS + 1)]
    wanted = [taking(desk, each, workflow=f"w{n % 3}") for n, each in enumerate(before)]
    outcomes = await asyncio.gather(*(desk.commit(each) for each in wanted))
    (left,) = [each for each, done in zip(wanted, outcomes, strict=True) if isinstance(done, Refused)]
    assert outcomes.count(Refused(Reason.CLAIMS_EXHAUSTED, "ann")) == 1
    (held, *_) = await desk.store.claims(START, 1)

    await take(desk, "bob", thing("object", "", "bob's"))
    await desk.must(renewing(desk, held))
    assert await desk.commit(left) == Refused(Reason.CLAIMS_EXHAUSTED, "ann")
    await desk.must(releasing(held))
    await desk.must(left)
    assert await desk.commit(taking(desk, await desk.store.claim(held.key))) == Refused(Reason.CLAIMS_EXHAUSTED, "ann")
    desk.time += LEASE
    await take(desk)


# Letting go


@in_loop
async def test_what_is_let_go_of_is_nobody_s(desk: Desk) -> None:
    """Others take it at once."""
    held = await take(desk)
    await desk.must(releasing(held))

    free = await desk.store.claim(CRM)
    assert (free.subject, free.workflow, free.token, free.held(START)) == ("", "", held.token, False)
    assert await desk.store.claims(START, 10) == ()
    await take(desk, "bob")


@pytest.mark.parametrize(
    "parts",
    [{"subject": "bob"}, {"workflow": "w2"}, {"token": 99}, {"key": ROW}, {"subject": "", "workflow": ""}],
    ids=["another's", "of another run", "by another token", "of another thing", "nobody's"],
)
@pytest.mark.parametrize("lapsed", [False, True])
@in_loop
async def test_only_what_is_held_so_is_let_go_of(desk: Desk, parts: dict[str, Any], lapsed: bool) -> None:
    """By its holder, in its run, by its token."""
    held = await take(desk)
    if lapsed:
        desk.time = held.expires
    with pytest.raises(NotFound):
        await desk.commit(releasing(held, lapsed=lapsed, **parts))

    assert await desk.store.claim(CRM) == held


@in_loop
async def test_what_was_let_go_of_is_not_let_go_of_again(desk: Desk) -> None:
    """Nor does anything lapse twice."""
    held = await take(desk)
    await desk.must(releasing(held))
    for lapsed in (False, True):
        with pytest.raises(NotFound):
            await desk.commit(releasing(held, lapsed=lapsed))
        with pytest.raises(NotFound):
            await desk.commit(releasing(replace(held, subject="", workflow=""), lapsed=lapsed))


@in_loop
async def test_nothing_lapses_before_its_time(desk: Desk) -> None:
    """A sweeper that looked before it was renewed does no harm."""
    held = await take(desk)
    desk.time = held.expires - 1
    await desk.must(renewing(desk, held))
    desk.time += 1
    with pytest.raises(IllegalTransition):
        await desk.commit(releasing(held, lapsed=True))
    desk.time += LEASE - 1

    await desk.must(releasing(held, lapsed=True))
    assert (await desk.store.claim(CRM)).subject == ""


# Respecting


@pytest.mark.parametrize(
    ("subject", "workflow", "keys", "refused"),
    [
        ("ann", "w1", (CRM,), None),
        ("bob", "w1", (CRM,), HELD),
        ("ann", "w2", (CRM,), HELD),
        ("bob", "w1", (CRM, ROW), HELD),
        ("bob", "w1", (ROW,), None),
        ("bob", "w1", (), None),
    ],
)
@in_loop
async def test_what_somebody_else_holds_is_respected(
    desk: Desk, subject: str, workflow: str, keys: tuple[str, ...], refused: Refused | None
) -> None:
    """Each of the things that an action touches, as long as it is held."""
    held = await take(desk)
    outcome = await desk.commit(RespectClaims(keys, subject, workflow))
    assert outcome == refused or (refused is None and isinstance(outcome, Committed))

    desk.time = held.expires
    assert isinstance(await desk.commit(RespectClaims(keys, subject, workflow)), Committed)


@in_loop
async def test_a_token_is_one_by_which_something_is_held(desk: Desk) -> None:
    """One of the things is enough; an older token, one of another thing, or of a lease that is over, is lost."""
    held = await take(desk, key=ROW)
    other = await take(desk, key=thing("object", "", "x"))
    await desk.must(releasing(other))
    other = await take(desk, key=thing("object", "", "x"))
    keys = things("dataset", "crm", "customer 7")
    assert keys == (CRM, ROW)

    async def lost(token: int, *, of: Sequence[str] = keys, workflow: str = "w1") -> bool:
        outcome = await desk.commit(RespectClaims(tuple(of), "ann", workflow, token))
        assert isinstance(outcome, Committed) or outcome.reason is Reason.CLAIM_LOST
        return isinstance(outcome, Refused)

    assert not await lost(held.token)
    assert not await lost(0)
    assert await lost(held.token + 7)
    assert other.token != held.token
    assert await lost(other.token)
    assert await lost(held.token, of=[CRM])
    desk.time = held.expires
    assert await lost(held.token)
    assert not await lost(0)


@in_loop
async def test_a_commit_that_is_refused_for_a_claim_does_nothing(desk: Desk) -> None:
    """Neither money nor anything else is moved, in whatever order it is said."""
    await take(desk, "bob")
    _, reserve = desk.reserving(EUR, row(EUR))

    assert await desk.commit(reserve, RespectClaims((CRM,), "ann", "w1")) == HELD
    assert await desk.room(row(EUR)) == (EUR, 0, 0)


@pytest.mark.parametrize("act_first", [True, False])
@in_loop
async def test_acting_and_taking_go_by_their_order(desk: Desk, act_first: bool) -> None:
    """What was done before somebody else took it was done, and afterwards it is not."""
    respect, taken = RespectClaims((CRM,), "ann", "w1"), taking(desk, await desk.store.claim(CRM), "bob")
    first, second = (respect, taken) if act_first else (taken, respect)
    outcomes = [await desk.commit(first), await desk.commit(second)]

    assert [isinstance(each, Committed) for each in outcomes] == [True, act_first]


# Acts


def acting(subject: str = "ann", seen: int = 0, **parts: Any) -> NoteAct:
    """Something that is done to an object."""
    given = {"workflow": "w1", "object": ROW, "operation": "update", "decision": f"d_{subject}", "expires": NEVER}
    return NoteAct(subject=subject, seen=seen, **{**given, **parts})


async def acts(desk: Desk, subject: str = "ann", *, workflow: str = "w1", of: str = ROW) -> tuple[Act, ...]:
    """What others did."""
    return (await facts(desk, workflow=workflow, of=of, subject=subject)).acts


@in_loop
async def test_others_acts_on_the_same_object_are_told(desk: Desk) -> None:
    """Of the same workflow, the oldest first, and not one's own."""
    await desk.must(acting("bob"))
    desk.time += 1
    await desk.must(acting("cleo", 1, operation="approve"))
    desk.time += 1
    await desk.must(acting("bob", 1, operation="reject", decision="d_second"))
    await desk.must(acting("bob", workflow="w2"), acting("bob", object=CRM))
    bob = Act("bob", "update", "d_bob", START), Act("bob", "reject", "d_second", START + 2)
    cleo = Act("cleo", "approve", "d_cleo", START + 1)

    assert await acts(desk, "ann") == (bob[0], cleo, bob[1])
    assert await acts(desk, "bob") == (cleo,)
    assert await acts(desk, "cleo") == bob
    assert await acts(desk, "ann", of="") == ()
    assert await acts(desk, "ann", of=CRM) == (Act("bob", "update", "d_bob", START + 2),)


@in_loop
async def test_nobody_acts_on_what_they_have_not_seen(desk: Desk) -> None:
    """Of two at the same moment one acts, and the other looks again."""
    outcomes = await asyncio.gather(*(desk.commit(acting(who)) for who in ("ann", "bob")))

    assert [isinstance(each, Committed) for each in outcomes].count(True) == 1
    assert outcomes.count(Refused(Reason.FACTS_CHANGED, "acts")) == 1
    late = "bob" if isinstance(outcomes[0], Committed) else "ann"
    await desk.must(acting(late, len(await acts(desk, late))))


@in_loop
async def test_doing_the_same_again_changes_nothing_but_its_time(desk: Desk) -> None:
    """For others it stays one act, which they have seen; its end moves on, and never back."""
    await desk.must(acting("bob", expires=START + 10))
    desk.time += 5
    await desk.must(acting("bob", decision="d_again", expires=START + 20))
    await desk.must(acting("bob", decision="d_again", expires=START + 7))

    assert await acts(desk) == (Act("bob", "update", "d_bob", START + 5),)
    await desk.must(acting("ann", 1))
    assert await desk.store.prune(START + 19) == 0
    assert await desk.store.prune(START + 20) == 1
    assert await acts(desk) == ()


# Questions


@in_loop
async def test_facts_tell_of_the_claims_on_what_is_touched(desk: Desk) -> None:
    """Held or not, and of no others; where nothing is asked, nothing is told."""
    held = await take(desk)
    await take(desk, key=thing("dataset", "other"))
    free = await take(desk, "bob", ROW)
    await desk.must(releasing(free))
    await desk.must(acting("bob"))

    both = {each.key: each for each in (await facts(desk, CRM, ROW)).claims}
    assert both == {CRM: held, ROW: await desk.store.claim(ROW)}
    assert (await facts(desk, thing("dataset", "third"))).claims == ()
    assert (await facts(desk)).claims == (await facts(desk)).acts == ()


@in_loop
async def test_what_is_held_is_told_oldest_first(desk: Desk) -> None:
    """As is what has expired, until somebody has let it lapse."""
    keys = [thing("object", "", name) for name in ("c", "a", "b")]
    held = []
    for number, key in enumerate(keys):
        held.append(await take(desk, key=key, expires=START + (9 - number) * SECOND))
        desk.time += 1
    now = START + 8 * SECOND

    assert await desk.store.claims(START, 10) == tuple(held)
    assert await desk.store.claims(START, 2) == tuple(held[:2])
    assert await desk.store.claims(now, 10) == (held[0],)
    assert await desk.store.due_claims(START, 10) == ()
    assert await desk.store.due_claims(now, 10) == (held[2], held[1])
    assert await desk.store.due_claims(now, 1) == (held[2],)
    desk.time = now
    await desk.must(releasing(held[2], lapsed=True))
    assert await desk.store.due_claims(now, 10) == (held[1],)


# Forgetting


@in_loop
async def test_no_token_is_given_twice_though_things_are_forgotten(desk: Desk) -> None:
    """What nobody held for a month is forgotten; whatever is taken then, that thing or another, has a higher token."""
    for _ in range(5):
        last = await take(desk)
        await desk.must(releasing(last))
    held = await take(desk, key=ROW)
    assert (last.token, held.token) == (5, 1)

    assert await desk.store.prune(START + MONTH - 1) == 0
    assert (await desk.store.claim(CRM)).token == last.token
    assert await desk.store.prune(START + MONTH) == 1
    assert await desk.store.prune(START + MONTH) == 0
    assert (await desk.store.claim(CRM)).token == last.token
    stale = taking(desk, Claim(CRM, "", "", 0, 0))
    assert await desk.commit(stale) == STALE
    assert (await take(desk)).token == last.token + 1
    assert (await take(desk, key=thing("object", "", "new"))).token == last.token + 1
    assert await desk.store.claim(ROW) == held


@in_loop
async def test_what_has_expired_is_not_forgotten_before_it_has_lapsed(desk: Desk) -> None:
    """Its end is recorded first."""
    held = await take(desk)

    assert await desk.store.prune(START + 2 * MONTH) == 0
    assert await desk.store.due_claims(START + 2 * MONTH, 10) == (held,)


@in_loop
async def test_a_stop_and_a_start_keep_claims_and_the_floor(tmp_path: Path) -> None:
    """And acts."""

    def opened() -> SqliteStore:
        key = Ed25519PrivateKey.from_private_bytes(bytes(32))
        store = SqliteStore(tmp_path / "state.db", clock=FakeClock(START), ids=FakeIds(), key=key)
        store.activate("r1")
        return store

    desk = Desk(opened())
    for _ in range(3):
        await desk.must(releasing(await take(desk)))
    await desk.store.prune(START + MONTH)
    held = await take(desk, key=ROW)
    await desk.must(acting("bob"))
    await desk.store.close()
    desk.store = opened()

    assert await desk.store.claim(ROW) == held
    assert (held.token, (await desk.store.claim(CRM)).token) == (4, 3)
    assert await acts(desk) == (Act("bob", "update", "d_bob", START),)
    await desk.store.close()
