"""An approval in words: a line of a list, and all of it. What was asked for is read as a stranger's text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from remit.core.answer import Shown
from remit.core.approval import SECOND, Approval, Bind, Item, State, Verdict, Vote
from remit.core.phrases import resource_words, said
from remit.core.records import body_of
from remit.core.text import amount, counted, moment
from remit.listeners.console.record import Pairs, flat, pairs

_BOUND = {
    Bind.EXACT: "exactly what is listed below, under the same labels and for at most the same amount",
    Bind.VARIANT: "the same agent, workflow, service, operation and variant, whatever the arguments",
    Bind.OPERATION: "the same agent, workflow, service and operation, whatever the variant and the arguments",
}
_SAID = {Verdict.APPROVE: "approves", Verdict.DENY: "denies", Verdict.HOLD: "passes it on"}
_APPROVER = ("approver",)
"""Who is asked where no role is named."""
_ALL = "remit approvals list --json"


@dataclass(frozen=True, slots=True)
class Line:
    """An approval in a list; nanos, ns. `asks` is who is asked now, in words; `most` what all its uses may cost
    together, None for no bound."""

    id: str
    state: str
    resolvable: bool
    subject: str
    team: str
    workflow: str
    what: str
    policy: str
    code: str
    reason: str
    labels: Sequence[str]
    most: int | None
    things: int
    asked: int
    asks: str
    time: int
    until: int  # to be answered; of a grant, when that ends; when it ended
    left: int  # minutes until then
    over: bool


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing that would be done. `note` says why its arguments are not shown, or is ""."""

    binding: str
    decision: str
    amount: int
    labels: Sequence[str]
    asked: int
    used: int
    spent: int
    shown: Pairs
    note: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One of those who are asked in turn."""

    who: str
    when: str


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody said."""

    who: str
    words: str
    reason: str
    time: int
    decision: str


@dataclass(frozen=True, slots=True)
class Whole:
    """An approval's page. `offer` says what `offered` is, a merge patch over what was asked for."""

    line: Line
    version: int
    request: Pairs
    bounds: Pairs
    things: Sequence[Thing]
    chain: Sequence[Asked]
    said: Sequence[Said]
    offer: str
    offered: Pairs
    decisions: Sequence[str]


def line(shown: Shown, now: int) -> Line:
    """The line of a list."""
    approval = shown.approval
    until = _until(approval)
    return Line(
        id=approval.id,
        state=approval.state,
        resolvable=shown.resolvable,
        subject=approval.subject,
        team=approval.team,
        workflow=approval.workflow,
        what=f"{said(approval.action)} {resource_words(approval.resource)}",
        policy=approval.policy,
        code=approval.code,
        reason=approval.reason,
        labels=approval.labels,
        most=_most(approval),
        things=len(approval.items),
        asked=sum(each.asked for each in approval.items),
        asks=asks(approval),
        time=approval.time,
        until=until,
        left=max(until - now, 0) // (60 * SECOND),
        over=until <= now,
    )


def digest(lines: Sequence[Line]) -> str:
    """Changes exactly when anything of the lines does."""
    return hashlib.sha256(repr(lines).encode("utf-8", "replace")).hexdigest()[:16]


def whole(shown: Shown, now: int, currency: str, lasting: Mapping[str, str]) -> Whole:
    """All of it. `lasting` has its `ttl` and `wait` in words."""
    approval, terms = shown.approval, shown.approval.terms
    return Whole(
        line=line(shown, now),
        version=approval.version,
        request=pairs(
            ("action", approval.action),
            ("resource", resource_words(approval.resource)),
            ("purpose", approval.purpose),
            ("reason given", approval.reason),
            ("labels held", ", ".join(approval.labels)),
            ("asked for", counted(sum(each.asked for each in approval.items), "time")),
        ),
        bounds=_lifts(approval) if approval.lifts else _bounds(approval, currency, lasting),
        things=[_thing(approval, each) for each in approval.items],
        chain=_chain(approval),
        said=[
            Said(f"{each.kind} {each.by}", _words(approval, each), each.reason, each.time, each.decision)
            for each in approval.votes
        ],
        offer="What was offered instead" if approval.alternative else "What would be allowed instead",
        offered=flat(_told(dict(approval.alternative or terms.alternative)), _ALL),
        decisions=list(dict.fromkeys(each.decision for each in approval.items if each.decision)),
    )


