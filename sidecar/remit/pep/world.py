"""What the pipeline stands on: the ports, the installation that is in force, and the limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from remit.core.answer import Answer
from remit.core.catalogue import Catalogue
from remit.core.failing import DEFAULT, FailurePolicy
from remit.core.model import Subject
from remit.pep.history import Histories
from remit.pep.waiting import Changes
from remit.ports import Clock, Database, Databases, Ids, Pdp, Signer, Store, Tokenizer

SECOND = 1_000_000_000
DAY = 86_400 * SECOND


class Observer(Protocol):
    """Who is told about decisions, for metrics; telling must not fail."""

    def decided(self, subject: Subject, action: str, resource_id: str, answer: Answer) -> None:
        """A decision was made and recorded."""

    def stage(self, name: str, seconds: float) -> None:
        """A stage of a decision took so long."""

    def flow_denied(self, agent: str, sink: str, labels: tuple[str, ...]) -> None:
        """Labels were kept from a sink."""

    def view_answered(self, agent: str, dataset: str, rows: int) -> None:
        """A query of a dataset was answered with so many rows."""

    def view_masked(self, agent: str, dataset: str, columns: tuple[str, ...]) -> None:
        """An agent does not see these columns (`table.column`), which its query names, as they are."""

    def failed(self, kind: str, answer: str) -> None:
        """Something failed, or went on failing, and policy's answer to that was given; both of closed lists."""


@dataclass(frozen=True, slots=True)
class Installation:
    """One catalogue with the policy revision that was built from it; swapped whole on a reload.

    `messages` holds the templates of custom rules' codes: (policy, code) -> text with {input.path} places; `failure` is
    the answer to each kind of failure.
    """

    catalogue: Catalogue
    pdp: Pdp
    messages: Mapping[tuple[str, str], str] = field(default_factory=dict)
    failure: FailurePolicy = DEFAULT


class NoDatabases:
    """No dataset can be queried."""

    def of(self, dataset: str) -> Database | None:
        """None."""
        return None


@dataclass(slots=True)
class World:
    """The ports, and `installation`, the one thing that changes: a decision takes it once and keeps it.

    `history` is what agents did lately, as this process saw it; `changes` tells who waits of what approvals do.
    """

    store: Store
    clock: Clock
    ids: Ids
    signer: Signer
    observer: Observer
    hmac: Callable[[bytes], str]
    installation: Installation
    databases: Databases = field(default_factory=NoDatabases)
    tokenizer: Tokenizer | None = None
    history: Histories = field(default_factory=Histories)
    changes: Changes = field(init=False)

    def __post_init__(self) -> None:
        self.changes = Changes(lambda: self.store)

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue in force now."""
        return self.installation.catalogue
