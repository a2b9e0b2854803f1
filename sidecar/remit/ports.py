"""What enforcement needs from the world: one small Protocol a port, `<port>_<technology>.py` behind each."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from remit.core.approval import Approval, State
from remit.core.catalogue import Credential
from remit.core.checkpoint import CheckpointRow as CheckpointRow
from remit.core.checkpoint import VerifierKey
from remit.core.claim import Act, Claim
from remit.core.decision import Verdict
from remit.core.effect import Commit, Committed, Kept, Refused
from remit.core.errors import RemitError
from remit.core.journal import JournalRow as JournalRow
from remit.core.journal import Verification
from remit.core.model import BudgetRoom, BudgetRow, Halt
from remit.core.view.model import Cell, Columns, Dialect, Plan, TableView


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

    def reads_time(self, dataset: str) -> bool:
        """Whether the dataset's view depends on `input.context.time`: then it is of this moment alone."""
        ...

    async def view(self, dataset: str, tables: Sequence[str], document: Mapping[str, object]) -> Sequence[TableView]:
        """What a subject sees of these tables; `document` is as for `ask`, with the table as `resource.operation`.

        `document` is asked once for each table, its `resource.operation` and `resource.ref` replaced. A table that no
        rule includes has NO_ROW. Raises PolicyFailure; ViewRefused where no view of it is written; ViewInvalid.
        """
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
    """Whose facts: an agent in a workflow, and the budget rows that select the call.

    `things` are what the action touches (`claim.thing`), whose claims are asked for; `object` the thing in the workflow
    that others may have acted on, "" for none.
    """

    subject: str
    isolation: str
    workflow: str
    service: str
    rows: tuple[BudgetRow, ...]
    things: tuple[str, ...] = ()
    object: str = ""


@dataclass(frozen=True, slots=True)
class StoredFacts:
    """The store's part of the facts, all of one moment. `halts` are those that cover the query, and all of policy.

    `claims` are those on the things that were asked for, held or not; `acts` what other subjects did to the object.
    `labels_version` is opaque: it changes exactly when the labels of the session that was asked for do.
    """

    labels: Mapping[str, tuple[str, ...]]
    labels_version: int
    workflow: WorkflowState | None
    halts: tuple[Halt, ...]
    halts_version: int
    budgets: tuple[BudgetRoom, ...]
    claims: tuple[Claim, ...] = ()
    acts: tuple[Act, ...] = ()


@dataclass(frozen=True, slots=True)
class ApprovalsQuery:
    """Which approvals: every part that says something must hold. `likes` any of these, `bindings` those with an item of
    any of these; `before` an id ("" for the newest); the newest first."""

    ids: tuple[str, ...] = ()
    likes: tuple[str, ...] = ()
    bindings: tuple[str, ...] = ()
    states: tuple[State, ...] = ()
    subject: str = ""
    before: str = ""
    limit: int = 100


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


@dataclass(frozen=True, slots=True)
class Burn:
    """What a budget's row spent for good in the hour that began at `time`; corrections may make it negative."""

    time: int
    spent: int


class Sight(StrEnum):
    """How certain it is that an answer told of a subject."""

    RETURNED = "returned"  # a row of the answer is of it
    REACHED = "reached"  # the statement read a row of it, and may have told of it
    MANY = "many"  # the answer was of more subjects than are recorded by name


@dataclass(frozen=True, slots=True)
class Sighting:
    """A decision whose answer told, or may have told, of a subject."""

    decision: JournalRow
    sight: Sight


