"""Two databases that differ in hidden cells alone cannot be told apart: the same rows and the same errors.

Hidden are rows that the filter removes, and how many there are; cells under masks that show nothing of them; columns
and tables that the catalogue does not list. Not held to it are time, and the order of rows that no ORDER BY asks for.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from counts import PROFILE, dice
from fakes.leak_attacks import attacks
from fakes.leak_grammar import Grammar, Made
from fakes.leak_pairs import Pair, postgres_pair, sqlite_pair, unfenced, worlds
from fakes.leak_stage import AGENT, leak_stage
from fakes.leak_world import AIMS, KINDS
from fakes.loop import in_loop
from fakes.postgres_server import PostgresServer
from fakes.views_stage import Answered, Stage
from remit.core.view.model import Dialect

pytestmark = [pytest.mark.opa, pytest.mark.timeout(300)]

QUERIES = {"ci": 150, "soak": 10_000}[PROFILE]
STAGED = {"ci": 40, "soak": 1_000}[PROFILE]
AIMED = 4_000  # at most, until the planted bug is found: one in thirty finds it

BOTH = pytest.mark.parametrize("dialect", list(Dialect), ids=lambda each: each.value)


@asynccontextmanager
async def pair_of(dialect: Dialect, place: Path, request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """Twins; a server is only started where one is needed."""
    if dialect is Dialect.SQLITE:
        async with sqlite_pair(place) as pair:
            yield pair
        return
    server = request.getfixturevalue("postgres")
    assert isinstance(server, PostgresServer)
    async with postgres_pair(server) as pair:
        yield pair


def grammar(dialect: Dialect, name: str) -> Grammar:
    """Statements of this run's seed."""
    return Grammar(dice(f"{name} {dialect.value}"), dialect, KINDS, AIMS)


@BOTH
@in_loop
async def test_no_attack_tells_twins_apart(dialect: Dialect, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Those that somebody thought of; and that some of them run at all shows that they are no empty words."""
    async with pair_of(dialect, tmp_path, request) as pair:
        told = {attack.made.sql: await pair.told(attack.made) for attack in attacks(dialect)}
    assert {sql: each for sql, each in told.items() if not isinstance(each, str) and each[0] != each[1]} == {}
    answered = [each for each in told.values() if not isinstance(each, str) and not each[0].failure]
    assert len(answered) > 30


@BOTH
@in_loop
async def test_no_generated_statement_tells_twins_apart(
    dialect: Dialect, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Most of them run, many of them fail, and some are refused."""
    made = grammar(dialect, "pairs")
    kinds = {"refused": 0, "failed": 0, "answered": 0}
    async with pair_of(dialect, tmp_path, request) as pair:
        for _ in range(QUERIES):
            statement = made.statement()
            told = await pair.told(statement)
            if isinstance(told, str):
                kinds["refused"] += 1
                continue
            assert told[0] == told[1], statement
            kinds["failed" if told[0].failure else "answered"] += 1
    assert min(kinds["answered"] / 4, kinds["failed"]) > QUERIES / 20, kinds


@BOTH
@in_loop
async def test_agents_and_auditors_of_twins_are_told_the_same(
    dialect: Dialect, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """By the whole pipeline: each part of an answer but for its id, and each of the journal's records."""
    made = [attack.made for attack in attacks(dialect)]
    grammar_ = grammar(dialect, "stage")
    made += [grammar_.statement() for _ in range(STAGED)]
    server = request.getfixturevalue("postgres") if dialect is Dialect.POSTGRES else None
    told: list[list[tuple[object, ...]]] = []
    bodies: list[list[dict[str, Any]]] = []
    keys = tmp_path / "keys"
    for name, filled in zip(("one", "two"), worlds(), strict=True):
        place = tmp_path / name
        place.mkdir()
        if keys.exists():
            shutil.copytree(keys, place / "keys")  # else their hashes and tokens differ
        async with leak_stage(dialect, place, server, filled=filled) as (stage, _):
            told.append([_comparable(each, await stage.query(AGENT, each.sql, **each.parameters)) for each in made])
            bodies.append(_recorded(stage))
        if not keys.exists():
            shutil.copytree(place / "keys", keys)
    assert [(each, *pair) for each, *pair in zip(made, *told, strict=True) if pair[0] != pair[1]] == []
    assert bodies[0] == bodies[1]


def _recorded(stage: Stage) -> list[dict[str, Any]]:
    """The journal's bodies: each decision with how its answer ended, which stands in a record of its own where it took
    longer, and there with others of whom it told so far."""
    found: dict[str, dict[str, Any]] = {}
    for row in stage.records():
        record, body = row.record, orjson.loads(row.record.body)
        if record.kind == "answer":
            del body["dataset"]
            found[record.ref].setdefault("sent", {})["answer"] = body
        elif record.kind != "subjects":
            found[record.id] = body
    return list(found.values())


def _comparable(made: Made, answered: Answered) -> tuple[object, ...]:
    """What may be compared of an answer; rows without their order where the statement asked for none."""
    started = answered.started
    rows = [repr(row) for row in answered.rows]
    parts = (started.answer.effect, answered.reasons, started.columns, started.labels, started.masked, answered.ended)
    return (*parts, rows if made.ordered else sorted(rows))


@BOTH
@in_loop
async def test_a_view_without_its_fence_is_found(
    dialect: Dialect, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The planted bug: a plain sub-query. Both kinds of attack find it."""
    async with pair_of(dialect, tmp_path, request) as pair:
        for attack in attacks(dialect):
            if attack.unfenced:
                told = await pair.told(attack.made, change=unfenced)
                assert not isinstance(told, str) and told[0] != told[1], attack
        made = grammar(dialect, "aimed")
        for _ in range(AIMED):
            told = await pair.told(made.aimed(), change=unfenced)
            if not isinstance(told, str) and told[0] != told[1]:
                return
    raise AssertionError("no generated statement found the planted bug")
