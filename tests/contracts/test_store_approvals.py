"""What every store holds of approvals and grants, whatever policy said: in memory, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.approvals import (
    HOUR,
    TERMS,
    answer,
    asked,
    at,
    is_granted,
    is_open,
    item,
    run_out,
    stored,
    taken_back,
    vote,
)
from fakes.commits import SECOND, START, Desk
from fakes.loop import in_loop
from fakes.world import FakeClock, FakeIds
from remit.backends.store_sqlite import SqliteStore
from remit.core.approval import (
    MOST_ITEMS,
    MOST_PENDING,
    Approval,
    Bind,
    State,
    Terms,
    Verdict,
    Vote,
    joined,
    timed_out,
    voted,
)
from remit.core.effect import Committed, Effect, JoinApproval, MoveApproval, OpenApproval, Refused, UseGrant
from remit.core.errors import BadRequest, IllegalTransition
from remit.core.reason import Reason
from remit.ports import ApprovalsQuery

MONTH = 30 * 24 * HOUR
STALE = Refused(Reason.FACTS_CHANGED, "approval")
SPENT = Refused(Reason.FACTS_CHANGED, "grant")


async def ids(desk: Desk, **query: Any) -> list[str]:
    """The approvals that a query finds."""
    return [each.id for each in await desk.store.approvals(ApprovalsQuery(**query))]


async def is_illegal(desk: Desk, *effects: Effect) -> None:
    """It raises, and nothing is changed by it."""
    before, version = await desk.store.approvals(ApprovalsQuery()), await desk.store.approvals_version()
    with pytest.raises(IllegalTransition):
        await desk.commit(*effects)
    assert await desk.store.approvals(ApprovalsQuery()) == before
    assert await desk.store.approvals_version() == version


# Opening


@in_loop
async def test_what_was_opened_is_found_as_it_was(desk: Desk) -> None:
    """All of it, also amounts that no double holds and what an alternative says."""
    terms = Terms(("approver", "finance"), True, 2, Bind.EXACT, 7, 2**60 + 1, 60, 30)
    opened = asked(
        terms=terms,
        chain=("lead", "boss"),
        lifts="h1",
        alternative={"arguments": {"to": "größer", "n": [1, {"x": None}]}},
        items=(item(amount=2**60, labels=("finance", "pii"), shown='{"to": "größer"}', asked=1),),
    )

    assert await is_open(desk, opened) == opened


@pytest.mark.parametrize(
    "parts",
    [
        {"state": State.DENIED, "ended": START},
        {"state": State.EXPIRED, "ended": START},
        {"version": 2},
        {"items": ()},
        {"items": (item(used=1),)},
        {"items": (item(spent=1),)},
    ],
    ids=["denied", "expired", "later", "of nothing", "used", "spent"],
)
@in_loop
async def test_an_approval_begins_at_its_beginning(desk: Desk, parts: dict[str, Any]) -> None:
    """As a request that waits, of one thing, not used."""
    await is_illegal(desk, OpenApproval(asked(**parts)))


@in_loop
async def test_a_grant_for_one_exact_use_may_be_offered(desk: Desk) -> None:
    """In the place of what was asked for: it waits for nobody, and neither hinders others nor counts among them."""
    once = replace(TERMS, bind=Bind.EXACT, uses=1)
    offer = asked("a1", like="same", state=State.APPROVED, expires=START + HOUR, terms=once, votes=(vote("lead"),))
    await is_open(desk, offer)
    await is_open(desk, asked("a2", like="same"))

    assert await stored(desk, "a1") == offer
    assert await ids(desk, likes=("same",)) == ["a2", "a1"]
    await desk.must(UseGrant("a1", "b1", 40))
    assert await desk.commit(UseGrant("a1", "b1", 40)) == SPENT


@pytest.mark.parametrize(
    "parts",
    [
        {"terms": replace(TERMS, bind=Bind.VARIANT, uses=1)},
        {"terms": replace(TERMS, bind=Bind.EXACT, uses=2)},
        {"expires": START},
        {"votes": (vote("ann"),)},
    ],
    ids=["wider", "more often", "expired", "by its requester"],
)
@in_loop
async def test_no_other_grant_begins_by_itself(desk: Desk, parts: dict[str, Any]) -> None:
    """Nobody has approved it, so that it is for one exact use or for none."""
    once = {"state": State.APPROVED, "expires": START + HOUR, "terms": replace(TERMS, bind=Bind.EXACT, uses=1)}

    await is_illegal(desk, OpenApproval(asked(**{**once, **parts})))


@in_loop
async def test_holds_that_are_alike_do_not_wait_side_by_side(desk: Desk) -> None:
    """Of two at the same moment one is opened; when that has ended, the next may be."""
    outcomes = await asyncio.gather(*(desk.commit(OpenApproval(asked(f"a{n}", like="same"))) for n in range(2)))
    assert [isinstance(each, Committed) for each in outcomes].count(True) == 1
    assert outcomes.count(STALE) == 1
    (first,) = await ids(desk)

    await answer(desk, "denied", verdict=Verdict.DENY, id=first)
    await is_open(desk, asked("a9", like="same"))
    assert await ids(desk) == ["a9", first]


@in_loop
async def test_an_approval_is_opened_once(desk: Desk) -> None:
    """The same id again is illegal, whatever it is like."""
    await is_open(desk)
    await is_illegal(desk, OpenApproval(asked("a1", like="other")))


@in_loop
async def test_an_agent_waits_for_so_many_answers_at_a_time(desk: Desk) -> None:
    """One more is refused, others' are not, and each that has ended makes room."""
    opened = [asked(f"a{n:03}") for n in range(MOST_PENDING + 1)]
    outcomes = await asyncio.gather(*(desk.commit(OpenApproval(each)) for each in opened))
    exhausted = Refused(Reason.APPROVALS_EXHAUSTED, "ann")
    assert sum(isinstance(each, Committed) for each in outcomes) == MOST_PENDING
    assert outcomes.count(exhausted) == 1
    await is_open(desk, asked("b1", subject="bob"))

    (one,) = await ids(desk, subject="ann", limit=1)
    await answer(desk, "approved", id=one)
    await is_open(desk, asked("a999"))
    assert await desk.commit(OpenApproval(asked("b2", subject="ann"))) == exhausted


