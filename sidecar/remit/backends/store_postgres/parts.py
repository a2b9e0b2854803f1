"""One caller's commit as it is sent: what of it is known before it is put into a batch.

Whatever PostgreSQL could not take (U+0000 in a text, a number beyond 64 bits) is found here, so that only its own
caller is told.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import orjson

from remit.core.approval import MOST_ITEMS, MOST_PENDING, Approval, Item, to_document
from remit.core.canonical import MalformedJson, encode_exact
from remit.core.claim import MOST_CLAIMS
from remit.core.effect import (
    AdjustBudget,
    BindTrace,
    CloseWorkflow,
    Commit,
    Effect,
    EndReservation,
    JoinApproval,
    JoinLabels,
    KeepAnswer,
    LapseSlice,
    LiftHalt,
    MoveApproval,
    NoteAct,
    OpenApproval,
    OpenWorkflow,
    OversightEffect,
    PlaceHalt,
    ProlongReservation,
    Record,
    ReleaseClaim,
    Reserve,
    RespectClaims,
    SeeSubjects,
    TakeClaim,
    UseGrant,
    UsePassport,
)
from remit.core.errors import BadRequest, IllegalTransition, Violation
from remit.core.journal import body_hash, header_bytes
from remit.core.model import BudgetRow
from remit.core.reservation import MAX_NANOS, State, check_amount
from remit.core.view.subjects import in_storing_order
from remit.ports import Sight

SIGHTS = (Sight.RETURNED, Sight.REACHED, Sight.MANY)
"""By their number in the table; the more certain is the lower one."""

SLICE_LAPSE_SECONDS = 30
"""How long after its writer's lease has ended a slice is presumed spent."""

CLAIMED, APPROVAL, ACTED_ON = 4, 5, 6
"""Classes of advisory locks, by which a batch locks the things that its effects name."""

_PREVIOUS, _SEQUENCE = b'"previous":"', b'"sequence":"'
_ESCAPED_NUL = b"\\u0000"
_ENDS = frozenset(State) - {State.HELD}


@dataclass(frozen=True, slots=True)
class Header:
    """A record's canonical header in three pieces, around the hash before it and its sequence."""

    first: bytes
    second: bytes
    third: bytes

    @staticmethod
    def of(log: str, record: Record) -> Header:
        """Raises MalformedJson for text that is not Unicode."""
        body = body_hash(record.salt, record.body)
        whole = header_bytes(log=log, sequence=0, record=record, previous=b"", body=body)
        # Within a value each quote is escaped: these two stand where the fields begin, and nowhere else.
        first, rest = whole.split(_PREVIOUS)
        second, third = rest.split(_SEQUENCE + b"0")
        return Header(first + _PREVIOUS, second + _SEQUENCE, third)

    def hash(self, previous: bytes, sequence: int) -> bytes:
        """The record's hash in its place."""
        header = (self.first, previous.hex().encode(), self.second, str(sequence).encode(), self.third)
        return hashlib.sha256(b"".join(header)).digest()


@dataclass(slots=True)
class Part:
    """A commit, ready to be sent. `rows` are the budgets' rows that its effects name by their place; `things` what is
    locked for them: (class of the lock, name, alone)."""

    record: Record
    header: Header
    text: bytes = b""  # JSON
    rows: list[BudgetRow] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    things: list[tuple[int, str, bool]] = field(default_factory=list)
    is_halting: bool = False

    @staticmethod
    def of(log: str, commit: Commit) -> Part:
        """Raises BadRequest, MalformedJson."""
        part = Part(commit.record, Header.of(log, commit.record))
        seen = commit.versions
        part.text = dumped(
            {
                "record": record_json(commit.record, part.header),
                "effects": [part._effect(each) for each in commit.effects],
                "versions": None if seen is None else _plain(seen),
                "subject": commit.subject,
                "workflow": commit.workflow,
                "homes": sorted(_homes(commit)),
                "counted": sorted(_counted(commit)),
            },
            commit,
        )
        return part

    def _effect(self, effect: Effect) -> dict[str, Any]:
        match effect:
            case Reserve():
                check_amount("amount", effect.amount)
                rows = [[self._row(each), each.limit] for each in effect.rows]
                return {**_plain(effect, "reserve"), "rows": rows}
            case EndReservation():
                check_amount("cost", effect.cost)
                if effect.how not in _ENDS:
                    raise BadRequest(Violation("how", "settled, voided or lapsed"))
                self.ends.append(effect.decision)
                return {**_plain(effect, "end"), "usage": dict(effect.usage)}
            case ProlongReservation():
                self.ends.append(effect.decision)
                return _plain(effect, "prolong")
            case AdjustBudget(row, delta):
                if abs(delta) > MAX_NANOS:
                    raise BadRequest(Violation("delta", f"at most {MAX_NANOS} nanos"))
                return {"do": "adjust", "row": self._row(row), "limit": row.limit, "delta": delta}
            case LapseSlice(log, row, left):
                named = {"log": log, "row": self._row(row), "left": left}
                return {"do": "lapse", **named, "after": SLICE_LAPSE_SECONDS}
            case JoinLabels():
                return {**_plain(effect, "join"), "labels": dict(effect.labels)}
            case OpenWorkflow():
                labels = {label: min(sources, default="") for label, sources in effect.labels.items()}
                return {**_plain(effect, "open"), "labels": labels}
            case CloseWorkflow():
                return _plain(effect, "close")
            case BindTrace():
                return _plain(effect, "bind")
            case UsePassport():
                return _plain(effect, "use")
            case PlaceHalt(halt):
                self.is_halting = True
                return _plain(halt, "place")
            case LiftHalt():
                self.is_halting = True
                return _plain(effect, "lift")
            case KeepAnswer():
                return {**_plain(effect, "keep"), "answer": _base64(effect.answer)}
            case SeeSubjects():
                sight = Sight(effect.sight)
                subjects = () if sight is Sight.MANY else in_storing_order(effect.subjects)
                return {
                    "do": "see",
                    "decision": effect.decision,
                    "table": effect.table,
                    "sight": SIGHTS.index(sight),
                    "subjects": _base64(b"".join(subjects)),
                }
        return self._oversight(effect)

    def _oversight(self, effect: OversightEffect) -> dict[str, Any]:
        """Of approvals, claims and acts: each names what it locks."""
        match effect:
            case OpenApproval(approval):
                self._lock(APPROVAL, approval.id, approval.like)
                if len(approval.items) != 1:
                    raise IllegalTransition(f"approval {approval.id} does not begin")
                told = {"id": approval.id, "document": _document(approval), "item": _item(approval.items[0])}
                return {"do": "ask", **told, "most": MOST_PENDING}
            case JoinApproval():
                self._lock(APPROVAL, effect.id)
                return {**_plain(effect, "ask_too"), "item": _item(effect.item), "most": MOST_ITEMS}
            case MoveApproval(approval):
                self._lock(APPROVAL, approval.id)
                return {"do": "move", "id": approval.id, "document": _document(approval)}
            case UseGrant():
                check_amount("amount", effect.amount)
                self._lock(APPROVAL, effect.id)
                return _plain(effect, "grant")
            case TakeClaim(claim, before):
                self._lock(CLAIMED, claim.key)
                return {**_plain(claim, "take"), "before": before, "most": MOST_CLAIMS}
            case ReleaseClaim():
                self._lock(CLAIMED, effect.key)
                return _plain(effect, "release")
            case RespectClaims():
                self._lock(CLAIMED, *effect.keys, alone=False)
                return _plain(effect, "respect")
            case NoteAct():
                self._lock(ACTED_ON, orjson.dumps([effect.workflow, effect.object]).decode())
                return _plain(effect, "act")

    def _lock(self, kind: int, *names: str, alone: bool = True) -> None:
        self.things.extend((kind, name, alone) for name in names)

    def _row(self, row: BudgetRow) -> int:
        self.rows.append(row)
        return len(self.rows) - 1


