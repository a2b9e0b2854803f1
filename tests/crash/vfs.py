"""SQLite's view of the disk, in Python: one that remembers every write and sync, and one that fails on demand.

Both lack shared memory, so a store on them has one connection in exclusive mode; all else is the real store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
from remit.backends.store_sqlite.schema import Connect, configure


class Disk(apsw.VFS):
    """A VFS whose files call `_Watched`'s hooks."""

    def __init__(self, name: str, watch: Callable[[str, str, int, bytes], None]) -> None:
        super().__init__(name, "")
        self._watch = watch

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        return _Watched(name, flags, Path(text or "temporary").name, self._watch)

    def xDelete(self, name: str, sync: bool) -> None:
        self._watch("delete", Path(name).name, 0, b"")
        super().xDelete(name, sync)


class _Watched(apsw.VFSFile):
    def __init__(
        self,
        name: str | apsw.URIFilename | None,
        flags: list[int],
        short: str,
        watch: Callable[[str, str, int, bytes], None],
    ) -> None:
        super().__init__("", name, flags)
        self._short, self._watch = short, watch

    def xWrite(self, data: bytes, offset: int) -> None:
        self._watch("write", self._short, offset, bytes(data))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        self._watch("truncate", self._short, size, b"")
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        self._watch("sync", self._short, 0, b"")
        super().xSync(flags)


@contextmanager
def watched(name: str, watch: Callable[[str, str, int, bytes], None], synchronous: str = "") -> Iterator[Connect]:
    """How a store connects through a watched disk; as the store itself says, unless told how to sync."""
    disk = Disk(name, watch)
    made: dict[Path, apsw.Connection] = {}

    def connect(path: Path) -> apsw.Connection:
        if path not in made:
            connection = apsw.Connection(str(path), vfs=name)
            connection.pragma("locking_mode", "exclusive")
            configure(connection, str(path))
            if synchronous:
                connection.pragma("synchronous", synchronous)
            connection.wal_autocheckpoint(40)  # so that the log is moved into the file within a short life
            made[path] = connection
        return made[path]

    try:
        yield connect
    finally:
        for connection in made.values():
            connection.close(True)
        disk.unregister()
