"""The fence holds on both databases: nothing of the agent's is computed for a row that the filter hides.

The bug that every check here must find is the same text without MATERIALIZED, which both databases merge into the
statement as they would a sub-query.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import apsw
import psycopg
import pytest
from fakes.postgres_server import PostgresServer
from fakes.rewritten import PEOPLE_ROWS, PostgresRuns, SqliteRuns, World, postgres_world, sqlite_world
from remit.core.view.model import NO_ROW, ColumnType, Compare, Dialect, Filter, Mask, Plan, Some

# It shows the rows of the EU. PostgreSQL thinks it dearer than what the agent asks, and so would compute it last.
EU: dict[str, Filter] = {
    "people": Some(
        (
            Compare("region", "eq", "eu"),
            Compare("name", "startswith", "nobody"),
            Compare("name", "endswith", "nobody"),
            Compare("name", "contains", "nobody"),
        )
    )
}
SEEN = {row[3] for row in PEOPLE_ROWS if row[2] == "eu"}
# Someone whom the filter hides, whose age nobody has whom it shows.
HIDDEN_ID, HIDDEN_AGE = next((row[0], row[3]) for row in PEOPLE_ROWS if row[2] == "us" and row[3] not in SEEN)

EU_NOBODY: dict[str, Filter] = {"people": Compare("region", "eq", "nowhere")}

# Where an agent can have an expression computed.
STATEMENTS = {
    "where": "SELECT count(*) FROM people WHERE age >= 0 AND abs(age) >= 0",
    "index": "SELECT count(*) FROM people WHERE age BETWEEN 0 AND 1000 AND abs(age) >= 0",
    "key": "SELECT count(*) FROM people WHERE id = :id AND abs(age) >= 0",
    "output": "SELECT abs(age) FROM people WHERE age >= 0",
    "limit": "SELECT id FROM people WHERE age >= 0 AND abs(age) >= 0 LIMIT 1",
    "order": "SELECT id FROM people WHERE age >= 0 ORDER BY abs(age), id LIMIT 3",
    "group": "SELECT abs(age), count(*) FROM people WHERE age >= 0 GROUP BY abs(age)",
    "aggregate": "SELECT max(abs(age)) FROM people WHERE age >= 0",
    "having": "SELECT age FROM people WHERE age >= 0 GROUP BY age HAVING max(abs(age)) >= 0",
    "case": "SELECT count(*) FROM people WHERE CASE WHEN age >= 0 THEN abs(age) END >= 0",
    "join": "SELECT count(*) FROM people p JOIN orders o ON o.customer = p.id AND abs(p.age) >= 0",
    "outer join": "SELECT count(*) FROM orders o LEFT JOIN people p ON p.id = o.customer AND abs(p.age) >= 0",
    "exists": "SELECT count(*) FROM orders o WHERE EXISTS (SELECT 1 FROM people WHERE id = o.id AND abs(age) >= 0)",
    "in": "SELECT count(*) FROM orders WHERE id IN (SELECT id FROM people WHERE age >= 0 AND abs(age) >= 0)",
    "with": "WITH w AS (SELECT * FROM people WHERE age >= 0) SELECT count(*) FROM w WHERE abs(age) >= 0",
    "union": "SELECT id FROM people WHERE age >= 0 AND abs(age) >= 0 UNION ALL SELECT id FROM orders WHERE id = 1",
    "window": "SELECT sum(abs(age)) OVER (ORDER BY id) AS s FROM people WHERE age >= 0",
    "distinct": "SELECT DISTINCT abs(age) FROM people WHERE age >= 0",
}


@dataclass
class Spied:
    """A world in which abs() tells of each value that it is called with."""

    world: World
    calls: list[int] = field(default_factory=list)

    def seen(self, plan: Plan, **parameters: Any) -> set[int]:
        self.calls.clear()
        self.world.run(plan, parameters)
        return set(self.calls)


@pytest.fixture(scope="module", params=list(Dialect))
def spied(request: pytest.FixtureRequest) -> Iterator[Spied]:
    """abs() is a function of the test's own in both databases, and each may think it cheap and use its indexes."""
    if request.param is Dialect.SQLITE:
        found = Spied(sqlite_world())
        _index(found.world)
        database = found.world.database
        assert isinstance(database, SqliteRuns)

        def abs_(value: Any) -> Any:
            found.calls.append(value)
            return value

        database.connection.create_scalar_function("abs", abs_, 1)
        yield found
        return
    with postgres_world(request.getfixturevalue("postgres")) as world:
        found = Spied(world)
        _index(world)
        world.raw("CREATE SCHEMA spies")
        world.raw(
            "CREATE FUNCTION spies.abs(integer) RETURNS integer LANGUAGE plpgsql STABLE COST 0.0001 "
            "AS $$ BEGIN RAISE NOTICE '%', $1; RETURN $1; END $$"
        )
        world.raw("SET search_path = spies, pg_catalog")
        database = world.database
        assert isinstance(database, PostgresRuns)
        database.connection.add_notice_handler(lambda told: found.calls.append(int(told.message_primary or "0")))
        yield found


