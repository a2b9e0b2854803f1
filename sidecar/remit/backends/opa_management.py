"""Management calls to OPA (health, what it has loaded) through its Python client, over the Unix socket.

Never a decision: those go through `pdp_opa`, which reads strictly and asks again only where that is harmless.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import aiohttp
from opa_client import AsyncOpaClient
from opa_client.errors import ConnectionsError, PolicyNotFoundError

TIMEOUT_SECONDS = 1.0
_ACTIVE = {"bundles": True, "plugins": True}


class OpaUnreachable(Exception):
    """A management call got no answer, or not the one that was expected; the message says which call."""


class _SocketClient(AsyncOpaClient):  # type: ignore[misc]
    """The client, with every connection made to one Unix socket; the host in its URLs is a placeholder."""

    def __init__(self, socket: Path) -> None:
        super().__init__(host="opa", retries=0, timeout=TIMEOUT_SECONDS)
        self._socket = socket

    async def _init_session(self) -> None:
        self._connector = aiohttp.UnixConnector(str(self._socket))
        self._session = aiohttp.ClientSession(
            connector=self._connector, timeout=aiohttp.ClientTimeout(total=self.timeout), trust_env=False
        )


class OpaManagement:
    """Asks one OPA about itself. Every call has a time limit and is made once; use as `async with`."""

    def __init__(self, socket: Path) -> None:
        self._client = _SocketClient(socket)

    async def __aenter__(self) -> OpaManagement:
        await self._client._init_session()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close_connection()

    async def healthy(self) -> bool:
        """Whether OPA answers and has activated its bundle."""
        return bool(await self._client.check_health(query=_ACTIVE))

    async def ready(self, seconds: float, pause: float) -> None:
        """Wait until OPA is healthy, looking after every pause; OpaUnreachable if it is not within `seconds`."""
        try:
            await self._client.wait_for_ready(timeout=seconds, interval=pause, query=_ACTIVE)
        except ConnectionsError as e:
            raise OpaUnreachable(f"OPA was not ready within {seconds:g} s") from e

    async def policies(self) -> list[str]:
        """The ids of the policy modules that OPA has loaded; OpaUnreachable if it does not say."""
        try:
            return cast(list[str], await self._client.get_policies_list())
        except (aiohttp.ClientError, TimeoutError) as e:
            raise OpaUnreachable(f"listing OPA's policies: {type(e).__name__} {e}") from e

    async def data(self, path: str) -> Any:
        """The document at `data.<path with slashes>`; OpaUnreachable if there is none."""
        try:
            return (await self._client.get_data(path))["result"]
        except (aiohttp.ClientError, TimeoutError, PolicyNotFoundError) as e:
            raise OpaUnreachable(f"reading data/{path} from OPA: {type(e).__name__} {e}") from e
