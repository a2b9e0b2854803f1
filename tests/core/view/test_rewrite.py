"""What is run in a statement's place: views of exactly what it names, values bound, keys beside the rows, a limit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import apsw
import psycopg
import pytest
from fakes.rewritten import DATASET, PEOPLE, PEOPLE_ROWS, World, sqlite_world
from fakes.rewritten import world as world
from remit.core.dataset import Table
from remit.core.view.model import (
    EVERY_ROW,
    NO_ROW,
    ColumnType,
    Compare,
    Constant,
    Every,
    Mask,
    Parameter,
    Some,
    Statement,
    TableView,
    ViewInvalid,
    ViewRefused,
)
from remit.core.view.rewrite import rewrite
from remit.core.view.statement import parse_statement

EU = {"people": Compare("region", "eq", "eu")}
EU_IDS = [row[0] for row in PEOPLE_ROWS if row[2] == "eu"]


def test_the_text_of_a_fenced_table_reads_as_documented(world: World) -> None:
    """A filter's view is the first of the WITH, has the columns named and no other, and the condition on the key."""
    plan = world.plan("SELECT name FROM people AS p WHERE p.id = :id", filters=EU, rows=10)
    schema, one, two = ("public", "$1", "CAST($2 AS text)") if world.postgres else ("main", "?1", "?2")
    key, name = (opaque('"r"."id"'), opaque('"r"."name"')) if world.postgres else ('"r"."id"', '"r"."name"')

    assert plan.text.sql == (
        f'WITH "remit_v0" AS MATERIALIZED (SELECT {key} AS "id", {name} AS "name", CAST("r"."id" AS text) AS '
        f'"remit_k0" FROM "{schema}"."people" AS "r" WHERE ("r"."region" = {two}) AND ("r"."id" = {one})) '
        f'SELECT "name", "p"."remit_k0" AS "remit_s1" FROM "remit_v0" AS "p" WHERE "p"."id" = {one} LIMIT 11'
    )
    assert plan.text.bindings == (Parameter("id"), Constant("eu"))
    assert plan.hidden == ("people",)
    assert plan.reads == {f"{schema}.people": {"id", "name", "region"}}
    assert plan.rows == 11


def test_a_table_of_which_every_row_is_shown_has_no_fence(world: World) -> None:
    """So the database is free to plan, also where columns are masked."""
    plan = world.plan("SELECT id FROM orders WHERE id < 5", masks={"orders": {"id": Mask("null")}})

    assert "WITH" not in plan.text.sql
    assert "now()" not in plan.text.sql
    assert world.run(plan, {}).rows == []


def test_what_a_filter_hides_is_not_there(world: World) -> None:
    """Rows outside the filter are missing from every kind of statement."""
    for statement in (
        "SELECT id FROM people",
        "SELECT DISTINCT id FROM people",
        "SELECT id FROM crm.people WHERE crm.people.id > 0",
        "WITH all_of AS (SELECT * FROM people) SELECT id FROM all_of",
        "SELECT id FROM (SELECT id, name FROM people) AS inner_ones",
        "SELECT id FROM people WHERE id IN (SELECT id FROM people)",
        "SELECT id FROM people EXCEPT SELECT id FROM people WHERE id < 0",
        "SELECT p.id FROM people p WHERE EXISTS (SELECT 1 FROM people q WHERE q.id = p.id)",
        "SELECT customer FROM orders JOIN people ON people.id = customer GROUP BY customer",
    ):
        assert sorted(world.ask(statement, filters=EU).rows)[:3] == [(each,) for each in EU_IDS[:3]], statement