def _index(world: World) -> None:
    world.raw("CREATE INDEX people_age ON people (age)")
    world.raw("CREATE INDEX people_id ON people (id)")
    if world.postgres:
        world.raw("ANALYZE people")


def merged(plan: Plan) -> Plan:
    """The planted bug: no fence."""
    assert " AS MATERIALIZED " in plan.text.sql
    text = replace(plan.text, sql=plan.text.sql.replace(" AS MATERIALIZED ", " AS NOT MATERIALIZED "))
    return replace(plan, text=text, subjects=())


@pytest.mark.parametrize("place", STATEMENTS)
def test_no_function_of_the_agents_is_called_with_a_hidden_value(spied: Spied, place: str) -> None:
    """Wherever it stands, it sees values of rows that are shown, and no other."""
    plan = spied.world.plan(STATEMENTS[place], filters=EU)

    seen = spied.seen(plan, id=HIDDEN_ID)

    assert seen <= SEEN
    assert bool(seen) == (place != "key")


def test_without_the_fence_it_is(spied: Spied) -> None:
    """The planted bug is found: both databases compute what is indexed, or cheap, first."""
    found = [
        place
        for place, statement in STATEMENTS.items()
        if not spied.seen(merged(spied.world.plan(statement, filters=EU)), id=HIDDEN_ID) <= SEEN
    ]

    assert {"where", "index", "union"} <= set(found)


# Errors tell as well.


def failing(world: World) -> str:
    """A statement that fails for the hidden person, and for nobody who is shown."""
    if world.postgres:
        return f"SELECT count(*) FROM people WHERE age >= {HIDDEN_AGE} AND 1 / (age - {HIDDEN_AGE}) < 2"
    broken = f"CASE WHEN age = {HIDDEN_AGE} THEN '{{' ELSE '{{}}' END"
    return f"SELECT count(*) FROM people WHERE age >= {HIDDEN_AGE} AND json_extract({broken}, '$') IS NOT NULL"


def test_no_error_tells_of_a_hidden_row(spied: Spied) -> None:
    """What would fail for it is not computed; merged, it fails."""
    plan = spied.world.plan(failing(spied.world), filters=EU)

    spied.world.run(plan, {})
    with pytest.raises((apsw.SQLError, psycopg.Error), match=r"division by zero|malformed JSON"):
        spied.world.run(merged(plan), {})


def test_a_moved_condition_brings_no_error_of_a_hidden_row(spied: Spied) -> None:
    """The hidden row is found by its key in the fence, and goes no further."""
    statement = failing(spied.world).replace("WHERE", f"WHERE id = {HIDDEN_ID} AND")
    plan = spied.world.plan(statement, filters=EU)

    assert f'"r"."id" = {HIDDEN_ID}' in plan.text.sql
    assert spied.world.run(plan, {}).rows == [(0,)]


# What fails for a name that begins so, and for no other: an escape with nothing after it.
ENDS_WITH_ESCAPE = r"SELECT count(*) FROM people WHERE name LIKE '_erso\' OR age IS NULL"


@pytest.mark.parametrize("filters", [EU_NOBODY, {"people": NO_ROW}])
def test_statistics_tell_nothing_of_hidden_rows(named: World, filters: dict[str, Filter]) -> None:
    """PostgreSQL tries a pattern on the most common values of a column when it plans, before it reads a row."""
    outer = ENDS_WITH_ESCAPE.replace("FROM people", "FROM orders o LEFT JOIN people p ON p.id = o.id")
    for statement in (ENDS_WITH_ESCAPE, outer):
        named.run(named.plan(statement, filters=filters), {})


