"""The small dataset that statements are read against in tests, and the same in real databases."""

from __future__ import annotations

from collections.abc import Mapping

from remit.core.dataset import Table
from remit.core.view.model import Dialect, Statement
from remit.core.view.statement import parse_statement

DATASET = "crm"
TABLES: Mapping[str, Table] = {
    "customers": Table(dict.fromkeys(("id", "name", "email", "region", "salary", "created"), ())),
    "orders": Table(dict.fromkeys(("id", "customer_id", "amount", "placed", "note"), ())),
    "Regions": Table(dict.fromkeys(("Code", "Label"), ())),
}
ROWS = """
INSERT INTO crm.customers VALUES
    (1, 'Ann', 'ann@a.io', 'eu', 10.5, '2024-01-31 10:00:00'), (2, 'bob', 'b@a.io', 'us', 3, '2024-02-29 23:59:59'),
    (3, 'a%b', NULL, 'eu', NULL, '2023-12-31 00:00:00'), (4, '', 'x_y', NULL, 100, NULL),
    (5, 'x!y', 'z', 'EU', 5, NULL);
INSERT INTO crm.orders VALUES
    (1, 1, 5, '2024-01-02', '{"a": {"b": 1}}'), (2, 1, 7, '2024-03-01', '{"a": null}'), (3, 2, 5, '2023-05-05', NULL),
    (4, 9, 1, NULL, '[1, 2]');
INSERT INTO crm."Regions" VALUES ('eu', 'Europe'), ('us', 'America');
"""
POSTGRES_TABLES = """
CREATE SCHEMA crm;
CREATE TABLE crm.customers (id integer, name text, email text, region text, salary numeric, created timestamp);
CREATE TABLE crm.orders (id integer, customer_id integer, amount integer, placed date, note text);
CREATE TABLE crm."Regions" ("Code" text, "Label" text);
"""
SQLITE_TABLES = """
CREATE TABLE crm.customers (id INTEGER, name TEXT, email TEXT, region TEXT, salary NUMERIC, created TEXT);
CREATE TABLE crm.orders (id INTEGER, customer_id INTEGER, amount INTEGER, placed TEXT, note TEXT);
CREATE TABLE crm."Regions" ("Code" TEXT, "Label" TEXT);
"""


def read(text: str, dialect: Dialect) -> Statement:
    """A statement against the dataset."""
    return parse_statement(text, dataset=DATASET, tables=TABLES, dialect=dialect)
