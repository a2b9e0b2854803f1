"""A database becomes a store, an older one is brought up to date, and members start on the schema they know alone."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import psycopg
import pytest
from fakes.commits import SECOND, START
from fakes.postgres_server import OWNER, PostgresDatabase, PostgresServer
from fakes.store_postgres import AUDITOR, DESK, SIDECAR, Installation
from remit.backends.store_postgres.migrate import Migrated, check_version, latest, migrate
from remit.core.errors import StoreUnavailable

DAY = 86_400 * SECOND
TABLES = """
SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'remit'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1
"""
FUNCTIONS = """
SELECT p.oid::regprocedure::text, p.prosecdef, p.proconfig, has_function_privilege(%s, p.oid, 'EXECUTE')
FROM pg_proc p WHERE p.pronamespace = 'remit'::regnamespace
"""


@contextmanager
def plain_role(server: PostgresServer, database: str, *, may_create: bool) -> Iterator[psycopg.Connection[Any]]:
    """A connection of a role that is nobody in particular."""
    name, password = f"plain_{secrets.token_hex(4)}", secrets.token_urlsafe(12)
    server.run(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    try:
        if may_create:
            server.run(f"GRANT CREATE ON DATABASE {database} TO {name}")
        with psycopg.connect(
            host=server.host, port=server.port, user=name, password=password, dbname=database, autocommit=True
        ) as connection:
            yield connection
    finally:
        server.run(f"DROP OWNED BY {name} CASCADE", database)
        server.run(f"DROP ROLE {name}")


def test_an_empty_database_becomes_a_store_once(fresh: PostgresDatabase) -> None:
    """The first migration makes everything; the same again changes no table, and loses nothing."""
    with fresh.server.connect(fresh.name) as owner:
        assert migrate(owner, START) == Migrated(0, latest())
        tables = fresh.rows(TABLES)
        fresh.run("INSERT INTO remit.subject VALUES ('ann', 3)")

        assert migrate(owner, START) == Migrated(latest(), latest())

    assert fresh.rows(TABLES) == tables
    assert fresh.rows("SELECT * FROM remit.subject") == [("ann", 3)]
    versions = [(version, START) for version in range(1, latest() + 1)]
    assert fresh.rows("SELECT version, applied FROM remit.migration ORDER BY 1") == versions


def test_a_store_of_the_first_schema_keeps_what_it_has(fresh: PostgresDatabase) -> None:
    """Kept answers are final, halts are in force; what is new begins empty, and is no member's to write."""
    first = (files("remit.backends.store_postgres") / "migrations" / "0001_tables.sql").read_bytes()
    with fresh.server.connect(fresh.name) as owner:
        owner.execute("CREATE SCHEMA remit; SET search_path = remit")
        owner.execute("CREATE TABLE migration (version integer PRIMARY KEY, applied bigint NOT NULL)")
        owner.execute(first)
        owner.execute("INSERT INTO migration VALUES (1, 7)")
        owner.execute("UPDATE shared SET halts = 3")
        owner.execute("INSERT INTO kept VALUES ('ann', 'Authorize', 'k', 'digest', 'answer', 9)")
        owner.execute(
            "INSERT INTO reservation SELECT 'd' || n, 'ann', '', 'model', 'large', 'ml', 5, 5, n, 'lapsed', '', '{}'"
            " FROM generate_series(1, 3) AS n"
        )
        owner.execute("RESET search_path")

        assert migrate(owner, START) == Migrated(1, latest())
        assert migrate(owner, START) == Migrated(latest(), latest())

    assert fresh.rows("SELECT version, applied FROM remit.migration ORDER BY 1")[:2] == [(1, 7), (2, START)]
    assert fresh.rows("SELECT halts, approvals, claim_floor FROM remit.shared") == [(3, 0, 0)]
    assert fresh.rows("SELECT key, answer, provisional FROM remit.kept") == [("k", b"answer", False)]
    assert fresh.rows("SELECT count(*) FROM remit.reservation") == [(3,)]
    for table in ("approval", "approval_item", "claim", "act"):
        assert fresh.rows(f"SELECT count(*) FROM remit.{table}") == [(0,)]
        for right, may in (("SELECT", True), ("INSERT", False), ("UPDATE", False), ("DELETE", False)):
            asked = f"SELECT has_table_privilege('remit_sidecar', 'remit.{table}', '{right}')"
            assert fresh.rows(asked) == [(may,)], (table, right)


def test_functions_that_are_no_more_are_taken_away(fresh: PostgresDatabase) -> None:
    """What an older Remit left behind nobody can call, whatever it did."""
    with fresh.server.connect(fresh.name) as owner:
        migrate(owner, START)
        fresh.run("CREATE FUNCTION remit.rewrite() RETURNS void LANGUAGE sql SECURITY DEFINER AS ''")
        migrate(owner, START)

    assert fresh.rows("SELECT to_regprocedure('remit.rewrite()')") == [(None,)]


