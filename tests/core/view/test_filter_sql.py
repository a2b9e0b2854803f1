"""Row filters mean in both databases what they say, in logic with three values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from fakes.rewritten import World, postgres_world, sqlite_world
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from remit.core.view.filter_sql import columns_of, simplified
from remit.core.view.model import (
    EVERY_ROW,
    NO_ROW,
    ColumnType,
    Compare,
    Dialect,
    Every,
    FieldRef,
    Filter,
    Not,
    Plan,
    Some,
    ViewInvalid,
)

# A table of texts that patterns would trip over, numbers and NULLs.
ODD: Mapping[str, tuple[ColumnType, str, str]] = {
    "id": (ColumnType.INTEGER, "integer", "INTEGER"),
    "a": (ColumnType.TEXT, "text", "TEXT"),
    "b": (ColumnType.TEXT, "character varying(40)", "VARCHAR(40)"),
    "n": (ColumnType.INTEGER, "bigint", "INTEGER"),
    "d": (ColumnType.DECIMAL, "numeric", "NUMERIC"),
    "f": (ColumnType.REAL, "double precision", "REAL"),
    "t": (ColumnType.BOOLEAN, "boolean", "BOOLEAN"),
}
TEXTS = [None, "", "a", "ab", "abc", "%", "a%c", "_", "a_c", "\\", "a\\", "A", "é", "aé", "'", "c"]
NUMBERS = [None, -2, 0, 1, 2, 3]
ROWS: list[tuple[Any, ...]] = [
    (
        number,
        TEXTS[number % 16],
        TEXTS[(number * 7 + number // 16) % 16],
        NUMBERS[number % 6],
        None if number % 9 == 0 else Decimal(number % 7) / 2,
        None if number % 8 == 0 else (number % 11) / 4,
        None if number % 5 == 0 else number % 2 == 0,
    )
    for number in range(96)
]
TEXT_COLUMNS, NUMBER_COLUMNS = ("a", "b"), ("n", "d", "f")


@pytest.fixture(scope="module", params=list(Dialect))
def odd(request: pytest.FixtureRequest) -> Iterator[World]:
    """A world with ODD in it."""
    if request.param is Dialect.SQLITE:
        found = sqlite_world()
        found.add("odd", ODD, ROWS)
        yield found
        return
    with postgres_world(request.getfixturevalue("postgres")) as world:
        world.add("odd", ODD, ROWS)
        yield world


def truth(rows: Filter, row: Mapping[str, Any]) -> bool | None:
    """What SQL says of a row: TRUE, FALSE or NULL."""
    match rows:
        case Every(parts):
            found = [truth(part, row) for part in parts]
            return False if False in found else None if None in found else True
        case Some(parts):
            found = [truth(part, row) for part in parts]
            return True if True in found else None if None in found else False
        case Not(part):
            inner = truth(part, row)
            return None if inner is None else not inner
        case Compare(column, operator, FieldRef(other)):
            return compared(operator, row[column], row[other])
        case Compare(column, "in", tuple(values)):
            return truth(Some(tuple(Compare(column, "eq", value) for value in values)), row)
        case Compare(column, "eq", None):
            return row[column] is None
        case Compare(column, "ne", None):
            return row[column] is not None
    return compared(rows.operator, row[rows.column], rows.value)


def compared(operator: str, left: Any, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    if operator in ("startswith", "endswith"):
        return bool(getattr(left, operator)(right))
    if operator == "contains":
        return right in left
    if isinstance(left, str):  # both databases compare by code point here
        left, right = left.encode(), right.encode()
    return {
        "eq": left == right,
        "ne": left != right,
        "lt": left < right,
        "le": left <= right,
        "gt": left > right,
        "ge": left >= right,
    }[operator]


_SIGNS = st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge"])
_SAID = st.sampled_from(["startswith", "endswith", "contains"])
_TEXTS = st.sampled_from([text for text in TEXTS if text is not None] + ["bc", "%b%", "long" * 20])
_NUMBERS = st.one_of(
    st.integers(-3, 4), st.sampled_from([Decimal("0.5"), Decimal("2.5"), Decimal("-1.25"), Decimal("1e3")])
)
_A_TEXT, _A_NUMBER = st.sampled_from(TEXT_COLUMNS), st.sampled_from(NUMBER_COLUMNS)
_SOME_TEXTS = st.lists(st.one_of(_TEXTS, st.none()), max_size=4).map(tuple)
_SOME_NUMBERS = st.lists(st.one_of(_NUMBERS, st.none()), max_size=4).map(tuple)
_PARTS = st.one_of(
    st.builds(Compare, _A_TEXT, st.one_of(_SIGNS, _SAID), _TEXTS),
    st.builds(Compare, _A_TEXT, st.one_of(_SIGNS, _SAID), st.builds(FieldRef, _A_TEXT)),
    st.builds(Compare, _A_NUMBER, _SIGNS, _NUMBERS),
    st.builds(Compare, _A_NUMBER, _SIGNS, st.builds(FieldRef, _A_NUMBER)),
    st.builds(Compare, st.just("t"), st.sampled_from(["eq", "ne"]), st.booleans()),
    st.builds(Compare, st.sampled_from(list(ODD)), st.sampled_from(["eq", "ne"]), st.none()),
    st.builds(Compare, _A_TEXT, st.just("in"), _SOME_TEXTS),
    st.builds(Compare, _A_NUMBER, st.just("in"), _SOME_NUMBERS),
)
_FILTERS: st.SearchStrategy[Filter] = st.recursive(
    _PARTS,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(Every, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Some, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=_FILTERS)
def test_a_filter_shows_the_rows_of_which_it_is_true(odd: World, rows: Filter) -> None:
    """No more, where it is FALSE or NULL, and no fewer."""
    assert shown(odd, odd.plan(STATEMENT, filters={"odd": rows})) == expected(rows)


@pytest.mark.parametrize(("written", "bug"), [("NOT (", "("), (" OR ", " AND "), (" <> ", " = ")])
def test_a_filter_that_is_written_wrongly_is_found(odd: World, written: str, bug: str) -> None:
    """The planted bugs: the same filters find them."""

    def differs(rows: Filter) -> bool:
        plan = odd.plan(STATEMENT, filters={"odd": rows})
        wrong = replace(plan, text=replace(plan.text, sql=plan.text.sql.replace(written, bug)))
        return wrong != plan and shown(odd, wrong) != expected(rows)

    find(_FILTERS, differs, settings=settings(max_examples=2000, database=None, phases=[Phase.generate]))


STATEMENT = "SELECT id FROM odd ORDER BY id"


def expected(rows: Filter) -> list[int]:
    return [row[0] for row in ROWS if truth(rows, dict(zip(ODD, row, strict=True))) is True]


def shown(odd: World, plan: Plan) -> list[int]:
    return [row[0] for row in odd.run(plan, {}).rows]


@settings(max_examples=200)
@given(rows=_FILTERS)
def test_simplifying_changes_no_truth(rows: Filter) -> None:
    """Not even between FALSE and NULL; and it reads no column more."""
    simple = simplified(rows)

    assert columns_of(simple) <= columns_of(rows)
    for row in ROWS[:20]:
        named = dict(zip(ODD, row, strict=True))
        assert truth(simple, named) == truth(rows, named)


@pytest.mark.parametrize(
    ("rows", "simple"),
    [
        (Every((EVERY_ROW, Every((EVERY_ROW,)))), EVERY_ROW),
        (Some((NO_ROW, Some())), NO_ROW),
        (Every((Compare("a", "eq", "x"), NO_ROW)), NO_ROW),
        (Some((Compare("a", "eq", "x"), EVERY_ROW)), EVERY_ROW),
        (Not(NO_ROW), EVERY_ROW),
        (Not(Every((EVERY_ROW,))), NO_ROW),
        (Compare("a", "in", ()), NO_ROW),
        (Every((Compare("a", "eq", "x"),)), Compare("a", "eq", "x")),
    ],
)
def test_what_is_always_true_or_never_is_known(rows: Filter, simple: Filter) -> None:
    """So that a view of every row has no fence, and one of no row is asked nothing."""
    assert simplified(rows) == simple


@pytest.mark.parametrize(
    ("column", "operator", "value"),
    [
        ("region", "eq", 5),
        ("region", "lt", True),
        ("region", "eq", ("eu",)),
        ("region", "in", "eu"),
        ("region", "contains", 5),
        ("region", "like", "e%"),
        ("region", "lt", None),
        ("age", "eq", "5"),
        ("age", "startswith", "5"),
        ("age", "contains", FieldRef("name")),
        ("score", "in", (1, "x")),
        ("active", "eq", "yes"),
        ("active", "eq", 1),
        ("name", "contains", FieldRef("age")),
        ("name", "eq", FieldRef("nothing")),
    ],
)
def test_what_does_not_fit_a_column_is_policys_fault(odd: World, column: str, operator: str, value: Any) -> None:
    """It is told before anything is run, and never becomes a filter that shows more."""
    with pytest.raises(ViewInvalid, match=r"^people"):
        odd.plan("SELECT id FROM people", filters={"people": Compare(column, operator, value)})


@pytest.mark.parametrize(
    ("column", "value"),
    [("born", "yesterday"), ("born", 5), ("made", "noon"), ("age", FieldRef("name")), ("score", Decimal("1e400"))],
)
def test_postgresql_is_not_given_what_it_could_not_read(odd: World, column: str, value: Any) -> None:
    """A date that is none would make every answer an error. SQLite keeps dates as text, and compares anything."""
    if odd.dialect is Dialect.POSTGRES:
        with pytest.raises(ViewInvalid, match=f"people.{column}"):
            odd.plan("SELECT id FROM people", filters={"people": Compare(column, "eq", value)})


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        (Compare("born", "lt", "1960-01-01"), 20),
        (Compare("made", "ge", "2020-06-01 00:00:00"), 70),
        (Compare("age", "gt", Decimal("88.5")), 1),
        (Compare("age", "lt", 10**18), 120),
        (Compare("balance", "le", Decimal("20.02")), 2),
        (Compare("score", "in", (1, Decimal("0.25"))), 2),
        (Compare("active", "ne", True), 60),
    ],
)
def test_each_type_is_compared_as_itself(odd: World, rows: Filter, count: int) -> None:
    """Dates as dates, numbers as numbers of any kind."""
    assert odd.ask("SELECT count(*) FROM people", filters={"people": rows}).rows == [(count,)]


def test_numbers_beyond_the_columns_type_are_compared_as_numbers(odd: World) -> None:
    """A whole number that no column could hold is larger than all, not an error; SQLite cannot be given it."""
    rows = Compare("age", "lt", 10**30)
    if odd.dialect is Dialect.POSTGRES:
        assert odd.ask("SELECT count(*) FROM people", filters={"people": rows}).rows == [(120,)]
    else:
        with pytest.raises(ViewInvalid):
            odd.plan("SELECT id FROM people", filters={"people": rows})


def test_types_of_a_databases_own_are_compared_as_text(odd: World) -> None:
    """For equality alone: their order is not that of text."""
    if odd.dialect is Dialect.SQLITE:
        return
    odd.raw("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    odd.add("moods", {"m": (ColumnType.ANY, "mood", "")}, [("sad",), ("glad",), (None,)])

    for rows, count in (
        (Compare("m", "eq", "glad"), 1),
        (Compare("m", "ne", "no mood"), 2),
        (Compare("m", "in", ("sad", None)), 2),
        (Compare("m", "startswith", "gl"), 1),
        (Compare("m", "eq", FieldRef("m")), 2),
    ):
        assert odd.ask("SELECT count(*) FROM moods", filters={"moods": rows}).rows == [(count,)]
    for operator, value in (("lt", "glad"), ("eq", 5), ("ge", FieldRef("m"))):
        with pytest.raises(ViewInvalid, match=r"^moods\.m"):
            odd.plan("SELECT count(*) FROM moods", filters={"moods": Compare("m", operator, value)})


def test_a_column_of_the_catalogue_is_named_as_it_is(odd: World) -> None:
    """Quotes in a name end nothing."""
    name = 'b"; DROP TABLE people; --'
    kind: Mapping[str, tuple[ColumnType, str, str]] = {"x": (ColumnType.TEXT, "text", "TEXT")}
    odd.add("named", kind, [("v",)])
    odd.raw('ALTER TABLE "named" RENAME COLUMN x TO "b""; DROP TABLE people; --"')
    odd.schema["named"] = {name: kind["x"]}
    odd.tables = {**odd.tables, "named": type(odd.tables["people"])({name: ()})}

    assert odd.ask("SELECT count(*) FROM named", filters={"named": Compare(name, "eq", "v")}).rows == [(1,)]
    assert len(odd.ask("SELECT id FROM people").rows) == 120
