"""Reads one value that a statement makes out of little, and prints how it ended and by how many bytes the process grew.

    python -m fakes.read_grown URL [unmeasured]      the password is in PGSECRET

With `unmeasured` the statement goes to PostgreSQL as it is: the planted fault that the measure must find.
"""

from __future__ import annotations

import asyncio
import sys

from fakes.databases import TABLES
from fakes.read_million import database, resident
from remit.core.view import rewrite
from remit.core.view.model import EVERY_ROW, Dialect, TableView
from remit.core.view.statement import parse_statement
from remit.ports import DatabaseFailed, Limits

LIMITS = Limits(rows=100, bytes=16 << 20, seconds=60.0)
# 200 times 1,000 texts of 1,000 characters.
STATEMENT = """
SELECT string_agg(lpad(p.name, 1000), '') AS grown FROM people AS p, numbers AS a, numbers AS b
WHERE p.id = 1 AND a.n < 200
"""


async def main(url: str, measured: bool) -> None:
    if not measured:
        vars(rewrite)["grows"] = lambda tree: False
    opened = database("postgres", url, TABLES)
    statement = parse_statement(STATEMENT, dataset="crm", tables=TABLES, dialect=Dialect.POSTGRES)
    views = {table: TableView(table, EVERY_ROW) for table in TABLES}
    columns = await opened.columns()
    plan = rewrite.rewrite(statement, views, tables=TABLES, columns=columns, rows=LIMITS.rows)
    before = resident()
    ended = "read"
    try:
        async with opened.read(plan, {}, LIMITS) as reading:
            async for _ in reading.batches():
                pass
    except DatabaseFailed as error:
        ended = error.failure.value
    print(ended, resident() - before)
    await opened.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:] != ["unmeasured"]))
