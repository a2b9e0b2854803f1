"""What one commit does: plain values that the pipeline decides and a store performs, all or none.

A commit names the versions that the decision was made on, the effects, and the record. The store checks the
versions, applies the guarded effects and appends the record in one durable transaction; where any check or
guard fails, nothing of it happens and the store says which (`Refused`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from remit.core.approval import Approval, Item
from remit.core.claim import Claim
from remit.core.model import BudgetRow, Halt, Versions
from remit.core.reason import Reason


@dataclass(frozen=True, slots=True)
class Reserve:
    """Set `amount` nanos aside in every row, or in none. The reservation's id is its decision's.

    0 needs no room: nothing is set aside, and the real cost is booked in the rows when it is known.
    """

    decision: str
    subject: str
    workflow: str
    service: str
    variant: str
    owner: str
    rows: tuple[BudgetRow, ...]
    amount: int
    deadline: int  # ns; lapses when it has passed


@dataclass(frozen=True, slots=True)
class EndReservation:
    """End a reservation: `how` is settled, voided or lapsed; `cost` in nanos is what is spent for good.

    Settling a lapsed one replaces the presumption, once. `usage` is what was reported, per unit.
    """

    decision: str
    how: str
    cost: int
    usage: Mapping[str, int]
    digest: str  # of the report, so that the same report again is a replay ("" when lapsed)


@dataclass(frozen=True, slots=True)
class ProlongReservation:
    """Move a held reservation's deadline on (progress was reported); never back."""

    decision: str
    deadline: int


@dataclass(frozen=True, slots=True)
class JoinLabels:
    """Add labels to a subject's session in a workflow ("" is the standing session): label -> source decision."""

    subject: str
    workflow: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OpenWorkflow:
    """Start a workflow; `labels` are those the opener held, which the workflow starts with."""

    id: str
    opener: str
    purposes: tuple[str, ...]
    agents: tuple[str, ...]
    expires: int
    trace: str
    labels: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class CloseWorkflow:
    """End a workflow. Only a close by another subject ends an agent's share of labels in it."""

    id: str
    by: str


@dataclass(frozen=True, slots=True)
class BindTrace:
    """Calls of `subject` with just this trace id join the workflow."""

    subject: str
    trace: str
    workflow: str


@dataclass(frozen=True, slots=True)
class UsePassport:
    """Use a passport, once; kept until it would have expired anyway."""

    id: str
    by: str
    expires: int


@dataclass(frozen=True, slots=True)
class PlaceHalt:
    """Stop a scope, from the next commit on."""

    halt: Halt


@dataclass(frozen=True, slots=True)
class LiftHalt:
    """Resume what a halt stopped."""

    id: str
    by: str


@dataclass(frozen=True, slots=True)
class AdjustBudget:
    """Add `delta` nanos (may be negative) to the limit of one row's window."""

    row: BudgetRow
    delta: int


@dataclass(frozen=True, slots=True)
class LapseSlice:
    """Presume spent the `left` nanos of a slice whose writer (`log`) is gone; only where writers share a store.

    What the writer ships later is taken out of the presumption.
    """

    log: str
    row: BudgetRow
    left: int


@dataclass(frozen=True, slots=True)
class KeepAnswer:
    """Keep an answer for the same idempotency key: scoped to (subject, rpc), bound to the request's digest.

    The first answer stays, unless it is `provisional` (a HOLD): then the next for the same digest takes its place.
    Else refused as `idempotency_mismatch`.
    """

    subject: str
    rpc: str
    key: str
    digest: str
    answer: bytes
    expires: int
    provisional: bool = False


@dataclass(frozen=True, slots=True)
class SeeSubjects:
    """An answer tells of subjects: `table` is "dataset.table", `subjects` their keyed hashes, `sight` how certain
    it is (ports.Sight). For `many` there are no hashes. Its decision's record is there, or the commit's own.

    The same again changes nothing; of two sights of one subject by one decision the more certain stays.
    """

    decision: str
    table: str
    sight: str
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenApproval:
    """A new request, with its one item. Refused as `facts_changed` where a pending one is alike (the same `like`), as
    `approvals_exhausted` where MOST_PENDING of the subject wait."""

    approval: Approval


