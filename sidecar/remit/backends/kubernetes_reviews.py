"""Whether the cluster still vouches for a token, asked of it at most once in KEPT_SECONDS for each token."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass

from remit.backends.kubernetes_api import ApiFailed, ApiServer
from remit.core.errors import Unauthenticated
from remit.core.evidence import Cause
from remit.core.kubernetes import SECOND, Claims
from remit.ports import Clock

KEPT_SECONDS = 10
FAILED_SECONDS = 1
"""For how long a failure to ask is told to others, so that each does not wait for its own."""

MAX_KEPT = 1024

_log = logging.getLogger("remit")


@dataclass(frozen=True, slots=True)
class _Kept:
    """The refusal, None where the cluster vouches for the token; good until a time (ns)."""

    refused: tuple[Cause, str] | None
    until: int


class Reviews:
    """Answers of one API server; `None` is one that nobody can ask."""

    def __init__(self, api: ApiServer | None, audience: str, clock: Clock) -> None:
        self._api, self._audience, self._clock = api, audience, clock
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[_Kept]] = {}

    async def check(self, digest: bytes, token: str, claims: Claims) -> None:
        """Raises Unauthenticated where the cluster does not vouch for the token, or cannot be asked.

        `digest` is the token's hash, by which answers are kept; `claims` is what it proved by itself.
        """
        kept = self._kept.get(digest)
        if kept is None or self._clock.now() >= kept.until:
            kept = await self._asked(digest, token, claims)
        if kept.refused is not None:
            raise Unauthenticated(*kept.refused)

    async def _asked(self, digest: bytes, token: str, claims: Claims) -> _Kept:
        task = self._asking.get(digest)
        if task is None:
            task = self._asking[digest] = asyncio.create_task(self._ask(digest, token, claims))
            task.add_done_callback(lambda _: self._asking.pop(digest, None))
        # Others wait for the same answer: who leaves does not end it.
        return await asyncio.shield(task)

    async def _ask(self, digest: bytes, token: str, claims: Claims) -> _Kept:
        # What is known is as old as the question, not as the answer.
        asked = self._clock.now()
        try:
            refused = await self._refusal(token, claims)
            kept = _Kept(refused, asked + KEPT_SECONDS * SECOND)
        except ApiFailed as error:
            _log.error("a token could not be reviewed: %s", error)
            refused = (Cause.UNAVAILABLE, "the cluster could not be asked whether the token is still good")
            kept = _Kept(refused, self._clock.now() + FAILED_SECONDS * SECOND)
        self._kept[digest] = kept
        self._kept.move_to_end(digest)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return kept

    async def _refusal(self, token: str, claims: Claims) -> tuple[Cause, str] | None:
        if self._api is None:
            raise ApiFailed("no API server is known: expected `kubernetes.api`")
        found = await self._api.review(token, self._audience)
        if found.good and found.subject == claims.subject and found.pod == claims.pod:
            return None
        return Cause.REVOKED, "the cluster no longer vouches for the token"
