"""The expressions of generated queries: templates by type, each place a type of its own, for either database.

Nothing here can fail for one order of evaluation and not for another, but for what is under RISKY: that may stand only
where it is computed for each row of the answer.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fakes.sql_tables import LARGEST, POOLS
from remit.core.view.model import Dialect

TYPES = tuple(POOLS)

_COMMON: Mapping[str, Sequence[str]] = {
    "int": (
        "({int} + {int})",
        "({int} - {int})",
        "({int} * 3)",
        "abs({int})",
        "length({text})",
        "coalesce({int}, {int})",
        "nullif({int}, {int})",
        "CASE WHEN {pred} THEN {int} ELSE {int} END",
        "CASE {int} WHEN 1 THEN {int} WHEN {int} THEN 7 END",
        "({int} / nullif({int}, 0))",
        "({int} % 7)",
        "CAST({text} IS NULL AS integer)",
        "(- {int})",
    ),
    "num": (
        "({num} + {num})",
        "({num} * {int})",
        "coalesce({num}, {num})",
        "abs({num})",
        "CASE WHEN {pred} THEN {num} END",
    ),
    "float": ("({float} + {float})", "abs({float})", "coalesce({float}, 0.25)", "CASE WHEN {pred} THEN {float} END"),
    "text": (
        "lower({text})",
        "upper({text})",
        "({text} || '-' || {text})",
        "trim({text})",
        "coalesce({text}, {text})",
        "replace({text}, 'a', 'b')",
        "CASE WHEN {pred} THEN {text} ELSE {text} END",
        "nullif({text}, {text})",
        "CAST({int} AS text)",
    ),
    "bool": ("({pred})", "coalesce({bool}, {bool})"),
    "date": ("coalesce({date}, {date})", "CASE WHEN {pred} THEN {date} END"),
    **{type: (f"coalesce({{{type}}}, {{{type}}})",) for type in ("ts", "tz", "time", "interval", "uuid", "json")},
    "bytes": ("coalesce({bytes}, {bytes})",),
    "any": ("coalesce({any}, {any})",),
}
_POSTGRES: Mapping[str, Sequence[str]] = {
    "int": ("({date} - {date})", "greatest({int}, {int})", "mod({int}, 5)", "position('a' IN {text})"),
    "num": (
        "round({num}, 1)",
        "({num} / nullif({num}, 0))",
        "CAST({int} AS numeric)",
        "extract(year FROM {date})",
        "extract(epoch FROM {interval})",
        "floor({num})",
        "greatest({num}, {num})",
    ),
    "float": ("CAST({int} AS double precision)", "least({float}, {float})"),
    "text": ("substring({text} FROM 2 FOR 2)", "left({text}, 2)", "({json} ->> 'k')", "CAST({date} AS text)"),
    "date": ("({date} + 7)", "CAST({ts} AS date)", "greatest({date}, {date})"),
    "ts": ("date_trunc('month', {ts})", "({ts} + INTERVAL '1 day')"),
    "tz": ("date_trunc('day', {tz})",),
    "interval": ("({interval} + {interval})", "({ts} - {ts})"),
}
_SQLITE: Mapping[str, Sequence[str]] = {
    "int": ("max({int}, {int})", "instr({text}, 'a')"),
    "num": ("round({num}, 1)", "min({num}, {num})"),
    "float": ("max({float}, {float})",),
    "text": ("substr({text}, 2, 2)",),
}
_PREDICATES = (
    "{pred} AND {pred}",
    "({pred} OR {pred})",
    "NOT ({pred})",
    "{int} BETWEEN {int} AND {int}",
    "{text} LIKE 'a%'",
    "{text} NOT LIKE '%b%'",
    "{text} LIKE '_n%'",
    "({int}, {text}) = ({int}, {text})",
    "({pred}) IS TRUE",
)
_POSTGRES_PREDICATES = ("{text} ILIKE 'A%'", "({pred}) IS NOT TRUE", "{date} NOT BETWEEN {date} AND {date}")
_COMPARED = ("{T} = {T}", "{T} <> {T}", "{T} IS NULL", "{T} IS NOT NULL", "{T} IN ({L}, {L})", "{T} NOT IN ({L}, {L})")
_ORDERED = ("{T} < {T}", "{T} >= {T}", "{T} BETWEEN {L} AND {L}", "{T} IS DISTINCT FROM {T}", "{T} > {L}", "{T} <= {L}")

RISKY: Mapping[str, Sequence[str]] = {
    "int": ("({int} / ({int} - 2))", "(100 / {int})", "CAST({text} AS integer)"),
    "num": ("(1 / {num})",),
}

AGGREGATES: Mapping[str, Sequence[str]] = {
    "int": ("count(*)", "count({any_type})", "count(DISTINCT {any_type})", "min({int})", "max({int})"),
    "num": ("sum({int})", "sum({num})", "avg({num})", "min({num})", "sum(DISTINCT {num})"),
    "float": ("sum({float})", "avg({float})", "max({float})"),
    "text": ("min({text})", "max({text})"),
    "date": ("min({date})", "max({date})"),
    "ts": ("max({ts})",),
}
_POSTGRES_AGGREGATES: Mapping[str, Sequence[str]] = {
    "bool": ("bool_and({bool})", "bool_or({bool})"),
    "text": ("string_agg({text}, ',' ORDER BY {text_again})",),
    "tz": ("min({tz})",),
    "time": ("max({time})",),
    "interval": ("sum({interval})",),
    "any": ("max({any})",),
}

_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Relation:
    """What a FROM clause offers: columns with their types; `key` is one that has no value twice, or "". It has at most
    `size` rows. `bare` where it is alone, and its columns are named without the alias."""

    alias: str
    columns: Mapping[str, str]
    key: str = ""
    size: int = LARGEST
    bare: bool = False

    def named(self, type: str) -> list[str]:
        """The columns of a type, with the alias before them."""
        before = "" if self.bare else f"{self.alias}."
        return [f"{before}{name}" for name, each in self.columns.items() if each == type]


Scope = Sequence[Relation]


@dataclass
class Expressions:
    """Makes expressions for one query. `masked` are more texts to compare with: what masks make of values."""

    dice: random.Random
    dialect: Dialect
    masked: Sequence[str] = ()
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def postgres(self) -> bool:
        """Whether it is PostgreSQL's SQL."""
        return self.dialect is Dialect.POSTGRES

    def one(self, type: str, scope: Scope, depth: int) -> str:
        """An expression of a type."""
        columns = [column for relation in scope for column in relation.named(type)]
        if columns and self.dice.random() < (0.65 if depth > 0 else 0.85):
            return self.dice.choice(columns)
        if depth > 0 and self.dice.random() < 0.75:
            forms = self._forms(type, _COMMON, _POSTGRES if self.postgres else _SQLITE)
            return self.filled(self.dice.choice(forms), scope, depth - 1)
        return self.literal(type, bare=bool(columns))

    def filled(self, form: str, scope: Scope, depth: int) -> str:
        """A template with something in each place."""
        last: dict[str, str] = {}

        def fill(place: re.Match[str]) -> str:
            kind = place[1]
            if kind.endswith("_again"):
                return last[kind.removesuffix("_again")]
            if kind == "pred":
                return self.predicate(scope, depth)
            if kind == "any_type":
                columns = [column for relation in scope for each in TYPES for column in relation.named(each)]
                return self.dice.choice(columns)
            last[kind] = self.one(kind, scope, depth)
            return last[kind]

        return _PLACE.sub(fill, form)

    def predicate(self, scope: Scope, depth: int) -> str:
        """A condition."""
        if depth > 0 and self.dice.random() < 0.5:
            forms = (*_PREDICATES, *(_POSTGRES_PREDICATES if self.postgres else ()))
            return self.filled(self.dice.choice(forms), scope, depth - 1)
        booleans = [column for relation in scope for column in relation.named("bool")]
        if booleans and self.dice.random() < 0.15:
            return self.dice.choice(booleans)
        return self._compared(scope, depth)

    def _compared(self, scope: Scope, depth: int) -> str:
        type = self.type_in(scope)
        forms = _COMPARED if type in {"json", "uuid", "bytes", "any", "interval"} else (*_COMPARED, *_ORDERED)
        left = self.one(type, scope, 0)
        form = self.dice.choice(forms).replace("{T}", left, 1)
        while "{T}" in form:
            right = self.one(type, scope, depth - 1)
            # A column is rarely asked of itself.
            form = form.replace("{T}", self.literal(type, bare=True) if right == left else right, 1)
        while "{L}" in form:
            form = form.replace("{L}", self.literal(type, bare=True), 1)
        return form

    def literal(self, type: str, *, bare: bool = False) -> str:
        """A value of the pool; `bare` where a column beside it tells its type."""
        chosen = self.dice.random()
        if type == "bytes":  # there is no literal of bytes, and in PostgreSQL no cast to them
            return "NULL" if self.postgres else self.dice.choice(("CAST('' AS BLOB)", "CAST('abc' AS BLOB)"))
        if chosen < 0.06:
            return "NULL" if bare and self.dice.random() < 0.5 else f"CAST(NULL AS {self._cast(type)})"
        value = self.dice.choice((*POOLS[type].values, *self.masked) if type == "text" else POOLS[type].values)
        if chosen < 0.2 and bare and type in {"int", "text"}:
            return self._parameter(int(value) if type == "int" else value)
        return self._written(type, value)

    def _written(self, type: str, value: str) -> str:
        if type in {"int", "num"}:
            return value
        if type == "bool":
            return value.upper() if self.postgres else str(int(value == "true"))
        if type == "float":
            return f"CAST({value} AS double precision)" if self.postgres else f"{float(value)}"
        quoted = "'" + value.replace("'", "''") + "'"
        return f"CAST({quoted} AS {self._cast(type)})" if self.postgres and type not in {"text", "any"} else quoted

    def _cast(self, type: str) -> str:
        if type == "any":
            return "text"
        if self.postgres:
            return POOLS[type].postgres.partition("(")[0]
        return {"int": "integer", "bool": "integer", "num": "real", "float": "real"}.get(type, "text")

    def _parameter(self, value: Any) -> str:
        name = f"p{len(self.parameters) + 1}"
        self.parameters[name] = value
        return f":{name}"

    def aggregate(self, type: str, scope: Scope) -> str | None:
        """An aggregate that gives this type; None where there is none."""
        forms = self._forms(type, AGGREGATES, _POSTGRES_AGGREGATES if self.postgres else {})
        if not forms:
            return None
        made = self.filled(self.dice.choice(forms), scope, 1)
        if self.dice.random() < 0.15:
            return f"{made} FILTER (WHERE {self.predicate(scope, 0)})"
        return made

    def type_in(self, scope: Scope) -> str:
        """A type that a column here has."""
        found = [type for relation in scope for type in relation.columns.values()]
        return self.dice.choice(found) if found else "int"

    @staticmethod
    def _forms(type: str, *tables: Mapping[str, Sequence[str]]) -> list[str]:
        return [form for table in tables for form in table.get(type, ())]
