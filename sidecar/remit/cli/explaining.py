"""A decision's story, chapter by chapter, from its record and what was said about it later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from remit.cli.approval_text import approval_text
from remit.cli.decisions import COLOURS
from remit.cli.records import Entry, Node, items, mapping, nanos, text
from remit.cli.text import amount, clean, counted, moment
from remit.core.phrases import SEAL, about_words, approvals, cost_words, grants, resource_words, said
from remit.core.reason import EXPLANATIONS, known
from remit.v1 import oversight_pb2 as pb

SIDECAR = "remit"
CUSTOM = "custom."
_MOST = 50

Lines = Iterator[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Said:
    """What a rule, or the sidecar itself, said: `raised` is when that is said, "" for a custom rule's own code."""

    policy: str
    code: str
    raised: str
    remedy: str
    retryable: bool

    @classmethod
    def of(cls, reason: Mapping[str, Any]) -> Said:
        """A reason of a record; a custom rule may use one of the library's words for its own code."""
        policy, code = text(reason.get("policy")), text(reason.get("code"))
        reason_of = None if policy.startswith(CUSTOM) else known(code)
        if reason_of is None:
            return cls(policy, code, "", "", False)
        told = EXPLANATIONS[reason_of]
        return cls(policy, code, told.raised, told.remedy, told.retryable)


@dataclass(frozen=True, slots=True)
class Story:
    """A decision, the records that speak of it, and the approvals that it turned on."""

    entry: Entry
    about: tuple[Entry, ...]
    approvals: tuple[pb.Approval, ...]

    @property
    def reasons(self) -> list[Said]:
        """What was said, in the record's order."""
        return [Said.of(mapping(each)) for each in items(self.entry.body.get("reasons"))[:_MOST]]


def story_text(story: Story, now: int) -> Text:
    """All chapters that there is something to tell in."""
    entry, body = story.entry, story.entry.body
    effect = text(body.get("effect"))
    line = Text(f"{clean(entry.kind)} ", "dim").append(clean(entry.id), "bold").append("  ")
    line.append(clean(effect) or "(body erased)", COLOURS.get(effect, "")).append(f"  {moment(entry.time)}", "dim")
    if body.get("enforced") is False:
        line.append("  observed only: let through", "yellow")
    for title, lines in (
        ("Who asked for what", _asked(entry)),
        ("What was known", _known(body)),
        ("What the rules said", _rules(story)),
        ("What the store said", _store(story)),
        ("What it turned on", _turned(story)),
        ("What came of it", _came(story)),
        ("What would change it", _change(story)),
    ):
        told = [(label, words) for label, words in lines if words]
        if told:
            line.append(f"\n{title}", "bold")
        for label, words in told:
            line.append(f"\n  {label}  " if label else "\n  ", "dim").append(words)
    for approval in story.approvals:
        line.append("\n").append(approval_text(approval, now))
    return line


def _asked(entry: Entry) -> Lines:
    body = entry.body
    subject, context = mapping(body.get("subject")), mapping(body.get("context"))
    identity = mapping(subject.get("identity"))
    who = [
        clean(entry.subject),
        _in(" of ", said(subject.get("team"))),
        _in(", acting as ", said(subject.get("actor"))),
    ]
    yield "who", "".join(who)
    yield "proved by", said(identity.get("method"))
    yield "roles", _listed(subject.get("roles"))
    yield "what", f"{said(body.get('action'))}  {resource_words(mapping(body.get('resource')))}" if body else ""
    yield "with", _arguments(context.get("arguments"))
    yield "asked", said(mapping(mapping(body.get("sent")).get("query")).get("statement"))
    yield "purpose", said(context.get("purpose"))
    yield "workflow", clean(entry.workflow)
    yield "after", clean(entry.parent)
    yield "said", _sealed(context.get("reason"))
    attempt = context.get("attempt")
    yield "attempt", str(attempt) if isinstance(attempt, int) and attempt > 1 else ""


def _known(body: Mapping[str, Any]) -> Lines:
    facts, context = mapping(body.get("facts")), mapping(body.get("context"))
    currency, estimate = text(body.get("currency")), mapping(facts.get("estimate"))
    labels = mapping(facts.get("labels"))
    yield "labels held", ", ".join(f"{clean(each)}{_in(' from ', _listed(labels[each]))}" for each in sorted(labels))
    yield "its results available", _listed(context.get("inputs"))
    yield "owner", said(facts.get("owner"))
    yield "region", said(facts.get("region"))
    yield "brings", _listed(facts.get("resource_labels"))
    yield "cleared for", _listed(facts.get("clearance"))
    yield "behind it", ", then ".join(_link(mapping(each)) for each in items(facts.get("chain"))[:_MOST])
    cost = text(estimate.get("amount"))
    units = ", ".join(
        f"{clean(unit)} {said(str(n))}" for unit, n in list(mapping(estimate.get("units")).items())[:_MOST]
    )
    yield "estimate", f"{amount(nanos(cost), currency)}{_in(' for ', units)}" if cost or units else ""
    for each in items(facts.get("budgets"))[:_MOST]:
        yield "budget", _budget(mapping(each), currency)
    yield "halts", _listed(facts.get("halts"))
    for each in items(facts.get("claims"))[:_MOST]:
        claim = mapping(each)
        yield "held", f"{said(claim.get('object'))} by {said(claim.get('holder'))}"
    for each in items(facts.get("acts"))[:_MOST]:
        act = mapping(each)
        yield "done before", f"{said(act.get('operation'))} by {said(act.get('agent'))} ({said(act.get('decision'))})"


