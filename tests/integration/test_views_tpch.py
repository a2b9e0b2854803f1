"""The 22 queries of TPC-H give what the database itself gives: for all rows as they are, in PostgreSQL and SQLite, and
for a clerk what PostgreSQL gives under row-level security and views that mask."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from math import isclose
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest
from fakes.postgres_server import PostgresDatabase, PostgresServer, fresh_database
from fakes.tpch import Tpch, make_tpch
from fakes.twins import CASES, Outcome, ask_postgres, ask_sqlite, outcome_of
from fakes.views_stage import Staged, staged
from remit.core.view.model import Dialect

pytestmark = pytest.mark.opa

SCALE = 0.005
Ask = Callable[[str, int], Outcome]
CATALOGUE = """\
currency: EUR
teams: {cx: {contact: "#cx"}}
agents:
  all: {team: cx, clearance: [pii, finance]}
  clerk: {team: cx, clearance: [pii, finance]}
datasets:
  tpch:
    owner: cx
    url: URL
    limits: {rows: 100000, bytes: 1073741824, seconds: 60}
    tables: TABLES
"""


@pytest.fixture(scope="module", name="tpch")
def tpch_fixture() -> Tpch:
    """Data and queries."""
    return make_tpch(SCALE)


@pytest.fixture(scope="module", name="database")
def database_fixture(postgres: PostgresServer, tpch: Tpch) -> Iterator[PostgresDatabase]:
    """PostgreSQL with the tables, and the clerk's twin."""
    with fresh_database(postgres) as database:
        tpch.fill_postgres(database)
        database.run((CASES / "tpch.sql").read_text())
        database.run(f"ALTER DATABASE {database.name} SET jit = off")
        yield database


@pytest.fixture(scope="module", name="remit")
def remit_fixture(database: PostgresDatabase, tpch: Tpch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staged]:
    """Remit on PostgreSQL."""
    url = f'"{database.reader}"\n    credential: {{environment: READER}}'
    with on(tmp_path_factory.mktemp("tpch"), tpch, Dialect.POSTGRES, url, READER=database.reader_password) as stage:
        write_down(database, stage, tpch)
        yield stage


@pytest.fixture(scope="module", name="ask")
def ask_fixture(remit: Staged, tpch: Tpch) -> Ask:
    """What Remit tells an agent for one of the queries; each is asked once."""
    return cache(lambda agent, number: outcome_of(remit.query(agent, tpch.query(number, Dialect.POSTGRES))))


@contextmanager
def on(place: Path, tpch: Tpch, dialect: Dialect, url: str, **environment: str) -> Iterator[Staged]:
    """Remit on a database with the tables."""
    text = CATALOGUE.replace("URL", url).replace("TABLES", tpch.catalogue(dialect))
    policies = {"tpch.rego": (CASES / "tpch.rego").read_text()}
    with staged(place, text, policies, environment=environment) as stage:
        yield stage


def write_down(database: PostgresDatabase, stage: Staged, tpch: Tpch) -> None:
    """What the twin cannot compute by itself: hashes under the installation's key, and tokens."""
    tokenizer = stage.stage.world.tokenizer
    assert tokenizer is not None
    with database.server.connect(database.name) as connection, connection.cursor() as cursor:
        with cursor.copy("COPY twin.names FROM STDIN") as copy:
            for name in {row[1] for row in tpch.rows["customer"]}:
                copy.write_row((name, tokenizer.token(name, "tpch.customer.c_name", ["pii"])))
        with cursor.copy("COPY twin.hashes FROM STDIN") as copy:
            for domain, table in (("tpch.customer.c_address", "customer"), ("tpch.supplier.s_address", "supplier")):
                key = bytes(byte ^ 0x36 for byte in tokenizer.pad(domain, "inner"))[:32]
                for address in {row[2] for row in tpch.rows[table]}:
                    copy.write_row((domain, address, hmac.new(key, address.encode(), "sha256").hexdigest()))


def connected(database: PostgresDatabase, schema: str, role: str = "postgres") -> psycopg.Connection[Any]:
    """The bare driver."""
    connection = database.server.connect(database.name)
    connection.execute(f"SET search_path = {schema}; SET TimeZone = 'UTC'; SET ROLE {role}".encode())
    return connection


def alike(mine: Sequence[Any], theirs: Sequence[Any]) -> bool:
    """Whether two rows are the same, doubles as far as sums of them in another order can be."""
    return len(mine) == len(theirs) and all(
        a == b or (isinstance(a, str) and isinstance(b, str) and _near(a, b)) for a, b in zip(mine, theirs, strict=True)
    )


def _near(a: str, b: str) -> bool:
    try:
        return isclose(float(a), float(b), rel_tol=1e-9)
    except ValueError:
        return False


def assert_same(told: Outcome, wanted: Outcome) -> None:
    """In order, for each of the queries has one or a single row."""
    assert not told.refused
    assert (told.names, told.failure) == (wanted.names, wanted.failure) == (wanted.names, "")
    wrong = [pair for pair in zip(told.rows, wanted.rows, strict=True) if not alike(*pair)]
    assert wrong == []


@pytest.mark.parametrize("number", range(1, 23))
def test_all_of_it_is_what_the_database_gives(ask: Ask, database: PostgresDatabase, tpch: Tpch, number: int) -> None:
    with connected(database, "tpch") as bare:
        assert_same(ask("all", number), ask_postgres(bare, tpch.query(number, Dialect.POSTGRES), {}))


@pytest.mark.parametrize("number", range(1, 23))
def test_a_clerk_is_given_what_its_twin_is_given(ask: Ask, database: PostgresDatabase, tpch: Tpch, number: int) -> None:
    with connected(database, "clerk", "twin_clerk") as twin:
        assert_same(ask("clerk", number), ask_postgres(twin, tpch.query(number, Dialect.POSTGRES), {}))


def test_most_of_it_gives_rows_and_the_clerk_others(ask: Ask, tpch: Tpch) -> None:
    everything = [ask("all", number).rows for number in tpch.queries]
    clerks = [ask("clerk", number).rows for number in tpch.queries]
    assert sum(map(bool, everything)) >= 18
    assert sum(map(bool, clerks)) >= 16
    assert sum(rows != others for rows, others in zip(everything, clerks, strict=True)) >= 16


def test_so_it_is_in_sqlite(tpch: Tpch, tmp_path: Path) -> None:
    file = tmp_path / "tpch.db"
    tpch.fill_sqlite(file)
    bare = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    with on(tmp_path, tpch, Dialect.SQLITE, f'"sqlite://{file}"') as remit:
        for number in tpch.queries:
            text = tpch.query(number, Dialect.SQLITE)
            assert_same(outcome_of(remit.query("all", text)), ask_sqlite(bare, text, {}))
    bare.close()