def test_statistics_would_tell_through_a_sub_query(named: World) -> None:
    """The planted bug: OFFSET 0 keeps the rows apart, and the planner looks through it; not through what is opaque.

    From version 17 on PostgreSQL looks through MATERIALIZED as well.
    """
    plan = named.plan(ENDS_WITH_ESCAPE, filters=EU_NOBODY)
    name, body = plan.text.sql.removeprefix("WITH ").split(" AS MATERIALIZED (", 1)
    body, rest = body.split(") SELECT ", 1)
    offset = f"SELECT {rest}".replace(f"FROM {name}", f"FROM ({body} OFFSET 0)")
    opaque = replace(plan, text=replace(plan.text, sql=offset), subjects=())
    plain = replace(
        opaque,
        text=replace(
            plan.text, sql=offset.replace("CASE WHEN now() > '-infinity' THEN ", "").replace(" END AS", " AS")
        ),
    )

    named.run(opaque, {})
    with pytest.raises(psycopg.errors.InvalidEscapeSequence):
        named.run(plain, {})


@pytest.fixture(scope="module")
def named(postgres: PostgresServer) -> Iterator[World]:
    """PostgreSQL that knows the names of people well, all of whom are hidden."""
    with postgres_world(postgres) as world:
        world.raw("INSERT INTO people SELECT * FROM people")
        world.raw("ANALYZE people")
        yield world


CONSTANTS: list[tuple[str, dict[str, Any]]] = [
    ("born = 'junk'", {}),
    ("born = :v", {"v": "junk"}),
    ("born >= CAST(:v AS date)", {"v": "junk"}),
    ("born BETWEEN '2020-01-01' AND 'junk'", {}),
    ("age = 'junk'", {}),
    ("age = :v", {"v": "7.5x"}),
    ("age < CAST(:v AS smallint)", {"v": 10**6}),
    ("age IN (1, 2, :v)", {"v": "x"}),
    ("age < CAST('99999999999' AS integer)", {}),
    ("score > :v", {"v": Decimal("1e400")}),
    ("score > :v", {"v": "1e400"}),
    ("made <= CAST('2020-13-01' AS timestamp)", {}),
    ("active = :v", {"v": "perhaps"}),
]


@pytest.mark.parametrize(("condition", "parameters"), CONSTANTS)
def test_a_value_that_does_not_fit_fails_alike_whatever_the_rows(
    postgres_only: World, condition: str, parameters: dict[str, Any]
) -> None:
    """With rows shown, with all hidden, and with none there at all: the error comes of the value alone."""
    errors = []
    for filters in ({}, EU, {"people": Compare("region", "eq", "nowhere")}):
        for statement in ("SELECT count(*) FROM people WHERE {}", "SELECT count(*) FROM people WHERE id = -1 AND {}"):
            plan = postgres_only.plan(statement.format(condition), filters=filters)
            with pytest.raises(psycopg.Error) as caught:
                postgres_only.run(plan, parameters)
            errors.append((type(caught.value), caught.value.sqlstate))

    assert len(set(errors)) == 1


@pytest.fixture(scope="module")
def postgres_only(postgres: PostgresServer) -> Iterator[World]:
    """What concerns PostgreSQL alone: in SQLite no comparison and no cast fails."""
    with postgres_world(postgres) as world:
        yield world


# Which conditions are moved.

_WHOLE, _BROKEN = ("smallint", "integer", "bigint"), ("real", "double precision")
LEAKPROOF: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_WHOLE, _WHOLE),
    **dict.fromkeys(_BROKEN, _BROKEN),
    **{
        name: (name,)
        for name in (
            *("text", "character", "boolean", "date", "uuid"),
            *("timestamp without time zone", "timestamp with time zone"),
        )
    },
}


def test_postgresql_calls_the_moved_comparisons_leakproof(postgres_only: World) -> None:
    """Of each type whose conditions are moved, all five operators; and numeric's are not, which is why it is left."""
    asked = (
        "SELECT DISTINCT oprleft::regtype::text, oprright::regtype::text, proleakproof FROM pg_operator "
        "JOIN pg_proc ON pg_proc.oid = oprcode WHERE oprname IN ('=', '<', '<=', '>', '>=')"
    )
    proof = {(left, right): leakproof for left, right, leakproof in postgres_only.raw(asked)}

    for left, rights in LEAKPROOF.items():
        assert all(proof[left, right] for right in rights)
    assert not proof["numeric", "numeric"]


