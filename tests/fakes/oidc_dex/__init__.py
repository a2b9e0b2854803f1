"""A real identity provider for tests: Dex, built of its pinned source and started on loopback with people of its own.

It is built once (two CPU-minutes) into Remit's cache, by the Go that builds OPA; `go.sum` beside this pins every module
by its hash. A machine that cannot build it skips what needs it, unless REMIT_REQUIRE_OIDC=1 says that it must be there.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from fakes.ports import free_port
from remit.backends.opa_install import go_of_wheel, go_on_path
from remit.backends.program import cache_directory
from remit.backends.program_install import InstallFailed, run

PACKAGE = "github.com/dexidp/dex/cmd/dex"
PASSWORD = "correct horse"
CLIENT, SECRET = "remit-desk", "a/secret+of=theirs &more"
_HERE = Path(__file__).parent
_SOURCES = ("go.mod", "go.sum")
_HASH = "$2b$10$FVv4ryK4DGyb3YbiRNT8perpFtW4uDPXbit4UjVmc5sN9lwzREIUq"  # of PASSWORD, by bcrypt


@dataclass(frozen=True)
class Dex:
    """A running one. It knows ana, eve and una at example.com by PASSWORD; una's address it has not verified."""

    issuer: str


def built(environment: Mapping[str, str] = os.environ) -> Path:
    """The program, built first where it is not there. Raises InstallFailed."""
    pinned = sha256(b"".join((_HERE / name).read_bytes() for name in _SOURCES)).hexdigest()
    version = re.search(r"dex v\S+-([0-9a-f]{12})", (_HERE / "go.mod").read_text(encoding="utf-8"))
    assert version, "go.mod names no version of Dex"
    target = cache_directory(environment) / f"dex-{version[1]}-{pinned[:12]}"
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with tempfile.TemporaryDirectory(prefix="dex-build-", dir=target.parent) as workplace:
                _build(Path(workplace), environment).replace(target)
    return target


def _build(workplace: Path, environment: Mapping[str, str]) -> Path:
    """Without cgo, so without SQLite; against go.sum, which Go checks each module by."""
    for name in _SOURCES:
        shutil.copy(_HERE / name, workplace)
    failures = []
    for provide in (go_on_path, go_of_wheel):
        try:
            go, found = provide(workplace, environment, lambda told, share: None)
            settings = {**found, "CGO_ENABLED": "0", "GO111MODULE": "on", "GOFLAGS": "-modcacherw -mod=readonly"}
            run([str(go), "build", "-C", str(workplace), "-trimpath", "-ldflags=-s", "-o", "dex", PACKAGE], settings)
        except InstallFailed as error:
            failures.append(str(error))
            continue
        return workplace / "dex"
    raise InstallFailed("; ".join(failures))


@contextlib.contextmanager
def dex(redirect: str) -> Iterator[Dex]:
    """A provider whose one client may send people to `redirect`."""
    try:
        program = built()
    except (InstallFailed, OSError) as error:
        if os.environ.get("REMIT_REQUIRE_OIDC") == "1":
            pytest.fail(f"REMIT_REQUIRE_OIDC=1, but Dex could not be built: {error}")
        pytest.skip(f"no identity provider: Dex could not be built ({error})")
    port = free_port()
    issuer = f"http://127.0.0.1:{port}/dex"
    people = [("ana", True), ("eve", True), ("una", False)]
    settings = {
        "issuer": issuer,
        "storage": {"type": "memory"},
        "web": {"http": f"127.0.0.1:{port}"},
        "oauth2": {"skipApprovalScreen": True},
        "enablePasswordDB": True,
        "staticClients": [{"id": CLIENT, "secret": SECRET, "name": "Remit desk", "redirectURIs": [redirect]}],
        "staticPasswords": [
            {
                "email": f"{name}@example.com",
                "username": name,
                "userID": f"id-of-{name}",
                "hash": _HASH,
                "emailVerified": verified,
            }
            for name, verified in people
        ],
    }
    with tempfile.TemporaryDirectory(prefix="remit-dex-") as folder:
        file = Path(folder, "dex.json")
        file.write_text(json.dumps(settings), encoding="utf-8")
        with (
            Path(folder, "log").open("w") as log,
            subprocess.Popen([program, "serve", file], stdout=log, stderr=log, stdin=subprocess.DEVNULL) as process,
        ):
            try:
                _wait(process, f"{issuer}/.well-known/openid-configuration", Path(folder, "log"))
                yield Dex(issuer)
            finally:
                process.kill()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"Dex does not answer: {log.read_text(encoding='utf-8')[-2000:]}") from error
            time.sleep(0.05)
