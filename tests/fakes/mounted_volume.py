"""A directory that is written as Kubernetes writes the volume of a ConfigMap or a Secret."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from itertools import count
from pathlib import Path

_NUMBERS = count(1)


class MountedVolume:
    """Each `write` puts all its files in the place of those before, by one rename: the link `..data` is turned.

    What is at the top is a link through `..data`, a directory too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def write(self, files: Mapping[str, bytes], mode: int = 0o644) -> None:
        """The volume has these files, by paths relative to it, and no others."""
        data, before = self.path / "..data", self._now()
        new = self.path / f"..2026_11_26_10_00_00.{next(_NUMBERS):09}"
        new.mkdir()
        for name, text in files.items():
            file = new / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text)
            file.chmod(mode)
        turned = self.path / "..data_tmp"
        turned.symlink_to(new.name)
        turned.replace(data)
        tops = {name.partition("/")[0] for name in files}
        for top in tops:
            if not (self.path / top).is_symlink():
                (self.path / top).symlink_to(f"..data/{top}")
        for each in self.path.iterdir():
            if not each.name.startswith("..") and each.name not in tops:
                each.unlink()
        if before is not None:
            shutil.rmtree(before)

    def _now(self) -> Path | None:
        data = self.path / "..data"
        return self.path / data.readlink() if data.is_symlink() else None
