"""The pinned htmx, which the console's live parts run in the browser: out of a wheel, into Remit's cache.

pip checks the wheel against the hashes pinned in htmx_requirements.txt. One script is kept of it, and that one is
checked against its own hash whenever it is read: what people's browsers run comes from nowhere else.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from remit.backends.program import cache_directory
from remit.backends.program_install import InstallFailed, Progress, pip_install

REQUIREMENTS = "htmx_requirements.txt"
VERSION = "2.0.10"
DIGEST = "71ea67185bfa8c98c39d31717c6fce5d852370fcdfd129db4543774d3145c0de"
"""SHA-256 of the script."""

_IN_WHEEL = Path("django_htmx", "static", "django_htmx", "htmx-2.min.js")


def cache_path(environment: Mapping[str, str]) -> Path:
    """Where Remit keeps it."""
    return cache_directory(environment) / f"htmx-{VERSION}.min.js"


def find(environment: Mapping[str, str]) -> bytes | None:
    """The script, or None where it is not there, cannot be read or is not the pinned one."""
    try:
        script = cache_path(environment).read_bytes()
    except OSError:
        return None
    return script if _pinned(script) else None


def obtain(environment: Mapping[str, str], progress: Progress) -> bytes:
    """The script, fetched first where it is not there. Raises InstallFailed: the console works without it."""
    return find(environment) or _fetch(cache_path(environment), environment, progress)


def _fetch(target: Path, environment: Mapping[str, str], progress: Progress) -> bytes:
    progress(f"fetching htmx {VERSION}", 0.0)
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix="htmx-build-", dir=target.parent) as workplace:
            pip_install(REQUIREMENTS, Path(workplace, "wheel"), environment)
            fetched = Path(workplace, "wheel", _IN_WHEEL)
            script = fetched.read_bytes()
            if not _pinned(script):
                raise InstallFailed(f"the wheel's {_IN_WHEEL.name} is not the one that is pinned")
            fetched.replace(target)
    except OSError as e:
        where = f"{e.filename or target}: {e.strerror or e}"
        raise InstallFailed(f"{where}; XDG_CACHE_HOME may name a directory that can be written to") from e
    progress(f"htmx {VERSION} is at {target}", 1.0)
    return script


def _pinned(script: bytes) -> bool:
    return hashlib.sha256(script).hexdigest() == DIGEST


def _tell(doing: str, share: float) -> None:
    sys.stderr.write(f"remit: {doing}\n")


def _main() -> None:
    try:
        obtain(os.environ, _tell)
    except InstallFailed as error:
        sys.exit(f"remit: {error}")


if __name__ == "__main__":
    _main()