def test_a_newer_store_is_left_alone(fresh: PostgresDatabase) -> None:
    """An older Remit neither migrates it nor starts on it; both say what to do."""
    with fresh.server.connect(fresh.name) as owner:
        migrate(owner, START)
        fresh.run(f"INSERT INTO remit.migration VALUES ({latest() + 1}, 0)")
        with pytest.raises(StoreUnavailable, match="upgrade Remit"):
            migrate(owner, START)

    with pytest.raises(StoreUnavailable, match="upgrade Remit"):
        check_version(latest() + 1)


@pytest.mark.parametrize("found", [None, 0])
def test_an_older_store_must_be_migrated(found: int | None) -> None:
    """A member says which command brings it up to date."""
    with pytest.raises(StoreUnavailable, match="remit store migrate"):
        check_version(found)


def test_a_failed_migration_leaves_nothing(fresh: PostgresDatabase) -> None:
    """All of it or nothing: where one table cannot be made there is no schema either."""
    fresh.run("CREATE SCHEMA remit; CREATE TABLE remit.migration (version integer, applied bigint)")
    fresh.run("CREATE TABLE remit.workflow (id text)")
    with (
        fresh.server.connect(fresh.name) as owner,
        pytest.raises(StoreUnavailable, match='relation "workflow" already exists'),
    ):
        migrate(owner, START)

    assert fresh.rows(TABLES) == [("migration",), ("workflow",)]


def test_a_schema_of_somebody_else_s_is_not_taken(fresh: PostgresDatabase) -> None:
    """A schema that is called remit and holds no store is not touched."""
    fresh.run("CREATE SCHEMA remit; CREATE TABLE remit.mine (id text)")
    with fresh.server.connect(fresh.name) as owner, pytest.raises(StoreUnavailable, match="not a store"):
        migrate(owner, START)

    assert fresh.rows(TABLES) == [("mine",)]


def test_a_role_that_owns_the_schema_is_enough(fresh: PostgresDatabase) -> None:
    """Migrating needs no superuser, once the members' roles are there; and nobody but the owner migrates again."""
    with fresh.server.connect(fresh.name) as superuser:
        superuser.execute("DO $$BEGIN CREATE ROLE remit_sidecar; EXCEPTION WHEN duplicate_object THEN NULL; END$$")
        superuser.execute("DO $$BEGIN CREATE ROLE remit_desk; EXCEPTION WHEN duplicate_object THEN NULL; END$$")
    with (
        plain_role(fresh.server, fresh.name, may_create=False) as nobody,
        pytest.raises(StoreUnavailable, match="GRANT CREATE ON DATABASE"),
    ):
        migrate(nobody, START)
    with plain_role(fresh.server, fresh.name, may_create=True) as owner:
        assert migrate(owner, START) == Migrated(0, latest())
        with (
            plain_role(fresh.server, fresh.name, may_create=True) as other,
            pytest.raises(StoreUnavailable, match="belongs to plain_"),
        ):
            migrate(other, START)
        owner.execute("DROP SCHEMA remit CASCADE")


def test_who_may_not_create_roles_is_told_what_to_run(fresh: PostgresDatabase) -> None:
    """The statements that somebody else is to run stand in the error."""
    server = fresh.server
    with server.connect() as superuser, plain_role(server, fresh.name, may_create=True) as owner:
        there = superuser.execute("SELECT count(*) FROM pg_roles WHERE rolname = 'remit_sidecar'").fetchone()
        if there == (1,):
            superuser.execute("ALTER ROLE remit_sidecar RENAME TO remit_sidecar_away")
        try:
            with pytest.raises(StoreUnavailable, match="CREATE ROLE remit_sidecar NOLOGIN"):
                migrate(owner, START)
        finally:
            if there == (1,):
                superuser.execute("ALTER ROLE remit_sidecar_away RENAME TO remit_sidecar")

    assert fresh.rows("SELECT to_regnamespace('remit')") == [(None,)]


def test_months_are_made_ahead_and_when_they_are_needed(fresh: PostgresDatabase) -> None:
    """This month and the next two are there; any other is made, alone, and only once."""
    with fresh.server.connect(fresh.name) as owner:
        migrate(owner, START)  # January 2027
        for time in (START, START + 400 * DAY, START + 401 * DAY, 0, (1 << 63) - 1):
            owner.execute("SELECT remit.ensure_partitions(%s)", [time])

    made = [name.removeprefix("journal_") for (name,) in fresh.rows(TABLES) if name.startswith("journal_2")]
    assert made == ["202701", "202702", "202703", "202802", "226204"]
    assert fresh.rows("SELECT to_regclass('remit.journal_197001') IS NOT NULL") == [(True,)]
    bounds = fresh.rows("SELECT month_start, month_end FROM remit.journal_months ORDER BY 1")
    assert all(start < end for start, end in bounds)
    assert bounds[0] == (0, 31 * DAY)


