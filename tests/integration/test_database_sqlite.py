"""SQLite itself: beside a writer, through views, on a file that is replaced, and by its own types."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import apsw
import pytest
from fakes.databases import AMPLE, TABLES, TOKENIZER, Site, SqliteOwner, answer, failure, sqlite_site
from fakes.loop import in_loop
from remit.backends.database_sqlite import SqliteDatabase
from remit.backends.database_sqlite.wall import Objects, Wall
from remit.core.dataset import Table
from remit.core.view.model import Cell, Column, ColumnType, Constant, Dialect, Parameter, Plan, Text
from remit.ports import DatabaseFailed, Failure, Write

COUNT = "SELECT count(*) FROM ~people"
ALL = "SELECT a.n, b.n FROM ~numbers a, ~numbers b"
WIDE = replace(AMPLE, rows=10**7, bytes=1 << 30)


@pytest.fixture(name="site", params=["wal", "delete"])
def _site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with sqlite_site(tmp_path, wal=request.param == "wal") as site:
        yield site


def owner_of(site: Site) -> SqliteOwner:
    assert isinstance(site.owner, SqliteOwner)
    return site.owner


@in_loop
async def test_a_writer_is_waited_for_and_no_longer_than_there_is_time(tmp_path: Path) -> None:
    """Where readers and writers exclude each other, a reading waits until its time is over."""
    with sqlite_site(tmp_path, wal=False) as site:
        connection = owner_of(site).connection
        async with site.opened() as database:
            await database.columns()
            connection.execute("BEGIN EXCLUSIVE")
            waited = await failure(database, site.plan(COUNT), limits=replace(AMPLE, seconds=0.3))
            assert waited is Failure.TIMED_OUT
            waiting = asyncio.create_task(answer(database, site.plan(COUNT)))
            await asyncio.wait([waiting], timeout=0.05)
            connection.execute("COMMIT")
            assert (await waiting).rows == [(3,)]


@in_loop
async def test_a_reading_sees_no_half_of_a_transaction(site: Site) -> None:
    """What another has written and not committed is not there yet."""
    connection = owner_of(site).connection
    async with site.opened() as database:
        connection.execute("BEGIN IMMEDIATE; DELETE FROM people")
        assert (await answer(database, site.plan(COUNT))).rows == [(3,)]
        connection.execute("COMMIT")
        assert (await answer(database, site.plan(COUNT))).rows == [(0,)]


@in_loop
async def test_a_file_that_was_put_in_place_of_another_is_the_one_that_is_read(site: Site, tmp_path: Path) -> None:
    """An idle connection of the old file is not used."""
    owner = owner_of(site)
    async with site.opened() as database:
        assert (await answer(database, site.plan(COUNT))).rows == [(3,)]
        other = SqliteOwner(tmp_path / "other.db")
        Site(other).owner.run("DELETE FROM people")
        other.connection.close()
        owner.connection.close()
        (tmp_path / "other.db").rename(owner.path)
        for name in ("-wal", "-shm"):
            owner.path.with_name(owner.path.name + name).unlink(missing_ok=True)
        assert (await answer(database, site.plan(COUNT))).rows == [(0,)]


@in_loop
async def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Neither to read nor to write."""
    database = SqliteDatabase(str(tmp_path / "x.db"), str(tmp_path / "x.db"), TABLES, tokenizer=TOKENIZER)
    with pytest.raises(DatabaseFailed) as reading:
        await database.columns()
    with pytest.raises(DatabaseFailed) as writing:
        await database.write(Write("d_1", "DELETE FROM people", {}, AMPLE))
    await database.close()

    assert reading.value.failure is writing.value.failure is Failure.NOT_FIT
    assert not await asyncio.to_thread(lambda: list(tmp_path.iterdir()))


@in_loop
async def test_a_file_that_is_no_database_does_not_fit(tmp_path: Path) -> None:
    """It is said, and it is left as it is."""
    path = tmp_path / "x.db"
    path.write_text("no database, and long enough to be looked at" * 100)
    database = SqliteDatabase(str(path), "", TABLES, tokenizer=TOKENIZER)
    with pytest.raises(DatabaseFailed) as caught:
        await database.columns()
    await database.close()

    assert caught.value.failure is Failure.NOT_FIT


@in_loop
async def test_nothing_is_written_through_a_reader(site: Site) -> None:
    """Even without the authorizer: the file is open to read, and the connection only queries."""
    owner = owner_of(site)
    database = owner.database(TABLES, 30)
    await database.columns()
    (opened,) = database._idle
    opened.connection.authorizer = None
    for sql in ("DELETE FROM people", "CREATE TABLE x (y)", "PRAGMA user_version = 5"):
        with pytest.raises(apsw.ReadOnlyError):
            opened.connection.execute(sql).fetchall()
    with pytest.raises(apsw.Error):
        opened.connection.execute("ATTACH ':memory:' AS y")
    with pytest.raises(apsw.Error):
        opened.connection.execute("SELECT load_extension('x')")
    await database.close()