# Joining


@in_loop
async def test_what_joins_is_added_or_takes_the_place_of_its_like(desk: Desk) -> None:
    """The version moves on, so that whoever resolves has seen it; what was there first stays first."""
    first = await is_open(desk)
    await desk.must(JoinApproval("a1", 1, item("b0", amount=7)))
    second = await stored(desk)
    wider = joined(second, item("b1", amount=50, labels=("finance",)))
    await desk.must(JoinApproval("a1", 2, wider))
    found = await stored(desk)

    assert (second.version, second.items) == (2, (*first.items, item("b0", amount=7)))
    assert (found.version, found.items) == (3, (wider, item("b0", amount=7)))
    assert (wider.asked, wider.amount, wider.labels) == (2, 50, ("finance", "pii"))
    assert replace(found, version=1, items=first.items) == first


@in_loop
async def test_what_joins_must_have_seen_what_is_there(desk: Desk) -> None:
    """Of two at the same moment one joins, and the other looks again."""
    await is_open(desk)
    outcomes = await asyncio.gather(*(desk.commit(JoinApproval("a1", 1, item(f"j{n}"))) for n in range(2)))

    assert [isinstance(each, Committed) for each in outcomes].count(True) == 1
    assert outcomes.count(STALE) == 1
    assert len((await stored(desk)).items) == 2


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("case", ["unknown", "approved", "denied", "over"])
@in_loop
async def test_only_what_waits_is_joined(desk: Desk, case: str, same: bool) -> None:
    """Not what is not there, has been answered, or whose time is over though nobody has looked yet."""
    opened = await is_open(desk)
    if case == "over":
        desk.time = opened.deadline
    if case in ("approved", "denied"):
        await answer(desk, case)
    id = "a2" if case == "unknown" else "a1"
    version = 2 if case in ("approved", "denied") else 1

    assert await desk.commit(JoinApproval(id, version, item(), same=same)) == STALE


@in_loop
async def test_asking_again_for_the_same_changes_nothing_but_how_often(desk: Desk) -> None:
    """It needs no version and moves none, so that many may ask at once and none of them is lost."""
    await is_open(desk)
    version = await desk.store.approvals_version()
    again = item(asked=2, amount=30, labels=())
    await asyncio.gather(*(desk.must(JoinApproval("a1", 77, again, same=True)) for _ in range(4)))

    found = await stored(desk)
    assert found == replace(asked(), items=(item(asked=5),))
    assert await desk.store.approvals_version() == version


@in_loop
async def test_how_often_it_was_asked_is_the_store_s_to_count(desk: Desk) -> None:
    """Whoever joins may not have seen that others asked meanwhile."""
    await is_open(desk)
    await desk.must(JoinApproval("a1", 1, item(asked=2), same=True))
    await desk.must(JoinApproval("a1", 1, item(amount=50, asked=2)))

    assert (await stored(desk)).items == (item(amount=50, asked=3),)


@pytest.mark.parametrize(
    "more", [item("b2"), item(amount=41), item(labels=("finance", "pii"))], ids=["other", "dearer", "more labels"]
)
@in_loop
async def test_what_is_not_there_as_it_is_was_not_asked_for(desk: Desk, more: Any) -> None:
    """Something else, for more, or under other labels is no mere repetition."""
    await is_open(desk)

    assert await desk.commit(JoinApproval("a1", 1, more, same=True)) == STALE


