"""All that a record tells, in words, for its page. Its body is read as a stranger's: any shape of it gives a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from remit.core.journal import JournalRow
from remit.core.phrases import SEAL, Names, approvals, cost_words, grants, resource_words, said
from remit.core.reason import EXPLANATIONS, known
from remit.core.reason import Reason as Known
from remit.core.records import Entry, Node, items, mapping, nanos, text
from remit.core.text import amount, clean, moment
from remit.listeners.console.tree import About, about

MAX_TEXT = 4000
MAX_PAIRS = 200
"""How many values of a nested part are shown."""
MAX_DEPTH = 12

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Reason:
    """A ground; `means` and `remedy` explain those of Remit itself, and are "" for a custom rule's."""

    policy: str
    code: str
    means: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Label:
    """A label that was held, and the decisions that brought it."""

    name: str
    sources: Sequence[str]


@dataclass(frozen=True, slots=True)
class Waits:
    """An approval that a decision turns on: how it was found, and by which rule."""

    id: str
    state: str
    policy: str
    code: str


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget's row as it was when the decision was made; nanos."""

    id: str
    scope: str
    limit: int
    spent: int
    held: int
    left: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A record's page. Pairs are a label and words; what is empty is left out of them."""

    id: str
    kind: str
    time: int
    subject: str
    erased: bool
    effect: str  # "" for what is no decision, or was erased
    observed: bool
    what: str
    who: Pairs
    asked: Pairs
    arguments: Pairs
    inputs: Sequence[str]
    reasons: Sequence[Reason]
    detail: str
    approvals: Sequence[Waits]
    grants: Sequence[str]
    alternative: Pairs
    approval: str  # that it resolves, asks for or tells the end of
    done: Pairs
    obligations: Sequence[str]
    facts: Pairs
    labels: Sequence[Label]
    budgets: Sequence[Budget]
    halts: Sequence[str]
    cost: Pairs
    sent: Pairs
    about: Sequence[About]
    place: Pairs
    rest: Pairs  # the body of what is no decision
    workflow: str
    parent: str
    ref: str
    currency: str


def record(row: JournalRow, node: Node, names: Names) -> Shown:
    """The page of a record; `node` has what was said about it."""
    entry, body = node.entry, node.entry.body
    decided = entry.kind == "decision" and not entry.erased
    context, facts = mapping(body.get("context")), mapping(body.get("facts"))
    return Shown(
        id=entry.id,
        kind=entry.kind,
        time=entry.time,
        subject=entry.subject,
        erased=entry.erased,
        effect=text(body.get("effect")) if decided else "",
        observed=decided and body.get("enforced") is False,
        what=f"{said(body.get('action'))} {resource_words(mapping(body.get('resource')))}" if decided else "",
        who=_who(mapping(body.get("subject"))),
        asked=_asked(body, context) if decided else (),
        arguments=flat(context.get("arguments")),
        inputs=_texts(context.get("inputs")),
        reasons=[_reason(mapping(each)) for each in items(body.get("reasons"))],
        detail=_words(body.get("detail")),
        approvals=_waits(body) if decided else (),
        grants=grants(body) if decided else (),
        alternative=flat(body.get("alternative")) if decided else (),
        approval=_approval(entry, mapping(body.get("resource"))),
        done=flat(body.get("done")) if decided else (),
        obligations=[each for each in (text(mapping(one).get("id")) for one in items(body.get("obligations"))) if each],
        facts=_facts(facts, text(body.get("currency"))),
        labels=_labels(mapping(facts.get("labels"))),
        budgets=[_budget(mapping(each)) for each in items(facts.get("budgets"))],
        halts=_texts(facts.get("halts")),
        cost=_cost(node) if decided else (),
        sent=flat(body.get("sent")),
        about=[about(each, names) for each in node.about],
        place=_place(row, text(body.get("revision"))),
        rest=() if decided else flat(body),
        workflow=entry.workflow,
        parent=entry.parent,
        ref=entry.ref,
        currency=text(body.get("currency")),
    )


def _who(subject: Mapping[str, Any]) -> Pairs:
    identity = mapping(subject.get("identity"))
    return pairs(
        ("type", subject.get("type")),
        ("id", subject.get("id")),
        ("actor, as claimed", subject.get("actor")),
        ("team", subject.get("team")),
        ("roles", _joined(subject.get("roles"))),
        ("proved by", identity.get("method")),
        ("proved as", identity.get("subject")),
        ("mode", subject.get("mode")),
        ("isolation", subject.get("isolation")),
    )


def _asked(body: Mapping[str, Any], context: Mapping[str, Any]) -> Pairs:
    attempt = context.get("attempt")
    return pairs(
        ("action", body.get("action")),
        ("resource", resource_words(mapping(body.get("resource")))),
        ("purpose", context.get("purpose")),
        ("reason given", context.get("reason")),
        ("attempt", attempt if attempt != 1 else ""),
    )