class Store(Protocol):
    """Ledger, journal, labels, workflows, halts and kept answers: one durable place.

    Its journal has a log for each writer; what asks for no log by name means this writer's own.
    """

    @property
    def failed(self) -> bool:
        """Whether the store has given up for good (its disk failed): nothing will be recorded any more."""
        ...

    @property
    def log(self) -> str:
        """The name of this writer's log."""
        ...

    @property
    def verifier(self) -> VerifierKey:
        """What an auditor pins: the log's name and the public key that signs its checkpoints."""
        ...

    @property
    def checkpoint(self) -> CheckpointRow | None:
        """The last signed head of this writer's log; None before its first."""
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

    async def unresolved(self, since: int, limit: int) -> Sequence[Reservation]:
        """What was allowed and never reported: held, or lapsed with a deadline from `since` on; the oldest first."""
        ...

    async def approvals(self, query: ApprovalsQuery) -> Sequence[Approval]:
        """Approvals, with their items."""
        ...

    async def pending_approvals(self) -> Mapping[str, int]:
        """The versions of all that are pending, by their ids; the oldest first."""
        ...

    async def approvals_version(self) -> int:
        """Moves whenever an approval is opened, joined or moved."""
        ...

    async def due_approvals(self, now: int, limit: int) -> Sequence[Approval]:
        """Pending ones whose deadline has passed, oldest first."""
        ...

    async def claim(self, key: str) -> Claim:
        """The claim on a thing; where it was never taken, nobody's with the token that its first is to be above."""
        ...

    async def claims(self, now: int, limit: int) -> Sequence[Claim]:
        """What is held now, the oldest first."""
        ...

    async def due_claims(self, now: int, limit: int) -> Sequence[Claim]:
        """What was held and has expired, oldest first."""
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
        """A workflow's records in order; of several logs in that of time."""
        ...

    async def workflows(self, before: str, limit: int) -> Sequence[WorkflowState]:
        """Workflows with a lower id, the newest first; "" begins with the newest."""
        ...

    async def latest(self, before: int, limit: int) -> Sequence[JournalRow]:
        """Decisions of an earlier time, the newest first; 0 begins with the newest."""
        ...

    async def burned(self, row: BudgetRow) -> Sequence[Burn]:
        """What was spent in a row, hour by hour, oldest first; hours without spending are left out."""
        ...

    async def sightings(self, table: str, subject: str, limit: int) -> Sequence[Sighting]:
        """Who saw a subject: `table` is "dataset.table", `subject` its keyed hash; the newest first."""
        ...

    async def journal(self, after: int, limit: int) -> Sequence[JournalRow]:
        """Records of this writer's log with sequence > after, in order."""
        ...

    async def checkpoints(self) -> Sequence[CheckpointRow]:
        """All signed heads of this writer's log, oldest first."""
        ...

    async def verify(self) -> Sequence[Verification]:
        """Sign what is recorded by now, and read the whole journal: what was found in each log, by its name.

        May take a while. Raises StoreUnavailable.
        """
        ...

    async def erase(self, id: str, *, by: str, reason: str) -> Committed:
        """Blank the body of a record for good, by a journalled act of `by`, and sign a checkpoint over it.

        Raises NotFound; IllegalTransition where it was erased before; StoreUnavailable.
        """
        ...

    async def prune(self, now: int) -> int:
        """Forget kept answers, passports, trace bindings and acts that have expired, and approvals and free claims that
        ended a month ago; how many. No claim's token is ever given again. Raises StoreUnavailable."""
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


class WebhookFailed(RemitError):
    """An event was not taken; the message says why, and nothing of the address but its host."""


class Webhook(Protocol):
    """Somebody outside who is told of approvals."""

    async def post(self, event: Mapping[str, object]) -> None:
        """Tell of an event; it returns once that has been taken. Raises WebhookFailed within seconds."""
        ...


class Failure(StrEnum):
    """How a database failed; each is one fixed text for the agent, whatever the database said."""

    UNAVAILABLE = "unavailable"  # it cannot be reached, or went away
    TIMED_OUT = "timed_out"  # longer than the dataset's limit
    TOO_COSTLY = "too_costly"  # planned, or stepped, beyond the dataset's limit
    BAD_STATEMENT = "bad_statement"  # types or names do not fit: the database does not accept it
    BAD_VALUE = "bad_value"  # a value cannot be computed or stored: division by zero, overflow, a cast, NUL in a text
    CONFLICT = "conflict"  # a write would break a constraint
    TOO_MANY_TOKENS = "too_many_tokens"  # more distinct values to tokenise than are read at once
    NOT_FIT = "not_fit"  # the database is not as the catalogue says: a table, a column, a right is missing
    INTERNAL = "internal"  # anything else


