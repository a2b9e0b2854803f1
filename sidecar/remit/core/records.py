"""Records of the journal as a tree: what followed from what, and what was said about it later.

A body is read as a stranger's: whatever its shape is, reading it gives the empty value rather than an error.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from remit.core.journal import JournalRow
from remit.core.text import amount, clean

DEPTH = 24
"""How deep a tree is drawn; what is deeper hangs there, and names what it follows from."""

ENDINGS = ("report", "lapse")
UNKNOWN = ("unavailable", "internal")
"""How a named write fails of which nobody knows whether it was done."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One record. `time` in ns; `body` is {} where it was erased or is no JSON object."""

    log: str
    sequence: int
    time: int
    kind: str
    id: str
    subject: str
    workflow: str
    parent: str
    ref: str
    erased: bool
    hash: str
    body: Mapping[str, Any]

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "log": self.log,
            "sequence": self.sequence,
            "time_ns": self.time,
            "kind": self.kind,
            "id": self.id,
            "subject": self.subject,
            "workflow": self.workflow,
            "parent": self.parent,
            "ref": self.ref,
            "erased": self.erased,
            "hash": self.hash,
            "body": self.body,
        }


@dataclass(slots=True)
class Node:
    """A record, what followed from it, and what was said about it later."""

    entry: Entry
    depth: int
    children: list[Node] = field(default_factory=list)
    about: list[Entry] = field(default_factory=list)
    over: Node | None = None  # the one that it hangs on; another than its parent's where it was moved
    moved: bool = False


def from_row(row: JournalRow) -> Entry:
    """An entry of the journal's file."""
    record = row.record
    return Entry(
        log=row.log,
        sequence=row.sequence,
        time=record.time,
        kind=record.kind,
        id=record.id,
        subject=record.subject,
        workflow=record.workflow,
        parent=record.parent,
        ref=record.ref,
        erased=row.erased,
        hash=row.hash.hex(),
        body=body_of(record.body),
    )


def body_of(raw: bytes) -> Mapping[str, Any]:
    """A record's body; {} where it is empty or no JSON object."""
    try:
        return mapping(json.loads(raw or b"{}", parse_constant=str))
    except (ValueError, RecursionError):
        return {}


def mapping(value: object) -> Mapping[str, Any]:
    """The mapping, or an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """The list, or an empty one."""
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """The text, or ""."""
    return value if isinstance(value, str) else ""


def nanos(value: object) -> int:
    """Nanos from decimal text; 0 for anything else."""
    said = text(value)
    return int(said) if said.isascii() and said.isdigit() and len(said) < 20 else 0


def grow(entries: Sequence[Entry]) -> list[Node]:
    """The trees of a journal's records. A parent is found wherever it stands: several logs are in the order of their
    clocks, which may differ. In a circle, which only a forged record could close, the first that is met is the root.
    """
    first: dict[str, Entry] = {}
    for entry in entries:
        first.setdefault(entry.id, entry)
    speaking = [entry for entry in entries if _speaks(entry, first)]
    silent = {entry.id for entry in speaking}
    nodes: dict[str, Node] = {}
    roots = []
    for entry in entries:
        if _speaks(entry, first) or (entry.id in nodes and nodes[entry.id].entry is entry):
            continue
        for each in reversed(_unplaced(entry, first, nodes, silent)):
            node = _hung(each, nodes.get(each.parent))
            if node.over is None:
                roots.append(node)
            nodes.setdefault(each.id, node)
    for entry in speaking:
        nodes[entry.ref].about.append(entry)
    return roots


def _speaks(entry: Entry, first: Mapping[str, Entry]) -> bool:
    """Whether a record is only about another one that is here, which is not itself about one."""
    return entry.ref in first and first[entry.ref].ref not in first


def _unplaced(entry: Entry, first: Mapping[str, Entry], nodes: Mapping[str, Node], silent: set[str]) -> list[Entry]:
    """The record and those that led to it, upwards, as far as they hang nowhere yet."""
    line, met = [entry], {entry.id: 0}
    while parent := first.get(line[-1].parent):
        if parent.id in met:
            turn = met[parent.id]
            return [*line[:turn], *line[turn + 1 :], line[turn]]
        if parent.id in nodes or parent.id in silent:
            break
        met[parent.id] = len(line)
        line.append(parent)
    return line


def _hung(entry: Entry, parent: Node | None) -> Node:
    if parent is None:
        return Node(entry, 0)
    # What hangs at the deepest level has a place above it to move to.
    over = parent.over if parent.depth >= DEPTH and parent.over else parent
    node = Node(entry, over.depth + 1, over=over, moved=over is not parent)
    over.children.append(node)
    return node


def summary(entries: Sequence[Entry]) -> str:
    """How many decisions of which effect, and what was spent and is still set aside."""
    decisions = [each for each in entries if each.kind == "decision"]
    effects = Counter(text(each.body.get("effect")) or "erased" for each in decisions)
    reserved = {each.id: nanos(each.body.get("reserved")) for each in decisions}
    ends = {each.ref: end[1] for each in entries if (end := ending(each, reserved.get(each.ref, 0)))}
    held = sum(each for id, each in reserved.items() if id not in ends)
    currency = next((text(each.body.get("currency")) for each in decisions if each.body), "")
    counted = ", ".join(f"{count} {clean(effect)}" for effect, count in sorted(effects.items())) or "none"
    return f"decisions: {counted}; spent {amount(sum(ends.values()), currency)}, set aside {amount(held, currency)}"


def ending(entry: Entry, reserved: int) -> tuple[str, int] | None:
    """How a record ends a reservation of so many nanos, and at what cost; None where it does not.

    The last one counts: a late settlement replaces a presumption. A named write costs what it reserved, or nothing
    where it failed; where nobody knows, it is still held.
    """
    if entry.kind in ENDINGS and "cost" in entry.body:
        return text(entry.body.get("state")), nanos(entry.body.get("cost"))
    failure = entry.body.get("failure")
    if entry.kind == "write" and reserved and isinstance(failure, str) and failure not in UNKNOWN:
        return ("voided", 0) if failure else ("settled", reserved)
    return None
