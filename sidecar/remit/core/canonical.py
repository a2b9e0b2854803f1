"""Strict JSON in, exact JSON out, and the one form of it that is hashed.

Reading refuses whatever two readers may understand differently (duplicate keys, NaN, half a surrogate
pair, numbers that a double cannot reach) and whatever costs more than its size (nesting). Numbers stay exact:
an `int`, or a `Decimal` where the text has a point or an exponent; never a float.

Writing is exact as well. The canonical form is RFC 8785, extended by one rule for the numbers that it cannot
write: they keep their exact decimal digits. So two values that `parse` gives have the same canonical form if
and only if they are equal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from decimal import Decimal
from hashlib import sha256
from typing import Any, NoReturn

import orjson
import rfc8785

from remit.core.errors import RemitError

MAX_INTEGER = 10**18
"""The largest magnitude of an integer that `parse` accepts: fits int64, and so nano-units of money."""

MAX_NUMBER_CHARACTERS = 64
MAX_DECIMAL_EXPONENT = 307
"""Powers of ten, both ways, that a decimal may have: a double holds them, so nobody reads infinity or 0."""

MAX_PLAIN_EXPONENT = 20
"""Up to this power of ten, both ways, a decimal is written without an exponent: money always is."""

MAX_DEPTH = 32
"""Nesting of arrays and objects that `parse` accepts unless told otherwise."""

_SHOWN = 60
# A string that is not closed runs to the end of the text, so that the scan stays linear on hostile input.
_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\(?:.|\Z))*+(?:"|\Z)|[\[{]|[\]}]', re.DOTALL)
_EXACT = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_FRACTION = re.compile(rb"[:\[,]-?[0-9]+[.eE]|\A-?[0-9]+[.eE]|null")  # NaN and infinity are written as null
# Above U+DFFF, UTF-8 and UTF-16 order keys differently; such characters have one of these lead bytes.
_ORDERED_DIFFERENTLY = re.compile(rb"[\xee-\xff]")


class MalformedJson(RemitError):
    """Not JSON as Remit accepts it: `where` the fault is, what was `found` there and what was `expected`."""

    def __init__(self, where: str, found: str, expected: str) -> None:
        super().__init__(f"{where}: found {found}, expected {expected}")
        self.where = where
        self.found = found
        self.expected = expected


def parse(raw: bytes, max_bytes: int, max_depth: int = MAX_DEPTH) -> Any:
    """The value of one JSON text in UTF-8, of at most `max_bytes` and `max_depth`; MalformedJson otherwise.

    Gives dict, list, str, bool, None, int (|n| ≤ 10**18) and Decimal (exact; within the range of a double).
    """
    if len(raw) > max_bytes:
        raise MalformedJson("text", f"{len(raw)} bytes", f"at most {max_bytes}")
    _check_depth(raw, max_depth)
    text = _decoded(raw)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as e:
        found = repr(text[e.pos : e.pos + 1]) if e.pos < len(text) else "the end"
        raise MalformedJson(f"line {e.lineno} column {e.colno}", found, f"JSON ({e.msg})") from e
    if "\\ud" in text or "\\uD" in text:
        _check_surrogates(value)
    return value


def encode(value: object) -> bytes:
    """The JSON text of a value as `parse` gives it, numbers exact; MalformedJson for others, floats too."""
    if _has_float(value):
        raise MalformedJson("value", "a float", "an int or a Decimal")
    return encode_exact(value)


def encode_exact(value: object) -> bytes:
    """As `encode`, for what is made of values that `parse` gave, and so has no float: they are not looked for."""
    try:
        return orjson.dumps(value, default=_exact_number, option=_EXACT)
    except orjson.JSONEncodeError as e:
        raise MalformedJson("value", str(e), "a JSON value") from e


def canonical(value: object) -> bytes:
    """The one canonical text of a value; MalformedJson where it has none.

    Takes what `parse` gives, and finite floats (written as RFC 8785 says).
    """
    try:
        text = orjson.dumps(value, default=_canonical_number, option=_EXACT | orjson.OPT_SORT_KEYS)
        # A text without anything like a fraction has no float: most have none, and are spared the walk.
        if not _ORDERED_DIFFERENTLY.search(text) and not (_FRACTION.search(text) and _has_float(value)):
            return text
        return orjson.dumps(_in_canonical_order(value), default=_canonical_number, option=_EXACT)
    except (orjson.JSONEncodeError, rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as e:
        raise MalformedJson("value", str(e), "a JSON value") from e


def digest(value: object) -> str:
    """SHA-256 of the canonical text, in hexadecimal."""
    return sha256(canonical(value)).hexdigest()


def _decoded(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise MalformedJson(f"byte {e.start}", f"0x{raw[e.start]:02x}", "UTF-8") from e
    if text.startswith("\ufeff"):
        raise MalformedJson("byte 0", "a byte order mark", "JSON without one")
    return text


def _check_depth(raw: bytes, limit: int) -> None:
    if raw.count(b"[") + raw.count(b"{") <= limit:
        return
    depth = 0
    for found in _STRUCTURE.finditer(raw):
        token = found.group()
        if token in b"[{":
            depth += 1
            if depth > limit:
                raise MalformedJson(f"byte {found.start()}", "deeper nesting", f"at most {limit} levels")
        elif token in b"]}":
            depth -= 1


def _check_surrogates(value: object) -> None:
    for text in _strings(value):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as e:
            raise MalformedJson("string", f"the lone surrogate U+{ord(text[e.start]):04X}", "Unicode text") from e


def _strings(value: object) -> Iterable[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise MalformedJson("object", f"the key {_shown(twice)} twice", "each key once")
    return result


def _integer(text: str) -> int:
    if len(text) <= MAX_NUMBER_CHARACTERS and abs(number := int(text)) <= MAX_INTEGER:
        return number
    raise MalformedJson("number", _shown(text), f"an integer of magnitude at most {MAX_INTEGER}")


def _decimal(text: str) -> Decimal:
    if len(text) <= MAX_NUMBER_CHARACTERS:
        number = Decimal(text)
        if not number or abs(number.adjusted()) <= MAX_DECIMAL_EXPONENT:
            return number
    raise MalformedJson("number", _shown(text), "at most 64 characters, within the range of a double")


def _constant(text: str) -> NoReturn:
    raise MalformedJson("number", text, "a finite number")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_decimal, parse_constant=_constant
)


def _exact_number(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal) and value.is_finite():
        plain = abs(value.adjusted()) <= MAX_PLAIN_EXPONENT
        return orjson.Fragment((format(value, "f") if plain else str(value)).encode())
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _canonical_number(value: object) -> orjson.Fragment:
    """The number as RFC 8785 writes it if that is exact, else its own digits in their shortest form."""
    if not isinstance(value, Decimal) or not value.is_finite():
        raise TypeError(f"{type(value).__name__} is not a JSON value")
    if value == value.to_integral_value() and abs(value) <= MAX_INTEGER:
        return orjson.Fragment(str(int(value)).encode())
    nearest = float(value)
    if Decimal(repr(nearest)) == value:
        return orjson.Fragment(rfc8785.dumps(nearest))
    sign, digits, _ = value.as_tuple()
    shortest = "".join(map(str, digits)).rstrip("0")
    fraction = f".{shortest[1:]}" if shortest[1:] else ""
    return orjson.Fragment(f"{'-' * sign}{shortest[0]}{fraction}e{value.adjusted():+d}".encode())


def _has_float(value: Any) -> bool:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if kind is float:
            return True
        if kind is dict:
            waiting.extend(item.values())
        elif kind is list or kind is tuple:
            waiting.extend(item)
    return False


def _in_canonical_order(value: Any) -> Any:
    if isinstance(value, dict):
        ordered = sorted(value.items(), key=lambda pair: pair[0].encode("utf-16-be"))
        return {key: _in_canonical_order(item) for key, item in ordered}
    if isinstance(value, list | tuple):
        return [_in_canonical_order(item) for item in value]
    return orjson.Fragment(rfc8785.dumps(value)) if isinstance(value, float) else value
