"""`remit query`: one SELECT, asked as an agent."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import Any, cast

import click
from rich.table import Table

from remit.cli.cells import document, shown
from remit.cli.connection import Connection, connected, explained_error
from remit.cli.failure import Failure, Refused
from remit.cli.screen import note, show
from remit.cli.text import clean, counted
from remit.sdk.address import Target
from remit.sdk.agent import Agent
from remit.sdk.errors import DataFailed, Denied, RemitError
from remit.sdk.query import Query
from remit.sdk.question import Grounds
from remit.sdk.rows import Answer
from remit.sdk.values import Value

SCREENFUL = 100
"""Rows of a table, where nothing else is said."""

SECONDS = 300.0
"""For a whole answer, as in the SDK: longer than a dataset's own limit, whose end is the one to be told."""

MAX_STATEMENT_BYTES = 64 * 1024
_TRUTHS = {"true": True, "false": False}


def _span(text: str) -> timedelta:
    return timedelta(microseconds=int(Decimal(text) * 1_000_000))


TYPES: Mapping[str, Callable[[str], Value]] = {
    "text": str,
    "integer": int,
    "real": float,
    "decimal": Decimal,
    "boolean": _TRUTHS.__getitem__,
    "bytes": bytes.fromhex,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timestamp": datetime.fromisoformat,
    "interval": _span,
    "null": {"": None}.__getitem__,
}


class Parameter(click.ParamType[tuple[str, Value]]):
    """NAME=TEXT, or NAME:TYPE=VALUE for what is not text."""

    name = "NAME[:TYPE]=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Value]:
        """The name and the value."""
        left, found, text = str(value).partition("=")
        name, _, kind = left.partition(":")
        read = TYPES.get(kind or "text")
        if not found or not name or read is None:
            known = ", ".join(TYPES)
            self.fail(f"expected NAME=TEXT or NAME:TYPE=VALUE with a type of {known}; found {value!r}", param, ctx)
        try:
            return name, read(text)
        except (ValueError, KeyError, InvalidOperation, OverflowError):
            self.fail(f"expected a value of type {kind} for {name}, found {text[:80]!r}", param, ctx)


@click.command("query")
@click.argument("dataset")
@click.argument("statement", metavar="SQL|@FILE|-")
@click.option("--param", "parameters", multiple=True, type=Parameter(), help="The value of a `:name` place.")
@click.option("--rows", type=click.IntRange(1, 10**9), help=f"At most so many rows; {SCREENFUL} for a table.")
@click.option("--workflow", default="", help="The signed context of the workflow.")
@click.option("--purpose", default="", help="What for.")
@click.option("--reason", default="", help="Why, for people.")
@click.option("--json", "as_json", is_flag=True, help="Print each row as a JSON object on a line of its own.")
@partial(connected, seconds=SECONDS)
def command(connection: Connection, dataset: str, statement: str, as_json: bool, **asked: Any) -> None:
    """Read DATASET by one SELECT, with REMIT_TOKEN as the agent's credential, through that agent's views.

    Rows go to stdout; the decision, labels and masked columns to stderr. Exit code 1: denied, or the database failed.

    Example: remit query crm "SELECT id, region FROM customers WHERE id = :id" --param id:integer=4711
    """
    target = connection.target(person=False)
    most = asked.pop("rows") or (0 if as_json else SCREENFUL)
    parameters = _once(asked.pop("parameters"))
    grounds = cast(Grounds, {"timeout": connection.timeout, **{key: value for key, value in asked.items() if value}})
    text = _statement(statement)

    def ask(agent: Agent) -> Query:
        return agent.query(text, dataset=dataset, parameters=parameters, rows=most, **grounds)

    asyncio.run(_read(target, ask, _print_lines if as_json else _print_table, most))


def _once(given: Sequence[tuple[str, Value]]) -> dict[str, Value]:
    """Each name with its value: nobody knows which of two was meant."""
    parameters = dict(given)
    if len(parameters) < len(given):
        names = [name for name, _ in given]
        twice = next(name for name in names if names.count(name) > 1)
        raise Failure(f"--param: expected one value for {twice[:80]!r}, found several")
    return parameters


def _statement(given: str) -> str:
    """The statement itself, or what stands in a file or on stdin."""
    try:
        if given == "-":
            return sys.stdin.read(MAX_STATEMENT_BYTES + 1)
        if given.startswith("@"):
            with Path(given[1:]).open(encoding="utf-8") as file:
                return file.read(MAX_STATEMENT_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Failure(f"expected a statement in {given}, but it cannot be read: {why}") from error
    return given


async def _read(target: Target, ask: Callable[[Agent], Query], tell: Callable[[Query], Any], most: int) -> None:
    try:
        async with Agent(target) as agent, ask(agent) as query:
            _note_answer(query.answer)
            count = await tell(query)
            note(f"{counted(count, 'row')}{_more(query, count, most)}")
    except Denied as denied:
        reasons = [f"  {each.policy}  {each.code}  {each.message}" for each in denied.reasons]
        raise Refused(f"{denied.decision.effect.value}  {denied.decision.id}", *reasons) from denied
    except DataFailed as failed:
        raise Refused(str(failed)) from failed
    except RemitError as error:
        raise explained_error(error, target) from error


def _more(query: Query, count: int, most: int) -> str:
    """That these are not all, and whose limit it was."""
    if not query.truncated:
        return ""
    return "; there are more: see --rows" if count == most else "; there are more, beyond the dataset's limits"


def _note_answer(answer: Answer) -> None:
    decision = answer.decision
    observed = "" if decision.effect == "ALLOW" else f"; {decision.effect.value}, observed only: let through"
    note(f"decision {decision.id}{observed}")
    if answer.labels:
        note(f"labels {', '.join(answer.labels)}")
    if answer.masked:
        note(f"masked {', '.join(f'{each.table}.{each.column} ({each.mask})' for each in answer.masked)}")


async def _print_lines(query: Query) -> int:
    names, count = query.answer.names, 0
    async with aclosing(query.batches()) as batches:
        async for batch in batches:
            count += len(batch)
            for values in batch:
                click.echo(json.dumps(dict(zip(names, map(document, values), strict=True))))
    return count


async def _print_table(query: Query) -> int:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in query.answer.names:
        table.add_column(clean(name), overflow="fold")
    try:
        async with aclosing(query.batches()) as batches:
            async for batch in batches:
                for values in batch:
                    table.add_row(*map(shown, values))
    finally:
        # Rows before a failure were read and recorded: they are shown.
        if query.answer.names:
            show(table)
    return table.row_count
