"""What happened in a workflow, in words: the same on every screen. Somebody's text comes out escaped and bounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from remit.core.model import ActionName
from remit.core.records import Entry, Node, ending, items, mapping, nanos, text
from remit.core.text import amount, clean, moment

SEAL = frozenset({"hmac", "type", "size"})
"""The keys of what stands in the journal for a value that is not shown (core/redact.py)."""

APPROVALS, GRANTS = "approvals", "grants"
"""Labels of what names approvals, for who would rather link to them."""

DAY = len("2026-11-23")
_MOST_NAMED = 32
_MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class Names:
    """What is told once for the whole tree, and what its records are called.

    `day` and `purpose` are those of every record, or "" where they differ.
    """

    called: Mapping[str, str]
    day: str
    purpose: str

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Names:
        """The names of these records."""
        days = {moment(each.time)[:DAY] for each in entries}
        purposes = {_purpose(each) for each in entries if each.kind == "decision" and not each.erased}
        several = len({each.log for each in entries}) > 1
        called = {each.id: f"{clean(each.log)} " * several + f"#{each.sequence}" for each in entries}
        return cls(called, _only(days), _only(purposes - {""}))

    def name(self, id: object) -> str:
        """What a record is called: "#12" where it is part of the tree, else its id. Of several logs, each is named."""
        named = text(id)
        return self.called.get(named) or clean(named[:64])

    def time(self, time_ns: int) -> str:
        """The time, without the day where that is everybody's."""
        return moment(time_ns).removeprefix(self.day).strip()


def told(node: Node, names: Names) -> list[tuple[str, str]]:
    """What is known of a decision, each with its label: why, for what, with what, at what cost."""
    body = node.entry.body
    context = mapping(body.get("context"))
    lines = [
        ("because", ", ".join(_reason(mapping(each)) for each in items(body.get("reasons")))),
        ("purpose", "" if names.purpose else _purpose(node.entry)),
        ("said", said(context.get("reason"))),
        ("with", _arguments(mapping(context.get("arguments")))),
        ("asked", said(mapping(mapping(body.get("sent")).get("query")).get("statement"))),
        ("told", _rows(mapping(mapping(body.get("sent")).get("answer")))),
        ("labels held", _labels(mapping(mapping(body.get("facts")).get("labels")), names)),
        (APPROVALS, ", ".join(f"{said(id)} {state}".rstrip() for id, state in approvals(body))),
        (GRANTS, ", ".join(said(each) for each in grants(body))),
        ("instead", _instead(mapping(body.get("alternative")))),
        ("knew", ", ".join(names.name(each) for each in items(context.get("inputs")))),
        ("cost", cost_words(node)),
        ("follows", names.name(node.entry.parent) if node.moved else ""),
    ]
    return [(label, words) for label, words in lines if words]