@in_loop
async def test_one_request_is_of_so_many_things(desk: Desk) -> None:
    """One more is refused; what is among them already is not."""
    await is_open(desk)
    for n in range(2, MOST_ITEMS + 1):
        await desk.must(JoinApproval("a1", n - 1, item(f"b{n}")))
    full = JoinApproval("a1", MOST_ITEMS, item("one more"))

    assert await desk.commit(full) == Refused(Reason.APPROVALS_EXHAUSTED, "a1")
    await desk.must(replace(full, item=item(amount=99)))
    assert [each.amount for each in (await stored(desk)).items] == [99] + [40] * (MOST_ITEMS - 1)


# Answers


@in_loop
async def test_an_answer_is_stored_as_it_was_given(desk: Desk) -> None:
    """A request that is passed on, then heard, then approved: each step as the core made it."""
    opened = await is_open(desk, asked(chain=("lead", "boss"), terms=replace(TERMS, quorum=2)))
    passed = voted(opened, vote("lead", Verdict.HOLD, kind="agent"), "escalated", START)
    await desk.must(MoveApproval(passed))
    assert await stored(desk) == passed
    heard = voted(passed, vote("boss", kind="agent", level=1), "pending", START)
    await desk.must(MoveApproval(heard))
    assert await stored(desk) == heard
    granted = voted(heard, vote("ben", level=1), "approved", START)
    await desk.must(MoveApproval(granted))

    assert await stored(desk) == granted
    assert (granted.level, granted.expires, len(granted.votes)) == (1, START + HOUR, 3)


@in_loop
async def test_only_one_answer_follows_what_was_seen(desk: Desk) -> None:
    """Of several at the same moment one, whatever they say; the others' callers see what has become of it."""
    opened = await is_open(desk)
    answers = [
        MoveApproval(voted(opened, vote(by, said), outcome, START))
        for by, said, outcome in [
            ("ben", Verdict.APPROVE, "approved"),
            ("cleo", Verdict.DENY, "denied"),
            ("dan", Verdict.HOLD, "pending"),
        ]
    ]
    outcomes = await asyncio.gather(*(desk.commit(each) for each in answers))

    assert outcomes.count(STALE) == 2
    (won,) = [each.approval for each, done in zip(answers, outcomes, strict=True) if isinstance(done, Committed)]
    found = await stored(desk)
    assert (found.state, found.votes, found.version) == (won.state, won.votes, 2)


@pytest.mark.parametrize("join_first", [True, False])
@in_loop
async def test_an_answer_is_to_what_was_seen(desk: Desk, join_first: bool) -> None:
    """Something that joined meanwhile is not approved unseen; nor does anything join what was answered meanwhile."""
    opened = await is_open(desk)
    joining, answering = JoinApproval("a1", 1, item("b2")), MoveApproval(voted(opened, vote(), "approved", START))
    first, second = (joining, answering) if join_first else (answering, joining)

    await desk.must(first)
    assert await desk.commit(second) == STALE


@pytest.mark.parametrize("version", [1, 3])
@in_loop
async def test_a_change_is_of_the_version_before(desk: Desk, version: int) -> None:
    """One of another, or of an approval that is not there, is stale."""
    opened = await is_open(desk)
    granted = voted(opened, vote(), "approved", START)

    assert await desk.commit(MoveApproval(replace(granted, version=version))) == STALE
    assert await desk.commit(MoveApproval(replace(granted, id="a2"))) == STALE


@pytest.mark.parametrize("after", State)
@pytest.mark.parametrize("before", State)
@in_loop
async def test_exactly_the_listed_moves_are_legal(desk: Desk, before: State, after: State) -> None:
    """What is pending may come to anything but revoked, what is approved may be revoked, and what ended has ended."""
    opened = await is_open(desk)
    if before in (State.APPROVED, State.DENIED, State.REVOKED):
        await answer(desk, "denied" if before is State.DENIED else "approved")
    if before is State.REVOKED:
        await desk.must(taken_back(await stored(desk)))
    if before is State.EXPIRED:
        desk.time = opened.deadline
        await desk.must(run_out(opened, now=desk.time))
    was = await stored(desk)
    assert was.state is before
    ended = {} if after in (State.PENDING, State.APPROVED) else {"ended": desk.time}
    wanted = at(was, state=after, votes=(*was.votes, vote("cleo", time=desk.time)), expires=START + HOUR, **ended)
    legal = (before is State.PENDING and after is not State.REVOKED) or (before, after) == ("approved", "revoked")

    if legal:
        await desk.must(wanted)
        assert (await stored(desk)).state is after
    else:
        await is_illegal(desk, wanted)


TWO = replace(TERMS, quorum=2)


