"""The one selector, `when`: who, with which service, where and what for.

Every key that a selector names must match; within a key, one of its values must. `*` in a value stands for
any run of characters, and nothing else is special. An attribute that a request does not have is the empty
text: the value `*` ("anything, also nothing") matches it, and `a*` does not. A selector without keys
matches all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

KEYS = ("agent", "team", "service", "operation", "variant", "region", "purpose")


@dataclass(frozen=True, slots=True)
class Selector:
    """`terms` are (key, values) pairs, keys from KEYS; the empty selector matches everything."""

    terms: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Whether a request with these attributes is selected; absent and "" mean the same."""
        return all(_any_matches(values, attributes.get(key, "")) for key, values in self.terms)

    def document(self) -> dict[str, list[str]]:
        """The selector as in the catalogue: key -> values."""
        return {key: list(values) for key, values in self.terms}


EVERYTHING = Selector()


def glob_matches(pattern: str, text: str) -> bool:
    """Whether the whole text matches, where each `*` stands for any run of characters; linear in the text."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    last = rest.pop()
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    return _in_order(rest, text[len(first) : len(text) - len(last)])


def _any_matches(patterns: tuple[str, ...], text: str) -> bool:
    return text in patterns or any("*" in pattern and glob_matches(pattern, text) for pattern in patterns)


def _in_order(pieces: list[str], text: str) -> bool:
    start = 0
    for piece in pieces:
        found = text.find(piece, start)
        if found < 0:
            return False
        start = found + len(piece)
    return True
