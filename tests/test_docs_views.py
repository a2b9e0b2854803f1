"""docs/views.md and the code say the same of what is taken, refused, limited and told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import views_page as page
from remit.backends.database_postgres.pool import BUSY_SECONDS, SIZE
from remit.backends.database_sqlite.connection import LEAST_LENGTH, MOST_LENGTH
from remit.backends.named_write import EXECUTIONS_SQL
from remit.config.loading import load
from remit.core.dataset import ReadLimits, Table
from remit.core.egress.echo import SHORTEST
from remit.core.egress.reveal import MOST
from remit.core.query import FAILURE_TEXTS, MAX_PARAMETERS
from remit.core.reason import Reason
from remit.core.view import lexing
from remit.core.view.functions import FUNCTIONS, TYPE_NAMES, Kind
from remit.core.view.model import MAX_STATEMENT_BYTES, MAX_SUBJECTS, MAX_TOKENS, Dialect, ViewRefused
from remit.core.view.statement import parse_statement
from remit.core.view.texts import LONGEST_SOUGHT
from remit.listeners.grpc_limits import Limits
from remit.pep.decide import HOLD_SECONDS
from remit.pep.execute import UNKNOWN
from remit.pep.reading import HEAD_START
from remit.ports import Failure

SQL = page.part("What SQL is taken")
KINDS = {"of values": Kind.SCALAR, "aggregates": Kind.AGGREGATE, "windows": Kind.WINDOW}
EVERYWHERE = [pytest.param(each, id=each.value) for each in Dialect]


def parsed(statement: str, dialect: Dialect) -> None:
    tables = {
        "customers": Table(dict.fromkeys(("id", "name", "email", "phone", "region", "born", "score"), ()), "id"),
        "orders": Table(dict.fromkeys(("id", "customer", "total", "placed"), ()), "customer"),
    }
    parse_statement(statement, dataset="crm", tables=tables, dialect=dialect)


@pytest.mark.parametrize("dialect", EVERYWHERE)
def test_what_is_shown_as_taken_is(dialect: Dialect) -> None:
    """Each statement, on both databases."""
    shown = page.statements(page.blocks("sql", SQL)[0])

    for statement in shown:
        parsed(statement, dialect)
    assert len(shown) == 6


@pytest.mark.parametrize("dialect", EVERYWHERE)
def test_what_is_shown_as_refused_is_in_these_words(dialect: Dialect) -> None:
    """Each row of the table, on both databases."""
    for _, statement, told in page.table("| refused | for example | told |"):
        with pytest.raises(ViewRefused) as refused:
            parsed(page.quoted(statement), dialect)
        assert refused.value.what.startswith(told), statement


@pytest.mark.parametrize(("dialect", "column"), [(Dialect.POSTGRES, 2), (Dialect.SQLITE, 3)])
def test_every_function_is_listed(dialect: Dialect, column: int) -> None:
    """And none that is not taken."""
    listed = {
        (name, KINDS[row[0]])
        for row in page.table("| | both | PostgreSQL | SQLite |")
        for cell in (row[1], row[column])
        for name in cell.split()
    }

    assert listed == {(name, each.kind) for name, each in FUNCTIONS[dialect].items()}


def test_every_type_is_listed() -> None:
    """In the words of the refusal."""
    listed = re.sub(r"\s+", " ", SQL)

    for types in TYPE_NAMES.values():
        assert types.replace(" or ", ", ") in listed.replace(" or ", ", ")


def test_every_failure_is_told_as_it_is() -> None:
    """Each with its text, and no other."""
    listed = {page.quoted(failure): told for failure, told, _ in page.table("| failure | told | what to do |")}

    assert listed == dict(FAILURE_TEXTS)


def test_each_end_of_a_write_is_told() -> None:
    """By every failure that a write may have, those after which nobody knows apart."""
    rows = page.table("| how it ended | what happened | its `cost` |")
    nothing, unknown = ({Failure(name) for name in page.names(rows[place][0])} for place in (1, 2))

    assert unknown == UNKNOWN
    assert nothing | unknown | {Failure.TOO_MANY_TOKENS} == set(Failure)
    assert f"after {HOLD_SECONDS} s" in rows[2][2]


def test_each_reason_that_is_named_is_one() -> None:
    """In the table of decisions."""
    named = {page.quoted(row[0]) for row in page.table("| reason | what it means | what to do |")}

    assert named <= {each.value for each in Reason}


def test_limits_are_as_they_are() -> None:
    """Numbers of the page are those of the code."""
    usual, calls = ReadLimits(), Limits()
    rows = {row[0]: row[1] for row in page.table("| what | at most | beyond |")}

    assert rows["a statement"] == f"{MAX_STATEMENT_BYTES >> 10} KiB"
    assert rows[""] == f"{lexing.MAX_WORDS:,} words and marks, {lexing.MAX_DEPTH} brackets deep"
    assert rows["parameters"] == str(MAX_PARAMETERS)
    assert f"No value over {MOST_LENGTH >> 20} MiB" in page.part("Databases")
    assert f"less than {LEAST_LENGTH >> 20} MiB" in page.part("Databases")
    assert f"its place of {SIZE} until" in page.part("What views do not cover")
    assert f"at most {BUSY_SECONDS:.0f} s" in page.part("What views do not cover")
    assert rows["a text that is searched for, as in LIKE"] == f"{LONGEST_SOUGHT:,} characters"
    assert f"({usual.rows:,})" in rows["rows, bytes of an answer"]
    assert f"({usual.bytes >> 20} MiB)" in rows["rows, bytes of an answer"]
    assert f"({usual.seconds})" in rows["seconds"]
    assert f"({usual.cost}: any)" in rows["cost"]
    assert rows["an answer under way"].startswith(f"{calls.stream_seconds:.0f} s; {calls.write_seconds:.0f} s in which")
    assert rows["subjects told apart"] == f"{MAX_SUBJECTS:,} of one table"
    assert f"{HEAD_START * 1000:.0f} ms" in page.part("Who saw whom")
    assert f"at most {MAX_TOKENS:,}" in page.part("Tokens")
    assert f"at least {SHORTEST} bytes" in page.part("Tokens")
    assert f"At most {MOST} of one request" in page.part("Tokens")


def test_the_table_of_executions_is_the_one_that_is_asked_for() -> None:
    """Of both databases, to the letter."""
    shown = re.sub(r"\s+", " ", page.PAGE).replace("( ", "(").replace(" )", ")")

    for created in EXECUTIONS_SQL.values():
        assert f"{created};" in shown


def test_the_catalogue_is_one(tmp_path: Path) -> None:
    """It loads as it stands there, and has what the page tells of."""
    text = page.catalogue(tmp_path, f"sha256:{'a' * 64}", f"sha256:{'b' * 64}")
    (tmp_path / "remit.yaml").write_text(text, encoding="utf-8")

    _, catalogue = load([tmp_path / "remit.yaml"], {}, {})

    assert catalogue.datasets["crm"].statements["queue_mail"].parameters["to"] == "token"
