"""What names mean in one SELECT: its tables and sub-queries, the columns of each, and the SELECT around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from sqlglot import exp

from remit.core.view.model import Condition, Dialect, ViewRefused
from remit.core.view.places import where

_LISTED = 20  # names in a refusal
_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LOWERED = str.maketrans(_UPPER, _UPPER.lower())  # both databases fold ASCII alone


def known(names: Sequence[str], wanted: str) -> str:
    """For a refusal: what there is, nearest first."""
    near = get_close_matches(wanted.lower(), names, n=3, cutoff=0.6)
    listed = list(dict.fromkeys([*near, *sorted(names)]))
    more = ", …" if len(listed) > _LISTED else ""
    return ", ".join(listed[:_LISTED]) + more


@dataclass(frozen=True, slots=True)
class Text:
    """A statement's text and how its database reads names."""

    text: str
    dialect: Dialect

    def folded(self, name: exp.Expr) -> str:
        """A name as its database takes it: PostgreSQL makes an unquoted one small; SQLite leaves it."""
        text = str(name.this)
        small = self.dialect is Dialect.POSTGRES and not name.args.get("quoted")
        return text.translate(_LOWERED) if small else text

    def key(self, name: str) -> str:
        """What two names share if they are the same one: in SQLite, case says nothing, quoted or not."""
        return name.translate(_LOWERED) if self.dialect is Dialect.SQLITE else name

    def key_of(self, name: exp.Expr) -> str:
        """The key of a name in the tree."""
        return self.key(self.folded(name))

    def refused(self, what: str, node: exp.Expr | None, *, expected: str = "") -> ViewRefused:
        """A refusal of this node, with its place."""
        return ViewRefused(what, where=where(node, self.text), expected=expected)


@dataclass(frozen=True, slots=True)
class Source:
    """One item of a FROM. `columns`: key -> name; `use` is the index of a table's use, None of a sub-query or WITH."""

    alias: str
    columns: Mapping[str, str]
    use: int | None = None


@dataclass(slots=True)
class Scope:
    """A SELECT's own names, or (without sources) those of a set operation's outputs."""

    outer: Scope | None
    sources: dict[str, Source] = field(default_factory=dict)
    joins: list[exp.Expr] = field(default_factory=list)
    plain: bool = False
    """Whether a name that several tables have is ambiguous where names are being resolved now, beyond doubt."""

    def upward(self) -> Iterator[Scope]:
        """This scope and those around it, from within."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.outer

    def listing(self, column: str) -> list[Source]:
        """The sources of this scope alone that have a column of this key."""
        return [source for source in self.sources.values() if column in source.columns]

    def names(self) -> Iterator[str]:
        """Every column that this scope alone has."""
        return (name for source in self.sources.values() for name in source.columns.values())

    def uses(self) -> tuple[int, ...]:
        """The uses of tables in this FROM."""
        return tuple(source.use for source in self.sources.values() if source.use is not None)


@dataclass(slots=True)
class UseDraft:
    """A use while its columns are being found."""

    table: str
    alias: str
    seen: set[str] = field(default_factory=set)
    conditions: list[Condition] = field(default_factory=list)
