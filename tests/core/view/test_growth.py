"""Statements whose rows may grow are measured by PostgreSQL; all others are what they were."""

from __future__ import annotations

import psycopg
import pytest
from fakes.rewritten import DATASET, TABLES, World
from fakes.rewritten import world as world
from remit.core.view.growth import grows
from remit.core.view.model import ROW_TOO_LARGE, Compare, Dialect, ViewRefused
from remit.core.view.statement import parse_statement

PLAIN = [
    "SELECT id, name FROM people WHERE name LIKE '%' || :a || '%' ORDER BY lower(name) || region",
    "SELECT * FROM people AS p JOIN orders AS o USING (id, region)",
    "SELECT region, count(*), sum(balance), avg(score), min(name), max(born) FROM people GROUP BY region",
    "SELECT id, upper(name), left(region, 2), CAST(score AS integer), balance * 2 AS b, age + 1 AS a FROM people",
    "SELECT id, CASE WHEN name = :a THEN region ELSE 'none' END AS r, coalesce(name, '-') AS n FROM people",
    "SELECT id, rank() OVER (PARTITION BY region ORDER BY name) FROM people",
    "SELECT date_trunc('month', made), extract(year FROM born), now() FROM people",
    "SELECT id FROM people WHERE replace(name, 'a', :a) = 'x' AND id IN (SELECT customer FROM orders)",
    "WITH a AS (SELECT id, name FROM people) SELECT id FROM a UNION SELECT id FROM orders",
]
GROWING = [
    "SELECT replace(name, 'a', 'bb') FROM people",
    "SELECT name || region AS n FROM people",
    "SELECT concat(name, region), 1 FROM people",
    "SELECT string_agg(name, ',') FROM people",
    "SELECT array_agg(id) FROM people",
    "SELECT json_agg(name) FROM people",
    "SELECT jsonb_build_object('a', name) FROM people",
    "SELECT regexp_replace(name, 'a', 'b') FROM people",
    "SELECT translate(name, 'a', 'b') FROM people",
    "SELECT lpad(name, 9) FROM people",
    "SELECT to_char(made, name) FROM people",
    "SELECT ARRAY[name] AS a FROM people",
    "SELECT (name, region) AS pair FROM people",
    "SELECT name, upper(name) AS u FROM people",
    "SELECT p.*, p.* FROM people AS p",
    "SELECT :a AS a FROM people",
    "SELECT 1e100000 AS n FROM people",
    "SELECT power(balance, 900) AS n FROM people",
    "SELECT CAST(name AS numeric) FROM people",
    "SELECT CAST(name AS jsonb) FROM people",
    "SELECT CAST(name AS char(1000000)) FROM people",
    "SELECT string_agg(name, ',') OVER (ORDER BY id) FROM people",
    "SELECT id, (SELECT string_agg(region, '') FROM orders) AS s FROM people",
    "SELECT id FROM people UNION ALL SELECT length(x) FROM (SELECT name || region AS x FROM people) AS s",
    "WITH a AS (SELECT name || region AS n FROM people) SELECT n FROM a",
    "SELECT upper(coalesce(CASE WHEN id = 1 THEN replace(name, 'a', 'b') END, '')) FROM people",
    "SELECT 1 FROM " + ", ".join(f"orders AS o{number}" for number in range(9)),
]


def _tree(statement: str) -> object:
    return parse_statement(statement, dataset=DATASET, tables=TABLES, dialect=Dialect.POSTGRES).tree


@pytest.mark.parametrize("statement", PLAIN)
def test_what_stays_as_large_as_it_is_stored_is_not_measured(statement: str) -> None:
    """Columns, numbers, dates, truths, and texts no longer than their one argument."""
    assert not grows(_tree(statement))


@pytest.mark.parametrize("statement", GROWING)
def test_what_is_not_known_to_stay_so_is(statement: str) -> None:
    """Wherever it stands among what reaches the outputs."""
    assert grows(_tree(statement))


