"""What may stand in the journal in clear: only the paths that policy lists; the rest as keyed HMAC, type, size.

A path is a JSON pointer (RFC 6901) into the request's context, e.g. `/reason` or `/arguments/customer`; it
covers everything below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from remit.core.canonical import canonical

Hmac = Callable[[bytes], str]


def redact(value: Any, path: str, clear: Iterable[str], hmac: Hmac) -> Any:
    """`value` with every leaf that no path of `clear` covers replaced by {hmac, type, size}.

    Containers are kept where a listed path lies inside them, so that what is shown keeps its place.
    """
    allowed = tuple(clear)
    if _covered(path, allowed):
        return value
    if any(each.startswith(path + "/") for each in allowed):
        if isinstance(value, Mapping):
            return {key: redact(item, f"{path}/{_escape(key)}", allowed, hmac) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [redact(item, f"{path}/{index}", allowed, hmac) for index, item in enumerate(value)]
    return sealed(value, hmac)


def sealed(value: Any, hmac: Hmac) -> dict[str, Any]:
    """`value` as what may always be told of it: its keyed HMAC (hex), its JSON type and its size in bytes."""
    text = canonical(value)
    return {"hmac": hmac(text), "type": _kind(value), "size": len(text)}


def _covered(path: str, allowed: tuple[str, ...]) -> bool:
    return any(path == each or path.startswith(each + "/") for each in allowed)


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case Mapping():
            return "object"
        case list() | tuple():
            return "array"
        case _:
            return "number"
