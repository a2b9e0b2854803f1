"""A database full of hidden cells, its twin that differs in them alone, and the views that hide them.

Each table of the catalogue `crm` hides in another way: `people` by a row filter and by each kind of mask, `orders` by
a filter that its rows often fail, `regions` by nothing but an unlisted column, `sealed` wholly. Beside them lie a
table, a schema, comments, settings and names that the catalogue does not know at all. Every hidden cell is a canary.
Shown cells are the same in every world of one seed; the number of hidden rows is not.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from fakes.leak_scanner import Canaries
from fakes.postgres_server import PostgresDatabase, literal
from remit.core.dataset import Table
from remit.core.view.model import NO_ROW, Compare, Dialect, Every, Mask, Some, TableView

SHOWN, HIDDEN = 24, 12

# column -> (kind, PostgreSQL's type, SQLite's type). The catalogue lists all but those that begin with x_.
COLUMNS: Mapping[str, Mapping[str, tuple[str, str, str]]] = {
    "people": {
        "id": ("int", "integer PRIMARY KEY", "INTEGER PRIMARY KEY"),
        "region": ("text", "text", "TEXT"),
        "name": ("text", "text", "TEXT"),
        "badge": ("text", "text", "TEXT"),
        "age": ("int", "integer", "INTEGER"),
        "score": ("real", "double precision", "REAL"),
        "joined": ("date", "date", "DATE"),
        "email": ("text", "text", "TEXT"),
        "phone": ("text", "text", "TEXT"),
        "ssn": ("text", "text", "TEXT"),
        "salary": ("int", "integer", "INTEGER"),
        "wealth": ("big", "bigint", "INTEGER"),
        "bonus": ("num", "numeric(20,6)", "NUMERIC"),
        "ratio": ("real", "double precision", "REAL"),
        "born": ("date", "date", "DATE"),
        "seen": ("time", "timestamptz", "TIMESTAMP"),
        "uid": ("uuid", "uuid", "TEXT"),
        "photo": ("bytes", "bytea", "BLOB"),
        "note": ("text", "text", "TEXT"),
        "handle": ("text", "text", "TEXT"),
        "x_secret": ("text", "text", "TEXT"),
    },
    "orders": {
        "id": ("int", "integer PRIMARY KEY", "INTEGER PRIMARY KEY"),
        "person_id": ("int", "integer", "INTEGER"),
        "amount": ("int", "integer", "INTEGER"),
        "open": ("bool", "boolean", "BOOLEAN"),
        "memo": ("text", "text", "TEXT"),
        "code": ("text", "text", "TEXT"),
        "x_margin": ("int", "integer", "INTEGER"),
    },
    "regions": {
        "region": ("text", "text PRIMARY KEY", "TEXT PRIMARY KEY"),
        "label": ("text", "text", "TEXT"),
        "rank": ("int", "integer", "INTEGER"),
        "x_keeper": ("text", "text", "TEXT"),
    },
    "sealed": {
        "id": ("int", "integer PRIMARY KEY", "INTEGER PRIMARY KEY"),
        "region": ("text", "text", "TEXT"),
        "amount": ("int", "integer", "INTEGER"),
        "text": ("text", "text", "TEXT"),
    },
}
KINDS: Mapping[str, Mapping[str, str]] = {
    table: {name: kind for name, (kind, _, _) in columns.items() if not name.startswith("x_")}
    for table, columns in COLUMNS.items()
}
"""What the catalogue lists: table -> column -> kind."""

REGIONS = ("eu", *(f"eu{number}" for number in range(9)))
"""Costly to compare with: a database that may choose looks at an agent's own conditions first."""

