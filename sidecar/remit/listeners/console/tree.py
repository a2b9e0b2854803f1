"""A workflow's records as the page shows them: one page of them, grown to trees."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from remit.core.journal import JournalRow
from remit.core.phrases import APPROVALS, GRANTS, Names, about_words, approvals, grants, resource_words, said, told
from remit.core.records import Entry, Node, from_row, grow, mapping, summary, text

PAGE = 200
"""Records on a page."""

_LINKED = (APPROVALS, GRANTS)

_TWIGS = 8
"""Levels that are set in; what is deeper stands at the last one."""


@dataclass(frozen=True, slots=True)
class About:
    """What was said later of a decision."""

    id: str
    name: str
    time: int
    clock: str  # the time, without the day where that is told once for all
    words: str
    error: str


@dataclass(frozen=True, slots=True)
class Branch:
    """A record, in words, and what followed from it. `effect` is "" for what is no decision, or was erased."""

    id: str
    name: str
    time: int
    clock: str
    subject: str
    kind: str
    erased: bool
    effect: str
    observed: bool
    what: str
    facts: Sequence[tuple[str, str]]
    approvals: Sequence[tuple[str, str]]  # ids, and how each was found
    grants: Sequence[str]
    follows: str  # the id of the parent, where that is not on this page
    about: Sequence[About]
    children: Sequence[Branch]
    set_in: bool


@dataclass(frozen=True, slots=True)
class Tree:
    """A page of a workflow's records. `digest` changes exactly when anything of it does."""

    roots: Sequence[Branch]
    records: int
    day: str
    purpose: str
    summary: str
    digest: str
    number: int
    more: bool

    @property
    def first(self) -> int:
        """The place of its first record among all."""
        return (self.number - 1) * PAGE + 1

    @property
    def last(self) -> int:
        """The place of its last record among all."""
        return self.first + self.records - 1


def wanted(number: int) -> int:
    """How many records are read for page `number` (from 1): one more tells whether there is another page."""
    return number * PAGE + 1


def tree(rows: Sequence[JournalRow], number: int) -> Tree:
    """Page `number` of the records that `wanted` asks for."""
    chosen = rows[(number - 1) * PAGE : number * PAGE]
    entries = [from_row(each) for each in chosen]
    names = Names.of(entries)
    return Tree(
        roots=_branches(grow(entries), names),
        records=len(chosen),
        day=names.day,
        purpose=names.purpose,
        summary=summary(entries),
        digest=_digest(chosen, more=len(rows) > number * PAGE),
        number=number,
        more=len(rows) > number * PAGE,
    )


def about(entry: Entry, names: Names) -> About:
    """What a record says of the one that it is about."""
    return About(entry.id, names.name(entry.id), entry.time, names.time(entry.time), *about_words(entry))


def _branches(nodes: Sequence[Node], names: Names) -> list[Branch]:
    """The depth of a tree is bounded (core/records.py), and so is this recursion."""
    return [_branch(each, names) for each in nodes]


def _branch(node: Node, names: Names) -> Branch:
    entry, body = node.entry, node.entry.body
    decided = entry.kind == "decision" and not entry.erased
    return Branch(
        id=entry.id,
        name=names.name(entry.id),
        time=entry.time,
        clock=names.time(entry.time),
        subject=entry.subject,
        kind=entry.kind,
        erased=entry.erased,
        effect=text(body.get("effect")) if decided else "",
        observed=decided and body.get("enforced") is False,
        what=f"{said(body.get('action'))} {resource_words(mapping(body.get('resource')))}" if decided else "",
        facts=[each for each in told(node, names) if each[0] not in _LINKED] if decided else (),
        approvals=approvals(body) if decided else (),
        grants=grants(body) if decided else (),
        follows=entry.parent if node.over is None else "",
        about=[about(each, names) for each in node.about],
        children=_branches(node.children, names),
        set_in=0 < node.depth <= _TWIGS,
    )


def _digest(rows: Sequence[JournalRow], *, more: bool) -> str:
    """The chain's hashes fix the records; an erasure leaves them as they are, and is told apart."""
    seen = hashlib.sha256(b"more" if more else b"all")
    for row in rows:
        seen.update(row.hash + (b"-" if row.erased else b"+"))
    return seen.hexdigest()[:16]
