"""Generated queries give an agent the rows that PostgreSQL gives its twin: a role under row-level security, with views
that mask. And an agent that may see everything is given what the untouched database gives, in SQLite as well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from counts import COUNTS, dice
from fakes.postgres_server import PostgresServer, fresh_database
from fakes.sql_grammar import Generated, generate
from fakes.twins import AGENTS, Outcome, SqliteTwins, Twins, sqlite_twins, twins
from fakes.view_mutants import MUTANTS
from remit.core.view.model import Dialect

pytestmark = pytest.mark.opa

KINDS = ("join", "outer", "cte", "shadow", "set", "subquery", "correlated", "scalar", "window", "aggregate", "having")


@pytest.fixture(scope="module", name="world")
def world_fixture(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One stage, and everybody's twin."""
    with fresh_database(postgres) as database, twins(tmp_path_factory.mktemp("twins"), database, dice("twins")) as made:
        yield made


@pytest.fixture(scope="module", name="in_sqlite")
def in_sqlite_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteTwins]:
    """The same in SQLite."""
    with sqlite_twins(tmp_path_factory.mktemp("sqlite"), dice("sqlite twins")) as made:
        yield made


class Tally:
    """What became of many queries."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.wrong: list[str] = []

    def add(self, agent: str, query: Generated, told: Outcome, wanted: Outcome) -> None:
        """Compare one."""
        self.counts["asked"] += 1
        self.counts.update(f"with {kind}" for kind in query.kinds)
        if told.refused:
            self.counts["refused"] += 1
            self.refusals[f"{told.refused} <- {query.sql}"] += 1
            return
        if "timed_out" in {told.failure, wanted.failure}:  # a busy machine decides nothing
            self.counts["timed out"] += 1
            return
        self.counts["rows" if wanted.rows else wanted.failure or "no rows"] += 1
        if not told.agrees(wanted, ordered=query.ordered):
            self.wrong.append(f"{agent}: {query.sql} {dict(query.parameters)}\n  told   {told}\n  wanted {wanted}")


def ask_many(
    world: Twins | SqliteTwins, agents: tuple[str, ...], name: str, count: int, dialect: Dialect = Dialect.POSTGRES
) -> Tally:
    """So many generated queries, each by one of the agents."""
    tally = Tally()
    for agent, query in queries(world, agents, name, count, dialect):
        tally.add(agent, query, *world.ask(agent, query.sql, query.parameters))
    return tally


def queries(
    world: Twins | SqliteTwins, agents: tuple[str, ...], name: str, count: int, dialect: Dialect = Dialect.POSTGRES
) -> Iterator[tuple[str, Generated]]:
    """So many generated queries, each with the agent that is to ask it."""
    for number in range(count):
        roll = dice(f"{dialect} {name} {number}")
        yield roll.choice(agents), generate(roll, dialect, world.masked)


def assert_alike(tally: Tally, *, least: float) -> None:
    """Nothing differs; hardly anything was refused, and at least this share has rows."""
    asked = tally.counts["asked"]
    assert tally.wrong == []
    assert tally.counts["refused"] < asked / 50, tally.refusals
    assert tally.counts["timed out"] < asked / 50
    assert tally.counts["rows"] > least * asked, tally.counts
    assert {f"with {kind}" for kind in KINDS} <= tally.counts.keys()


def test_agents_are_given_what_their_twins_are_given(world: Twins) -> None:
    assert_alike(ask_many(world, AGENTS, "views", COUNTS.queries), least=0.4)


def test_an_agent_that_may_see_everything_is_given_what_the_database_gives(world: Twins) -> None:
    assert_alike(ask_many(world, ("all",), "everything", COUNTS.queries // 2), least=0.5)


def test_so_it_is_in_sqlite(in_sqlite: SqliteTwins) -> None:
    assert_alike(ask_many(in_sqlite, ("all",), "everything", COUNTS.queries // 2, Dialect.SQLITE), least=0.5)


def test_sqlites_agents_are_given_what_views_by_hand_give(in_sqlite: SqliteTwins) -> None:
    assert_alike(ask_many(in_sqlite, AGENTS, "views", COUNTS.queries, Dialect.SQLITE), least=0.4)


@pytest.mark.parametrize("bug", MUTANTS)
def test_each_planted_bug_is_found(world: Twins, monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    monkeypatch.setattr("remit.pep.query.rewrite", MUTANTS[bug])
    for agent, query in queries(world, AGENTS, bug, 20 * COUNTS.queries):
        tally = Tally()
        tally.add(agent, query, *world.ask(agent, query.sql, query.parameters))
        if tally.wrong:
            break
    assert tally.wrong
    monkeypatch.undo()
    told, wanted = world.ask(agent, f"{query.sql} ", query.parameters)  # not the plan that was kept
    assert told.agrees(wanted, ordered=query.ordered)
