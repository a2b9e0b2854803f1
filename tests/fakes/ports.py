"""Ports of loopback for servers that must be told one."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import socket

_EACH = 3_000
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
_FIRST = 20_000 + _WORKER * _EACH
_TURNS = itertools.count(secrets.randbelow(_EACH))


def free_port() -> int:
    """A port that nobody listens on, from below those that the system gives to whoever dials.

    Each test process has its own, and takes one after the other: a port is listened on only a moment later.
    """
    while True:
        port = _FIRST + next(_TURNS) % _EACH
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
