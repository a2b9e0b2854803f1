"""One plan run on one connection, in one snapshot; everything here runs in the thread of the statement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import apsw

from remit.backends.bindings import bound
from remit.backends.database_sqlite.connection import as_text, bindable, limit_length
from remit.backends.database_sqlite.failure import failed
from remit.backends.database_sqlite.wall import Objects, Wall
from remit.backends.database_sqlite.watch import Watch
from remit.backends.row_meter import RowMeter, row_size
from remit.core.view.model import MAX_SUBJECTS, Cell, Plan, Text
from remit.ports import DatabaseFailed, Failure, Limits, ResultColumn, Tokenizer

BATCH_ROWS = 500
BATCH_BYTES = 1 << 20

_NAMES = {int: "integer", float: "real", str: "text", bytes: "blob"}


class Opened:
    """A connection, which file it is of, and what its schema held when that was last looked at."""

    def __init__(self, connection: apsw.Connection, file: tuple[int, int]) -> None:
        self.connection = connection
        self.file = file
        self._objects: Objects | None = None

    def objects(self) -> Objects:
        """The schema of the snapshot."""
        kept = self._objects
        if kept is None or kept.version != self.connection.execute("PRAGMA schema_version").get:
            self._objects = kept = Objects(self.connection)
        return kept


class Run:
    """A plan under way. `start`, `next` while not `ended`, and `finish` whatever happened."""

    def __init__(
        self, opened: Opened, plan: Plan, parameters: Mapping[str, Cell], limits: Limits, watch: Watch
    ) -> None:
        self._opened = opened
        self._connection = opened.connection
        self._plan = plan
        self._parameters = parameters
        self._watch = watch
        self._limits = limits
        self._cursor = opened.connection.cursor()
        self._cursor.exec_trace = self._prepared
        self._wall: Wall | None = None
        self._described: tuple[tuple[str, str | None], ...] = ()
        self._rows: Iterator[tuple[Any, ...]] = iter(())
        self._meter = RowMeter(limits, 0)
        self._running = False
        self.columns: tuple[ResultColumn, ...] = ()
        self.subjects: dict[str, Sequence[str]] = {}
        self.ended = False

    @property
    def meter(self) -> RowMeter:
        """What went through so far."""
        return self._meter

    def start(self, tokenizer: Tokenizer) -> list[tuple[Cell, ...]]:
        """Begin the snapshot; the first rows. Raises DatabaseFailed."""
        self._watch.check()
        self._watch.put_on(self._connection, reads=True)
        limit_length(self._connection, self._limits.bytes)
        with self._failing():
            self._connection.execute("BEGIN")
            objects = self._opened.objects()
            self._connection.authorizer = self._wall = Wall(self._plan, objects, self._connection)
            for subject in self._plan.subjects:
                rows = islice(self._executed(subject.text, tokenizer), MAX_SUBJECTS + 1)
                self.subjects[subject.table] = [as_text(row[0]) for row in rows if row[0] is not None]
            self._rows = self._executed(self._plan.text, tokenizer)
            first = self._batch()
            self.columns = self._named(first)
        visible = len(self.columns) - len(self._plan.hidden)
        self.columns = self.columns[:visible]
        self._meter = RowMeter(self._limits, visible)
        return self._fitting(first)

    def next(self) -> list[tuple[Cell, ...]]:
        """The next rows that fit; none once `ended`. Raises DatabaseFailed."""
        self._watch.check()
        with self._failing():
            rows = self._batch()
        return self._fitting(rows)

    def finish(self) -> None:
        """End the snapshot. A connection that stays in its transaction is not used again."""
        self._connection.authorizer = None
        with suppress(apsw.Error):
            self._cursor.close(True)
        with suppress(apsw.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _executed(self, text: Text, tokenizer: Tokenizer) -> apsw.Cursor:
        """The cursor at the first row. What is kept prepared was let through another wall: it is prepared anew."""
        values = [bindable(each) for each in bound(text.bindings, self._parameters, tokenizer)]
        self._running = False
        return self._cursor.execute(text.sql, values, can_cache=False)

    def _prepared(self, cursor: apsw.Cursor, _sql: str, _values: object) -> bool:
        """Called of each statement of a text before its first step: there is one, and it reads."""
        if self._running or cursor.is_explain or not cursor.is_readonly:
            return False
        self._running = True
        self._described = cursor.get_description()
        return True

    def _batch(self) -> list[tuple[Cell, ...]]:
        rows: list[tuple[Cell, ...]] = []
        size = 0
        for row in self._rows:
            rows.append(row)
            size += row_size(row)
            if len(rows) == BATCH_ROWS or size > BATCH_BYTES:
                return rows
        self.ended = True
        return rows

    def _fitting(self, rows: list[tuple[Cell, ...]]) -> list[tuple[Cell, ...]]:
        fitting = self._meter.fitting(rows)
        self.ended = self.ended or self._meter.truncated
        return fitting

    def _named(self, first: list[tuple[Cell, ...]]) -> tuple[ResultColumn, ...]:
        """Of a column of a table its declared type, of another the type of its first value."""
        return tuple(
            ResultColumn(name, (declared or _NAMES.get(type(first[0][index] if first else None), "")).lower())
            for index, (name, declared) in enumerate(self._described)
        )

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except apsw.InterruptError:
            raise self._watch.failed() from None
        except (apsw.Error, ValueError, TypeError, OverflowError) as error:
            if self._wall is not None and self._wall.refused:
                detail = f"the plan does not say that it needs {self._wall.refused}"
                raise DatabaseFailed(Failure.INTERNAL, detail) from None
            raise failed(error, running=self._running, planned=True) from None
