"""A stage over a database full of canaries, and everything that a query can bring out of it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import orjson
import yaml
from counts import dice
from fakes.canaries import Sink
from fakes.leak_grammar import Made
from fakes.leak_world import POLICY, World, fill_postgres, fill_sqlite, tables, world
from fakes.postgres_server import PostgresServer, fresh_database
from fakes.views_stage import Answered, Stage, views_stage
from google.protobuf.json_format import MessageToDict
from remit.core.query import QueryPart
from remit.core.view.model import Dialect
from remit.listeners.grpc_query import messages

AGENT = "probe"
ROWS = 60
PASSWORD = "LEAKS_READER"
_SHORT = 3  # characters of a cell that is joined with those above and below it


class Sinks:
    """All that came out of many queries; alike things are kept once."""

    def __init__(self) -> None:
        self.cells: set[str] = set()
        self.told: set[str] = set()
        self.joined: set[str] = set()
        self.raised: list[str] = []
        self.kinds: Counter[str] = Counter()

    def add(self, answered: Answered, currency: str) -> None:
        """The cells, the columns of short cells read downwards, and what goes over the wire besides."""
        self.kinds[answered.failure or ("answered" if answered.allowed else "refused")] += 1
        for row in answered.rows:
            self.cells.update(map(_written, row))
        for column in zip(*answered.rows, strict=True):
            self.joined.add("".join(text for text in map(_written, column) if len(text) <= _SHORT))
        parts: list[QueryPart] = [answered.started, *([answered.ended] if answered.ended else [])]
        for part in parts:
            for message in messages(part, currency):
                self.told.update(_leaves(MessageToDict(message)))

    def found(self) -> dict[str, Sink]:
        """By name."""
        return {
            "rows": "\n".join(sorted(self.cells)),
            "rows read downwards": "\n".join(sorted(self.joined)),
            "parts": "\n".join(sorted(self.told)),
            "errors": "\n".join(self.raised),
        }


async def ask(stage: Stage, statements: Iterable[Made], sinks: Sinks, *, at_once: int = 4) -> None:
    """Ask them all, some at once. What is raised is kept: nothing should be."""
    waiting = iter(statements)

    async def one_after_another() -> None:
        for made in waiting:
            try:
                answered = await stage.query(AGENT, made.sql, rows=ROWS, **made.parameters)
            except Exception as error:
                sinks.raised.append(f"{made.sql}: {type(error).__name__}: {error}")
                continue
            sinks.add(answered, stage.catalogue.currency)

    await asyncio.gather(*(one_after_another() for _ in range(at_once)))


async def left(stage: Stage) -> dict[str, Sink]:
    """What the stage itself keeps of it: log, metrics, what the journal's records say, and the store's files."""
    said = {leaf for row in stage.records() for leaf in _leaves(orjson.loads(row.record.body))}
    return {**await stage.sinks(), "journal": "\n".join(sorted(said))}


@asynccontextmanager
async def leak_stage(
    dialect: Dialect, place: Path, server: PostgresServer | None, *, filled: World | None = None
) -> AsyncIterator[tuple[Stage, World]]:
    """A stage over one world; half of the hidden rows of a new one are traps."""
    filled = filled or world(dice("shown"), dice("hidden"), traps=0.5)
    with _database(dialect, place, server, filled) as (url, environment), _talkative():
        stage = views_stage(place, _catalogue(dialect, url), {"views.rego": POLICY}, environment=environment)
        async with stage as made:
            yield made, filled


@contextmanager
def _database(
    dialect: Dialect, place: Path, server: PostgresServer | None, filled: World
) -> Iterator[tuple[str, dict[str, str]]]:
    if dialect is Dialect.SQLITE:
        fill_sqlite(filled, place / "crm.db")
        yield f"sqlite://{place / 'crm.db'}", {}
        return
    assert server is not None
    with fresh_database(server) as database:
        fill_postgres(filled, database)
        yield database.reader, {PASSWORD: database.reader_password}


@contextmanager
def _talkative() -> Iterator[None]:
    """Libraries log what they can, as somebody who looks for a fault may let them."""
    loggers = [logging.getLogger(name) for name in ("psycopg", "psycopg.pool", "sqlglot", "remit", "grpc", "apsw")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def _catalogue(dialect: Dialect, url: str) -> str:
    source: dict[str, Any] = {"url": url}
    if dialect is Dialect.POSTGRES:
        source["credential"] = {"environment": PASSWORD}
    described: dict[str, Any] = {
        "currency": "EUR",
        "teams": {"cx": {"contact": "#cx"}},
        "agents": {AGENT: {"team": "cx"}},
        "datasets": {
            "crm": {
                "owner": "cx",
                **source,
                "limits": {"rows": 1_000, "bytes": 1 << 20, "seconds": 5},
                "tables": {
                    name: {
                        "source": table.source,
                        "columns": {column: [] for column in table.columns},
                        **({"subject_key": table.subject_key} if table.subject_key else {}),
                    }
                    for name, table in tables(dialect).items()
                },
            }
        },
    }
    return yaml.safe_dump(described)


def _written(cell: object) -> str:
    return cell if isinstance(cell, str) else cell.decode("latin-1") if isinstance(cell, bytes) else repr(cell)


def _leaves(value: object) -> Iterator[str]:
    """Every name and value in what was JSON."""
    match value:
        case dict():
            yield from map(str, value)
            for each in value.values():
                yield from _leaves(each)
        case list():
            for each in value:
                yield from _leaves(each)
        case _:
            yield str(value)