@pytest.mark.parametrize(
    ("quorum", "votes"),
    [
        (1, ()),
        (1, (vote("ben", Verdict.DENY),)),
        (1, (vote("ben", Verdict.HOLD),)),
        (2, (vote("ben"),)),
        (2, (vote("ben"), vote("ben"))),
        (2, (vote("ben"), vote("cleo"), vote("ben", Verdict.DENY))),
    ],
    ids=["nobody", "a no", "a pass", "one of two", "one twice", "one who thought better of it"],
)
@in_loop
async def test_no_grant_comes_of_fewer_than_must_approve(desk: Desk, quorum: int, votes: tuple[Vote, ...]) -> None:
    """Whatever policy stated: who said several things counts by the last."""
    opened = await is_open(desk, asked(terms=replace(TERMS, quorum=quorum)))

    await is_illegal(desk, at(opened, state=State.APPROVED, votes=votes, expires=START + HOUR))


@in_loop
async def test_an_agent_and_a_person_of_one_name_are_two(desk: Desk) -> None:
    """A name is of its kind."""
    opened = await is_open(desk, asked(terms=TWO))
    votes = (vote("lead"), vote("lead", kind="agent"))

    await desk.must(at(opened, state=State.APPROVED, votes=votes, expires=START + HOUR))


@pytest.mark.parametrize("outcome", ["approved", "denied", "pending"])
@pytest.mark.parametrize("kind", ["agent", "person"])
@in_loop
async def test_whoever_asks_has_no_voice(desk: Desk, kind: str, outcome: str) -> None:
    """Not even beside those who are enough, nor to say no."""
    opened = await is_open(desk)
    ended = {"ended": START} if outcome == "denied" else {}
    votes = (vote("ben"), vote("ann", kind=kind))

    await is_illegal(desk, at(opened, state=State(outcome), votes=votes, expires=START + HOUR, **ended))


@in_loop
async def test_what_was_said_stays_said(desk: Desk) -> None:
    """Nobody's no is taken away, and nobody's words are changed."""
    await is_open(desk, asked(terms=TWO))
    await answer(desk, "pending", "cleo")
    heard = await stored(desk)
    other = replace(heard.votes[0], reason="other")

    await is_illegal(desk, at(heard, votes=(vote("ben"),)))
    await is_illegal(desk, at(heard, votes=()))
    await is_illegal(desk, at(heard, state=State.APPROVED, votes=(other, vote("ben")), expires=START + HOUR))


@pytest.mark.parametrize(
    "parts",
    [
        {"terms": replace(TERMS, uses=1000)},
        {"terms": replace(TERMS, cost=None)},
        {"terms": replace(TERMS, quorum=0)},
        {"subject": "bob"},
        {"workflow": "w2"},
        {"like": "other"},
        {"lifts": "h1"},
        {"resource": {"type": "service", "id": "mail", "operation": "send", "variant": "huge"}},
    ],
    ids=lambda parts: next(iter(parts)),
)
@in_loop
async def test_what_is_asked_for_is_not_changed_by_the_answer(desk: Desk, parts: dict[str, Any]) -> None:
    """Neither its terms nor what it is of."""
    opened = await is_open(desk)

    await is_illegal(desk, MoveApproval(replace(voted(opened, vote(), "approved", START), **parts)))


@in_loop
async def test_an_answer_s_items_are_those_that_are_stored(desk: Desk) -> None:
    """Whoever answers says nothing of what is approved: what it brings of that is not looked at."""
    opened = await is_open(desk)
    wide = item(amount=10**9, labels=("finance", "pii"), used=-7, spent=-7)
    granted = voted(opened, vote(), "approved", START)
    await desk.must(MoveApproval(replace(granted, items=(wide, item("b2")))))

    assert await stored(desk) == granted


@pytest.mark.parametrize("outcome", ["approved", "denied", "pending", "escalated"])
@in_loop
async def test_an_answer_after_the_deadline_is_none(desk: Desk, outcome: str) -> None:
    """The deadline that is stored: the moment counts at which it is recorded."""
    opened = await is_open(desk, asked(chain=("lead",)))
    late = voted(opened, vote(), outcome, START)
    desk.time = opened.deadline
    await is_illegal(desk, MoveApproval(late))
    desk.time -= 1

    await desk.must(MoveApproval(late))


@pytest.mark.parametrize("outcome", ["expired", "denied", "escalated"])
@in_loop
async def test_nothing_is_over_before_its_deadline(desk: Desk, outcome: str) -> None:
    """A sweeper that looked before somebody prolonged it, or whose clock is ahead, does no harm."""
    opened = await is_open(desk, asked(chain=("lead",)))
    over = run_out(opened, outcome, now=opened.deadline)
    desk.time = opened.deadline - 1
    await is_illegal(desk, over)
    desk.time += 1

    await desk.must(over)
    assert await stored(desk) == timed_out(opened, outcome, opened.deadline)


@in_loop
async def test_the_clock_approves_nothing(desk: Desk) -> None:
    """Not though enough have said yes to what policy left pending."""
    await is_open(desk)
    await answer(desk, "pending")
    heard = await stored(desk)
    desk.time = heard.deadline

    await is_illegal(desk, at(heard, state=State.APPROVED, expires=START + HOUR))


