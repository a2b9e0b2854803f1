"""The SQL of named writes is cut exactly at its places, and what is not one write is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remit.core.named_sql import NotOneWrite, Place, parameters, pieces
from remit.core.view.model import Dialect
from ruamel.yaml import YAML

TABLE = Path(__file__).parents[1] / "cases" / "named_sql.yaml"
CASES: list[dict[str, Any]] = YAML(typ="safe", pure=True).load(TABLE.read_text(encoding="utf-8"))
BOTH = [(dialect, case) for case in CASES for dialect in Dialect if case.get("dialect", dialect) == dialect]


@pytest.mark.parametrize(
    ("dialect", "case"), BOTH, ids=lambda part: part["description"] if isinstance(part, dict) else str(part)
)
def test_a_named_write_is_cut_at_its_places(dialect: Dialect, case: dict[str, Any]) -> None:
    """As the table says, in the dialect that it names or in both."""
    if refused := case.get("refused"):
        with pytest.raises(NotOneWrite) as error:
            pieces(case["given"], dialect)
        assert str(error.value) == refused
        return
    found = pieces(case["given"], dialect)
    assert [f":{each.name}" if isinstance(each, Place) else each for each in found] == case["want"]
    assert set(parameters(case["given"], dialect)) == {each.name for each in found if isinstance(each, Place)}


SCRAPS = st.sampled_from(
    [
        "'",
        "''",
        '"',
        "`",
        "[",
        "]",
        ":a",
        ":b",
        "::",
        "--",
        "\n",
        "/*",
        "*/",
        ";",
        "x",
        "(",
        ")",
        " ",
        "1",
        ":",
        "$",
        "?",
    ]
)


@given(st.lists(SCRAPS, max_size=12))
def test_sqlite_itself_finds_the_same_places(scraps: list[str]) -> None:
    """Whatever text is a statement to SQLite has the places there that were cut out of it, and no others."""
    sql = "DELETE FROM t WHERE x = " + "".join(scraps)
    try:
        found = parameters(sql, Dialect.SQLITE)
    except NotOneWrite:
        return
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (x)")
    try:
        connection.execute(sql, dict.fromkeys(found, 1))
        missing = [name for name in found if _runs(connection, sql, [*({*found} - {name})])]
    except sqlite3.Error as error:
        assert "You did not supply a value" not in str(error)
        missing = []
    finally:
        connection.close()
    assert missing == []


def _runs(connection: sqlite3.Connection, sql: str, names: list[str]) -> bool:
    """Whether a statement needs no other values than these."""
    try:
        connection.execute(sql, dict.fromkeys(names, 1))
    except sqlite3.ProgrammingError:
        return False
    return True
