"""The orders in which things happen to one request, and what must come of each: said again, by nothing of the product.

Six things happen once each: somebody approves, denies, takes back, time passes, the request changes, its agent uses it,
in both processes at a time. At last both try once more. `Model` says what each is to be answered, and where the
approvals are to stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import permutations
from typing import Any

from fakes.approving import Holding
from fakes.world import EUR, FakeClock
from fakes.world import world as make_world
from remit.backends.clock_system import SystemClock
from remit.backends.ids_random import RandomIds
from remit.core.approval import Bind, Terms
from remit.core.catalogue import Agent, Identity, Person, Price, Service, Variant
from remit.core.dataset import Dataset
from remit.core.decision import Verdict
from remit.pep.world import World
from remit.ports import Store

SECOND = 1_000_000_000
LASTS = 60
"""Seconds that whoever is asked has, and that a grant lasts: so the clock ends either."""

OPS = ("approve", "deny", "expire", "revoke", "change", "consume")
ORDERS = tuple(permutations(OPS))
PEOPLE = ("bo", "cy")
USES = {Bind.EXACT: 1, Bind.VARIANT: 2}
HOLDINGS = {
    bind: Holding(terms=Terms(roles=("approver",), bind=bind, uses=uses, ttl=LASTS, wait=LASTS))
    for bind, uses in USES.items()
}


@dataclass(frozen=True)
class Flavour:
    """What the grant binds, and whether those who are asked name the version that they saw at first, or none."""

    bind: Bind
    named: bool


FLAVOURS = tuple(Flavour(bind, named) for bind in USES for named in (True, False))


def agent_of(flavour: Flavour, number: int) -> str:
    """The agent whose request an order is about: nobody else's."""
    return f"{flavour.bind.value}-{'named' if flavour.named else 'latest'}-{number}"


def agents() -> tuple[str, ...]:
    """All of them."""
    return tuple(agent_of(flavour, number) for flavour in FLAVOURS for number in range(len(ORDERS)))


def token_of(name: str) -> str:
    """How somebody proves who they are."""
    return f"token-of-{name}"


def policy(document: Mapping[str, Any]) -> Verdict:
    """Holds what is large, on terms that are the agent's."""
    bind, *_ = document["subject"]["id"].split("-")
    return HOLDINGS[Bind(bind) if bind in set(Bind) else Bind.EXACT](document)


def orders_world(store: Store, clock: FakeClock) -> World:
    """Everybody's world. Reservations outlast the clock, and no budget is everybody's bottleneck."""
    made = make_world(
        store,
        policy,
        agents={
            name: Agent("cx", ("worker",), ("onboarding",), clearance=("pii",), identity=_proved(name))
            for name in agents()
        },
        people={name: Person(("approver",), _proved(name)) for name in PEOPLE},
        services={
            "model": Service(
                owner="ml", clearance=("pii",), variants={"large": Variant()}, metering="agent", hold_seconds=86_400
            )
        },
        prices=(Price(match="model/*", unit="call", amount=EUR, currency="EUR"),),
        datasets={"crm": Dataset(owner="cx", labels=("pii",))},
        budgets={},
    )
    made.clock, made.ids = clock, RandomIds(SystemClock())
    return made


def _proved(name: str) -> Identity:
    return Identity((f"sha256:{sha256(token_of(name).encode()).hexdigest()}",))


@dataclass
class Known:
    """An approval, as it must be. `things` are what it is for, with the labels that were shown."""

    things: dict[int, frozenset[str]]
    deadline: int
    state: str = "pending"
    version: int = 1
    expires: int = 0
    used: dict[int, int] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True)
class Expected:
    """What must be answered: an effect with one of these codes, or that it cannot be said ("")."""

    effect: str
    codes: frozenset[str] = frozenset()


ILLEGAL = Expected("")


