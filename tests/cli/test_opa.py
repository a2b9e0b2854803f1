"""`remit opa`: found, built, or told why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from remit.backends.opa_binary import OPA

from .conftest import Remit


def write_opa(path: Path, version: str) -> Path:
    """A program that says it is OPA."""
    path.write_text(f"#!/bin/sh\necho 'Version: {version}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def nowhere(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No OPA and no Go on PATH, and an empty cache."""
    monkeypatch.delenv("REMIT_OPA_BIN", raising=False)
    monkeypatch.setenv("PATH", str(place / "empty"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    return place


def test_what_is_found_is_not_built(remit: Remit, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a fit OPA is, `install` says so and builds nothing; `path` prints where it is."""
    opa = write_opa(nowhere / "opa", OPA.pinned_version)
    monkeypatch.setenv("REMIT_OPA_BIN", str(opa))

    assert remit("opa", "install").out == f"OPA {OPA.pinned_version} at {opa} (REMIT_OPA_BIN)\n"
    assert remit("opa", "path").out == f"{opa}\n"
    assert remit("opa", "path", "--json").document["version"] == OPA.pinned_version
    assert not (nowhere / "cache").exists()


def test_one_that_was_named_must_be_fit(remit: Remit, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An OPA that was named and is too old is told, and no other is taken instead."""
    monkeypatch.setenv("REMIT_OPA_BIN", str(write_opa(nowhere / "opa", "0.9.0")))

    for command in ("install", "path"):
        ended = remit("opa", command)
        assert ended.code == 2
        assert "is version 0.9.0, expected" in ended.err


def test_path_says_where_it_looked(remit: Remit, nowhere: Path) -> None:
    """Without any, each place is named, and what to do."""
    ended = remit("opa", "path")

    assert ended.code == 2
    assert "PATH: nothing" in ended.err
    assert "Remit's cache: nothing" in ended.err
    assert "remit opa install" in ended.err


def test_a_build_that_fails_keeps_the_one_that_is_there(
    remit: Remit, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--force builds anew; where that fails, exit code 3 says why and the old one stays."""
    cached = nowhere / "cache/remit" / f"opa-{OPA.pinned_version}"
    cached.parent.mkdir(parents=True)
    write_opa(cached, OPA.pinned_version)
    go = nowhere / "empty" / "go"
    go.parent.mkdir()
    go.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    go.chmod(0o755)
    # pip, which would bring another Go, is kept from any index.
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    ended = remit("opa", "install", "--force")

    assert ended.code == 3
    assert "no network" in ended.err
    assert cached.exists()