@pytest.mark.parametrize(("level", "by_clock"), [(0, False), (3, False), (1, True), (3, True)])
@in_loop
async def test_who_is_asked_moves_on_along_the_chain(desk: Desk, level: int, by_clock: bool) -> None:
    """Never back, never beyond people; and the clock asks somebody who was not asked."""
    await is_open(desk, asked(chain=("lead", "boss")))
    await answer(desk, "escalated", "lead", Verdict.HOLD)
    asks_boss = await stored(desk)
    assert asks_boss.addressee == "boss"
    if by_clock:
        desk.time = asks_boss.deadline
    votes = asks_boss.votes if by_clock else (*asks_boss.votes, vote("ben"))

    await is_illegal(desk, at(asks_boss, level=level, votes=votes, deadline=desk.time + HOUR))
    await desk.must(at(asks_boss, level=2, votes=votes, deadline=desk.time + HOUR))
    assert (await stored(desk)).addressee == ""


@pytest.mark.parametrize("state", [State.DENIED, State.EXPIRED, State.REVOKED])
@in_loop
async def test_of_what_has_ended_nothing_is_left_to_read(desk: Desk, state: State) -> None:
    """What would have been done is blank, whatever the change brings; what was said of it is not."""
    opened = await is_open(desk)
    if state is State.REVOKED:
        await answer(desk, "approved")
    if state is State.EXPIRED:
        desk.time = opened.deadline
    was = await stored(desk)
    votes = was.votes if state is State.EXPIRED else (*was.votes, vote("cleo", Verdict.DENY))
    await desk.must(at(was, state=state, votes=votes, ended=desk.time))

    found = await stored(desk)
    assert [each.shown for each in was.items] == ['{"to":"b1"}']
    assert [each.shown for each in found.items] == [""]
    assert found.votes == votes


@in_loop
async def test_a_grant_is_taken_back_by_somebody(desk: Desk) -> None:
    """Not by its requester, nor by nobody."""
    grant = await is_granted(desk)
    await is_illegal(desk, at(grant, state=State.REVOKED, ended=START))
    await is_illegal(desk, taken_back(grant, "ann"))

    await desk.must(taken_back(grant, "cleo"))
    assert (await stored(desk)).state is State.REVOKED


# Uses


async def uses(desk: Desk, *amounts: int, binding: str = "b1", id: str = "a1") -> list[bool]:
    """Uses one after the other: whether each was admitted; a refused one is refused by its one reason."""
    outcomes = [await desk.commit(UseGrant(id, binding, amount)) for amount in amounts]
    assert all(each == SPENT for each in outcomes if isinstance(each, Refused))
    return [isinstance(each, Committed) for each in outcomes]


@in_loop
async def test_a_grant_is_used_so_often_and_no_more(desk: Desk) -> None:
    """Of eight at the same moment two; its version stays, so that nobody who resolves must look again."""
    grant = await is_granted(desk)
    version = await desk.store.approvals_version()
    outcomes = await asyncio.gather(*(desk.commit(UseGrant("a1", "b1", 10)) for _ in range(8)))

    assert sum(isinstance(each, Committed) for each in outcomes) == 2
    assert outcomes.count(SPENT) == 6
    assert await stored(desk) == replace(grant, items=(item(used=2, spent=20),))
    assert await desk.store.approvals_version() == version


@in_loop
async def test_each_item_has_uses_of_its_own_and_all_one_cost(desk: Desk) -> None:
    """Two of each, for at most 100 together, to the last nano; and of nothing that was not approved."""
    await is_open(desk)
    await desk.must(JoinApproval("a1", 1, item("b2")))
    await answer(desk, "approved")

    assert await uses(desk, 40, binding="b3") == [False]
    assert await uses(desk, 60) == [True]
    assert await uses(desk, 41, 40, 1, 0, binding="b2") == [False, True, False, True]
    assert await uses(desk, 1, 0, 0) == [False, True, False]
    assert [(each.used, each.spent) for each in (await stored(desk)).items] == [(2, 60), (2, 40)]


@in_loop
async def test_at_once_a_grant_is_used_to_the_last_nano_of_its_cost(desk: Desk) -> None:
    """Many callers of several items at the same moment get what there is, and not one use more."""
    await is_open(desk, asked(terms=replace(TERMS, uses=50)))
    await desk.must(JoinApproval("a1", 1, item("b2")))
    await answer(desk, "approved")
    outcomes = await asyncio.gather(*(desk.commit(UseGrant("a1", f"b{1 + n % 2}", 9)) for n in range(30)))

    assert sum(isinstance(each, Committed) for each in outcomes) == 11
    assert sum(each.spent for each in (await stored(desk)).items) == 99


