"""A third party's own books: every request that it served, what it charged for it, and by whose key it came.

Written for one purpose: to be believed instead of Remit. Nothing here knows that Remit exists.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import TextIO

from aiohttp import web

EUR = 1_000_000_000
"""Nanos in one euro: all prices are whole nanos, so a bill is exact."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One request that was served: by which API key (the start of its SHA-256), what it was (method, path, SHA-256 of
    its body), what was used, and nanos charged."""

    number: int
    key: str
    method: str
    path: str
    sha256: str
    variant: str
    usage: Mapping[str, int]
    nanos: int


class Books:
    """Entries in order, in memory and as lines of JSON in a file. `key` is the one customer's."""

    def __init__(self, path: Path, key: str) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)
        self._entries: list[Entry] = []
        self._key = key.encode()

    def admit(self, request: web.Request) -> None:
        """401 for whoever does not show the key, in the words of OpenAI's API."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not compare_digest(key.encode(), self._key):
            error = {
                "message": "Incorrect API key provided.",
                "type": "invalid_request_error",
                "code": "invalid_api_key",
            }
            raise web.HTTPUnauthorized(text=json.dumps({"error": error}), content_type="application/json")

    async def charge(self, request: web.Request, variant: str, usage: Mapping[str, int], nanos: int) -> None:
        """Enter a request that was served."""
        entry = Entry(
            number=len(self._entries) + 1,
            key=sha256(self._key).hexdigest()[:8],
            method=request.method,
            path=request.path_qs,
            sha256=sha256(await request.read()).hexdigest(),
            variant=variant,
            usage=usage,
            nanos=nanos,
        )
        self._entries.append(entry)
        self._file.write(json.dumps(asdict(entry)) + "\n")

    async def shown(self, request: web.Request) -> web.Response:
        """GET /books."""
        return web.json_response([asdict(entry) for entry in self._entries])
