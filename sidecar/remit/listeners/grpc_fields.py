"""Checks on the fields of a request: each typed and bounded, all that is wrong collected before anything is used.

Names are those of the catalogue, so their grammar is small: whatever looks like a known name but is not (another
script's letters, a control character, a path) is refused here, and nothing is repaired.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration

from remit.core.canonical import MAX_DEPTH, MalformedJson, parse
from remit.core.errors import BadRequest, Violation
from remit.core.money import Money, MoneyInvalid
from remit.v1 import resources_pb2

MAX_REASON_BYTES = 512
MAX_SUMMARY_BYTES = 2048
MAX_ARGUMENT_BYTES = 256 * 1024
MAX_ITEMS = 64
MAX_UNITS = 16
MAX_QUANTITY = 10**15
MAX_ATTEMPT = 10**6
MAX_TOKEN = 2**62
MAX_WAIT_SECONDS = 3600
MAX_ALTERNATIVE_BYTES = 64 * 1024
MAX_OBJECT_BYTES = 256
SECOND = 1_000_000_000


class Form:
    """A form of text: what it matches, and how it is called."""

    __slots__ = ("expected", "matches")

    def __init__(self, pattern: str, expected: str) -> None:
        self.matches = re.compile(pattern, re.ASCII).fullmatch
        self.expected = expected


ID = Form(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,63}", "an id of letters, digits and . _ : / @ -, up to 64 characters")
NAME = Form(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}", "a name of letters, digits and . _ : / @ -, up to 128 characters")
COLUMN = Form(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}", "a table.column of letters, digits and . _ -, up to 200 characters")
TABLE = Form(r"[A-Za-z_][A-Za-z0-9_]{0,127}", "a table of letters, digits and _, up to 128 characters")
ACTION = Form(r"[a-z][a-z0-9_.-]{0,63}", "an action such as data.read, up to 64 characters")
WORD = Form(r"[a-z0-9-]{1,64}", "lower-case letters, digits and -, up to 64 characters")
UNIT = Form(r"[a-z][a-z0-9_]{0,63}", "a unit such as input_token, up to 64 characters")
BUDGET = Form(r"[a-z0-9][a-z0-9._-]{0,63}(#cap)?", "a budget's id")
KEY = Form(r"[ -~]{1,128}", "printable ASCII, up to 128 characters")
WORKFLOW = Form(r"[A-Za-z0-9._-]{1,1024}", "a signed workflow context or an id, up to 1024 characters")
PASSPORT = Form(r"[A-Za-z0-9._-]{1,8192}", "a passport (compact JWS), up to 8192 characters")
DIGEST = Form(r"[0-9a-f]{64}", "a SHA-256 in 64 lower-case hex digits")
TRACE = Form(r"(?!0{32})[0-9a-f]{32}", "a trace id in 32 lower-case hex digits, not all zero")


class Fields:
    """Reads fields and remembers every violation; `check` raises them all as one BadRequest."""

    __slots__ = ("violations",)

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def refuse(self, field: str, expected: str) -> None:
        """Note that a field is not as it must be."""
        self.violations.append(Violation(field, expected))

    def check(self) -> None:
        """Raise BadRequest if anything was refused."""
        if self.violations:
            raise BadRequest(*self.violations)

    def text(self, field: str, value: str, form: Form) -> str:
        """Text of a form, or empty."""
        if value and not form.matches(value):
            self.refuse(field, form.expected)
        return value

    def required(self, field: str, value: str, form: Form) -> str:
        """Text of a form, never empty."""
        if not form.matches(value):
            self.refuse(field, form.expected)
        return value

    def free(self, field: str, value: str, limit: int = MAX_REASON_BYTES) -> str:
        """Free text of at most `limit` bytes in UTF-8; whoever shows it must escape it."""
        if len(value) * 4 > limit and len(value.encode()) > limit:
            self.refuse(field, f"at most {limit} bytes")
        return value

    def why(self, field: str, value: str) -> str:
        """Free text that must say something."""
        if not value.strip():
            self.refuse(field, f"a reason, at most {MAX_REASON_BYTES} bytes")
        return self.free(field, value)

    def printable(self, field: str, value: str, limit: int) -> str:
        """Any text that can be seen, of at most `limit` bytes: no control characters, none that reorder others."""
        if not value.isprintable():
            self.refuse(field, f"printable text of at most {limit} bytes")
            return value
        return self.free(field, value, limit)

    def texts(self, field: str, values: Sequence[str], form: Form) -> tuple[str, ...]:
        """At most 64 texts of a form."""
        if not values:
            return ()
        if len(values) > MAX_ITEMS:
            self.refuse(field, f"at most {MAX_ITEMS} of them")
            return ()
        for place, value in enumerate(values):
            self.required(f"{field}[{place}]", value, form)
        return tuple(values)

    def choice(self, field: str, value: int, names: Mapping[int, str]) -> str:
        """An enum's name; what is not in `names` is refused."""
        name = names.get(value)
        if name is None:
            self.refuse(field, f"one of {', '.join(names.values())}")
            return ""
        return name

    def choices(self, field: str, values: Sequence[int], names: Mapping[int, str]) -> tuple[str, ...]:
        """Names of an enum, each once."""
        if len(values) > MAX_ITEMS:
            self.refuse(field, f"at most {MAX_ITEMS} of them")
            return ()
        return tuple(dict.fromkeys(self.choice(f"{field}[{n}]", value, names) for n, value in enumerate(values)))

    def one_of(self, field: str, value: str, names: Iterable[str]) -> str:
        """One of some words."""
        if value not in names:
            self.refuse(field, f"one of {', '.join(names)}")
        return value

    def between(self, field: str, value: int, *, least: int, most: int) -> int:
        """A number within bounds, both included."""
        if not least <= value <= most:
            self.refuse(field, f"a number from {least} to {most}")
        return value

    def usage(self, field: str, stated: Sequence[resources_pb2.Usage]) -> dict[str, int]:
        """Quantities by unit: at most 16, each unit once, none negative."""
        if len(stated) > MAX_UNITS:
            self.refuse(field, f"at most {MAX_UNITS} units")
            return {}
        found: dict[str, int] = {}
        for place, each in enumerate(stated):
            unit, quantity = each.unit, each.quantity
            if not UNIT.matches(unit):
                self.refuse(f"{field}[{place}].unit", UNIT.expected)
            elif unit in found:
                self.refuse(f"{field}[{place}].unit", "each unit once")
            if not 0 <= quantity <= MAX_QUANTITY:
                self.refuse(f"{field}[{place}].quantity", "a number from 0 to 10^15")
            found[unit] = quantity
        return found

    def object(self, field: str, raw: bytes, most: int = MAX_ARGUMENT_BYTES) -> dict[str, Any]:
        """One strict JSON object, of at most `most` bytes and 32 deep; {} for no text."""
        if not raw:
            return {}
        try:
            value = parse(raw, most, MAX_DEPTH)
        except MalformedJson as error:
            self.refuse(field, f"one JSON object; at {error.where}: {error.expected}")
            return {}
        if not isinstance(value, dict):
            self.refuse(field, "one JSON object")
            return {}
        return value

    def seconds(self, field: str, message: Duration, most: int) -> int:
        """A duration of 1 to `most` seconds, as ns."""
        if not 1 <= message.seconds <= most or message.nanos:
            self.refuse(field, f"whole seconds from 1 to {most}")
            return 0
        return message.seconds * SECOND

    def at_most(self, field: str, message: Duration, most: int) -> int:
        """A duration of nothing to `most` seconds, as ns."""
        span = message.seconds * SECOND + message.nanos
        if not 0 <= message.nanos < SECOND or not 0 <= span <= most * SECOND:
            self.refuse(field, f"from 0 to {most} seconds")
            return 0
        return span

    def nanos(self, field: str, message: resources_pb2.Money, currency: str) -> int:
        """An amount in the ledger's currency, in nanos."""
        if message.currency != currency:
            self.refuse(f"{field}.currency", currency)
            return 0
        try:
            return Money.from_parts(message.currency, message.units, message.nanos).nanos
        except MoneyInvalid as error:
            self.refuse(field, f"an exact amount: {error}")
            return 0
