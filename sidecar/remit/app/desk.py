"""The desk: a member without agents, the one address for people over a store that sidecars share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import ClassVar

from remit.app.member import Member, tcp
from remit.backends.keys_file import Keys
from remit.core.errors import RemitError
from remit.listeners.grpc_call import Methods
from remit.listeners.grpc_server import FOR_PEOPLE


class NoSharedStore(RemitError):
    """A desk was to be started on a store that only one process can have."""


class Desk(Member):
    """One desk: Oversight and Audit, the store's metrics, and the console."""

    kind: ClassVar[str] = "desk"
    services: ClassVar[Sequence[Methods]] = FOR_PEOPLE

    async def start(self) -> None:
        """As of any member. Raises NoSharedStore where the settings name none."""
        if not self._settings.store.shared:
            raise NoSharedStore(
                "a desk needs the store that the sidecars share: expected `store.url` (REMIT_STORE_URL, --store-url); "
                "an embedded store belongs to its sidecar, which serves people itself: `remit up --console`"
            )
        await super().start()

    async def _serve(self, stack: AsyncExitStack, keys: Keys) -> None:
        desk = self._settings.desk
        certificates = await self._certified("desk", desk.tls)
        if desk.grpc is not None:
            await self._serve_grpc(stack, [tcp(desk.grpc, certificates)])
        self._metrics.expose(self._store, self._clock)
        if desk.http is not None:
            await self._serve_console(stack, desk.http, certificates)
        await self._serve_ops(stack, self._settings.ops)
        await self._tell()
