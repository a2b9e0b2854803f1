"""What agents were seen to do, in groups of the same kind; read from the journal in bounded memory.

A record's body is an agent's word in part: whatever its shape is, reading it gives the empty value, not an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from remit.core.records import Entry, ending, items, mapping, nanos, text

MAX_DECISIONS = 200_000
MAX_GROUPS = 2_000
MAX_PEERS = 100
_MAX_REASONS = 64
_MAX_LABELS = 64
_MAX_UNITS = 64
_MAX_TEXT = 512


@dataclass(frozen=True, slots=True, order=True)
class Access:
    """Who did what to what, and what for. What is longer than a catalogue could name is cut."""

    agent: str
    action: str
    type: str
    id: str
    operation: str
    variant: str
    purpose: str
    actor: str


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """What makes decisions the same: `reasons` are (policy, code); `enforced` tells whether it was binding already."""

    access: Access
    effect: str
    enforced: bool
    reasons: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]
    in_workflow: bool


@dataclass(slots=True)
class Seen:
    """Decisions of one kind: times in ns; `units` the most that was stated of each; `example` the latest decision.

    `body` is the latest record's.
    """

    kind: Kind
    count: int = 0
    first: int = 0
    last: int = 0
    example: str = ""
    cost: int = 0
    units: dict[str, int] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def access(self) -> Access:
        """Who did what to what."""
        return self.kind.access


@dataclass(slots=True)
class Spent:
    """What one decision cost: set aside first, then what was reported or presumed. Nanos of the ledger's currency."""

    kind: Kind
    time: int
    workflow: str
    reserved: int
    deadline: int
    cost: int
    ended: str = ""


class Observed:
    """Reads records in the journal's order; decisions from `since` (ns) on, of one agent or of all ("")."""

    def __init__(self, since: int, agent: str = "", most: int = MAX_DECISIONS) -> None:
        self._since, self._agent, self._most = since, agent, most
        self._groups: dict[Kind, Seen] = {}
        self._spent: dict[str, Spent] = {}
        self.methods: dict[str, int] = {}
        self.peers: dict[str, int] = {}
        self.decisions = 0
        self.observed = 0  # of these, those in mode observe
        self.left_out = 0  # decisions of kinds beyond MAX_GROUPS
        self.unread = 0  # decisions beyond `most`
        self.erased = 0

    @property
    def whole(self) -> bool:
        """Whether nothing was left out."""
        return not (self.left_out or self.unread or self.erased)

    def groups(self) -> list[Seen]:
        """In an order that does not hang on the journal's."""
        return [self._groups[kind] for kind in sorted(self._groups)]

    def spent(self) -> Iterator[Spent]:
        """What decisions cost, in the journal's order."""
        yield from self._spent.values()

    def add(self, entry: Entry) -> None:
        """One more record."""
        if entry.kind == "decision":
            self._decision(entry)
        elif entry.ref in self._spent:
            self._end(entry)
        elif entry.kind == "refused.identity" and entry.time >= self._since:
            self._refused(entry)

    def _decision(self, entry: Entry) -> None:
        if entry.time < self._since or (self._agent and entry.subject != self._agent):
            return
        if entry.erased:
            self.erased += 1
            return
        body = entry.body
        subject = mapping(body.get("subject"))
        if text(subject.get("type")) != "agent" or not _counts(body, subject):
            return
        if self.decisions >= self._most:
            self.unread += 1
            return
        self.decisions += 1
        self.observed += text(subject.get("mode")) == "observe"
        kind = _kind(entry, subject)
        seen = self._groups.get(kind)
        if seen is None:
            if len(self._groups) >= MAX_GROUPS:
                self.left_out += 1
                return
            seen = self._groups[kind] = Seen(kind, first=entry.time)
        self._count(seen, entry, subject)

    def _count(self, seen: Seen, entry: Entry, subject: Mapping[str, Any]) -> None:
        method = text(mapping(subject.get("identity")).get("method"))[:32]
        self.methods[method] = self.methods.get(method, 0) + 1
        seen.count += 1
        seen.first, seen.last = min(seen.first, entry.time), max(seen.last, entry.time)
        seen.example, seen.body = entry.id, entry.body
        estimate = mapping(mapping(entry.body.get("facts")).get("estimate"))
        for unit, quantity in mapping(estimate.get("units")).items():
            if isinstance(quantity, int) and (unit in seen.units or len(seen.units) < _MAX_UNITS):
                seen.units[unit] = max(seen.units.get(unit, 0), quantity)
        deadline = nanos(entry.body.get("deadline"))
        if deadline:
            reserved = nanos(entry.body.get("reserved"))
            seen.cost += reserved
            self._spent[entry.id] = Spent(seen.kind, entry.time, entry.workflow, reserved, deadline, reserved)

    def _end(self, entry: Entry) -> None:
        """The last one counts: a late settlement replaces a presumption."""
        spent = self._spent[entry.ref]
        end = ending(entry, spent.reserved)
        if end is not None:
            state, cost = end
            self._groups[spent.kind].cost += cost - spent.cost
            spent.cost, spent.ended = cost, "presumed" if entry.kind == "lapse" else state

    def _refused(self, entry: Entry) -> None:
        peer = text(entry.body.get("peer"))[:_MAX_TEXT]
        if peer not in self.peers and len(self.peers) >= MAX_PEERS:
            peer = "others"
        count = entry.body.get("count")
        self.peers[peer] = self.peers.get(peer, 0) + (count if isinstance(count, int) else 1)


def _counts(body: Mapping[str, Any], subject: Mapping[str, Any]) -> bool:
    """What was observed, and what was denied."""
    return text(subject.get("mode")) == "observe" or text(body.get("effect")) == "DENY"


def _kind(entry: Entry, subject: Mapping[str, Any]) -> Kind:
    body = entry.body
    resource, facts = mapping(body.get("resource")), mapping(body.get("facts"))
    reasons = {
        (_cut(mapping(each).get("policy")), _cut(mapping(each).get("code")))
        for each in items(body.get("reasons"))[:_MAX_REASONS]
    }
    return Kind(
        access=Access(
            agent=_cut(entry.subject),
            action=_cut(body.get("action")),
            type=_cut(resource.get("type")),
            id=_cut(resource.get("id")),
            operation=_cut(resource.get("operation")),
            variant=_cut(resource.get("variant")),
            purpose=_cut(mapping(body.get("context")).get("purpose")),
            actor=_cut(subject.get("actor")),
        ),
        effect=_cut(body.get("effect")),
        enforced=body.get("enforced") is not False,
        # An ALLOW's reasons are the rules that allow: they make no two kinds of it.
        reasons=tuple(sorted(reasons)) if body.get("effect") != "ALLOW" else (),
        labels=tuple(sorted(mapping(facts.get("labels")))[:_MAX_LABELS]),
        in_workflow=bool(entry.workflow),
    )


def _cut(value: object) -> str:
    return text(value)[:_MAX_TEXT]