@pytest.mark.parametrize(("bind", "admitted"), [(Bind.EXACT, False), (Bind.VARIANT, True), (Bind.OPERATION, True)])
@in_loop
async def test_an_exact_use_costs_no_more_than_was_approved(desk: Desk, bind: Bind, admitted: bool) -> None:
    """Of a wider grant only the bound of its cost counts."""
    await is_granted(desk, asked(terms=replace(TERMS, bind=bind, uses=9)))

    assert await uses(desk, 41, 40) == [admitted, True]


@in_loop
async def test_a_grant_without_a_bound_of_cost_counts_its_uses_alone(desk: Desk) -> None:
    """However dear they are; what it has spent stays within what a store holds."""
    await is_granted(desk, asked(terms=replace(TERMS, cost=None, uses=6)))

    assert await uses(desk, *[2**60] * 7) == [True] * 6 + [False]
    assert (await stored(desk)).items[0].spent == 2**62


@pytest.mark.parametrize("state", [State.PENDING, State.DENIED, State.EXPIRED, State.REVOKED])
@in_loop
async def test_only_a_grant_is_used(desk: Desk, state: State) -> None:
    """Not what waits, was refused, ran out or was taken back; nor what is not there."""
    opened = await is_open(desk)
    if state is State.EXPIRED:
        desk.time = opened.deadline
        await desk.must(run_out(opened, now=desk.time))
    elif state is not State.PENDING:
        await answer(desk, "denied" if state is State.DENIED else "approved")
    if state is State.REVOKED:
        await desk.must(taken_back(await stored(desk)))

    assert (await stored(desk)).state is state
    assert await uses(desk, 1) == [False]
    assert await uses(desk, 1, id="a2") == [False]


@in_loop
async def test_a_grant_ends_by_the_clock(desk: Desk) -> None:
    """Used until the last nanosecond before, by the time of the record."""
    grant = await is_granted(desk)
    desk.time = grant.expires - 1
    assert await uses(desk, 1) == [True]
    desk.time += 1
    assert await uses(desk, 1) == [False]


@in_loop
async def test_an_amount_is_an_amount(desk: Desk) -> None:
    """One below nothing would make room."""
    await is_granted(desk)
    for amount in (-1, 2**60 + 1):
        with pytest.raises(BadRequest):
            await desk.commit(UseGrant("a1", "b1", amount))

    assert (await stored(desk)).items == (item(),)


@pytest.mark.parametrize("use_first", [True, False])
@in_loop
async def test_a_use_and_a_revocation_go_by_their_order(desk: Desk, use_first: bool) -> None:
    """Made of the same grant: what was used before stays used, and afterwards nothing is."""
    grant = await is_granted(desk)
    use, back = UseGrant("a1", "b1", 10), taken_back(grant)
    outcomes = [await desk.commit(each) for each in ((use, back) if use_first else (back, use))]

    assert [isinstance(each, Committed) for each in outcomes] == [True, use_first]
    found = await stored(desk)
    assert (found.state, found.items[0].used, found.items[0].spent) == ("revoked", int(use_first), 10 * use_first)


@in_loop
async def test_a_use_and_a_revocation_at_the_same_moment(desk: Desk) -> None:
    """Either the use came before, or it was refused; none is admitted and not counted."""
    for n in range(8):
        grant = await is_granted(desk, asked(f"a{n}"))
        pair = [UseGrant(f"a{n}", "b1", 10), taken_back(grant)]
        first, second = await asyncio.gather(*(desk.commit(each) for each in (pair if n % 2 else pair[::-1])))
        used = first if n % 2 else second
        found = await stored(desk, f"a{n}")
        assert found.state is State.REVOKED
        assert found.items[0].used == isinstance(used, Committed)


@in_loop
async def test_two_uses_in_one_commit_are_two(desk: Desk) -> None:
    """All of them or none: a commit that needs more than is left uses nothing."""
    await is_granted(desk)
    three = [UseGrant("a1", "b1", 1)] * 3
    assert await desk.commit(*three) == SPENT
    assert (await stored(desk)).items[0].used == 0

    await desk.must(*three[:2])
    assert (await stored(desk)).items[0].used == 2


@in_loop
async def test_a_commit_that_uses_several_grants_uses_all_or_none(desk: Desk) -> None:
    """Several holds need several grants."""
    await is_granted(desk, asked("a1"))
    await is_granted(desk, asked("a2", terms=replace(TERMS, uses=1)))
    both = (UseGrant("a1", "b1", 1), UseGrant("a2", "b1", 1))

    await desk.must(*both)
    assert await desk.commit(*both) == SPENT
    assert [(await stored(desk, id)).items[0].used for id in ("a1", "a2")] == [1, 1]


# Questions