def test_a_policy_that_shows_nothing_shows_nothing(world: World) -> None:
    """Also to counts and outer joins; and nobody is recorded as seen."""
    nothing = {"people": NO_ROW}

    assert world.ask("SELECT * FROM people", filters=nothing).rows == []
    assert world.ask("SELECT count(*) FROM people", filters=nothing).rows == [(0,)]
    answer = world.ask("SELECT o.id, p.name FROM orders o LEFT JOIN people p ON o.customer = p.id", filters=nothing)
    assert len(answer.rows) == 300
    assert {row[1] for row in answer.rows} == {None}
    assert answer.hidden[0] == ()
    assert answer.subjects == {}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT p.name, o.total FROM people p JOIN orders o ON o.customer = p.id ORDER BY o.id",
        "SELECT p.name, o.total FROM people p LEFT JOIN orders o ON o.customer = p.id AND o.id < 40 ORDER BY 2, 1",
        "SELECT region, count(*), sum(balance) FROM people GROUP BY region HAVING count(*) > 3 ORDER BY 2, 1",
        "SELECT id, (SELECT sum(total) FROM orders WHERE customer = people.id) AS s FROM people ORDER BY id",
        "SELECT id, sum(score) OVER (PARTITION BY region ORDER BY id) AS s FROM people ORDER BY id",
        "SELECT name FROM people WHERE region = 'eu' UNION ALL SELECT region FROM orders ORDER BY 1 LIMIT 7",
        "SELECT region, id FROM people JOIN orders USING (id, region) ORDER BY id",
        "SELECT * FROM people JOIN orders USING (id, region) ORDER BY id",
        "SELECT * FROM people AS p CROSS JOIN (SELECT id AS other FROM orders WHERE id < 3) AS o ORDER BY p.id, other",
        "WITH a AS (SELECT id, region FROM people), b AS (SELECT region FROM a WHERE id < 9) SELECT count(*) FROM b",
        "SELECT count(*) FROM people WHERE id BETWEEN 3 AND 9 OR NOT (region IN ('eu', 'us') AND active)",
        "SELECT p.*, o.total FROM people p, orders o WHERE o.customer = p.id ORDER BY o.id, p.id",
    ],
)
def test_under_an_open_policy_statements_mean_what_they_say(world: World, statement: str) -> None:
    """The same names and rows as the database itself gives, also through fences that hide nothing."""
    names, rows = world.database.run(statement, ())
    always = {"people": Compare("id", "gt", 0), "orders": Every((Compare("id", "ne", None), Compare("id", "ge", 1)))}

    for filters in ({}, always):
        answer = world.ask(statement, filters=filters)
        assert (answer.names, answer.rows) == (names, rows)


# Limits.


@pytest.mark.parametrize(
    ("statement", "count", "limit"),
    [
        ("SELECT id FROM orders", 11, "LIMIT 11"),
        ("SELECT id FROM orders LIMIT 5", 5, "LIMIT 5"),
        ("SELECT id FROM orders LIMIT 500", 11, "LIMIT 11"),
        ("SELECT id FROM orders UNION ALL SELECT id FROM people", 11, "LIMIT 11"),
        ("SELECT id FROM orders ORDER BY id LIMIT 7 OFFSET 298", 2, "LIMIT 7 OFFSET 298"),
        ("SELECT id FROM (SELECT id FROM orders LIMIT 50) AS o", 11, "LIMIT 11"),
    ],
)
def test_no_more_rows_come_than_one_beyond_what_may_be_shown(
    world: World, statement: str, count: int, limit: str
) -> None:
    """The smaller of the statement's own limit and the plan's."""
    plan = world.plan(statement, rows=10)

    assert len(world.run(plan, {}).rows) == count
    assert plan.text.sql.endswith(limit)
    assert plan.rows == 11


def test_a_limit_that_is_a_parameter_stays_and_the_reader_counts(world: World) -> None:
    """No plan knows what will be bound."""
    plan = world.plan("SELECT id FROM orders LIMIT :n", rows=10)

    assert len(world.run(plan, {"n": 50}).rows) == 50
    assert plan.rows == 11


def test_no_limit_by_another_word_is_none(world: World) -> None:
    """LIMIT ALL and LIMIT -1 take away nothing of the plan's own."""
    statement = "SELECT id FROM orders LIMIT " + ("ALL" if world.postgres else "-1")

    assert len(world.ask(statement, rows=10).rows) == 11


# Whose rows are shown.


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT name FROM people WHERE id < 20 ORDER BY id DESC",
        "SELECT * FROM people WHERE id < 20 ORDER BY id DESC",
        "SELECT p.* FROM people p WHERE p.id < 20 ORDER BY id DESC LIMIT 4",
        "SELECT 1 AS one FROM people WHERE id < 20 ORDER BY id DESC LIMIT 3 OFFSET 2",
    ],
)
def test_each_row_comes_with_its_subjects_key(world: World, statement: str) -> None:
    """As text, in a column of its own which the agent is not shown, though it asked for all."""
    whole = [row[0] for row in PEOPLE_ROWS if row[2] == "eu" and row[0] < 20][::-1]
    first = 2 if "OFFSET" in statement else 0

    answer = world.ask(statement, filters=EU)

    assert [row[0] for row in answer.hidden] == [str(each) for each in whole[first : first + len(answer.rows)]]
    assert not any(name.startswith("remit") for name in answer.names)
    assert len(answer.rows[0]) == len(answer.names) == (len(PEOPLE) if "*" in statement else 1)


def test_the_key_that_is_recorded_is_the_true_one(world: World) -> None:
    """A mask on the key hides it from the agent, not from the record."""
    answer = world.ask("SELECT id FROM people WHERE name = 'person 7'", masks={"people": {"id": Mask("null")}})

    assert answer.rows == [(None,)]
    assert answer.hidden == [("7",)]


