"""PostgreSQL takes a table's alias for its whole row: nothing that a view adds for Remit alone is read that way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes.postgres_server import PostgresServer, fresh_database
from fakes.views_stage import Staged, staged

pytestmark = pytest.mark.opa

CATALOGUE = """\
currency: EUR
teams: {cx: {contact: "#cx"}}
agents:
  support: {team: cx}
datasets:
  crm:
    owner: cx
    url: "URL"
    credential: {environment: READER}
    tables:
      customers: {columns: {id: [], ssn: [pii]}, subject_key: ssn}
      orders: {columns: {id: [], note: []}}
"""
VIEW = """\
package remit.views.crm
include := true
masks.customers.ssn.hash := {}
"""


@pytest.fixture(scope="module", name="stage")
def stage_fixture(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staged]:
    with fresh_database(postgres) as database:
        database.run(
            "CREATE TABLE customers (id integer PRIMARY KEY, ssn text); CREATE TABLE orders (id integer, note text);"
            "INSERT INTO orders VALUES (1, 'x');"
            "INSERT INTO customers VALUES (1, '9-hidden'), (2, '1-hidden'), (3, '5-hidden')"
        )
        text = CATALOGUE.replace("URL", database.reader)
        place = tmp_path_factory.mktemp("whole_rows")
        with staged(place, text, {"crm.rego": VIEW}, environment={"READER": database.reader_password}) as stage:
            yield stage


@pytest.mark.parametrize(
    "order",
    [
        "c::text",
        "c IS NULL, to_json(c) ->> 'remit_k0'",
        "CASE WHEN concat(c) LIKE '%1-hidden%' THEN 0 ELSE 1 END",
        "(c, 1)::text",
        'c COLLATE "C"',
        "row_number() OVER (ORDER BY c)",
        "((c, 1))",
    ],
)
@pytest.mark.parametrize(
    "form", ["SELECT id AS c FROM customers c ORDER BY {}", "(SELECT id AS c FROM customers c) ORDER BY {}"]
)
def test_an_alias_that_is_a_tables_too_is_no_whole_row(stage: Staged, form: str, order: str) -> None:
    """A customer's masked key is in the row for whom it is recorded of: no order by it, and no error from it."""
    answered = stage.query("support", form.format(order))

    assert not answered.allowed, answered.rows


@pytest.mark.parametrize(
    "sql",
    [
        'SELECT to_json("case") FROM customers "case", (SELECT CASE WHEN true THEN 1 ELSE id END FROM customers) d',
        """SELECT id FROM customers "case", (SELECT CASE WHEN true THEN 1 ELSE 1 END) d WHERE "case"::text <> 'x'""",
        "WITH d AS (SELECT 1 AS c) SELECT c FROM d, customers c",
        "SELECT note.id FROM customers note JOIN customers k ON note::text NOT LIKE '%1-hidden%', orders p",
        "SELECT note.id FROM customers note JOIN (customers k JOIN customers l ON note.id = 1) ON note IS NULL, "
        "orders p",
    ],
)
def test_a_column_of_a_sub_query_is_no_tables_alias(stage: Staged, sql: str) -> None:
    """Were it called otherwise there than it is taken to be, PostgreSQL would find the table's row by its name."""
    answered = stage.query("support", sql)

    assert not answered.allowed, answered.rows


@pytest.mark.parametrize(
    "sql",
    [
        "WITH d AS (SELECT id AS c FROM customers) SELECT d.c FROM d, customers c ORDER BY d.c LIMIT 3",
        'SELECT DISTINCT "id" FROM (SELECT CASE WHEN true THEN 1 ELSE id END FROM customers) d',
        "SELECT id AS customers FROM customers ORDER BY customers",
        "SELECT id AS c FROM customers c ORDER BY (c)",
        "SELECT id AS c, count(*) FROM customers c GROUP BY c ORDER BY c",
        "SELECT id AS c, count(*) FROM customers c GROUP BY ROLLUP (c) ORDER BY c",
        "SELECT DISTINCT ON (c) id AS c FROM customers c ORDER BY c",
    ],
)
def test_an_output_may_be_called_like_its_table(stage: Staged, sql: str) -> None:
    """By itself in ORDER BY, GROUP BY and DISTINCT ON it is the output."""
    answered = stage.query("support", sql)

    assert answered.allowed and not answered.failure and {row[0] for row in answered.rows} <= {1, 2, 3, None}
