"""Named writes on both real databases: performed once, or not at all, and known which."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
from fakes.databases import AMPLE, Site
from fakes.databases import site_fixture as site_fixture
from fakes.loop import in_loop
from remit.backends.database_postgres import writing as postgres_writing
from remit.backends.database_sqlite import writing as sqlite_writing
from remit.backends.named_write import EXECUTIONS_SQL, kept_text, numbered, replayed
from remit.core.view.model import Cell, Dialect
from remit.ports import Database, DatabaseFailed, Failure, NotPerformed, ResultColumn, Write, Written

ADD = "INSERT INTO people (id, name, score) VALUES (:id, :name, 0)"
PAY = "UPDATE people SET score = score + :amount WHERE id = :id RETURNING id, score"


def write(execution: str, sql: str, **parameters: Cell) -> Write:
    return Write(execution, sql, parameters, AMPLE)


async def fails(database: Database, asked: Write) -> DatabaseFailed:
    with pytest.raises(DatabaseFailed) as caught:
        await database.write(asked)
    assert str(caught.value) == caught.value.failure.value and caught.value.__cause__ is None
    return caught.value


async def paid_twice(site: Site) -> float:
    """What one execution that is asked for twice at once, and once more, has paid."""
    async with site.opened() as database:
        asked = [database.write(write("d_1", PAY, id=1, amount=10)) for _ in range(2)]
        done = await asyncio.gather(*asked)
        done.append(await database.write(write("d_1", PAY, id=1, amount=10)))
    ((score,),) = site.owner.rows("SELECT score FROM people WHERE id = 1")
    assert sorted(each.replayed for each in done) == [False, True, True] or score != 11.5
    return float(score) - 1.5


@in_loop
async def test_a_write_is_performed_and_tells_what_it_did(site: Site) -> None:
    """Rows affected, and what was returned, typed."""
    async with site.opened() as database:
        added = await database.write(write("d_1", ADD, id=7, name="Zoë'); --"))
        paid = await database.write(write("d_2", PAY, id=1, amount=2.5))

    assert (added.affected, added.columns, list(added.rows), added.replayed) == (1, (), [], False)
    assert (paid.affected, list(paid.rows)) == (1, [(1, 4.0)])
    assert [column.name for column in paid.columns] == ["id", "score"]
    assert site.owner.rows("SELECT name FROM people WHERE id = 7") == [("Zoë'); --",)]


@in_loop
async def test_the_same_execution_happens_once(site: Site) -> None:
    """Asked for twice at once and again later: done once, and each time told the same."""
    assert await paid_twice(site) == 10


@in_loop
async def test_the_suite_finds_a_write_that_does_not_claim_its_execution(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: each attempt claims an id of its own; then the same execution happens several times, and is found."""
    table = "INTO public.remit_executions (id, result) VALUES ($1 || gen_random_uuid()::text, '')"
    monkeypatch.setattr(postgres_writing, "_CLAIM", f"INSERT {table}".encode())
    monkeypatch.setattr(
        sqlite_writing, "_CLAIM", "INSERT INTO remit_executions (id, result) VALUES (? || hex(randomblob(8)), '')"
    )

    assert await paid_twice(site) == 30


@in_loop
async def test_a_write_that_is_looked_up_is_not_performed(site: Site) -> None:
    """Before it was done it is not there, and looking leaves nothing behind; afterwards it is told as it was."""
    asked = write("d_1", PAY, id=1, amount=10)
    async with site.opened() as database:
        with pytest.raises(NotPerformed):
            await database.write(replace(asked, perform=False))
        before = site.owner.rows("SELECT score FROM people WHERE id = 1")
        done = await database.write(asked)
        told = await database.write(replace(asked, perform=False))

    assert before == [(1.5,)]
    assert site.owner.rows("SELECT score FROM people WHERE id = 1") == [(11.5,)]
    assert (told.replayed, list(told.rows)) == (True, list(done.rows))


@in_loop
async def test_what_is_told_again_is_what_was_told(site: Site) -> None:
    """Rows and columns of a write that had been done are those of then, whatever has changed since."""
    async with site.opened() as database:
        first = await database.write(write("d_1", PAY, id=1, amount=1))
        site.owner.run("DELETE FROM people")
        again = await database.write(write("d_1", PAY, id=1, amount=1))

    assert again == replace(first, replayed=True)


@in_loop
async def test_a_broken_constraint_changes_nothing(site: Site) -> None:
    """Neither the table nor the memory of executions: the same id may be tried again, and then succeeds."""
    async with site.opened() as database:
        assert (await fails(database, write("d_1", ADD, id=1, name="Eve"))).failure is Failure.CONFLICT
        assert site.owner.rows("SELECT count(*) FROM remit_executions") == [(0,)]
        site.owner.run("DELETE FROM people WHERE id = 1")
        assert (await database.write(write("d_1", ADD, id=1, name="Eve"))).affected == 1


@in_loop
async def test_a_value_that_cannot_be_sent_changes_nothing(site: Site) -> None:
    """Half a surrogate pair is no text of a database's."""
    async with site.opened() as database:
        assert (await fails(database, write("d_1", ADD, id=8, name="\udfff"))).failure is Failure.BAD_VALUE
        assert (await database.write(write("d_1", ADD, id=8, name="Zoë"))).affected == 1


