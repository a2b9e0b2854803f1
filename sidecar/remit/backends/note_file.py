"""The copy of the last checkpoint beside the file: replaced whole, and on the disk before it counts."""

from __future__ import annotations

import os
from pathlib import Path

from remit.core.checkpoint import MAX_NOTE


def note_path(store: Path) -> Path:
    """Where the copy of a store's last checkpoint lies."""
    return store.with_name(store.name + ".checkpoint")


def read_note_file(path: Path) -> str:
    """The note, or "" where there is none; too much of it is cut, and then is no note."""
    try:
        with path.open("rb") as file:
            return file.read(4 * MAX_NOTE).decode(errors="surrogateescape")
    except FileNotFoundError:
        return ""


def write_note_file(path: Path, note: str) -> None:
    """Replace it atomically; raises OSError."""
    fresh = path.with_name(path.name + ".new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, note.encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    fresh.replace(path)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