@dataclass(frozen=True, slots=True)
class JoinApproval:
    """A like hold joins a pending request: its item is added, or takes the place of the one with its binding, and the
    version moves on. Refused as `facts_changed` where it is not pending at that version, or its deadline has passed.

    `same`: the item is there as it is; it was asked once more, which moves no version and needs none.
    """

    id: str
    version: int
    item: Item
    same: bool = False


@dataclass(frozen=True, slots=True)
class MoveApproval:
    """An approval becomes this one; it was at the version before. Refused as `facts_changed` where it is not.

    Its uses are not changed, and a state that its own cannot become (`approval.MOVES`) is illegal, as is an approved
    one without as many distinct approving votes as its quorum, or with one of its requester's.
    """

    approval: Approval


@dataclass(frozen=True, slots=True)
class UseGrant:
    """One use of a grant, by its binding, for `amount` nanos at the most. Refused as `facts_changed` where it is not
    approved, has expired, has no use left, or the cost of all its uses would come above its bound."""

    id: str
    binding: str
    amount: int


@dataclass(frozen=True, slots=True)
class TakeClaim:
    """Take a thing, or renew it (the token stays). `before` is its token as it was read, 0 where it was never taken.

    Refused as `claim_held` where somebody else holds it, as `facts_changed` where its token is another by now, as
    `claims_exhausted` where the subject holds MOST_CLAIMS others.
    """

    claim: Claim
    before: int


@dataclass(frozen=True, slots=True)
class ReleaseClaim:
    """Let go of a thing: by its holder, or as it has `lapsed`. NotFound where it is not held so by that token;
    IllegalTransition where it has not lapsed."""

    key: str
    subject: str
    workflow: str
    token: int
    lapsed: bool = False


@dataclass(frozen=True, slots=True)
class RespectClaims:
    """Refused as `claim_held` where anybody else holds one of the things; as `claim_lost` where `token` is not 0 and
    the subject does not hold one of them by it."""

    keys: tuple[str, ...]
    subject: str
    workflow: str
    token: int = 0


@dataclass(frozen=True, slots=True)
class NoteAct:
    """An agent does something to an object in a workflow. Refused as `facts_changed` where others have done other
    things to it there than `seen` (so many rows of others); the same again changes nothing but its time."""

    workflow: str
    object: str
    subject: str
    operation: str
    decision: str
    seen: int
    expires: int


OversightEffect = (
    OpenApproval | JoinApproval | MoveApproval | UseGrant | TakeClaim | ReleaseClaim | RespectClaims | NoteAct
)

Effect = (
    Reserve
    | EndReservation
    | ProlongReservation
    | JoinLabels
    | OpenWorkflow
    | CloseWorkflow
    | BindTrace
    | UsePassport
    | PlaceHalt
    | LiftHalt
    | AdjustBudget
    | LapseSlice
    | KeepAnswer
    | SeeSubjects
    | OversightEffect
)


@dataclass(frozen=True, slots=True)
class Record:
    """One entry for the journal. `ref` names the record that it speaks of ("" for none).

    `body` is canonical JSON; `salt` is 16 random bytes, so that an erased body's hash tells nothing.
    """

    kind: str
    id: str
    time: int
    subject: str
    workflow: str
    parent: str
    ref: str
    body: bytes
    salt: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """One caller's transaction. `versions` None where nothing was judged on facts (settling, lapsing).

    `subject`/`workflow` name whose label and workflow versions are meant; `action` what was decided on, "" for nothing.
    """

    record: Record
    effects: tuple[Effect, ...] = ()
    versions: Versions | None = None
    subject: str = ""
    workflow: str = ""
    action: str = ""


@dataclass(frozen=True, slots=True)
class Committed:
    """The record's place in the journal, durable by now."""

    log: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing of the commit happened. `name` says what refused: a budget's row, a version, a key."""

    reason: Reason
    name: str


@dataclass(frozen=True, slots=True)
class Kept:
    """The answer that an idempotency key already has; a `provisional` one waits for something."""

    digest: str
    answer: bytes
    provisional: bool = False
