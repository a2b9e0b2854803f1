"""Obligations: what an enforcement point must do for a decision to hold.

Their ids are open, since a custom rule may oblige a custom enforcement point to anything. What is closed is
who may act on them: an enforcement point states which it fulfils, and any other one makes the decision DENY.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Obligation:
    """One obligation with its properties, as the policy gave them."""

    id: str
    properties: Mapping[str, Any]


def unsupported(obligations: Iterable[Obligation], fulfils: frozenset[str]) -> tuple[str, ...]:
    """The ids that an enforcement point does not fulfil, each once, in the policy's order."""
    return tuple(dict.fromkeys(each.id for each in obligations if each.id not in fulfils))
