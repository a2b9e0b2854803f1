"""docs/views.md: its filters are what OPA makes of them, its masks what a database shows, its roles enough."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import views_page as page
from fakes.databases import AMPLE, TOKENIZER
from fakes.loop import in_loop
from fakes.postgres_server import PostgresDatabase
from fakes.views import built, document, served
from fakes.views_stage import staged
from remit.backends.database_postgres import PostgresDatabase as RemitPostgres
from remit.backends.database_postgres.connection import Password, Session
from remit.core.database_url import PostgresPlace
from remit.core.dataset import Table
from remit.core.view.shown import filter_text
from remit.ports import Write

HASH = f"sha256:{'a' * 64}"


@pytest.mark.opa
@in_loop
async def test_each_filter_is_what_the_page_says(tmp_path: Path) -> None:
    """Of a real OPA, each condition a dataset of its own."""
    rows = page.table("| in `include if { … }` | rows of `customers` |")
    wanted = {f"row{number}": page.quoted(row[1]) for number, row in enumerate(rows)}
    bundle = built(tmp_path, {f"row{number}": f"include if {page.quoted(row[0])}\n" for number, row in enumerate(rows)})

    async with served(tmp_path, bundle) as pdp:
        found = {}
        for dataset in wanted:
            (view,) = await pdp.view(dataset, ["customers"], document(dataset))
            found[dataset] = filter_text(view.filter)

    assert found == wanted


@pytest.mark.opa
def test_each_mask_shows_what_the_page_says(tmp_path: Path) -> None:
    """A column for each row of the table, with its value; NULL stays NULL but for what is replaced."""
    rows = page.table("| mask | of | shown | its labels |")
    columns = [f"c{number}" for number in range(len(rows))]
    rules = [
        re.sub(r"^masks\.customers\.[a-z]+", f"masks.customers.{column}", page.quoted(row[0]))
        for row, column in zip(rows, columns, strict=True)
    ]
    with closing(sqlite3.connect(tmp_path / "crm.db")) as database, database:
        types = ", ".join(f"{column} {_type(row[1])}" for row, column in zip(rows, columns, strict=True))
        database.execute(f"CREATE TABLE customers (id INTEGER PRIMARY KEY, {types})")
        places = ", ".join("?" for _ in columns)
        for id, values in ((1, [_value(row[1]) for row in rows]), (2, [None for _ in rows])):
            database.execute(f"INSERT INTO customers VALUES ({id}, {places})", values)
    labels = [f"l{number}" for number in range(len(rows))]
    listed = ", ".join(f"{column}: [{label}]" for column, label in zip(columns, labels, strict=True))
    catalogue = f"""\
currency: EUR
teams: {{cx: {{}}}}
agents:
  support:
    team: cx
    roles: [support]
    purposes: [support]
    clearance: [{", ".join(labels)}]
    identity: {{token_hash: {HASH}}}
datasets:
  crm: {{owner: cx, url: "sqlite://{tmp_path}/crm.db", tables: {{customers: {{columns: {{id: [], {listed}}}}}}}}}
"""
    view = "\n\n".join(["package remit.views.crm", 'include if "support" in input.subject.roles', *rules])

    with staged(tmp_path, catalogue, {"crm.rego": view}) as stage:
        answered = stage.query("support", f"SELECT {', '.join(columns)} FROM customers ORDER BY id")

    assert answered.allowed, answered.told
    for (mask, _, shown, kept), cell, none, label in zip(rows, *answered.rows, labels, strict=True):
        _hold(mask, page.quoted(shown), cell)
        assert none is None or "replace.value" in mask, mask
        assert (label in answered.started.labels) is {"go": False, "stay": True}[kept], mask


def _type(shown: str) -> str:
    return (
        "DATE" if re.fullmatch(r"[0-9-]{10}", shown) else "REAL" if re.fullmatch(r"[0-9]+\.[0-9]+", shown) else "TEXT"
    )


def _value(shown: str) -> str | float:
    return float(shown) if _type(shown) == "REAL" else shown


def _hold(mask: str, shown: str, cell: object) -> None:
    match shown:
        case "NULL":
            assert cell is None, mask
        case "(64 hex digits)":
            assert isinstance(cell, str) and len(bytes.fromhex(cell)) == 32, mask
        case "(a token)":
            assert isinstance(cell, str) and cell.startswith("tok_"), mask
        case _:
            assert str(cell) == shown, mask


@in_loop
async def test_the_roles_of_the_page_are_enough(fresh: PostgresDatabase) -> None:
    """The reader is taken, and reads; the writer may write what the page's statements write."""
    tables = {"customers": Table({"id": ()}, "id"), "orders": Table({"id": (), "customer": ()}, "customer")}
    fresh.run(page.DATABASE.split("CREATE TABLE remit_executions")[0])
    place = PostgresPlace(fresh.server.host, fresh.server.port, "crm_reader", fresh.name, {"sslmode": "disable"})
    write = Write("d_1", "INSERT INTO mails VALUES (:to, :body)", {"to": "a", "body": "b"}, AMPLE)
    fresh.run(page.blocks("sql", page.part("Databases"))[0])
    try:
        database = RemitPostgres(
            Session(place, _password(b"from-your-vault"), 10),
            Session(replace(place, user="crm_writer"), _password(b"another-one"), 10, writes=True),
            tables,
            tokenizer=TOKENIZER,
        )
        assert set((await database.columns())["orders"]) == {"id", "customer"}
        assert (await database.write(write)).affected == 1
        await database.close()
    finally:
        fresh.run("DROP OWNED BY crm_reader, crm_writer; DROP ROLE crm_reader, crm_writer")


def _password(value: bytes) -> Password:
    async def password() -> bytes:
        return value

    return password
