"""Reading a request's JSON strictly: each field has one type and bounds, and what is not known is not let through."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from remit.core.canonical import MalformedJson, parse
from remit.core.egress.exchange import Duplicate, HttpRequest, Unmapped

MAX_DEPTH = 64
"""Nesting of a body: JSON schemas of tools stand many levels deep."""

MAX_WHOLE = 10**9
MAX_TEXT = 256

MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}", re.ASCII)
"""What names a variant in the catalogue."""

_JSON = re.compile(r"application/json(; ?charset=utf-8)?", re.ASCII | re.IGNORECASE)
_LINE = re.compile(r"[^\x00-\x1f\x7f]*")


class Fields:
    """One object of the body, at `where` (a JSON pointer). An absent field reads as None; null is no value."""

    __slots__ = ("_values", "where")

    def __init__(self, values: Mapping[str, Any], where: str = "") -> None:
        self._values = values
        self.where = where

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def raw(self, name: str) -> Any:
        """The value as it stands."""
        return self._values.get(name)

    def only(self, known: frozenset[str]) -> None:
        """Raises Unmapped for the first field that is not known."""
        for name in self._values:
            if name not in known:
                raise Unmapped(f"{self.at(name)} is not known here, so it is not let through")

    def at(self, name: str) -> str:
        """How people are told of a field: bounded, whatever its name."""
        return f"{self.where}/{name if len(name) <= 64 else name[:64] + '…'}"

    def text(self, name: str, *, most: int = MAX_TEXT) -> str | None:
        """A short line of text."""
        value: str | None = self._typed(name, str, "text")
        if value is not None and (len(value) > most or not _LINE.fullmatch(value)):
            raise Unmapped(f"{self.at(name)} is not one line of at most {most} characters")
        return value

    def whole(self, name: str, *, least: int = 0, most: int = MAX_WHOLE) -> int | None:
        """A whole number within bounds; 5.0 is none."""
        value: int | None = self._typed(name, int, "a whole number")
        if value is not None and not least <= value <= most:
            raise Unmapped(f"{self.at(name)} is not from {least} to {most}")
        return value

    def flag(self, name: str) -> bool | None:
        """True or false."""
        value: bool | None = self._typed(name, bool, "true or false")
        return value

    def number(self, name: str) -> int | Decimal | None:
        """Any finite number."""
        value = self._values.get(name)
        if name in self._values and (isinstance(value, bool) or not isinstance(value, int | Decimal)):
            raise Unmapped(f"{self.at(name)} is not a number")
        return value

    def fields(self, name: str) -> Fields | None:
        """An object."""
        value = self._typed(name, dict, "an object")
        return None if value is None else Fields(value, self.at(name))

    def values(self, name: str) -> list[Any]:
        """A list, empty where it is absent."""
        return self._typed(name, list, "a list") or []

    def objects(self, name: str) -> list[Fields]:
        """A list of objects, empty where it is absent."""
        return [self._object(each, f"{self.at(name)}/{place}") for place, each in enumerate(self.values(name))]

    def texts(self, name: str) -> list[str]:
        """A list of short lines."""
        if not all(isinstance(each, str) and len(each) <= MAX_TEXT for each in self.values(name)):
            raise Unmapped(f"{self.at(name)} is not a list of short texts")
        return list(self.values(name))

    def require(self, name: str) -> None:
        """Raises Unmapped where the field is absent."""
        if name not in self._values:
            raise Unmapped(f"{self.at(name)} is missing")

    def model(self, name: str = "model") -> str:
        """A model's name, as the catalogue can list it."""
        self.require(name)
        return checked_model(self.text(name) or "", self.at(name))

    def kind(self, known: frozenset[str] | None = None, default: str = "") -> str:
        """The object's `type`, one of those known."""
        value = self.text("type")
        found = default if value is None else value
        if not found or (known is not None and found not in known):
            raise Unmapped(f"{self.at('type')} is not one that is known here: {found[:64]!r}")
        return found

    def _typed(self, name: str, kind: type, said: str) -> Any:
        if name not in self._values:
            return None
        value = self._values[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Unmapped(f"{self.at(name)} is not {said}")
        return value

    @staticmethod
    def _object(value: object, where: str) -> Fields:
        if not isinstance(value, dict):
            raise Unmapped(f"{where} is not an object")
        return Fields(value, where)


def checked_model(name: str, where: str) -> str:
    """The name, where the catalogue could list it; Unmapped otherwise."""
    if not MODEL.fullmatch(name):
        raise Unmapped(f"{where} is no name that the catalogue can list")
    return name


def json_body(request: HttpRequest, most: int) -> Any:
    """The value of a JSON body of at most so many bytes. Raises Unmapped."""
    try:
        kind, coding = request.header("content-type"), request.header("content-encoding")
    except Duplicate as e:
        raise Unmapped(str(e)) from e
    if kind is None or not _JSON.fullmatch(kind):
        raise Unmapped("the content type is not application/json")
    if coding is not None:
        raise Unmapped("the body has a content coding")
    try:
        return parse(request.body, most, MAX_DEPTH)
    except MalformedJson as e:
        raise Unmapped(f"the body is not JSON in its strict form: {e}") from e


def body_fields(request: HttpRequest, most: int) -> Fields:
    """The JSON object that the body is. Raises Unmapped."""
    value = json_body(request, most)
    if not isinstance(value, dict):
        raise Unmapped("the body is not a JSON object")
    return Fields(value)
