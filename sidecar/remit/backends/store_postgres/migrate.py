"""How a database becomes a store, and how an older store is brought up to date. Run by the role that owns it.

Everything lies in the schema `remit`: the tables, and the functions through which alone members write. Members' roles
are granted to `remit_sidecar` or `remit_desk`, which may read, and call those functions:

    GRANT remit_sidecar TO the_role_of_the_sidecars

Functions are made anew each time. Those that members call are the ones declared SECURITY DEFINER, which run with the
owner's rights and a search path of their own, and those that only read; the rest are theirs to call, and nobody else's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import sql

from remit.core.errors import StoreUnavailable

SERVER_VERSION = 140000
"""The oldest PostgreSQL (14), as `server_version_num` says it."""

ROLES = ("remit_sidecar", "remit_desk")
"""What the roles of members are granted; neither can log in."""

_PACKAGE = "remit.backends.store_postgres"
_LOCK = "SELECT pg_advisory_xact_lock(3, 3)"
_VERSION_TABLE = "CREATE TABLE remit.migration (version integer PRIMARY KEY, applied bigint NOT NULL)"
_DROP_FUNCTIONS = """
DO $$
DECLARE
    one regprocedure;
BEGIN
    FOR one IN SELECT oid FROM pg_proc
               WHERE pronamespace = 'remit'::regnamespace AND prorettype <> 'trigger'::regtype LOOP
        EXECUTE format('DROP FUNCTION %s', one);
    END LOOP;
END $$
"""
_SECURE = """
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT oid::regprocedure AS name, prosecdef, provolatile FROM pg_proc
               WHERE pronamespace = 'remit'::regnamespace LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', one.name);
        IF one.prosecdef THEN
            EXECUTE format('ALTER FUNCTION %s SET search_path = remit, pg_temp', one.name);
        END IF;
        IF one.prosecdef OR one.provolatile <> 'v' THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO remit_sidecar, remit_desk', one.name);
        END IF;
    END LOOP;
END $$
"""
_GRANTS = """
REVOKE ALL ON SCHEMA remit FROM PUBLIC, remit_sidecar, remit_desk;
REVOKE ALL ON ALL TABLES IN SCHEMA remit FROM PUBLIC, remit_sidecar, remit_desk;
GRANT USAGE ON SCHEMA remit TO remit_sidecar, remit_desk;
GRANT SELECT ON ALL TABLES IN SCHEMA remit TO remit_sidecar, remit_desk;
"""


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was done: the schema's version before (0: there was none) and now."""

    before: int
    now: int


def latest() -> int:
    """The version of the schema that this Remit knows."""
    return len(_scripts("migrations"))


def check_version(found: int | None) -> None:
    """Whether a member can work with a schema; None where there is none. Raises StoreUnavailable."""
    known = latest()
    if found is None:
        raise StoreUnavailable("the database is no store of Remit's yet: run `remit store migrate`")
    if found < known:
        raise StoreUnavailable(
            f"the store's schema is older than this Remit ({found}, this one needs {known}): run `remit store migrate`"
        )
    if found > known:
        raise StoreUnavailable(
            f"the store was migrated by a newer Remit (schema {found}, this one knows {known}): upgrade Remit"
        )


def migrate(connection: psycopg.Connection[Any], now: int) -> Migrated:
    """Bring a database up to date, or make it a store; all of it or nothing. `now` in ns.

    Raises StoreUnavailable: the server or the database is not fit, the schema is newer or somebody else's, or the role
    may not do what is needed; the message says what to run.
    """
    try:
        with connection.transaction():
            return _migrate(connection, now)
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreUnavailable(
            f"the role {connection.info.user} may not migrate the store: {error.diag.message_primary}"
        ) from error
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error).strip()
        raise StoreUnavailable(f"the store could not be migrated: {said}") from error


def _migrate(connection: psycopg.Connection[Any], now: int) -> Migrated:
    _check_server(connection)
    connection.execute(_LOCK)
    connection.execute("SET LOCAL check_function_bodies = off")  # they name each other in any order
    connection.execute("SET LOCAL client_min_messages = warning")
    _make_roles(connection)
    _make_schema(connection)
    connection.execute("SET LOCAL search_path = remit, pg_temp")
    before = _version(connection)
    scripts = _scripts("migrations")
    if before > len(scripts):
        check_version(before)
    for number, script in enumerate(scripts[before:], before + 1):
        connection.execute(script)
        connection.execute("INSERT INTO migration VALUES (%s, %s)", [number, now])
    connection.execute(_DROP_FUNCTIONS)
    for script in _scripts("functions"):
        connection.execute(script)
    connection.execute(_SECURE)
    connection.execute("SELECT prepare_months(jsonb_build_object('time', %s::bigint))", [now])
    connection.execute(_GRANTS)
    return Migrated(before, len(scripts))


def _check_server(connection: psycopg.Connection[Any]) -> None:
    version = connection.info.server_version
    if version < SERVER_VERSION:
        raise StoreUnavailable(f"PostgreSQL {version // 10000} is too old: 14 or later is needed")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreUnavailable(f"the database's encoding is {encoding}, and must be UTF8: make one with that")


def _make_roles(connection: psycopg.Connection[Any]) -> None:
    query = "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)"
    there = {name for (name,) in connection.execute(query, [list(ROLES)])}
    missing = [f"CREATE ROLE {role} NOLOGIN" for role in ROLES if role not in there]
    for statement in missing:
        try:
            with connection.transaction():
                connection.execute(statement.encode())
        except psycopg.errors.DuplicateObject:
            continue  # made for another database of this server, at this moment
        except psycopg.errors.UniqueViolation:
            continue
        except psycopg.errors.InsufficientPrivilege as error:
            raise StoreUnavailable(
                f"the role {connection.info.user} may not create roles; let one that may run: "
                f"{'; '.join(missing)}; and then run this again"
            ) from error


def _make_schema(connection: psycopg.Connection[Any]) -> None:
    owner = connection.execute(
        "SELECT pg_get_userbyid(nspowner), pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'remit'"
    ).fetchone()
    if owner is None:
        try:
            with connection.transaction():
                connection.execute("CREATE SCHEMA remit")
        except psycopg.errors.InsufficientPrivilege as error:
            grant = sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(
                sql.Identifier(connection.info.dbname), sql.Identifier(connection.info.user)
            )
            raise StoreUnavailable(
                f"the role {connection.info.user} may not create a schema; let the database's owner run: "
                f"{grant.as_string(connection)}; and then run this again"
            ) from error
        connection.execute(_VERSION_TABLE)
    elif not owner[1]:
        raise StoreUnavailable(f"the schema remit belongs to {owner[0]}: run this as that role")


def _version(connection: psycopg.Connection[Any]) -> int:
    if connection.execute("SELECT to_regclass('remit.migration')").fetchone() == (None,):
        raise StoreUnavailable("there is a schema remit that is not a store: use another database")
    row = connection.execute("SELECT coalesce(max(version), 0) FROM migration").fetchone()
    return int(row[0]) if row else 0


def _scripts(folder: str) -> Sequence[bytes]:
    """The texts of a folder's .sql files, in the order of their names."""
    found = [each for each in files(_PACKAGE).joinpath(folder).iterdir() if each.name.endswith(".sql")]
    return [each.read_bytes() for each in sorted(found, key=lambda each: each.name)]
