"""Looks for hidden cells in everything that a query can bring out: an oracle that knows nothing of the product.

Each hidden cell is a *canary*: a value that is nowhere else. A sink is decoded as `fakes.canaries` does it, again and
again to a depth, and in each form are sought: texts, in whole or eight characters of them, in either case, and with
everything but letters taken away (a character a row is found as well); numbers in whatever format, by their digits;
dates in the usual orders; UUIDs by their first or last twelve digits.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from fakes.canaries import DEPTH, Sink, views

PART = 8
"""So many characters of a text are told already."""

_LETTERS = "bcdfghjkmnpqrstvwxz"  # no vowel and no digit: no word and no hexadecimal number looks like it
_GROUP, _GROUPS, _MARK = 4, 4, "~"  # a mark in every eight characters: no base64 looks like it
_BARE = 12
_DIGITS = 10
_TEXT_RUN = re.compile(rb"[bcdfghjkmnpqrstvwxz~]{%d,}" % PART)
_BARE_RUN = re.compile(rb"[bcdfghjkmnpqrstvwxz]{%d,}" % _BARE)
_NUMBER = re.compile(rb"[0-9](?:[0-9]|[.,_' ](?=[0-9])){%d,}" % (_DIGITS - 1))
_HEX_NUMBER = re.compile(rb"(?<![0-9a-f])(?:0x)?0*([0-9a-f]{8,16})(?![0-9a-f])")
_DATE = re.compile(rb"[0-9]{1,4}([-./])[0-9]{1,2}\1[0-9]{2,4}|[0-9]{1,2} [a-z]{3} [0-9]{4}|[a-z]{3} [0-9]{2}, [0-9]{4}")
_OTHER = bytes(each for each in range(256) if not chr(each).isascii() or not chr(each).isalnum())
_NO_DIGIT = re.compile(rb"[^0-9]+")
_EPOCH = date(1970, 1, 1)

Hidden = str | bytes | int | float | Decimal | date | datetime | UUID


class Canaries:
    """Makes hidden values, and finds them. `minted` is name -> value; what is only `planted` elsewhere is added."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.minted: dict[str, Hidden] = {}
        self._parts: dict[bytes, str] = {}
        self._bare: dict[bytes, str] = {}
        self._digits: dict[bytes, str] = {}
        self._integers: dict[int, str] = {}
        self._words: dict[bytes, str] = {}
        self._dates: dict[bytes, str] = {}

    def text(self, name: str, *, shown: str = "", dice: random.Random | None = None) -> str:
        """A text; `shown` is put behind it and is no secret (the last characters of a partial mask)."""
        dice = dice or self._dice
        groups = ("".join(dice.choices(_LETTERS, k=_GROUP)) for _ in range(_GROUPS))
        value = _MARK.join(groups)
        self._add(name, value)
        return value + shown

    def blob(self, name: str) -> bytes:
        """Bytes, of letters all the same: so they are found where they are taken for a text."""
        return self.text(name).encode()

    def integer(self, name: str) -> int:
        """Ten digits that fit 32 bits."""
        return self._number(name, self._dice.randrange(1_000_000_001, 2_147_483_600))

    def bigint(self, name: str) -> int:
        """Eighteen digits."""
        return self._number(name, self._dice.randrange(10**17, 10**18))

    def decimal(self, name: str) -> Decimal:
        """Twelve digits, six of them behind the point."""
        value = Decimal(self._dice.randrange(10**11, 10**12)).scaleb(-6)
        self._add(name, value)
        return value

    def real(self, name: str) -> float:
        """Twelve digits, three behind the point: a double holds them."""
        value = (self._dice.randrange(10**10, 10**11) * 10 + self._dice.randrange(1, 10)) / 1000
        self._add(name, value)
        return value

    def day(self, name: str) -> date:
        """A day of the seventeenth century, of which nobody else tells."""
        value = date(1600, 1, 1) + timedelta(days=self._dice.randrange(36_000))
        self._add(name, value)
        return value

    def moment(self, name: str) -> datetime:
        """A moment of such a day, in UTC."""
        day = self.day(name)
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        value = noon + timedelta(seconds=self._dice.randrange(36_000), microseconds=self._dice.randrange(10**6))
        self._add(name, value)
        return value

    def uuid(self, name: str) -> UUID:
        """A random UUID."""
        value = UUID(int=self._dice.getrandbits(128))
        self._add(name, value)
        return value

    def found(self, sinks: Mapping[str, Sink], depth: int = DEPTH) -> list[str]:
        """Each canary that is in a sink, as `SINK has NAME (how it was decoded)`; a folder is every file below it."""
        return sorted(
            {f"{sink} has {name} ({way})" for sink, way, view in views(sinks, depth) for name in self._in(view)}
        )

    def _number(self, name: str, value: int) -> int:
        self._add(name, value)
        return value

    def _add(self, name: str, value: Hidden) -> None:
        self.minted[name] = value
        match value:
            case str():
                self._parts.update(dict.fromkeys(_windows(value.encode(), PART), name))
                self._bare.update(dict.fromkeys(_windows(value.replace(_MARK, "").encode(), _BARE), name))
            case UUID():
                self._words.update(
                    dict.fromkeys([value.hex[:12].encode(), value.hex[-12:].encode(), value.bytes], name)
                )
            case datetime():
                self._add_digits(name, str(int(value.timestamp())))
            case date():
                self._dates.update(dict.fromkeys(_dates(value), name))
                self._add_digits(name, str((value - _EPOCH).days * 86_400))
            case _:
                self._add_digits(name, str(value))
                if isinstance(value, int):
                    self._integers[value] = name

    def _add_digits(self, name: str, written: str) -> None:
        self._digits.update(dict.fromkeys(_windows(_NO_DIGIT.sub(b"", written.encode()).lstrip(b"0"), _DIGITS), name))

    def _in(self, view: bytes) -> Iterator[str]:
        folded = view.lower()
        bare = folded.translate(None, _OTHER)
        if _MARK.encode() in folded:
            yield from _known(self._parts, _TEXT_RUN.findall(folded), PART)
        yield from _known(self._bare, _BARE_RUN.findall(bare), _BARE)
        numbers = (_NO_DIGIT.sub(b"", each) for each in _NUMBER.findall(folded))
        yield from _known(self._digits, numbers, _DIGITS)
        for each in _HEX_NUMBER.findall(folded):
            if int(each, 16) in self._integers:
                yield self._integers[int(each, 16)]
        for word, name in self._words.items():
            if word in bare or word in view:
                yield name
        for found in _DATE.finditer(folded):
            if found[0] in self._dates:
                yield self._dates[found[0]]


def _windows(value: bytes, size: int) -> Iterator[bytes]:
    return (value[start : start + size] for start in range(max(1, len(value) - size + 1)))


def _known(known: Mapping[bytes, str], runs: Iterable[bytes], size: int) -> Iterator[str]:
    for run in runs:
        for window in _windows(run, size):
            if window in known:
                yield known[window]


def _dates(day: date) -> Iterator[bytes]:
    year, month, date_ = f"{day.year:04}", f"{day.month:02}", f"{day.day:02}"
    for mark in "-./":
        yield mark.join((year, month, date_)).encode()
        yield mark.join((date_, month, year)).encode()
        yield mark.join((month, date_, year)).encode()
    yield f"{day.day} {day:%b} {year}".lower().encode()
    yield f"{day:%b} {date_}, {year}".lower().encode()