# Views of the owner's


@in_loop
async def test_a_view_of_the_owners_may_read_what_is_beneath_it(site: Site) -> None:
    """Through the view and in no other way; also through a view on a view, and when it is another one later."""
    site.owner.run("CREATE VIEW words AS SELECT upper(word) AS w FROM secret; CREATE VIEW more AS SELECT w FROM words")
    table = {"words": Table({"w": ()}), "more": Table({"w": ()})}
    reads = {name: frozenset({"w"}) for name in table}
    async with site.opened(table) as database:
        for name in table:
            plan = site.plan(f"SELECT w FROM ~{name}", reads={name: reads[name]})
            assert len((await answer(database, plan)).rows) == 1
            counted = site.plan(f"SELECT count(*) FROM ~{name}", reads={name: reads[name]})
            assert (await answer(database, counted)).rows == [(1,)]
        direct = site.plan("SELECT word FROM ~secret", reads=reads)
        assert await failure(database, direct) is Failure.INTERNAL
        site.owner.run("DROP VIEW words; CREATE VIEW words AS SELECT name AS w FROM people")
        plan = site.plan("SELECT w FROM ~words ORDER BY w", reads={"words": reads["words"]})
        assert (await answer(database, plan)).rows == [("Ada",), ("Bob",), ("Élodie",)]


@in_loop
async def test_a_name_in_any_case_is_the_same_name(site: Site) -> None:
    """As SQLite has it; the wall sees the name that the schema has."""
    async with site.opened() as database:
        reads = {"MAIN.People": frozenset({"ID", "nAme"})}
        plan = site.plan('SELECT "NAME" FROM "MAIN"."PEOPLE" WHERE "Id" = 1', reads=reads)
        assert (await answer(database, plan)).rows == [("Ada",)]


def test_the_wall_finds_a_planted_hole() -> None:
    """Planted: a plan that says it reads `secret`; then, and only then, it does."""
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE secret (word)")

    def let_through(plan: Plan) -> bool:
        connection.authorizer = Wall(plan, Objects(connection), connection)
        try:
            connection.execute("SELECT word FROM secret", can_cache=False)
        except apsw.AuthError:
            return False
        finally:
            connection.authorizer = None
        return True

    assert not let_through(Plan(Dialect.SQLITE, Text("")))
    assert not let_through(Plan(Dialect.SQLITE, Text(""), reads={"secret": frozenset({"other"})}))
    assert let_through(Plan(Dialect.SQLITE, Text(""), reads={"secret": frozenset({"word"})}))


def test_a_name_in_with_may_be_a_tables_and_opens_no_table() -> None:
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE secret (word)")
    connection.authorizer = Wall(
        Plan(Dialect.SQLITE, Text(""), names=frozenset({"secret"}), functions=frozenset({"count"})),
        Objects(connection),
        connection,
    )
    named = "WITH secret AS (SELECT 1 AS one)"
    assert connection.execute(f"{named} SELECT count(*) FROM secret", can_cache=False).fetchall() == [(1,)]
    for text in (f"{named} SELECT count(*) FROM main.secret", f"{named} SELECT word FROM main.secret"):
        with pytest.raises(apsw.AuthError):
            connection.execute(text, can_cache=False)


# Types


@in_loop
async def test_columns_have_the_types_that_their_tables_declare(tmp_path: Path) -> None:
    """By SQLite's own rules, and dates and the like by their names; a declaration that is no type is none."""
    declared = {
        "a": ("INTEGER", ColumnType.INTEGER),
        "b": ("varchar(20)", ColumnType.TEXT),
        "c": ("DOUBLE PRECISION", ColumnType.REAL),
        "d": ("DECIMAL(10, 2)", ColumnType.DECIMAL),
        "e": ("BLOB", ColumnType.BYTES),
        "f": ("DATE", ColumnType.DATE),
        "g": ("DATETIME", ColumnType.TIMESTAMP),
        "h": ("BOOLEAN", ColumnType.BOOLEAN),
        "i": ("", ColumnType.ANY),
        "j": ("JSON", ColumnType.JSON),
        "k": ("UUID", ColumnType.UUID),
        "l": ("TIME", ColumnType.TIME),
    }
    owner = SqliteOwner(tmp_path / "t.db")
    owner.run(f"CREATE TABLE t ({', '.join(f'{name} {type}' for name, (type, _) in declared.items())}, m AS (a + 1))")
    owner.run('CREATE TABLE u (x "a; b")')
    tables = {"t": Table({**dict.fromkeys(declared, ()), "m": ()}), "u": Table({"x": ()})}
    database = owner.database(tables, 30)
    columns = await database.columns()
    await database.close()
    owner.connection.close()

    assert {name: column.type for name, column in columns["t"].items() if name != "m"} == {
        name: type for name, (_, type) in declared.items()
    }
    assert columns["u"]["x"] == Column(ColumnType.ANY, "")


