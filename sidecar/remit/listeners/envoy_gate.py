"""The private door for Envoy: ext_proc and ext_authz on a Unix socket that only the sidecar's user can open.

Whoever could call these would be handed credentials, so they are served nowhere else (a test calls them from an
agent's place and gets nothing).
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from remit.listeners.egress_desk import MAX_OPEN, EgressDesk
from remit.listeners.envoy_check import CHECK, Checker
from remit.listeners.envoy_proc import PROCESS, Processor
from remit.listeners.grpc_core import Server
from remit.listeners.grpc_server import CannotListen
from remit.listeners.working import RECORD_SECONDS
from remit.pep.egress import Egress

MODE = 0o600
STREAMS = 2 * MAX_OPEN
"""Exchanges at once, idle ones and tunnels included; those that are being decided are bounded more tightly."""


class EnvoyGate:
    """Serves Envoy. `body_bytes` is the largest body that any service takes."""

    def __init__(self, desk: EgressDesk, egress: Egress, socket: Path, *, body_bytes: int) -> None:
        self._desk, self._socket = desk, socket
        self._processor = Processor(desk, egress)
        self._checker = Checker(desk)
        handlers = {PROCESS: self._processor.handler(), CHECK: self._checker.handler()}
        self._server = Server(handlers, _options(body_bytes), STREAMS)
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen. Raises CannotListen."""
        self._socket.unlink(missing_ok=True)
        try:
            self._server.add_insecure_port(f"unix:{self._socket}")
        except RuntimeError as error:
            raise CannotListen(f"cannot listen on {self._socket}: {error}") from error
        await self._server.start()
        self._socket.chmod(MODE)
        self._watching = asyncio.create_task(self._processor.watch())

    async def ended(self) -> None:
        """Return once it serves no more, whoever ended it."""
        await self._server.wait_for_termination()

    async def stop(self, grace: float) -> None:
        """Let exchanges end within `grace` seconds, cut the others, and settle all of them. Nothing waits any more."""
        end = asyncio.get_running_loop().time() + grace
        self._processor.release()
        self._checker.release()
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        await self._server.stop(grace)
        await self._desk.finish(max(RECORD_SECONDS, end - asyncio.get_running_loop().time()))
        self._socket.unlink(missing_ok=True)


def _options(body_bytes: int) -> tuple[tuple[str, int], ...]:
    return (
        ("grpc.max_receive_message_length", body_bytes + (1 << 20)),
        ("grpc.max_send_message_length", body_bytes + (1 << 20)),
        ("grpc.max_metadata_size", 64 << 10),
        ("grpc.max_concurrent_streams", STREAMS),
        ("grpc.so_reuseport", 0),
    )
