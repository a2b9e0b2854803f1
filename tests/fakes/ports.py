"""Ports of loopback for servers that must be told one."""

from __future__ import annotations

import contextlib
import secrets
import socket


def free_port() -> int:
    """A port that nobody listens on, from below those that the system gives to whoever dials."""
    while True:
        port = secrets.randbelow(12_000) + 20_000
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
