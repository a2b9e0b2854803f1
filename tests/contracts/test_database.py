"""What every database must hold: one suite for SQLite and PostgreSQL, both real."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import replace

import pytest
from fakes.databases import (
    AMPLE,
    CANARY,
    PEOPLE,
    Site,
    answer,
    failure,
)
from fakes.databases import site_fixture as site_fixture
from fakes.loop import in_loop
from remit.core.dataset import Table
from remit.core.view.model import ColumnType, Constant, Dialect, Parameter, SubjectQuery
from remit.ports import DatabaseFailed, Failure, Limits, ResultColumn

ENDLESS = "SELECT count(*) FROM ~numbers a, ~numbers b, ~numbers c, ~numbers d"
MANY = "SELECT a.n, b.n FROM ~numbers a, ~numbers b ORDER BY a.n, b.n"
# Texts of an attacker who got past the parser: whatever happens to them, nothing changes and nothing is told.
HOSTILE = [
    "INSERT INTO ~people VALUES (9, 'Eve', 0)",
    "INSERT INTO ~people VALUES (9, 'Eve', 0) RETURNING id",
    "UPDATE ~people SET name = 'x'",
    "DELETE FROM ~people",
    "DROP TABLE ~people",
    "CREATE TABLE ~mine (x int)",
    "CREATE TEMP TABLE mine (x int)",
    "CREATE TABLE mine AS SELECT 1",
    "SELECT 1; DELETE FROM ~people",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "VACUUM",
    "ANALYZE",
    "EXPLAIN DELETE FROM ~people",
]
HOSTILE_OF = {
    Dialect.SQLITE: [
        f"SELECT word FROM secret -- {CANARY}",
        "SELECT count(*) FROM secret",
        "SELECT * FROM sqlite_schema",
        "SELECT count(*) FROM sqlite_master",
        "SELECT * FROM pragma_table_info('secret')",
        "SELECT count(*) FROM pragma_user_version",
        "PRAGMA query_only = OFF",
        "PRAGMA writable_schema = ON",
        "PRAGMA table_info('secret')",
        "ATTACH ':memory:' AS other",
        "DETACH main",
        "SELECT load_extension('x')",
        "SELECT randomblob(8)",
        "SELECT value FROM json_each('[1]')",
        'SELECT "word" FROM people',
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 5) SELECT n FROM r",
        "REPLACE INTO people VALUES (1, 'x', 0)",
        "SELECT rowid FROM secret",
        "WITH people AS (SELECT word FROM secret) SELECT word FROM people",
    ],
    Dialect.POSTGRES: [
        "COPY ~people TO STDOUT",
        "COPY ~people FROM STDIN",
        "COPY ~people TO PROGRAM 'cat'",
        "COPY (SELECT 1) TO '/tmp/remit-x'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
        "SELECT nextval('x')",
        "SET default_transaction_read_only = off",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "RESET ALL",
        "DISCARD ALL",
        "SELECT set_config('default_transaction_read_only', 'off', false)",
        "SELECT set_config('standard_conforming_strings', 'off', false)",
        "SELECT set_config('TimeZone', 'Asia/Tokyo', false)",
        "PREPARE p AS DELETE FROM ~people",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "DO $$ BEGIN DELETE FROM public.people; END $$",
        "LISTEN x",
        "NOTIFY x",
        "LOCK TABLE ~people",
        "SELECT * FROM ~people FOR UPDATE",
        "WITH gone AS (DELETE FROM ~people RETURNING id) SELECT id FROM gone",
        "SELECT id INTO mine FROM ~people",
        "START TRANSACTION READ WRITE",
        "GRANT ALL ON ~people TO remit_reader",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ],
}


# What is read


@in_loop
async def test_rows_come_as_they_are(site: Site) -> None:
    """Every cell, NULL and beyond ASCII, in order, under its column's name."""
    async with site.opened() as database:
        found = await answer(database, site.plan("SELECT id, name, score AS points FROM ~people ORDER BY id"))

    assert found.rows == [(1, "Ada", 1.5), (2, "Bob", None), (3, "Élodie", -2.0)]
    assert [column.name for column in found.columns] == ["id", "name", "points"]
    assert not found.truncated


