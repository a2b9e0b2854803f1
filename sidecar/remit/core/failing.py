"""What is done when agents fail: data, read when policy is loaded, since a failure is no time to ask anybody.

`data.remit.failure` as policy sees it, and the same as values for the sidecar. Counts are those of ten minutes; a
limit, or an amount, of 0 switches its answer off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any

from remit.core.errors import RemitError
from remit.core.money import NANOS
from remit.core.reservation import MAX_NANOS

MOST = 10_000
"""Of anything that is counted."""


class Reply(StrEnum):
    """What is answered to a failure. `escalate` is a halt that somebody is asked to lift."""

    NONE = "none"
    DENY = "deny"
    RETRY = "retry"
    COMPENSATE = "compensate"
    ESCALATE = "escalate"
    HALT = "halt"


@dataclass(frozen=True, slots=True)
class Answer:
    """From `limit` times on."""

    limit: int
    answer: Reply

    @property
    def on(self) -> bool:
        """Whether anything is answered."""
        return self.limit > 0 and self.answer is not Reply.NONE


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """Where `share` of an agent's actions or more fail, of `least` at the fewest."""

    share: Fraction
    least: int
    answer: Reply

    @property
    def on(self) -> bool:
        """Whether anything is answered."""
        return self.answer is not Reply.NONE


@dataclass(frozen=True, slots=True)
class SpendRate:
    """Where an agent spends `amount` nanos or more."""

    amount: int
    answer: Reply

    @property
    def on(self) -> bool:
        """Whether anything is answered."""
        return self.amount > 0 and self.answer is not Reply.NONE


@dataclass(frozen=True, slots=True)
class Gone:
    """Where an agent lets what it holds (a reservation, a claim) lapse."""

    answer: Reply

    @property
    def on(self) -> bool:
        """Whether anything is answered."""
        return self.answer is not Reply.NONE


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """The answers. `loop` is the very same action asked for again and again, and `failed` one that fails, each within
    a workflow; `denials` are those of anything that an agent asks for."""

    loop: Answer = Answer(100, Reply.DENY)
    failed: Answer = Answer(5, Reply.DENY)
    denials: Answer = Answer(0, Reply.NONE)
    errors: ErrorRate = ErrorRate(Fraction(1, 2), 20, Reply.NONE)
    spending: SpendRate = SpendRate(0, Reply.NONE)
    vanished: Gone = Gone(Reply.NONE)


DEFAULT = FailurePolicy()
KINDS = tuple(each.name for each in fields(FailurePolicy))

_STOPS = (Reply.NONE, Reply.ESCALATE, Reply.HALT)
# What denies must be asked before it is done; what is done again, or undone, must be one action.
REPLIES: Mapping[str, tuple[Reply, ...]] = {
    "loop": (Reply.NONE, Reply.DENY, Reply.ESCALATE, Reply.HALT),
    "failed": tuple(Reply),
    "denials": _STOPS,
    "errors": _STOPS,
    "spending": _STOPS,
    "vanished": _STOPS,
}


class FailureInvalid(RemitError, ValueError):
    """What is stated is no policy about failures; `problems` name each field, what was found and what was expected."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def read_failures(stated: object, base: FailurePolicy = DEFAULT) -> FailurePolicy:
    """The policy that JSON values state; what they leave unsaid is the base's. Raises FailureInvalid."""
    if not isinstance(stated, Mapping):
        raise FailureInvalid((_wrong("failure", _shown(stated), f"an object of {', '.join(KINDS)}"),))
    problems = _unknown("failure", stated, KINDS)
    read: dict[str, Any] = {}
    for kind in KINDS:
        before = getattr(base, kind)
        if kind in stated:
            read[kind] = _one(kind, stated[kind], before, problems)
    if problems:
        raise FailureInvalid(tuple(problems))
    return FailurePolicy(**{kind: read.get(kind, getattr(base, kind)) for kind in KINDS})


def _one(kind: str, stated: object, before: Any, problems: list[str]) -> Any:
    """One kind's answer; what is wrong with it joins the problems, and leaves it as it was before."""
    where = f"failure.{kind}"
    names = [each.name for each in fields(before)]
    if not isinstance(stated, Mapping):
        problems.append(_wrong(where, _shown(stated), f"an object of {', '.join(names)}"))
        return before
    problems += _unknown(where, stated, names)
    values = {name: getattr(before, name) for name in names}
    for name, value in stated.items():
        if name not in names:
            continue
        expected, reader = _reply(kind) if name == "answer" else _FIELDS[name]
        found = reader(value)
        if found is None:
            problems.append(_wrong(f"{where}.{name}", _shown(value), expected))
        else:
            values[name] = found
    return type(before)(**values)


Reader = Callable[[Any], Any]
"""What a JSON value says; None where it says nothing fit."""


def _reply(kind: str) -> tuple[str, Reader]:
    fit = REPLIES[kind]
    return " or ".join(fit), lambda value: next(
        (each for each in fit if isinstance(value, str) and each == value), None
    )


def _whole(least: int) -> tuple[str, Reader]:
    def read(value: Any) -> int | None:
        number = _number(value)
        return int(number) if number is not None and number == int(number) and least <= number <= MOST else None

    return f"a whole number from {least} to {MOST}", read


def _share(value: Any) -> Fraction | None:
    number = _number(value)
    return Fraction(number) if number is not None and 0 < number <= 1 else None


def _amount(value: Any) -> int | None:
    number = _number(value)
    if number is None or not 0 <= number <= MAX_NANOS // NANOS:
        return None
    nanos = Fraction(number) * NANOS
    return int(nanos) if nanos.denominator == 1 else None


def _number(value: Any) -> int | Decimal | None:
    return value if isinstance(value, int | Decimal) and not isinstance(value, bool) else None


_FIELDS: Mapping[str, tuple[str, Reader]] = {
    "limit": _whole(0),
    "least": _whole(1),
    "share": ("a number above 0, at most 1", _share),
    "amount": ("an amount in the ledger's currency, of nine decimals at the most", _amount),
}


def _unknown(where: str, stated: Mapping[Any, Any], known: Sequence[str]) -> list[str]:
    return [_wrong(where, _shown(name), f"one of {', '.join(known)}") for name in stated if name not in known]


def _wrong(where: str, found: str, expected: str) -> str:
    return f"{where}: found {found}, expected {expected}"


def _shown(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    return repr(value)[:80] if isinstance(value, str | int) or value is None else type(value).__name__
