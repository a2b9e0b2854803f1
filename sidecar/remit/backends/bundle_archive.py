"""A bundle as it travels: a gzipped tar of a few files, none of which is believed before its signature was.

Nothing is unpacked onto a disk here. What is read is bounded before it is read, and only regular files have a content.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Mapping

from remit.core.errors import RemitError

MAX_PACKED = 8 << 20
MAX_UNPACKED = 24 << 20
MAX_FILES = 2_300
"""Policies (2,000), catalogue files (256), and what belongs to the bundle itself."""

MAX_EXTENDING = 2048
"""Bytes of a header that extends another: a path, its times."""

_EXTENDING = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}
_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,127}(/[A-Za-z0-9_.][A-Za-z0-9_.-]{0,127}){0,15}", re.ASCII)
_SHOWN = 80


class BundleRefused(RemitError):
    """A bundle that must not be used; the message says why."""


def unpack(packed: bytes) -> dict[str, bytes]:
    """Name -> content of the regular files. Raises BundleRefused."""
    files: dict[str, bytes] = {}
    entries = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(_unzipped(packed)), mode="r:", tarinfo=_bounded_entries()) as archive:
            for entry in archive:
                entries += 1
                if entries > MAX_FILES:
                    raise BundleRefused(f"found more than {MAX_FILES} entries in the archive, expected fewer")
                if not _is_directory(entry):
                    name = _name(entry)
                    if name in files:
                        raise BundleRefused(f"{name}: found twice in the archive, expected once")
                    files[name] = _content(archive, entry)
    except (tarfile.TarError, ValueError, OverflowError, EOFError, OSError, RecursionError, zlib.error) as error:
        raise BundleRefused(f"the archive cannot be read ({type(error).__name__}: {shown(str(error))})") from error
    return files


def pack(files: Mapping[str, bytes]) -> bytes:
    """The archive of these files: the same bytes for the same files."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(files[name]), 0o644
            archive.addfile(entry, io.BytesIO(files[name]))
    return gzip.compress(raw.getvalue(), mtime=0)


def shown(text: str) -> str:
    """A stranger's text in a message: on one line, and short."""
    return text[:_SHOWN].encode("unicode_escape").decode()


def _unzipped(packed: bytes) -> bytes:
    if len(packed) > MAX_PACKED:
        raise BundleRefused(f"found more than {MAX_PACKED} bytes, expected at most as many")
    unzip = zlib.decompressobj(wbits=31)
    try:
        raw = unzip.decompress(packed, MAX_UNPACKED + 1)
    except zlib.error as error:
        raise BundleRefused(f"found no sound gzip ({shown(str(error))}), expected a bundle (.tar.gz)") from error
    if len(raw) > MAX_UNPACKED:
        raise BundleRefused(f"it unpacks to more than {MAX_UNPACKED} bytes, expected at most as many")
    if not unzip.eof:
        raise BundleRefused("the archive is cut off")
    if unzip.unused_data:
        raise BundleRefused(f"found {len(unzip.unused_data)} bytes after the end of the archive, expected none")
    return raw


def _bounded_entries() -> type[tarfile.TarInfo]:
    """Entries of one archive, of which headers that extend others are few and short: parsing them costs time, and one
    that extends the next is a call within a call."""
    seen = 0

    class Entry(tarfile.TarInfo):
        def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
            nonlocal seen
            if self.type in _EXTENDING:
                seen += 1
                if seen > MAX_FILES or self.size > MAX_EXTENDING:
                    raise tarfile.ReadError("headers that extend others are too many, or too long")
            return super()._proc_member(archive)  # type: ignore[misc,no-any-return] # its documented place to do more

    return Entry


def _is_directory(entry: tarfile.TarInfo) -> bool:
    if entry.isdir():
        return True
    if not entry.isreg() or entry.issparse():
        raise BundleRefused(f"{shown(entry.name)}: found a link, a device or the like, expected a regular file")
    return False


def _name(entry: tarfile.TarInfo) -> str:
    # OPA's own writer begins each name with one slash, tar with `./`: the bundle's root.
    name = entry.name.removeprefix("./") if entry.name.startswith("./") else entry.name.removeprefix("/")
    if not _NAME.fullmatch(name) or any(part in (".", "..") for part in name.split("/")):
        raise BundleRefused(
            f"{shown(entry.name)}: expected a path inside the bundle, of letters, digits and . _ - between slashes"
        )
    return name


def _content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(entry)
    content = file.read() if file is not None else b""
    if len(content) != entry.size:
        raise BundleRefused(f"{shown(entry.name)}: the archive is cut off in it")
    return content