def _rules(story: Story) -> Lines:
    for each in story.reasons:
        if each.policy != SIDECAR:
            yield clean(each.policy), f"{clean(each.code)}{_in(': ', each.raised)}"
    yield "obliged to", ", ".join(said(mapping(each).get("id")) for each in items(story.entry.body.get("obligations")))
    yield "policy revision", said(story.entry.body.get("revision"))


def _store(story: Story) -> Lines:
    """With what the sidecar itself said: it speaks where policy could not, or where the store's guards refused."""
    entry, body = story.entry, story.entry.body
    for each in story.reasons:
        if each.policy == SIDECAR:
            yield "remit", f"{clean(each.code)}{_in(': ', each.raised)}"
    yield "about", said(body.get("detail"))
    reserved, deadline = nanos(body.get("reserved")), nanos(body.get("deadline"))
    until = f" until {moment(deadline)}" if deadline else ""
    yield "set aside", f"{amount(reserved, text(body.get('currency')))}{until}" if reserved else ""
    yield "recorded", f"{clean(entry.log)} #{entry.sequence}{_in(', hash ', clean(entry.hash[:16]))}"


def _turned(story: Story) -> Lines:
    """Approvals by name; what may be seen of them stands below in full."""
    seen = {each.id for each in story.approvals}
    for id, state in approvals(story.entry.body):
        yield "approval", f"{said(id)} {state}" + ("" if id in seen else "; not for you to see")
    yield "used the grant", ", ".join(map(said, grants(story.entry.body)))


def _came(story: Story) -> Lines:
    # What is said about it later is told in the order in which it was written.
    for each in story.about:
        words, error = about_words(each)
        yield f"{moment(each.time)} {clean(each.log)} #{each.sequence}", f"{words}{_in(': ', error)}"
    yield "cost", cost_words(Node(story.entry, 0, about=list(story.about)))
    if not story.about and nanos(story.entry.body.get("reserved")):
        yield "", "nobody has reported how it ended; `remit unresolved` lists such"


def _change(story: Story) -> Lines:
    body = story.entry.body
    if text(body.get("effect")) not in ("DENY", "HOLD"):
        return
    for remedy in dict.fromkeys(each.remedy for each in story.reasons):
        yield "", remedy
    for each in story.reasons:
        if not each.raised:
            yield "", f"{clean(each.policy)} says {clean(each.code)}: its author's own word; see that rule."
    alternative = mapping(body.get("alternative"))
    if alternative:
        resource = resource_words(mapping(alternative.get("resource"))) if alternative.get("resource") else ""
        yield "take instead", " with ".join(filter(None, [resource, _arguments(alternative.get("arguments"))]))
    if body.get("retryable") is True:
        yield "", "Asking again, unchanged, may succeed."


def _arguments(value: object) -> str:
    """In clear where policy let them be recorded so; of the others how many there are."""
    stated = mapping(value)
    if stated.keys() == SEAL:
        return "arguments that the journal keeps as a hash"
    clear = [f"{clean(name)}={_sealed(each)}" for name, each in list(stated.items())[:_MOST]]
    more = f", and {counted(len(stated) - _MOST, 'more argument')}" if len(stated) > _MOST else ""
    return ", ".join(clear) + more


def _sealed(value: object) -> str:
    if isinstance(value, dict) and value.keys() == SEAL:
        return f"(kept as a hash: {said(value.get('type'))} of {said(str(value.get('size')))} bytes)"
    return said(value if isinstance(value, str) else "" if value is None else str(value))


def _budget(budget: Mapping[str, Any], currency: str) -> str:
    limit, spent, held = (nanos(budget.get(name)) for name in ("limit", "spent", "held"))
    scope = _in(" of ", said(budget.get("scope")))
    return (
        f"{said(budget.get('id'))}{scope}: {amount(limit - spent - held, currency)} left of {amount(limit, currency)}"
    )


def _link(link: Mapping[str, Any]) -> str:
    where = ", ".join(filter(None, [said(link.get("owner")), said(link.get("region"))]))
    return f"{said(link.get('service'))}{f' ({where})' if where else ''}"


def _listed(value: object) -> str:
    listed = items(value)
    more = ", …" if len(listed) > _MOST else ""
    return ", ".join(said(each) for each in listed[:_MOST]) + more


def _in(before: str, words: str) -> str:
    return f"{before}{words}" if words else ""
