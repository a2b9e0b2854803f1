"""The PostgreSQL of the tests itself: least-privileged roles, databases of their own, and a kill that it survives."""

from __future__ import annotations

import psycopg
import pytest
from fakes.postgres_server import READER, PostgresDatabase, fresh_database


def test_the_reader_reads_what_the_owner_creates_and_changes_nothing(fresh: PostgresDatabase) -> None:
    """Tables of every schema are readable without a grant of their own, and only that."""
    fresh.run("CREATE SCHEMA crm; CREATE TABLE crm.customers (id int); INSERT INTO crm.customers VALUES (7)")

    with fresh.server.connect(fresh.name, READER) as connection:
        assert connection.execute("SELECT id FROM crm.customers").fetchall() == [(7,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM crm.customers")


def test_what_was_committed_outlives_a_kill(fresh: PostgresDatabase) -> None:
    """kill -9 of the whole server, and it starts again on the same port with what was committed."""
    fresh.run("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")

    fresh.server.kill()
    with pytest.raises(psycopg.OperationalError):
        fresh.server.connect(fresh.name)
    fresh.server.start()

    assert fresh.rows("SELECT id FROM t") == [(1,)]


def test_two_databases_do_not_see_each_other(fresh: PostgresDatabase) -> None:
    """Each test has its own."""
    fresh.run("CREATE TABLE t (id int)")

    with fresh_database(fresh.server) as other:
        assert other.rows("SELECT 1 FROM pg_class WHERE relname = 't'") == []
