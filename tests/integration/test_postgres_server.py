"""The PostgreSQL of the tests itself: least-privileged roles, databases of their own, and a kill that it survives."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from fakes.postgres_server import READER, NoPostgres, PostgresDatabase, fresh_database, go_without, postgres_server


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


def test_a_machine_without_a_server_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs one is skipped, with what was looked for; and fails where a server is required."""
    monkeypatch.setenv("REMIT_POSTGRES_BIN", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(NoPostgres, match="REMIT_POSTGRES_BIN") as caught, postgres_server():
        pass

    monkeypatch.delenv("REMIT_REQUIRE_POSTGRES", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no PostgreSQL"):
        go_without(caught.value)
    monkeypatch.setenv("REMIT_REQUIRE_POSTGRES", "1")
    with pytest.raises(pytest.fail.Exception, match="no PostgreSQL"):
        go_without(caught.value)
