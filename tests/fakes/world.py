"""A whole small world around the pipeline: a catalogue, a policy that is a function, a clock that is set by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from joserfc.jwk import OKPKey
from remit.backends.signer_ed25519 import Ed25519Signer
from remit.core.answer import Answer
from remit.core.approval import Hold, Terms
from remit.core.catalogue import Agent, Budget, Catalogue, Person, Price, Service, Team, Variant
from remit.core.dataset import Dataset
from remit.core.decision import Effect, PolicyReason, Verdict
from remit.core.model import Identity, Mode, Subject
from remit.core.view.model import EVERY_ROW, TableView
from remit.pep.world import Installation, World
from remit.ports import Store

EUR = 1_000_000_000
START = 1_800_000_000 * 1_000_000_000  # a moment in 2027, in ns

MESSAGES = {("access.test", "flow_label_exceeds_clearance"): "{resource.id} is not cleared for {facts.labels}"}

Policy = Callable[[Mapping[str, Any]], Verdict]


def verdict(effect: str, code: str = "allowed", *, record: Iterable[str] = (), terms: Terms | None = None) -> Verdict:
    """A verdict of one reason; a HOLD asks on these terms."""
    holds = (Hold("access.test", code, terms or Terms(roles=("approver",))),) if effect == "HOLD" else ()
    return Verdict(Effect(effect), (PolicyReason("access.test", code),), (), holds, tuple(record))


def allow_all(document: Mapping[str, Any]) -> Verdict:
    """The simplest policy."""
    return verdict("ALLOW")


def clearance_policy(document: Mapping[str, Any]) -> Verdict:
    """Labels held must be within the sink's clearance; halts deny."""
    if document["facts"]["halts"]:
        return verdict("DENY", "halted")
    sends = document["action"]["name"] in ("api.call", "message.send")
    if sends and not set(document["facts"]["labels"]) <= set(document["resource"]["clearance"]):
        return verdict("DENY", "flow_label_exceeds_clearance")
    return verdict("ALLOW")


class FakePdp:
    """A policy decision point that is a Python function; `documents` are those it judged.

    `look` is what it says of a table, every row if nothing else; `viewed` are the documents that it was asked with.
    """

    def __init__(self, policy: Policy = allow_all, revision: str = "r1") -> None:
        self.policy = policy
        self._revision = revision
        self.documents: list[Mapping[str, Any]] = []
        self.viewed: list[Mapping[str, Any]] = []
        self.timely = False
        self.look: Callable[[str, Mapping[str, Any]], TableView] = lambda table, _: TableView(table, EVERY_ROW)

    @property
    def revision(self) -> str:
        return self._revision

    async def ask(self, document: Mapping[str, Any]) -> Verdict:
        self.documents.append(document)
        return self.policy(document)

    def reads_time(self, dataset: str) -> bool:
        return self.timely

    async def view(self, dataset: str, tables: Sequence[str], document: Mapping[str, Any]) -> Sequence[TableView]:
        self.viewed.append(document)
        return [self.look(table, document) for table in tables]


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self, now: int = START) -> None:
        self.time = now

    def now(self) -> int:
        return self.time

    def pass_seconds(self, seconds: float) -> None:
        self.time += int(seconds * 1_000_000_000)


class FakeIds:
    """Counts."""

    def __init__(self) -> None:
        self.count = 0

    def new(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}_{self.count:06d}"

    def salt(self) -> bytes:
        self.count += 1
        return self.count.to_bytes(16, "big")


@dataclass
class FakeObserver:
    """Keeps what it was told."""

    decisions: list[tuple[str, Answer]] = field(default_factory=list)
    withheld: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    answered: list[tuple[str, str, int]] = field(default_factory=list)
    masked: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)

    def decided(self, subject: Subject, action: str, resource_id: str, answer: Answer) -> None:
        self.decisions.append((action, answer))

    def stage(self, name: str, seconds: float) -> None:
        assert seconds >= 0

    def flow_denied(self, agent: str, sink: str, labels: tuple[str, ...]) -> None:
        self.withheld.append((agent, sink, labels))

    def view_answered(self, agent: str, dataset: str, rows: int) -> None:
        self.answered.append((agent, dataset, rows))

    def view_masked(self, agent: str, dataset: str, columns: tuple[str, ...]) -> None:
        self.masked.append((agent, dataset, columns))

    def failed(self, kind: str, answer: str) -> None:
        self.failures.append((kind, answer))


def subject(id: str, *, mode: Mode = Mode.ENFORCE, isolation: str = "process") -> Subject:
    """An agent of the catalogue below, proved by its token."""
    return Subject("agent", id, "cx", ("worker",), Identity("token", id), mode, isolation)


OPERATOR = Subject("person", "ana", "", ("operator",), Identity("token", "ana"))


def catalogue(**changes: Any) -> Catalogue:
    """Four agents, one of them observed; a metered service at 1 EUR a call, e-mail, a dataset with labels, a budget."""
    parts: dict[str, Any] = {
        "currency": "EUR",
        "teams": {"cx": Team()},
        "people": {"ana": Person(("operator",))},
        "agents": {
            name: Agent(team="cx", roles=("worker",), purposes=("onboarding",), clearance=("pii", "finance"))
            for name in ("analysis", "decision", "communication")
        }
        | {
            "watched": Agent(
                team="cx", roles=("worker",), purposes=("onboarding",), clearance=("pii", "finance"), mode="observe"
            )
        },
        "services": {
            "model": Service(
                owner="ml",
                clearance=("pii",),
                variants={"small": Variant(), "large": Variant(cheaper="small")},
                metering="agent",
            ),
            "email": Service(owner="cx", variants={"": Variant()}, returns=("untrusted",)),
        },
        "prices": (
            Price(match="model/*", unit="call", amount=EUR, currency="EUR"),
            Price(match="email/*", unit="call", amount=EUR // 10, currency="EUR"),
        ),
        "datasets": {"crm": Dataset(owner="cx", labels=("pii",))},
        "budgets": {"month": Budget(limit=10 * EUR, window="month")},
    }
    return Catalogue(**{**parts, **changes})


def world(store: Store, policy: Policy = allow_all, **changes: Any) -> World:
    """The pipeline's world on a given store."""
    key = OKPKey.generate_key("Ed25519")
    return World(
        store=store,
        clock=FakeClock(),
        ids=FakeIds(),
        signer=Ed25519Signer(key, "test"),
        observer=FakeObserver(),
        hmac=lambda text: sha256(b"key" + text).hexdigest(),
        installation=Installation(catalogue(**changes), FakePdp(policy), MESSAGES),
    )
