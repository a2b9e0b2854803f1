"""Eight workers, two leads and a person do a day's orders while they, and their sidecar, are killed in the middle.

Afterwards the journal alone says how each order ended, and nothing is held by anybody.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import remit
from counts import COUNTS, SEED
from fakes.team_books import REVIEWED, Books, Left, findings, look
from fakes.team_place import ENDS, WIRES, Place, token_of
from fakes.team_play import Plan, play
from remit.cli.records import Entry
from remit.v1 import oversight_pb2, oversight_pb2_grpc, resources_pb2

pytestmark = [pytest.mark.opa, pytest.mark.crash, pytest.mark.timeout(180)]
MUTANT = Path(__file__).parents[1] / "fakes" / "team_mutant.py"
WORKER = "worker-0"

Change = Callable[[Books], Books]


@pytest.fixture(scope="module", name="whole")
def whole_fixture(tmp_path_factory: pytest.TempPathFactory) -> Books:
    """The books of one team that has done all of its work."""
    return played(tmp_path_factory.mktemp("whole"), Plan.of(COUNTS.teams * (SEED + 1) - 1, 2))


def played(directory: Path, plan: Plan) -> Books:
    """The books of a team in which nothing is wrong."""
    team, books = play(directory, plan)
    print(plan.seed, dict(team.kills), books.told())
    assert findings(books) == [], (plan, team.errors, directory)
    assert sum(team.kills.values()) > 0
    assert books.approvals and {each.body["effect"] for each in books.decisions()} == {"ALLOW", "DENY", "HOLD"}
    return books


def test_whoever_is_killed_each_order_ends_once_and_nothing_is_held(whole: Books, tmp_path: Path) -> None:
    """Approvals, conflicts, failures, refusals, small room in the budget: the journal accounts for all of it."""
    assert all(len(ends) == 1 for ends in whole.ends().values())
    for number in range(COUNTS.teams - 1):
        place = tmp_path / str(number)
        place.mkdir()
        played(place, Plan.of(COUNTS.teams * SEED + number, 2))


def test_a_lead_that_never_answers_is_found_where_nobody_else_is_asked_in_time(tmp_path: Path) -> None:
    """What waits for a day waits still when everybody has gone."""
    plan = Plan(SEED, 1, {}, kinds=("wire", "plain"), waits=0.5, settles=0.5)

    team, books = play(tmp_path, plan, wires={**WIRES, "roles": ["nobody"], "wait": 86_400}, silent=True)

    (waiting,) = books.left.approvals
    assert findings(books) == [f"held: {waiting} of approvals is still held"], team.errors
    assert [each.body["resource"]["operation"] for each in books.ends()["order-0"]] == ["close_given_up"]


@pytest.mark.parametrize("program", [None, MUTANT])
def test_a_sidecar_that_lets_those_approve_who_ask_is_found(tmp_path: Path, program: Path | None) -> None:
    """A worker approves what it is held for itself; with Remit it cannot."""
    place = Place(tmp_path, failure={})
    try:
        place.up(program)
        permitted = asyncio.run(helps_itself(place))
        left = Left.of(place)
        place.end()
    finally:
        place.end(signal.SIGKILL)
    found = findings(look(place, frozenset(), left, {}))

    assert permitted is bool(program)
    assert any(each.startswith(f"entitled: {WORKER} said approve to what it asked for itself") for each in found) is (
        permitted
    )


async def helps_itself(place: Place) -> bool:
    """Whether a worker gets through with what it is held for, by its own word."""
    async with (
        remit.Agent.connect(place.address, token_of(WORKER)) as worker,
        grpc.aio.insecure_channel(place.address) as channel,
    ):
        asked: dict[str, Any] = {"operation": "send", "purpose": "orders", "arguments": {"order": "its-own"}}
        held = await worker.authorize("api.call", "service:wires", check=False, **asked)
        request = oversight_pb2.ResolveApprovalRequest(
            approval=held.approvals[0].id, verdict=resources_pb2.APPROVAL_VERDICT_APPROVE, reason="I need it"
        )
        oversight = oversight_pb2_grpc.OversightStub(channel)  # type: ignore[no-untyped-call]
        await oversight.ResolveApproval(request, metadata=[("authorization", f"Bearer {token_of(WORKER)}")])
        return (await worker.authorize("api.call", "service:wires", check=False, **asked)).permitted


def first(books: Books, fits: Callable[[Entry], bool]) -> Entry:
    """The first such record."""
    return next(each for each in books.records if fits(each))


def ends(entry: Entry) -> bool:
    """Whether an order ended by it."""
    operation = entry.body["resource"]["operation"] if entry.kind == "decision" else ""
    return operation in ENDS and entry.body["effect"] == "ALLOW"


def used(entry: Entry) -> bool:
    """Whether a grant was used by it."""
    return entry.kind == "decision" and bool(entry.body.get("grants"))


def resolved(entry: Entry) -> bool:
    """Whether somebody's word made a grant by it."""
    return entry.kind == "decision" and entry.body.get("done", {}).get("outcome") == "approved"