@pytest.mark.parametrize(
    ("condition", "moves"),
    [
        ("id = 5", True),
        ("5 > id", True),
        ("id = :v", True),
        ("id IN (1, 2, :v)", True),
        ("id BETWEEN 1 AND 3", True),
        ("age >= -5", True),
        ("age > 2.5", False),
        ("age > 99999999999999999999", False),
        ("score > 2.5", True),
        ("region = 'eu'", True),
        ("born >= '2000-01-01'", True),
        ("born >= CAST('2000-01-01' AS date)", True),
        ("born >= CAST('2000-01-01' AS timestamp)", False),
        ("age < CAST(:v AS numeric)", False),
        ("active = TRUE", True),
        ("balance > 5", False),
        ("name = 'x'", False),
        ("abs(age) = 5", False),
        ("id = 5 OR age = 5", False),
        ("NOT id = 5", False),
        ("id <> 5", False),
    ],
)
def test_only_conditions_that_cannot_fail_are_moved(postgres_only: World, condition: str, moves: bool) -> None:
    """By a leakproof operator, of a column without a mask (`name` has one here), and not as another type's."""
    masks = {"people": {"name": partial(2)}}
    plan = postgres_only.plan(f"SELECT count(*) FROM people WHERE {condition}", filters=EU, masks=masks)
    fence = plan.text.sql.split(") SELECT count(*)", 1)[0]

    assert (") AND (" in fence.split(" WHERE ", 1)[1]) == moves


@pytest.mark.parametrize(
    ("declared", "value", "moves"),
    [
        ("smallint", "5", True),
        ("timestamp(3) with time zone", "'2020-01-01'", True),
        ("time without time zone", "'12:00'", False),
        ("character varying(20)", "'x'", True),
        ("character varying(20)[]", "'{x}'", False),
        ("double precision[]", "'{1}'", False),
        ('"char"', "'x'", False),
        ("interval", "'1 day'", False),
        ("jsonb", "'{}'", False),
        ("bytea", "'x'", False),
    ],
)
def test_types_whose_comparisons_are_not_known_to_be_total_stay(
    postgres_only: World, declared: str, value: str, moves: bool
) -> None:
    """By the name that PostgreSQL gives the type, arrays and types of a database's own among them."""
    postgres_only.add("typed", {"x": (ColumnType.ANY, declared, "")}, [])
    plan = postgres_only.plan(
        f"SELECT count(*) FROM typed WHERE x = {value}", filters={"typed": Compare("x", "ne", None)}
    )
    postgres_only.run(plan, {})
    postgres_only.raw("DROP TABLE typed")

    assert plan.text.sql.count(value) == (2 if moves else 1)


def test_all_comparisons_are_moved_in_sqlite() -> None:
    """None of them fails, of whatever types; a masked column's are not."""
    world = sqlite_world()

    for condition, moves in (("balance > 5", True), ("age > 2.5", True), ("name = 'x'", False)):
        plan = world.plan(
            f"SELECT count(*) FROM people WHERE {condition}", filters=EU, masks={"people": {"name": partial(2)}}
        )
        assert plan.text.sql.count("> 5") + plan.text.sql.count("> 2.5") == (2 if moves else 0)


def test_a_moved_condition_is_the_same_condition(postgres_only: World) -> None:
    """`age > 2.5` with a parameter is not `age > 3`, which a cast to the column's type would make of it."""
    plan = postgres_only.plan(
        "SELECT count(*) FROM people WHERE age > :v AND age < 4", filters={"people": Compare("id", "gt", 0)}
    )

    assert '"r"."age" > $' in plan.text.sql
    assert postgres_only.run(plan, {"v": Decimal("2.5")}).rows == [(len([1 for row in PEOPLE_ROWS if row[3] == 3]),)]