def test_in_an_outer_join_a_row_of_nobody_has_no_key(world: World) -> None:
    """NULL stands where the join found none."""
    statement = "SELECT o.id FROM orders o LEFT JOIN people p ON p.id = o.customer WHERE o.id IN (19, 20) ORDER BY o.id"

    assert world.ask(statement).hidden == [(None,), ("21",)]


def test_a_row_of_two_subjects_comes_with_both(world: World) -> None:
    """One hidden column for each use."""
    plan = world.plan("SELECT a.id AS x, b.id AS y FROM people a JOIN people b ON b.id = a.id + 1 WHERE a.id = 3")

    assert plan.hidden == ("people", "people")
    assert world.run(plan, {}).hidden == [("3", "4")]


@pytest.mark.parametrize(
    ("statement", "reached"),
    [
        ("SELECT count(*) FROM people", EU_IDS),
        ("SELECT count(*) FROM people WHERE id = :a", [3]),
        ("SELECT DISTINCT region FROM people WHERE id BETWEEN :a AND 12", [3, 6, 9, 12]),
        ("SELECT id FROM orders WHERE customer IN (SELECT id FROM people WHERE id < 8)", [3, 6]),
        ("SELECT id FROM people WHERE id = 3 UNION SELECT id FROM people WHERE id IN (6, 9, 10)", [3, 6, 9]),
        ("SELECT * FROM people JOIN orders USING (id) WHERE people.id < 8", [3, 6]),
    ],
)
def test_where_rows_do_not_tell_all_who_could_be_reached_are_asked(
    world: World, statement: str, reached: list[int]
) -> None:
    """By the view's own filter and the conditions on it; not whom the filter hides."""
    answer = world.ask(statement, {"a": 3} if ":a" in statement else {}, filters=EU)

    assert answer.subjects == {"people": sorted(map(str, reached))}
    assert set(answer.hidden) <= {()}


def test_a_use_that_shows_rows_and_one_that_only_looks_are_told_apart(world: World) -> None:
    """The outer rows by their keys, the inner ones by a question."""
    statement = "SELECT id FROM people WHERE id = 6 AND id IN (SELECT id FROM people WHERE id IN (3, 6, 7))"
    answer = world.ask(statement, filters=EU)

    assert (answer.hidden, answer.subjects) == ([("6",)], {"people": ["3", "6"]})


@pytest.mark.parametrize(
    "order", ["2", "(2)", "2 DESC", "1, 2", "((2)) DESC", "10", '(2) COLLATE "C"', "2 COLLATE nocase"]
)
def test_nothing_is_ordered_by_a_hidden_column(world: World, order: str) -> None:
    """A number beyond the agent's own outputs is the error that it always is, and tells no order of keys."""
    try:
        plan = world.plan(f"SELECT name FROM people ORDER BY {order}", masks={"people": {"id": Mask("null")}})
    except ViewRefused:
        return

    assert plan.hidden == ()
    with pytest.raises((apsw.SQLError, psycopg.Error)):
        world.run(plan, {})


def test_the_agents_own_outputs_are_ordered_by_number(world: World) -> None:
    """Those of a star too."""
    for statement in (
        "SELECT name, id FROM people ORDER BY 2 DESC LIMIT 1",
        "SELECT * FROM people ORDER BY 1 DESC LIMIT 1",
    ):
        assert world.ask(statement).hidden == [("120",)]


def test_hidden_names_are_none_of_the_tables(world: World) -> None:
    """A column that is called as the hidden ones are is an ordinary column."""
    table = "odd" if world.postgres else "odd_one"
    world.add(
        table,
        {"remit_k0": (ColumnType.INTEGER, "bigint", "INTEGER"), "remit_s1": (ColumnType.TEXT, "text", "TEXT")},
        [(1, "x")],
    )
    world.tables = {**world.tables, table: Table({"remit_k0": (), "remit_s1": ()}, subject_key="remit_k0")}

    answer = world.ask(f"SELECT * FROM {table} WHERE remit_s1 = 'x'", filters={table: Compare("remit_k0", "eq", 1)})

    assert (answer.names, answer.rows, answer.hidden) == (["remit_k0", "remit_s1"], [(1, "x")], [("1",)])


# Parameters.


@pytest.mark.parametrize("value", ["eu", "e' OR 1=1 --", "%", "", None, "é\U0001f600"])
def test_what_an_agent_binds_is_never_sql(world: World, value: str | None) -> None:
    """Its place is in the text, and the value is not."""
    plan = world.plan("SELECT :v AS v, count(*) AS n FROM people WHERE region = :v OR (:v IS NULL AND id = 1)")

    assert world.run(plan, {"v": value}).rows == [(value, 38 if value == "eu" else 1 if value is None else 0)]


