"""What sqlglot cannot read, in our own words: its own are of its classes, and differ from version to version."""

from __future__ import annotations

import re

from sqlglot.errors import ParseError

from remit.core.view.lexing import place
from remit.core.view.model import Dialect, ViewRefused

_SHOWN = 40  # characters of a word
_MISSING = ("Required keyword", "Expected ")
_WANTED = re.compile(r"Expecting ([(),\]]|[A-Z]+)$")
_DATABASES = {Dialect.POSTGRES: "PostgreSQL", Dialect.SQLITE: "SQLite"}


def readable(dialect: Dialect) -> str:
    """What is expected of a text."""
    return f"a SELECT that {_DATABASES[dialect]} reads"


def unread(error: ParseError, text: str, dialect: Dialect) -> ViewRefused:
    """The refusal that says at which word reading ended, and whether something is missing there.

    `parse` has all that stands before that word told with the error.
    """
    first = error.errors[0] if error.errors else {}
    before, word = str(first.get("start_context") or ""), str(first.get("highlight") or "")
    if not word or not text.startswith(before + word):
        return ViewRefused("what is not SQL", expected=readable(dialect))
    said = str(first.get("description") or "")
    wanted = _WANTED.match(said)
    if wanted is not None:
        what = f"{_shown(word)} where `{wanted[1]}` is missing"
    elif said.startswith(_MISSING):
        # The word that sqlglot stopped at is the last that it took, or the first that it could not take.
        what = f"something missing before or after {_shown(word)}"
    elif said == "A command":
        what = f"a statement that is no SELECT, before {_shown(word)}"
    else:
        what = f"{_shown(word)}, which cannot stand here"
    return ViewRefused(what, where=place(text, len(before)), expected=readable(dialect))


def _shown(word: str) -> str:
    """A word as it is written, cut short; a literal, which may hold data, by its kind alone."""
    if word.startswith("'"):
        return "a string"
    if word[0].isdigit() or word[0] == ".":
        return "a number"
    return f"`{word}`" if len(word) <= _SHOWN else f"`{word[:_SHOWN]}…`"
