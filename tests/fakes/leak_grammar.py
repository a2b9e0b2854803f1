"""Statements that try to see what a view hides: most of them valid, all of them hostile.

Each expression on a column is a *probe* more often than not: something that fails, branches, orders, groups or joins
by the column's value. Probes stand wherever SQL lets an expression stand. Some statements are then bent: a name
becomes one of a hidden thing, a literal is written in an odd way, a comment or a call is slipped in.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from remit.core.view.model import Cell, Dialect

Kinds = Mapping[str, str]
"""Column -> kind: int big num real text date time bool uuid bytes."""

_NUMBERS = frozenset(["int", "big", "num", "real"])
_CONSTANTS: Mapping[str, Sequence[str]] = {
    "int": ("77", "77", "77", "0", "1", "30", "-1", "2147483647"),
    "big": ("0", "3000000000000", "9223372036854775807"),
    "num": ("0", "1.5", "77.000001"),
    "real": ("77", "0.5", "2.0", "1e300"),
    "text": ("'eu'", "'ann'", "''", "'%'", "'42'", "'us'", "'{}'"),
    "date": ("'2021-01-01'", "'1990-06-01'"),
    "time": ("'2021-01-01 00:00:00'",),
    "bool": ("1 = 1", "1 = 0"),
    "uuid": ("'00000000-0000-0000-0000-000000000000'",),
    "bytes": ("''",),
}
# {c}: the column, {k}: a constant of its kind, {n}: a small number.
_ANY_PROBES = (
    "CASE WHEN {c} = {k} THEN 1 ELSE 0 END",
    "CASE WHEN {c} IS NULL THEN {n} ELSE {n} + 1 END",
    "CASE {c} WHEN {k} THEN 'a' ELSE 'b' END",
    "COALESCE({c}, {c})",
    "NULLIF({c}, {k})",
    "LENGTH(CAST({c} AS text))",
    "CAST(CAST({c} AS text) AS integer)",
    "SUBSTR(CAST({c} AS text), {n}, 1)",
    "REPLACE(CAST({c} AS text), 'a', 'b')",
    "UPPER(CAST({c} AS text))",
    "CAST({c} AS text) || '-'",
    "(SELECT COUNT(*) FROM {table} AS q WHERE q.{name} = {c})",
    "(SELECT MAX(CAST(q.{name} AS text)) FROM {table} AS q)",
)
_PROBES: Mapping[Dialect, Mapping[str, Sequence[str]]] = {
    Dialect.POSTGRES: {
        "any": (
            *_ANY_PROBES,
            "MD5(CAST({c} AS text))",
            "ASCII(CAST({c} AS text))",
            "CAST(CAST({c} AS text) AS jsonb)",
            "CAST(CAST({c} AS text) AS date)",
            "CAST(CAST({c} AS text) AS uuid)",
            "REVERSE(CAST({c} AS text))",
            "TO_JSONB({c})",
            "JSONB_BUILD_OBJECT(CAST({c} AS text), 1)",
            "QUOTE_LITERAL(CAST({c} AS text))",
            "CAST({c} AS text) LIKE '%' || CAST({c} AS text)",
            "LPAD(CAST({c} AS text), 3)",
            "REGEXP_REPLACE(CAST({c} AS text), '[aeiou]', '_')",
            "CAST({c} AS text) ~ CAST({c} AS text)",
            "SPLIT_PART(CAST({c} AS text), '~', {n})",
        ),
        "number": (
            "1 / ({c} - {k})",
            "{c} * 2000000000",
            "{c} + 2147483647",
            "SQRT({c} - {k})",
            "LN({c} - {k})",
            "POWER({c}, 400)",
            "EXP({c})",
            "CHR(CAST({c} AS integer))",
            "MOD(CAST({c} AS numeric), CAST({c} - {k} AS numeric))",
            "CAST({c} AS smallint)",
            "MAKE_DATE(2020, CAST({c} AS integer), 1)",
            "WIDTH_BUCKET(CAST({c} AS numeric), {k}, {k}, 3)",
            "TO_HEX(CAST({c} AS bigint))",
            "LEFT('abcdef', CAST({c} AS integer))",
            "SUBSTR('abcdef', 1, CAST({c} AS integer))",
            "ROUND(CAST({c} AS numeric), -3)",
            "ACOS({c})",
            "TO_TIMESTAMP({c})",
            "DATE '2020-01-01' + CAST({c} AS integer)",
        ),
        "text": (
            "CAST({c} AS integer)",
            "CAST({c} AS numeric)",
            "CAST({c} AS jsonb)",
            "TO_DATE({c}, 'YYYY-MM-DD')",
            "TO_NUMBER({c}, '999')",
            "DATE_TRUNC({c}, CAST('2026-01-02' AS timestamp))",
            "TO_CHAR(1, {c})",
            "'x' LIKE {c} ESCAPE '!'",
            "'x' LIKE {c}",
            "'x' SIMILAR TO {c}",
            "STRPOS({c}, 'a')",
            "SUBSTRING({c} FROM 1 FOR {n} - 2)",
            "TRANSLATE({c}, 'aeiou', 'bbbbb')",
            "CAST({c} AS interval)",
            "CAST({c} AS boolean)",
        ),
        "date": ("EXTRACT(YEAR FROM {c})", "DATE_TRUNC('day', {c})", "AGE({c}, {c})", "TO_CHAR({c}, 'J')"),
    },
    Dialect.SQLITE: {
        "any": (
            *_ANY_PROBES,
            "HEX({c})",
            "QUOTE({c})",
            "TYPEOF({c})",
            "UNICODE({c})",
            "JSON(CAST({c} AS text))",
            "JSON_EXTRACT(CAST({c} AS text), '$.a')",
            "JSON_OBJECT(CAST({c} AS text), 1)",
            "JSON_ARRAY({c})",
            "CAST({c} AS blob)",
            "CAST({c} AS text) LIKE 'a%' ESCAPE '!'",
            "CAST({c} AS text) GLOB '[a-z]*'",
            "INSTR(CAST({c} AS text), '~')",
            "IIF({c} = {k}, 1, 0)",
        ),
        "number": (
            "1 / ({c} - {k})",
            "ABS({c} - 9223372036854775807 - 1)",
            "ABS(CAST({c} - {k} AS integer) - 9223372036854775807 - 1)",
            "SQRT({c} - {k})",
            "POWER({c}, 400)",
            "CHAR({c})",
            "JSON_EXTRACT('[1]', {c})",
            "STRFTIME('%s', {c})",
            "DATE({c})",
            "ROUND({c}, -3)",
            "{c} % ({c} - {k})",
            "{c} << 3",
        ),
        "text": (
            "JSON({c})",
            "JSON_EXTRACT('{{}}', {c})",
            "'{{}}' -> {c}",
            "STRFTIME({c}, '2026-01-02')",
            "'x' LIKE {c}",
            "JSON_ARRAY_LENGTH({c}, '$')",
            "CAST({c} AS integer)",
            "{c} COLLATE NOCASE",
            "ABS({c})",
            "JULIANDAY({c})",
            "JSON_TYPE({c})",
        ),
        "date": ("STRFTIME('%Y', {c})", "JULIANDAY({c})", "UNIXEPOCH({c})"),
    },
}
_PREDICATES = (
    "{a} = {b}",
    "{a} <> {b}",
    "{a} < {b}",
    "{a} >= {b}",
    "{a} BETWEEN {b} AND {k}",
    "{a} IN ({b}, {k})",
    "{a} IS NOT NULL",
    "{a} IS NULL",
    "NOT ({a} = {b})",
)
_AGGREGATES: Mapping[Dialect, Sequence[str]] = {
    Dialect.POSTGRES: (
        "COUNT({e})",
        "COUNT(DISTINCT {e})",
        "MIN(CAST({e} AS text))",
        "MAX(CAST({e} AS text))",
        "STRING_AGG(CAST({e} AS text), ',' ORDER BY CAST({e} AS text))",
        "COUNT(*) FILTER (WHERE {p})",
        "MAX(CAST({e} AS text)) FILTER (WHERE {p})",
        "BOOL_OR({p})",
        "SUM(CASE WHEN {p} THEN 1 ELSE 0 END)",
        "JSONB_AGG({e} ORDER BY CAST({e} AS text))",
        "JSONB_OBJECT_AGG({e}, 1)",
    ),
    Dialect.SQLITE: (
        "COUNT({e})",
        "COUNT(DISTINCT {e})",
        "MIN({e})",
        "MAX({e})",
        "GROUP_CONCAT(DISTINCT {e})",
        "COUNT(*) FILTER (WHERE {p})",
        "SUM({e})",
        "TOTAL(CASE WHEN {p} THEN 1 ELSE 0 END)",
        "JSON_GROUP_ARRAY(DISTINCT {e})",
    ),
}
_WINDOWS = (
    "ROW_NUMBER() OVER ({w})",
    "RANK() OVER ({w})",
    "LAG({e}) OVER ({w})",
    "FIRST_VALUE({e}) OVER ({w})",
    "COUNT(*) OVER ({w})",
    "MAX({e}) OVER ({w} ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)",
    "COUNT(*) OVER ({w} RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)",
    "NTH_VALUE({e}, 2) OVER ({w})",
    "NTILE(3) OVER ({w})",
)
ODD_NAMES: Mapping[Dialect, Sequence[str]] = {
    Dialect.POSTGRES: (
        *("x_secret", "x_notes", "private.people", "private.words", "pg_class", "pg_catalog.pg_stats", "pg_settings"),
        *("information_schema.columns", "pg_stat_activity", "ctid", "xmin", "tableoid", "crm.people", "sealed"),
    ),
    Dialect.SQLITE: (
        *("x_secret", "x_notes", "x_words", "sqlite_master", "sqlite_schema", "main.people", "main.x_notes", "rowid"),
        *("_rowid_", "oid", "pragma_table_info('people')", "dbstat", "temp.sqlite_master", "sealed"),
    ),
}
_OUR_NAMES = ("remit_v0", "remit_k0", "remit_s1", "remit_row", "people", "regions", "r", "t0")
_BENT_CALLS = (
    *("CURRENT_SETTING('remit_test.word')", "PG_READ_FILE('/etc/passwd')", "QUERY_TO_XML('SELECT 1', true, true, '')"),
    *("PG_SLEEP(0)", "VERSION()", "CURRENT_USER", "OBJ_DESCRIPTION(1)", "LOAD_EXTENSION('x')", "SQLITE_VERSION()"),
    *("READFILE('/etc/passwd')", "ROW_TO_JSON(people)", "TO_JSONB(people)", "LAST_INSERT_ROWID()", "RANDOM()"),
    *("SET_CONFIG('a.b', 'c', false)", "PG_CATALOG.LOWER('A')", "HAS_TABLE_PRIVILEGE('x_notes', 'select')"),
)


@dataclass(frozen=True)
class Made:
    """A statement and what goes with it."""

    sql: str
    parameters: dict[str, Cell] = field(default_factory=dict)
    ordered: bool = False


@dataclass
class _Scope:
    """What a SELECT can name: (alias, table or "", columns)."""

    sources: list[tuple[str, str, Kinds]] = field(default_factory=list)


class Grammar:
    """Makes statements, each by the same dice."""

    def __init__(
        self,
        dice: random.Random,
        dialect: Dialect,
        tables: Mapping[str, Kinds],
        aims: Mapping[str, Sequence[str]],
    ) -> None:
        """`aims` are, by table, columns that are shown of some rows and hidden of others."""
        self._aims = aims
        self._dice = dice
        self._dialect = dialect
        self._tables = tables
        self._names = 0
        self._parameters: dict[str, Cell] = {}
        self._ctes: dict[str, Kinds] = {}

    def statement(self) -> Made:
        """One statement; one in seven is bent."""
        self._names, self._parameters, self._ctes = 0, {}, {}
        forms: Sequence[tuple[Callable[[], str], int]] = (
            (self._plain, 6),
            (self._with, 2),
            (self._union, 2),
            (self._grouped, 3),
            (self._star, 1),
            (self._aimed, 4),
        )
        form = self._dice.choices([each for each, _ in forms], [weight for _, weight in forms])[0]
        sql = form()
        ordered = " ORDER BY " in sql and sql.rstrip().split(" ORDER BY ")[-1].count(")") == 0
        if self._chance(1 / 7):
            sql = self._bend(sql)
        named = set(re.findall(r":(p\d+)", sql))
        return Made(sql, {name: value for name, value in self._parameters.items() if name in named}, ordered)

    # Forms.

    def _plain(self, depth: int = 2) -> str:
        return self._select(depth)[0]

    def _with(self) -> str:
        names = []
        for _ in range(self._dice.randint(1, 2)):
            name = self._dice.choice(["c1", "c2", "people", "orders", "sealed", "x_notes", self._new("c")])
            if name in self._ctes:
                continue
            sql, kinds = self._select(1, limited=False)
            mark = self._dice.choice(["", "", "MATERIALIZED ", "NOT MATERIALIZED "])
            names.append(f"{name} AS {mark}({sql})")
            self._ctes[name] = kinds
        return f"WITH {', '.join(names)} {self._plain()}" if names else self._plain()

    def _union(self) -> str:
        word = self._dice.choice(["UNION", "UNION ALL", "EXCEPT", "INTERSECT"])
        parts = []
        kind = self._dice.choice(["int", "text"])
        for _ in range(2):
            scope, source = self._from(1)
            parts.append(f"SELECT {self._expression(scope, 1, kind)} AS u FROM {source}{self._where(scope, 1)}")
        return f" {word} ".join(parts) + self._dice.choice(["", " ORDER BY 1", " ORDER BY u"])

    def _grouped(self) -> str:
        scope, source = self._from(1)
        keys = [self._expression(scope, 1) for _ in range(self._dice.randint(0, 2))]
        outputs = [f"{each} AS {self._new('g')}" for each in keys]
        outputs += [f"{self._aggregate(scope)} AS {self._new('a')}" for _ in range(self._dice.randint(1, 2))]
        group = ""
        if keys:
            ordinals = ", ".join(str(number) for number in range(1, len(keys) + 1))
            group = f" GROUP BY {self._dice.choice([', '.join(keys), ordinals])}"
            if self._dialect is Dialect.POSTGRES and self._chance(0.2):
                group = f" GROUP BY {self._dice.choice(['ROLLUP', 'CUBE', 'GROUPING SETS'])} ({', '.join(keys)})"
        having = f" HAVING {self._aggregate(scope)} IS NOT NULL" if self._chance(0.3) else ""
        order = " ORDER BY " + ", ".join(str(number + 1) for number in range(len(outputs)))
        return f"SELECT {', '.join(outputs)} FROM {source}{self._where(scope, 1)}{group}{having}{order}"

    def _star(self) -> str:
        scope, source = self._from(1)
        alias = scope.sources[0][0]
        head = self._dice.choice(["*", f"{alias}.*", f"{alias}.*, *", f"*, {self._expression(scope, 1)}"])
        width = self._dice.choice([1, 2, 3, 30])
        order = self._dice.choice(["", f" ORDER BY {width}", f" ORDER BY {self._expression(scope, 1)}"])
        return f"SELECT {head} FROM {source}{self._where(scope, 1)}{order}"

    def aimed(self) -> Made:
        """One of the plainest attacks, as it is."""
        self._names, self._parameters, self._ctes = 0, {}, {}
        return Made(self._aimed(), {}, ordered=True)

    def _aimed(self) -> str:
        """One table, and a probe of a column that is shown of some rows and hidden of others: the plainest attack."""
        table = self._dice.choice([each for each in self._aims if each in self._tables])
        alias = self._new("s")
        scope = _Scope([(alias, table, {name: self._tables[table][name] for name in self._aims[table]})])
        probe = f"{self._expression(scope, 1)} {self._dice.choice(['IS NOT NULL', 'IS NULL', '> 0', '<> 1'])}"
        also = self._dice.choice(["", f" AND {alias}.id > 0", *(f" AND {alias}.{self._aims[table][0]} > 0",) * 3])
        form = self._dice.choice(
            [
                "SELECT {a}.id FROM {t} AS {a} WHERE {p}{also} ORDER BY 1",
                "SELECT COUNT(*) FROM {t} AS {a} WHERE {p}{also}",
                "SELECT r.region, {a}.id FROM regions AS r LEFT JOIN {t} AS {a} ON {p}{also} ORDER BY 1, 2",
                "SELECT r.region FROM regions AS r WHERE EXISTS (SELECT 1 FROM {t} AS {a} WHERE {p}{also}) ORDER BY 1",
                "SELECT {a}.id FROM (SELECT * FROM {t}) AS {a} WHERE {p}{also} ORDER BY {p}, 1 LIMIT 3",
                "SELECT {p}, COUNT(*) FROM {t} AS {a} GROUP BY {p} HAVING {p} ORDER BY 2",
            ]
        )
        return form.format(t=table, a=alias, p=probe, also=also)

    def _select(self, depth: int, *, limited: bool = True) -> tuple[str, dict[str, str]]:
        """A SELECT, and the kinds of its named outputs."""
        scope, source = self._from(depth)
        outputs: list[str] = []
        kinds: dict[str, str] = {}
        for _ in range(self._dice.randint(1, 3)):
            name = self._dice.choice([self._new("o"), self._new("o"), "id", "region", "salary"])
            if name in kinds:
                continue
            if self._chance(0.15) and depth > 1:
                outputs.append(f"{self._window(scope)} AS {name}")
                kinds[name] = "any"
            elif self._chance(0.4):
                column, kind, _, _ = self._column(scope)
                outputs.append(f"{column} AS {name}")
                kinds[name] = kind
            else:
                outputs.append(f"{self._expression(scope, depth)} AS {name}")
                kinds[name] = "any"
        distinct = "DISTINCT " if self._chance(0.15) else ""
        sql = f"SELECT {distinct}{', '.join(outputs)} FROM {source}{self._where(scope, depth)}"
        if limited and self._chance(0.4):
            keys = [str(number + 1) for number in range(len(outputs))]
            first = [self._expression(scope, 1)] if not distinct and self._chance(0.5) else []
            sql += f" ORDER BY {', '.join(first + keys)}"
            if self._chance(0.4):
                sql += f" LIMIT {self._dice.choice(['1', '3', '1000000'])}"
        return sql, kinds

    # Parts.

    def _from(self, depth: int) -> tuple[_Scope, str]:
        scope = _Scope()
        parts = self._source(scope, depth)
        for _ in range(self._dice.choices([0, 1, 2], [6, 3, 1])[0]):
            left = self._column(scope)
            item = self._source(scope, depth)
            word = self._dice.choice(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN", ","])
            if word in {"CROSS JOIN", ","}:
                parts += f"{', ' if word == ',' else ' CROSS JOIN '}{item}"
                continue
            newest = _Scope(scope.sources[-1:])
            right = self._column(newest, kind=left[1])
            on = self._dice.choice([f"{left[0]} = {right[0]}", self._predicate(scope, 1)])
            parts += f" {word} {item} ON {on}"
        return scope, parts

    def _source(self, scope: _Scope, depth: int) -> str:
        alias = self._new("s")
        if depth > 1 and self._chance(0.2):
            sql, kinds = self._select(depth - 1, limited=False)
            scope.sources.append((alias, "", kinds))
            return f"({sql}) AS {alias}"
        name = self._dice.choice([*self._tables, *self._ctes, *("people",) * 4])
        known = self._ctes.get(name) or self._tables[name]
        scope.sources.append((alias, name, known))
        written = f"crm.{name}" if name not in self._ctes and self._chance(0.1) else name
        return f"{written} AS {alias}"

    def _where(self, scope: _Scope, depth: int) -> str:
        if self._chance(0.35):
            return ""
        parts = [self._predicate(scope, depth) for _ in range(self._dice.randint(1, 3))]
        return " WHERE " + self._dice.choice([" AND ", " AND ", " OR "]).join(f"({each})" for each in parts)

    def _predicate(self, scope: _Scope, depth: int) -> str:
        if depth > 1 and self._chance(0.25):
            return self._subquery_predicate(scope, depth - 1)
        column, kind, _, _ = self._column(scope)
        other = self._dice.choice([self._constant(kind), self._column(scope, kind=kind)[0], self._parameter(kind)])
        if self._chance(0.4):
            return f"{self._expression(scope, depth)} IS NOT NULL"
        form = self._dice.choice(_PREDICATES)
        return form.format(a=column, b=other, k=self._constant(kind))

    def _subquery_predicate(self, scope: _Scope, depth: int) -> str:
        column, kind, _, _ = self._column(scope)
        inner = _Scope()
        item = self._source(inner, 1)
        own = self._column(inner, kind=kind)[0]
        both = _Scope([*inner.sources, *scope.sources])
        where = self._predicate(both, depth)
        form = self._dice.choice(
            [
                "EXISTS (SELECT 1 FROM {item} WHERE {where})",
                "{column} IN (SELECT {own} FROM {item} WHERE {where})",
                "{column} NOT IN (SELECT {own} FROM {item} WHERE {where})",
                "{column} = (SELECT MAX({own}) FROM {item} WHERE {where})",
                "(SELECT COUNT(*) FROM {item} WHERE {where}) > 0",
            ]
        )
        return form.format(item=item, where=where, column=column, own=own)

    def _expression(self, scope: _Scope, depth: int, kind: str = "") -> str:
        column, found, table, name = self._column(scope, kind=kind)
        if kind == "int":
            return self._dice.choice(
                [f"LENGTH(CAST({column} AS text))", f"CASE WHEN {column} IS NULL THEN 1 ELSE 2 END"]
            )
        if kind == "text":
            return f"CAST({column} AS text)"
        probes = _PROBES[self._dialect]
        group = "number" if found in _NUMBERS else found if found in probes else "date" if found == "time" else "any"
        probe = self._dice.choice([*probes[group], *probes["any"]] if self._chance(0.5) else probes[group])
        if "{table}" in probe and not table:
            probe = "COALESCE({c}, {c})"
        return probe.format(
            c=column, k=self._constant(found), n=self._dice.choice([0, 1, 2, 5]), table=table or "people", name=name
        )

    def _aggregate(self, scope: _Scope) -> str:
        form = self._dice.choice(_AGGREGATES[self._dialect])
        return form.format(e=self._expression(scope, 1), p=self._predicate(scope, 1))

    def _window(self, scope: _Scope) -> str:
        partition = f"PARTITION BY {self._expression(scope, 1)} " if self._chance(0.5) else ""
        keys = f"ORDER BY {self._expression(scope, 1)}"
        return self._dice.choice(_WINDOWS).format(e=self._expression(scope, 1), w=partition + keys)

    def _column(self, scope: _Scope, *, kind: str = "") -> tuple[str, str, str, str]:
        """(how it is written, kind, its table or "", its name); of `kind` nine times in ten, if there is one."""
        found = [
            (f"{alias}.{name}", kind_, table if table in self._tables and table not in self._ctes else "", name)
            for alias, table, kinds in scope.sources
            for name, kind_ in kinds.items()
        ]
        fitting = [each for each in found if each[1] == kind]
        return self._dice.choice(fitting if fitting and self._chance(0.9) else found)

    def _constant(self, kind: str) -> str:
        if self._chance(0.05):
            kind = self._dice.choice(list(_CONSTANTS))
        return self._dice.choice(_CONSTANTS.get(kind, ("'x'", "1")))

    def _parameter(self, kind: str) -> str:
        name = self._new("p")
        values: Mapping[str, Sequence[Cell]] = {
            "int": (1, 77, None),
            "real": (0.5, 2.0),
            "text": ("eu", "us", "' OR 1=1 --"),
        }
        self._parameters[name] = self._dice.choice(values.get(kind, (None, "x", 1)))
        return f":{name}"

    def _new(self, letter: str) -> str:
        self._names += 1
        return f"{letter}{self._names}"

    def _chance(self, likely: float) -> bool:
        return self._dice.random() < likely

    # Bending.

    def _bend(self, sql: str) -> str:
        bends: Sequence[Callable[[str], str]] = (
            lambda sql: self._swap(sql, r"\b(?:people|orders|regions|sealed)\b", self._odd_name),
            lambda sql: self._swap(sql, r"\b(?:salary|ssn|id|region|age|email)\b", self._odd_name),
            lambda sql: self._swap(sql, r"\bs\d+\b(?!\.)", lambda: self._dice.choice(_OUR_NAMES)),
            lambda sql: self._swap(sql, r"\b[ac-z]\d+\b", lambda: f'"{self._dice.choice(_OUR_NAMES)}"'),
            lambda sql: self._swap(sql, r"\bCOALESCE\(|\bCAST\(", lambda: self._dice.choice(_BENT_CALLS) + " || ("),
            lambda sql: self._swap(sql, r"'[^']*'", self._odd_literal),
            lambda sql: self._swap(
                sql, r" ", lambda: self._dice.choice(["/**/", "/*!1*/", "--\n", "\t", "\x00", "\u00a0"])
            ),
            lambda sql: self._swap(
                sql, r"\bFROM\b", lambda: self._dice.choice(["INTO x FROM", "FROM ONLY", "FROM LATERAL"])
            ),
            lambda sql: sql.replace("people", "pe\u043eple", 1),
            lambda sql: sql.replace("people", "PEOPLE").replace("salary", '"SALARY"'),
            lambda sql: sql.replace(" JOIN ", " NATURAL JOIN ", 1),
            lambda sql: f"{sql} {self._dice.choice(['FOR UPDATE', '; SELECT 1', 'LIMIT 1 OFFSET -1', 'ORDER BY 99'])}",
            lambda sql: f"{self._dice.choice(['EXPLAIN', 'EXPLAIN ANALYZE', 'TABLE', '(', 'CREATE TABLE z AS'])} {sql}",
            lambda sql: sql.replace("SELECT ", f"SELECT {'a' * 300} AS z, ", 1),
            lambda sql: self._swap(sql, r"\bSELECT\b", lambda: f"SELECT {self._dice.choice(_OUR_NAMES)}.*,"),
        )
        return self._dice.choice(bends)(sql)

    def _swap(self, sql: str, pattern: str, made: Callable[[], str]) -> str:
        found = list(re.finditer(pattern, sql))
        if not found:
            return sql
        place = self._dice.choice(found)
        return sql[: place.start()] + made() + sql[place.end() :]

    def _odd_name(self) -> str:
        return self._dice.choice(ODD_NAMES[self._dialect])

    def _odd_literal(self) -> str:
        return self._dice.choice(
            [
                "E'\\x65u'",
                "U&'\\0065u'",
                "$$eu$$",
                "$a$eu$a$",
                "x'6575'",
                "N'eu'",
                "'e' 'u'",
                '"eu"',
                "`eu`",
                "'\\'",
                "'\\''",
            ]
        )
