"""Asks others for what a commit ran into: a session that is at home elsewhere, or what their slices have left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from remit.backends.store_shared.shipping import Calls
from remit.backends.store_shared.term import LEASE_SECONDS

WAIT_SECONDS = LEASE_SECONDS + 0.5
"""Longer than the lease of one that does not answer."""

PAUSE_SECONDS = 0.02


class Recalls:
    """`own` is the local log, whose own slices and homes are not asked for."""

    def __init__(self, calls: Calls, own: str, monotonic: Callable[[], float]) -> None:
        self._calls, self._own, self._monotonic = calls, own, monotonic

    async def recall(self, kind: str, name: str) -> bool:
        """Whether it is worth trying again: nobody else holds it any more. Raises StoreUnavailable.

        A reservation is not given away: its writer alone ends it, while its lease lasts.
        """
        if kind == "reservation":
            return False
        asked = {"own": self._own, ("subject" if kind == "home" else "budget"): name}
        end = self._monotonic() + WAIT_SECONDS
        while (await self._calls.call("recall", asked))["held"]:
            if self._monotonic() > end:
                return False
            await asyncio.sleep(PAUSE_SECONDS)
        return True
