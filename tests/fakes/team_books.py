"""What a run of the team left behind, and what is wrong with it. Only the journal and the store are asked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fakes.team_place import ENDS, LIMIT, PERSON, WORKERS, Place
from remit.cli.records import Entry, ending, grow, nanos

NANOS = 1_000_000_000
REVIEWED = {
    "bank": "supervision.review",
    "wires": "custom.team",
    "models": "variants.approval",
}
"""Services, and the rule that must have been satisfied wherever one of their actions was allowed."""


@dataclass(frozen=True)
class Left:
    """What is held: approvals that wait, reservations, claims, halts."""

    approvals: tuple[str, ...] = ()
    reservations: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    halts: tuple[str, ...] = ()

    @classmethod
    def of(cls, place: Place) -> Left:
        """By the store."""
        return cls(
            *(
                tuple(str(row[0]) for row in place.select(sql))
                for sql in (
                    "SELECT id FROM approval WHERE state = 'pending' ORDER BY id",
                    "SELECT decision FROM reservation WHERE state = 'held' ORDER BY decision",
                    "SELECT key FROM claim WHERE subject <> '' ORDER BY key",
                    "SELECT reason FROM halt ORDER BY reason",
                )
            )
        )


@dataclass(frozen=True)
class Asked:
    """An approval, as far as it matters here; `used` is of its items, by the store."""

    id: str
    subject: str
    policy: str
    uses: int
    chain: tuple[str, ...]
    roles: tuple[str, ...]
    used: tuple[int, ...]


@dataclass(frozen=True)
class Books:
    """All of it. `traces` are the records that Audit.Trace tells of each workflow."""

    orders: frozenset[str]
    records: Sequence[Entry]
    approvals: Mapping[str, Asked]
    left: Left
    budget: tuple[int, int]
    traces: Mapping[str, frozenset[str]]
    verified: Mapping[str, Any]

    def decisions(self, effect: str = "") -> list[Entry]:
        """What was decided, in order."""
        found = [each for each in self.records if each.kind == "decision"]
        return [each for each in found if not effect or each.body["effect"] == effect]

    def ends(self) -> dict[str, list[Entry]]:
        """How each order ended: the decisions that allowed it."""
        found: dict[str, list[Entry]] = {each: [] for each in self.orders}
        for each in self.decisions("ALLOW"):
            if each.body["resource"]["operation"] in ENDS:
                found.setdefault(order_of(each), []).append(each)
        return found

    def told(self) -> str:
        """What became of the orders, for people."""
        ends = Counter(each.body["resource"]["operation"] for all_ in self.ends().values() for each in all_)
        effects = Counter(each.body["effect"] for each in self.decisions())
        whys = Counter(why_of(each) for all_ in self.ends().values() for each in all_ if why_of(each))
        return f"{dict(ends)} {dict(whys)} {dict(effects)} {len(self.approvals)} approvals"


def look(place: Place, orders: frozenset[str], left: Left, traces: Mapping[str, frozenset[str]]) -> Books:
    """The books of a place whose sidecar has ended."""
    used: dict[str, list[int]] = {}
    for id, uses in place.select("SELECT approval, used FROM approval_item"):
        used.setdefault(id, []).append(uses)
    approvals = {}
    for id, text in place.select("SELECT id, document FROM approval"):
        body = json.loads(text)
        terms = body["terms"]
        approvals[id] = Asked(
            id,
            body["subject"],
            body["policy"],
            terms["uses"],
            tuple(body["chain"]),
            tuple(terms["roles"]),
            tuple(used.get(id, ())),
        )
    spent, held = place.select("SELECT coalesce(sum(spent), 0), coalesce(sum(held), 0) FROM budget")[0]
    return Books(orders, place.records(), approvals, left, (int(spent), int(held)), traces, place.verified())


def order_of(decision: Entry) -> str:
    """Which order it is about, "" for none."""
    return str(decision.body["context"]["arguments"].get("order", ""))


def why_of(decision: Entry) -> str:
    """Why an order ended so."""
    return str(decision.body["context"]["arguments"].get("why", ""))


def findings(books: Books) -> list[str]:
    """What is wrong, [] where nothing is."""
    checks = (_ends, _held, _entitled, _reviewed, _uses, _money, _journal)
    return [f"{check.__name__.strip('_')}: {found}" for check in checks for found in check(books)]


def _ends(books: Books) -> Iterator[str]:
    """Each order has one end, and the journal says why."""
    for order, ends in sorted(books.ends().items()):
        if order not in books.orders:
            yield f"{order!r} was never handed out"
        elif len(ends) != 1:
            yield f"{order} has {len(ends)} ends"
        elif not _grounded(books, ends[0]):
            yield f"{order} ended as {ends[0].body['resource']['operation']} ({why_of(ends[0])}) for no reason"


def _grounded(books: Books, end: Entry) -> bool:
    """Whether what whoever ended an order had been told before is what the end says."""
    own = [
        each
        for each in books.decisions()
        if (each.subject, order_of(each)) == (end.subject, order_of(end)) and each.sequence < end.sequence
    ]
    work = {each.id for each in own if each.body["effect"] == "ALLOW" and each.body["resource"]["id"] != "orders"}
    reports = {(each.ref, each.body["outcome"]) for each in books.records if each.kind == "report" and each.ref in work}
    succeeded, failed = (any(outcome == said for _, outcome in reports) for said in ("succeeded", "failed"))
    match end.body["resource"]["operation"], why_of(end):
        case "close_done", "":
            return succeeded or bool(_lapsed(books, work))
        case "close_compensated", "failed":
            return failed and (succeeded or bool(_lapsed(books, work)))
        case "close_refused" | "close_given_up", "failed" | "failure_escalated":
            return failed
        case "close_refused" | "close_given_up", why:
            codes = {
                reason["code"] for each in own for reason in each.body["reasons"] if each.body["effect"] != "ALLOW"
            }
            return why in codes
    return False


def _lapsed(books: Books, work: set[str]) -> set[str]:
    return {each.ref for each in books.records if each.kind == "lapse" and each.ref in work}


def _held(books: Books) -> Iterator[str]:
    """Nothing is held for ever."""
    for name in ("approvals", "reservations", "claims", "halts"):
        for each in getattr(books.left, name):
            yield f"{each} of {name} is still held"


def _verdicts(books: Books, approval: str) -> list[Entry]:
    return [
        each
        for each in books.decisions("ALLOW")
        if each.body["action"] == "approval.resolve" and each.body["done"]["approval"] == approval
    ]


def _entitled(books: Books) -> Iterator[str]:
    """Whoever was heard is one of those who may be, and never who asked."""
    for asked in books.approvals.values():
        for each in _verdicts(books, asked.id):
            who, said = each.subject, each.body["done"]["verdict"]
            if said == "timeout" and who == "remit":
                continue
            if who == asked.subject:
                yield f"{who} said {said} to what it asked for itself ({asked.id})"
            elif who != PERSON and who != WORKERS.get(asked.subject):
                yield f"{who} said {said} to what {asked.subject} asked for ({asked.id})"


def _reviewed(books: Books) -> Iterator[str]:
    """Whatever had to be approved was, before, by a grant that was in force."""
    for each in books.decisions("ALLOW"):
        resource = each.body["resource"]
        if resource["id"] not in REVIEWED or resource["variant"] == "small":
            continue
        grants = [books.approvals[id] for id in each.body.get("grants", ())]
        if not any(grant.policy == REVIEWED[resource["id"]] for grant in grants):
            yield f"{each.id} was allowed without anybody's word"
    for each in books.decisions("ALLOW"):
        for id in each.body.get("grants", ()):
            yield from _in_force(books, each, id)


def _in_force(books: Books, use: Entry, id: str) -> Iterator[str]:
    if books.approvals[id].subject != use.subject:
        yield f"{use.id} used what {books.approvals[id].subject} was granted"
    word, given = (id.removesuffix(".o"), "denied") if id.endswith(".o") else (id, "approved")
    if given not in _outcomes(books, word, use):
        yield f"{use.id} used {id} before it was given"
    if "revoked" in _outcomes(books, id, use):
        yield f"{use.id} used {id} after it was taken back"


def _outcomes(books: Books, approval: str, use: Entry) -> set[str]:
    """What had come of an approval before it was used."""
    return {each.body["done"]["outcome"] for each in _verdicts(books, approval) if each.sequence < use.sequence}


def _uses(books: Books) -> Iterator[str]:
    """No grant was used more often than it may be, and the store counts what the journal says."""
    used = Counter(id for each in books.decisions("ALLOW") for id in each.body.get("grants", ()))
    for asked in books.approvals.values():
        if max(asked.used, default=0) > asked.uses:
            yield f"{asked.id} was used {max(asked.used)} times, not {asked.uses}"
        if sum(asked.used) != used[asked.id]:
            yield f"{asked.id} was used {used[asked.id]} times, and {sum(asked.used)} are counted"


def _money(books: Books) -> Iterator[str]:
    """The budget is what the journal's reservations and their ends come to, and has not been overdrawn."""
    reserved = {each.id: nanos(each.body["reserved"]) for each in books.decisions("ALLOW")}
    ended = {each.ref: end[1] for each in books.records if (end := ending(each, reserved.get(each.ref, 0)))}
    spent = sum(ended.values())
    held = sum(amount for id, amount in reserved.items() if id not in ended)
    if books.budget != (spent, held):
        yield f"the budget says {books.budget}, the journal {(spent, held)}"
    if spent + held > LIMIT * NANOS:
        yield f"{spent + held} is more than the budget has"


def _journal(books: Books) -> Iterator[str]:
    """It is as it was signed, and each workflow's tree has all of its decisions."""
    if books.verified.get("state") != "authentic" or books.verified.get("code") != 0:
        yield f"it is {books.verified}"
    for workflow, told in books.traces.items():
        of = [each for each in books.records if each.workflow == workflow]
        missing = {each.id for each in of if each.kind == "decision"} - told
        if missing:
            yield f"the trace of {workflow} lacks {sorted(missing)[:3]}"
        hung = {each.id for each in _flat(grow(of))}
        lost = {each.id for each in of} - hung
        if lost:
            yield f"the tree of {workflow} lacks {sorted(lost)[:3]}"


def _flat(nodes: Sequence[Any]) -> Iterator[Entry]:
    for node in nodes:
        yield node.entry
        yield from node.about
        yield from _flat(node.children)
