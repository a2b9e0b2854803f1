"""Names resolved as the machine resolves them: hosts file, DNS, whatever it is set to."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from remit.ports import NotResolved

_SECONDS = 5.0
_MOST = 64

Look = Callable[[str], Sequence[str]]
"""Blocks until it has a host's addresses; raises OSError."""


class SystemResolver:
    """The port Resolver. A lookup that hangs holds a thread of its own, one a host, and never the event loop."""

    def __init__(self, *, look: Look | None = None, seconds: float = _SECONDS) -> None:
        self._look = look or _getaddrinfo
        self._seconds = seconds
        self._running: dict[str, asyncio.Future[Sequence[str]]] = {}

    async def resolve(self, host: str) -> Sequence[str]:
        """The host's IP addresses in a steady order, IPv4 first, at most 64. Raises NotResolved within seconds."""
        running = self._running.get(host)
        if running is None:
            running = self._running[host] = self._begin(host)
        try:
            async with asyncio.timeout(self._seconds):
                found = await asyncio.shield(running)
        except TimeoutError as error:
            raise NotResolved(f"{host} was not resolved within {self._seconds:g} s") from error
        except (OSError, UnicodeError) as error:
            raise NotResolved(f"{host} cannot be resolved: {_words(error)}") from error
        return sorted(set(found), key=_order)[:_MOST]

    def _begin(self, host: str) -> asyncio.Future[Sequence[str]]:
        """Look in a thread that the interpreter does not wait for when it ends."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Sequence[str]] = loop.create_future()

        def settle(found: Sequence[str] | None, error: OSError | UnicodeError | None) -> None:
            self._running.pop(host, None)
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
                future.exception()  # seen, though nobody may be waiting any more
            else:
                future.set_result(found or ())

        def run() -> None:
            found: Sequence[str] | None = None
            failed: OSError | UnicodeError | None = None
            try:
                found = self._look(host)
            except (OSError, UnicodeError) as error:
                failed = error
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, found, failed)

        threading.Thread(target=run, name=f"resolve {host}", daemon=True).start()
        return future


def _getaddrinfo(host: str) -> Sequence[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    # An address of one link alone ("fe80::1%eth0") is told without its zone: it is refused as what it is.
    return [str(address[0]).partition("%")[0] for *_, address in found]


def _order(address: str) -> tuple[int, bytes]:
    parsed = ip_address(address)
    return parsed.version, parsed.packed


def _words(error: OSError | UnicodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
