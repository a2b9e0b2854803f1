"""The script that people's browsers run: fetched once, and never another one than that which is pinned."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from remit.backends import htmx_install
from remit.backends.htmx_install import DIGEST, cache_path, find, obtain
from remit.backends.program_install import InstallFailed

ROOT = Path(__file__).parents[2]


def silent(doing: str, share: float) -> None:
    """Nobody listens."""


@pytest.fixture(name="offline")
def offline_fixture(tmp_path: Path) -> dict[str, str]:
    """An empty cache, and a pip that finds wheels in `wheels` alone."""
    (tmp_path / "wheels").mkdir()
    here = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels")}
    return {**os.environ, **here, "PIP_CONFIG_FILE": os.devnull}


def kept(environment: Mapping[str, str], script: bytes) -> Path:
    """A script in the cache."""
    path = cache_path(environment)
    path.parent.mkdir(parents=True)
    path.write_bytes(script)
    return path


def test_the_pinned_script_is_obtained() -> None:
    """The one of the hash, whether from the cache or fetched now."""
    script = obtain(os.environ, silent)

    assert hashlib.sha256(script).hexdigest() == DIGEST
    assert find(os.environ) == script


def test_what_is_in_the_cache_is_checked_whenever_it_is_read(offline: dict[str, str]) -> None:
    """A script that somebody changed is none; nor is a directory in its place."""
    path = kept(offline, b"alert(1)")

    assert find(offline) is None
    path.unlink()
    path.mkdir()
    assert find(offline) is None


def test_a_changed_script_is_not_taken_where_none_can_be_fetched(offline: dict[str, str]) -> None:
    """It says why, and the changed one is still not used."""
    kept(offline, b"alert(1)")

    with pytest.raises(InstallFailed, match="django-htmx"):
        obtain(offline, silent)
    assert find(offline) is None


def test_another_wheel_of_that_name_is_refused(offline: dict[str, str]) -> None:
    """pip compares it with the pinned hash before anything of it is read."""
    wheel = Path(offline["PIP_FIND_LINKS"], "django_htmx-1.29.0-py3-none-any.whl")
    with zipfile.ZipFile(wheel, "w") as written:
        written.writestr("django_htmx/static/django_htmx/htmx-2.min.js", "alert(1)")
        written.writestr(
            "django_htmx-1.29.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: django-htmx\nVersion: 1.29.0\n"
        )
        written.writestr("django_htmx-1.29.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        written.writestr("django_htmx-1.29.0.dist-info/RECORD", "")

    with pytest.raises(InstallFailed, match=r"failed"):
        obtain(offline, silent)
    assert not cache_path(offline).exists()


def test_a_script_that_is_not_the_pinned_one_is_refused(
    offline: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the wheel was the right one: the second wall."""

    def other(requirements: str, target: Path, environment: Mapping[str, str]) -> None:
        path = target / "django_htmx" / "static" / "django_htmx" / "htmx-2.min.js"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"alert(1)")

    monkeypatch.setattr(htmx_install, "pip_install", other)
    with pytest.raises(InstallFailed, match="not the one that is pinned"):
        obtain(offline, silent)
    assert not cache_path(offline).exists()


def test_a_cache_that_cannot_be_written_is_told(offline: dict[str, str], tmp_path: Path) -> None:
    """With the variable that names another."""
    (tmp_path / "cache").write_text("a file")

    with pytest.raises(InstallFailed, match="XDG_CACHE_HOME"):
        obtain(offline, silent)


def test_the_package_has_the_pins_that_are_locked() -> None:
    """What `make lock` wrote is what pip is given, and no copy of the script is in the repository."""
    packaged = Path(htmx_install.__file__).with_name(htmx_install.REQUIREMENTS)

    assert packaged.read_text() == (ROOT / "requirements" / "htmx.txt").read_text()
    assert list((ROOT / "sidecar").rglob("*.js")) == []