@in_loop
async def test_a_write_returns_no_more_than_it_may(site: Site) -> None:
    """Beyond the limits of rows and bytes nothing is changed."""
    everyone = replace(write("d_1", "UPDATE people SET score = 7 RETURNING name"), limits=replace(AMPLE, rows=2))
    wide = replace(everyone, limits=replace(AMPLE, bytes=5))
    async with site.opened() as database:
        assert (await fails(database, everyone)).failure is Failure.TOO_COSTLY
        assert (await fails(database, wide)).failure is Failure.TOO_COSTLY

    assert site.owner.rows("SELECT count(*) FROM people WHERE score = 7") == [(0,)]


@in_loop
async def test_a_write_that_takes_too_long_changes_nothing(site: Site) -> None:
    """It is stopped, and undone; the same execution waits for as long as the server still works at it."""
    slow = "UPDATE people SET score = (SELECT count(*) FROM numbers a, numbers b, numbers c, numbers d)"
    asked = replace(write("d_1", slow), limits=replace(AMPLE, seconds=0.5))
    async with site.opened(seconds=2) as database:
        assert (await fails(database, asked)).failure is Failure.TIMED_OUT
        assert (await database.write(write("d_1", PAY, id=1, amount=1))).affected == 1


@in_loop
async def test_without_the_table_of_executions_nothing_is_written(site: Site) -> None:
    """The operator is told how to create it."""
    site.owner.run("DROP TABLE remit_executions")
    async with site.opened() as database:
        error = await fails(database, write("d_1", PAY, id=1, amount=1))

    assert error.failure is Failure.NOT_FIT and EXECUTIONS_SQL[site.dialect] in error.detail
    assert site.owner.rows("SELECT score FROM people WHERE id = 1") == [(1.5,)]


@in_loop
@pytest.mark.parametrize(
    "sql",
    [
        "COMMIT",
        " /* x */ ROLLBACK",
        "-- x\nSAVEPOINT a",
        "UPDATE people SET score = 0; COMMIT",
        "UPDATE people SET score = 0; DELETE FROM numbers",
        "UPDATE people SET score = :nobody",
        "UPDATE people SET score = 1 / 0 WHERE nope = 1",
    ],
)
async def test_a_write_that_is_no_single_statement_of_the_transaction_changes_nothing(site: Site, sql: str) -> None:
    """The catalogue's owner is trusted, and yet cannot take the write out of its transaction by mistake."""
    async with site.opened() as database:
        await fails(database, write("d_1", sql))

    assert site.owner.rows("SELECT count(*) FROM remit_executions") == [(0,)]
    assert site.owner.rows("SELECT score FROM people WHERE id = 1") == [(1.5,)]


@in_loop
async def test_many_writes_at_once_all_happen(site: Site) -> None:
    """Each once, whoever waits for whom."""
    async with site.opened() as database:
        asked = [database.write(write(f"d_{n % 20}", PAY, id=1, amount=1)) for n in range(40)]
        done = await asyncio.gather(*asked)

    assert sum(not each.replayed for each in done) == 20
    assert site.owner.rows("SELECT score FROM people WHERE id = 1") == [(21.5,)]


@pytest.mark.parametrize(
    ("dialect", "sql", "expected", "names"),
    [
        (
            Dialect.POSTGRES,
            "DELETE FROM t WHERE a IN (:a, :b, :a)",
            "DELETE FROM t WHERE a IN ($1, $2, $1)",
            ("a", "b"),
        ),
        (Dialect.SQLITE, "DELETE FROM t WHERE a IN (:b, :a, :b)", "DELETE FROM t WHERE a IN (?1, ?2, ?1)", ("b", "a")),
        (Dialect.POSTGRES, "UPDATE t SET a = ':a', b = :c::int; -- :d", "UPDATE t SET a = ':a', b = $1::int", ("c",)),
    ],
)
def test_places_are_numbered_by_their_names(dialect: Dialect, sql: str, expected: str, names: tuple[str, ...]) -> None:
    """Each name once, in the order in which it first stands; what is a place is core/named_sql's."""
    found = numbered(sql, dialect)

    assert (found.sql, found.names) == (expected, names)


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("sql", ["DELETE FROM t WHERE a = $1", "SELECT :a", "COMMIT", "", "DELETE FROM t; COMMIT"])
def test_what_is_not_one_write_does_not_fit(dialect: Dialect, sql: str) -> None:
    """A catalogue has none, and nothing of it would reach a database."""
    with pytest.raises(DatabaseFailed) as caught:
        numbered(sql, dialect)

    assert caught.value.failure is Failure.NOT_FIT and "expected" in caught.value.detail


def test_a_result_is_kept_exactly() -> None:
    """Every kind of cell comes back as it was."""
    cells: tuple[Cell, ...] = (
        *(None, True, False, 2**70, -1, 0.1, float("inf"), Decimal("1.50"), Decimal("NaN"), "ö\u0000'", b"\x00\xff"),
        *(date(2026, 2, 28), time(1, 2, 3, 4), datetime(2026, 1, 1, 0, 0, 0, 1), datetime(2026, 1, 1, tzinfo=UTC)),
        timedelta(days=-3, microseconds=7),
    )
    written = Written(3, (ResultColumn("a", "integer"),), [cells, cells])

    again = replayed(kept_text(written))

    assert repr(again) == repr(replace(written, replayed=True))
