"""Approvals are told of at least once, in order, without what was asked for; whoever is told may fail as it likes."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from counts import COUNTS
from fakes.approvals import TERMS, answer, asked, at, is_granted, is_open, item, run_out, stored, taken_back, vote
from fakes.commits import SECOND, START, Desk
from fakes.loop import in_loop, until
from fakes.store_memory import MemoryStore
from fakes.world import FakeClock
from fakes.world import world as make_world
from hypothesis import given
from hypothesis import strategies as st
from remit.backends.webhook_http import MAX_BODY_BYTES
from remit.config import load
from remit.config.approval_settings import WebhookSettings
from remit.core.approval import Approval, State, Terms, Verdict
from remit.core.approval_event import event, kind
from remit.core.canonical import canonical
from remit.core.effect import JoinApproval, OpenApproval
from remit.core.errors import StoreUnavailable
from remit.pep.outbox import DAY, Outbox
from remit.pep.telling import LOOK_SECONDS, MOST_GRANTS, Teller
from remit.ports import ApprovalsQuery, WebhookFailed

DOC = Path(__file__).parents[2] / "docs" / "webhook.md"
CHAIN = ("lead", "boss")
DESK = "https://desk.example.com"
CANARY = "c4n4ry"

Event = Mapping[str, Any]


@dataclass
class FakeWebhook:
    """Keeps what it takes; `refuses` says what it does not."""

    refuses: Callable[[Event], bool] = lambda event: False
    took: list[Event] = field(default_factory=list)
    asked: list[Event] = field(default_factory=list)

    async def post(self, event: Mapping[str, object]) -> None:
        self.asked.append(event)
        if self.refuses(event):
            raise WebhookFailed("chat.example.com answered 500")
        self.took.append(event)

    @property
    def told(self) -> list[str]:
        return [f"{each['event'].removeprefix('approval.')} {each['id']}" for each in self.took]


class FlakyStore(MemoryStore):
    """Fails to answer what approvals there are, as often as is said; counts how often it is asked."""

    failures = 0
    queries = 0

    async def approvals(self, query: ApprovalsQuery) -> Sequence[Approval]:
        self.queries += 1
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("the store could not be asked")
        return await super().approvals(query)


class Stage:
    """A store, who writes to it, and who tells of it; `again` is another teller, as after a restart."""

    def __init__(self, teller: type[Teller] = Teller) -> None:
        self.store = FlakyStore()
        self.desk = Desk(self.store)
        self.world = make_world(self.store)
        self.hook = FakeWebhook()
        self._teller = teller
        self.again()

    def again(self, **settings: Any) -> None:
        self.teller = self._teller(self.world, self.hook, public_url=DESK, **settings)

    def pass_seconds(self, seconds: float) -> None:
        self.desk.time += int(seconds * SECOND)
        clock = self.world.clock
        assert isinstance(clock, FakeClock)
        clock.time = self.desk.time

    async def told(self) -> list[str]:
        """What is told after one look, to the end."""
        self.hook.took.clear()
        await self.teller.look()
        while self.teller.waiting:
            await self.teller.tell()
        return self.hook.told


@pytest.fixture
def stage() -> Stage:
    return Stage()


def supervised(id: str = "a1", **parts: Any) -> Approval:
    """A request that two supervisors are asked for, before people."""
    return asked(id, **{"chain": CHAIN, "terms": replace(TERMS, supervisor=True), **parts})


# What is told


@in_loop
async def test_a_request_is_told_whole(stage: Stage) -> None:
    """Who, what, why, under which labels, at what cost, who is asked, until when, and where to look."""
    opened = supervised(items=(item(labels=("pii", "finance"), amount=20_500_000_000),))
    await is_open(stage.desk, replace(opened, terms=replace(opened.terms, cost=100_000_000_000)))
    await stage.told()
    assert stage.hook.took == [
        {
            "event": "approval.pending",
            "id": "a1:1",
            "approval": "a1",
            "version": 1,
            "subject": "ann",
            "team": "cx",
            "workflow": "w1",
            "action": "api.call",
            "resource": {"type": "service", "id": "mail", "operation": "send", "variant": "large", "ref": "mail/send"},
            "policy": "approval.large",
            "code": "approval_required",
            "why": "A rule holds the action until somebody approves it.",
            "labels": ["finance", "pii"],
            "amount": {"value": "20.5", "currency": "EUR"},
            "bind": "variant",
            "uses": 2,
            "cost": "100",
            "asked": {"supervisor": "lead", "roles": ["approver"]},
            "quorum": 1,
            "by": "",
            "deadline": "2027-01-15T08:10:00.000Z",
            "link": "https://desk.example.com/approvals/a1",
            "text": "Waits for approval: ann: api.call on `mail/send large`, approval_required (approval.large). "
            "Costs up to 20.5 EUR, 2 times, together at most 100 EUR. Labels: finance, pii. "
            "Asked: lead, until 2027-01-15 08:10:00.000Z. https://desk.example.com/approvals/a1",
        }
    ]


@in_loop
async def test_every_step_of_a_life_is_told(stage: Stage) -> None:
    """Opened, passed on to the next and to people, approved, taken back: each once, and in words."""
    await is_open(stage.desk, supervised())
    assert await stage.told() == ["pending a1:1"]
    await answer(stage.desk, "escalated", "lead", Verdict.HOLD)
    assert await stage.told() == ["passed_on a1:2"]
    assert stage.hook.took[0]["asked"] == {"supervisor": "boss", "roles": ["approver"]}
    stage.pass_seconds(601)
    await stage.desk.must(run_out(await stored(stage.desk), "escalated", now=stage.desk.time))
    assert await stage.told() == ["passed_on a1:3"]
    assert stage.hook.took[0]["asked"] == {"supervisor": "", "roles": ["approver"]}
    assert stage.hook.took[0]["text"].startswith("Passed on, waits for approval: ann: ")
    await answer(stage.desk, "approved")
    assert await stage.told() == ["approved a1:4"]
    assert (stage.hook.took[0]["by"], stage.hook.took[0]["deadline"]) == ("ben", "")
    assert stage.hook.took[0]["text"] == (
        "Approved by ben: ann: api.call on `mail/send large`, approval_required (approval.large). "
        "https://desk.example.com/approvals/a1"
    )
    await stage.desk.must(taken_back(await stored(stage.desk), now=stage.desk.time))
    assert await stage.told() == ["revoked a1:5"]
    assert stage.hook.took[0]["text"].startswith("Taken back by ben: ann: ")
    assert await stage.told() == []


@in_loop
async def test_a_denial_and_an_end_by_the_clock_are_told(stage: Stage) -> None:
    """Whose word it was, where it was anybody's."""
    await is_open(stage.desk, asked("a1"))
    await is_open(stage.desk, asked("a2"))
    assert await stage.told() == ["pending a1:1", "pending a2:1"]
    await answer(stage.desk, "denied", verdict=Verdict.DENY)
    stage.pass_seconds(601)
    await stage.desk.must(run_out(await stored(stage.desk, "a2"), now=stage.desk.time))
    assert await stage.told() == ["denied a1:2", "expired a2:2"]
    assert [(each["by"], each["text"].partition(":")[0]) for each in stage.hook.took] == [
        ("ben", "Denied by ben"),
        ("", "Not answered in time"),
    ]


