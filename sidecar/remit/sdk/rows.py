"""Rows as an agent gets them, and as Arrow and pandas hold them where those are installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from remit.sdk.answers import Decision
from remit.sdk.frames import arrow_table, data_frame
from remit.sdk.values import Value

Row = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an answer; `type` is the database's own word."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Masked:
    """A column that is not shown as it is; `mask` is null, constant, hash, partial, bucket, round or tokenize."""

    table: str
    column: str
    mask: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of an answer before its rows: the decision, their columns and labels, and what is masked."""

    decision: Decision
    columns: tuple[Column, ...]
    labels: tuple[str, ...]
    masked: tuple[Masked, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)


@dataclass(frozen=True, slots=True)
class Rows(Sequence[Row]):
    """Rows in their order, each a dict; and what the sidecar said of them.

    `truncated`: a limit (yours or the dataset's) ended the answer before all rows were there.
    """

    answer: Answer
    truncated: bool = False
    values: Sequence[tuple[Value, ...]] = field(default=(), repr=False)

    @property
    def decision(self) -> Decision:
        """The decision that permitted it."""
        return self.answer.decision

    @property
    def columns(self) -> tuple[Column, ...]:
        """Names and types, in order."""
        return self.answer.columns

    @property
    def labels(self) -> tuple[str, ...]:
        """What the answer carries; they have joined the session."""
        return self.answer.labels

    @property
    def masked(self) -> tuple[Masked, ...]:
        """What of it is not shown as it is."""
        return self.answer.masked

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        names = self.answer.names
        if isinstance(index, slice):
            return [dict(zip(names, values, strict=True)) for values in self.values[index]]
        return dict(zip(names, self.values[index], strict=True))

    def __iter__(self) -> Iterator[Row]:
        names = self.answer.names
        return (dict(zip(names, values, strict=True)) for values in self.values)

    def arrow(self) -> Any:
        """A pyarrow.Table. Raises ImportError where pyarrow is not installed, TypeError for what has no Arrow type."""
        return arrow_table([(column.name, column.type) for column in self.columns], self.values)

    def pandas(self) -> Any:
        """A pandas.DataFrame of Arrow's types: NULL, decimals and days stay what they are. Needs pyarrow too."""
        return data_frame(self.arrow())


@dataclass(frozen=True, slots=True)
class Executed:
    """What a write did: how many rows it changed, and those that it returned.

    `replayed`: it had been done before under this key, and this is what it did then.
    """

    affected: int
    rows: Rows
    replayed: bool

    @property
    def decision(self) -> Decision:
        """The decision that permitted it."""
        return self.rows.decision