class DatabaseFailed(RemitError):
    """A database did not answer. `detail` is for the operator's log alone: it may hold data.

    `code` is the database's own ("SQLSTATE 42702", "SQLITE_ERROR"), and holds none; `absent`: a name was not there.
    """

    def __init__(self, failure: Failure, detail: str = "", *, code: str = "", absent: bool = False) -> None:
        super().__init__(failure.value)
        self.failure = failure
        self.detail = detail
        self.code = code
        self.absent = absent

    @property
    def told(self) -> str:
        """What may be logged of it whatever it is: "bad_statement, SQLSTATE 42702"."""
        return f"{self.failure.value}, {self.code}" if self.code else self.failure.value


class NotPerformed(DatabaseFailed):
    """A write that was only to be looked up has not been performed, as far as the database knows now."""

    def __init__(self) -> None:
        super().__init__(Failure.UNAVAILABLE, "it has not been performed")


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of an answer."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one reading takes; rows and bytes end it (`truncated`), the others fail it. `cost` 0 is any."""

    rows: int
    bytes: int
    seconds: float
    cost: int = 0


class Reading(Protocol):
    """One answer, read as it is asked for. Rows have the agent's columns first, then the plan's hidden ones."""

    @property
    def columns(self) -> Sequence[ResultColumn]:
        """The agent's columns, without the hidden ones."""
        ...

    @property
    def subjects(self) -> Mapping[str, Sequence[str]]:
        """The keys that the plan's subject queries found, by table."""
        ...

    @property
    def truncated(self) -> bool:
        """Whether a limit ended it; known when the rows have ended."""
        ...

    @property
    def bytes(self) -> int:
        """How many bytes the rows had so far."""
        ...

    def batches(self) -> AsyncGenerator[Sequence[Sequence[Cell]], None]:
        """The rows, some hundreds at a time, none empty. Raises DatabaseFailed."""
        ...


@dataclass(frozen=True, slots=True)
class Write:
    """A named write: `sql` has `:name` places. `execution` is the decision's id: the same one is performed once.

    `limits.rows` bounds what it may return. Without `perform` it is only looked up: NotPerformed where it is not there.
    """

    execution: str
    sql: str
    parameters: Mapping[str, Cell]
    limits: Limits
    perform: bool = True


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did: `affected` rows, and what it returned. `replayed`: it had been done before."""

    affected: int
    columns: Sequence[ResultColumn] = ()
    rows: Sequence[Sequence[Cell]] = ()
    replayed: bool = False


class Database(Protocol):
    """One dataset's database."""

    @property
    def dialect(self) -> Dialect:
        """Whose SQL it takes."""
        ...

    async def columns(self) -> Columns:
        """The types of the catalogue's tables and columns, asked once.

        Raises DatabaseFailed; NOT_FIT where something of them is missing, and its detail says what.
        """
        ...

    def read(self, plan: Plan, parameters: Mapping[str, Cell], limits: Limits) -> AbstractAsyncContextManager[Reading]:
        """Run a plan, read-only, in one snapshot. Raises DatabaseFailed.

        Leaving ends it, whether all was read or not.
        """
        ...

    async def write(self, write: Write) -> Written:
        """Perform a named write in one transaction, once. Raises DatabaseFailed."""
        ...


class Databases(Protocol):
    """The databases of the datasets in force."""

    def of(self, dataset: str) -> Database | None:
        """The database of a dataset; None where it names none."""
        ...


class Tokenizer(Protocol):
    """Turns values into tokens and back: AES-SIV, deterministic within a domain. A token is opaque text."""

    def token(self, value: str, domain: str, labels: Sequence[str]) -> str:
        """The token of a value. The same value, domain and labels give the same token."""
        ...

    def value(self, token: str) -> tuple[str, str, tuple[str, ...]] | None:
        """(value, domain, labels) of a token that this installation made; None for anything else."""
        ...

    def pad(self, domain: str, which: str) -> bytes:
        """A key block for HMAC-SHA-256 in a database: the domain's key XOR `inner` (0x36) or `outer` (0x5c)."""
        ...
