"""The databases of the catalogue in force, opened as they are first needed and kept while the catalogue names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from remit.backends.database_postgres import PostgresDatabase
from remit.backends.database_postgres.connection import Password, Session
from remit.backends.database_sqlite import SqliteDatabase
from remit.core.catalogue import Catalogue, Credential
from remit.core.database_url import PostgresPlace, SqlitePlace, UrlRefused, parse_url
from remit.core.dataset import Dataset, DataSource, Table
from remit.ports import Database, DatabaseFailed, Failure, Tokenizer, Vault, VaultFailed


@dataclass(frozen=True, slots=True)
class _Named:
    """What of a dataset its database depends on."""

    reader: DataSource
    writer: DataSource
    tables: Mapping[str, Table]
    seconds: int

    @classmethod
    def of(cls, dataset: Dataset) -> _Named:
        return cls(dataset.reader, dataset.writer, dataset.tables, dataset.limits.seconds)


def credentials(catalogue: Catalogue) -> tuple[Credential, ...]:
    """The passwords that datasets name, for `vault_file.take_environment`."""
    sources = [source for dataset in catalogue.datasets.values() for source in (dataset.reader, dataset.writer)]
    return tuple(_credential(source) for source in sources if source.file or source.environment)


def _credential(source: DataSource) -> Credential:
    return Credential(file=source.file, environment=source.environment)


@dataclass(frozen=True, slots=True)
class _Open:
    named: _Named
    database: PostgresDatabase | SqliteDatabase


class CatalogueDatabases:
    """The Databases port. Passwords are asked of the vault with each new connection."""

    def __init__(self, vault: Vault, tokenizer: Tokenizer) -> None:
        self._vault = vault
        self._tokenizer = tokenizer
        self._open: dict[str, _Open] = {}

    def of(self, dataset: str) -> Database | None:
        """As the port says."""
        found = self._open.get(dataset)
        return found.database if found else None

    async def use(self, catalogue: Catalogue) -> None:
        """From now on these; what has changed or gone is closed as soon as nobody reads from it.

        Raises UrlRefused, which a catalogue that was loaded has no cause for, and then nothing has changed.
        """
        before, now = self._open, {}
        for name, dataset in catalogue.datasets.items():
            named = _Named.of(dataset)
            if not named.reader.url and not named.writer.url:
                continue
            kept = before.get(name)
            now[name] = kept if kept and kept.named == named else _Open(named, self._made(name, named))
        self._open = now
        for name, each in before.items():
            if now.get(name) is not each:
                await each.database.close()

    async def problems(self) -> Mapping[str, DatabaseFailed]:
        """What is wrong with each dataset's database now; for the operator. Those that can be read are not named."""
        found = {}
        for name, each in sorted(self._open.items()):
            try:
                await each.database.columns()
            except DatabaseFailed as error:
                found[name] = error
        return found

    async def close(self) -> None:
        """Let go of all of them."""
        open_, self._open = self._open, {}
        for each in open_.values():
            await each.database.close()

    def _made(self, name: str, named: _Named) -> PostgresDatabase | SqliteDatabase:
        reader = _place(name, "reader", named.reader)
        writer = _place(name, "writer", named.writer)
        if isinstance(reader, PostgresPlace) or isinstance(writer, PostgresPlace):
            if isinstance(reader, SqlitePlace) or isinstance(writer, SqlitePlace):
                raise UrlRefused("reader and writer of two kinds", "one", f"datasets.{name}")
            return PostgresDatabase(
                Session(reader, self._password(named.reader), named.seconds) if reader else None,
                Session(writer, self._password(named.writer), named.seconds, writes=True) if writer else None,
                named.tables,
                tokenizer=self._tokenizer,
            )
        return SqliteDatabase(
            reader.path if reader else "", writer.path if writer else "", named.tables, tokenizer=self._tokenizer
        )

    def _password(self, source: DataSource) -> Password:
        credential = _credential(source)

        async def password() -> bytes:
            if not source.file and not source.environment:
                return b""
            try:
                return (await self._vault.secret(credential)).value
            except VaultFailed as error:
                raise DatabaseFailed(Failure.NOT_FIT, str(error)) from None

        return password


def _place(name: str, which: str, source: DataSource) -> SqlitePlace | PostgresPlace | None:
    try:
        return parse_url(source.url) if source.url else None
    except UrlRefused as error:
        raise UrlRefused(error.found, error.expected, f"datasets.{name}.{which}") from None
