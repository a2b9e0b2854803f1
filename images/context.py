"""Lays out what an image is built from, below dist/image: images/context.py --python 3.13 --machine x86_64 --glibc 2.41

    wheels/           the locked requirements of `remit[server]` for that Python, and Remit's own wheel
    pip/              the pip that installs them, for a base may have none
    requirements.txt  the lock, whose hashes are checked again in the image's build
    bin/              the pinned opa and envoy
    htmx/             the console's script

Everything comes by its hash: wheels from the lock files, OPA and Envoy as `remit opa install` and `remit envoy install`
check them. Needs the project's environment (`make setup`).
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from remit.backends import envoy_install, htmx_install, opa_install
from remit.backends.program_install import InstallFailed

ROOT = Path(__file__).parents[1]
CONTEXT = ROOT / "dist" / "image"
_OLDEST_GLIBC = 5


def main() -> None:
    """Lay it out anew."""
    parser = argparse.ArgumentParser(prog="images/context.py")
    parser.add_argument("--python", required=True, metavar="MAJOR.MINOR", help="the base's Python")
    parser.add_argument("--machine", required=True, help="the base's machine, as `uname -m` says it")
    parser.add_argument("--glibc", required=True, metavar="MAJOR.MINOR", help="the base's C library")
    options = parser.parse_args()
    if options.machine != platform.machine():
        sys.exit(
            f"images: the base is for {options.machine}, this machine is {platform.machine()}: OPA and Envoy are "
            f"installed for the machine that they are installed on; build on one of {options.machine}"
        )
    shutil.rmtree(CONTEXT, ignore_errors=True)
    CONTEXT.mkdir(parents=True)
    try:
        _wheels(options.python, _platforms(options.machine, options.glibc))
        _programs()
    except (subprocess.CalledProcessError, InstallFailed) as error:
        sys.exit(f"images: {error}")


def _wheels(python: str, platforms: list[str]) -> None:
    """The locked wheels, pip's, and Remit's own."""
    wanted = ["--python-version", python, "--implementation", "cp", "--only-binary", ":all:", "--no-deps"]
    for each in platforms:
        wanted += ["--platform", each]
    wheels = CONTEXT / "wheels"
    for lock, place in (("server.txt", wheels), ("pip.txt", CONTEXT / "pip")):
        _pip("download", "--require-hashes", *wanted, "--dest", place, "-r", ROOT / "requirements" / lock)
    shutil.copyfile(ROOT / "requirements" / "server.txt", CONTEXT / "requirements.txt")
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, ROOT)


def _platforms(machine: str, glibc: str) -> list[str]:
    """The names of all platforms whose wheels run with this C library (PEP 600), the newest first."""
    major, _, minor = glibc.partition(".")
    if major != "2" or not minor.isdigit():
        sys.exit(f"images: found C library {glibc!r} in the base, expected glibc 2.x (Debian or alike)")
    names = [f"manylinux_2_{each}_{machine}" for each in range(int(minor), _OLDEST_GLIBC - 1, -1)]
    return [*names, *(f"{each}_{machine}" for each in ("manylinux2014", "manylinux2010", "manylinux1"))]


def _pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--quiet", "--disable-pip-version-check"]
    subprocess.run(command, check=True)


def _programs() -> None:
    place = CONTEXT / "bin"
    place.mkdir()
    for name, installed in (("opa", opa_install), ("envoy", envoy_install)):
        # The pinned one, never what merely lies on PATH.
        binary = installed.install(os.environ, _tell)
        shutil.copyfile(binary.path, place / name)
    htmx_install.obtain(os.environ, _tell)
    kept = htmx_install.cache_path(os.environ)
    (CONTEXT / "htmx").mkdir()
    shutil.copyfile(kept, CONTEXT / "htmx" / kept.name)


def _tell(doing: str, share: float) -> None:
    if share in (0.0, 1.0):
        sys.stderr.write(f"images: {doing}\n")


if __name__ == "__main__":
    main()
