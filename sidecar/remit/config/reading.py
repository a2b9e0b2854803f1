"""Reading typed values from a tree: each reader either returns a value or notes what is wrong with it.

A reader takes a `Cursor` and returns a value, or raises what `Cursor.wrong` noted and returned. A `Section`
reads the keys of a mapping: a key that cannot be read counts as its default, so that reading goes on and all
mistakes are found in one go. Nothing that was read is used where anything was noted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import TypeVar

from remit.config.problem import Problems, shown
from remit.config.tree import Entries, Items, Leaf, Node
from remit.core.money import MoneyInvalid, parse_nanos

MAX_ENTRIES = 4096
MAX_ITEMS = 256

T = TypeVar("T")
D = TypeVar("D")


class Wrong(Exception):
    """A value could not be read; it has been noted already."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """One value of the document, and the way to it."""

    node: Node
    path: str
    problems: Problems

    def wrong(self, expected: str, found: str | None = None) -> Wrong:
        """Note that something else was expected here; for raising."""
        self.problems.add(self.node.place, self.path, found=found or describe(self.node), expected=expected)
        return Wrong()

    def item(self, number: int, node: Node) -> Cursor:
        """An item of a list."""
        return Cursor(node, f"{self.path}[{number}]", self.problems)

    def entry(self, key: str, node: Node) -> Cursor:
        """An entry of a mapping."""
        return Cursor(node, f"{self.path}.{key}" if self.path else key, self.problems)


Reader = Callable[[Cursor], T]
Rule = Callable[[str], str]
"""What was expected of a name, or "" where it is right."""


class Section:
    """The keys of one mapping, read one by one; `close` then refuses those that nobody asked for."""

    def __init__(self, at: Cursor) -> None:
        if not isinstance(at.node, Entries):
            raise at.wrong("a mapping")
        self._entries = at.node
        self._at = at
        self._asked: list[str] = []

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._entries.nodes

    def names(self, key: str) -> frozenset[str]:
        """The names in the mapping under a key, readable or not; none where there is no mapping."""
        return keys_of(self._entries.nodes.get(key))

    def read(self, key: str, reader: Reader[T], default: D) -> T | D:
        """The key's value, or the default where it is absent or wrong."""
        self._asked.append(key)
        node = self._entries.nodes.get(key)
        return default if node is None else self._try(self._at.entry(key, node), reader, default)

    def require(self, key: str, reader: Reader[T], fallback: D) -> T | D:
        """As `read`, but an absent key is read like an empty one, which is a mistake."""
        if self.has(key):
            return self.read(key, reader, fallback)
        self._asked.append(key)
        return self._try(self._at.entry(key, Leaf(self._entries.place, None, "")), reader, fallback)

    def require_one(self, *keys: str) -> None:
        """At least one of the keys must be there."""
        if not any(self.has(key) for key in keys):
            self._at.wrong(f"at least one of {', '.join(keys)}", "none of its keys")

    def wrong(self, key: str, expected: str, found: str | None = None) -> None:
        """Note a mistake about a key that is there, where only several keys together show it."""
        self._at.entry(key, self._entries.nodes[key]).wrong(expected, found)

    def _try(self, at: Cursor, reader: Reader[T], default: D) -> T | D:
        try:
            return reader(at)
        except Wrong:
            return default

    def close(self) -> None:
        """Refuse the keys that were not asked for."""
        for key in self._entries.nodes:
            if key not in self._asked:
                at = self._at.entry(key, self._entries.nodes[key])
                expected = _suggested(key, self._asked)
                at.problems.add(self._entries.keys[key], at.path, found="an unknown key", expected=expected)


def describe(node: Node) -> str:
    """A value as a person would name it in a message."""
    match node:
        case Items():
            return "a list" if node.nodes else "an empty list"
        case Entries():
            return "a mapping" if node.nodes else "an empty mapping"
        case Leaf(value=None):
            return "nothing"
        case Leaf(value=bool() | int() | Decimal()):
            return node.text
    return f'"{shown(node.text)}"'


def text(pattern: re.Pattern[str], expected: str) -> Reader[str]:
    """Text of one form. A number or a truth value is not text: it must be quoted."""

    def read(at: Cursor) -> str:
        if isinstance(at.node, Leaf) and isinstance(at.node.value, str) and pattern.fullmatch(at.node.value):
            return at.node.value
        quotes = isinstance(at.node, Leaf) and at.node.text and not isinstance(at.node.value, str)
        raise at.wrong(f"{expected} (in quotes)" if quotes else expected)

    return read


def secret_text(pattern: re.Pattern[str], expected: str) -> Reader[str]:
    """Text that must not appear in a message."""

    def read(at: Cursor) -> str:
        if not isinstance(at.node, Leaf) or not isinstance(at.node.value, str):
            raise at.wrong(expected, None if not isinstance(at.node, Leaf) else "something that is not text")
        if not pattern.fullmatch(at.node.value):
            raise at.wrong(expected, f"{len(at.node.text)} other characters (not shown)")
        return at.node.value

    return read


def choice(*words: str) -> Reader[str]:
    """One of a few words."""

    def read(at: Cursor) -> str:
        if isinstance(at.node, Leaf) and at.node.value in words:
            return at.node.text
        raise at.wrong(_suggested(at.node.text if isinstance(at.node, Leaf) else "", words))

    return read