MASKS: Mapping[str, Mask] = {
    "email": Mask("partial", {"last": 4}),
    "phone": Mask("hash", {}),
    "ssn": Mask("null", {}),
    "salary": Mask("constant", {"value": 0}),
    "wealth": Mask("bucket", {"width": 10**12}),
    "bonus": Mask("null", {}),
    "ratio": Mask("null", {}),
    "born": Mask("bucket", {"unit": "year"}),
    "seen": Mask("null", {}),
    "uid": Mask("null", {}),
    "photo": Mask("null", {}),
    "note": Mask("constant", {"value": "-"}),
    "handle": Mask("tokenize", {"domain": "crm.handle"}),
}

AIMS: Mapping[str, Sequence[str]] = {"people": ("age", "badge", "score", "joined"), "orders": ("amount", "memo")}
"""Columns without a mask, in which hidden rows differ from shown ones."""

SUBJECTS: Mapping[str, str] = {"people": "id", "orders": "code"}
"""Whose rows they are; the orders' is masked, and is read all the same for the record of who was seen."""


def tables(dialect: Dialect) -> dict[str, Table]:
    """As the catalogue has them; SQLite has no schemas."""
    schema = "crm." if dialect is Dialect.POSTGRES else ""
    return {
        name: Table(
            columns=dict.fromkeys(columns, ()),
            subject_key=SUBJECTS.get(name, ""),
            source=f"{schema}{name}" if name == "people" else name,
        )
        for name, columns in KINDS.items()
    }


VIEWS: Mapping[str, TableView] = {
    "people": TableView(
        "people",
        Some(tuple(Every((Compare("region", "eq", each), Compare("name", "ne", "nobody"))) for each in REGIONS)),
        MASKS,
    ),
    "orders": TableView(
        "orders",
        Some((Compare("open", "eq", True), *(Compare("memo", "eq", each) for each in REGIONS))),
        {"code": Mask("null", {})},
    ),
    "regions": TableView("regions", Every(), {}),
    "sealed": TableView("sealed", NO_ROW, {}),
}
"""The same as POLICY says, for tests without OPA. SQLite keeps a boolean as 0 or 1."""

POLICY = """
package remit.views.crm

regions := ["eu", "eu0", "eu1", "eu2", "eu3", "eu4", "eu5", "eu6", "eu7", "eu8"]

include if {
	some region in regions
	input.people.region == region
	input.people.name != "nobody"
}

include if input.orders.open == true

include if {
	some region in regions
	input.orders.memo == region
}

include if input.resource.operation == "regions"

masks.people.email.partial.last := 4
masks.people.phone.hash := {}
masks.people.ssn.replace.value := null
masks.people.salary.replace.value := 0
masks.people.wealth.bucket.width := 1000000000000
masks.people.bonus.replace.value := null
masks.people.ratio.replace.value := null
masks.people.born.bucket.unit := "year"
masks.people.seen.replace.value := null
masks.people.uid.replace.value := null
masks.people.photo.replace.value := null
masks.people.note.replace.value := "-"
masks.people.handle.tokenize.domain := "crm.handle"
masks.orders.code.replace.value := null
"""

Row = dict[str, object]

TRAPS: Row = {
    "age": 77,
    "amount": 77,
    "score": -1.0,
    "badge": "no number",
    "joined": date(9999, 12, 31),
    "memo": "[",
}
HARMLESS: Row = {"age": 30, "amount": 20, "score": 0.5, "badge": "11", "joined": date(2021, 1, 1), "memo": "7"}


@dataclass
class World:
    """The rows of every table, those that are hidden between those that are shown, and their canaries."""

    canaries: Canaries
    rows: Mapping[str, Sequence[Row]]
    words: Mapping[str, str] = field(default_factory=dict)