@in_loop
async def test_approvals_are_found_by_each_of_their_parts(desk: Desk) -> None:
    """By id, likeness, state, subject and place; every part that says something must hold; the newest first."""
    for n in range(1, 7):
        subject = "ann" if n % 2 else "bob"
        await is_open(desk, asked(f"a{n}", subject=subject, like=f"like{n % 3}" if n < 4 else f"like {n}"))
    await answer(desk, "approved", id="a1")
    await answer(desk, "denied", id="a2")
    await is_open(desk, asked("a7", like="like1"))
    await desk.must(JoinApproval("a7", 1, item("b7")))

    expected: dict[str, tuple[dict[str, Any], Sequence[str]]] = {
        "all": ({}, ["a7", "a6", "a5", "a4", "a3", "a2", "a1"]),
        "a page": ({"limit": 3}, ["a7", "a6", "a5"]),
        "the next": ({"limit": 3, "before": "a5"}, ["a4", "a3", "a2"]),
        "ids": ({"ids": ("a1", "a9", "a4")}, ["a4", "a1"]),
        "likes": ({"likes": ("like1", "like2", "like9")}, ["a7", "a2", "a1"]),
        "a like of a state": ({"likes": ("like1",), "states": (State.PENDING,)}, ["a7"]),
        "the newest of two likes": ({"likes": ("like1", "like2"), "limit": 2}, ["a7", "a2"]),
        "bindings": ({"bindings": ("b7", "b9")}, ["a7"]),
        "bindings of a like": ({"bindings": ("b1",), "likes": ("like1",)}, ["a7", "a1"]),
        "the newest of two bindings": ({"bindings": ("b1", "b7"), "limit": 2}, ["a7", "a6"]),
        "states": ({"states": (State.APPROVED, State.DENIED)}, ["a2", "a1"]),
        "pending": ({"states": (State.PENDING,), "limit": 2}, ["a7", "a6"]),
        "pending before": ({"states": (State.PENDING,), "before": "a6"}, ["a5", "a4", "a3"]),
        "a subject": ({"subject": "bob"}, ["a6", "a4", "a2"]),
        "a subject's pending": ({"subject": "bob", "states": (State.PENDING,)}, ["a6", "a4"]),
        "a like of a subject": ({"subject": "ann", "likes": ("like1", "like2")}, ["a7", "a1"]),
        "ids of a subject": ({"subject": "bob", "ids": ("a1", "a2"), "states": (State.DENIED,)}, ["a2"]),
        "ids of a like": ({"ids": ("a1", "a2"), "likes": ("like1",)}, ["a1"]),
        "nobody's": ({"subject": "eve"}, []),
    }
    assert {name: await ids(desk, **query) for name, (query, _) in expected.items()} == {
        name: list(found) for name, (_, found) in expected.items()
    }


@in_loop
async def test_the_versions_of_all_that_are_pending_are_told_at_once(desk: Desk) -> None:
    """The oldest first; of nothing that has ended."""
    for id in ("a2", "a1", "a3"):
        await is_open(desk, asked(id, like=f"like {id}"))
    await desk.commit(JoinApproval("a1", 1, item("b2")))
    await is_granted(desk, asked("a4", like="like a4"))
    await desk.commit(MoveApproval(voted(await stored(desk, "a3"), vote(verdict=Verdict.DENY), "denied", START)))

    assert list((await desk.store.pending_approvals()).items()) == [("a1", 2), ("a2", 1)]


@in_loop
async def test_the_version_moves_with_what_is_opened_joined_and_moved(desk: Desk) -> None:
    """And with nothing that is refused, used or forgotten."""
    versions = [await desk.store.approvals_version()]

    async def moves(*effects: Effect) -> bool:
        await desk.commit(*effects)
        versions.append(await desk.store.approvals_version())
        return versions[-1] > versions[-2]

    assert await moves(OpenApproval(asked()))
    assert not await moves(OpenApproval(asked("a2", like="like a1")))
    assert await moves(JoinApproval("a1", 1, item("b2")))
    assert not await moves(JoinApproval("a1", 1, item("b3")))
    assert not await moves(JoinApproval("a1", 1, item(), same=True))
    granted = voted(await stored(desk), vote(), "approved", START)
    assert await moves(MoveApproval(granted))
    assert not await moves(MoveApproval(granted))
    assert not await moves(UseGrant("a1", "b1", 1))
    await desk.store.prune(START + 2 * MONTH)
    assert not await moves()


@in_loop
async def test_what_is_over_is_found_oldest_first(desk: Desk) -> None:
    """Pending ones whose deadline has passed, by the deadline that is stored last."""
    for id, seconds in (("a1", 30), ("a2", 10), ("a3", 20), ("a4", 5), ("a5", 20)):
        await is_open(desk, asked(id, deadline=START + seconds * SECOND, chain=("lead",)))
    await answer(desk, "approved", id="a4")
    await answer(desk, "escalated", "lead", Verdict.HOLD, id="a3")  # ten minutes from now

    async def due(now: int, limit: int = 10) -> list[str]:
        return [each.id for each in await desk.store.due_approvals(now, limit)]

    assert await due(START + 10 * SECOND - 1) == []
    assert await due(START + 10 * SECOND) == ["a2"]
    assert await due(START + 30 * SECOND) == ["a2", "a5", "a1"]
    assert await due(START + 30 * SECOND, 2) == ["a2", "a5"]
    assert await due(START + HOUR) == ["a2", "a5", "a1", "a3"]
    assert (await desk.store.due_approvals(START + HOUR, 1))[0] == await stored(desk, "a2")


