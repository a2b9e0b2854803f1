"""No hidden cell comes out: not in rows, errors, logs, metrics or the journal, in whatever encoding.

Every cell that a filter or mask hides, every column and table that the catalogue does not list, and what lies in the
database's own catalogues is a canary. Statements are those that somebody thought of, a published collection of
injections, and what a hostile grammar makes; all of the run's seed.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from counts import PROFILE, dice
from fakes.canaries import Sink
from fakes.leak_attacks import attacks
from fakes.leak_corpus import Corpus
from fakes.leak_grammar import Grammar, Made
from fakes.leak_scanner import Canaries
from fakes.leak_stage import AGENT, Sinks, ask, leak_stage, left
from fakes.leak_world import AIMS, KINDS
from fakes.loop import in_loop
from fakes.postgres_server import PostgresServer
from fakes.views_stage import Answered, Stage
from remit.core.dataset import Table
from remit.core.query import Ended
from remit.core.view.model import Dialect

pytestmark = [pytest.mark.opa, pytest.mark.timeout(300)]

GENERATED, INJECTED = {"ci": (400, 200), "soak": (7_000, 3_000)}[PROFILE]
"""On each database."""

ON = pytest.mark.parametrize("dialect", [pytest.param(each, id=each.value) for each in Dialect])


def server_for(dialect: Dialect, request: pytest.FixtureRequest) -> PostgresServer | None:
    """A server is only started where one is needed."""
    if dialect is Dialect.SQLITE:
        return None
    server: PostgresServer = request.getfixturevalue("postgres")
    return server


@ON
@in_loop
async def test_no_statement_brings_a_hidden_cell_out(
    dialect: Dialect, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Neither does any raise an error, which would be one that nobody has thought of."""
    grammar = Grammar(dice(f"leaks {dialect.value}"), dialect, KINDS, AIMS)
    corpus = Corpus(dice(f"injections {dialect.value}"), dialect).statements()
    sinks = Sinks()
    async with leak_stage(dialect, tmp_path, server_for(dialect, request)) as (stage, world):
        await ask(stage, [attack.made for attack in attacks(dialect)], sinks)
        await ask(stage, (grammar.statement() for _ in range(GENERATED)), sinks)
        await ask(stage, islice(corpus, INJECTED), sinks)
        kept = await left(stage)
    assert sinks.raised == []
    assert found(world.canaries, {**sinks.found(), **kept}) == []
    # Never an agent's doing.
    assert not {"not_fit", "internal", "unavailable"} & set(sinks.kinds), sinks.kinds
    asked = sum(sinks.kinds.values())
    assert sinks.kinds["answered"] > asked / 4 and sinks.kinds["bad_value"] > asked / 40, sinks.kinds


def found(canaries: Canaries, sinks: Mapping[str, Sink]) -> list[str]:
    """What the store keeps in files is looked at as it is: what its records say is decoded beside it."""
    files = {name: sink for name, sink in sinks.items() if name.startswith("file ")}
    others = {name: sink for name, sink in sinks.items() if name not in files}
    return canaries.found(files, depth=0) + canaries.found(others, depth=1)


LITERALS = {
    "answered": "SELECT id FROM people WHERE name = '{own}'",
    "of a failing cast": "SELECT CAST('{own}' AS integer) + CAST(name AS integer) FROM people",
    "of a failing function": "SELECT JSON('{own}'), TO_DATE('{own}', '{own}') FROM people",
    "of a wrong type": "SELECT id FROM people WHERE age = '{own}'",
    "of no SELECT": "INSERT INTO people (name) VALUES ('{own}')",
    "of what sqlglot takes for a command": "SHOW x WHERE name = '{own}'",
    "of what cannot be read": "SELECT id FROM people WHERE (name = '{own}' AND",
    "without its end": "SELECT id FROM people WHERE name = '{own}",
    "beside one that is unknown": "SELECT nothing FROM people WHERE name = '{own}'",
    "beside a function that is not allowed": "SELECT pg_sleep('{own}') FROM people",
    "beside a table that is out of reach": (
        "SELECT 1 FROM people AS s1, people AS s2 RIGHT JOIN orders AS o ON '{own}' = s1.name"
    ),
    "in a comment": "SELECT id FROM people -- {own}",
    "as a value": "SELECT id FROM people WHERE name = :own",
    "as a value of a wrong type": "SELECT id FROM people WHERE age = :own",
    "as a value that is wanted nowhere": "SELECT id FROM people WHERE name = :other",
}


