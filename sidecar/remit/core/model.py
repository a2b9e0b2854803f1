"""The question and the facts: who wants to do what to which resource, in which context, and what we know.

Everything here is already typed and bounded; nothing here came from the caller unread.
Money is in nanos of the ledger's currency, time in nanoseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class ActionName(StrEnum):
    """What can be asked for (DESIGN: words)."""

    DATA_READ = "data.read"
    DATA_WRITE = "data.write"
    API_CALL = "api.call"
    TOOL_CALL = "tool.call"
    MESSAGE_SEND = "message.send"
    DECISION_MAKE = "decision.make"
    CLAIM_TAKE = "claim.take"
    WORKFLOW_OPEN = "workflow.open"
    APPROVAL_RESOLVE = "approval.resolve"
    BUDGET_ADJUST = "budget.adjust"
    CONTROL_HALT = "control.halt"


class Mode(StrEnum):
    """Whether a decision binds: in `observe` it is judged, recorded and priced the same, and let through."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class Identity:
    """How a caller proved who it is: `subject` is the name that was proved.

    `method` is token, mtls, oidc, kubernetes, pod or local.
    """

    method: str
    subject: str


@dataclass(frozen=True, slots=True)
class Subject:
    """The proved caller, as the catalogue knows it; `actor` alone is claimed, and may only narrow."""

    type: str  # "agent" or "person"
    id: str
    team: str
    roles: tuple[str, ...]
    identity: Identity
    mode: Mode = Mode.ENFORCE
    isolation: str = "process"  # or "workflow"
    actor: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """What is acted on, as asked for; `fields` names columns (`table.column`) of a dataset, empty for all."""

    type: str  # service dataset agent tool workflow budget scope decision approval object
    id: str
    operation: str = ""
    variant: str = ""
    fields: tuple[str, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """Why it is asked: the workflow is verified, the rest is the caller's word (`inputs` are decision ids).

    `claim` is the fencing token that it is done under, 0 for none; the store compares it."""

    workflow: str = ""
    purpose: str = ""
    reason: str = ""
    parent: str = ""
    attempt: int = 1
    arguments: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    claim: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """One question. `usage` is the stated upper bound per unit; `fulfils` the obligations its enforcement
    point knows; `key` the idempotency key ("" for none). `content` says what is performed beside the arguments."""

    subject: Subject
    action: str
    resource: Resource
    context: Context
    usage: Mapping[str, int] = field(default_factory=dict)
    fulfils: frozenset[str] = frozenset()
    key: str = ""
    content: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """One link of the chain to the third party that really answers."""

    service: str
    owner: str
    region: str
    external: bool


@dataclass(frozen=True, slots=True)
class ResourceFacts:
    """What the catalogue says of a resource; `known` is false for anything it does not list."""

    known: bool
    owner: str = ""
    external: bool = False
    region: str = ""
    labels: tuple[str, ...] = ()  # what reading it, or its answers, adds to a session
    clearance: tuple[str, ...] = ()
    chain: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Estimate:
    """The upper bound to reserve: nanos of the ledger's currency, or None where no price is known."""

    amount: int | None
    units: Mapping[str, int] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether the bound is known at all."""
        return self.amount is not None


NO_COST = Estimate(amount=0)


RowKey = tuple[str, str, int, int]
"""(budget, scope, start, end) of a row."""


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """One row that must have room: a budget (or its cap, `id#cap`) in one scope and window. Nanos, ns."""

    budget: str
    scope: str  # "" for all, else the agent's or the workflow's id
    start: int
    end: int  # exclusive; 0 where the window never ends
    limit: int

    @property
    def key(self) -> RowKey:
        """What tells it from other rows: its limit may change."""
        return self.budget, self.scope, self.start, self.end


@dataclass(frozen=True, slots=True)
class BudgetRoom:
    """A row with what is spent and held in it now, and the effective limit after adjustments.

    `idle` is what writers' slices have left of what is held: no call has reserved it, and whoever needs it gets it.
    """

    row: BudgetRow
    limit: int
    spent: int
    held: int
    idle: int = 0

    @property
    def reserved(self) -> int:
        """What calls hold."""
        return max(0, self.held - self.idle)


HALT_SCOPES = ("agent", "workflow", "service", "policy", "all")


@dataclass(frozen=True, slots=True)
class Halt:
    """A stop: `scope` is one of HALT_SCOPES, `value` the id it names ("" for all).

    Of scope policy it stops whatever is judged by any other revision than `value`.
    """

    id: str
    scope: str
    value: str
    by: str
    reason: str
    time: int


@dataclass(frozen=True, slots=True)
class Versions:
    """What Rego saw, to be checked in the commit: session labels, workflow state, halts, policy revision."""

    labels: int = 0
    workflow: int = 0
    halts: int = 0
    revision: str = ""


@dataclass(frozen=True, slots=True)
class History:
    """What the agent did in the last ten minutes, as this sidecar saw it: of this very action in this workflow, how
    often it was asked for (`repeats`) and has failed (`failures`); and how often the agent was denied anything."""

    repeats: int = 0
    failures: int = 0
    denials: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What the sidecar knows and the agent cannot forge."""

    time: int
    resource: ResourceFacts
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # label -> decisions that brought it
    arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metered: bool = False  # whether the action is priced, reserved and settled
    estimate: Estimate = NO_COST
    budgets: tuple[BudgetRoom, ...] = ()
    grants: tuple[Mapping[str, Any], ...] = ()
    claims: tuple[Mapping[str, Any], ...] = ()  # held: {object, holder, workflow, own, expires}
    acts: tuple[Mapping[str, Any], ...] = ()  # of others on the same object: {agent, operation, decision, time}
    history: History = History()
    halts: tuple[Halt, ...] = ()
    versions: Versions = Versions()
