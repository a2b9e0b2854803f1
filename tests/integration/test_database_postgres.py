"""PostgreSQL itself: types exactly, a session that is as it was set up, a role that can do no more than read."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fakes.databases import AMPLE, TABLES, TOKENIZER, PostgresOwner, Site, answer, failure
from fakes.loop import in_loop
from fakes.postgres_server import PostgresDatabase
from fakes.wire import Wire, wire
from remit.backends.database_postgres import PostgresDatabase as RemitPostgres
from remit.backends.database_postgres.chunks import Chunks
from remit.backends.database_postgres.connection import Session, connect
from remit.backends.database_postgres.pool import Pool
from remit.core.database_url import PostgresPlace, parse_url
from remit.core.dataset import Table
from remit.core.view.model import (
    Cell,
    Column,
    ColumnType,
    Constant,
    HashPad,
    Parameter,
    Plan,
    TokenArray,
    TokenQuery,
)
from remit.ports import DatabaseFailed, Failure


@pytest.fixture(name="owner")
def _owner(fresh: PostgresDatabase) -> PostgresOwner:
    return PostgresOwner(fresh)


@pytest.fixture(name="site")
def _site(owner: PostgresOwner) -> Iterator[Site]:
    yield Site(owner)


async def cells(site: Site, sql: str) -> list[Cell]:
    """The one row of a statement."""
    async with site.opened() as database:
        (row,) = (await answer(database, site.plan(sql))).rows
    return list(row)


# Types


@in_loop
@pytest.mark.parametrize(
    ("expression", "cell", "type"),
    [
        ("true", True, "boolean"),
        ("32767::int2", 32767, "smallint"),
        ("9223372036854775807", 2**63 - 1, "bigint"),
        ("1.10::numeric", Decimal("1.10"), "numeric"),
        ("1e-20::numeric * 3", Decimal("0.00000000000000000003"), "numeric"),
        ("0.1::float8 + 0.2::float8", 0.1 + 0.2, "double precision"),
        ("'Infinity'::float8", float("inf"), "double precision"),
        ("'é'::varchar(3)", "é", "character varying"),
        ("'a'::char(3)", "a  ", "character"),
        (r"'\x00ff'::bytea", b"\x00\xff", "bytea"),
        ("'2024-02-29'::date", date(2024, 2, 29), "date"),
        ("'infinity'::date", "infinity", "date"),
        ("'0044-03-15 BC'::date", "0044-03-15 BC", "date"),
        ("'10000-01-01'::date", "10000-01-01", "date"),
        ("'01:02:03.000004'::time", time(1, 2, 3, 4), "time without time zone"),
        ("'24:00'::time", "24:00:00", "time without time zone"),
        ("'2024-01-01 01:02:03'::timestamp", datetime(2024, 1, 1, 1, 2, 3), "timestamp without time zone"),
        ("'2024-01-01 01:00+01'::timestamptz", datetime(2024, 1, 1, tzinfo=UTC), "timestamp with time zone"),
        ("'-infinity'::timestamptz", "-infinity", "timestamp with time zone"),
        ("'2 days 03:00:00.000001'::interval", timedelta(2, 10800, 1), "interval"),
        ("'1 year 2 mons -3 days'::interval", "1 year 2 mons -3 days", "interval"),
        ("'2000000000 days'::interval", "2000000000 days", "interval"),
        (
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "uuid",
        ),
        ("""'{"a": 1.0}'::jsonb""", '{"a": 1.0}', "jsonb"),
        ("""'{"a":1}'::json""", '{"a":1}', "json"),
        ("ARRAY[1, NULL, 3]", "{1,NULL,3}", "integer[]"),
        ("ROW(1, 'a')", "(1,a)", "record"),
        ("'10.0.0.1'::inet", "10.0.0.1", "inet"),
        ("'[1,3)'::int4range", "[1,3)", "int4range"),
        ("'12.50'::money::text", "$12.50", "text"),
        ("'happy'::public.mood", "happy", "text"),
        ("'a.b'::public.email", "a.b", "text"),
        ("NULL::int", None, "integer"),
    ],
)
async def test_each_type_comes_exactly(site: Site, expression: str, cell: Cell, type: str) -> None:
    """As Python has it, and as text what Python cannot hold; under PostgreSQL's own name."""
    site.owner.run("CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN email AS text CHECK (value LIKE '%.%')")
    async with site.opened() as database:
        found = await answer(database, site.plan(f"SELECT {expression} AS it, 1 AS one"))

    assert repr(found.rows) == repr([(cell, 1)])
    assert found.columns[0].type == type


