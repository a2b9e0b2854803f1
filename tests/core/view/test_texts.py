"""What one call of a database may search, and how long a text it may make, is bounded before it is asked."""

from __future__ import annotations

import pytest
from fakes.leak_world import tables
from remit.core.view.model import Cell, Dialect, Statement, ViewRefused
from remit.core.view.statement import parse_statement
from remit.core.view.weight import check_weight

POSTGRES, SQLITE = Dialect.POSTGRES, Dialect.SQLITE
LONG = "a" * 1_000

# The second is what is searched for.
SEARCHES = [
    (POSTGRES, "strpos(name, {})"),
    (POSTGRES, "position({} in name)"),
    (POSTGRES, "replace(name, {}, '')"),
    (POSTGRES, "split_part(name, {}, 1)"),
    (POSTGRES, "regexp_replace(name, {}, '')"),
    (POSTGRES, "translate(name, {}, '')"),
    (POSTGRES, "btrim(name, {})"),
    (POSTGRES, "trim(both {} from name)"),
    (POSTGRES, "name LIKE {}"),
    (POSTGRES, "name LIKE {} ESCAPE '!'"),
    (POSTGRES, "name ILIKE {}"),
    (POSTGRES, "name LIKE ANY (ARRAY[{}])"),
    (POSTGRES, "name SIMILAR TO {}"),
    (POSTGRES, "name ~ {}"),
    (POSTGRES, "name ~* {}"),
    (SQLITE, "instr(name, {})"),
    (SQLITE, "replace(name, {}, '')"),
    (SQLITE, "trim(name, {})"),
    (SQLITE, "name LIKE {}"),
    (SQLITE, "name GLOB {}"),
]
CALLS = [pytest.param(dialect, call, id=f"{dialect.value}: {call}") for dialect, call in SEARCHES]


def read(sql: str, dialect: Dialect) -> Statement:
    return parse_statement(sql, dataset="crm", tables=tables(dialect), dialect=dialect)


@pytest.mark.parametrize(("dialect", "call"), CALLS)
@pytest.mark.parametrize(
    "sought", ["'abc'", ":p", "'%' || :p || '%'", "lower(:p)", "name", "'%' || name", f"'{LONG[600:]}'"]
)
def test_short_texts_and_columns_are_searched_for(dialect: Dialect, call: str, sought: str) -> None:
    """As people write them."""
    if "trim(both" in call:
        sought = f"({sought})"
    read(f"SELECT {call.format(sought)} FROM people", dialect)


@pytest.mark.parametrize(("dialect", "call"), CALLS)
@pytest.mark.parametrize(
    "sought",
    [
        f"'{LONG}{LONG}'",
        "(replace(name, 'a', :p) || 'b')",
        "('b' || substr(name, 1, 300000))",
        "coalesce((SELECT max(name) FROM people), '')",
        "(CASE WHEN age > 1 THEN name END)",
        f"('{LONG}' || '{LONG}')",
    ],
)
def test_long_and_computed_ones_are_not(dialect: Dialect, call: str, sought: str) -> None:
    """They are refused with what and where, before a database sees them."""
    with pytest.raises(
        ViewRefused, match=r"line 1, column \d+: a long or computed text that is searched for, expected"
    ):
        read(f"SELECT {call.format(sought)} FROM people", dialect)


@pytest.mark.parametrize("dialect", list(Dialect), ids=lambda each: each.value)
def test_nor_is_what_a_sub_query_computed(dialect: Dialect) -> None:
    """Under whatever name; a column that it passes on is one."""
    made = "WITH s AS (SELECT {} AS t FROM people) SELECT 1 FROM people, s WHERE name LIKE s.t"
    read(made.format("name"), dialect)
    with pytest.raises(ViewRefused, match="searched for"):
        read(made.format("replace(name, 'b', 'a')"), dialect)


GROWING = [
    (POSTGRES, "replace({}, 'a', '" + "b" * 100 + "')"),
    (POSTGRES, "replace({}, 'a', s)"),
    (POSTGRES, "regexp_replace({}, 'a', '" + "b" * 100 + "', 'g')"),
    (POSTGRES, "lpad({}, 1, {})"),
    (POSTGRES, "quote_literal({})"),
    (POSTGRES, "CAST(json_build_array({}) AS text)"),
    (POSTGRES, "concat_ws({}, 1, 2, 3, 4)"),
    (POSTGRES, "to_char(1, {})"),
    (SQLITE, "replace({}, 'a', '" + "b" * 100 + "')"),
    (SQLITE, "replace({}, '', s)"),
    (SQLITE, "hex({})"),
    (SQLITE, "quote({})"),
    (SQLITE, "json_array({})"),
    (SQLITE, "strftime({})"),
]


