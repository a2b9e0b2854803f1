"""Tokens in a request's body, turned back for a service that is cleared for what they stand for.

An agent that reads a tokenised column passes tokens on; the service that it calls may need the values. Where the
catalogue says `reveal` of the service, Remit puts them in after the decision, on the way out: the agent sees neither.
A value that comes back in the response is cut like a credential (`echo`), which needs at least `SHORTEST` bytes: a
shorter one stays a token, as does one whose labels the service is not cleared for, and text that is no token of ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from remit.core.egress.echo import SHORTEST

MOST = 100
"""How many tokens of one request are turned back; what is beyond stays as it is."""

_TOKEN = re.compile(rb"(?<![A-Za-z0-9_-])tok_[A-Za-z0-9_-]{8,8192}")

Value = Callable[[str], tuple[str, str, tuple[str, ...]] | None]
"""(value, domain, labels) of a token, or None (the Tokenizer port's `value`)."""


@dataclass(frozen=True, slots=True)
class Revealed:
    """The body as it goes out; `values` is what was put in and must not come back."""

    body: bytes
    values: tuple[bytes, ...] = ()
    count: int = 0


def reveal(body: bytes, value: Value, cleared: Collection[str]) -> Revealed:
    """A JSON body with the values of its tokens; the body as it is where it is not JSON."""
    if not _TOKEN.search(body) or not _is_json(body):
        return Revealed(body)
    values: dict[bytes, None] = {}
    count = 0

    def put_in(found: re.Match[bytes]) -> bytes:
        nonlocal count
        known = value(found[0].decode("ascii")) if count < MOST else None
        if known is None or not set(known[2]) <= set(cleared):
            return found[0]
        plain = known[0].encode("utf-8", "surrogatepass")
        if len(plain) < SHORTEST:
            return found[0]
        count += 1
        values[plain] = None
        # A token has no character that JSON escapes, so it stands within a string as it is.
        return json.dumps(known[0])[1:-1].encode("ascii")

    put = _TOKEN.sub(put_in, body)
    return Revealed(put, tuple(values), count)


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True