@in_loop
async def test_who_did_not_end_it_is_not_named(stage: Stage) -> None:
    """Somebody passed, and then the clock ended it."""
    await is_open(stage.desk, asked())
    await answer(stage.desk, "pending", "eve", Verdict.HOLD)
    stage.pass_seconds(601)
    await stage.desk.must(run_out(await stored(stage.desk), "denied", now=stage.desk.time))
    assert await stage.told() == ["denied a1:3"]
    assert stage.hook.took[0]["by"] == ""


@in_loop
async def test_what_changes_nothing_for_who_is_asked_is_not_told(stage: Stage) -> None:
    """A like hold that joins, and one of several votes, are no news."""
    await is_open(stage.desk, asked(terms=replace(TERMS, quorum=2)))
    assert await stage.told() == ["pending a1:1"]
    await stage.desk.must(JoinApproval("a1", 1, item("b2")))
    await answer(stage.desk, "pending")
    assert await stage.told() == []
    await answer(stage.desk, "approved", "eve")
    assert await stage.told() == ["approved a1:4"]


@in_loop
async def test_an_alternative_is_told_only_where_somebody_was_asked(stage: Stage) -> None:
    """What a rule offers was never anybody's to answer; what a person offers is their word."""
    exact = Terms(roles=("approver",))
    grant = replace(asked(), state=State.APPROVED, terms=exact, expires=START + 3600 * SECOND)
    await stage.desk.must(OpenApproval(replace(grant, id="a1")))
    await stage.desk.must(OpenApproval(replace(grant, id="a2", votes=(vote(),))))
    assert await stage.told() == ["approved a2:1"]


