"""The SQL of a named write, as an operator wrote it: where its `:name` places are, and that it is one write alone.

Nothing of it comes from an agent, so that it is not parsed, only cut at its places: strings, quoted names and comments
are told from what is around them, `::` is a cast in PostgreSQL. What the two dialects read in different ways is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from remit.core.view.model import Dialect

VERBS = ("INSERT", "UPDATE", "DELETE")

_EXPECTED = f"one statement, of {', '.join(VERBS[:-1])} or {VERBS[-1]} (after WITH, if need be)"
_MAIN = frozenset({*VERBS, "SELECT", "VALUES", "TABLE", "MERGE", "REPLACE"})
_COMMON = r"""
    (?P<comment>--[^\n]*)
  | (?P<block>/\*)
  | (?P<escaped>[eE]')
  | (?P<string>'(?:[^']|'')*')
  | (?P<quoted>"(?:[^"]|"")*")
  | (?P<cast>::)
  | :(?P<place>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<word>[^\W\d][\w$]*)
  | (?P<number>\d[\w.]*)
  | (?P<dollar>\$)
"""
_LEXERS = {
    Dialect.POSTGRES: re.compile(_COMMON + r"| (?P<other>.)", re.VERBOSE | re.DOTALL),
    Dialect.SQLITE: re.compile(
        _COMMON + r"| (?P<bracket>`(?:[^`]|``)*`|\[[^\]]*\]) | (?P<foreign>[?@]) | (?P<other>.)", re.VERBOSE | re.DOTALL
    ),
}
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_QUOTES = {Dialect.POSTGRES: "'\"", Dialect.SQLITE: "'\"`["}


class NotOneWrite(Exception):
    """The text is not one named write: what was found, and what was expected. Says nothing of the text's values."""

    def __init__(self, found: str, expected: str = _EXPECTED) -> None:
        super().__init__(f"found {found}; expected {expected}")
        self.found = found
        self.expected = expected


@dataclass(frozen=True, slots=True)
class Place:
    """Where a parameter goes."""

    name: str


Piece = str | Place
"""A part of the text as it stands, or a place in it."""


def pieces(sql: str, dialect: Dialect) -> tuple[Piece, ...]:
    """The text cut at its places, a `;` at its end left off. Raises NotOneWrite."""
    found: list[Piece] = []
    text, depth, first, main, ended = "", 0, "", "", False
    for kind, word in _cut(sql, dialect):
        blank = kind == "comment" or word.isspace()
        if ended and not blank:
            raise NotOneWrite("a second statement")
        match kind:
            case "comment":
                word = " "
            case "place":
                found += [text, Place(word)]
                text = ""
                continue
            case "word":
                first = first or word.upper()
                if not main and depth == 0 and word.upper() in _MAIN:
                    main = word.upper()
            case "other":
                depth += (word == "(") - (word == ")")
                ended = ended or word == ";"
        text += "" if word == ";" else word
    _check(first, main)
    return tuple(piece for piece in (*found, text.rstrip()) if piece != "")


def parameters(sql: str, dialect: Dialect) -> tuple[str, ...]:
    """The names of its places, each once, in the order of the text. Raises NotOneWrite."""
    names = (piece.name for piece in pieces(sql, dialect) if isinstance(piece, Place))
    return tuple(dict.fromkeys(names))


def _check(first: str, main: str) -> None:
    if not first:
        raise NotOneWrite("no statement")
    verb = main if first == "WITH" else first
    if verb not in VERBS:
        raise NotOneWrite(f"{first} … {main}".rstrip(" …") if first == "WITH" else first[:32])


def _cut(sql: str, dialect: Dialect) -> Iterator[tuple[str, str]]:
    lexer, at = _LEXERS[dialect], 0
    while at < len(sql):
        found = lexer.match(sql, at)
        assert found is not None and found.lastgroup is not None  # its last branch takes anything
        kind, word, at = found.lastgroup, found[0], found.end()
        match kind:
            case "block":
                at = _block_end(sql, at, dialect)
                kind = "comment"
            case "place":
                word = word[1:]
            case "escaped":
                raise NotOneWrite("a string with a prefix E", "a plain string, or a parameter")
            case "cast" if dialect is Dialect.SQLITE:
                # It has none, and takes the colons for a part of the name before them.
                raise NotOneWrite("`::`", "CAST(… AS …)")
            case "dollar" | "foreign":
                raise NotOneWrite(f"`{word}`", "parameters written as :name, and strings in single quotes")
            case "other" if word in _QUOTES[dialect]:
                raise NotOneWrite(f"`{word}` without its other end", "quotes that are closed")
        yield kind, word


def _block_end(sql: str, at: int, dialect: Dialect) -> int:
    """Where a comment ends that began just before `at`: in PostgreSQL one may hold others."""
    depth = 1
    while depth:
        edge = _BLOCK_EDGE.search(sql, at)
        if edge is None:
            raise NotOneWrite("a comment without an end", "a comment that is closed")
        if edge[0] == "*/":
            depth -= 1
        elif dialect is Dialect.POSTGRES:
            depth += 1
        at = edge.end()
    return at
