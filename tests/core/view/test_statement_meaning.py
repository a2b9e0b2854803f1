"""What is printed means what was written: both are run on real databases, and give the same rows and names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import psycopg
import pytest
from fakes.postgres_server import PostgresServer, fresh_database
from fakes.statements import POSTGRES_TABLES, ROWS, SQLITE_TABLES, read
from fakes.view_cases import ACCEPTED
from remit.core.view.dialects import render
from remit.core.view.functions import FUNCTIONS, Kind
from remit.core.view.model import Dialect
from ruamel.yaml import YAML
from sqlglot import exp

CALLS = YAML(typ="safe", pure=True).load((Path(__file__).parents[2] / "cases" / "view_calls.yaml").read_text("utf-8"))
VALUES = {
    "low": "1",
    "third": "3",
    "since": "'2024-01-01'",
    "top": "2",
    "from_row": "1",
    "other": "'z'",
    "id": "1",
}
WINDOWS = """row_number() rank() dense_rank() percent_rank() cume_dist() ntile(2) lag(name) lag(name,2) lead(name,1,'x')
    first_value(name) last_value(name) nth_value(name,2) sum(id) count(*)"""
FRAMES = [
    "(order by id)",
    "(partition by region order by salary desc nulls last, id)",
    "(order by id rows between 1 preceding and 1 following)",
    "(order by id rows 2 preceding)",
    "(order by id range between unbounded preceding and 1 following exclude current row)",
    "(order by id groups between current row and unbounded following exclude ties)",
    "w",
    "(w rows unbounded preceding)",
]
Run = Callable[[str], tuple[list[str], list[str]]]
"""Gives the names of the columns, and each row as text, sorted."""


def listed(text: str) -> list[str]:
    """The parts between semicolons."""
    return [part.strip() for part in re.split(r";\s", text) if part.strip()]


def statements(dialect: Dialect) -> list[str]:
    """One of every call, operator and frame."""
    calls = CALLS[dialect]
    everything = "id, name, email, region, salary, created"
    found = [f"select id, {each} from customers group by {everything}" for each in listed(calls["scalar"])]
    found += [f"select {each} from customers" for each in listed(calls["aggregate"])]
    found += [f"select region, {each} from customers group by region" for each in listed(calls["aggregate"])]
    found += [
        f"select id, {call} over {frame} from customers window w as (order by id)"
        for call in WINDOWS.split()
        for frame in FRAMES
    ]
    return found


@pytest.fixture(scope="module", name="sqlite")
def sqlite_fixture() -> Run:
    """The dataset in SQLite."""
    connection = apsw.Connection(":memory:")
    connection.execute("ATTACH ':memory:' AS crm")
    connection.execute(SQLITE_TABLES + ROWS)

    def run(text: str) -> tuple[list[str], list[str]]:
        names: list[str] = []
        cursor = connection.cursor()
        cursor.exec_trace = lambda at, *_: names.extend(str(each[0]) for each in at.get_description()) or True
        return names, sorted(map(repr, cursor.execute(text)))

    return run


@pytest.fixture(scope="module", name="postgresql")
def postgresql_fixture(postgres: PostgresServer) -> Iterator[Run]:
    """The dataset in PostgreSQL."""
    with fresh_database(postgres) as database:
        database.run(POSTGRES_TABLES + ROWS)
        with postgres.connect(database.name, options="-c search_path=crm") as connection:

            def run(text: str) -> tuple[list[str], list[str]]:
                with connection.transaction(), connection.cursor() as cursor:
                    cursor.execute(text.encode())
                    return [each.name for each in cursor.description or ()], sorted(map(repr, cursor.fetchall()))

            yield run


def both(name: str, dialect: Dialect) -> tuple[str, str]:
    """An accepted statement as it is written and as it is printed, with values in place of parameters."""
    (case,) = (case for each, case in ACCEPTED if each is dialect and case["description"] == name)
    statement = read(case["statement"], dialect)
    texts = [case["statement"], render(statement.tree, dialect)]
    for parameter in statement.parameters:
        texts = [re.sub(rf"(?<!:):{parameter}\b", VALUES[parameter], each) for each in texts]
    return texts[0], texts[1]


def result(run: Run, text: str) -> tuple[list[str], list[str]]:
    """What a statement gives; of one that names what two tables have, that both databases say so."""
    try:
        return run(text)
    except (apsw.SQLError, psycopg.errors.AmbiguousColumn) as error:
        assert "ambiguous" in str(error)
        return [], ["ambiguous"]


def close(names: list[str]) -> list[str]:
    """Names but for blanks and case, which SQLite takes from the text."""
    # NULLS LAST is left out where it changes nothing.
    return ["".join(name.split()).lower().replace("nullslast", "") for name in names]


def differing(texts: list[str], dialect: Dialect, run: Run) -> list[tuple[str, str]]:
    """Those that do not mean what they were, or that the database does not know."""
    found = []
    for text in texts:
        try:
            printed = render(read(text, dialect).tree, dialect)
            want_names, want = run(text)
            names, got = run(printed)
        except Exception as error:
            found.append((text, str(error)))
            continue
        if got != want or len(names) != len(want_names):
            found.append((text, printed))
    return found


@pytest.mark.parametrize("name", [case["description"] for dialect, case in ACCEPTED if dialect is Dialect.POSTGRES])
def test_an_accepted_statement_of_postgresql_means_the_same(name: str, postgresql: Run) -> None:
    """The same rows under the same names as the text gives that the agent sent."""
    text, printed = both(name, Dialect.POSTGRES)
    assert result(postgresql, printed) == result(postgresql, text)


@pytest.mark.parametrize("name", [case["description"] for dialect, case in ACCEPTED if dialect is Dialect.SQLITE])
def test_an_accepted_statement_of_sqlite_means_the_same(name: str, sqlite: Run) -> None:
    """The same rows, and the same names: but for blanks and case, which SQLite takes from the text."""
    text, printed = both(name, Dialect.SQLITE)
    (want_names, want), (names, rows) = result(sqlite, text), result(sqlite, printed)
    assert rows == want
    assert close(names) == close(want_names)


def test_every_call_and_operator_of_postgresql_means_the_same(postgresql: Run) -> None:
    """As written and as printed."""
    assert differing(statements(Dialect.POSTGRES), Dialect.POSTGRES, postgresql) == []


def test_every_call_and_operator_of_sqlite_means_the_same(sqlite: Run) -> None:
    """As written and as printed."""
    assert differing(statements(Dialect.SQLITE), Dialect.SQLITE, sqlite) == []


@pytest.mark.parametrize("dialect", list(Dialect))
def test_every_function_that_may_be_called_is_called_here(dialect: Dialect) -> None:
    """None is in the list of which nobody has seen what it means as printed."""
    called = {
        node.this.lower() for text in statements(dialect) for node in read(text, dialect).tree.find_all(exp.Anonymous)
    }
    assert called == set(FUNCTIONS[dialect])
    assert {found.kind for found in FUNCTIONS[dialect].values()} == set(Kind)
