"""Reading datasets: tables and columns, where their databases are, and the writes that agents may ask for by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from remit.config.problem import shown
from remit.config.reading import (
    Cursor,
    Reader,
    Rule,
    Section,
    choice,
    entries,
    known_as,
    nanos,
    reference,
    secret_text,
    section,
    text,
    way_to,
    whole,
)
from remit.config.values import Known, by_column, by_id, identifiers, purposes, secret_place
from remit.core.catalogue import Catalogue
from remit.core.database_url import URLS, UrlRefused, parse_url
from remit.core.dataset import Dataset, DataSource, NamedStatement, ReadLimits, Table
from remit.core.named_sql import NotOneWrite, parameters
from remit.core.view.fits import PARAMETER_TYPES
from remit.core.view.model import Dialect

MAX_TABLES = 256
MAX_COLUMNS = 512
MAX_STATEMENTS = 256
MAX_PARAMETERS = 256

_ADDRESS = re.compile(r"[^\x00-\x20\x7f]{1,2048}")
_NAMED = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,127}", re.ASCII)
_SOURCE = re.compile(rf"({_NAMED.pattern}\.)?{_NAMED.pattern}", re.ASCII)
_OWN = re.compile(r"(pg_|sqlite_|information_schema$)", re.ASCII | re.IGNORECASE)
_SQL = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]{1,65536}")


def dataset(known: Known) -> Reader[Dataset]:
    """One entry of `datasets`."""
    return section(lambda keys: _dataset(keys, known))


def _dataset(keys: Section, known: Known) -> Dataset:
    reader = _source(keys)
    writer = keys.read("writer", section(lambda each: _source(each, required=True)), DataSource())
    owner = keys.read("owner", reference(known.teams, "a declared team"), "")
    statement = _statement(known, owner, _dialect(writer.url or reader.url))
    return Dataset(
        owner=owner,
        reader=reader,
        writer=writer,
        labels=keys.read("labels", identifiers, ()),
        clearance=keys.read("clearance", identifiers, ()),
        roles=keys.read("roles", identifiers, ()),
        purposes=keys.read("purposes", purposes, ()),
        tables=keys.read("tables", entries(by_column, section(_table), MAX_TABLES), {}),
        limits=keys.read("limits", section(_limits), ReadLimits()),
        statements=keys.read("statements", entries(by_id, section(statement), MAX_STATEMENTS), {}),
    )


def _dialect(url: str) -> Dialect:
    """Whose SQL a database takes, by its URL ("" where none is named, or none that is right)."""
    return parse_url(url).dialect if url else Dialect.POSTGRES


def _source(keys: Section, *, required: bool = False) -> DataSource:
    url = keys.require("url", _url, "") if required else keys.read("url", _url, "")
    file, environment = keys.read("credential", section(secret_place), ("", ""))
    if keys.has("credential") and _dialect(url) is Dialect.SQLITE:
        keys.wrong("credential", "none: a file is opened without a password", "a `credential` for sqlite://")
    if keys.has("credential") and not keys.has("url"):
        keys.wrong("credential", "a `url` beside it", "none")
    return DataSource(url=url, file=file, environment=environment)


def _url(at: Cursor) -> str:
    value = secret_text(_ADDRESS, URLS)(at)
    try:
        parse_url(value)
    except UrlRefused as error:
        raise at.wrong(error.expected, error.found) from error
    return value


def _limits(keys: Section) -> ReadLimits:
    usual = ReadLimits()
    return ReadLimits(
        rows=keys.read("rows", whole(1, 100_000_000), usual.rows),
        bytes=keys.read("bytes", whole(1024, 16 << 30), usual.bytes),
        seconds=keys.read("seconds", whole(1, 300), usual.seconds),
        cost=keys.read("cost", whole(0, 10**12), usual.cost),
    )


def _table(keys: Section) -> Table:
    columns = keys.names("columns")
    return Table(
        columns=keys.read("columns", entries(by_column, identifiers, MAX_COLUMNS), {}),
        subject_key=keys.read("subject_key", reference(columns, "a column of this table"), ""),
        source=keys.read("source", text(_SOURCE, "its name in the database, as table or schema.table"), ""),
    )


def _statement(known: Known, owner: str, dialect: Dialect) -> Callable[[Section], NamedStatement]:
    def build(keys: Section) -> NamedStatement:
        sql = keys.require("sql", _sql(dialect, keys.names("parameters")), "")
        return NamedStatement(
            sql=sql,
            owner=keys.read("owner", reference(known.teams, "a declared team"), owner),
            parameters=keys.read(
                "parameters", entries(_place_of(sql, dialect), choice(*PARAMETER_TYPES), MAX_PARAMETERS), {}
            ),
            labels=keys.read("labels", identifiers, ()),
            roles=keys.read("roles", identifiers, ()),
            purposes=keys.read("purposes", purposes, ()),
            cost=keys.read("cost", nanos, 0),
        )

    return build


def _sql(dialect: Dialect, declared: Collection[str]) -> Reader[str]:
    """One write, whose places are declared parameters."""

    def read(at: Cursor) -> str:
        sql = text(_SQL, "an SQL statement of up to 64 KiB")(at)
        try:
            places = parameters(sql, dialect)
        except NotOneWrite as error:
            raise at.wrong(error.expected, shown(error.found)) from error
        for name in places:
            if name not in declared:
                raise at.wrong(known_as("a declared parameter", declared, name), f":{name}")
        return sql

    return read


def _place_of(sql: str, dialect: Dialect) -> Rule:
    """The name of a place in the statement, where that can be read at all."""
    places = parameters(sql, dialect) if sql else ()
    return lambda name: (
        by_column(name) or ("" if name in places or not sql else known_as(f"a place in `sql`, :{name}", places, name))
    )


def check_datasets(catalogue: Catalogue, root: Cursor) -> None:
    """Note whatever contradicts itself."""
    for name, found in catalogue.datasets.items():
        at = way_to(root, "datasets", name)
        _own_tables(found, way_to(at, "tables"))
        _writer(found, way_to(at, "writer"))


def _own_tables(found: Dataset, at: Cursor) -> None:
    """SQL takes a name in any case, so that two which differ in that alone could not be told apart."""
    _told_apart(found.tables, at)
    for name, table in found.tables.items():
        here = way_to(at, name)
        _told_apart(table.columns, way_to(here, "columns"))
        if any(_OWN.match(part) for part in (table.source or name).split(".")):
            here.wrong("a table of yours", "one of the database's own")


def _told_apart(names: Collection[str], at: Cursor) -> None:
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(name.lower(), name)
        if first != name:
            way_to(at, name).wrong("names that differ in more than capital letters", f'"{first}" and "{name}"')


def _writer(found: Dataset, at: Cursor) -> None:
    if not found.writer.url:
        return
    if not found.statements:
        at.wrong("`statements` beside it: agents write by name alone", "none")
    if found.reader.url and _dialect(found.reader.url) is not _dialect(found.writer.url):
        way_to(at, "url").wrong("a database of the kind that is read", "another kind")