class Model:
    """One agent's request and what becomes of it."""

    def __init__(self, flavour: Flavour) -> None:
        self.flavour = flavour
        self.approvals: list[Known] = []
        self.labels: frozenset[str] = frozenset()

    def ask(self, arguments: int, now: int) -> tuple[Expected, Known | None]:
        """The agent asks; and the approval that the answer is to name."""
        thing = arguments if self.flavour.bind is Bind.EXACT else 0
        for each in self.approvals:
            if self._admits(each, thing, now):
                each.used[thing] = each.used.get(thing, 0) + 1
                return Expected("ALLOW", frozenset({"allowed"})), None
        refused = {each.state for each in self.approvals if thing in each.things}
        codes = {"approval_expired"} if "expired" in refused else set()
        codes |= {"approval_denied"} if refused & {"denied", "revoked"} else set()
        if codes:
            return Expected("DENY", frozenset(codes)), None
        waiting = next((each for each in self.approvals if each.state == "pending"), None)
        if waiting is None:
            waiting = Known({thing: self.labels}, now + LASTS * SECOND)
            self.approvals.append(waiting)
        elif thing not in waiting.things or not self.labels <= waiting.things[thing]:
            waiting.things[thing] = waiting.things.get(thing, frozenset()) | self.labels
            waiting.version += 1
        return Expected("HOLD", frozenset({"approval_required"})), waiting

    def say(self, verdict: str, version: int, now: int) -> Expected:
        """Somebody says something of the first request."""
        its = self.approvals[0]
        if not (its.state == "pending" or (its.state == "approved" and verdict == "deny")):
            return ILLEGAL
        if its.state == "pending" and verdict == "approve" and not version and len(its.things) > 1:
            return ILLEGAL  # of several, one says which one has seen
        if version not in (0, its.version):
            return Expected("DENY", frozenset({"facts_changed"}))
        its.version += 1
        if verdict == "approve":
            its.state, its.expires = "approved", now + LASTS * SECOND
        else:
            its.state = "denied" if its.state == "pending" else "revoked"
        return Expected("ALLOW", frozenset({"allowed"}))

    def sweep(self, now: int) -> None:
        """Time has passed."""
        for each in self.approvals:
            if each.state == "pending" and each.deadline <= now:
                each.state, each.version = "expired", each.version + 1

    def standing(self) -> dict[str, tuple[str, int, list[int]]]:
        """Where each approval stands: its state, its version, and how often each thing was done under it."""
        return {
            each.id: (each.state, each.version, sorted(each.used.get(thing, 0) for thing in each.things))
            for each in self.approvals
        }

    def _admits(self, its: Known, thing: int, now: int) -> bool:
        live = its.state == "approved" and now < its.expires
        seen = thing in its.things and self.labels <= its.things[thing]
        return live and seen and its.used.get(thing, 0) < USES[self.flavour.bind]


@dataclass(frozen=True)
class Played:
    """One order, and what it must come to."""

    order: Sequence[str]
    number: int
    flavour: Flavour
    model: Model

    @property
    def agent(self) -> str:
        """Whose request it is."""
        return agent_of(self.flavour, self.number)

    def asking(self, arguments: int = 1) -> dict[str, Any]:
        """What a process is told, so that the agent asks."""
        return {"do": "ask", "who": self.agent, "arguments": arguments}

    def saying(self, op: str) -> dict[str, Any]:
        """What a process is told, so that somebody answers. Taking back names no version: it is of what is in force."""
        verdict = "approve" if op == "approve" else "deny"
        version = 1 if self.flavour.named and op != "revoke" else 0
        who = "cy" if op == "revoke" else "bo"
        return {"do": "say", "who": who, "approval": self.model.approvals[0].id, "verdict": verdict, "version": version}

    def __str__(self) -> str:
        return f"{self.agent}: {' '.join(self.order)}"


def played(order: int, flavour: Flavour) -> Played:
    """An order by its number."""
    return Played(ORDERS[order], order, flavour, Model(flavour))


def reading(which: Played) -> dict[str, Any]:
    """What a process is told, so that the agent reads what its session had not read."""
    return {"do": "read", "who": which.agent}


def at(message: Mapping[str, Any], now: int) -> dict[str, Any]:
    """The same, at a time."""
    return {**message, "now": now}