@pytest.mark.parametrize("value", ["x", 7, 10**12, Decimal("2.5"), True, None])
def test_a_value_can_stand_by_itself(world: World, value: Any) -> None:
    """PostgreSQL would find no type for a place that nothing is compared with."""
    answer = world.ask("SELECT :v, :v AS again, count(*) FROM orders WHERE id = 1 AND :v IS NOT NULL", {"v": value})

    assert answer.rows == [(value, value, 0 if value is None else 1)]


def test_a_parameter_keeps_its_place_within_grouped_expressions(world: World) -> None:
    """PostgreSQL knows an output as grouped only if it is the same expression."""
    statement = (
        "SELECT substr(region, 1, :n), count(*) FROM people WHERE id < 50 GROUP BY substr(region, 1, :n) ORDER BY 2"
    )

    assert world.ask(statement, {"n": 2}).rows[0][1] == 2


def test_dates_and_numbers_compare_as_the_columns_do(world: World) -> None:
    """A text that is bound is taken for the column's type, in the fence as in the statement."""
    statement = "SELECT count(*) FROM people WHERE born >= :day AND balance > :least AND age > :age AND active = :yes"
    parameters = {
        "day": "1980-01-01",
        "least": Decimal("100.5"),
        "age": Decimal("40.5") if world.postgres else 40,
        "yes": True,
    }
    expected = sum(
        str(row[6]) >= "1980-01-01" and row[5] > Decimal("100.5") and row[3] > 40 and row[8] for row in PEOPLE_ROWS
    )

    for filters in ({}, {"people": Compare("id", "ge", 1)}):
        assert world.ask(statement, parameters, filters=filters).rows == [(expected,)]


# Where tables lie.


def test_a_table_is_read_from_where_the_catalogue_says(world: World) -> None:
    """`source` may name another table, in another schema; a WITH of the agent's does not get in its way."""
    schema = "elsewhere" if world.postgres else "aux2"
    world.raw(f"CREATE SCHEMA {schema}" if world.postgres else f"ATTACH ':memory:' AS {schema}")
    world.raw(f"CREATE TABLE {schema}.clients AS SELECT * FROM people WHERE id < 4")
    world.tables = {**world.tables, "people": Table(dict.fromkeys(PEOPLE, ()), source=f"{schema}.clients")}

    plan = world.plan(
        "WITH clients AS (SELECT 1 AS id) SELECT count(*) FROM people, clients",
        filters={"people": Some((Compare("id", "gt", 1),))},
    )

    assert world.run(plan, {}).rows == [(2,)]
    assert plan.reads == {f"{schema}.clients": {"id"}}
    world.tables = {**world.tables, "people": Table({**dict.fromkeys(PEOPLE, ()), "name": ("pii",)}, subject_key="id")}


# Whose fault it is.


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (
            TableView("orders", Compare("nothing", "eq", 1)),
            "orders: a filter 'nothing', expected a column of the table",
        ),
        (TableView("orders", EVERY_ROW, {"nothing": Mask("null")}), "orders: a mask 'nothing', expected a column"),
        (TableView("orders", Compare("total", "eq", "x")), "orders.total: the filter eq with str, expected"),
        (
            TableView("orders", EVERY_ROW, {"total": Mask("partial", {"last": 2})}),
            "orders.total: the mask partial on a",
        ),
        (TableView("people", EVERY_ROW), "orders: a table without a view"),
    ],
)
def test_what_policy_gets_wrong_is_said_with_its_place(world: World, view: TableView, said: str) -> None:
    """ViewInvalid names table, column and what is wrong."""
    with pytest.raises(ViewInvalid) as caught:
        rewrite(parsed(world), {"orders": view}, tables=world.tables, columns=world.columns, rows=1)

    assert str(caught.value).startswith(said)


def test_a_column_that_the_database_has_not_is_the_catalogues_fault(world: World) -> None:
    """It is found before anything is run."""
    columns = {"orders": {name: each for name, each in world.columns["orders"].items() if name != "total"}}
    with pytest.raises(ViewInvalid, match="orders: a column 'total'"):
        rewrite(parsed(world), {"orders": TableView("orders")}, tables=world.tables, columns=columns, rows=1)


def test_functions_are_named_with_those_of_operators() -> None:
    """SQLite's authorizer is asked for LIKE as for a function; the stage holds every plan here to what it names."""
    statement = "SELECT upper(name) FROM people WHERE name LIKE 'a%'"
    plan = sqlite_world().plan(statement, masks={"people": {"name": Mask("hash")}})

    assert plan.functions == {"upper", "like", "remit_hash"}


def opaque(column: str) -> str:
    """How a fence of PostgreSQL gives a column."""
    return f"CASE WHEN now() > '-infinity' THEN {column} END"


def parsed(world: World) -> Statement:
    """A statement on orders."""
    return parse_statement("SELECT total FROM orders", dataset=DATASET, tables=world.tables, dialect=world.dialect)