def reference(known: Collection[str], kind: str) -> Reader[str]:
    """The name of something that the document declares; `kind` says of what."""

    def read(at: Cursor) -> str:
        if isinstance(at.node, Leaf) and at.node.text in known:
            return at.node.text
        raise at.wrong(known_as(kind, known, at.node.text if isinstance(at.node, Leaf) else ""))

    return read


def truth(at: Cursor) -> bool:
    """true or false, and no other word for it."""
    if isinstance(at.node, Leaf) and isinstance(at.node.value, bool):
        return at.node.value
    raise at.wrong("true or false")


def whole(least: int, most: int) -> Reader[int]:
    """A whole number between two bounds, both included."""

    def read(at: Cursor) -> int:
        value = at.node.value if isinstance(at.node, Leaf) else None
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        raise at.wrong(f"a whole number from {least} to {most}")

    return read


def decimal(expected: str) -> Reader[int]:
    """An exact decimal from 0 on, as nanos."""

    def read(at: Cursor) -> int:
        value = at.node.value if isinstance(at.node, Leaf) else None
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise at.wrong(expected)
        try:
            amount = parse_nanos(value)
        except MoneyInvalid as e:
            raise at.wrong(str(e).removeprefix("expected ")) from e
        if amount < 0:
            raise at.wrong("a number from 0 on")
        return amount

    return read


nanos = decimal("a decimal number such as 12.50")


def items(reader: Reader[T], least: int = 0, most: int = MAX_ITEMS) -> Reader[tuple[T, ...]]:
    """A list, its items read one by one."""

    def read(at: Cursor) -> tuple[T, ...]:
        if not isinstance(at.node, Items):
            raise at.wrong("a list")
        if not least <= len(at.node.nodes) <= most:
            raise at.wrong(f"{least} to {most} items", f"{len(at.node.nodes)} items")
        return tuple(_all(reader, (at.item(number, node) for number, node in enumerate(at.node.nodes))))

    return read


def distinct(reader: Reader[str], least: int = 0) -> Reader[tuple[str, ...]]:
    """A list in which nothing stands twice."""

    def read(at: Cursor) -> tuple[str, ...]:
        found = items(reader, least)(at)
        twice = sorted({each for each in found if found.count(each) > 1})
        if twice:
            raise at.wrong("each once", f'"{twice[0]}" twice')
        return found

    return read


def one_or_more(reader: Reader[str]) -> Reader[tuple[str, ...]]:
    """A single value, or a list of at least one."""

    def read(at: Cursor) -> tuple[str, ...]:
        return distinct(reader, least=1)(at) if isinstance(at.node, Items) else (reader(at),)

    return read


def named(pattern: re.Pattern[str], expected: str) -> Rule:
    """Keys of one form."""
    return lambda name: "" if pattern.fullmatch(name) else expected


def declared(known: Collection[str], kind: str) -> Rule:
    """Keys that name something that the document declares elsewhere."""
    return lambda name: "" if name in known else known_as(kind, known, name)


def known_as(kind: str, known: Collection[str], found: str) -> str:
    """What is expected where a declared name belongs, with the one that was probably meant."""
    near = nearest(found, known)
    return f'{kind}: did you mean "{near}"?' if near else kind


def entries(rule: Rule, reader: Reader[T], most: int = MAX_ENTRIES) -> Reader[dict[str, T]]:
    """A mapping from names that keep a rule to values, read one by one."""

    def read(at: Cursor) -> dict[str, T]:
        if not isinstance(at.node, Entries):
            raise at.wrong("a mapping")
        if len(at.node.nodes) > most:
            raise at.wrong(f"at most {most}", f"{len(at.node.nodes)} entries")
        for name, place in at.node.keys.items():
            if expected := rule(name):
                path = at.entry(name, at.node).path
                at.problems.add(place, path, found=f'the name "{shown(name)}"', expected=expected)
        pairs = [(name, _all(reader, [at.entry(name, node)])) for name, node in at.node.nodes.items()]
        return {name: value for name, values in pairs for value in values}

    return read


def section(build: Callable[[Section], T]) -> Reader[T]:
    """A mapping with known keys; `build` reads them."""

    def read(at: Cursor) -> T:
        keys = Section(at)
        value = build(keys)
        keys.close()
        return value

    return read


def way_to(at: Cursor, *way: str | int) -> Cursor:
    """The value at the end of a way of keys and numbers, or as far as it goes."""
    for step in way:
        match at.node:
            case Entries(nodes=nodes) if step in nodes and isinstance(step, str):
                at = at.entry(step, nodes[step])
            case Items(nodes=listed) if isinstance(step, int):
                at = at.item(step, listed[step])
    return at


def keys_of(node: Node | None) -> frozenset[str]:
    """The names in a mapping, as far as it is one."""
    return frozenset(node.nodes) if isinstance(node, Entries) else frozenset()


def _all(reader: Reader[T], cursors: Iterable[Cursor]) -> list[T]:
    """What could be read."""
    found = []
    for at in cursors:
        try:
            found.append(reader(at))
        except Wrong:
            continue
    return found


def _suggested(found: str, words: Sequence[str]) -> str:
    near = nearest(found, words)
    if near:
        return f'a known one: did you mean "{near}"?'
    return "one of " + ", ".join(words)


def nearest(found: str, words: Collection[str]) -> str:
    """The word that was probably meant, or ""."""
    return next(iter(get_close_matches(found, sorted(words), n=1)), "")
