"""YAML as a tree whose every value knows where it stands.

The tree is built from the parser's events, not by a YAML constructor: nothing is ever rounded, converted or
instantiated behind our back, and depth, aliases, tags and duplicate keys are seen before they cost anything.
Plain scalars follow YAML 1.2's core schema: `yes`, `no`, `on` and `off` are text; dates are text too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)
from ruamel.yaml.reader import ReaderError

from remit.config.problem import Place, Problems, shown

MAX_DEPTH = 32

Plain = str | int | Decimal | bool | None

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]{0,30})", re.ASCII)
_DECIMAL = re.compile(
    r"[-+]?((0|[1-9][0-9_]{0,30})(\.[0-9_]{0,30})?|\.[0-9][0-9_]{0,30})([eE][-+]?[0-9]{1,3})?", re.ASCII
)
_CONTRAST = re.compile(r"(did not find )?expected (?P<expected>.*), but (found|got) (?P<found>.*)")
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A scalar: its value, and the text that it was written as."""

    place: Place
    value: Plain
    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    place: Place
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Entries:
    """A mapping, in the order of the text; `keys` are the places of the keys themselves."""

    place: Place
    nodes: Mapping[str, Node]
    keys: Mapping[str, Place] = field(default_factory=dict)


Node = Leaf | Items | Entries


def parse(text: str, file: str, problems: Problems) -> Node | None:
    """The tree of one YAML document, or None where it cannot be read at all; mistakes go to `problems`."""
    try:
        return _Builder(file, problems).document(YAML(typ="safe", pure=True).parse(text))
    except _Unreadable:
        return None
    except MarkedYAMLError as e:
        place = Place(file, *_mark(e.problem_mark or e.context_mark))
        found, expected = _syntax(e)
        problems.add(place, "", found=found, expected=expected)
    except ReaderError as e:
        before = text[: e.position]
        place = Place(file, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        problems.add(place, "", found=f"the character {_codepoint(e.character)}", expected="printable text")
    except YAMLError as e:
        problems.add(Place(file, 1, 1), "", found=str(e).splitlines()[0], expected="YAML")
    return None


def plain(text: str) -> Plain:
    """What an unquoted scalar means: a truth value, a number (exact), nothing, or text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text.replace("_", ""))
    if _DECIMAL.fullmatch(text):
        return Decimal(text.replace("_", ""))
    return text


class _Unreadable(Exception):
    """The rest of the document makes no sense any more; the mistake has been noted."""


class _Builder:
    def __init__(self, file: str, problems: Problems) -> None:
        self._file = file
        self._problems = problems

    def document(self, events: Iterator[Any]) -> Node:
        started = False
        for event in events:
            match event:
                case StreamStartEvent():
                    continue
                case DocumentStartEvent() if not started:
                    started = True
                    node = self._node(next(events), events, "", 1)
                    next(events)
                case DocumentStartEvent():
                    self._stop(event, "", "a second document", "one document a file")
                case StreamEndEvent() if started:
                    return node
        return self._nothing()

    def _node(self, event: Any, events: Iterator[Any], path: str, depth: int) -> Node:
        if depth > MAX_DEPTH:
            self._stop(event, path, f"a value nested {depth} levels deep", f"at most {MAX_DEPTH} levels")
        match event:
            case AliasEvent():
                self._stop(event, path, f"the alias *{event.anchor}", "the value itself, written out")
            case _ if event.tag is not None and event.tag != "!":
                self._stop(event, path, f"the tag {event.tag}", "a value without a tag")
            case ScalarEvent():
                value = plain(event.value) if event.implicit[0] else event.value
                return Leaf(self._place(event), value, event.value)
            case SequenceStartEvent():
                return Items(self._place(event), tuple(self._items(events, path, depth)))
            case MappingStartEvent():
                return self._entries(event, events, path, depth)
        raise AssertionError(f"unexpected {event}")

    def _items(self, events: Iterator[Any], path: str, depth: int) -> Iterator[Node]:
        for place, event in enumerate(events):
            if isinstance(event, SequenceEndEvent):
                return
            yield self._node(event, events, f"{path}[{place}]", depth + 1)

    def _entries(self, start: Any, events: Iterator[Any], path: str, depth: int) -> Entries:
        nodes: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            key = self._key(event, path)
            inner = f"{path}.{key}" if path else key
            node = self._node(next(events), events, inner, depth + 1)
            if isinstance(node, Leaf) and not node.text:
                # The parser places an empty value where the next one begins, which may be another line.
                node = replace(node, place=self._place(event))
            if key in keys:
                self._problems.add(
                    self._place(event),
                    inner,
                    found=f"a second definition (the first: {keys[key]})",
                    expected="each key once",
                )
                continue
            nodes[key], keys[key] = node, self._place(event)
        return Entries(self._place(start), nodes, keys)

    def _key(self, event: Any, path: str) -> str:
        if not isinstance(event, ScalarEvent):
            self._stop(event, path, "a key that is not plain text", "a name as the key")
        return str(event.value)

    def _place(self, event: Any) -> Place:
        return Place(self._file, *_mark(event.start_mark))

    def _nothing(self) -> NoReturn:
        self._problems.add(Place(self._file, 1, 1), "", found="nothing", expected="a mapping")
        raise _Unreadable

    def _stop(self, event: Any, path: str, found: str, expected: str) -> NoReturn:
        self._problems.add(self._place(event), path, found=found, expected=expected)
        raise _Unreadable


def _mark(mark: Any) -> tuple[int, int]:
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


def _codepoint(character: str | int) -> str:
    return f"U+{character if isinstance(character, int) else ord(character):04X}"


def _syntax(error: MarkedYAMLError) -> tuple[str, str]:
    """(found, expected) of what the parser stumbled over; a tab is named, as it cannot be seen."""
    told = " ".join((error.problem or "something else").split())
    if "'\\t'" in told:
        return "a tab", "spaces"
    contrast = _CONTRAST.fullmatch(told)
    if contrast:
        return contrast["found"], contrast["expected"]
    where = f" {error.context}" if error.context else ""
    return shown(told.removeprefix("found ") + where), "YAML"
