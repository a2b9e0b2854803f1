"""Reads a million rows and prints how many, and by how many bytes the process grew. Run as a script:

    python -m fakes.read_million sqlite PATH [all]
    python -m fakes.read_million postgres URL [all]      the password is in PGSECRET

With `all` it keeps what it reads: the planted fault that the measure must find.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from remit.backends.database_postgres import PostgresDatabase
from remit.backends.database_postgres.connection import Session
from remit.backends.database_sqlite import SqliteDatabase
from remit.backends.tokens_aessiv import AesSivTokenizer
from remit.core.database_url import PostgresPlace, parse_url
from remit.core.dataset import Table
from remit.core.view.model import Dialect, Plan, Text
from remit.ports import Limits

LIMITS = Limits(rows=10**7, bytes=1 << 40, seconds=100.0)
_TOKENIZER = AesSivTokenizer(bytes(64))


def resident() -> int:
    """The most bytes that the process has had. (What getrusage says begins with what its parent had.)"""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].removesuffix("kB")) * 1024


def database(
    kind: str, place: str, tables: Mapping[str, Table] = MappingProxyType({})
) -> PostgresDatabase | SqliteDatabase:
    if kind == "sqlite":
        return SqliteDatabase(place, "", tables, tokenizer=_TOKENIZER)

    async def password() -> bytes:
        return os.environ["PGSECRET"].encode()

    parsed = parse_url(place)
    assert isinstance(parsed, PostgresPlace)
    return PostgresDatabase(Session(parsed, password, 100), None, tables, tokenizer=_TOKENIZER)


async def main(kind: str, place: str, keep: bool) -> None:
    opened = database(kind, place)
    dialect = Dialect.SQLITE if kind == "sqlite" else Dialect.POSTGRES
    schema = "main" if kind == "sqlite" else "public"
    text = f"SELECT a.n, b.n, p.name FROM {schema}.numbers a, {schema}.numbers b, {schema}.people p WHERE p.id = 3"
    plan = Plan(dialect, Text(text), reads={"numbers": frozenset({"n"}), "people": frozenset({"id", "name"})})
    await opened.columns()
    kept: list[object] = []
    rows = 0
    before = resident()
    async with opened.read(plan, {}, LIMITS) as reading:
        async for batch in reading.batches():
            rows += len(batch)
            if keep:
                kept.append(batch)
    print(rows, resident() - before)
    await opened.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:] == ["all"]))
