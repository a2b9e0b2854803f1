"""What every exchange at the egress shares: who calls, whether it may, what is under way, and its settlement."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from remit.core.answer import Answer
from remit.core.catalogue import Catalogue
from remit.core.egress.echo import Echoes
from remit.core.egress.exchange import HttpRequest
from remit.core.egress.kinds.mcp import map_mcp
from remit.core.egress.mcp_listing import Allowed
from remit.core.egress.mcp_message import McpRefused
from remit.core.errors import StoreUnavailable, Unauthenticated
from remit.core.model import Subject
from remit.listeners.egress_caller import Caller, Seat, seated
from remit.listeners.egress_peer import identify
from remit.listeners.egress_places import Place, place_of
from remit.listeners.grpc_limits import Places
from remit.listeners.pipeline import Identities, Pipeline
from remit.listeners.refusal_counts import RefusalCounts
from remit.listeners.working import Working
from remit.pep.egress import Attempt, Egress, Passage
from remit.pep.meter import End
from remit.pep.outwait import Patience

RETRY_SECONDS = 0.5
MAX_CALLERS = 1024
PER_CALLER = 256
"""Calls of one caller that are being decided at once."""

MAX_OPEN = 4 * MAX_CALLERS
OPEN_PER_CALLER = 512
"""Calls and tunnels of one caller under way at once: nobody takes the places of all."""

MAX_BYTES = 256 << 20
BYTES_PER_CALLER = 64 << 20
"""Bytes of bodies that are being decided at once: as much as the largest that any service takes. A body is parsed where
everybody waits, and held several times over."""

MAX_WAITING = 512
WAITING_PER_CALLER = 32
"""Calls that are kept open for an approval at once; those beyond have their answer without waiting."""

MAX_WAITING_BYTES = 64 << 20
WAITING_BYTES_PER_CALLER = 16 << 20
"""Bytes of their bodies. They take none of the places above: who waits keeps nobody from being decided."""

MAX_ECHOES = 64

_log = logging.getLogger(__name__)


class Observer(Protocol):
    """Who is told what, for metrics; telling must not fail."""

    def stage(self, name: str, seconds: float) -> None: ...
    def identity_failed(self, cause: str) -> None: ...
    def egress_refused(self, reason: str) -> None: ...
    def upstream(self, service: str, variant: str, code: int, seconds: float) -> None: ...


class EgressDesk:
    """Made and used inside one event loop. `nonce` is what a way out is named with, new for each start."""

    def __init__(
        self,
        egress: Egress,
        pipeline: Pipeline,
        identities: Identities,
        observer: Observer,
        *,
        catalogue: Callable[[], Catalogue],
        nonce: str,
    ) -> None:
        self._egress, self._pipeline, self._identities, self._observer = egress, pipeline, identities, observer
        self._catalogue = catalogue
        self.nonce = nonce
        self._deciding = (Places(MAX_CALLERS, PER_CALLER), Places(MAX_BYTES, BYTES_PER_CALLER, "bytes of bodies"))
        self._waiting = (Places(MAX_WAITING, WAITING_PER_CALLER), Places(MAX_WAITING_BYTES, WAITING_BYTES_PER_CALLER))
        self._open = Places(MAX_OPEN, OPEN_PER_CALLER)
        self._echoes: dict[tuple[bytes, ...], Echoes] = {}
        self._working = Working()
        self._counts = RefusalCounts(pipeline, observer)

    def place(self, listener: str, pseudo: Mapping[str, str]) -> Place:
        """Where a request is meant to go."""
        return place_of(self._catalogue(), listener, pseudo)

    def tcp_service(self, port: int) -> str:
        """The tcp service that listens on a port, "" for none."""
        services = self._catalogue().services.items()
        return next((name for name, each in services if each.listen.rpartition(":")[2] == str(port)), "")

    def kind(self, service: str) -> str:
        """The kind of a service."""
        return self._egress.kind(service)

    def fault(self, service: str, request: HttpRequest) -> McpRefused | None:
        """What is wrong with an MCP message's form, None where nothing is or the service is of another kind."""
        listed = self._catalogue().services.get(service)
        if listed is None or listed.kind != "mcp":
            return None
        try:
            map_mcp(listed, request, attributes={})
        except McpRefused as fault:
            return fault
        return None

    async def identified(self, request: HttpRequest, peer: str, *, proxied: bool, certificate: str = "") -> Subject:
        """Who calls. Raises Unauthenticated, Duplicate."""
        return await identify(request, self._identities, peer, proxied=proxied, certificate=certificate)

    async def unidentified(self, peer: str, error: Unauthenticated) -> None:
        """Count a refused identity into the journal."""
        await self._counts.count(peer, error)

    async def malformed(self, peer: str, details: str) -> None:
        """Count into the journal what never became a request."""
        await self._counts.malformed(peer, details)

    async def begin(self, subject: Subject, attempt: Attempt, caller: Caller | None = None) -> Passage | Answer:
        """Decide; a held call may wait for as long as its caller does. Raises StoreUnavailable, Overloaded."""
        seat = Seat(self._deciding, self._waiting, _caller(subject), len(attempt.request.body))
        try:
            # The end of what a check lets through is not seen here.
            begin = self._opened if attempt.rewrites else self._egress.begin
            return await begin(subject, attempt, seated(caller, seat))
        finally:
            seat.leave()

    async def _opened(self, subject: Subject, attempt: Attempt, patience: Patience | None) -> Passage | Answer:
        """Decide, and keep one more place until what was permitted is settled."""
        begun: Passage | Answer | None = None
        self._open.take(_caller(subject))
        try:
            begun = await self._egress.begin(subject, attempt, patience)
        finally:
            if not isinstance(begun, Passage):
                self._open.give_back(_caller(subject))
        return begun

    async def shown(self, passage: Passage) -> Allowed:
        """Which tools of an MCP server this caller is shown."""
        return await self._egress.shown(passage)

    def echoes(self, secrets: Sequence[bytes]) -> Echoes:
        """What to look for in a response, made once for each set of secrets."""
        key = tuple(secrets)
        if key not in self._echoes:
            if len(self._echoes) >= MAX_ECHOES:
                self._echoes.clear()
            self._echoes[key] = Echoes(secrets)
        return self._echoes[key]

    def refused(self, code: str) -> None:
        """Something did not go out, or not on."""
        self._observer.egress_refused(code)

    def answered(self, passage: Passage, status: int, seconds: float) -> None:
        """An upstream has begun to answer."""
        self._observer.upstream(passage.service, passage.mapped.variant, status, seconds)

    def work(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do something that the end of its stream does not cancel."""
        return self._working.begin(work)

    async def settle(self, passage: Passage, end: End) -> None:
        """Settle, as often as it takes: a store that is away for a moment must not cost a settlement."""
        try:
            await self._settle(passage, end)
        finally:
            self._open.give_back(_caller(passage.subject))

    async def _settle(self, passage: Passage, end: End) -> None:
        while True:
            try:
                await self._egress.ended(passage, end)
                return
            except StoreUnavailable as error:
                if self._egress.store_failed:
                    _log.error("decision %s could not be settled, it will lapse: %s", passage.answer.id, error)
                    return
            await asyncio.sleep(RETRY_SECONDS)

    async def finish(self, grace: float) -> None:
        """Wait until all that was begun is settled, at most `grace` seconds."""
        await self._working.finish(grace)


def _caller(subject: Subject) -> str:
    return f"{subject.type}:{subject.id}"
