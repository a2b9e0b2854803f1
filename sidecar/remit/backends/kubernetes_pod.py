"""The token of the pod that a sidecar is in, from a file that the kubelet rotates."""

from __future__ import annotations

import errno
from pathlib import Path

MAX_BYTES = 16 * 1024

_State = tuple[int, ...]


class TokenFile:
    """A file, looked at again and again; through links, which is how the kubelet changes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: _State = ()

    def changed(self) -> str | None:
        """The token where it is another than when this was asked last, None where it is not. Raises OSError."""
        state = self._state()
        if state == self._seen:
            return None
        with self.path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise OSError(errno.EFBIG, f"more than {MAX_BYTES} bytes")
        self._seen = state
        return raw.decode("ascii", "replace").strip()

    def _state(self) -> _State:
        found = self.path.stat()
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
