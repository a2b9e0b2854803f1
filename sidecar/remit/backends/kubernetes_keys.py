"""The keys that a cluster signs with, as they were when it was asked last.

They are asked for anew every few minutes, and when a token names a key that is not among them, though only once in
AGAIN_SECONDS: whoever makes ids up cannot have the API server asked more often than that. While it cannot be asked, the
copy that was had is good for KEPT_SECONDS: keys are public and change rarely, and tokens end by themselves. After that,
and where there never was one, nobody is proved: a key that was taken out of use must not be believed for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from remit.backends.kubernetes_api import ApiFailed, ApiServer
from remit.backends.kubernetes_tokens import MAX_JWKS_BYTES, KeysInvalid, SigningKey, read_keys
from remit.core.errors import Unauthenticated
from remit.core.evidence import Cause
from remit.core.kubernetes import SECOND
from remit.ports import Clock

AGAIN_SECONDS = 10
FIRST_SECONDS = 1
"""How often keys are asked for while there never were any."""

KEPT_SECONDS = 24 * 3600

_log = logging.getLogger("remit")


class Source(Protocol):
    """Where keys come from; asked anew so often, in seconds."""

    @property
    def every(self) -> int: ...

    async def read(self) -> tuple[str, bytes]:
        """The issuer, and the JWK Set as text. Raises ApiFailed, OSError."""
        ...


@dataclass(frozen=True, slots=True)
class FromApi:
    """From the API server; the issuer is what it says, unless that is given."""

    api: ApiServer
    issuer: str = ""
    every: int = 300

    async def read(self) -> tuple[str, bytes]:
        """As of the port."""
        return self.issuer or await self.api.issuer(), await self.api.keys()


@dataclass(frozen=True, slots=True)
class FromFile:
    """From a file that somebody else keeps current."""

    path: Path
    issuer: str
    every: int = 5

    async def read(self) -> tuple[str, bytes]:
        """As of the port."""
        return self.issuer, await asyncio.to_thread(self._text)

    def _text(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(MAX_JWKS_BYTES + 1)


@dataclass(frozen=True, slots=True)
class FromNowhere:
    """Nobody can be asked: a pod's token without a cluster to look at it by."""

    every: int = 300

    async def read(self) -> tuple[str, bytes]:
        """As of the port."""
        raise ApiFailed("no API server is known: expected `kubernetes.api` or `kubernetes.jwks`")


@dataclass(frozen=True, slots=True)
class Known:
    """Keys of one moment, and whose they are."""

    issuer: str
    keys: Mapping[str, SigningKey]


class ClusterKeys:
    """The keys of one cluster."""

    def __init__(self, source: Source, clock: Clock) -> None:
        self._source, self._clock = source, clock
        self._known: Known | None = None
        self._raw: tuple[str, bytes] = ("", b"")
        self._had = 0
        self._tried: int | None = None
        self._trying: asyncio.Task[None] | None = None
        self._why = ""

    @property
    def known(self) -> Known | None:
        """What may be believed now; the same object for as long as nothing has changed."""
        fresh = self._clock.now() < self._had + KEPT_SECONDS * SECOND
        return self._known if fresh else None

    @property
    def problem(self) -> str:
        """Why nobody can be proved, "" where somebody can."""
        return "" if self.known is not None else f"the cluster's keys could not be had: {self._why or 'not asked yet'}"

    async def named(self, id: str) -> tuple[str, SigningKey]:
        """The issuer, and the key of an id. Raises Unauthenticated."""
        found = self.known
        if found is None or id not in found.keys:
            await self._again()
            found = self.known
        if found is None:
            raise Unauthenticated(Cause.UNAVAILABLE, "the cluster's keys could not be had")
        if id in found.keys:
            return found.issuer, found.keys[id]
        if self._why:
            raise Unauthenticated(
                Cause.UNAVAILABLE, "the token names a new key, and the cluster could not be asked for it"
            )
        raise Unauthenticated(Cause.UNKNOWN, "the token names a key that is none of this cluster's")

    async def keep(self) -> None:
        """Ask where that is due: nothing is asked before somebody needed a key."""
        if self._tried is not None and (self._why or self.known is None or self._due(self._source.every)):
            await self._again()

    async def _again(self) -> None:
        """Ask once for all who wait; not at all where that was done just now."""
        if self._trying is None:
            often = FIRST_SECONDS if self._known is None else min(AGAIN_SECONDS, self._source.every)
            if not self._due(often):
                return
            self._tried = self._clock.now()
            self._trying = asyncio.create_task(self._try())
        await asyncio.shield(self._trying)

    def _due(self, seconds: int) -> bool:
        return self._tried is None or self._clock.now() >= self._tried + seconds * SECOND

    async def _try(self) -> None:
        try:
            await self._take()
            if self._why:
                _log.info("the cluster's keys could be had again")
            self._why = ""
        except (ApiFailed, KeysInvalid, OSError) as error:
            why = str(error)
            if why != self._why:
                kept = "those that were had last stay" if self.known is not None else "nobody of the cluster is proved"
                _log.error("the cluster's keys could not be had, %s: %s", kept, why)
            self._why = why
        finally:
            self._trying = None

    async def _take(self) -> None:
        issuer, text = await self._source.read()
        if (issuer, text) != self._raw or self._known is None:
            self._known = Known(issuer, read_keys(text))
            self._raw = (issuer, text)
        self._had = self._clock.now()
