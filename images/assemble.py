"""Puts the image together: run once while it is built, as root, by the base's own Python, without a network.

    assemble.py CONTEXT VERSION

Wheels are installed into /opt/remit by the lock's hashes and compiled; all belongs to root, and only root may write
to it; the list of what is in the image is made from what is there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import sbom

HOME = Path("/opt/remit")
PROGRAMS = Path("/usr/local/bin")
LIST = Path("/usr/share/remit/sbom.json")


def main() -> None:
    """Do all of it."""
    context, version = Path(sys.argv[1]), sys.argv[2]
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or 0)
    _install(context)
    for name in ("opa", "envoy"):
        shutil.copyfile(context / "bin" / name, PROGRAMS / name)
        _settled(PROGRAMS / name, 0o755, epoch)
    cache = HOME / "cache" / "remit"
    cache.mkdir(parents=True)
    for each in (context / "htmx").iterdir():
        shutil.copyfile(each, cache / each.name)
    LIST.parent.mkdir(parents=True, exist_ok=True)
    described = sbom.describe(HOME, PROGRAMS, wheels=context / "wheels", version=version, epoch=epoch)
    LIST.write_text(json.dumps(described, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for root in (HOME, LIST.parent):
        _settle(root, epoch)


def _install(context: Path) -> None:
    venv.EnvBuilder(symlinks=True, with_pip=False).create(HOME)
    python = HOME / "bin" / "python3"
    pip = next((context / "pip").glob("pip-*.whl")) / "pip"
    wheels = context / "wheels"
    offline = ["--no-index", "--find-links", str(wheels), "--no-deps", "--no-cache-dir", "--no-compile"]
    install = [str(python), "-B", str(pip), "install", "--quiet", "--root-user-action=ignore", *offline]
    subprocess.run([*install, "--require-hashes", "-r", str(context / "requirements.txt")], check=True)
    subprocess.run([*install, str(next(wheels.glob("remit-*.whl")))], check=True)
    for script in (HOME / "bin").glob("*"):
        # The commands of libraries, and what a shell would source, are of no use here.
        if not script.name.startswith(("python", "remit")):
            script.unlink()
    # Never checked against its source: nothing here changes, and the same content is the same file.
    compiling = [str(python), "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([*compiling, str(HOME / "lib")], check=True)


def _settle(root: Path, epoch: int) -> None:
    """All below a directory: root's, readable by everyone, written by nobody else, of one time."""
    for where, directories, files in os.walk(root):
        for path in (Path(where, name) for name in (*directories, *files)):
            if not path.is_symlink():
                _settled(path, 0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644, epoch)
        _settled(Path(where), 0o755, epoch)


def _settled(path: Path, mode: int, epoch: int) -> None:
    os.chown(path, 0, 0)
    path.chmod(mode)
    os.utime(path, (epoch, epoch))


if __name__ == "__main__":
    main()