@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        ("SELECT CAST(string_agg(name, '') AS integer) AS n FROM people", True),
        ("SELECT 1 AS one FROM people HAVING CAST(lower(string_agg(name, '')) AS date) IS NULL", True),
        ("SELECT to_date((SELECT string_agg(region, '') FROM orders), 'YYYY') AS d FROM people", True),
        ("WITH a AS (SELECT json_agg(name) AS n FROM people) SELECT CAST(n ->> 0 AS numeric) AS n FROM a", True),
        ("SELECT CAST(s.n AS jsonb) AS n FROM (SELECT string_agg(name, '') AS n FROM people) AS s", True),
        ("SELECT CAST(length(string_agg(name, '')) AS numeric) AS n FROM people", False),
        ("SELECT CAST(array_agg(name) AS text) AS n, CAST(max(score) AS integer) AS s FROM people", False),
        ("SELECT string_agg(CAST(born AS text), ',') AS n FROM people WHERE CAST(name || '1' AS text) = 'x'", False),
        ("SELECT CAST(replace(name, 'a', '') AS integer) AS n FROM people", False),
    ],
)
def test_what_is_gathered_of_rows_is_not_read_as_another_type(world: World, statement: str, refused: bool) -> None:
    """PostgreSQL would quote it whole in an error; what is of one row is bounded otherwise."""
    if not world.postgres:
        return
    if not refused:
        world.plan(statement)
        return
    with pytest.raises(ViewRefused, match="a text of many rows"):
        world.plan(statement)


def test_a_measured_statement_reads_as_documented(world: World) -> None:
    """It stands in brackets, with its limit; SQLite, which has a limit of its own, gets it as it is."""
    plan = world.plan("SELECT lower(region) || 'x' AS r FROM orders ORDER BY id", rows=10)
    if not world.postgres:
        assert not plan.grows and "remit_q" not in plan.text.sql
        return
    fails = (
        f'CAST(concat(\'{ROW_TOO_LARGE}\', nullif(pg_column_size("remit_q".*), pg_column_size("remit_q".*))) '
        "AS boolean)"
    )
    inner = 'SELECT LOWER("region") || \'x\' AS "r" FROM'.replace("LOWER", "lower")

    assert plan.grows
    assert plan.text.sql.startswith(f'SELECT "remit_q".* FROM ({inner} ')
    assert plan.text.sql.endswith(
        'ORDER BY "id" LIMIT 11) AS "remit_q" WHERE CASE WHEN pg_column_size("remit_q".*) > 4194304 '
        f'THEN {fails} WHEN octet_length(CAST("remit_q".* AS text)) > 4194304 THEN {fails} ELSE TRUE END'
    )


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT name || '!' AS n, id FROM people WHERE id < 30 ORDER BY score DESC, id LIMIT 9 OFFSET 2",
        "SELECT id, id AS again, name || region AS remitted FROM people ORDER BY 1 DESC",
        "SELECT region, string_agg(name, ',' ORDER BY id) AS s FROM people GROUP BY region ORDER BY region",
        "WITH a AS (SELECT name || '-' AS n, id FROM people) SELECT * FROM a ORDER BY id DESC LIMIT 5",
        "SELECT replace(name, 'p', 'q') AS n FROM people UNION SELECT region || 'x' FROM orders ORDER BY 1",
        "SELECT DISTINCT region || 'x' AS r FROM people ORDER BY 1",
    ],
)
def test_a_measured_statement_means_what_it_said(world: World, statement: str) -> None:
    """The same names, rows and order, and the keys of its subjects beside them; with fences too."""
    names, rows = world.database.run(statement, ())
    for filters in ({}, {"people": Compare("id", "gt", 0)}):
        answer = world.ask(statement, filters=filters)
        assert (answer.names, answer.rows) == (names, rows)


def test_a_row_that_is_too_large_is_an_error_of_its_own(world: World) -> None:
    """However it got so: in many rows, in digits that are written out; and not when it is planned."""
    if not world.postgres:
        return
    for statement in (
        "SELECT string_agg(lpad(p.name, 900), '') AS x FROM orders AS o, people AS p",
        "SELECT array_agg(1e100000) AS x FROM orders",
    ):
        plan = world.plan(statement)
        world.database.run("EXPLAIN " + plan.text.sql, ())
        with pytest.raises(psycopg.errors.InvalidTextRepresentation, match=ROW_TOO_LARGE):
            world.run(plan, {})
