"""What a member keeps of bundles in its state directory: the last that it accepted, and how far serials have come.

bundle.tar.gz    as it was fetched; whoever reads it verifies it again
highest.json     {"serial": N, "digest": "…"} of the highest that was accepted
tree/            the files of the one that is being taken
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from remit.backends.bundle_archive import MAX_PACKED, BundleRefused
from remit.backends.bundle_contents import MAX_SERIAL, Signed
from remit.core.canonical import MalformedJson, canonical, parse

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Highest:
    """The highest serial that was accepted, and the digest of the bundle that had it."""

    serial: int
    digest: str


class KeptBundle:
    """The directory of one member."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._bundle = directory / "bundle.tar.gz"
        self._highest = directory / "highest.json"

    def read(self) -> bytes | None:
        """The last that was accepted, not verified; None where there is none. Raises OSError."""
        try:
            with self._bundle.open("rb") as file:
                return file.read(MAX_PACKED + 1)
        except FileNotFoundError:
            return None

    def check(self, signed: Signed) -> None:
        """Raises BundleRefused for what would be a way back."""
        highest = self._read_highest()
        if highest is not None:
            check_serial(signed, highest, "was accepted here")

    def accept(self, packed: bytes, signed: Signed) -> None:
        """From now on nothing older is. Durable when it returns; raises OSError."""
        # In this order: a bundle that is newer than the highest serial is one, the other way round nothing would start.
        _write(self._bundle, packed)
        _write(self._highest, canonical({"serial": signed.serial, "digest": signed.digest}))

    def lay_out(self, files: Mapping[str, bytes]) -> Path:
        """The files in a directory of their own, instead of those of the bundle before. Raises OSError."""
        tree = self._directory / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir(parents=True, mode=0o700)
        for name, content in files.items():
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.write_bytes(content)
        return tree

    def _read_highest(self) -> Highest | None:
        try:
            found = parse(self._highest.read_bytes(), 1024)
        except FileNotFoundError:
            return None
        except MalformedJson as error:
            raise BundleRefused(f"{self._highest}: {error}; it says which serials are too old") from error
        match found:
            case {"serial": int(serial), "digest": str(digest)} if 1 <= serial <= MAX_SERIAL and _DIGEST.fullmatch(
                digest
            ):
                return Highest(serial, digest)
        raise BundleRefused(f'{self._highest}: expected {{"serial": N, "digest": "…"}}; it says which are too old')


def check_serial(signed: Signed, highest: Highest, where: str) -> None:
    """Raises BundleRefused where another one, as new or newer, was there before."""
    if signed.serial < highest.serial:
        raise BundleRefused(
            f"its serial is {signed.serial}, and {highest.serial} {where}: a way back is a new bundle with a higher one"
        )
    if signed.serial == highest.serial and signed.digest != highest.digest:
        raise BundleRefused(f"its serial is {signed.serial}, and another bundle of that serial {where}")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(path.name + ".new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(content)
        file.flush()
        os.fsync(fd)
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