def record_json(record: Record, header: Header) -> dict[str, Any]:
    """A record as the functions take it."""
    return {
        "id": record.id,
        "time": record.time,
        "kind": record.kind,
        "subject": record.subject,
        "workflow": record.workflow,
        "parent": record.parent,
        "ref": record.ref,
        "salt": _base64(record.salt),
        "body": _base64(record.body),
        "header": [header.first.decode(), header.second.decode(), header.third.decode()],
    }


def dumped(value: object, given: object) -> bytes:
    """JSON that PostgreSQL can take. Raises BadRequest, which names the field of `given` that it cannot hold."""
    try:
        text = orjson.dumps(value)
    except TypeError as error:
        bad = next(_unfit(given, ""), None)
        raise BadRequest(bad or Violation("commit", f"values that can be stored ({error})")) from error
    if _ESCAPED_NUL in text and (bad := next(_unfit(given, ""), None)) is not None:
        raise BadRequest(bad)
    return text


def _unfit(value: Any, where: str) -> Iterator[Violation]:
    """The fields that PostgreSQL cannot hold."""
    if isinstance(value, str):
        if "\0" in value:
            yield Violation(where, "text without U+0000")
        elif not value.isascii() and not _is_unicode(value):
            yield Violation(where, "Unicode text")
    elif isinstance(value, bool | bytes):
        return
    elif isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 63:
            yield Violation(where, "a number of 64 bits")
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _unfit(key, f"{where}'s keys")
            yield from _unfit(each, f"{where}.{key!r}")
    elif isinstance(value, Sequence):
        for place, each in enumerate(value):
            yield from _unfit(each, f"{where}[{place}]")
    elif is_dataclass(value):
        for each in fields(value):
            yield from _unfit(getattr(value, each.name), f"{where}.{each.name}".removeprefix("."))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _homes(commit: Commit) -> set[str]:
    """Whose sessions the commit rests on, or changes."""
    homes = {each.subject for each in commit.effects if isinstance(each, JoinLabels | KeepAnswer)}
    if homes or commit.versions is not None:
        homes.add(commit.subject)
    return homes - {""}


def _counted(commit: Commit) -> set[str]:
    """Of whom the commit counts what they have, before they get one more."""
    asking = {each.approval.subject for each in commit.effects if isinstance(each, OpenApproval)}
    return asking | {each.claim.subject for each in commit.effects if isinstance(each, TakeClaim)}


def _document(approval: Approval) -> orjson.Fragment:
    """All of an approval but its items; numbers exact. Raises BadRequest."""
    try:
        return orjson.Fragment(encode_exact(to_document(approval)))
    except MalformedJson as error:
        raise BadRequest(next(_unfit(approval, "approval"), Violation("approval", str(error)))) from error


def _item(item: Item) -> dict[str, Any]:
    check_amount("amount", item.amount)
    return _plain(item)


def _plain(value: Any, do: str = "") -> dict[str, Any]:
    """The fields of one that are JSON as they are; the others are the caller's to replace."""
    plain = {each.name: getattr(value, each.name) for each in fields(value)}
    return {"do": do, **plain} if do else plain


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode()
