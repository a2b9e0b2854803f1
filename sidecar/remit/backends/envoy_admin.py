"""What Envoy says of itself, asked over its private socket."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import aiohttp

_SECONDS = 1.0


class EnvoyUnreachable(Exception):
    """Envoy did not answer; the message says what was asked."""


class EnvoyAdmin:
    """Asks one Envoy; every call has a time limit and is made once. Use as `async with`."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def __aenter__(self) -> EnvoyAdmin:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(self._socket)),
            timeout=aiohttp.ClientTimeout(total=_SECONDS),
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self._session.close()

    async def live(self) -> bool:
        """Whether it answers and has everything that it needs to serve."""
        try:
            return "LIVE" in await self._get("/ready", {})
        except EnvoyUnreachable:
            return False

    async def statistics(self, pattern: str) -> dict[str, str]:
        """The statistics whose names a regular expression finds. Raises EnvoyUnreachable."""
        text = await self._get("/stats", {"filter": pattern})
        pairs = (line.rpartition(": ") for line in text.splitlines())
        return {name: value.strip('"') for name, colon, value in pairs if colon}

    async def _get(self, path: str, query: dict[str, str]) -> str:
        try:
            async with self._session.get(f"http://envoy{path}", params=query) as response:
                return await response.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise EnvoyUnreachable(f"Envoy did not answer {path}: {type(error).__name__}") from error