# Forgetting


@in_loop
async def test_what_has_ended_is_forgotten_a_month_later(desk: Desk) -> None:
    """Refused ones and grants that have expired, with their items; what still waits is told to be over first."""
    await is_granted(desk, asked("a1"))  # until an hour from now
    await is_open(desk, asked("a2"))
    await answer(desk, "denied", id="a2")
    await is_open(desk, asked("a3"))

    assert await desk.store.prune(START + MONTH - 1) == 0
    assert await desk.store.prune(START + MONTH) == 1
    assert await ids(desk) == ["a3", "a1"]
    assert await desk.store.prune(START + MONTH + HOUR - 1) == 0
    assert await desk.store.prune(START + MONTH + HOUR) == 1
    assert await desk.store.prune(START + 2 * MONTH) == 0
    assert await ids(desk) == ["a3"]
    again = await is_open(desk, asked("a1", items=(item(amount=7),)))
    assert again.items == (item(amount=7),)


@in_loop
async def test_what_was_erased_is_not_shown(desk: Desk) -> None:
    """What that decision asked for, in whatever it joined; of the others everything stays, and what was said too."""
    await desk.must(id="d_private")
    await desk.must(id="d_other")
    await is_granted(desk, asked("a1", items=(item(decision="d_private"),)))
    await is_open(desk, asked("a2", items=(item(decision="d_other"),)))
    await desk.must(JoinApproval("a2", 1, item("b2", decision="d_private")))
    before = [await stored(desk, id) for id in ("a1", "a2")]
    await desk.store.erase("d_private", by="ana", reason="asked to be forgotten")

    granted, waiting = [await stored(desk, id) for id in ("a1", "a2")]
    assert [each.shown for each in (*granted.items, *waiting.items)] == ["", '{"to":"b1"}', ""]
    assert [_unshown(each) for each in (granted, waiting)] == [_unshown(each) for each in before]
    await desk.must(UseGrant("a1", "b1", 1))


@in_loop
async def test_erasing_who_approved_leaves_what_was_said(desk: Desk) -> None:
    """The reason of a vote is part of the grant."""
    await desk.must(id="d_by_ben")
    grant = await is_granted(desk)
    await desk.store.erase("d_by_ben", by="ana", reason="")

    assert await stored(desk) == grant


def _unshown(approval: Approval) -> Approval:
    return replace(approval, items=tuple(replace(each, shown="") for each in approval.items))


# The file


@in_loop
async def test_a_stop_and_a_start_keep_approvals_and_uses(tmp_path: Path) -> None:
    """And what waits still waits, by its version."""

    def opened() -> SqliteStore:
        key = Ed25519PrivateKey.from_private_bytes(bytes(32))
        store = SqliteStore(tmp_path / "state.db", clock=FakeClock(START), ids=FakeIds(), key=key)
        store.activate("r1")
        return store

    desk = Desk(opened())
    await is_granted(desk, asked("a1"))
    await desk.must(UseGrant("a1", "b1", 10))
    await is_open(desk, asked("a2"))
    before = [await stored(desk, id) for id in ("a1", "a2")], await desk.store.approvals_version()
    await desk.store.close()
    desk.store = opened()

    assert ([await stored(desk, id) for id in ("a1", "a2")], await desk.store.approvals_version()) == before
    assert await uses(desk, 10, 10) == [True, False]
    assert isinstance(await answer(desk, "approved", id="a2"), Committed)
    await desk.store.close()


@pytest.mark.parametrize("size", [50, 15_000])
@in_loop
async def test_what_was_erased_is_nowhere_on_the_disk(tmp_path: Path, size: int) -> None:
    """Not in the file, not in its free pages, not in the write-ahead log."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    store = SqliteStore(tmp_path / "state.db", clock=FakeClock(START), ids=FakeIds(), key=key)
    desk = Desk(store)
    await desk.must(id="d_private")
    await is_open(desk, asked(items=(item(decision="d_private", shown="canary" * (size // 6)),)))
    assert _holding(tmp_path, b"canarycanary")
    await store.erase("d_private", by="ana", reason="asked")

    assert _holding(tmp_path, b"canarycanary") == []
    await store.close()


def _holding(directory: Path, what: bytes) -> list[str]:
    """The files that hold it."""
    return [each.name for each in directory.iterdir() if what in each.read_bytes()]
