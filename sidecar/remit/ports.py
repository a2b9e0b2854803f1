"""What enforcement needs from the world: one small Protocol a port, `<port>_<technology>.py` behind each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from remit.core.catalogue import Credential
from remit.core.checkpoint import CheckpointRow as CheckpointRow
from remit.core.checkpoint import VerifierKey
from remit.core.decision import Verdict
from remit.core.effect import Commit, Committed, Kept, Refused
from remit.core.errors import RemitError
from remit.core.journal import JournalRow as JournalRow
from remit.core.model import BudgetRoom, BudgetRow, Halt


class Clock(Protocol):
    """Time of the server."""

    def now(self) -> int:
        """Nanoseconds since the epoch; never goes back within a process."""
        ...


class Ids(Protocol):
    """Names and randomness."""

    def new(self, prefix: str) -> str:
        """A new unguessable id, `prefix_…`, sortable by time."""
        ...

    def salt(self) -> bytes:
        """16 random bytes."""
        ...


class Pdp(Protocol):
    """The policy decision point, serving one policy revision."""

    @property
    def revision(self) -> str:
        """The bundle's revision; every answer is judged with it."""
        ...

    async def ask(self, document: Mapping[str, object]) -> Verdict:
        """Judge one total input document. Raises PolicyFailure, whatever went wrong."""
        ...


@dataclass(frozen=True, slots=True)
class WorkflowState:
    """A workflow as the store knows it; `state` is open or closed."""

    id: str
    opener: str
    purposes: tuple[str, ...]
    agents: tuple[str, ...]
    expires: int
    state: str
    version: int


@dataclass(frozen=True, slots=True)
class FactsQuery:
    """Whose facts: an agent in a workflow, and the budget rows that select the call."""

    subject: str
    isolation: str
    workflow: str
    service: str
    rows: tuple[BudgetRow, ...]


@dataclass(frozen=True, slots=True)
class StoredFacts:
    """The store's part of the facts, all of one moment. `halts` are those that cover the query.

    `labels_version` is opaque: it changes exactly when the labels of the session that was asked for do.
    """

    labels: Mapping[str, tuple[str, ...]]
    labels_version: int
    workflow: WorkflowState | None
    halts: tuple[Halt, ...]
    halts_version: int
    budgets: tuple[BudgetRoom, ...]


@dataclass(frozen=True, slots=True)
class Reservation:
    """A reservation as stored; `state` is held, settled, voided or lapsed.

    `spent` is what it has spent for good (nanos); `report_digest` that of the report that ended it.
    """

    decision: str
    subject: str
    workflow: str
    service: str
    variant: str
    owner: str
    amount: int
    spent: int
    deadline: int
    state: str
    report_digest: str


@dataclass(frozen=True, slots=True)
class SpendRow:
    """What was spent, by who and what (nanos), and the usage behind it; for metrics.

    `cost` holds presumed costs too: it falls where a late settlement was lower than what was presumed.
    """

    subject: str
    service: str
    variant: str
    owner: str
    cost: int
    overrun: int
    usage: Mapping[str, int] = field(default_factory=dict)