def _bounds(approval: Approval, currency: str, lasting: Mapping[str, str]) -> Pairs:
    """What a grant is good for."""
    terms, most = approval.terms, _most(approval)
    return pairs(
        ("good for", _BOUND[terms.bind]),
        ("uses", f"{terms.uses} of each thing" if len(approval.items) > 1 else terms.uses),
        ("all uses together", "no bound" if most is None else f"at most {amount(most, currency)}"),
        ("lasts", f"{lasting['ttl']} from when it is approved"),
        ("ends", moment(approval.expires) if approval.expires else ""),
        ("must approve", f"{terms.quorum} of those who are asked"),
        ("each is asked for", lasting["wait"]),
    )


def _lifts(approval: Approval) -> Pairs:
    return pairs(
        ("lifts the halt", approval.lifts), ("must approve", f"{approval.terms.quorum} of those who are asked")
    )


def _told(patch: object) -> object:
    """A merge patch to be read: its nulls are what would be left out (RFC 7396)."""
    if isinstance(patch, dict):
        return {key: _told(value) for key, value in patch.items()}
    return "(left out)" if patch is None else patch


def asks(approval: Approval) -> str:
    """Who is asked now."""
    if approval.addressee:
        return f"supervisor {approval.addressee}"
    return _people(approval)


def _people(approval: Approval) -> str:
    return f"people with the role {' or '.join(approval.terms.roles or _APPROVER)}"


def _most(approval: Approval) -> int | None:
    """What all its uses may cost together; None where only budgets bound that: what is not exact may cost anything."""
    cost = approval.terms.cost
    if approval.terms.bind is not Bind.EXACT:
        return cost
    together = approval.terms.uses * sum(each.amount for each in approval.items)
    return together if cost is None else min(cost, together)


def _until(approval: Approval) -> int:
    if approval.state is State.PENDING:
        return approval.deadline
    return approval.expires if approval.state is State.APPROVED else approval.ended


def _thing(approval: Approval, item: Item) -> Thing:
    asked_for = flat(dict(body_of(item.shown.encode("utf-8", "replace"))), _ALL) if item.shown else ()
    return Thing(
        binding=item.binding,
        decision=item.decision,
        amount=item.amount,
        labels=item.labels,
        asked=item.asked,
        used=item.used,
        spent=item.spent,
        shown=asked_for,
        note="" if item.shown else _why_not(approval, item),
    )


def _why_not(approval: Approval, item: Item) -> str:
    """Why there are no arguments to be seen, as far as whoever looks may know."""
    if approval.state in (State.DENIED, State.EXPIRED, State.REVOKED):
        return "What was asked for is not kept once it has ended; its digest is."
    if approval.lifts or approval.alternative:
        return ""
    if not item.labels:
        return "What was asked for is not kept any more; its digest is."
    return f"The arguments are told by their digest: they take clearance for {', '.join(item.labels)}."


def _chain(approval: Approval) -> list[Asked]:
    everybody = [*(f"supervisor {each}" for each in approval.chain), _people(approval)]
    waits = approval.state is State.PENDING
    now, later = ("is asked now", "not asked yet") if waits else ("was asked last", "was not asked")
    before, after = approval.level, len(everybody) - approval.level - 1
    whens = [*["was asked before"] * before, now, *[later] * after]
    return [Asked(who, when) for who, when in zip(everybody, whens, strict=True)]


def _words(approval: Approval, vote: Vote) -> str:
    back = approval.state is State.REVOKED and vote is approval.votes[-1]
    return "takes it back" if back else _SAID[vote.verdict]