@in_loop
async def test_numbers_that_are_none_are_told_apart(site: Site) -> None:
    """NaN is no NULL."""
    found = await cells(site, "SELECT 'NaN'::numeric, 'NaN'::float8, 'Infinity'::numeric, NULL::numeric")

    assert repr(found) == "[Decimal('NaN'), nan, Decimal('Infinity'), None]"


@in_loop
@pytest.mark.parametrize(
    "value",
    [
        *(True, False, None, 0, -5, 2**31, 2**63 - 1, 2**70, 1.5, Decimal("1.10"), "", "é'\"\\", "$1", b"\x00\xff"),
        *(date(2024, 2, 29), time(1, 2, 3), datetime(2024, 1, 1, 2), datetime(2024, 1, 1, tzinfo=UTC)),
        timedelta(days=-1, microseconds=5),
    ],
)
async def test_each_kind_of_value_is_bound_exactly(site: Site, value: Cell) -> None:
    """What goes in as a parameter comes out as a cell."""
    type = {bool: "boolean", str: "text", bytes: "bytea", float: "float8", date: "date", time: "time"}.get(
        value.__class__, ""
    )
    cast = f"@1::{type}" if type else "@1"
    if value is None:
        cast = "@1::int"
    async with site.opened() as database:
        found = await answer(database, site.plan(f"SELECT {cast} AS it", Parameter("v")), {"v": value})

    assert found.rows == [(value,)]


@in_loop
async def test_whole_numbers_are_typed_as_literals_are(site: Site) -> None:
    """300 * 300 does not overflow a smallint: PostgreSQL would have taken the literal for an integer."""
    plan = site.plan("SELECT @1 * @2, pg_typeof(@1)::text, pg_typeof(@3)::text", *map(Parameter, "abc"))
    async with site.opened() as database:
        found = await answer(database, plan, {"a": 300, "b": 300, "c": 2**40})

    assert found.rows == [(90000, "integer", "bigint")]


@in_loop
async def test_a_policys_list_is_an_array(site: Site) -> None:
    """Of numbers, and of texts."""
    plan = site.plan(
        "SELECT id FROM ~people WHERE id = ANY(@1) AND name = ANY(@2) ORDER BY id",
        Constant((1, 3, 2**40)),
        Constant(("Ada", "Élodie", "x'")),
    )
    async with site.opened() as database:
        assert (await answer(database, plan)).rows == [(1,), (3,)]


@in_loop
async def test_columns_have_types_that_can_be_cast_to(owner: PostgresOwner) -> None:
    """Domains are what they are made of, and no type has a length that would cut what is cast to it."""
    owner.run(
        "CREATE SCHEMA crm; CREATE TYPE crm.mood AS ENUM ('a'); CREATE DOMAIN crm.d AS varchar(3);"
        "CREATE DOMAIN crm.dd AS crm.d; CREATE TABLE crm.t (a numeric(4,1), b char(3), c crm.mood, d crm.dd, e int[],"
        ' f timestamptz, g jsonb, "Odd ""name" uuid, h crm.mood[], i bit(3))'
    )
    names = ["a", "b", "c", "d", "e", "f", "g", 'Odd "name', "h", "i"]
    database = owner.database({"t": Table(dict.fromkeys(names, ()), source="crm.t")}, 30)

    columns = (await database.columns())["t"]
    await database.close()

    assert columns == {
        "a": Column(ColumnType.DECIMAL, "numeric"),
        "b": Column(ColumnType.TEXT, "bpchar"),
        "c": Column(ColumnType.ANY, "crm.mood"),
        "d": Column(ColumnType.TEXT, "character varying"),
        "e": Column(ColumnType.ANY, "integer[]"),
        "f": Column(ColumnType.TIMESTAMPTZ, "timestamp with time zone"),
        "g": Column(ColumnType.JSON, "jsonb"),
        'Odd "name': Column(ColumnType.UUID, "uuid"),
        "h": Column(ColumnType.ANY, "crm.mood[]"),
        "i": Column(ColumnType.ANY, '"bit"'),
    }


# Masks that the database computes


@in_loop
async def test_a_hash_in_the_database_is_that_of_the_sidecar(site: Site) -> None:
    """Two pads, bound, make HMAC-SHA-256 of a value's text."""
    pads = (HashPad("d", "outer"), HashPad("d", "inner"))
    sql = "SELECT encode(sha256(@1 || sha256(@2 || convert_to(name, 'UTF8'))), 'hex') FROM ~people WHERE id = 3"
    async with site.opened() as database:
        ((found,),) = (await answer(database, site.plan(sql, *pads))).rows

    key = bytes(byte ^ 0x36 for byte in TOKENIZER.pad("d", "inner"))
    assert found == hmac.digest(key, "Élodie".encode(), hashlib.sha256).hex() == TOKENIZER.hash("Élodie", "d")


