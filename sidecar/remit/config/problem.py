"""What is wrong with a catalogue or setting: where it stands, what was found there, and what was expected."""

from __future__ import annotations

from dataclasses import dataclass

from remit.core.errors import RemitError

MAX_PROBLEMS = 50
_SHOWN = 80
_PATH = 200


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands. `line` and `column` count from 1; 0 where there are no lines (a flag, a file)."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake; `path` is the key's place in the document, such as `agents.support.team`."""

    file: str
    line: int
    column: int
    path: str
    found: str
    expected: str

    def __str__(self) -> str:
        place = Place(self.file, self.line, self.column)
        return ": ".join(filter(None, [str(place), self.path, f"found {self.found}; expected {self.expected}"]))


class CatalogueInvalid(RemitError):
    """The catalogue or the settings cannot be used. `errors` are the first 50; `more` counts the others."""

    def __init__(self, errors: tuple[Problem, ...], more: int = 0) -> None:
        lines = [str(error) for error in errors]
        super().__init__("\n".join(lines + ([f"and {more} more"] if more else [])))
        self.errors = errors
        self.more = more


def shown(text: str, limit: int = _SHOWN) -> str:
    """Somebody else's text as part of a message: printable, on one line, and not too long."""
    safe = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return safe if len(safe) <= limit else safe[:limit] + "…"


class Problems:
    """Collects mistakes while a document is read, so that all of them are told at once."""

    def __init__(self) -> None:
        self._found: list[Problem] = []
        self._more = 0

    def add(self, place: Place, path: str, *, found: str, expected: str) -> None:
        """Note one mistake; beyond MAX_PROBLEMS they are only counted."""
        if len(self._found) == MAX_PROBLEMS:
            self._more += 1
            return
        path = shown(path, _PATH)
        self._found.append(Problem(place.file, place.line, place.column, path, found, expected))

    def take(self, others: Problems) -> None:
        """Note those of another collection too."""
        room = MAX_PROBLEMS - len(self._found)
        self._found += others._found[:room]
        self._more += others._more + len(others._found[room:])

    def __bool__(self) -> bool:
        return bool(self._found)

    def raise_any(self) -> None:
        """Raise CatalogueInvalid where anything was noted, in the order of the text."""
        if self._found:
            ordered = sorted(self._found, key=lambda each: (each.file, each.line, each.column))
            raise CatalogueInvalid(tuple(ordered), self._more)