class Store(Protocol):
    """Ledger, journal, labels, workflows, halts and kept answers: one durable place, one writer."""

    @property
    def failed(self) -> bool:
        """Whether the store has given up for good (its disk failed): nothing will be recorded any more."""
        ...

    @property
    def verifier(self) -> VerifierKey:
        """What an auditor pins: the log's name and the public key that signs its checkpoints."""
        ...

    def activate(self, revision: str) -> None:
        """From now on commits that were judged by another policy revision are refused as `facts_changed`."""
        ...

    async def facts(self, query: FactsQuery) -> StoredFacts:
        """Facts as committed; they may be stale by the time of the commit, which checks their versions."""
        ...

    async def commit(self, commit: Commit) -> Committed | Refused:
        """Perform all of it or nothing; durable before it returns.

        Raises StoreUnavailable; IllegalTransition, NotFound or BadRequest where an effect cannot be, and then
        nothing happened. A caller that is cancelled does not know; its commit happened whole or not at all.
        """
        ...

    async def kept(self, subject: str, rpc: str, key: str) -> Kept | None:
        """The answer kept for an idempotency key."""
        ...

    async def workflow(self, id: str) -> WorkflowState | None:
        """A workflow by id."""
        ...

    async def traced(self, subject: str, trace: str) -> str:
        """The workflow that (subject, trace id) is bound to, or ""."""
        ...

    async def reservation(self, decision: str) -> Reservation | None:
        """The reservation that a decision made."""
        ...

    async def due(self, now: int, limit: int) -> Sequence[Reservation]:
        """Held reservations whose deadline has passed, oldest first."""
        ...

    async def rooms(self, rows: Sequence[BudgetRow]) -> Sequence[BudgetRoom]:
        """What is spent and held in each row, in the same order."""
        ...

    async def used_rows(self, now: int) -> Sequence[BudgetRoom]:
        """Every row of a current window in which something is spent, held or adjusted."""
        ...

    async def halts(self) -> Sequence[Halt]:
        """The halts in force."""
        ...

    async def spending(self) -> Sequence[SpendRow]:
        """Totals since the store began, for metrics."""
        ...

    async def record(self, id: str) -> JournalRow | None:
        """A record by its own id."""
        ...

    async def about(self, ref: str) -> Sequence[JournalRow]:
        """Records that speak of another one (reports, lapses), oldest first."""
        ...

    async def trace(self, workflow: str, limit: int) -> Sequence[JournalRow]:
        """A workflow's records in order."""
        ...

    async def journal(self, after: int, limit: int) -> Sequence[JournalRow]:
        """Records with sequence > after, in order."""
        ...

    async def checkpoints(self) -> Sequence[CheckpointRow]:
        """All signed heads, oldest first."""
        ...

    async def erase(self, id: str, *, by: str, reason: str) -> Committed:
        """Blank the body of a record for good, by a journalled act of `by`, and sign a checkpoint over it.

        Raises NotFound; IllegalTransition where it was erased before; StoreUnavailable.
        """
        ...

    async def prune(self, now: int) -> int:
        """Forget kept answers, passports and trace bindings that have expired; how many. Raises StoreUnavailable."""
        ...

    async def close(self) -> None:
        """Write a last checkpoint, and let go of the file."""
        ...


class Signer(Protocol):
    """Signs what Remit issues (workflow contexts, passports) and verifies what comes back."""

    def sign(self, claims: Mapping[str, object]) -> str:
        """A compact JWS (EdDSA) over the claims; the issuer is added."""
        ...

    def verify(self, token: str, kind: str) -> Mapping[str, object]:
        """The claims of a token of that kind that this installation signed; BadToken for anything else.

        Expiry is the caller's to check: time is not the signer's.
        """
        ...


@dataclass(frozen=True, slots=True)
class Secret:
    """A credential's value: printable ASCII, at least 8 bytes. It is not shown by repr, str or format.

    `origin` is where it came from, for people: `file /secrets/openai` or `environment OPENAI_API_KEY`.
    """

    value: bytes = field(repr=False)
    origin: str


class VaultFailed(RemitError):
    """A credential could not be had: `where`, what was found there, what was expected; never any of its value."""

    def __init__(self, where: str, *, found: str, expected: str) -> None:
        super().__init__(f"{where}: found {found}, expected {expected}")
        self.where = where


class Vault(Protocol):
    """Where the services' own credentials lie."""

    async def secret(self, credential: Credential) -> Secret:
        """The credential as it is now, at most a second old. Raises VaultFailed, also where it has gone."""
        ...

    def known(self) -> Sequence[bytes]:
        """Every value that was handed out and the one before each, distinct: what no response may echo."""
        ...

    def problems(self) -> Sequence[str]:
        """What is wrong with how the credentials are kept, though they can be used; for people, without values."""
        ...


class Endpoints(Protocol):
    """Where services are reached now."""

    def problem(self, service: str, endpoint: str) -> str:
        """Why an endpoint cannot be dialled, "" where it can."""
        ...


class NotResolved(RemitError):
    """A host's addresses could not be had now; the message says why, for people."""


class Resolver(Protocol):
    """Where a host's name leads."""

    async def resolve(self, host: str) -> Sequence[str]:
        """Its IP addresses in a steady order, IPv4 first, at most 64. Raises NotResolved within seconds."""
        ...
