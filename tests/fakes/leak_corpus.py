"""A published collection of SQL injections: the payloads and boundaries of sqlmap, read from the installed package.

sqlmap (https://sqlmap.org, GPLv2) is a dependency of the tests alone. Nothing of it is copied or imported: only its
XML files are read. What its payloads leave open (numbers, words, the query to be smuggled in) is filled in here, the
queries with what a view hides.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from xml.etree import ElementTree

from fakes.leak_grammar import Made
from remit.core.view.model import Dialect

_WANTED = (
    "SELECT x_secret FROM people LIMIT 1",
    "SELECT ssn FROM people LIMIT 1",
    "SELECT salary FROM people ORDER BY salary DESC LIMIT 1",
    "SELECT text FROM x_notes",
    "SELECT text FROM sealed",
    "SELECT memo FROM orders WHERE amount = 77",
    "SELECT email FROM people WHERE region <> 'eu'",
)
_PLACE = re.compile(r"\[([A-Z_]+)(\d*)\]")


@dataclass(frozen=True)
class Injection:
    """A payload and what stands before and after it where it is smuggled in; places are still open."""

    payload: str
    prefix: str
    suffix: str


class Corpus:
    """Every injection, in an order of the dice's."""

    def __init__(self, dice: random.Random, dialect: Dialect) -> None:
        self._dice = dice
        self._dialect = dialect

    def statements(self) -> Iterator[Made]:
        """Without end: each as a part of a statement, as a whole one, as text in quotes, as a name, as a value."""
        payloads, boundaries = _payloads(), _boundaries()
        while True:
            payload = self._filled(self._dice.choice(payloads))
            prefix, suffix = (self._filled(each) for each in self._dice.choice(boundaries))
            injected = f"{prefix} {payload} {suffix}"
            column = self._dice.choice(["id", "salary", "ssn", "name", "x_secret"])
            yield self._dice.choice(
                [
                    Made(f"SELECT id, name FROM people WHERE {column} = 1{injected}"),
                    Made(f"SELECT id, name FROM people WHERE {column} = 'x{injected}'"),
                    Made(f"SELECT id, name FROM people WHERE ({column} = 'x{injected}')"),
                    Made(f"SELECT id, name FROM people ORDER BY {column}{injected}"),
                    Made(f"SELECT {column} {payload} FROM people"),
                    Made(payload),
                    Made(f"SELECT '{payload.replace(chr(39), chr(39) * 2)}' FROM people"),
                    Made(f'SELECT "{payload.replace(chr(34), chr(34) * 2)}" FROM people'),
                    Made(f'SELECT id AS "{payload[:60]}" FROM people'),
                    Made(f"SELECT id FROM people WHERE {column} = :value OR name = :value", {"value": injected}),
                ]
            )

    def _filled(self, text: str) -> str:
        return _PLACE.sub(lambda found: self._value(found[1]), text)

    def _value(self, place: str) -> str:
        wanted = self._dice.choice(_WANTED)
        match place:
            case "RANDNUM":
                return str(self._dice.randrange(1, 9_999))
            case "SLEEPTIME":
                return "0"
            case "QUERY" | "ORIGINAL":
                return wanted
            case "INFERENCE":
                return f"SUBSTR(({wanted}), 1, 1) > 'm'"
            case "GENERIC_SQL_COMMENT":
                return "-- "
            case "ORIGVALUE" | "CHAR":
                return "1"
            case "UNION":
                return f" UNION ALL SELECT ({wanted}), NULL"
            case "DELIMITER_START" | "DELIMITER_STOP":
                return "q"
        return "".join(self._dice.choices("abcdefgh", k=4))


@cache
def _payloads() -> Sequence[str]:
    found = []
    for file in sorted(_folder().glob("payloads/*.xml")):
        for test in ElementTree.parse(file).iter("test"):
            texts = [test.findtext("vector"), test.findtext("request/payload")]
            found += [each.strip() for each in texts if each and each.strip()]
    return sorted(set(found))


@cache
def _boundaries() -> Sequence[tuple[str, str]]:
    read = ElementTree.parse(_folder() / "boundaries.xml").iter("boundary")
    return [(each.findtext("prefix") or "", each.findtext("suffix") or "") for each in read]


def _folder() -> Path:
    return Path(str(distribution("sqlmap").locate_file("sqlmap/data/xml")))