@in_loop
async def test_no_row_still_has_columns(site: Site) -> None:
    """An empty answer says what it would have held."""
    async with site.opened() as database:
        found = await answer(database, site.plan("SELECT id, name FROM ~people WHERE id > 100"))

    assert (found.rows, found.bytes) == ([], 0)
    assert found.columns == (ResultColumn("id", "integer"), ResultColumn("name", "text"))


@in_loop
async def test_values_are_bound_and_never_spliced(site: Site) -> None:
    """A value that looks like SQL is that text, of the agent's and of policy's."""
    evil = "x' OR 1=1 --"
    plan = site.plan("SELECT id FROM ~people WHERE name = @1 OR name = @2 ORDER BY id", Parameter("a"), Constant("Ada"))
    async with site.opened() as database:
        assert (await answer(database, plan, {"a": evil})).rows == [(1,)]
        assert (await answer(database, plan, {"a": "Bob"})).rows == [(1,), (2,)]
        site.owner.run(f"INSERT INTO people VALUES (4, '{evil.replace(chr(39), chr(39) * 2)}', 0)")
        assert (await answer(database, plan, {"a": evil})).rows == [(1,), (4,)]


@in_loop
async def test_a_value_that_was_not_sent_fails(site: Site) -> None:
    """A plan that names a parameter without a value is not run."""
    async with site.opened() as database:
        plan = site.plan("SELECT id FROM ~people WHERE id = @1", Parameter("a"))
        assert await failure(database, plan) is Failure.BAD_STATEMENT


@in_loop
async def test_hidden_columns_are_in_rows_and_not_in_columns(site: Site) -> None:
    """A plan's trailing columns are Remit's: rows have them last, and they do not count as bytes."""
    plan = site.plan("SELECT name, CAST(id AS text) AS k FROM ~people ORDER BY id", hidden=("people",))
    async with site.opened() as database:
        found = await answer(database, plan)

    assert found.rows[0] == ("Ada", "1")
    assert [column.name for column in found.columns] == ["name"]
    assert found.bytes == len("AdaBob") + len("Élodie".encode())


@in_loop
async def test_subjects_are_of_the_same_moment_as_the_rows(site: Site) -> None:
    """What is changed while a plan is read is in neither of them."""
    subjects = (SubjectQuery("people", site.text("SELECT CAST(id AS text) FROM ~people WHERE id < @1", Constant(3))),)
    plan = site.plan("SELECT p.id, a.n FROM ~people p, ~numbers a ORDER BY p.id, a.n", subjects=subjects)
    async with site.opened() as database, database.read(plan, {}, AMPLE) as reading:
        batches = reading.batches()
        first = await anext(batches)
        site.owner.run("DELETE FROM people")
        rows = len(first) + sum([len(batch) async for batch in batches])
        assert sorted(reading.subjects["people"]) == ["1", "2"]

    assert rows == 3000 and site.owner.rows("SELECT count(*) FROM people") == [(0,)]


# Limits


@in_loop
@pytest.mark.parametrize("most", [0, 1, 2, 3, 4])
async def test_the_rows_of_an_answer_are_limited(site: Site, most: int) -> None:
    """So many and no more, and it is told that there were more."""
    async with site.opened() as database:
        plan = site.plan("SELECT id FROM ~people ORDER BY id", rows=most + 1)
        found = await answer(database, plan, limits=replace(AMPLE, rows=most))

    assert found.rows == [(1,), (2,), (3,)][:most]
    assert found.truncated is (most < 3)


