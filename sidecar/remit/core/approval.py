"""The life of an approval: what a HOLD asks people or supervisors for, and the grant that comes of it.

    pending ──approved──▶ approved   enough of those who may have said yes: it is a grant, with bounds
      ├──────denied─────▶ denied     somebody who may said no
      ├──────expired────▶ expired    nobody said anything in time
      └─────(pending)                it was passed on: to the supervisor's supervisor, at last to people
    approved ─revoked───▶ revoked    taken back; what was done under it was done

One request holds *items*: what would be done under it, each by its binding (what a use must be alike in). Holds that
are alike join the request that is pending, those of an agent's other workflows too; whoever resolves names the version
that they saw, so nothing joins unseen.
A grant is used up item by item: `uses` times each, in all for at most `cost`, each use under the labels and for at most
the amount that was approved, and not after `expires`.

Every change but a use is compare-and-set on `version`: what a step was decided on is what it changes. Amounts are
nanos of the ledger's currency, times nanoseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol

from remit.core.canonical import digest
from remit.core.errors import IllegalTransition
from remit.core.model import Request

SECOND = 1_000_000_000

MOST_ITEMS = 100
"""Items of one request."""

MOST_PENDING = 20
"""Requests of one agent that may wait at a time: a flood must not bury what others wait for."""

STANDS = 600 * SECOND
"""How long a denial, or an approval that nobody gave, answers whoever asks the same again."""

SHOWN_BYTES = 4 * 1024
"""Of what an item shows, as JSON text; what is longer is shown by its size and digest alone."""

_CORRELATION = frozenset({"traceparent", "baggage"})
"""Properties of a resource that differ from try to try, and change nothing of what is done."""


class Bind(StrEnum):
    """What a use is alike in: all of it; agent, workflow, service, operation and variant; or these but the variant."""

    EXACT = "exact"
    VARIANT = "variant"
    OPERATION = "operation"


class State(StrEnum):
    """Where an approval stands."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Verdict(StrEnum):
    """What somebody who was asked said; `hold` passes it on."""

    APPROVE = "approve"
    DENY = "deny"
    HOLD = "hold"


MOVES: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.PENDING, State.APPROVED, State.DENIED, State.EXPIRED}),
    State.APPROVED: frozenset({State.REVOKED}),
    State.DENIED: frozenset(),
    State.EXPIRED: frozenset(),
    State.REVOKED: frozenset(),
}