def test_comparisons_of_other_types_than_the_columns_are_total(postgres_only: World) -> None:
    """What a parameter may bring that is not marked leakproof: it fails for no value, the extremes among them."""
    late, early = datetime.max, datetime.min
    times = [date.max, date.min, late, early, late.replace(tzinfo=UTC), early.replace(tzinfo=UTC)]
    numbers = [Decimal("1e300"), Decimal("-1e-300"), Decimal("NaN"), 1e308, 1e-308, float("nan"), 2**62, 5]
    ends = ["infinity", "-infinity", "4714-11-24 BC"]
    extremes: dict[str, tuple[ColumnType, str, list[str], list[Any]]] = {
        "whole": (ColumnType.INTEGER, "bigint", [str(-(2**63)), str(2**63 - 1)], numbers),
        "small": (ColumnType.INTEGER, "smallint", ["-32768", "32767"], numbers),
        "broken": (ColumnType.REAL, "double precision", ["NaN", "-Infinity", "1e-320", "1.797e308"], numbers),
        "day": (ColumnType.DATE, "date", ["5874897-12-31", *ends], times),
        "moment": (ColumnType.TIMESTAMP, "timestamp without time zone", ["294276-12-31 23:59", *ends], times),
        "instant": (ColumnType.TIMESTAMPTZ, "timestamp with time zone", ["294276-12-31 23:59+00", *ends], times),
    }
    for name, (kind, declared, values, bound) in extremes.items():
        postgres_only.add(name, {"x": (kind, declared, "")}, [(value,) for value in values])
        for sign in ("<", "=", ">=", "IN"):
            for value in bound:
                place = "(:v)" if sign == "IN" else ":v"
                plan = postgres_only.plan(
                    f"SELECT count(*) FROM {name} WHERE x {sign} {place}", filters={name: Compare("x", "ne", None)}
                )
                assert plan.text.sql.count(f'"x" {sign}') == 2
                postgres_only.run(plan, {"v": value})


# The index.

SQLITE_SERIES = "(WITH RECURSIVE n (i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 6000) SELECT i FROM n)"


@pytest.mark.parametrize("condition", ["id = 5", "id IN (5, :v)", "id BETWEEN 5 AND :v", "id >= :v AND id < 9"])
def test_a_moved_condition_uses_the_index(spied: Spied, condition: str) -> None:
    """In the fence; without the condition there it is a scan of all rows."""
    schema = "public" if spied.world.postgres else "main"
    if not spied.world.raw(f"SELECT 1 FROM {schema}.people WHERE id = 1000"):
        series = "generate_series(1000, 6000)" if spied.world.postgres else SQLITE_SERIES
        spied.world.raw(f"INSERT INTO {schema}.people (id) SELECT * FROM {series} AS s")
        spied.world.raw(f"ANALYZE {schema}.people")
    plan = spied.world.plan(
        f"SELECT name FROM people WHERE {condition}", filters={"people": Compare("name", "ne", "x")}
    )

    steps = explained(spied.world, plan)

    assert any("people_id" in step for step in steps)
    assert not any("Seq Scan" in step or step.startswith("SCAN r") for step in steps)


def explained(world: World, plan: Plan) -> list[str]:
    """The database's own plan."""
    values: list[Any] = [{"id": 7, "v": 6}.get(getattr(each, "name", ""), "x") for each in plan.text.bindings]
    if world.postgres:
        return [row[0] for row in world.raw(f"EXPLAIN {plan.text.sql}", values)]
    return [row[3] for row in world.raw(f"EXPLAIN QUERY PLAN {plan.text.sql}", values)]


def test_sqlite_keeps_the_fence_a_step_of_its_own() -> None:
    """Neither flattened, nor a co-routine, for each of the statements here."""
    world = sqlite_world()
    for statement in STATEMENTS.values():
        plan = world.plan(statement, filters=EU)
        assert any(step.startswith("MATERIALIZE remit_v") for step in explained(world, plan)), statement


def test_postgresql_computes_a_fence_no_further_than_the_answer_needs(postgres_only: World) -> None:
    """LIMIT ends it early: a fence does not cost all rows."""
    plan = postgres_only.plan("SELECT name FROM people LIMIT 2", filters={"people": Compare("id", "gt", 0)})
    steps = [row[0] for row in postgres_only.raw(f"EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) {plan.text.sql}", [0])]

    assert any("Seq Scan on people" in step and "rows=2 " in step for step in steps)


def partial(last: int) -> Mask:
    """A mask that shows so many characters."""
    return Mask("partial", {"last": last})
