"""A statement that would outgrow the machine while it is planned is refused before any database sees it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fakes.leak_world import tables
from remit.core.view.model import Dialect, ViewRefused
from remit.core.view.statement import parse_statement


def levels(first: str, next_one: str, count: int) -> str:
    """WITH a0 AS (first), a1 AS (next_one of a0), … SELECT of the last."""
    ctes = [f"a{number + 1} AS ({next_one.format(a=f'a{number}')})" for number in range(count)]
    return f"WITH a0 AS ({first}), {', '.join(ctes)} SELECT s FROM a{count}"


def nested(count: int, name: str = " AS q") -> str:
    """Sub-queries in FROM, one in the other."""
    return f"{'SELECT s || s AS s FROM (' * count}SELECT name AS s FROM people{f'){name}' * count}"


FORMS: dict[str, Callable[[int], str]] = {
    "an expression twice": lambda count: levels("SELECT name AS s FROM people", "SELECT s || s AS s FROM {a}", count),
    "in brackets": nested,
    "with a table's name before it": lambda count: levels(
        "SELECT name AS s FROM people", "SELECT x.s || x.s AS s FROM {a} AS x", count
    ),
    "in branches": lambda count: levels(
        "SELECT age AS s FROM people", "SELECT CASE WHEN s > 1 THEN s ELSE s + 1 END AS s FROM {a}", count
    ),
    "renamed": lambda count: (
        "WITH a0 (s) AS (SELECT name FROM people), "
        + ", ".join(f"a{n + 1} (s) AS (SELECT s || s FROM a{n})" for n in range(count))
        + f" SELECT s FROM a{count}"
    ),
    "in a WHERE alone": lambda count: (
        levels("SELECT age AS s FROM people", "SELECT s + s AS s FROM {a}", count - 1)
        + f" WHERE s + s > 0 AND s < s + {count}"
    ),
    "a query read twice": lambda count: levels(
        "SELECT id AS s FROM people", "SELECT x.s FROM {a} AS x JOIN {a} AS y ON x.s = y.s", count
    ),
    "a query united with itself": lambda count: levels(
        "SELECT id AS s FROM people", "SELECT s FROM {a} UNION ALL SELECT s FROM {a}", count
    ),
    "in a sub-query of an expression": lambda count: levels(
        "SELECT id AS s FROM people", "SELECT (SELECT MAX(q.s + o.s) FROM {a} AS q) AS s FROM {a} AS o", count
    ),
    "by a star": lambda count: levels(
        "SELECT name AS s FROM people", "SELECT s || s AS s FROM (SELECT * FROM {a}) AS z", count
    ),
}


@pytest.mark.parametrize("dialect", list(Dialect), ids=lambda each: each.value)
@pytest.mark.parametrize("form", FORMS)
def test_what_doubles_with_each_level_is_refused(form: str, dialect: Dialect) -> None:
    """A few levels are let through: people write them."""
    parse_statement(FORMS[form](4), dataset="crm", tables=tables(dialect), dialect=dialect)
    with pytest.raises(ViewRefused, match=r"grows too large|nested|too deep"):
        parse_statement(FORMS[form](20), dataset="crm", tables=tables(dialect), dialect=dialect)


def test_sqlite_takes_sub_queries_without_a_name() -> None:
    """They are weighed as well."""
    with pytest.raises(ViewRefused, match="grows too large"):
        parse_statement(nested(20, name=""), dataset="crm", tables=tables(Dialect.SQLITE), dialect=Dialect.SQLITE)