@in_loop
@pytest.mark.parametrize(
    ("value", "kept"),
    [
        *((None, None), (True, 1), (5, 5), (2**63 - 1, 2**63 - 1), (2**63, float(2**63)), (1.5, 1.5), ("é'", "é'")),
        *((b"\x00\xff", b"\x00\xff"), (Decimal("1.50"), 1.5), (Decimal("3.00"), 3), (date(2024, 2, 29), "2024-02-29")),
        (datetime(2024, 1, 1, 2, 3, 4, 5), "2024-01-01 02:03:04.000005"),
        (datetime(2024, 1, 1, tzinfo=UTC), "2024-01-01 00:00:00+00:00"),
        *((time(1, 2, 3), "01:02:03"), (timedelta(minutes=1), 60.0)),
    ],
)
async def test_values_are_bound_as_sqlite_keeps_them(tmp_path: Path, value: Cell, kept: Cell) -> None:
    """Numbers as the nearest of its own, dates and times as ISO text."""
    with sqlite_site(tmp_path) as site:
        async with site.opened() as database:
            found = await answer(database, site.plan("SELECT @1", Parameter("v")), {"v": value})

    assert repr(found.rows) == repr([(kept,)])


@in_loop
async def test_a_policys_list_is_a_json_array(tmp_path: Path) -> None:
    """Where a plan has one place for all of it."""
    with sqlite_site(tmp_path) as site:
        async with site.opened() as database:
            found = await answer(database, site.plan("SELECT @1", Constant((1, "é", None, Decimal("2")))))

    assert found.rows == [('[1, "é", null, 2]',)]


@in_loop
async def test_masks_are_functions_of_every_reading(tmp_path: Path) -> None:
    """Hash and token of a value's text, the same as the sidecar's own; NULL stays NULL, and no value fails."""
    calls = "remit_hash(name, 'd'), remit_token(name, 'd', '[\"pii\"]'), remit_hash(NULL, 'd')"
    sql = f"SELECT {calls} FROM ~people WHERE id = 3"
    odd = "SELECT remit_hash(x'ff', 'd'), remit_token(1.5, 'd', '[]'), remit_token(NULL, 'd', '[]')"
    with sqlite_site(tmp_path) as site:
        async with site.opened() as database:
            found = (await answer(database, site.plan(sql))).rows
            others = (await answer(database, site.plan(odd))).rows

    assert found == [(TOKENIZER.hash("Élodie", "d"), TOKENIZER.token("Élodie", "d", ["pii"]), None)]
    assert others == [(TOKENIZER.hash("ff", "d"), TOKENIZER.token("1.5", "d", []), None)]


@in_loop
async def test_two_databases_do_not_share_threads(tmp_path: Path) -> None:
    """One that is busy to its last thread does not hold up another."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    endless = "SELECT count(*) FROM ~numbers a, ~numbers b, ~numbers c"
    with sqlite_site(tmp_path / "a") as busy, sqlite_site(tmp_path / "b") as free:
        async with busy.opened() as one, free.opened() as other:
            running = [asyncio.create_task(answer(one, busy.plan(endless))) for _ in range(8)]
            assert (await answer(other, free.plan(COUNT), limits=replace(AMPLE, seconds=10))).rows == [(3,)]
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)


@in_loop
@pytest.mark.parametrize(("limit", "most"), [(100, 1 << 20), (4 << 20, 4 << 20), (1 << 30, 16 << 20)])
async def test_no_value_is_longer_than_an_answer_may_be(site: Site, limit: int, most: int) -> None:
    """Nor ever longer than 16 MiB: one call of a function on it is not interrupted."""
    plan = replace(
        site.plan("SELECT length(zeroblob(@1))", Parameter("n")), functions=frozenset({"length", "zeroblob"})
    )
    limits = replace(AMPLE, bytes=limit)
    async with site.opened() as database:
        assert (await answer(database, plan, {"n": most}, limits)).rows == [(most,)]
        assert await failure(database, plan, {"n": most + 1}, limits) is Failure.BAD_VALUE


@in_loop
async def test_rows_with_much_to_do_each_are_ended_in_time(site: Site) -> None:
    """SQLite looks after so many steps, which is late where each searches a long text: it is interrupted as well."""
    slow = "SELECT sum(instr(hex(zeroblob(500000 + n)), 'b' || n)) FROM ~numbers"
    plan = replace(site.plan(slow), functions=frozenset({"sum", "instr", "hex", "zeroblob"}))
    async with site.opened() as database:
        await database.columns()
        began = asyncio.get_running_loop().time()
        assert await failure(database, plan, limits=replace(AMPLE, seconds=0.2)) is Failure.TIMED_OUT
        took = asyncio.get_running_loop().time() - began
        assert (await answer(database, site.plan(COUNT))).rows == [(3,)]

    assert took < 0.8