def _waits(body: Mapping[str, Any]) -> list[Waits]:
    named = {text(mapping(each).get("id")): mapping(each) for each in items(body.get("approvals"))}
    found = [(id, state, named[id]) for id, state in approvals(body)]
    return [Waits(id, state, text(each.get("policy")), text(each.get("code"))) for id, state, each in found]


def _approval(entry: Entry, resource: Mapping[str, Any]) -> str:
    if entry.kind in ("approval", "failure"):
        return text(entry.body.get("approval"))
    return text(resource.get("id")) if resource.get("type") == "approval" else ""


def _facts(facts: Mapping[str, Any], currency: str) -> Pairs:
    estimate = mapping(facts.get("estimate"))
    known_amount = text(estimate.get("amount"))
    links = [mapping(each) for each in items(facts.get("chain"))]
    external = {True: "yes", False: "no"}.get(facts.get("external") is True, "") if "external" in facts else ""
    return pairs(
        ("owner", facts.get("owner")),
        ("external", external),
        ("region", facts.get("region")),
        ("accepts labels", _joined(facts.get("clearance"))),
        ("brings labels", _joined(facts.get("resource_labels"))),
        ("behind it", " → ".join(_link(each) for each in links)),
        ("estimate", amount(nanos(known_amount), currency) if known_amount else "not known" if estimate else ""),
        ("of", ", ".join(f"{_words(count)} {clean(unit)}" for unit, count in _items(estimate.get("units")))),
    )


def _link(link: Mapping[str, Any]) -> str:
    where = ", ".join(filter(None, [_words(link.get("owner")), _words(link.get("region"))]))
    return f"{_words(link.get('service'))}{f' ({where})' if where else ''}"


def _labels(labels: Mapping[str, Any]) -> list[Label]:
    return [Label(name, _texts(labels[name])) for name in sorted(labels)]


def _budget(budget: Mapping[str, Any]) -> Budget:
    limit, spent, held = (nanos(budget.get(each)) for each in ("limit", "spent", "held"))
    return Budget(text(budget.get("id")), text(budget.get("scope")), limit, spent, held, limit - spent - held)


def _cost(node: Node) -> Pairs:
    deadline = nanos(node.entry.body.get("deadline"))
    ended = cost_words(node)
    waits = ended and deadline and " of " not in ended
    return pairs(
        ("cost", ended or "nothing set aside"),
        ("set aside until", f"{moment(deadline)}; then charged, unless it is reported" if waits else ""),
    )


def _place(row: JournalRow, revision: str) -> Pairs:
    return pairs(
        ("log", row.log),
        ("sequence", row.sequence),
        ("record", row.record.id),
        ("kind", row.record.kind),
        ("hash", row.hash.hex()),
        ("hash before", row.previous.hex()),
        ("policy revision", revision),
    )


def _reason(reason: Mapping[str, Any]) -> Reason:
    code = text(reason.get("code"))
    ours = known(code)
    explained = EXPLANATIONS[ours] if ours else None
    remedy = explained.remedy if explained and ours is not Known.ALLOWED else ""
    return Reason(text(reason.get("policy")), code, explained.raised if explained else "", remedy)


def pairs(*given: tuple[str, object]) -> Pairs:
    return [(label, words) for label, value in given if (words := _words(value))]


def _words(value: object) -> str:
    """Any JSON value in words, whole up to MAX_TEXT; "" for null."""
    if value is None:
        return ""
    if isinstance(value, dict) and value.keys() == SEAL:
        return f"not kept in clear: {said(value['type'])} of {_words(value['size'])} bytes"
    words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return words if len(words) <= MAX_TEXT else words[:MAX_TEXT] + "…"


def _joined(values: object) -> str:
    return ", ".join(_texts(values))


def _texts(values: object) -> list[str]:
    return [_words(each) for each in items(values)[:MAX_PAIRS]]


def _items(values: object) -> list[tuple[str, Any]]:
    return list(mapping(values).items())[:MAX_PAIRS]


def flat(value: object, more: str = "remit trace --json") -> Pairs:
    """Every value of a nested part, with its path. `more` is the command that shows all."""
    found: list[tuple[str, str]] = []
    for path, words in _leaves(value, "", 0):
        if len(found) == MAX_PAIRS:
            return [*found, ("…", f"there is more; `{more}` has all of it")]
        found.append((path, words))
    return found


def _leaves(value: object, path: str, depth: int) -> Iterator[tuple[str, str]]:
    sealed = isinstance(value, dict) and value.keys() == SEAL
    inner: list[tuple[object, object]] = []
    if isinstance(value, dict) and not sealed:
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    if inner and depth < MAX_DEPTH:
        for key, each in inner:
            yield from _leaves(each, f"{path}/{key}".lstrip("/"), depth + 1)
    elif value not in ({}, []) and (words := _words(value)):
        yield path or "value", words