class Supervised(Protocol):
    """An agent of the catalogue, as far as it matters here."""

    @property
    def supervisor(self) -> str: ...
    @property
    def clearance(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Terms:
    """What a hold asks for: who may resolve it, and what its grant is good for.

    With `supervisor`, the requester's supervisor agents are asked first, one after the other; `roles` are those of
    people, who may at any time. `quorum` of them must approve. `wait` (seconds) is how long each waits to be answered,
    `ttl` (seconds) how long the grant lasts. `cost` is what all its uses may cost together, None for no such bound.
    `alternative` is a JSON merge patch (RFC 7396): what would be allowed instead, without asking anybody.
    """

    roles: tuple[str, ...] = ()
    supervisor: bool = False
    quorum: int = 1
    bind: Bind = Bind.EXACT
    uses: int = 1
    cost: int | None = None
    ttl: int = 3600
    wait: int = 3600
    alternative: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold of a verdict: the rule, its code, and its terms."""

    policy: str
    code: str
    terms: Terms


@dataclass(frozen=True, slots=True)
class Vote:
    """What one of those who were asked said, and who was asked then (`level`). `kind` is agent or person; `decision`
    the record of it."""

    kind: str
    by: str
    verdict: Verdict
    reason: str
    time: int
    decision: str
    level: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that would be done. `shown` is JSON text of what the requester asked for ("" once it has ended).

    `amount` is the most that one use may cost, `labels` those that its session may hold.
    """

    binding: str
    decision: str
    amount: int
    labels: tuple[str, ...]
    shown: str
    asked: int = 1
    used: int = 0
    spent: int = 0


@dataclass(frozen=True, slots=True)
class Approval:
    """A request, and the grant that it became.

    `workflow` and `purpose` are those of its first item. `chain` are the supervisors who are asked, in order; `level`
    is who of them is now: len(chain) means people. `like` is what holds must have in common to join it. `lifts` names
    a halt that approving it lifts. `alternative` is what was offered with a denial. `expires` is when the grant ends.
    """

    id: str
    like: str
    subject: str
    team: str
    workflow: str
    purpose: str
    policy: str
    code: str
    action: str
    resource: Mapping[str, str]  # type, id, operation, variant
    reason: str  # the requester's own word
    terms: Terms
    time: int
    deadline: int
    chain: tuple[str, ...] = ()
    level: int = 0
    state: State = State.PENDING
    version: int = 1
    votes: tuple[Vote, ...] = ()
    expires: int = 0
    ended: int = 0
    lifts: str = ""
    alternative: Mapping[str, Any] = field(default_factory=dict)
    items: tuple[Item, ...] = ()

    @property
    def addressee(self) -> str:
        """The supervisor who is asked now; "" where people are."""
        return self.chain[self.level] if self.level < len(self.chain) else ""

    @property
    def queue(self) -> str:
        """Who is asked now, for metrics: the supervisor, or the first of the roles."""
        return self.addressee or (self.terms.roles[0] if self.terms.roles else "")

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels that its items' sessions hold."""
        return tuple(sorted({label for item in self.items for label in item.labels}))

    def item(self, binding: str) -> Item | None:
        """The item of a binding."""
        return next((each for each in self.items if each.binding == binding), None)


def binding(bind: Bind, request: Request) -> str:
    """SHA-256 (hex) over what a use must be alike in. What says why (reason, parent, inputs), and which attempt it is,
    are not in it."""
    subject, resource, context = request.subject, request.resource, request.context
    whom = [subject.id, context.workflow, request.action]
    where = [_listed(resource.type), resource.id, resource.operation]
    if bind is Bind.OPERATION:
        return digest([bind.value, whom, where])
    if bind is Bind.VARIANT:
        return digest([bind.value, whom, where, resource.variant])
    rest = [resource.variant, list(resource.fields), named_properties(request)]
    how = [subject.actor, context.purpose, dict(context.arguments), request.content]
    return digest([bind.value, whom, where, rest, how])


def named_properties(request: Request) -> dict[str, Any]:
    """The properties of its resource that say what is done."""
    return {key: value for key, value in request.resource.properties.items() if key not in _CORRELATION}


def offered(whom: Sequence[str], alternative: Mapping[str, Any]) -> str:
    """The binding of a changed request that was offered (`alternative.described`): of what it says, and no more. What
    is performed beside the arguments nobody has seen yet. `whom` is (subject, actor, workflow, purpose, action)."""
    resource = alternative["resource"]
    where = [_listed(resource["type"]), resource["id"], resource["operation"], resource["variant"]]
    return digest(["offered", list(whom), where, resource["fields"], alternative["arguments"]])


def like(hold: Hold, request: Request) -> str:
    """What holds have in common that become one request: SHA-256 (hex)."""
    resource = request.resource
    where = {
        "type": resource.type,
        "id": resource.id,
        "operation": resource.operation,
        "variant": resource.variant,
    }
    return alike(hold, subject=request.subject.id, action=request.action, resource=where)


def alike(hold: Hold, *, subject: str, action: str, resource: Mapping[str, Any]) -> str:
    """As `like`. Who is to approve is part of it: what some have approved is no answer to a rule that asks others. The
    workflow is not: what an agent asks for in several of them is one request, of an item for each."""
    terms = hold.terms
    variant = "" if terms.bind is Bind.OPERATION else resource["variant"]
    where = [_listed(resource["type"]), resource["id"], resource["operation"], variant]
    asked = [sorted(terms.roles), terms.supervisor, terms.quorum]
    return digest([hold.policy, hold.code, terms.bind.value, asked, [subject, action], where])


def covers(approval: Approval, binding: str, *, labels: Collection[str], amount: int, now: int) -> bool:
    """Whether it is a grant that admits one use more, of this binding, under these labels and for this amount."""
    item = approval.item(binding)
    if item is None or approval.state is not State.APPROVED or approval.expires <= now:
        return False
    if item.used >= approval.terms.uses or not set(labels) <= set(item.labels):
        return False
    if approval.terms.bind is Bind.EXACT and amount > item.amount:
        return False
    cost = approval.terms.cost
    return cost is None or sum(each.spent for each in approval.items) + amount <= cost


def waits(approval: Approval, binding: str, *, labels: Collection[str], amount: int, now: int) -> bool:
    """Whether this very thing waits in it already, as it is: nobody needs to look again."""
    item = approval.item(binding)
    if item is None or approval.state is not State.PENDING or approval.deadline <= now:
        return False
    return holds_all(item, labels=labels, amount=amount)


def holds_all(item: Item, *, labels: Collection[str], amount: int) -> bool:
    """Whether an item has all of what is asked in it: these labels or more, this amount or more."""
    return set(labels) <= set(item.labels) and amount <= item.amount


def stands(approval: Approval, binding: str, *, now: int) -> bool:
    """Whether it was refused lately (denied, revoked, or not answered in time), and so need not be asked again."""
    if approval.item(binding) is None:
        return False
    if approval.state in (State.DENIED, State.REVOKED, State.EXPIRED):
        return now < approval.ended + STANDS
    return False


def joined(approval: Approval, item: Item) -> Item:
    """The item that comes of a like hold: the one that is there, widened to this one's labels and amount."""
    there = approval.item(item.binding)
    if there is None:
        return item
    labels = tuple(sorted({*there.labels, *item.labels}))
    return replace(item, asked=there.asked + 1, labels=labels, amount=max(there.amount, item.amount))


def voted(approval: Approval, vote: Vote, outcome: str, now: int) -> Approval:
    """The approval after a vote, with the outcome that policy stated: approved, denied, escalated or pending.

    Raises IllegalTransition where its life does not allow that, whatever policy stated.
    """
    _check_open(approval, now)
    after = replace(approval, version=approval.version + 1, votes=(*approval.votes, vote))
    if outcome == State.APPROVED:
        if len(approving(after)) < approval.terms.quorum:
            raise IllegalTransition(f"approval {approval.id} needs {approval.terms.quorum} who approve")
        return replace(after, state=State.APPROVED, expires=now + approval.terms.ttl * SECOND)
    if outcome == State.DENIED:
        return _ended(after, State.DENIED, now)
    if outcome == "escalated":
        return _passed_on(after, now)
    return after


def approving(approval: Approval) -> frozenset[tuple[str, str]]:
    """Who has approved it, (kind, id): whoever said several things, by the last; never the requester."""
    last = {(each.kind, each.by): each.verdict for each in approval.votes}
    return frozenset(who for who, said in last.items() if said is Verdict.APPROVE and who[1] != approval.subject)


def timed_out(approval: Approval, outcome: str, now: int) -> Approval:
    """The approval after its deadline has passed: passed on where policy says so and somebody is left, else expired.

    Nothing is ever approved by the clock. Raises IllegalTransition where it is not over yet.
    """
    if approval.state is not State.PENDING:
        raise IllegalTransition(f"approval {approval.id} is {approval.state}")
    if approval.deadline > now:
        raise IllegalTransition(f"approval {approval.id} still waits")
    after = replace(approval, version=approval.version + 1)
    if outcome == "escalated" and approval.level < len(approval.chain):
        return _passed_on(after, now)
    return _ended(after, State.DENIED if outcome == State.DENIED else State.EXPIRED, now)


def revoked(approval: Approval, vote: Vote, now: int) -> Approval:
    """The approval after its grant was taken back. Raises IllegalTransition."""
    if approval.state is not State.APPROVED:
        raise IllegalTransition(f"approval {approval.id} is {approval.state}")
    after = replace(approval, version=approval.version + 1, votes=(*approval.votes, vote))
    return _ended(after, State.REVOKED, now)


def supervisors(
    agents: Mapping[str, Supervised], people: Collection[str], requester: str, labels: Iterable[str]
) -> tuple[str, ...]:
    """The requester's supervisor, that one's supervisor and so on: people, and agents that are cleared for what the
    session holds. Nobody is asked twice, and never the requester."""
    held, chain, seen = set(labels), [], {requester}
    agent = agents.get(requester)
    while agent is not None and agent.supervisor and agent.supervisor not in seen:
        above = agent.supervisor
        seen.add(above)
        agent = agents.get(above)
        if above in people or (agent is not None and held <= set(agent.clearance)):
            chain.append(above)
    return tuple(chain)


def _check_open(approval: Approval, now: int) -> None:
    if approval.state is not State.PENDING:
        raise IllegalTransition(f"approval {approval.id} is {approval.state}")
    if approval.deadline <= now:
        raise IllegalTransition(f"approval {approval.id} was not answered in time")


def _passed_on(approval: Approval, now: int) -> Approval:
    level = min(approval.level + 1, len(approval.chain))
    return replace(approval, level=level, deadline=now + approval.terms.wait * SECOND)


def _ended(approval: Approval, state: State, now: int) -> Approval:
    return blanked(replace(approval, state=state, ended=now))


def blanked(approval: Approval) -> Approval:
    """With nothing of what was asked for left to read."""
    return replace(approval, items=tuple(replace(each, shown="") for each in approval.items))


def _listed(type: str) -> str:
    """A tool is listed among the services: whoever names it otherwise means the same."""
    return "service" if type == "tool" else type


# As stored: a document of plain JSON, and the items beside it.


def to_document(approval: Approval) -> dict[str, Any]:
    """All of it but its items, as JSON values. Amounts are decimal text: they may be larger than what JSON's readers
    hold exactly."""
    terms = approval.terms
    return {
        "like": approval.like,
        "subject": approval.subject,
        "team": approval.team,
        "workflow": approval.workflow,
        "purpose": approval.purpose,
        "policy": approval.policy,
        "code": approval.code,
        "action": approval.action,
        "resource": dict(approval.resource),
        "reason": approval.reason,
        "terms": {
            "roles": list(terms.roles),
            "supervisor": terms.supervisor,
            "quorum": terms.quorum,
            "bind": terms.bind.value,
            "uses": terms.uses,
            "cost": "" if terms.cost is None else str(terms.cost),
            "ttl": terms.ttl,
            "wait": terms.wait,
        },
        "time": approval.time,
        "deadline": approval.deadline,
        "chain": list(approval.chain),
        "level": approval.level,
        "state": approval.state.value,
        "version": approval.version,
        "votes": [
            {
                "kind": each.kind,
                "by": each.by,
                "verdict": each.verdict.value,
                "reason": each.reason,
                "time": each.time,
                "decision": each.decision,
                "level": each.level,
            }
            for each in approval.votes
        ],
        "expires": approval.expires,
        "ended": approval.ended,
        "lifts": approval.lifts,
        "alternative": dict(approval.alternative),
    }


def from_document(id: str, stored: Mapping[str, Any], items: Sequence[Item]) -> Approval:
    """The inverse of `to_document`."""
    terms = stored["terms"]
    return Approval(
        id=id,
        like=stored["like"],
        subject=stored["subject"],
        team=stored["team"],
        workflow=stored["workflow"],
        purpose=stored["purpose"],
        policy=stored["policy"],
        code=stored["code"],
        action=stored["action"],
        resource=stored["resource"],
        reason=stored["reason"],
        terms=Terms(
            roles=tuple(terms["roles"]),
            supervisor=terms["supervisor"],
            quorum=terms["quorum"],
            bind=Bind(terms["bind"]),
            uses=terms["uses"],
            cost=int(terms["cost"]) if terms["cost"] else None,
            ttl=terms["ttl"],
            wait=terms["wait"],
        ),
        time=stored["time"],
        deadline=stored["deadline"],
        chain=tuple(stored["chain"]),
        level=stored["level"],
        state=State(stored["state"]),
        version=stored["version"],
        votes=tuple(Vote(**{**each, "verdict": Verdict(each["verdict"])}) for each in stored["votes"]),
        expires=stored["expires"],
        ended=stored["ended"],
        lifts=stored["lifts"],
        alternative=stored["alternative"],
        items=tuple(items),
    )