@in_loop
async def test_the_bytes_of_an_answer_are_limited(site: Site) -> None:
    """The row that would exceed them is the first that is not given."""
    plan = site.plan("SELECT name FROM ~people ORDER BY id")
    async with site.opened() as database:
        exact = await answer(database, plan, limits=replace(AMPLE, bytes=len("AdaBobÉlodie".encode())))
        less = await answer(database, plan, limits=replace(AMPLE, bytes=len("AdaBobÉlodie".encode()) - 1))

    assert (len(exact.rows), exact.truncated, exact.bytes) == (3, False, 13)
    assert (len(less.rows), less.truncated, less.bytes) == (2, True, 6)


@in_loop
async def test_a_reading_ends_in_time(site: Site) -> None:
    """What takes too long is stopped in the database too, and the next one is answered."""
    async with site.opened() as database:
        begun = time.monotonic()
        assert await failure(database, site.plan(ENDLESS), limits=replace(AMPLE, seconds=0.5)) is Failure.TIMED_OUT
        assert time.monotonic() - begun < 10
        assert (await answer(database, site.plan("SELECT count(*) FROM ~people"))).rows == [(3,)]


@in_loop
async def test_a_costly_statement_is_not_run_to_its_end(site: Site) -> None:
    """Beyond the dataset's cost a statement fails; within it, it is answered."""
    async with site.opened() as database:
        dear = replace(AMPLE, cost=1000)
        assert await failure(database, site.plan(ENDLESS), limits=dear) is Failure.TOO_COSTLY
        assert (await answer(database, site.plan("SELECT count(*) FROM ~people"), limits=dear)).rows == [(3,)]


@in_loop
async def test_many_rows_come_in_batches(site: Site) -> None:
    """A million rows are never held at once: none is empty, and none of more than a thousand."""
    async with site.opened() as database, database.read(site.plan(MANY), {}, Limits(10**7, 1 << 30, 60.0)) as reading:
        sizes = [len(batch) async for batch in reading.batches()]

    assert sum(sizes) == 10**6 and min(sizes) > 0 and max(sizes) <= 1000


# What a plan cannot do


@in_loop
async def test_a_hostile_plan_changes_and_tells_nothing(site: Site) -> None:
    """Not a row, not a setting, not a word of what the plan does not read; and whoever reads next is not touched."""
    before = site.owner.rows("SELECT * FROM people ORDER BY id")
    async with site.opened() as database:
        # With a limit of cost PostgreSQL is asked for its plan first: that is another way in.
        for text, cost in itertools.product(HOSTILE + HOSTILE_OF[site.dialect], (0, 10**12)):
            try:
                found = str(await answer(database, site.plan(text), limits=replace(AMPLE, seconds=5, cost=cost)))
            except DatabaseFailed as error:
                found = str(error)
            assert CANARY not in found, text
            assert site.owner.rows("SELECT * FROM people ORDER BY id") == before, text
            assert (await answer(database, site.plan("SELECT count(*) FROM ~people"))).rows == [(3,)], text
            delete = site.plan("DELETE FROM ~people RETURNING id")
            assert await failure(database, delete) in {Failure.INTERNAL, Failure.NOT_FIT}, text

    assert site.owner.rows("SELECT * FROM people ORDER BY id") == before


# Failures


@in_loop
@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELEC 1", Failure.BAD_STATEMENT),
        ("SELECT nope FROM ~people", Failure.BAD_STATEMENT),
        ('SELECT "nope" FROM ~people', Failure.BAD_STATEMENT),
        ("SELECT id FROM ~people UNION SELECT id, name FROM ~people", Failure.BAD_STATEMENT),
        ("SELECT id FROM ~absent", Failure.NOT_FIT),
    ],
)
async def test_a_failure_is_of_its_class(site: Site, sql: str, expected: Failure) -> None:
    """Each is one of the fixed texts, with nothing of the database's own words in it."""
    async with site.opened() as database:
        assert await failure(database, site.plan(sql)) is expected