def world(shown: random.Random, hidden: random.Random, *, traps: float) -> World:
    """Shown cells and their order are of the one dice, hidden ones and how many there are of the other.

    So many of the hidden rows are traps: whatever is computed of them fails where it does not for shown ones.
    """
    canaries = Canaries(hidden)
    maker = _Maker(canaries, shown, hidden, traps)
    rows = {
        "people": maker.mixed([maker.person(each) for each in range(1, SHOWN + 1)], "people"),
        "orders": maker.mixed([maker.order(each) for each in range(1, SHOWN + 1)], "orders"),
        "regions": [maker.region(each, name) for each, name in enumerate(("eu", "us", "apac"), 1)],
        "sealed": [maker.hidden_row("sealed", each) for each in range(1, hidden.randrange(3, HIDDEN))],
    }
    words = {name: canaries.text(f"word {name}") for name in ("comment", "setting", "default", "notes", "other")}
    return World(canaries, rows, words)


class _Maker:
    def __init__(self, canaries: Canaries, shown: random.Random, hidden: random.Random, traps: float) -> None:
        self._canaries, self._shown, self._hidden, self._traps = canaries, shown, hidden, traps

    def mixed(self, rows: list[Row], table: str) -> list[Row]:
        """With hidden rows between, whose keys lie between too."""
        for each in range(self._hidden.randrange(HIDDEN // 2, 2 * HIDDEN)):
            rows.insert(self._hidden.randrange(len(rows) + 1), self.hidden_row(table, 1_000 + each))
        return rows

    def hidden_row(self, table: str, number: int) -> Row:
        kinds = {name: kind for name, (kind, _, _) in COLUMNS[table].items()}
        row = {name: self.canary(f"{table}.{name} {number}", kind) for name, kind in kinds.items()}
        if table == "people":
            row["region"] = self._hidden.choice(["us", "apac", self._canaries.text(f"people.region {number}")])
        if table == "orders":
            row["open"], row["person_id"] = False, self._hidden.randrange(1, SHOWN + 1)
        trapped = self._hidden.random() < self._traps
        row |= {name: value for name, value in (TRAPS if trapped else HARMLESS).items() if name in row}
        return row

    def person(self, number: int) -> Row:
        dice, made = self._shown, self._canaries
        name = f"people {number}"
        return {
            "id": number,
            "region": "eu",
            "name": dice.choice(["ann", "bob", "cyd", "42", "", "Ann", "{}"]),
            "badge": str(dice.randrange(10, 99)),
            "age": dice.choice([18, 30, 30, 64]),
            "score": dice.choice([None, 0.5, 2.0, 1.25]),
            "joined": date(2020, 1, 1) + timedelta(days=dice.randrange(900)),
            "email": made.text(f"{name}.email", shown=dice.choice(["0001", "0002"])),
            # Shown by a keyed hash and by a token, which are the same where the values are.
            "phone": made.text(f"{name}.phone", dice=dice),
            "ssn": made.text(f"{name}.ssn"),
            "salary": made.integer(f"{name}.salary"),
            "wealth": 3 * 10**12 + made.integer(f"{name}.wealth"),
            "bonus": made.decimal(f"{name}.bonus"),
            "ratio": made.real(f"{name}.ratio"),
            "born": date(1990, 1, 1) + timedelta(days=self._hidden.randrange(365)),
            "seen": made.moment(f"{name}.seen"),
            "uid": made.uuid(f"{name}.uid"),
            "photo": made.blob(f"{name}.photo"),
            "note": made.text(f"{name}.note"),
            "handle": made.text(f"{name}.handle", dice=dice),
            "x_secret": made.text(f"{name}.x_secret"),
        }

    def order(self, number: int) -> Row:
        dice, made = self._shown, self._canaries
        return {
            "id": number,
            "person_id": dice.choice([None, *range(1, SHOWN + 1)]),
            "amount": dice.choice([1, 5, 20, 20, 33]),
            "open": True,
            "memo": dice.choice(["gift", "rush", "", None, "7"]),
            "code": made.text(f"orders {number}.code"),
            "x_margin": made.integer(f"orders {number}.x_margin"),
        }

    def region(self, number: int, name: str) -> Row:
        keeper = self._canaries.text(f"regions {number}.x_keeper")
        return {"region": name, "label": name.upper(), "rank": number, "x_keeper": keeper}

    def canary(self, name: str, kind: str) -> object:
        made = self._canaries
        makers = {
            "int": made.integer,
            "big": made.bigint,
            "num": made.decimal,
            "real": made.real,
            "text": made.text,
            "date": made.day,
            "time": made.moment,
            "uuid": made.uuid,
            "bytes": made.blob,
            "bool": lambda _: False,
        }
        return makers[kind](name)


# Into databases.


def fill_postgres(world: World, database: PostgresDatabase) -> None:
    """All of a world."""
    database.run("\n".join(_postgres(world, database.name)))


def fill_sqlite(world: World, path: Path) -> None:
    """All of a world, in a new file."""
    with sqlite3.connect(path) as connection:
        connection.executescript("\n".join(_sqlite(world)))
    connection.close()


def _postgres(world: World, name: str) -> Iterator[str]:
    yield "CREATE SCHEMA crm;"
    yield "CREATE SCHEMA private;"
    for table, rows in world.rows.items():
        place = f"crm.{table}" if table == "people" else table
        columns = ", ".join(f'"{column}" {type}' for column, (_, type, _) in COLUMNS[table].items())
        yield f"CREATE TABLE {place} ({columns});"
        yield from _inserts(place, rows, _postgres_value)
    yield "CREATE INDEX ON crm.people (age, badge, score);"
    yield "CREATE INDEX ON crm.people (salary);"
    yield "CREATE INDEX ON orders (amount, memo);"
    for hidden, word in (("x_notes", "notes"), ("private.people", "other")):
        yield f"CREATE TABLE {hidden} (id integer, region text, text text, salary integer DEFAULT 77);"
        yield f"INSERT INTO {hidden} VALUES (1, 'eu', {literal(world.words[word])}, 77);"
    yield f"COMMENT ON TABLE crm.people IS {literal(world.words['comment'])};"
    yield f"ALTER DATABASE {name} SET remit_test.word = {literal(world.words['setting'])};"
    yield f"ALTER TABLE x_notes ALTER COLUMN text SET DEFAULT {literal(world.words['default'])};"
    yield f"CREATE VIEW private.words AS SELECT {literal(world.words['default'])}::text AS word;"


def _sqlite(world: World) -> Iterator[str]:
    yield "PRAGMA journal_mode = WAL;"
    for table, rows in world.rows.items():
        columns = ", ".join(f'"{column}" {type}' for column, (_, _, type) in COLUMNS[table].items())
        yield f"CREATE TABLE {table} ({columns});"
        yield from _inserts(table, rows, _sqlite_value)
    yield "CREATE INDEX people_age ON people (age, badge, score);"
    yield "CREATE INDEX people_salary ON people (salary);"
    yield "CREATE INDEX orders_amount ON orders (amount, memo);"
    for hidden, word in (("x_notes", "notes"), ("x_people", "other")):
        default = literal(world.words["default"])
        yield f"CREATE TABLE {hidden} (id integer, region text, text text DEFAULT {default}, salary integer);"
        yield f"INSERT INTO {hidden} VALUES (1, 'eu', {literal(world.words[word])}, 77);"
    yield f"CREATE VIEW x_words AS SELECT {literal(world.words['comment'])} AS word;"


def _inserts(place: str, rows: Sequence[Row], value: object) -> Iterator[str]:
    assert callable(value)
    for row in rows:
        yield f"INSERT INTO {place} VALUES ({', '.join(str(value(each)) for each in row.values())});"


def _postgres_value(value: object) -> str:
    return literal(value)


def _sqlite_value(value: object) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return str(int(value))
        case int() | float() | Decimal():
            return str(value)
        case bytes():
            return f"x'{value.hex()}'"
        case datetime():
            return literal(value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"))
        case date() | UUID() | str():
            return literal(str(value))
    raise TypeError(type(value))
