"""One node of a workflow's tree, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from remit.cli.decisions import COLOURS
from remit.cli.records import Entry, Node, ending, items, mapping, nanos, text
from remit.cli.text import amount, clean, moment

SEAL = frozenset({"hmac", "type", "size"})
"""The keys of what stands in the journal for a value that is not shown (core/redact.py)."""

DAY = len("2026-11-23")
_MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class Names:
    """What is told once for the whole tree, and what its records are called.

    `day` and `purpose` are those of every record, or "" where they differ.
    """

    sequences: Mapping[str, int]
    day: str
    purpose: str

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Names:
        """The names of these records."""
        days = {moment(each.time)[:DAY] for each in entries}
        purposes = {_purpose(each) for each in entries if each.kind == "decision" and not each.erased}
        return cls({each.id: each.sequence for each in entries}, _only(days), _only(purposes - {""}))

    def name(self, id: object) -> str:
        """What a record is called: "#12" where it is part of the tree, else its id."""
        said = text(id)
        return f"#{self.sequences[said]}" if said in self.sequences else clean(said[:64])

    def time(self, time_ns: int) -> str:
        """The time, without the day where that is everybody's."""
        return moment(time_ns).removeprefix(self.day).strip()


def root_text(workflow: str, names: Names) -> Text:
    """The workflow, and what holds for all of it."""
    line = Text("workflow ").append(clean(workflow[:64]), "bold")
    told = [names.day, f"for {names.purpose}" if names.purpose else ""]
    return line.append("".join(f"  {each}" for each in told if each), "dim")


def node_text(node: Node, names: Names) -> Text:
    """A record in a few lines: what happened, why, what was known, what it cost."""
    entry = node.entry
    line = Text(f"#{entry.sequence} ", "bold").append(f"{names.time(entry.time)} ", "dim")
    line.append(clean(entry.subject) or "(unknown)", "cyan").append("  ")
    if entry.kind == "decision" and not entry.erased:
        _decision(line, node, names)
    else:
        line.append(clean(entry.kind) + (" (body erased)" if entry.erased else ""))
    for each in node.about:
        _about(line, each, names)
    return line


def _decision(line: Text, node: Node, names: Names) -> None:
    body = node.entry.body
    effect = text(body.get("effect"))
    line.append(f"{_said(body.get('action'))}  {_resource(mapping(body.get('resource')))}  ")
    line.append(clean(effect), COLOURS.get(effect, ""))
    if body.get("enforced") is False:
        line.append(" observed only", "yellow")
    for label, said in _facts(node, names):
        line.append(f"\n  {label} ", "dim").append(said)


def _facts(node: Node, names: Names) -> list[tuple[str, str]]:
    body = node.entry.body
    context = mapping(body.get("context"))
    lines = [
        ("because", ", ".join(_reason(mapping(each)) for each in items(body.get("reasons")))),
        ("purpose", "" if names.purpose else _purpose(node.entry)),
        ("said", _said(context.get("reason"))),
        ("with", _arguments(mapping(context.get("arguments")))),
        ("asked", _said(mapping(mapping(body.get("sent")).get("query")).get("statement"))),
        ("told", _rows(mapping(mapping(body.get("sent")).get("answer")))),
        ("labels held", _labels(mapping(mapping(body.get("facts")).get("labels")), names)),
        ("knew", ", ".join(names.name(each) for each in items(context.get("inputs")))),
        ("cost", _cost(node)),
        ("follows", names.name(node.entry.parent) if node.moved else ""),
    ]
    return [(label, said) for label, said in lines if said]


def _rows(answer: Mapping[str, Any]) -> str:
    """How many rows an answer had, and how it ended."""
    if not isinstance(answer.get("rows"), int):
        return ""
    ended = [_said(answer.get("failure")), "truncated" if answer.get("truncated") is True else ""]
    return ", ".join(filter(None, [f"{answer['rows']} row{'' if answer['rows'] == 1 else 's'}", *ended]))


def _arguments(arguments: Mapping[str, Any]) -> str:
    """Those that policy lets stand in clear; what is sealed is a mapping, and left out."""
    clear = {name: value for name, value in arguments.items() if isinstance(value, str | int | float)}
    return ", ".join(f"{clean(name)}={_said(str(value))}" for name, value in clear.items() if name not in SEAL)


def _purpose(entry: Entry) -> str:
    return _said(mapping(entry.body.get("context")).get("purpose"))


def _only(values: set[str]) -> str:
    return next(iter(values)) if len(values) == 1 else ""


def _cost(node: Node) -> str:
    body = node.entry.body
    reserved, currency = nanos(body.get("reserved")), text(body.get("currency"))
    ends = [end for each in node.about if (end := ending(each, reserved))]
    if ends:
        state, cost = ends[-1]
        return f"{amount(cost, currency)} {_said(state)}, of {amount(reserved, currency)} reserved"
    return f"{amount(reserved, currency)} reserved" if reserved else ""


def _about(line: Text, entry: Entry, names: Names) -> None:
    line.append(f"\n  #{entry.sequence} ", "bold").append(f"{names.time(entry.time)} ", "dim")
    said = [clean(entry.kind), _said(entry.body.get("outcome")), _said(entry.body.get("state"))]
    said += [_rows(entry.body) if entry.kind == "answer" else ""]
    said += [word for word, key in (("as claimed", "claimed"), ("replayed", "replayed")) if entry.body.get(key) is True]
    line.append(" ".join(filter(None, said)))
    failure = entry.body.get("failure") if entry.kind != "answer" else ""
    if error := _said(entry.body.get("error")) or _said(failure):
        line.append(f": {error}", "red")


def _reason(reason: Mapping[str, Any]) -> str:
    return f"{_said(reason.get('policy'))}: {_said(reason.get('code'))}"


def _labels(labels: Mapping[str, Any], names: Names) -> str:
    return ", ".join(f"{clean(label)}{_sources(items(labels[label]), names)}" for label in sorted(labels))


def _sources(sources: list[Any], names: Names) -> str:
    return f" (from {', '.join(names.name(each) for each in sources)})" if sources else ""


def _resource(resource: Mapping[str, Any]) -> str:
    parts = [_said(resource.get(key)) for key in ("id", "operation", "variant")]
    named = f"{_said(resource.get('type'))} {'/'.join(filter(None, parts))}"
    fields = ", ".join(_said(each) for each in items(resource.get("fields")))
    return f"{named} ({fields})" if fields else named


def _said(value: object) -> str:
    """Somebody's text, escaped and not too long; "" for what is sealed, or no text."""
    said = text(value)
    return clean(said if len(said) <= _MAX_TEXT else said[:_MAX_TEXT] + "…")