@in_loop
async def test_what_opens_and_ends_between_two_looks_is_told_once_ended(stage: Stage) -> None:
    """Nobody is asked for what is over."""
    assert await stage.told() == []
    await is_open(stage.desk, asked())
    await answer(stage.desk, "denied", verdict=Verdict.DENY)
    assert await stage.told() == ["denied a1:2"]
    assert await stage.told() == []


@in_loop
async def test_more_than_a_page_is_told_the_oldest_first(stage: Stage) -> None:
    """However many wait."""
    ids = [f"a{number:04d}" for number in range(250)]
    for number, id in enumerate(ids):
        stage.pass_seconds(0.01)
        await is_open(stage.desk, asked(id, subject=f"agent{number // 20}", time=stage.desk.time))
    assert await stage.told() == [f"pending {id}:1" for id in ids]
    for id in ids:
        await answer(stage.desk, "denied", verdict=Verdict.DENY, id=id)
    assert await stage.told() == [f"denied {id}:2" for id in ids]


@in_loop
async def test_nothing_is_asked_of_a_store_in_which_nothing_moves(stage: Stage) -> None:
    """One number tells."""
    await is_open(stage.desk, asked())
    await stage.told()
    before = stage.store.queries
    await stage.told()
    assert stage.store.queries == before


# What is documented


def rows() -> list[tuple[str, str]]:
    """The rows of the table of docs/webhook.md: names, and what is said of them."""
    return re.findall(r"^\| (`[^|]*) \| ([^|]*) \|$", DOC.read_text(encoding="utf-8"), re.MULTILINE)


def test_every_field_is_documented_and_every_documented_field_is_there() -> None:
    """docs/webhook.md names what an event has, and no more."""
    named = {name for names, _ in rows() for name in re.findall(r"`([a-z_]+)`", names)}
    assert named == set(event(asked(), currency="EUR", page=""))


def test_every_kind_of_event_is_documented() -> None:
    """Each that an approval can be, by its name."""
    (told,) = [said for names, said in rows() if names == "`event`"]
    kinds = {kind(replace(asked(), state=state, level=level)) for state in State for level in (0, 1)}
    assert set(re.findall(r"`approval\.([a-z_]+)`", told)) == kinds


