"""Generated queries give an agent the rows that PostgreSQL gives its twin: a role under row-level security, with views
that mask. And an agent that may see everything is given what the untouched database gives, in SQLite as well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from counts import COUNTS, dice
from fakes.postgres_server import PostgresServer, fresh_database
from fakes.sql_grammar import Generated, generate
from fakes.twins import AGENTS, Outcome, Twins, ask_sqlite, outcome_of, twins, untouched_sqlite
from fakes.view_mutants import MUTANTS
from remit.core.view.model import Dialect

pytestmark = [pytest.mark.opa, pytest.mark.xdist_group("views_oracle")]


@pytest.fixture(scope="module", name="world")
def world_fixture(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One stage, and everybody's twin."""
    with fresh_database(postgres) as database, twins(tmp_path_factory.mktemp("twins"), database, dice("twins")) as made:
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


def ask_many(world: Twins, agents: tuple[str, ...], name: str, count: int) -> Tally:
    """So many generated queries, each by one of the agents."""
    tally = Tally()
    for agent, query in queries(world, agents, name, count):
        tally.add(agent, query, *world.ask(agent, query.sql, query.parameters))
    return tally


def queries(world: Twins, agents: tuple[str, ...], name: str, count: int) -> Iterator[tuple[str, Generated]]:
    """So many generated queries, each with the agent that is to ask it."""
    for number in range(count):
        roll = dice(f"{name} {number}")
        yield roll.choice(agents), generate(roll, Dialect.POSTGRES, world.masked)


def test_agents_are_given_what_their_twins_are_given(world: Twins) -> None:
    tally = ask_many(world, AGENTS, "views", COUNTS.queries)
    assert tally.wrong == []
    assert tally.counts["refused"] < COUNTS.queries / 50, tally.refusals
    assert tally.counts["rows"] > COUNTS.queries / 3, tally.counts


def test_an_agent_that_may_see_everything_is_given_what_the_database_gives(world: Twins) -> None:
    tally = ask_many(world, ("all",), "everything", COUNTS.queries)
    assert tally.wrong == []
    assert tally.counts["refused"] < COUNTS.queries / 50, tally.refusals


def test_so_it_is_in_sqlite(tmp_path: Path) -> None:
    tally = Tally()
    with untouched_sqlite(tmp_path, dice("sqlite rows")) as (remit, bare):
        for number in range(COUNTS.queries):
            query = generate(dice(f"sqlite {number}"), Dialect.SQLITE)
            told = outcome_of(remit.query("all", query.sql, **query.parameters))
            tally.add("all", query, told, ask_sqlite(bare, query.sql, query.parameters))
    assert tally.wrong == []
    assert tally.counts["refused"] < COUNTS.queries / 50, tally.refusals


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
