"""One OPA process: started on one bundle and one Unix socket, without environment, and stopped for certain."""

from __future__ import annotations

import os
from pathlib import Path

from remit.backends.child import Child, Process, launch

# OPA's own grace for requests in flight; the supervisor drains before it stops one.
_GRACE_SECONDS = 1
# The longest path that a Unix socket can have on Linux and macOS, with the ending zero.
_SOCKET_BYTES = 104
# All that OPA gets. It makes much garbage of each question and keeps little: collecting less often saves a quarter
# of its processor time, for 15 to 25 MB. Rules cannot read it (opa.runtime is not among the capabilities).
ENVIRONMENT = {"GOGC": "400"}


class OpaFailed(Exception):
    """An OPA could not be started, or does not serve what it should; the message has its last words."""


class OpaProcess(Child):
    """A running OPA. `start` gives one as soon as it runs, which is before it answers."""

    def __init__(self, process: Process, socket: Path) -> None:
        super().__init__(process)
        self._socket = socket

    @classmethod
    async def start(cls, binary: Path, bundle: Path, socket: Path) -> OpaProcess:
        """Run OPA on a bundle; only this user can open the socket. Raises OpaFailed."""
        _make_way(socket)
        arguments = _arguments(bundle, socket)
        try:
            process = await launch(binary, arguments, directory=socket.parent, environment=ENVIRONMENT)
        except OSError as e:
            raise OpaFailed(f"{binary} could not be started: {e}") from e
        return cls(process, socket)

    async def stop(self) -> None:
        """Ask it to end, insist after a while, and take its socket away."""
        await super().stop()
        self._socket.unlink(missing_ok=True)


def _make_way(socket: Path) -> None:
    if len(os.fsencode(socket)) >= _SOCKET_BYTES:
        raise OpaFailed(f"{socket} is too long for a Unix socket: choose a state directory with a shorter path")
    socket.unlink(missing_ok=True)


def _arguments(bundle: Path, socket: Path) -> list[str]:
    return [
        "run",
        "--server",
        f"--addr=unix://{socket}",
        "--unix-socket-perm=0600",
        "--skip-version-check",
        "--log-level=error",
        f"--shutdown-grace-period={_GRACE_SECONDS}",
        "--set=server.decoding.max_length=4194304",
        "--set=server.decoding.gzip.max_length=4194304",
        "--bundle",
        str(bundle),
    ]
