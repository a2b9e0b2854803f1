"""The databases of the catalogue in force: kept while it names them, and let go when it does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.databases import AMPLE, TABLES, TOKENIZER, PostgresOwner, Site, SqliteOwner, answer, sqlite_site
from fakes.loop import in_loop
from fakes.postgres_server import PostgresDatabase
from remit.backends.databases import CatalogueDatabases, credentials
from remit.backends.vault_file import FileVault, take_environment
from remit.core.catalogue import Catalogue
from remit.core.database_url import UrlRefused
from remit.core.dataset import Dataset, DataSource, ReadLimits, Table
from remit.core.view.model import Dialect
from remit.ports import Database, DatabaseFailed, Failure, Write

COUNT = "SELECT count(*) FROM ~people"


@pytest.fixture(name="site")
def _site(tmp_path: Path) -> Iterator[Site]:
    with sqlite_site(tmp_path) as site:
        yield site


def catalogue(**datasets: Dataset) -> Catalogue:
    return Catalogue("EUR", datasets=datasets)


def source(site: Site) -> DataSource:
    assert isinstance(site.owner, SqliteOwner)
    return DataSource(f"sqlite://{str(site.owner.path).replace('#', '%23').replace(' ', '%20')}")


def databases(environment: Mapping[str, str] | None = None, folder: Path = Path()) -> CatalogueDatabases:
    return CatalogueDatabases(FileVault(environment or {}, folder), TOKENIZER)


def found(kept: CatalogueDatabases, name: str) -> Database:
    database = kept.of(name)
    assert database is not None
    return database


@in_loop
async def test_a_dataset_that_names_a_database_has_one(site: Site) -> None:
    """And one that names none has none."""
    kept = databases()
    await kept.use(catalogue(crm=Dataset(reader=source(site), tables=TABLES), files=Dataset()))

    assert kept.of("files") is None and kept.of("unknown") is None
    assert found(kept, "crm").dialect is Dialect.SQLITE
    assert (await answer(found(kept, "crm"), site.plan(COUNT))).rows == [(3,)]
    assert await kept.problems() == {}
    await kept.close()
    assert kept.of("crm") is None


@in_loop
async def test_a_reload_keeps_what_has_not_changed(site: Site) -> None:
    """The same connections where address, tables and limits are the same; others are opened and closed."""
    crm = Dataset(reader=source(site), tables=TABLES)
    kept = databases()
    await kept.use(catalogue(crm=crm, old=crm, changed=crm))
    before = {name: found(kept, name) for name in ("crm", "old", "changed")}
    columns = await before["crm"].columns()

    more = replace(crm, tables={**TABLES, "secret": Table({"word": ()})}, limits=ReadLimits(seconds=3))
    await kept.use(catalogue(crm=replace(crm, owner="other"), changed=more))

    assert found(kept, "crm") is before["crm"] and await found(kept, "crm").columns() is columns
    assert kept.of("old") is None and found(kept, "changed") is not before["changed"]
    assert "secret" in await found(kept, "changed").columns()
    for name in ("old", "changed"):
        with pytest.raises(DatabaseFailed) as caught:
            await answer(before[name], site.plan(COUNT))
        assert caught.value.failure is Failure.UNAVAILABLE
    await kept.close()


@in_loop
@pytest.mark.parametrize(
    ("reader", "writer"),
    [
        ("mysql://h/d", ""),
        ("sqlite:///a.db", "postgresql://w@h/d"),
        ("postgresql://r:needle@h/d", ""),
        ("", "sqlite://a.db"),
    ],
)
async def test_a_catalogue_with_an_address_that_is_none_changes_nothing(site: Site, reader: str, writer: str) -> None:
    """It is refused whole, with the dataset's name and without a password; what was in force goes on."""
    kept = databases()
    crm = Dataset(reader=source(site), tables=TABLES)
    await kept.use(catalogue(crm=crm))
    before = kept.of("crm")

    with pytest.raises(UrlRefused, match=r"datasets\.bad") as caught:
        await kept.use(catalogue(bad=Dataset(reader=DataSource(reader), writer=DataSource(writer))))

    assert "needle" not in str(caught.value)
    assert kept.of("crm") is before
    assert (await answer(found(kept, "crm"), site.plan(COUNT))).rows == [(3,)]
    await kept.close()


@in_loop
async def test_passwords_come_from_files_and_variables(fresh: PostgresDatabase, tmp_path: Path) -> None:
    """Of reader and writer apart; one that cannot be had does not fit, and says where it was looked for."""
    site = Site(PostgresOwner(fresh))
    (tmp_path / "reader").write_text(fresh.reader_password)
    (tmp_path / "reader").chmod(0o600)
    environ = {"WRITER": fresh.writer_password, "OTHER": "x"}
    reader, writer = DataSource(fresh.reader, file="reader"), DataSource(fresh.writer, environment="WRITER")
    named = catalogue(
        crm=Dataset(reader=reader, writer=writer, tables=TABLES),
        lost=Dataset(reader=replace(reader, file="gone"), tables=TABLES),
        bare=Dataset(reader=replace(reader, file=""), tables=TABLES),
    )
    kept = databases(take_environment(environ, credentials(named)), tmp_path)
    await kept.use(named)

    assert environ == {"OTHER": "x"}  # what the sidecar starts does not inherit it
    added = Write("d_1", "INSERT INTO people VALUES (9, 'Eve', 0)", {}, AMPLE)
    assert (await found(kept, "crm").write(added)).affected == 1

    assert (await answer(found(kept, "crm"), site.plan(COUNT))).rows == [(4,)]
    problems = await kept.problems()
    assert {name: error.failure for name, error in problems.items()} == {
        "lost": Failure.NOT_FIT,
        "bare": Failure.UNAVAILABLE,
    }
    assert "gone" in problems["lost"].detail
    assert fresh.reader_password not in repr(kept) + repr(kept.__dict__) + problems["bare"].detail
    await kept.close()


@in_loop
async def test_a_unix_socket_is_an_address_too(fresh: PostgresDatabase, tmp_path: Path) -> None:
    """By the folder that it lies in."""
    server = fresh.server
    if not server.socket:
        pytest.skip("the server is in a container: its socket is not on this machine")
    site = Site(PostgresOwner(fresh))
    kept = databases({"READER": fresh.reader_password}, tmp_path)
    url = f"postgresql://remit_reader@:{server.port}/{fresh.name}?host={server.socket}"
    await kept.use(catalogue(crm=Dataset(reader=DataSource(url, environment="READER"), tables=TABLES)))

    assert (await answer(found(kept, "crm"), site.plan(COUNT), limits=AMPLE)).rows == [(3,)]
    await kept.close()
