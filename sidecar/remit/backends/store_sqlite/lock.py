"""One store, one running sidecar: an advisory lock beside the file, which the kernel frees with the process.

It is a file of its own: closing any descriptor of the database would drop SQLite's own locks on it.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from remit.core.errors import StoreUnavailable


class FileLock:
    """Held from construction to `release`. Raises StoreUnavailable if somebody else holds it."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
            os.close(self._fd)
            raise StoreUnavailable(
                f"{path.parent} belongs to a running sidecar (process {holder or 'unknown'}): "
                "stop it, or name another state directory"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another one in."""
        os.close(self._fd)