def charged(entry: Entry) -> bool:
    """Whether something was paid by it."""
    return entry.kind == "report" and int(entry.body.get("cost") or 0) > 0


def without(fits: Callable[[Entry], bool]) -> Change:
    """One such record is missing."""
    return lambda books: replace(books, records=[each for each in books.records if each is not first(books, fits)])


def twice(fits: Callable[[Entry], bool]) -> Change:
    """One such record is there again."""
    return lambda books: replace(books, records=[*books.records, first(books, fits)])


def other(fits: Callable[[Entry], bool], **changes: Any) -> Change:
    """One such record is another."""

    def changed(books: Books) -> Books:
        found = first(books, fits)
        return replace(books, records=[replace(each, **changes) if each is found else each for each in books.records])

    return changed


def said_by_requester(books: Books) -> Books:
    """Whoever asked has approved."""
    grant = first(books, resolved)
    asked = books.approvals[grant.body["done"]["approval"]]
    return other(resolved, subject=asked.subject)(books)


def ended_otherwise(books: Books) -> Books:
    """An order is refused for what nobody said."""
    body = dict(first(books, ends).body)
    context = {**body["context"], "arguments": {**body["context"]["arguments"], "why": "budget_gone"}}
    body |= {"context": context, "resource": {**body["resource"], "operation": "close_refused"}}
    return other(ends, body=body)(books)


def granted(books: Books) -> Entry:
    """The word that made the first grant that was used."""
    id = first(books, used).body["grants"][0].removesuffix(".o")
    outcomes = {"approved", "denied"}
    return first(
        books,
        lambda each: (
            each.kind == "decision"
            and each.body.get("done", {}).get("approval") == id
            and each.body["done"]["outcome"] in outcomes
        ),
    )


def never_granted(books: Books) -> Books:
    """Nobody has said the word."""
    word = granted(books)
    return without(lambda each: each is word)(books)


def taken_back(books: Books) -> Books:
    """It was taken back at once."""
    word = granted(books)
    grant = first(books, used).body["grants"][0]
    body = {**word.body, "done": {**word.body["done"], "approval": grant, "outcome": "revoked"}}
    return replace(books, records=[*books.records, replace(word, body=body)])


def ungranted(books: Books) -> Books:
    """What had to be approved was allowed just so."""
    use = first(books, lambda each: used(each) and each.body["resource"]["id"] in REVIEWED)
    return other(lambda each: each is use, body={**use.body, "grants": []})(books)


def used_more_often(books: Books) -> Books:
    """The store counts more uses than there may be."""
    id = first(books, used).body["grants"][0]
    approval = books.approvals[id]
    return replace(books, approvals={**books.approvals, id: replace(approval, used=(approval.uses + 1,))})


def untraced(books: Books) -> Books:
    """A workflow's trace lacks a decision."""
    lost = first(books, ends).id
    return replace(books, traces={workflow: told - {lost} for workflow, told in books.traces.items()})


PLANTED: Mapping[str, tuple[Change, str]] = {
    "an order has no end": (without(ends), "has 0 ends"),
    "an order ends twice": (twice(ends), "has 2 ends"),
    "an order ends for no reason": (ended_otherwise, "for no reason"),
    "an order was never handed out": (lambda books: replace(books, orders=books.orders - {"order-1"}), "never handed"),
    "an approval waits": (lambda books: replace(books, left=Left(approvals=("a_1",))), "held:"),
    "money is set aside": (lambda books: replace(books, left=Left(reservations=("d_1",))), "held:"),
    "a thing is claimed": (lambda books: replace(books, left=Left(claims=("object",))), "held:"),
    "a workflow stands still": (lambda books: replace(books, left=Left(halts=("failed",))), "held:"),
    "who asked has approved": (said_by_requester, "entitled:"),
    "a stranger has approved": (other(resolved, subject="worker-9"), "entitled:"),
    "nobody has approved": (never_granted, "before it was given"),
    "a grant was taken back": (taken_back, "after it was taken back"),
    "nobody was asked": (ungranted, "without anybody's word"),
    "a use is before its grant": (other(used, sequence=0), "before it was given"),
    "a grant of another's was used": (other(used, subject="worker-9"), "was granted"),
    "a grant was used too often": (used_more_often, "uses:"),
    "a use is not counted": (twice(used), "uses:"),
    "a nano is missing": (lambda books: replace(books, budget=(books.budget[0] - 1, 0)), "money:"),
    "a report is missing": (without(charged), "money:"),
    "the journal is not signed": (
        lambda books: replace(books, verified={"state": "consistent", "code": 0}),
        "journal:",
    ),
    "a trace has a gap": (untraced, "journal:"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_what_is_wrong_in_the_books_is_found(whole: Books, planted: str) -> None:
    """One thing is changed in the books of a team in which nothing was wrong."""
    change, told = PLANTED[planted]

    assert any(told in each for each in findings(change(whole))), findings(change(whole))