def tokens_plan(site: Site, most: int, sql: str = "SELECT DISTINCT name FROM ~people WHERE id < @1 LIMIT @2") -> Plan:
    query = TokenQuery(site.text(sql, Constant(1000), Constant(most)), "d", ("pii",))
    return site.plan(
        "SELECT t.token FROM ~people p LEFT JOIN unnest(@1::text[], @2::text[]) AS t(raw, token) ON t.raw = p.name"
        " ORDER BY p.id",
        TokenArray(0, "raw"),
        TokenArray(0, "token"),
        tokens=(query,),
    )


@in_loop
async def test_tokens_are_made_of_what_the_snapshot_holds(site: Site) -> None:
    """The same tokens as the sidecar's own, for each value once; NULL stays NULL."""
    site.owner.run("INSERT INTO people VALUES (4, NULL, 0), (5, 'Ada', 0)")
    async with site.opened() as database:
        found = await answer(database, tokens_plan(site, 100))

    expected = [TOKENIZER.token(each, "d", ["pii"]) for each in ("Ada", "Bob", "Élodie")]
    assert found.rows == [(each,) for each in [*expected, None, expected[0]]]


@in_loop
async def test_too_many_values_are_not_made_tokens_of(site: Site) -> None:
    """A hundred thousand at once, and not one more."""
    many = "SELECT (a.n * 1000 + b.n)::text FROM ~numbers a, ~numbers b WHERE a.n < @1 LIMIT @2"
    async with site.opened() as database:
        plan = tokens_plan(site, 100_001, many)
        assert await failure(database, plan, limits=replace(AMPLE, seconds=60)) is Failure.TOO_MANY_TOKENS
        assert len((await answer(database, tokens_plan(site, 100_000, many))).rows) == 3


@in_loop
async def test_values_that_are_too_large_together_are_not_made_tokens_of(site: Site) -> None:
    """They are held, and sent back with their tokens: sixteen megabytes of them, and no more."""
    large = "SELECT repeat('x', 65000) || n FROM ~numbers WHERE n < @1 LIMIT @2"
    async with site.opened() as database:
        assert await failure(database, tokens_plan(site, 1000, large)) is Failure.TOO_MANY_TOKENS
        assert len((await answer(database, tokens_plan(site, 100, large))).rows) == 3


# The session and the role


@in_loop
async def test_a_session_is_set_up(owner: PostgresOwner) -> None:
    """Whatever the role's own defaults are."""
    owner.run(
        "ALTER ROLE remit_reader SET datestyle = 'German'; ALTER ROLE remit_reader SET intervalstyle = 'iso_8601';"
        "ALTER ROLE remit_reader SET timezone = 'Asia/Tokyo'; ALTER ROLE remit_reader SET search_path = 'public';"
        "ALTER ROLE remit_reader SET standard_conforming_strings = off;"
        "ALTER ROLE remit_reader SET bytea_output = escape;"
        "ALTER ROLE remit_reader SET statement_timeout = 0; ALTER ROLE remit_reader SET extra_float_digits = -5"
    )
    try:
        connection = await connect(owner.session(7))
        shown = {
            name: (await (await connection.execute(f"SHOW {name}")).fetchone() or ("",))[0]
            for name in ("statement_timeout", "search_path", "TimeZone", "DateStyle", "default_transaction_read_only")
        }
        await connection.close()
    finally:
        owner.run("ALTER ROLE remit_reader RESET ALL")

    assert shown == {
        "statement_timeout": "7s",
        "search_path": "pg_catalog",
        "TimeZone": "UTC",
        "DateStyle": "ISO, MDY",
        "default_transaction_read_only": "on",
    }