def approvals(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a decision waits for, or was refused for: approvals' ids, each once, and how each was found."""
    named = [mapping(each) for each in items(body.get("approvals"))[:_MOST_NAMED]]
    return list({id: said(each.get("state")) for each in named if (id := text(each.get("id")))}.items())


def grants(body: Mapping[str, Any]) -> list[str]:
    """The approvals whose grants a decision used, each once."""
    return list(dict.fromkeys(each for each in items(body.get("grants"))[:_MOST_NAMED] if text(each)))


def cost_words(node: Node) -> str:
    """What a decision set aside, and what of it was spent in the end; "" where it set nothing aside."""
    body = node.entry.body
    reserved, currency = nanos(body.get("reserved")), text(body.get("currency"))
    ends = [end for each in node.about if (end := ending(each, reserved))]
    if ends:
        state, cost = ends[-1]
        return f"{amount(cost, currency)} {said(state)}, of {amount(reserved, currency)} reserved"
    return f"{amount(reserved, currency)} reserved" if reserved else ""


def about_words(entry: Entry) -> tuple[str, str]:
    """What a record says of the one that it speaks of, and the error that it tells of, or ""."""
    body = entry.body
    if entry.kind == "decision" and body.get("action") == ActionName.APPROVAL_RESOLVE:
        return _heard(entry), ""
    if entry.kind == "approval":
        return " ".join(filter(None, ["approval", said(body.get("approval")), said(body.get("move"))])), ""
    if entry.kind == "failure":
        return _failure(body), ""
    words = [clean(entry.kind), said(body.get("outcome")), said(body.get("state"))]
    words += [_rows(body) if entry.kind == "answer" else ""]
    words += [word for word, key in (("as claimed", "claimed"), ("replayed", "replayed")) if body.get(key) is True]
    failure = body.get("failure") if entry.kind != "answer" else ""
    return " ".join(filter(None, words)), said(body.get("error")) or said(failure)


def resource_words(resource: Mapping[str, Any]) -> str:
    """Such as "service openai/chat/small", with the columns that were named."""
    parts = [said(resource.get(key)) for key in ("id", "operation", "variant")]
    named = f"{said(resource.get('type'))} {'/'.join(filter(None, parts))}"
    fields = ", ".join(said(each) for each in items(resource.get("fields")))
    return f"{named} ({fields})" if fields else named


def said(value: object) -> str:
    """Somebody's text, escaped and not too long; "" for what is sealed, or no text."""
    words = text(value)
    return clean(words if len(words) <= _MAX_TEXT else words[:_MAX_TEXT] + "…")


def _heard(entry: Entry) -> str:
    """What somebody who was asked for an approval said, what policy made of it, and what came of that."""
    done = mapping(entry.body.get("done"))
    resource, context = mapping(entry.body.get("resource")), mapping(entry.body.get("context"))
    did = " ".join(filter(None, [clean(entry.subject), said(resource.get("operation"))]))
    why = said(done.get("reason")) or said(context.get("reason"))
    answer = ", ".join(filter(None, [said(entry.body.get("effect")), said(done.get("outcome"))]))
    return f"{did}{f' ({why})' if why else ''}: {answer}"


def _failure(body: Mapping[str, Any]) -> str:
    """What failed, and what was done about it."""
    answered = " ".join(filter(None, [said(body.get(each)) for each in ("answer", "scope", "value")]))
    lifted = f"lifted by approval {said(body['approval'])}" if text(body.get("approval")) else ""
    return ", ".join(filter(None, [f"failure {said(body.get('failure'))}: {answered}", lifted]))


def _instead(alternative: Mapping[str, Any]) -> str:
    """The changed request that was offered."""
    resource = mapping(alternative.get("resource"))
    words = [resource_words(resource) if resource else "", _arguments(mapping(alternative.get("arguments")))]
    return " with ".join(filter(None, words))


def _rows(answer: Mapping[str, Any]) -> str:
    """How many rows an answer had, and how it ended."""
    if not isinstance(answer.get("rows"), int):
        return ""
    ended = [said(answer.get("failure")), "truncated" if answer.get("truncated") is True else ""]
    return ", ".join(filter(None, [f"{answer['rows']} row{'' if answer['rows'] == 1 else 's'}", *ended]))


def _arguments(arguments: Mapping[str, Any]) -> str:
    """Those that policy lets stand in clear; what is sealed is a mapping, and left out."""
    clear = {name: value for name, value in arguments.items() if isinstance(value, str | int | float)}
    return ", ".join(f"{clean(name)}={said(str(value))}" for name, value in clear.items() if name not in SEAL)


def _purpose(entry: Entry) -> str:
    return said(mapping(entry.body.get("context")).get("purpose"))


def _only(values: set[str]) -> str:
    return next(iter(values)) if len(values) == 1 else ""


def _reason(reason: Mapping[str, Any]) -> str:
    return f"{said(reason.get('policy'))}: {said(reason.get('code'))}"


def _labels(labels: Mapping[str, Any], names: Names) -> str:
    return ", ".join(f"{clean(label)}{_sources(items(labels[label]), names)}" for label in sorted(labels))


def _sources(sources: list[Any], names: Names) -> str:
    return f" (from {', '.join(names.name(each) for each in sources)})" if sources else ""
