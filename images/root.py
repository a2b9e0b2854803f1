"""Prepares a base image's root: run once while the image is built, as root, by the base's own Python.

What is left: no file that changes the user who runs it, the sidecar's user, its state directory, and the standard
library compiled, since nothing can be compiled later below a root that is read-only.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import stat
import sysconfig
from pathlib import Path

USER = 7450
STATE = Path("/var/lib/remit")
_ELSEWHERE = ("proc", "sys", "dev", "tmp")


def main() -> None:
    """Do all of it."""
    _strip(Path("/"))
    _add_user(Path("/etc"))
    STATE.mkdir(mode=0o700, exist_ok=True)
    os.chown(STATE, USER, USER)
    compileall.compile_dir(
        sysconfig.get_path("stdlib"), quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )


def _strip(root: Path) -> None:
    """Take set-user-id and set-group-id away from every file, and writing by strangers from all but /tmp's kind."""
    for where, directories, files in os.walk(root):
        if where == str(root):
            directories[:] = [each for each in directories if each not in _ELSEWHERE]
        for path in (Path(where, name) for name in (*directories, *files)):
            found = path.lstat().st_mode
            wanted = stat.S_IMODE(found)
            if stat.S_ISREG(found):
                wanted &= ~(stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH)
            elif stat.S_ISDIR(found) and not found & stat.S_ISVTX:
                wanted &= ~stat.S_IWOTH
            if not stat.S_ISLNK(found) and wanted != stat.S_IMODE(found):
                path.chmod(wanted)


def _add_user(etc: Path) -> None:
    """An account that nobody can log in to; its name is for those who read a list of processes."""
    for file, line in (
        ("passwd", f"remit:x:{USER}:{USER}::{STATE}:/usr/sbin/nologin\n"),
        ("group", f"remit:x:{USER}:\n"),
    ):
        path = etc / file
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if not text.startswith("remit:") and "\nremit:" not in text:
            path.write_text(text + line, encoding="utf-8")


if __name__ == "__main__":
    main()
