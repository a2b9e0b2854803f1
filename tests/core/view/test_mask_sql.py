"""Masks give what they say, and fail for no value that a column can hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from fakes.postgres_server import PostgresServer
from fakes.rewritten import DATASET, World, hashed, postgres_world, sqlite_world, token
from fakes.rewritten import world as world
from remit.core.view.model import ColumnType, Compare, Mask, ViewInvalid

Kind = tuple[ColumnType, str, str]

# Of each type what is hardest to compute with, as PostgreSQL reads it; and each type's masks.
EXTREMES: Mapping[str, tuple[Kind, list[str | None]]] = {
    "smallint": ((ColumnType.INTEGER, "smallint", ""), ["-32768", "32767", "0", None]),
    "integer": ((ColumnType.INTEGER, "integer", ""), [str(-(2**31)), str(2**31 - 1), "-1", None]),
    "bigint": ((ColumnType.INTEGER, "bigint", ""), [str(-(2**63)), str(2**63 - 1), "-1", None]),
    "real": ((ColumnType.REAL, "real", ""), ["NaN", "Infinity", "-Infinity", "3.4028235e38", "1e-45", "-0", None]),
    "double": (
        (ColumnType.REAL, "double precision", ""),
        ["NaN", "Infinity", "-Infinity", "1.7976931348623157e308", "-1.7976931348623157e308", "5e-324", "-0", None],
    ),
    "numeric": (
        (ColumnType.DECIMAL, "numeric", ""),
        ["NaN", "Infinity", "-Infinity", "9" * 131072, "-" + "9" * 131072, "0." + "0" * 16382 + "1", "0", None],
    ),
    "money_like": ((ColumnType.DECIMAL, "numeric(4,2)", ""), ["99.99", "-99.99", "NaN", None]),
    "text": ((ColumnType.TEXT, "text", ""), ["", "a", "é\U0001f600", "x" * 100_000, "%\\'\"", "\n", None]),
    "varchar": ((ColumnType.TEXT, "character varying(3)", ""), ["", "abc", None]),
    "character": ((ColumnType.TEXT, "character(5)", ""), ["", "abc", "  a", None]),
    "date": (
        (ColumnType.DATE, "date", ""),
        ["infinity", "-infinity", "5874897-12-31", "4714-11-24 BC", "0001-01-01", "9999-12-31", None],
    ),
    "timestamp": (
        (ColumnType.TIMESTAMP, "timestamp without time zone", ""),
        ["infinity", "-infinity", "294276-12-31 23:59:59.999999", "4714-11-24 BC", None],
    ),
    "timestamptz": (
        (ColumnType.TIMESTAMPTZ, "timestamp with time zone", ""),
        ["infinity", "-infinity", "294276-12-31 23:59:59.999999+00", "4714-11-24 00:00+00 BC", None],
    ),
    "time": ((ColumnType.TIME, "time without time zone", ""), ["24:00:00", "00:00:00", None]),
    "interval": ((ColumnType.INTERVAL, "interval", ""), ["178000000 years", "-178000000 years", None]),
    "boolean": ((ColumnType.BOOLEAN, "boolean", ""), ["true", "false", None]),
    "uuid": ((ColumnType.UUID, "uuid", ""), ["00000000-0000-0000-0000-000000000000", None]),
    "bytes": ((ColumnType.BYTES, "bytea", ""), ["", "\\x00ff", None]),
    "json": ((ColumnType.JSON, "jsonb", ""), ['"x"', "null", "[]", None]),
    "own": ((ColumnType.ANY, "point", ""), ["(1e308,-1e308)", "(NaN,Infinity)", None]),
}
MASKS = [
    Mask("null"),
    Mask("constant", {"value": "x"}),
    Mask("constant", {"value": 5}),
    Mask("constant", {"value": Decimal("0.5")}),
    Mask("constant", {"value": True}),
    Mask("constant", {"value": "2020-02-29"}),
    Mask("constant", {"value": "00000000-0000-0000-0000-000000000001"}),
    Mask("constant", {"value": None}),
    Mask("hash"),
    Mask("partial", {"last": 2}),
    Mask("partial", {"first": 64}),
    Mask("partial", {"last": 0}),
    Mask("bucket", {"width": 1}),
    Mask("bucket", {"width": 7}),
    Mask("bucket", {"width": 2**53}),
    Mask("bucket", {"width": Decimal("0.000001")}),
    *(Mask("bucket", {"unit": unit}) for unit in ("year", "month", "week", "day", "hour")),
    *(Mask("round", {"places": places}) for places in (0, 2, 15)),
    Mask("tokenize"),
    Mask("tokenize", {"domain": "shared"}),
]


@pytest.fixture(scope="module")
def extremes(postgres: PostgresServer) -> Iterator[World]:
    """PostgreSQL with a table for each type."""
    with postgres_world(postgres) as found:
        for name, (kind, values) in EXTREMES.items():
            found.add(f"x_{name}", {"v": kind}, [(value,) for value in values])
        yield found


@pytest.mark.parametrize("name", EXTREMES)
def test_no_mask_fails_for_any_value(extremes: World, name: str) -> None:
    """Every mask that fits the type, over its extremes: a value of one type for each row, and NULL for NULL."""
    fitting = 0
    for mask in MASKS:
        masks = {f"x_{name}": {"v": mask}}
        try:
            plan = extremes.plan(f"SELECT v FROM x_{name} WHERE v IS NULL OR v IS NOT NULL", masks=masks)
        except ViewInvalid:
            continue
        rows = extremes.run(plan, {}).rows if not _unread(name) else texts(extremes, name, mask)
        fitting += 1
        assert len(rows) == len(EXTREMES[name][1])
        nulls = [row for row in rows if row[0] is None]
        constant = mask.kind == "null" or (mask.kind == "constant")
        assert constant or len(nulls) == 1, mask
    assert fitting >= 3


@pytest.mark.parametrize(
    ("name", "naive"),
    [
        ("bigint", "CAST(floor(CAST(v AS numeric) / 10) * 10 AS bigint)"),
        ("double", "floor(v / 0.000001) * 0.000001"),
        ("date", "CAST(date_trunc('month', v) AS date)"),
        ("timestamp", "date_trunc('year', v)"),
        ("character", "CAST(v AS integer)"),
    ],
)
def test_the_values_are_hard_enough(extremes: World, name: str, naive: str) -> None:
    """The planted bugs: masks as one would first write them fail for some of these."""
    with pytest.raises(psycopg.DataError):
        extremes.raw(f"SELECT CAST({naive} AS text) FROM x_{name}")


def _unread(name: str) -> bool:
    """Types some of whose values Python has none for."""
    return name in {"date", "timestamp", "timestamptz", "interval", "time"}


def texts(extremes: World, name: str, mask: Mask) -> list[tuple[Any, ...]]:
    """The same as text."""
    plan = extremes.plan(f"SELECT CAST(v AS text) AS v FROM x_{name}", masks={f"x_{name}": {"v": mask}})
    return extremes.run(plan, {}).rows


STORED: list[Any] = [
    None,
    -(2**63),
    2**63 - 1,
    0,
    -1,
    1.7976931348623157e308,
    float("inf"),
    float("-inf"),
    5e-324,
    "",
    "text",
    "12.5",
    "2020-02-30",
    "now",
    "é\U0001f600" * 50,
    b"",
    b"\xff\x00\xfe",
]


@pytest.mark.parametrize("kind", list(ColumnType))
def test_no_mask_fails_for_what_sqlite_may_hold(kind: ColumnType) -> None:
    """A column of SQLite may hold any value, whatever its type says."""
    found = sqlite_world()
    declared = {ColumnType.ANY: "", ColumnType.BYTES: "BLOB"}.get(kind, "ANY TYPE")
    found.add("x", {"v": (kind, "", declared)}, [(value,) for value in STORED])
    for mask in MASKS:
        try:
            plan = found.plan("SELECT v FROM x WHERE v IS NULL OR v IS NOT NULL", masks={"x": {"v": mask}})
        except ViewInvalid:
            continue
        assert len(found.run(plan, {}).rows) == len(STORED)


# What masks give.

VALUES: Mapping[str, tuple[Kind, list[tuple[Mask, Any, Any]]]] = {
    "text": (
        (ColumnType.TEXT, "text", "TEXT"),
        [
            (Mask("null"), "abc", None),
            (Mask("constant", {"value": "hidden"}), "abc", "hidden"),
            (Mask("constant", {"value": "hidden"}), None, "hidden"),
            (Mask("partial", {"last": 2}), "abcdé", "***dé"),
            (Mask("partial", {"last": 4}), "abcd", "***"),
            (Mask("partial", {"last": 4}), "abc", "***"),
            (Mask("partial", {"first": 2}), "abcd", "ab***"),
            (Mask("partial", {"first": 2}), "ab", "***"),
            (Mask("partial", {"last": 0}), "abc", "***"),
            (Mask("partial", {"last": 1}), "", "***"),
            (Mask("partial", {"last": 1}), None, None),
            (Mask("hash"), "abé", hashed("abé", "crm.t_text.v")),
            (Mask("hash"), None, None),
            (Mask("tokenize"), "abc", token("abc", "crm.t_text.v")),
            (Mask("tokenize", {"domain": "d"}), "abc", token("abc", "d")),
            (Mask("tokenize"), None, None),
        ],
    ),
    "integer": (
        (ColumnType.INTEGER, "bigint", "INTEGER"),
        [
            (Mask("constant", {"value": 7}), 5, 7),
            (Mask("partial", {"last": 2}), 123456, "***56"),
            (Mask("hash"), 42, hashed("42", "crm.t_integer.v")),
            (Mask("tokenize"), -42, token("-42", "crm.t_integer.v")),
            (Mask("bucket", {"width": 10}), 47, 40),
            (Mask("bucket", {"width": 10}), 40, 40),
            (Mask("bucket", {"width": 10}), -1, -10),
            (Mask("bucket", {"width": 10}), -10, -10),
            (Mask("bucket", {"width": 10}), 2**63 - 1, 9223372036854775800),
            (Mask("bucket", {"width": 10}), -(2**63), -(2**63)),
            (Mask("bucket", {"width": 10}), None, None),
            (Mask("round", {"places": 0}), 5, 5),
        ],
    ),
    "decimal": (
        (ColumnType.DECIMAL, "numeric(14,4)", "NUMERIC(14,4)"),
        [
            (Mask("constant", {"value": Decimal("0.5")}), Decimal("7"), 0.5),
            (Mask("bucket", {"width": Decimal("0.5")}), Decimal("1.75"), 1.5),
            (Mask("bucket", {"width": 100}), Decimal("-0.01"), -100),
            (Mask("round", {"places": 1}), Decimal("2.3456"), 2.3),
            (Mask("round", {"places": 0}), Decimal("2.75"), 3),
            (Mask("round", {"places": 0}), None, None),
        ],
    ),
    "real": (
        (ColumnType.REAL, "double precision", "REAL"),
        [
            (Mask("bucket", {"width": Decimal("0.25")}), 1.3, 1.25),
            (Mask("bucket", {"width": 10}), -0.5, -10.0),
            (Mask("round", {"places": 2}), 1.2345, 1.23),
            (Mask("round", {"places": 2}), float("inf"), float("inf")),
        ],
    ),
    "date": (
        (ColumnType.DATE, "date", "DATE"),
        [
            (Mask("bucket", {"unit": "year"}), date(2024, 7, 17), "2024-01-01"),
            (Mask("bucket", {"unit": "month"}), date(2024, 7, 17), "2024-07-01"),
            (Mask("bucket", {"unit": "week"}), date(2024, 7, 17), "2024-07-15"),
            (Mask("bucket", {"unit": "week"}), date(2024, 7, 15), "2024-07-15"),
            (Mask("bucket", {"unit": "week"}), date(2024, 7, 21), "2024-07-15"),
            (Mask("bucket", {"unit": "day"}), date(2024, 7, 17), "2024-07-17"),
            (Mask("bucket", {"unit": "day"}), None, None),
            (Mask("constant", {"value": "1970-01-01"}), date(2024, 7, 17), "1970-01-01"),
        ],
    ),
    "timestamp": (
        (ColumnType.TIMESTAMP, "timestamp without time zone", "TIMESTAMP"),
        [
            (Mask("bucket", {"unit": "year"}), datetime(2024, 7, 17, 13, 5, 9), "2024-01-01 00:00:00"),
            (Mask("bucket", {"unit": "week"}), datetime(2024, 7, 17, 13, 5, 9), "2024-07-15 00:00:00"),
            (Mask("bucket", {"unit": "hour"}), datetime(2024, 7, 17, 13, 5, 9), "2024-07-17 13:00:00"),
        ],
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_mask_gives_what_it_says(world: World, name: str) -> None:
    """The same on both databases, and through a fence."""
    kind, cases = VALUES[name]
    table = f"t_{name}"
    world.add(table, {"id": (ColumnType.INTEGER, "integer", "INTEGER"), "v": kind}, [
        (number, value) for number, (_, value, _) in enumerate(cases)
    ])  # fmt: skip
    for number, (mask, _, expected) in enumerate(cases):
        for filters in ({}, {table: Compare("id", "eq", number)}):
            answer = world.ask(
                f"SELECT v FROM {table} WHERE id = {number}", filters=filters, masks={table: {"v": mask}}
            )
            assert [same(row[0]) for row in answer.rows] == [expected], (mask, filters)


def same(value: Any) -> Any:
    """Databases differ in what a date and a decimal are to Python."""
    if isinstance(value, Decimal):
        return float(value)
    return (
        value.isoformat(" ") if isinstance(value, datetime) else value.isoformat() if isinstance(value, date) else value
    )


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM people WHERE name = 'person 7'",
        "SELECT count(*) FROM people WHERE name LIKE 'person%'",
        "SELECT count(*) FROM people p JOIN orders o ON p.name = 'person ' || o.id",
        "SELECT count(*) FROM people GROUP BY name HAVING min(name) = 'person 7'",
        "SELECT count(*) FROM people WHERE name IN (SELECT name FROM people WHERE name = 'person 7')",
        "SELECT count(DISTINCT name) - 1 AS n FROM people",
    ],
)
def test_a_masked_column_cannot_be_probed(world: World, statement: str) -> None:
    """Whatever asks for it sees the mask's value and no other."""
    answer = world.ask(statement, masks={"people": {"name": Mask("constant", {"value": "x"})}})

    assert answer.rows in ([(0,)], [])


