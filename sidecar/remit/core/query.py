"""Reading and writing datasets: what is asked, and what comes back, part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from remit.core.answer import Answer
from remit.core.call import Claimed
from remit.core.view.model import Cell

MAX_PARAMETERS = 256

Row = Sequence[Cell]


@dataclass(frozen=True, slots=True)
class QueryCall:
    """One SELECT by the caller's word; `rows` is the most it wants, 0 for what the dataset allows."""

    dataset: str
    statement: str
    parameters: Mapping[str, Cell]
    claimed: Claimed
    rows: int = 0


@dataclass(frozen=True, slots=True)
class ExecuteCall:
    """One named write; `digest` is that of the request, for the idempotency key."""

    dataset: str
    statement: str
    parameters: Mapping[str, Cell]
    claimed: Claimed
    key: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class MaskedColumn:
    """A column that the agent does not see as it is; `mask` is the kind."""

    table: str
    column: str
    mask: str


@dataclass(frozen=True, slots=True)
class Started:
    """The first part: the decision, and where it permits, (name, type) of the columns, labels, and what is masked.

    `whole` says that all that follows is here, and comes at once.
    """

    answer: Answer
    columns: tuple[tuple[str, str], ...] = ()
    labels: tuple[str, ...] = ()
    masked: tuple[MaskedColumn, ...] = ()
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows, in order."""

    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Ended:
    """The last part, of what was permitted: `failure` is "" or a key of FAILURE_TEXTS; then the rows are not all."""

    rows: int
    bytes: int
    truncated: bool = False
    failure: str = ""


QueryPart = Started | Rows | Ended


@dataclass(frozen=True, slots=True)
class Executed:
    """What a write did. With a `failure` nothing was changed; `replayed`: it had been done before under this key."""

    answer: Answer
    affected: int = 0
    columns: tuple[tuple[str, str], ...] = ()
    rows: Sequence[Row] = field(default=())
    labels: tuple[str, ...] = ()
    replayed: bool = False
    failure: str = ""


FAILURE_TEXTS: Mapping[str, str] = {
    "unavailable": "the database cannot be reached",
    "timed_out": "the statement took longer than the dataset allows",
    "too_costly": "the statement would cost the database more than the dataset allows",
    "bad_statement": "the database does not accept the statement: names or types do not fit",
    "bad_value": "a value could not be computed or stored: a division by zero, an overflow, a cast, a NUL in a text",
    "conflict": "the write would break a constraint of the database",
    "too_many_tokens": "more distinct values would have to be tokenised than are read at once",
    "not_fit": "the database is not as the catalogue says",
    "internal": "the database failed in another way",
    "halted": "a halt ended the answer",
}
"""What an agent is told of a failure, by ports.Failure (and `halted`, Remit's own): all that it is told."""