def test_a_clock_that_runs_wild_makes_no_end_of_months(fresh: PostgresDatabase) -> None:
    """There is a bound, and the error asks about the clock."""
    with fresh.server.connect(fresh.name) as owner:
        migrate(owner, START)
        fresh.run("INSERT INTO remit.journal_months SELECT -n, -n FROM generate_series(1, 360) AS n")
        with pytest.raises(psycopg.Error, match="is the clock right"):
            owner.execute("SELECT remit.ensure_partitions(0)")
        with pytest.raises(psycopg.Error, match="before 1970"):
            owner.execute("SELECT remit.ensure_partitions(-1)")


# Privileges


@pytest.mark.parametrize("role", [SIDECAR, DESK])
def test_a_member_writes_no_table(installation: Installation, role: str) -> None:
    """It reads them; no statement of its own inserts, changes, deletes, empties, locks or alters anything."""
    tables = [name for (name,) in installation.rows(TABLES)]
    assert len(tables) > 20
    with installation.connect(role) as member:
        for name in tables:
            for statement in (
                f"INSERT INTO remit.{name} DEFAULT VALUES",
                f"UPDATE remit.{name} SET {_a_column(installation, name)} = DEFAULT",
                f"DELETE FROM remit.{name}",
                f"TRUNCATE remit.{name}",
                f"ALTER TABLE remit.{name} ADD x integer",
                f"DROP TABLE remit.{name}",
                f"CREATE TRIGGER t AFTER INSERT ON remit.{name} EXECUTE FUNCTION remit.tell()",
                f"SELECT * FROM remit.{name} FOR UPDATE",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    member.execute(statement.encode())


@pytest.mark.parametrize("role", [SIDECAR, DESK])
def test_a_member_makes_nothing(installation: Installation, role: str) -> None:
    """Neither tables nor functions, by which it could put itself in the place of ours."""
    with installation.connect(role) as member:
        for statement in (
            "CREATE TABLE remit.mine (id text)",
            "CREATE FUNCTION remit.book(bigint, bigint, bigint, bigint) RETURNS void LANGUAGE sql AS ''",
            "CREATE OR REPLACE FUNCTION remit.commit(p jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT p'",
            "CREATE SCHEMA mine",
            "ALTER FUNCTION remit.commit(jsonb) SECURITY INVOKER",
            "DROP FUNCTION remit.commit(jsonb)",
            "CREATE ROLE mine",
            "SET ROLE postgres",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                member.execute(statement.encode())


def test_members_call_what_is_guarded_and_nothing_else(installation: Installation) -> None:
    """Functions that run with the owner's rights look names up in our schema alone; inner ones nobody calls."""
    for role in (SIDECAR, DESK):
        found = {name: (secure, config, may) for name, secure, config, may in installation.rows(FUNCTIONS, [role])}
        assert all(config == ["search_path=remit, pg_temp"] for secure, config, _ in found.values() if secure)
        assert {name for name, (secure, _, may) in found.items() if secure and not may} == set()
        for inner in ("remit.book(bigint,bigint,bigint,bigint)", "remit.append(text,bigint,bytea,jsonb)"):
            assert found[inner][2] is False
    assert not any(may for _, _, _, may in installation.rows(FUNCTIONS, [AUDITOR]))


def test_a_member_s_own_tables_do_not_get_in_between(installation: Installation) -> None:
    """A temporary table of the same name is not taken for ours by a function that runs as the owner."""
    with installation.connect() as member:
        member.execute("CREATE TEMPORARY TABLE log (name text, number bigint)")
        member.execute("SET search_path = pg_temp, remit")
        with pytest.raises(psycopg.Error, match="there is no log mine"):
            member.execute("""SELECT remit.sign_head('{"log": "mine"}')""")


def test_a_sidecar_keeps_no_desk_s_log(installation: Installation) -> None:
    """Whoever people's acts are recorded by is a member of another role."""
    asked = """SELECT remit.take_log('{"log": "d", "kind": "desk", "key": "00", "time": 1}')"""
    with installation.connect(SIDECAR) as sidecar, pytest.raises(psycopg.Error, match="no member of remit_desk"):
        sidecar.execute(asked)
    with installation.connect(DESK) as desk:
        assert desk.execute(asked).fetchone() is not None


def _a_column(installation: Installation, table: str) -> str:
    query = """
        SELECT attname FROM pg_attribute
        WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attidentity, attnum LIMIT 1
    """
    return str(installation.rows(query, [f"remit.{table}"])[0][0])


def test_the_owner_is_the_tests_own(installation: Installation) -> None:
    """What the tests above tell of members is not so because nobody may do anything."""
    assert installation.rows("SELECT current_user") == [(OWNER,)]
    installation.run("UPDATE remit.shared SET halts = halts")