def test_the_settings_that_are_shown_are_read(tmp_path: Path) -> None:
    """As they stand in docs/webhook.md."""
    (shown,) = re.findall(r"```yaml\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "remit.yaml").write_text(f"currency: EUR\n{shown}", encoding="utf-8")
    found = load([tmp_path / "remit.yaml"], {}, {})[0].approvals.webhook
    assert found == WebhookSettings("https://chat.example.com/hooks/remit", Path("/secrets/webhook"))


# What is not told


@in_loop
async def test_no_words_or_values_of_anybody_are_told(stage: Stage) -> None:
    """Arguments, reasons of agents and of those who answer, alternatives: none of them is in any event."""
    opened = supervised(reason=CANARY, items=(item(shown=json.dumps({"to": CANARY})),), alternative={"to": CANARY})
    await is_open(stage.desk, replace(opened, purpose=CANARY, like=CANARY, lifts=CANARY))
    await stage.told()
    told = list(stage.hook.took)
    there = await stored(stage.desk)
    said = vote("lead", Verdict.HOLD, reason=CANARY, decision=CANARY)
    await stage.desk.must(at(there, votes=(said,), level=1))
    await stage.told()
    told += stage.hook.took
    assert [each["event"] for each in told] == ["approval.pending", "approval.passed_on"]
    assert CANARY not in json.dumps(told)


@in_loop
async def test_a_custom_rule_s_code_has_no_meaning_of_ours(stage: Stage) -> None:
    """And without the address of a desk there is no link."""
    stage.teller = Teller(stage.world, stage.hook)
    await is_open(stage.desk, asked(policy="custom.cx.hours", code="outside_hours"))
    await stage.told()
    (told,) = stage.hook.took
    assert (told["why"], told["link"]) == ("", "")
    assert told["text"].endswith("Z.")


HOSTILE = "`<!channel> @here [pay](https://evil.example) *now* \u202e\n\x1b[31m|<https://evil.example|desk>"


@pytest.mark.parametrize("key", ["id", "operation", "variant"])
def test_a_hostile_name_stays_within_its_backticks(key: str) -> None:
    """It calls nobody, links nowhere and ends no line."""
    shown = event(asked(resource={"type": "tool", "id": "a", key: HOSTILE}), currency="EUR", page="")["text"]
    before, name, after = shown.split("`")
    assert (before, after[:2]) == ("Waits for approval: ann: api.call on ", ", ")
    assert not set(name) & set("<>@[](){}*|`\\\u202e\n\x1b")


@given(st.dictionaries(st.sampled_from(["type", "id", "operation", "variant"]), st.text(max_size=600)))
def test_any_name_is_told_on_one_line_and_within_bounds(resource: dict[str, str]) -> None:
    """Whatever an agent calls what it acts on, the event is JSON that can be posted."""
    approval = asked(resource=resource, items=tuple(item(f"b{each}", labels=LABELS) for each in range(20)))
    told = event(replace(approval, terms=replace(TERMS, roles=LABELS)), currency="EUR", page=DESK)
    assert told["text"].count("`") == 2 and told["text"].isprintable()
    assert all(len(each) <= 513 for each in told["resource"].values())
    assert len(told["labels"]) == len(told["asked"]["roles"]) == 64
    assert "and 192 more" in told["text"]
    assert len(canonical(told)) <= MAX_BODY_BYTES


LABELS = tuple(f"label{'x' * 50}{number:04d}" for number in range(256))


# At least once


@in_loop
async def test_what_waits_is_told_again_after_a_start(stage: Stage) -> None:
    """The same event with the same id; whoever was told knows it."""
    await is_open(stage.desk, asked("a1"))
    await is_open(stage.desk, supervised("a2"))
    await answer(stage.desk, "escalated", "lead", Verdict.HOLD, id="a2")
    first = await stage.told(), list(stage.hook.took)
    stage.again()
    assert (await stage.told(), stage.hook.took) == first
    assert first[0] == ["pending a1:1", "passed_on a2:2"]


@in_loop
async def test_what_ended_shortly_before_a_start_is_told_again(stage: Stage) -> None:
    """It may have ended when nobody told; what ended long ago is not dug out."""
    await is_open(stage.desk, asked("a1"))
    await answer(stage.desk, "denied", verdict=Verdict.DENY, id="a1")
    await is_granted(stage.desk, asked("a2"))
    stage.pass_seconds(301)
    await is_open(stage.desk, asked("a3", time=stage.desk.time))
    await answer(stage.desk, "denied", verdict=Verdict.DENY, id="a3")
    await is_granted(stage.desk, asked("a4", time=stage.desk.time))
    stage.pass_seconds(299)
    assert await stage.told() == ["denied a3:2", "approved a4:2"]


@in_loop
async def test_a_grant_of_before_the_start_is_told_when_it_is_taken_back(stage: Stage) -> None:
    """However long ago it was given, while it is in force."""
    await is_granted(stage.desk, asked(terms=replace(TERMS, ttl=7 * 86_400)))
    stage.pass_seconds(86_400)
    assert await stage.told() == []
    await stage.desk.must(taken_back(await stored(stage.desk), now=stage.desk.time))
    assert await stage.told() == ["revoked a1:3"]


@in_loop
async def test_who_opens_with_a_slow_clock_is_not_overlooked(stage: Stage) -> None:
    """An approval of half a minute ago that opened and ended just now."""
    await is_open(stage.desk, asked("a2"))
    assert await stage.told() == ["pending a2:1"]
    stage.pass_seconds(5)
    late = stage.desk.time - 30 * SECOND
    await is_open(stage.desk, asked("a1", time=late))
    await answer(stage.desk, "denied", verdict=Verdict.DENY, id="a1")
    assert await stage.told() == ["denied a1:2"]


@in_loop
async def test_a_store_that_fails_in_the_middle_loses_nothing(stage: Stage) -> None:
    """What could not be looked through is looked through again."""
    await is_open(stage.desk, asked())
    stage.store.failures = 1
    with pytest.raises(StoreUnavailable):
        await stage.teller.look()
    assert await stage.told() == ["pending a1:1"]


@in_loop
async def test_memory_does_not_grow_with_what_is_over(stage: Stage) -> None:
    """What has ended and cannot be found again is forgotten; what waits and what is granted is not."""
    await is_open(stage.desk, asked("a0", deadline=START + 86_400 * SECOND))
    await is_granted(stage.desk, asked("a1", terms=replace(TERMS, ttl=86_400)))
    for number in range(30):
        id = f"b{number:02d}"
        await is_open(stage.desk, asked(id, time=stage.desk.time))
        await answer(stage.desk, "denied", verdict=Verdict.DENY, id=id)
        await stage.told()
        stage.pass_seconds(600)
    assert {"a0", "a1"} < set(stage.teller._known)
    assert len(stage.teller._known) < 20


@in_loop
async def test_only_the_latest_grants_are_followed(stage: Stage) -> None:
    """So that the store is asked a bounded number of times, however many are in force."""
    count = MOST_GRANTS + 100
    for number in range(count):
        await is_granted(stage.desk, asked(f"a{number:05d}"))
    await stage.told()
    stage.pass_seconds(120)
    await is_open(stage.desk, asked("b", time=stage.desk.time))
    before = stage.store.queries
    await stage.told()
    assert stage.store.queries - before <= MOST_GRANTS / 100 + 6


# Whoever is told fails


@in_loop
async def test_what_was_not_taken_is_told_again_in_order(stage: Stage) -> None:
    """Of one approval the first event comes first, however often it fails."""
    stage.hook.refuses = lambda event: len(stage.hook.asked) <= 3
    await is_open(stage.desk, asked())
    await stage.teller.look()
    assert not await stage.teller.tell()
    await answer(stage.desk, "denied", verdict=Verdict.DENY)
    assert await stage.told() == ["pending a1:1", "denied a1:2"]
    assert [each["id"] for each in stage.hook.asked] == ["a1:1", "a1:1", "a1:1", "a1:1", "a1:2"]


@in_loop
async def test_one_that_is_always_refused_holds_up_no_other(stage: Stage) -> None:
    """Those of other approvals are told between its attempts."""
    stage.hook.refuses = lambda event: event["approval"] == "a1"
    for id in ("a1", "a2", "a3"):
        await is_open(stage.desk, asked(id))
    await stage.teller.look()
    assert [await stage.teller.tell() for _ in range(4)] == [False, True, True, False]
    assert (stage.hook.told, stage.teller.waiting) == (["pending a2:1", "pending a3:1"], 1)


@in_loop
async def test_a_fault_in_telling_one_ends_nothing(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Even what no port may raise is one event's fault alone; it is logged with where it came from."""

    def breaks(event: Event) -> bool:
        if event["approval"] == "a1":
            raise ZeroDivisionError
        return False

    stage.hook.refuses = breaks
    for id in ("a1", "a2"):
        await is_open(stage.desk, asked(id))
    await stage.teller.look()
    assert [await stage.teller.tell() for _ in range(2)] == [False, True]
    assert [bool(each.exc_info) for each in caplog.records] == [True]


@in_loop
async def test_pauses_grow_to_a_minute_and_begin_anew(stage: Stage) -> None:
    """Twice as long each time; once an event has been taken, the next failure is the first again."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if seconds == LOOK_SECONDS or len(stage.hook.asked) >= 13:
            await asyncio.Event().wait()

    stage.again(pause=pause)
    stage.hook.refuses = lambda event: len(stage.hook.asked) not in (9, 12)
    for id in ("a1", "a2", "a3"):
        await is_open(stage.desk, asked(id))
    running = asyncio.create_task(stage.teller.run())
    await until(lambda: len(stage.hook.asked) >= 13)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [each for each in pauses if each != LOOK_SECONDS] == [1, 2, 4, 8, 16, 32, 60, 60, 1, 2, 1]


@in_loop
async def test_it_runs_on_while_the_store_is_away(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """What happened in between is told once the store is back."""
    looks = asyncio.Semaphore(0)

    async def pause(seconds: float) -> None:
        await looks.acquire()

    stage.again(pause=pause)
    await is_open(stage.desk, asked())
    stage.store.failures = 1
    running = asyncio.create_task(stage.teller.run())
    await until(lambda: bool(caplog.records))
    assert "the store could not be asked" in caplog.text
    looks.release()
    await until(lambda: stage.hook.told == ["pending a1:1"])
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


# Too many


def filled(*lanes: tuple[str, bool], most: int) -> Outbox:
    outbox = Outbox(most)
    for number, (approval, over) in enumerate(lanes):
        outbox.put(approval, {"id": f"{approval}:{number}"}, over=over, time=0)
    return outbox


async def left(outbox: Outbox) -> list[str]:
    found = []
    while len(outbox):
        waiting = await outbox.first()
        found.append(waiting.event["id"])
        outbox.done(waiting)
    return found


@in_loop
async def test_of_too_many_the_oldest_that_is_over_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """Also what it began with, for nobody needs to answer that any more; the log says so."""
    outbox = filled(("a", False), ("b", False), ("c", True), ("b", True), ("d", False), most=4)
    assert len(outbox) == 4
    assert [each.getMessage() for each in caplog.records] == [
        "event b:1, of an approval that is over, is told to nobody: more than 4 events wait"
    ]
    assert await left(outbox) == ["a:0", "b:3", "c:2", "d:4"]


@in_loop
async def test_what_still_waits_for_an_answer_is_never_dropped() -> None:
    """Then more wait than should: the store bounds how many."""
    lanes = [(f"a{number}", False) for number in range(10)]
    assert await left(filled(*lanes, most=3)) == [f"a{number}:{number}" for number in range(10)]


@in_loop
async def test_what_is_being_told_may_be_dropped_meanwhile() -> None:
    """Then it is neither told twice nor another one taken for it."""
    outbox = filled(("a", True), most=1)
    telling = await outbox.first()
    outbox.put("a", {"id": "a:1"}, over=True, time=0)
    outbox.done(telling)
    assert await left(outbox) == ["a:1"]


@pytest.mark.parametrize(("over", "time", "kept"), [(True, DAY - 1, 1), (True, DAY, 0), (False, DAY, 1)])
@in_loop
async def test_after_a_day_what_is_over_is_given_up(over: bool, time: int, kept: int) -> None:
    """A request that waits is told as long as it does."""
    outbox = filled(("a", over), most=10)
    outbox.failed(await outbox.first(), time)
    assert len(outbox) == kept


# Any order of everything


class Forgets(Teller):
    """A bug: what was not taken counts as told."""

    async def tell(self) -> bool:
        waiting = await self._outbox.first()
        taken = await super().tell()
        self._outbox.done(waiting)
        return taken


class LooksAway(Teller):
    """A bug: what could not be looked through counts as seen."""

    async def look(self) -> None:
        try:
            await super().look()
        except StoreUnavailable:
            self._version, self._looked = await self._world.store.approvals_version(), self._world.clock.now()
            raise


class SeesOnlyWhatWaits(Teller):
    """A bug: nobody asks what has become of the others."""

    async def _found(self, now: int) -> dict[str, Approval]:
        return {id: each for id, each in (await super()._found(now)).items() if each.state is State.PENDING}


class SeesOnlyWhatIsKnown(Teller):
    """A bug: what opened and ended between two looks stays unseen."""

    async def _found(self, now: int) -> dict[str, Approval]:
        found = await super()._found(now)
        return {id: each for id, each in found.items() if each.state is State.PENDING or id in self._known}


class SeesOnlyStates(Teller):
    """A bug: that somebody else is asked is no news."""

    def _is_news(self, approval: Approval, before: Any, after: Any) -> bool:
        return (before is None or before.state != after.state) and super()._is_news(approval, before, after)


class StartsAfresh(Teller):
    """A bug: what waits at the start counts as told."""

    async def look(self) -> None:
        first = self._version is None
        await super().look()
        while first and self.waiting:
            self._outbox.done(await self._outbox.first())


async def walk(stage: Stage, chance: random.Random, steps: int = 60) -> dict[str, Approval]:
    """Approvals live, the store and who is told fail now and then, tellers start again: in any order."""
    stage.hook.refuses = lambda event: chance.random() < 0.4
    for number in range(steps):
        stage.pass_seconds(chance.choice([0, 0.2, 1]))
        match chance.randrange(8):
            case 0:
                time = stage.desk.time
                await is_open(stage.desk, supervised(f"a{number:03d}", subject=f"agent{number}", time=time))
            case 1 | 2 | 3:
                await _live(stage, chance)
            case 4 | 5:
                stage.store.failures = chance.choice([0, 0, 1])
                try:
                    await stage.teller.look()
                except StoreUnavailable:
                    continue
                finally:
                    stage.store.failures = 0
            case 6 if stage.teller.waiting:
                await stage.teller.tell()
            case 7 if chance.random() < 0.2:
                stage.again()
    stage.hook.refuses = lambda event: False
    await stage.teller.look()
    while stage.teller.waiting:
        await stage.teller.tell()
    return {each.id: each for each in await stage.store.approvals(ApprovalsQuery(limit=1000))}


async def _live(stage: Stage, chance: random.Random) -> None:
    """One approval goes on."""
    states = (State.PENDING, State.APPROVED)
    there = await stage.store.approvals(ApprovalsQuery(states=states, limit=1000))
    if not there:
        return
    found = chance.choice(there)
    if found.state is State.APPROVED:
        await stage.desk.must(taken_back(found, now=stage.desk.time))
        return
    outcome, verdict = chance.choice(
        [
            ("escalated", Verdict.HOLD),
            ("approved", Verdict.APPROVE),
            ("denied", Verdict.DENY),
            ("pending", Verdict.HOLD),
        ]
    )
    await answer(stage.desk, outcome, f"ben{found.version}", verdict, id=found.id)


async def unsaid(stage: Stage, chance: random.Random) -> list[str]:
    """What was told wrongly in the end, of a random walk: of each approval, the last word must be how it stands."""
    there = await walk(stage, chance)
    last = {each["approval"]: (each["event"], each["asked"]["supervisor"]) for each in stage.hook.took}
    want = {id: (f"approval.{kind(each)}", each.addressee) for id, each in there.items()}
    return sorted(id for id in want if last.get(id) != want[id])


@pytest.mark.parametrize("seed", range(COUNTS.examples))
@in_loop
async def test_in_any_order_the_last_word_is_how_it_stands(seed: int) -> None:
    """Whatever fails in between, and whenever."""
    assert await unsaid(Stage(), random.Random(seed)) == []


@pytest.mark.parametrize(
    "mutant", [Forgets, LooksAway, SeesOnlyWhatWaits, SeesOnlyWhatIsKnown, SeesOnlyStates, StartsAfresh]
)
@in_loop
async def test_each_planted_bug_is_found(mutant: type[Teller]) -> None:
    """By a few of those walks."""
    assert any([await unsaid(Stage(mutant), random.Random(seed)) for seed in range(30)])
