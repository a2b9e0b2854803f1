"""One node of a workflow's tree, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from remit.cli.decisions import COLOURS
from remit.cli.records import Entry, Node, is_end, items, mapping, nanos, text
from remit.cli.text import amount, clean, moment

_MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class Names:
    """What records are called in this tree: "#12" where they are part of it, else their id."""

    sequences: Mapping[str, int]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Names:
        """The names of these records."""
        return cls({each.id: each.sequence for each in entries})

    def name(self, id: object) -> str:
        """What a record is called."""
        said = text(id)
        return f"#{self.sequences[said]}" if said in self.sequences else clean(said[:64])


def node_text(node: Node, names: Names) -> Text:
    """A record in a few lines: what happened, why, what was known, what it cost."""
    entry = node.entry
    line = Text(f"#{entry.sequence} ", "bold").append(f"{moment(entry.time)} ", "dim")
    line.append(clean(entry.subject) or "(unknown)", "cyan").append("  ")
    if entry.kind == "decision" and not entry.erased:
        _decision(line, node, names)
    else:
        line.append(clean(entry.kind) + (" (body erased)" if entry.erased else ""))
    for each in node.about:
        _about(line, each)
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
        ("purpose", _said(context.get("purpose"))),
        ("said", _said(context.get("reason"))),
        ("labels held", _labels(mapping(mapping(body.get("facts")).get("labels")), names)),
        ("knew", ", ".join(names.name(each) for each in items(context.get("inputs")))),
        ("cost", _cost(node)),
        ("follows", names.name(node.entry.parent) if node.moved else ""),
    ]
    return [(label, said) for label, said in lines if said]


def _cost(node: Node) -> str:
    body = node.entry.body
    reserved, currency = nanos(body.get("reserved")), text(body.get("currency"))
    ended = [each for each in node.about if is_end(each)]
    if ended:
        last = ended[-1].body
        state, cost = _said(last.get("state")), amount(nanos(last.get("cost")), currency)
        return f"{cost} {state}, of {amount(reserved, currency)} reserved"
    return f"{amount(reserved, currency)} reserved" if reserved else ""


def _about(line: Text, entry: Entry) -> None:
    line.append(f"\n  #{entry.sequence} ", "bold").append(f"{moment(entry.time)} ", "dim")
    said = [clean(entry.kind), _said(entry.body.get("outcome")), _said(entry.body.get("state"))]
    if entry.body.get("claimed") is True:
        said.append("as claimed")
    line.append(" ".join(filter(None, said)))
    if error := _said(entry.body.get("error")):
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
