"""Refusals that are no decision, counted into the journal: identities that were not proved, requests not understood."""

from __future__ import annotations

import logging

from remit.core.errors import BadRequest, ServiceError, Unauthenticated
from remit.listeners.grpc_status import MAX_VIOLATIONS
from remit.listeners.pipeline import Observer, Pipeline

_log = logging.getLogger(__name__)


class RefusalCounts:
    """Counts those of one listener, by peer."""

    def __init__(self, pipeline: Pipeline, observer: Observer) -> None:
        self._pipeline, self._observer = pipeline, observer

    async def count(self, peer: str, error: Exception) -> None:
        """An error, where it is one of these."""
        if isinstance(error, Unauthenticated):
            self._observer.identity_failed(error.cause)
            await self._tell(peer, "identity", f"{error.cause}: {error}")
        elif isinstance(error, BadRequest):
            await self.malformed(peer, ", ".join(each.field for each in error.violations[:MAX_VIOLATIONS]))

    async def malformed(self, peer: str, details: str) -> None:
        """What never became a request."""
        await self._tell(peer, "request", details)

    async def _tell(self, peer: str, kind: str, detail: str) -> None:
        try:
            await self._pipeline.refused(peer, kind, detail)
        except ServiceError as error:
            # The refusal stands all the same: a store that is down makes nobody known.
            _log.error("a refused %s could not be recorded: %s", kind, error)
