"""Readers for the values that stand all over the catalogue: names, labels, selectors, addresses, durations."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from urllib.parse import urlsplit

from remit.config.reading import (
    Cursor,
    Reader,
    Section,
    decimal,
    distinct,
    known_as,
    named,
    one_or_more,
    section,
    text,
)
from remit.config.tree import Leaf
from remit.core.money import NANOS
from remit.core.selector import KEYS, Selector

MAX_QUANTITY = 10**15

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_ID_EXPECTED = "a name of a-z 0-9 . _ -, up to 64 characters, starting with a letter or digit"
_PURPOSE = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}", re.ASCII)
_NAME_EXPECTED = "a name of letters, digits and . _ : / @ -, up to 128 characters"
_UNIT = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_PATTERN = re.compile(r"[A-Za-z0-9*][A-Za-z0-9*._:/@-]{0,127}", re.ASCII)
_FREE = re.compile(r"[^\x00-\x1f\x7f]{1,256}")
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MAX_TTL = 366 * 86400

identifier = text(_ID, _ID_EXPECTED)
identifiers = distinct(identifier)
purposes = distinct(text(_PURPOSE, "a purpose of a-z 0-9 -, up to 64 characters"))
name = text(_NAME, _NAME_EXPECTED)
unit = text(_UNIT, "a unit such as call or input_token")
free_text = text(_FREE, "text of 1 to 256 characters, on one line")
currency = text(_CURRENCY, "a currency of three capital letters, such as EUR")

by_id = named(_ID, _ID_EXPECTED)
by_name = named(_NAME, _NAME_EXPECTED)
by_unit = named(_UNIT, "a unit such as call or input_token")
by_column = named(_COLUMN, "a name of letters, digits and _, without dots")
by_currency = named(_CURRENCY, "a currency of three capital letters, such as USD")


@dataclass(frozen=True, slots=True)
class Known:
    """What the catalogue declares, as far as it can be told from its keys: what references may name."""

    currency: str
    teams: Collection[str]
    agents: Collection[str]
    people: Collection[str]
    services: Collection[str]
    variants: Collection[str]
    regions: Collection[str]


def selector(known: Known, *keys: str) -> Reader[Selector]:
    """`when`. A value without `*` that names nothing in the catalogue would never match: a mistake."""
    allowed = keys or KEYS
    declared = {
        "agent": (known.agents, "a declared agent"),
        "team": (known.teams, "a declared team"),
        "service": (known.services, "a declared service"),
        "variant": (known.variants, "a declared variant"),
        "region": (known.regions, "a declared region"),
    }

    def build(when: Section) -> Selector:
        terms = ((key, when.read(key, one_or_more(_pattern(*declared.get(key, ((), "")))), ())) for key in allowed)
        return Selector(tuple((key, values) for key, values in terms if values))

    return section(build)


def _pattern(known: Collection[str], kind: str) -> Reader[str]:
    pattern = text(_PATTERN, f"{_NAME_EXPECTED}; * stands for any characters")

    def read(at: Cursor) -> str:
        value = pattern(at)
        if kind and "*" not in value and value not in known:
            raise at.wrong(known_as(kind, known, value))
        return value

    return read


def date(at: Cursor) -> int:
    """A day such as 2026-10-01: the ns since the epoch at which it begins in UTC."""
    value = at.node.value if isinstance(at.node, Leaf) else None
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise at.wrong("a date such as 2026-10-01")
    try:
        day = datetime.fromisoformat(value).replace(tzinfo=UTC)
    except ValueError as e:
        raise at.wrong("a day that exists, such as 2026-10-01") from e
    if not 1970 <= day.year <= 2200:
        raise at.wrong("a date from 1970 to 2200")
    return int(day.timestamp()) * NANOS


def duration(at: Cursor) -> int:
    """Seconds, written as 30s, 15m, 4h or 7d; up to 366 days."""
    value = at.node.value if isinstance(at.node, Leaf) else None
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 0 < seconds <= _MAX_TTL:
        raise at.wrong("a duration such as 30s, 15m, 4h or 7d, up to 366d")
    return seconds


def share(at: Cursor) -> Fraction:
    """A part of a whole: above 0, up to 1."""
    expected = "a share above 0 and up to 1, such as 0.8"
    part = decimal(expected)(at)
    if not 0 < part <= NANOS:
        raise at.wrong(expected)
    return Fraction(part, NANOS)


def address(*schemes: str) -> Reader[str]:
    """A URL with a host, of one of the schemes, without user, query or fragment."""
    expected = f"a URL such as {schemes[0]}://host/path, without user, query or fragment"

    def read(at: Cursor) -> str:
        value = text(_FREE, expected)(at)
        if not _is_address(value, schemes):
            # It may hold a password: not repeated.
            raise at.wrong(expected, "another URL (not shown)" if "@" in value else None)
        return value

    return read


def _is_address(value: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(value)
        usable = parts.port != 0 and bool(parts.hostname)
    except ValueError:
        return False
    plain = not (parts.username or parts.password or parts.query or parts.fragment or " " in value)
    return usable and plain and parts.scheme in schemes and "@" not in parts.netloc


def path(at: Cursor) -> Path:
    """A file's or directory's path; a relative one is meant from where it is written."""
    value = text(re.compile(r"[^\x00-\x1f\x7f]{1,4096}"), "a path")(at)
    written = Path(at.node.place.file)
    return written.parent / value if at.node.place.line else Path(value)


def secret_place(keys: Section) -> tuple[str, str]:
    """Where a secret lies: a file or an environment variable, the other is ""."""
    variable = text(_VARIABLE, "an environment variable's name")
    keys.require_one("file", "environment")
    file = keys.read("file", path, None)
    if file and keys.has("environment"):
        keys.wrong("environment", "file or environment, not both", "a second place")
    return str(file) if file else "", keys.read("environment", variable, "")