@in_loop
async def test_a_failure_brings_the_database_s_own_code(site: Site) -> None:
    """It may be logged: neither the database's words nor data are in it."""
    async with site.opened() as database:
        with pytest.raises(DatabaseFailed) as caught:
            await answer(database, site.plan("SELECT nope FROM ~people"))

    code = {Dialect.SQLITE: "SQLITE_ERROR", Dialect.POSTGRES: "SQLSTATE 42703"}[site.dialect]
    assert caught.value.told == f"bad_statement, {code}"


@in_loop
@pytest.mark.parametrize(
    ("changed", "back", "wanting"),
    [
        ("ALTER TABLE people RENAME COLUMN name TO called", "ALTER TABLE people RENAME COLUMN called TO name", "name"),
        ("ALTER TABLE people RENAME TO gone", "ALTER TABLE gone RENAME TO people", "people"),
    ],
)
async def test_what_is_no_longer_there_is_looked_for_again(site: Site, changed: str, back: str, wanting: str) -> None:
    """After the first statement that misses it, the database is known not to fit; once it is back, it fits."""
    plan = site.plan("SELECT name FROM ~people WHERE id = 1")
    async with site.opened() as database:
        assert (await answer(database, plan)).rows == [("Ada",)]
        site.owner.run(changed)
        assert await failure(database, plan) in {Failure.BAD_STATEMENT, Failure.NOT_FIT}
        with pytest.raises(DatabaseFailed) as caught:
            await database.columns()
        assert caught.value.failure is Failure.NOT_FIT
        assert wanting in caught.value.detail
        site.owner.run(back)
        assert (await answer(database, plan)).rows == [("Ada",)]


@in_loop
async def test_a_column_of_another_type_is_read_as_what_it_is_now(site: Site) -> None:
    """A statement that the database had prepared before is none the worse for it."""
    plan = site.plan("SELECT score FROM ~people WHERE id = 1")
    changed = {
        Dialect.SQLITE: "UPDATE people SET score = 'good' WHERE id = 1",
        Dialect.POSTGRES: "ALTER TABLE people ALTER COLUMN score TYPE text USING 'good'",
    }
    async with site.opened() as database:
        for _ in range(4):
            assert (await answer(database, plan)).rows == [(1.5,)]
        site.owner.run(changed[site.dialect])
        assert (await answer(database, plan)).rows == [("good",)]
        assert (await answer(database, plan)).rows == [("good",)]


@in_loop
async def test_a_name_of_the_agent_s_own_that_is_no_table_is_a_bad_statement(site: Site) -> None:
    """What the catalogue names stands with its schema; the database is not to blame for another name."""
    # PostgreSQL says the same of both; a name that is no table is refused before.
    expected = {Dialect.SQLITE: Failure.BAD_STATEMENT, Dialect.POSTGRES: Failure.NOT_FIT}[site.dialect]
    async with site.opened() as database:
        assert await failure(database, site.plan("SELECT 1 WHERE 1 IN (SELECT x FROM r)")) is expected


@in_loop
async def test_a_value_that_cannot_be_computed_is_no_statement_that_is_wrong(site: Site) -> None:
    """Of the same statement, some values can be computed and some cannot: the failure is another one."""
    sum_of = "SELECT sum(n) FROM (SELECT 9223372036854775807 AS n UNION ALL SELECT 1) AS s"
    divided = "SELECT 1 / (id - 1) FROM ~people"
    sql = sum_of if site.dialect is Dialect.SQLITE else divided
    async with site.opened() as database:
        assert await failure(database, site.plan(sql)) is Failure.BAD_VALUE


@in_loop
async def test_a_value_that_cannot_be_sent_is_a_bad_value(site: Site) -> None:
    """Half a surrogate pair is no text of a database's; whoever sends it is told, and the next one is answered."""
    plan = site.plan("SELECT id FROM ~people WHERE name = @1", Parameter("a"))
    async with site.opened() as database:
        assert await failure(database, plan, {"a": "\ud800"}) is Failure.BAD_VALUE
        assert await failure(database, plan, {"a": "\ud800"}, replace(AMPLE, cost=10**6)) is Failure.BAD_VALUE
        assert (await answer(database, plan, {"a": "Ada"})).rows == [(1,)]