@pytest.mark.parametrize(("dialect", "call"), GROWING)
def test_a_text_that_grows_with_each_level_is_refused(dialect: Dialect, call: str) -> None:
    """One level is let through: people write it."""

    def levels(count: int) -> str:
        ctes = "".join(f", a{n + 1} AS (SELECT {call.replace('{}', 's')} AS s FROM a{n})" for n in range(count))
        return f"WITH a0 AS (SELECT name AS s FROM people){ctes} SELECT s FROM a{count}"

    read(levels(1), dialect)
    with pytest.raises(ViewRefused, match="grows too large"):
        read(levels(18), dialect)


def test_ordinary_cleaning_is_taken() -> None:
    """Several replacements that make a text no longer, and some that do."""
    cleaned = "name"
    for mark in "+-() /.":
        cleaned = f"replace({cleaned}, '{mark}', '')"
    escaped = "name"
    for mark, word in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        escaped = f"replace({escaped}, '{mark}', '{word}')"
    for dialect in Dialect:
        read(f"SELECT {cleaned}, {escaped} FROM people WHERE {cleaned} LIKE '%' || :p", dialect)


@pytest.mark.parametrize("dialect", list(Dialect), ids=lambda each: each.value)
def test_parameters_are_weighed_by_their_length(dialect: Dialect) -> None:
    """One that is searched for may have a thousand characters; another many, unless it is multiplied."""

    def weighed(sql: str, **parameters: Cell) -> None:
        check_weight(read(sql, dialect).tree, parameters=parameters)

    weighed("SELECT id FROM people WHERE name = :p", p="a" * 64_000)
    weighed("SELECT id FROM people WHERE name LIKE '%' || :p || '%'", p="a" * 500)
    weighed("SELECT replace(name, 'a', :p) FROM people", p="a" * 1_000)
    with pytest.raises(ViewRefused, match="searched for"):
        weighed("SELECT id FROM people WHERE name LIKE :p", p="a" * 1_500)
    with pytest.raises(ViewRefused, match="searched for"):
        weighed("SELECT id FROM people WHERE name LIKE CAST(:p AS text)", p=b"a" * 1_500)
    with pytest.raises(ViewRefused, match="grows too large"):
        weighed("SELECT replace(replace(name, 'a', :p), 'a', :p) FROM people", p="a" * 1_000)
    with pytest.raises(ViewRefused, match="grows too large"):
        weighed("SELECT id FROM people WHERE name = :p", p="a" * 2_000_000)


def test_weighing_takes_no_longer_than_reading() -> None:
    """What is searched for is weighed once, however deep searches stand in each other."""
    nested = "name"
    for _ in range(18):
        nested = f"replace(name, 'a', {nested})"
    with pytest.raises(ViewRefused, match="grows too large"):
        read(f"SELECT {nested} FROM people", SQLITE)


@pytest.mark.parametrize(
    ("dialect", "gathered"),
    [
        (POSTGRES, "string_agg(name, '')"),
        (POSTGRES, "CAST(json_agg(name) AS text)"),
        (POSTGRES, "CAST(array_agg(name) AS text)"),
        (SQLITE, "group_concat(name, '')"),
        (SQLITE, "json_group_array(name)"),
    ],
)
def test_a_text_of_many_rows_is_searched_for_little(dialect: Dialect, gathered: str) -> None:
    """A word in it, directly or by its name; not long texts, and not many."""

    def search(sought: str, times: int = 1) -> str:
        searches = ", ".join(f"t LIKE '{sought}' AS n{number}" for number in range(times))
        return f"WITH g AS (SELECT {gathered} AS t FROM people) SELECT {searches} FROM g"

    read(search("%word%"), dialect)
    read(f"SELECT {', '.join(f'{gathered} AS n{number}' for number in range(15))} FROM people", dialect)
    read(f"SELECT {gathered} LIKE '%word%' FROM people", dialect)
    with pytest.raises(ViewRefused, match="grows too large"):
        read(search(LONG, 2), dialect)
    with pytest.raises(ViewRefused, match="grows too large"):
        read(search("%word%", 50), dialect)
