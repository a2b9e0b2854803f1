"""Where a cluster's addresses are: this machine's own, or a network namespace of a node's."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Place:
    """`prefix` stands before each command; the network is that of a process, if one is named."""

    prefix: tuple[str, ...] = ()
    network_of: int | None = None
    _entering: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1), repr=False, compare=False)

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        seconds: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run it there to its end."""
        return subprocess.run(
            [*self.prefix, *command],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            env=None if env is None else {**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def dial(self, host: str, port: int, seconds: float = 10) -> socket.socket:
        """A TCP connection, made there and used from here. Raises OSError."""
        if self.network_of is None:
            return socket.create_connection((host, port), timeout=seconds)
        made = self._entering.submit(self._socket, socket.AF_INET6 if ":" in host else socket.AF_INET).result()
        made.settimeout(seconds)
        try:
            made.connect((host, port))
        except OSError:
            made.close()
            raise
        return made

    def _socket(self, family: socket.AddressFamily) -> socket.socket:
        """A thread enters for good, and does nothing else: a socket stays in the namespace that it was made in."""
        there = os.open(f"/proc/{self.network_of}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _LIBC.setns(there, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"the network namespace of {self.network_of} cannot be entered")
        finally:
            os.close(there)
        return socket.socket(family, socket.SOCK_STREAM)

    def close(self) -> None:
        """End the thread: it would hold the namespace."""
        self._entering.shutdown()


HERE = Place()
