"""sqlglot's two dialects, with everything removed that makes it clever.

sqlglot translates: it knows `MOD(a, b)` to be `a % b`, `NOW()` to be `CURRENT_TIMESTAMP`, and a cast to a date in
SQLite to be `DATE(…)`, and some of that changes what a statement means. Here each call stays a call under its own name
(`exp.Anonymous`), each operator stays that operator, and what is printed is what was read. Whoever prints a tree of
`parse_statement` does it with `render`; sqlglot's own printing of the same tree would translate again.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.postgres import Postgres
from sqlglot.dialects.sqlite import SQLite
from sqlglot.errors import ErrorLevel
from sqlglot.generators.postgres import PostgresGenerator
from sqlglot.generators.sqlite import SQLiteGenerator
from sqlglot.parser import Parser
from sqlglot.parsers.postgres import PostgresParser
from sqlglot.parsers.sqlite import SQLiteParser
from sqlglot.tokenizer_core import TokenType

from remit.core.view.model import MAX_STATEMENT_BYTES, Dialect

# Calls with a syntax of their own: all others are a name and expressions between commas.
MAX_GONE_BACK = 500  # words, and twice a statement's own
_SPECIAL_CALLS = ("CAST", "EXTRACT", "POSITION", "SUBSTRING", "TRIM")
_TIMES = (
    TokenType.CURRENT_DATE,
    TokenType.CURRENT_TIME,
    TokenType.CURRENT_TIMESTAMP,
    TokenType.LOCALTIME,
    TokenType.LOCALTIMESTAMP,
)


def _kept(table: dict[Any, Any], keys: tuple[Any, ...]) -> dict[Any, Any]:
    return {key: table[key] for key in keys if key in table}


def _as_it_is(operator: str) -> Any:
    """A printer of a binary operator as it was written."""
    return lambda self, node: self.binary(node, operator)


def _json(kind: type[exp.Expr]) -> Any:
    """A parser of a JSON operator that leaves the path alone."""
    return lambda self, this, path: self.expression(kind(this=this, expression=path))


def _all(values: list[Any]) -> exp.Expr:
    """ALL (an array); of several values it makes a row of them, which the database refuses."""
    return exp.All(this=values[0] if len(values) == 1 else exp.Tuple(expressions=values))


class TooManyReadings(Exception):
    """sqlglot went back too often to read the same words in another way."""


class _Refusing(Parser):
    """Gives up where sqlglot would go on.

    It tries some forms in one way and then in another, and within each the forms inside: `int(int(int(…` and `JOIN JOIN
    JOIN …` take a time that doubles with each. So what it goes back is counted.
    And a statement that it does not know, it would log with the agent's text in it, and pass on as it is.
    """

    LAMBDAS: ClassVar[dict[TokenType, Any]] = {}  # in a call's arguments too, `->` is JSON's

    def reset(self) -> None:
        super().reset()
        self._gone_back = 0

    def _retreat(self, index: int) -> None:
        self._gone_back += self._index - index
        if self._gone_back > MAX_GONE_BACK + 2 * self._tokens_size:
            raise TooManyReadings
        super()._retreat(index)

    def _warn_unsupported(self) -> None:
        self.raise_error("A command")


class _PlainPostgresParser(_Refusing, PostgresParser):
    FUNCTIONS: ClassVar[dict[str, Any]] = {"ALL": _all}
    FUNCTION_PARSERS = _kept(Parser.FUNCTION_PARSERS, _SPECIAL_CALLS)
    NO_PAREN_FUNCTION_PARSERS = _kept(Parser.NO_PAREN_FUNCTION_PARSERS, ("CASE", "ANY"))
    NO_PAREN_FUNCTIONS = _kept(PostgresParser.NO_PAREN_FUNCTIONS, _TIMES)
    JSON_OPERATORS: ClassVar[dict[TokenType, Any]] = {
        TokenType.ARROW: _json(exp.JSONExtract),
        TokenType.DARROW: _json(exp.JSONExtractScalar),
        TokenType.HASH_ARROW: _json(exp.JSONBExtract),
        TokenType.DHASH_ARROW: _json(exp.JSONBExtractScalar),
    }


class _PlainSqliteParser(_Refusing, SQLiteParser):
    JOINS_HAVE_EQUAL_PRECEDENCE = False  # else a comma becomes CROSS JOIN, which forbids SQLite to choose an order
    ADD_JOIN_ON_TRUE = False
    FUNCTIONS: ClassVar[dict[str, Any]] = {}
    FUNCTION_PARSERS = _kept(Parser.FUNCTION_PARSERS, ("CAST",))
    NO_PAREN_FUNCTION_PARSERS = _kept(Parser.NO_PAREN_FUNCTION_PARSERS, ("CASE",))
    NO_PAREN_FUNCTIONS = _kept(SQLiteParser.NO_PAREN_FUNCTIONS, _TIMES)
    CONCAT_OPERATORS: ClassVar[dict[TokenType, Any]] = {
        **SQLiteParser.CONCAT_OPERATORS,
        TokenType.ARROW: _json(exp.JSONExtract),
        TokenType.DARROW: _json(exp.JSONExtractScalar),
    }


class _PlainPostgresGenerator(PostgresGenerator):
    MULTI_ARG_DISTINCT = True  # string_agg(DISTINCT a, ',') is no count of pairs
    TRANSFORMS: ClassVar[dict[type[exp.Expr], Any]] = {
        **{kind: printer for kind, printer in PostgresGenerator.TRANSFORMS.items() if kind is not exp.Select},
        exp.JSONExtract: _as_it_is("->"),
        exp.JSONExtractScalar: _as_it_is("->>"),
        exp.JSONBExtract: _as_it_is("#>"),
        exp.JSONBExtractScalar: _as_it_is("#>>"),
        exp.Pow: _as_it_is("^"),
    }

    def placeholder_sql(self, expression: exp.Placeholder) -> str:
        return f":{expression.name}"


class _PlainSqliteGenerator(SQLiteGenerator):
    TRANSFORMS: ClassVar[dict[type[exp.Expr], Any]] = {
        **{kind: printer for kind, printer in SQLiteGenerator.TRANSFORMS.items() if kind is not exp.Select},
        exp.JSONExtract: _as_it_is("->"),
        exp.JSONExtractScalar: _as_it_is("->>"),
    }

    def cast_sql(self, expression: exp.Cast, safe_prefix: str | None = None) -> str:
        return f"CAST({self.sql(expression, 'this')} AS {self.sql(expression, 'to')})"

    def jsonextract_sql(self, expression: exp.JSONExtract) -> str:
        return self.binary(expression, "->")

    def jsonextractscalar_sql(self, expression: exp.JSONExtractScalar) -> str:
        return self.binary(expression, "->>")


class RemitPostgres(Postgres):
    """PostgreSQL's grammar, untranslated."""

    INDEX_OFFSET = 0
    Parser = _PlainPostgresParser
    Generator = _PlainPostgresGenerator


class RemitSqlite(SQLite):
    """SQLite's grammar, untranslated."""

    NORMALIZE_NOT_NULL = False
    Parser = _PlainSqliteParser
    Generator = _PlainSqliteGenerator


_DIALECTS = {Dialect.POSTGRES: RemitPostgres(), Dialect.SQLITE: RemitSqlite()}


def parse(text: str, dialect: Dialect) -> list[exp.Expr | None]:
    """The statements of a text. Raises sqlglot's errors, TooManyReadings and RecursionError."""
    # All that stands before an error is told with it: that is where it is.
    return _DIALECTS[dialect].parse(text, error_level=ErrorLevel.IMMEDIATE, error_message_context=MAX_STATEMENT_BYTES)


def render(tree: exp.Expr, dialect: Dialect) -> str:
    """The one way to print a tree of `parse_statement`, or one made from it."""
    return _DIALECTS[dialect].generate(
        tree, identify=True, comments=False, normalize_functions=False, unsupported_level=ErrorLevel.RAISE
    )