@in_loop
async def test_a_database_that_is_not_as_the_catalogue_says_does_not_fit(site: Site) -> None:
    """The operator learns which table and which column; the agent only that it does not fit."""
    tables = {
        "people": Table({**PEOPLE.columns, "salary": ()}),
        "gone": Table({"x": ()}),
        "hid": Table({}, source="a.b"),
    }
    async with site.opened(tables) as database:
        with pytest.raises(DatabaseFailed) as caught:
            await database.columns()

    assert (str(caught.value), caught.value.failure) == ("not_fit", Failure.NOT_FIT)
    assert all(each in caught.value.detail for each in ("people.salary", "gone", "a.b"))


@in_loop
async def test_columns_are_asked_once(site: Site) -> None:
    """The types of what the catalogue names, the same object each time."""
    async with site.opened() as database:
        columns = await database.columns()
        assert columns is await database.columns()

    types = {name: column.type for name, column in columns["people"].items()}
    assert types == {"id": ColumnType.INTEGER, "name": ColumnType.TEXT, "score": ColumnType.REAL}
    assert columns["people"]["name"].declared.lower() == "text"


# Whoever leaves


@in_loop
async def test_a_reading_that_is_cancelled_is_over_at_once(site: Site) -> None:
    """It does not go on in the database, and its connection serves again or is replaced."""
    async with site.opened() as database:
        for _ in range(12):  # more than there are connections
            running = asyncio.create_task(answer(database, site.plan(ENDLESS)))
            await asyncio.wait([running], timeout=0.05)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                async with asyncio.timeout(10):
                    await running
        assert (await answer(database, site.plan("SELECT count(*) FROM ~people"))).rows == [(3,)]


@in_loop
async def test_a_reading_may_be_left_at_any_row(site: Site) -> None:
    """However often: what was not read is dropped, and the next reading is whole."""
    async with site.opened() as database:
        for _ in range(20):
            async with database.read(site.plan(MANY), {}, Limits(10**7, 1 << 30, 60.0)) as reading:
                async for _batch in reading.batches():
                    break
        assert (await answer(database, site.plan("SELECT count(*) FROM ~people"))).rows == [(3,)]


@in_loop
async def test_an_exception_of_the_reader_goes_through(site: Site) -> None:
    """What the caller raises inside is what it gets, and the reading has ended."""
    async with site.opened() as database:
        with pytest.raises(RuntimeError, match="mine"):
            async with database.read(site.plan(MANY), {}, AMPLE):
                raise RuntimeError("mine")
        assert (await answer(database, site.plan("SELECT count(*) FROM ~people"))).rows == [(3,)]


@in_loop
async def test_readings_run_beside_each_other(site: Site) -> None:
    """More than there are connections at once, each with its own answer."""
    plan = site.plan("SELECT a.n FROM ~numbers a WHERE a.n >= @1 ORDER BY a.n", Parameter("from"))
    async with site.opened() as database:
        found = await asyncio.gather(*(answer(database, plan, {"from": n}) for n in range(40)))

    assert [len(each.rows) for each in found] == [1000 - n for n in range(40)]


@in_loop
async def test_what_is_closed_lets_a_reading_end(site: Site) -> None:
    """A reload does not cut off whoever reads; only then nobody gets in any more."""
    async with site.opened() as database:
        async with database.read(site.plan(MANY), {}, Limits(10**7, 1 << 30, 60.0)) as reading:
            batches = reading.batches()
            rows = len(await anext(batches))
            await database.close()  # type: ignore[attr-defined]
            rows += sum([len(batch) async for batch in batches])
        assert rows == 10**6
        assert await failure(database, site.plan("SELECT 1")) is Failure.UNAVAILABLE
