"""With a smallest group, no row stands for fewer subjects, and nothing that could tell one apart is let through."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes.rewritten import PEOPLE_ROWS, World, sqlite_world
from fakes.rewritten import world as world
from remit.core.dataset import Table
from remit.core.view.model import ColumnType, Compare, Filter, Mask, ViewRefused

ALLOWED = [
    "SELECT count(*) FROM people",
    "SELECT region, count(*) AS n FROM people GROUP BY region ORDER BY n DESC, region",
    "SELECT p.region, sum(p.balance), avg(p.age) FROM people AS p GROUP BY p.region HAVING count(*) > 3",
    "SELECT count(DISTINCT region) FROM people WHERE age > :a AND NOT (region = 'us' OR active IS NULL)",
    "SELECT p.region, count(o.id) FROM people p JOIN orders o ON o.customer = p.id GROUP BY p.region LIMIT 3",
    "SELECT count(*) FROM people p JOIN orders o ON (o.customer = p.id AND o.id > 1) WHERE p.id = 1 OR p.age > 3",
    "SELECT count(*) FROM people p LEFT JOIN orders o ON o.customer = p.id WHERE o.id > 3",
    "SELECT region FROM people GROUP BY region",
    "SELECT count(*) FROM people WHERE born >= '1980-01-01' AND age BETWEEN -1 AND 20 AND region IN ('eu', 'us')",
]
REFUSED = {
    "SELECT name FROM people": "'name' among the outputs",
    "SELECT * FROM people": "more than plain columns in the outputs",
    "SELECT 1 AS one FROM people": "more than plain columns in the outputs",
    "SELECT DISTINCT region FROM people GROUP BY region": "DISTINCT",
    "SELECT min(age) FROM people": "function min",
    "SELECT max(age) FROM people": "function max",
    "SELECT sum(age + 1) FROM people": "more than plain columns in sum",
    "SELECT sum(CASE WHEN id = 7 THEN age END) FROM people": "more than plain columns in sum",
    "SELECT count(*) + 1 AS n FROM people": "more than plain columns in the outputs",
    "SELECT count(*) FILTER (WHERE id = 7) FROM people": "more than plain columns in the outputs",
    "SELECT count(*) OVER () FROM people": "more than plain columns in the outputs",
    "SELECT region, age, count(*) FROM people GROUP BY region": "'age' among the outputs",
    "SELECT upper(region), count(*) FROM people GROUP BY upper(region)": "more than plain columns in GROUP BY",
    "SELECT region, count(*) FROM people GROUP BY 1": "more than plain columns in GROUP BY",
    "SELECT count(*) FROM (SELECT * FROM people) AS p": "what is not a table in FROM",
    "WITH p AS (SELECT * FROM people) SELECT count(*) FROM p": "WITH",
    "SELECT count(*) FROM people UNION ALL SELECT count(*) FROM orders": "a statement of several SELECTs",
    "SELECT count(*) FROM people WHERE id IN (SELECT customer FROM orders)": "IN (SELECT …) in a condition",
    "SELECT count(*) FROM people WHERE EXISTS (SELECT 1 FROM orders)": "EXISTS in a condition",
    "SELECT count(*) FROM people WHERE 1 / (age - 7) > 0": "/ in a condition",
    "SELECT count(*) FROM people WHERE abs(age) > 0": "function abs in a condition",
    "SELECT count(*) FROM people WHERE name LIKE 'a%'": "LIKE in a condition",
    "SELECT count(*) FROM people WHERE CAST(name AS integer) > 0": "a cast in a condition",
    "SELECT count(*) FROM people p JOIN orders o ON o.customer = p.id + 1": "+ in a condition",
    "SELECT region, count(*) FROM people GROUP BY region HAVING max(age) > 3": "function max",
    "SELECT region, count(*) FROM people GROUP BY region HAVING count(*) / 0 > 3": "/ in a condition",
    "SELECT region, count(*) FROM people GROUP BY region ORDER BY max(age)": "function max",
    "SELECT region, count(*) FROM people GROUP BY region ORDER BY count(*) + 1": "ORDER BY with more than",
    "SELECT 1 AS one": "no table",
    "SELECT avg(a.age) FROM people a JOIN people b ON a.id = 7 OR b.id = 1": "a condition on several tables",
    "SELECT avg(a.age) FROM people a, people b WHERE (a.id = 7 OR b.id = 1)": "a condition on several tables",
    "SELECT avg(a.age) FROM people a, people b WHERE NOT (a.id <> 7 AND b.id <> 1)": "a condition on several tables",
    "SELECT avg(a.age) FROM people a, people b WHERE b.id IN (a.id, 1)": "a condition on several tables",
    "SELECT avg(a.age) FROM people a LEFT JOIN people b ON a.id = 7": "a condition on several tables",
    "SELECT avg(a.age) FROM people a LEFT JOIN people b ON a.id = a.age": "a condition on several tables",
    "SELECT avg(age) FROM people a JOIN orders o ON age = 7 OR customer = 1": "a condition on several tables",
}


@pytest.mark.parametrize("statement", ALLOWED)
def test_statements_that_count_and_sum_are_let_through(world: World, statement: str) -> None:
    """With groups of one they answer as ever."""
    parameters = {"a": 3} if ":a" in statement else {}

    answer = world.ask(statement, parameters, minimum_group=1)

    assert answer.rows
    assert set(answer.rows) == set(world.ask(statement, parameters).rows) or "LIMIT" in statement


@pytest.mark.parametrize("statement", REFUSED)
def test_what_could_show_less_than_a_group_is_refused(world: World, statement: str) -> None:
    """With what was found, and what is allowed; without a smallest group it is an ordinary statement."""
    try:
        world.plan(statement)
    except ViewRefused:
        pytest.skip("not a statement of this database's")

    with pytest.raises(ViewRefused) as caught:
        world.plan(statement, minimum_group=5)

    assert caught.value.what.startswith(REFUSED[statement])
    assert caught.value.where.startswith("line 1, column ")
    assert "expected one SELECT with count, sum, avg" in str(caught.value)


@pytest.mark.parametrize("size", [1, 2, 5, 36, 1000])
def test_no_group_is_shown_that_stands_for_fewer(world: World, size: int) -> None:
    """Groups are as large as the number of their subjects says, not their rows."""
    groups: dict[str | None, int] = {}
    for row in PEOPLE_ROWS:
        groups[row[2]] = groups.get(row[2], 0) + 1

    answer = world.ask("SELECT region, count(*) FROM people GROUP BY region", minimum_group=size)

    assert dict(answer.rows) == {region: count for region, count in groups.items() if count >= size}


def test_a_subject_with_many_rows_is_one(world: World) -> None:
    """A join that multiplies someone's rows makes no group of it."""
    statement = "SELECT count(*) FROM people p JOIN orders o ON o.id > 0 WHERE p.id = 7"

    assert world.ask(statement).rows == [(300,)]
    assert world.ask(statement, minimum_group=2).rows == []


