"""Arguments as JSON text, strictly: what the sidecar reads is exactly what the caller meant, or nothing is sent.

Text and not google.protobuf.Struct, because a Struct turns 9007199254740993 into another number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Never

from remit.sdk.errors import InvalidRequest, Violation

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_INTEGER = 10**18


def arguments_text(arguments: Mapping[str, Any]) -> bytes:
    """The JSON text of the arguments; InvalidRequest names the path of what has none."""
    if not isinstance(arguments, Mapping):
        _refuse("arguments", f"a mapping, not {type(arguments).__name__}")
    plain = _plain(arguments, "arguments", MAX_DEPTH)
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    if len(text) > MAX_BYTES:
        _refuse("arguments", f"at most {MAX_BYTES} bytes as JSON, not {len(text)}")
    return text


def _plain(value: object, path: str, levels: int) -> object:
    match value:
        case None | bool():
            return value
        case int():
            return _integer(value, path)
        case float():
            return value if math.isfinite(value) else _refuse(path, f"a finite number, not {value}")
        case str():
            return _text(value, path)
        case Mapping():
            return _object(value, path, levels)
        case list() | tuple():
            below = _below(path, levels)
            return [_plain(item, f"{path}/{index}", below) for index, item in enumerate(value)]
        case _:
            return _refuse(path, f"null, a bool, number, string, list or mapping, not {type(value).__name__}")


def _integer(value: int, path: str) -> int:
    if abs(value) > MAX_INTEGER:
        _refuse(path, "an integer of magnitude at most 10**18 (write a larger one as a string)")
    return value


def _text(value: str, path: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        _refuse(path, "Unicode text without lone surrogates")
    return value


def _object(value: Mapping[Any, Any], path: str, levels: int) -> dict[str, object]:
    below = _below(path, levels)
    plain: dict[str, object] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            _refuse(path, f"string keys, not {type(key).__name__}")
        plain[_text(key, path)] = _plain(item, f"{path}/{_pointer(key)}", below)
    return plain


def _below(path: str, levels: int) -> int:
    # Also ends the walk through a structure that contains itself.
    return levels - 1 if levels else _refuse(path, f"at most {MAX_DEPTH} levels")


def _pointer(key: str) -> str:
    """A key as a JSON Pointer (RFC 6901) writes it."""
    return key.replace("~", "~0").replace("/", "~1")


def _refuse(path: str, expected: str) -> Never:
    raise InvalidRequest(Violation(path, expected))