@ON
@in_loop
async def test_what_an_agent_writes_as_a_value_is_not_kept(
    dialect: Dialect, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A literal may be a cell that it has seen: the log, the metrics and the journal have none of them."""
    own = Canaries(dice("own"))
    made = [
        Made(sql.format(own=own.text(case)), {"own": own.text(f"{case}, bound")} if ":o" in sql else {})
        for case, sql in LITERALS.items()
    ]
    async with leak_stage(dialect, tmp_path, server_for(dialect, request)) as (stage, _):
        sinks = Sinks()
        await ask(stage, made, sinks)
        assert sinks.raised == []
        assert found(own, await left(stage)) == []


async def _in_the_log(stage: Stage, canary: str) -> None:
    logging.getLogger("psycopg").debug("ERROR: invalid input syntax: %s", canary)


async def _in_the_metrics(stage: Stage, canary: str) -> None:
    # Metrics know the catalogue's names alone: this catalogue's is a canary.
    dataset = replace(stage.catalogue.datasets["crm"], tables={canary: Table(columns={canary: ()})})
    stage.metrics.know(replace(stage.catalogue, datasets={"crm": dataset}))
    stage.metrics.view_masked(AGENT, "crm", [f"{canary}.{canary}"])


async def _in_the_journal(stage: Stage, canary: str) -> None:
    await stage.query(AGENT, f"SELECT id AS {canary.replace('~', '_')} FROM people")


CHANNELS: Mapping[str, tuple[Callable[[Stage, str], Awaitable[None]], str]] = {
    "log": (_in_the_log, "log"),
    "metrics": (_in_the_metrics, "metrics"),
    "journal": (_in_the_journal, "journal"),
    "state file": (_in_the_journal, "file state.db"),
}


@in_loop
async def test_a_leak_that_is_planted_is_found_in_every_channel(tmp_path: Path) -> None:
    """In the rows, in what is told besides, and in all that is kept."""
    async with leak_stage(Dialect.SQLITE, tmp_path, None) as (stage, world):
        planted = Canaries(dice("planted"))
        sinks = Sinks()
        answered = await stage.query(AGENT, "SELECT name FROM people")
        sinks.add(Answered(answered.started, [(planted.text("row"),)], answered.ended), "EUR")
        sinks.add(Answered(answered.started, [(each,) for each in planted.text("downwards")]), "EUR")
        refused = await stage.query(AGENT, f"SELECT {planted.text('reason').replace('~', '_')} FROM people")
        sinks.add(Answered(refused.started, [], Ended(0, planted.integer("end"))), "EUR")
        sinks.raised.append(f"UniqueViolation: Key (ssn)=({planted.text('error')}) already exists.")
        told = found(planted, sinks.found())
        for name, (plant, _) in CHANNELS.items():
            await plant(stage, planted.text(name))
        kept = found(planted, await left(stage))
        assert found(world.canaries, sinks.found()) == []
    for wanted in (
        "rows has row ",
        "rows read downwards has downwards ",
        "parts has reason ",
        "parts has end ",
        "errors has error ",
    ):
        assert any(line.startswith(wanted) for line in told), (wanted, told)
    for name, (_, sink) in CHANNELS.items():
        assert any(line.startswith(f"{sink}") and f" has {name} " in line for line in kept), (name, kept)