def test_a_group_has_so_many_of_each_table(world: World) -> None:
    """Of a table without a subject key, so many rows."""
    statement = "SELECT count(*) FROM people p JOIN orders o ON o.customer = p.id WHERE o.id = 7"

    assert world.ask(statement, minimum_group=1).rows == [(1,)]
    assert world.ask(statement.replace("o.id = 7", "p.id < 4"), minimum_group=4).rows == []
    assert world.ask(statement.replace("o.id = 7", "p.id < 4"), minimum_group=3).rows == [(8,)]


def test_a_small_group_without_group_by_is_not_shown_either(world: World) -> None:
    """Not as NULL or 0: there is no row."""
    for where in ("id = 7", "id = -1"):
        assert world.ask(f"SELECT count(*), sum(balance) FROM people WHERE {where}", minimum_group=2).rows == []


def test_groups_are_of_what_the_view_shows(world: World) -> None:
    """Hidden rows make no group larger, and masks hold."""
    filters: dict[str, Filter] = {"people": Compare("id", "le", 6)}
    masks = {"people": {"region": Mask("constant", {"value": "all"}), "id": Mask("null")}}
    statement = "SELECT region, count(*) FROM people GROUP BY region"

    assert world.ask(statement, filters=filters, masks=masks, minimum_group=6).rows == [("all", 6)]
    assert world.ask(statement, filters=filters, masks=masks, minimum_group=7).rows == []


def test_who_is_counted_is_recorded(world: World) -> None:
    """By a question, as for any statement whose rows do not tell."""
    answer = world.ask("SELECT count(*) FROM people WHERE id < 4", minimum_group=2)

    assert answer.subjects == {"people": ["1", "2", "3"]}
    assert answer.hidden == [()]


@pytest.fixture(name="keyed")
def keyed_fixture() -> Iterator[World]:
    """SQLite with a table whose rowid is a column."""
    found = sqlite_world()
    found.raw("CREATE TABLE keyed (number INTEGER PRIMARY KEY, rowid TEXT, v TEXT)")
    found.raw("INSERT INTO keyed VALUES (1, 'a', 'x'), (2, 'a', 'x'), (3, 'a', 'y')")
    found.schema["keyed"] = {
        "number": (ColumnType.INTEGER, "", "INTEGER"),
        "rowid": (ColumnType.TEXT, "", "TEXT"),
        "v": (ColumnType.TEXT, "", "TEXT"),
    }
    found.tables = {**found.tables, "keyed": Table(dict.fromkeys(found.schema["keyed"], ()))}
    yield found


def test_rows_are_told_apart_by_where_they_lie(keyed: World) -> None:
    """Also where a column is called rowid, which then is not."""
    answer = keyed.ask("SELECT v, count(*) FROM keyed GROUP BY v", minimum_group=2)

    assert answer.rows == [("x", 2)]
