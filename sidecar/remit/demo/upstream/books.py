"""A third party's own books: every request that reached it, what it charged, and with which id it came.

Written for one purpose: to be believed instead of Remit. Nothing here knows that Remit exists.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from aiohttp import web

EUR = 1_000_000_000
"""Nanos in one euro: all prices are whole nanos, so a bill is exact."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One request: whose API key, the caller's `x-request-id` ("" for none), what was used, and nanos charged."""

    number: int
    key: str
    request_id: str
    variant: str
    usage: Mapping[str, int]
    nanos: int


class Books:
    """Entries in order, in memory and as lines of JSON in a file."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)
        self._entries: list[Entry] = []

    def charge(self, request: web.Request, variant: str, usage: Mapping[str, int], nanos: int) -> None:
        """Enter a request that was served."""
        entry = Entry(
            number=len(self._entries) + 1,
            key=key_of(request),
            request_id=request.headers.get("x-request-id", ""),
            variant=variant,
            usage=usage,
            nanos=nanos,
        )
        self._entries.append(entry)
        self._file.write(json.dumps(asdict(entry)) + "\n")

    async def shown(self, request: web.Request) -> web.Response:
        """GET /books."""
        return web.json_response([asdict(entry) for entry in self._entries])


def key_of(request: web.Request) -> str:
    """The API key that the caller showed; 401 where there is none."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise web.HTTPUnauthorized(text="expected: authorization: Bearer KEY")
    return key