@in_loop
@pytest.mark.parametrize(
    ("grant", "take", "told"),
    [
        ("ALTER ROLE remit_reader SUPERUSER", "ALTER ROLE remit_reader NOSUPERUSER", "superuser"),
        ("ALTER ROLE remit_reader BYPASSRLS", "ALTER ROLE remit_reader NOBYPASSRLS", "BYPASSRLS"),
        ("ALTER ROLE remit_reader CREATEDB", "ALTER ROLE remit_reader NOCREATEDB", "CREATEDB"),
        ("ALTER ROLE remit_reader CREATEROLE", "ALTER ROLE remit_reader NOCREATEROLE", "CREATEROLE"),
        ("GRANT pg_read_server_files TO remit_reader", "REVOKE pg_read_server_files FROM remit_reader", "pg_read_ser"),
        ("GRANT pg_write_all_data TO remit_reader", "REVOKE pg_write_all_data FROM remit_reader", "pg_write_all"),
        (
            "CREATE ROLE boss BYPASSRLS; GRANT boss TO remit_reader",
            "REVOKE boss FROM remit_reader; DROP ROLE boss",
            "BYPASSRLS",
        ),
        ("GRANT UPDATE ON people TO remit_reader", "REVOKE UPDATE ON people FROM remit_reader", "public.people"),
        ("GRANT UPDATE (name) ON people TO remit_reader", "REVOKE ALL ON people FROM remit_reader", "public.people"),
        ("ALTER TABLE people OWNER TO remit_reader", "ALTER TABLE people OWNER TO postgres", "public.people"),
        ("REVOKE SELECT ON people FROM remit_reader", "SELECT 1", "public.people.name"),
    ],
)
async def test_a_role_that_can_do_more_than_read_is_not_used(site: Site, grant: str, take: str, told: str) -> None:
    """Nothing is read with it; the operator learns what it is that it can do."""
    site.owner.run(grant)
    try:
        async with site.opened() as database:
            assert await failure(database, site.plan("SELECT 1")) is Failure.NOT_FIT
            with pytest.raises(DatabaseFailed) as caught:
                await database.columns()
    finally:
        site.owner.run(take)

    assert told in caught.value.detail


@in_loop
async def test_a_password_is_asked_for_with_each_connection(owner: PostgresOwner, caplog: Any) -> None:
    """A new one is taken at once; a wrong one does not fit, and no part of it is told anywhere."""
    passwords = [b"needle-wrong", owner.inner.reader_password.encode()]

    async def password() -> bytes:
        return passwords[0]

    place = parse_url(owner.inner.reader)
    assert isinstance(place, PostgresPlace)
    session = Session(place, password, 5)
    database = RemitPostgres(session, None, {}, tokenizer=TOKENIZER)
    with caplog.at_level(logging.DEBUG):
        with pytest.raises(DatabaseFailed) as caught:
            await database.columns()
        passwords.pop(0)
        await database.columns()
    await database.close()

    assert caught.value.failure is Failure.UNAVAILABLE
    assert "needle" not in caught.value.detail + repr(caught.value) + repr(session) + caplog.text
    assert owner.inner.reader_password not in caplog.text


# Connections


@asynccontextmanager
async def wired(owner: PostgresOwner) -> AsyncIterator[tuple[Wire, RemitPostgres]]:
    """A database behind a wire."""
    async with wire(owner.inner.server.port) as between:
        session = owner.session(30)
        place = replace(session.place, port=between.port)
        database = RemitPostgres(replace(session, place=place), None, TABLES, tokenizer=TOKENIZER)
        try:
            yield between, database
        finally:
            await database.close()


@in_loop
async def test_a_plan_alone_takes_one_round_trip(site: Site, owner: PostgresOwner) -> None:
    """Prepared or not; preparing it takes one more, once. With subjects it takes a few."""
    plan = site.plan("SELECT id, name FROM ~people WHERE id = @1", Parameter("id"))
    async with wired(owner) as (between, database):
        await database.columns()
        turns = []
        for _ in range(4):
            before = between.turns
            await answer(database, plan, {"id": 1})
            turns.append(between.turns - before)

    assert turns == [1, 2, 1, 1]


@in_loop
async def test_a_statement_is_planned_once(site: Site, owner: PostgresOwner) -> None:
    """The server keeps what recurs, no more than so many, and forgets the oldest."""
    pool = Pool(owner.session(30), 1)
    database = RemitPostgres(owner.session(30), None, TABLES, tokenizer=TOKENIZER)
    for number in range(80):
        for _ in range(2):
            await answer(database, site.plan(f"SELECT id, {number} FROM ~people"))
    ((kept,),) = (await answer(database, site.plan("SELECT count(*) FROM pg_prepared_statements"))).rows
    await database.close()
    await pool.close()

    assert kept == 64