def test_masked_columns_can_be_joined_where_their_domain_is_one(world: World) -> None:
    """Tokens and hashes of one domain are equal where the values are, of whatever type."""
    kinds = {"a": (ColumnType.INTEGER, "integer", "INTEGER"), "b": (ColumnType.TEXT, "text", "TEXT")}
    world.add("pairs", kinds, [(1, "1"), (2, "3"), (None, None)])
    shared = Mask("tokenize", {"domain": "d"})

    answer = world.ask("SELECT count(*) FROM pairs WHERE a = b", masks={"pairs": {"a": shared, "b": shared}})

    assert answer.rows == [(1,)]


def test_a_token_query_reads_no_more_than_the_view_shows(extremes: World) -> None:
    """By the same filter, and by the conditions of its one use; a use without any asks for all that is shown."""
    only_eu = {"people": Compare("region", "eq", "eu")}
    masks = {"people": {"name": Mask("tokenize")}}
    one = extremes.plan("SELECT name FROM people WHERE id IN (3, 4)", filters=only_eu, masks=masks)
    two = extremes.plan(
        "SELECT a.name FROM people a JOIN people b ON b.name = a.name WHERE a.id = 3", filters=only_eu, masks=masks
    )

    assert len(one.tokens) == len(two.tokens) == 1
    assert extremes.raw(one.tokens[0].text.sql, ["eu"]) == [("person 3",)]
    assert len(extremes.raw(two.tokens[0].text.sql, ["eu"])) == 35
    assert (one.tokens[0].domain, one.tokens[0].labels) == (f"{DATASET}.people.name", ("pii",))
    assert extremes.run(two, {}).rows == [(token("person 3", "crm.people.name"),)]