@in_loop
async def test_a_connection_that_was_lost_is_replaced(site: Site) -> None:
    """Cut off while it was idle: the next reading does not notice. While it is read: unavailable, and then again."""
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'remit_reader'"
    async with site.opened() as database:
        assert (await answer(database, site.plan("SELECT 1"))).rows == [(1,)]
        site.owner.rows(ended)
        assert (await answer(database, site.plan("SELECT 1"))).rows == [(1,)]
        everything = site.plan("SELECT a.n, b.n FROM ~numbers a, ~numbers b")
        with pytest.raises(DatabaseFailed) as caught:
            async with database.read(everything, {}, replace(AMPLE, rows=10**7, bytes=1 << 30)) as reading:
                batches = reading.batches()
                await anext(batches)
                site.owner.rows(ended)
                async for _ in batches:
                    pass
        assert caught.value.failure is Failure.UNAVAILABLE
        assert (await answer(database, site.plan("SELECT 1"))).rows == [(1,)]


@in_loop
async def test_a_server_that_was_killed_is_used_again_when_it_is_back(site: Site, owner: PostgresOwner) -> None:
    """Unavailable meanwhile, and at once."""
    async with site.opened() as database:
        assert (await answer(database, site.plan("SELECT 1"))).rows == [(1,)]
        owner.inner.server.kill()
        try:
            async with asyncio.timeout(5):
                assert await failure(database, site.plan("SELECT 1")) is Failure.UNAVAILABLE
        finally:
            owner.inner.server.start()
        assert (await answer(database, site.plan("SELECT 1"))).rows == [(1,)]


@in_loop
async def test_what_a_statement_changes_of_its_session_ends_the_session(site: Site) -> None:
    """A setting that the server reports does not outlive the reading that changed it."""
    tampered = site.plan("SELECT set_config('default_transaction_read_only', 'off', false)")
    shown = site.plan("SELECT current_setting('default_transaction_read_only'), pg_backend_pid()")
    async with site.opened() as database:
        ((_, before),) = (await answer(database, shown)).rows
        assert (await answer(database, tampered)).rows == [("off",)]
        ((setting, after),) = (await answer(database, shown)).rows

    assert setting == "on" and before != after


@in_loop
async def test_no_connection_stays_with_a_reading_that_failed(site: Site) -> None:
    """However many fail: there are never more connections than the pool's, and none stays in a transaction."""
    async with site.opened() as database:
        for _ in range(30):
            assert await failure(database, site.plan("SELECT 1 / 0")) is Failure.BAD_VALUE
            assert await failure(database, site.plan("SELEC"), limits=replace(AMPLE, cost=5)) is Failure.BAD_STATEMENT
        await asyncio.gather(*(answer(database, site.plan("SELECT 1")) for _ in range(30)))
        states = site.owner.rows("SELECT state FROM pg_stat_activity WHERE usename = 'remit_reader'")

    assert 0 < len(states) <= 8 and {state for (state,) in states} == {"idle"}


# A search of some seconds, in which the server looks at no cancel.
DEAF = "SELECT strpos(repeat('a', 500000), 'b' || repeat('a', 10000))"
BUSY = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'remit_reader' AND state = 'active'"


@in_loop
async def test_a_server_that_looks_at_no_cancel_keeps_its_place_until_it_has_done(site: Site) -> None:
    """Whoever asked is told in time; no second process of the server is busy meanwhile, and the place is free again."""
    assert isinstance(site.owner, PostgresOwner)
    pool = Pool(site.owner.session(30), size=1)
    loop = asyncio.get_running_loop()
    try:
        began = loop.time()
        with pytest.raises(TimeoutError):
            async with pool.connection(5) as connection, asyncio.timeout(0.2):
                await Chunks(connection, DEAF, []).first()
        told = loop.time() - began
        with pytest.raises(DatabaseFailed) as full:
            async with pool.connection(0.1):
                pass
        busy = site.owner.rows(BUSY)
        async with pool.connection(60) as connection:
            free = site.owner.rows(BUSY)
            assert await Chunks(connection, "SELECT 1", []).first() == [(1,)]
    finally:
        await pool.close()

    assert told < 1.5 and full.value.failure is Failure.TIMED_OUT
    assert (busy, free) == ([(1,)], [(0,)])


@in_loop
async def test_a_pool_that_is_closed_waits_for_no_busy_server(site: Site) -> None:
    """Its connection is closed with it."""
    assert isinstance(site.owner, PostgresOwner)
    pool = Pool(site.owner.session(30), size=1)
    with pytest.raises(TimeoutError):
        async with pool.connection(5) as connection, asyncio.timeout(0.2):
            await Chunks(connection, DEAF, []).first()
    assert not connection.closed

    async with asyncio.timeout(1):
        await pool.close()
    assert connection.closed