def test_a_masked_column_keeps_its_type(extremes: World) -> None:
    """What is null, constant, in buckets or rounded is compared and counted with as before."""
    masks = {
        "people": {
            "age": Mask("bucket", {"width": 10}),
            "balance": Mask("round", {"places": 0}),
            "score": Mask("null"),
            "born": Mask("bucket", {"unit": "year"}),
            "active": Mask("constant", {"value": False}),
            "region": Mask("constant", {"value": "nowhere to be found, at length"}),
        }
    }
    statement = (
        "SELECT age + 1 AS a, balance * 2 AS b, score / 0 AS s, active AND TRUE AS t, region, born "
        "FROM people WHERE id = 7"
    )

    assert extremes.ask(statement, masks=masks).rows == [
        (1, Decimal(140), None, False, "nowhere to be found, at length", date(1957, 1, 1))
    ]


@pytest.mark.parametrize(
    ("column", "mask"),
    [
        ("age", Mask("constant", {"value": "x"})),
        ("age", Mask("constant", {"value": Decimal("1.5")})),
        ("age", Mask("constant", {"value": 2**63})),
        ("name", Mask("constant", {"value": 5})),
        ("born", Mask("partial", {"last": 2})),
        ("name", Mask("partial", {"last": -1})),
        ("name", Mask("partial", {"last": True})),
        ("name", Mask("partial", {"first": 1, "last": 1})),
        ("name", Mask("partial", {})),
        ("name", Mask("bucket", {"width": 5})),
        ("age", Mask("bucket", {"width": 0})),
        ("age", Mask("bucket", {"width": Decimal("0.5")})),
        ("age", Mask("bucket", {"width": 2**60})),
        ("age", Mask("bucket", {"unit": "year"})),
        ("age", Mask("bucket", {})),
        ("born", Mask("bucket", {"unit": "hour"})),
        ("born", Mask("bucket", {"unit": "x'); --"})),
        ("name", Mask("round", {"places": 2})),
        ("age", Mask("round", {"places": "2"})),
        ("name", Mask("scramble")),
    ],
)
def test_a_mask_that_does_not_fit_is_policys_fault(world: World, column: str, mask: Mask) -> None:
    """It names the column, and the column is not shown instead."""
    with pytest.raises(ViewInvalid, match=rf"^people\.{column}: the mask {mask.kind} on a column of type"):
        world.plan(f"SELECT {column} FROM people", masks={"people": {column: mask}})


def test_masks_of_columns_that_are_not_named_cost_nothing(world: World) -> None:
    """Only what a statement can see is computed."""
    plan = world.plan("SELECT id FROM people", masks={"people": {"name": Mask("tokenize")}})

    assert (plan.tokens, plan.text.bindings, plan.functions) == ((), (), frozenset())
