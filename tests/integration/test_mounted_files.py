"""Catalogue and policies in mounted ConfigMaps: nothing is read twice, and what is read is of one moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event, Thread

import pytest
from fakes.mounted_volume import MountedVolume
from remit.backends import policy_files, policy_tree
from remit.backends.opa_bundle import BundleInvalid
from remit.backends.policy_files import policy_files as files_of
from remit.backends.policy_tree import files_below, of_one_moment
from remit.cli.serving import Files
from remit.config import CatalogueInvalid, files, load
from remit.core.catalogue import Catalogue

TEAMS = ("a", "b", "c")


def catalogue(version: str) -> dict[str, bytes]:
    """Three files that go together: each has a team whose contact says the version."""
    texts = {f"{team}.yaml": f'teams: {{{team}: {{contact: "{version}"}}}}\n' for team in TEAMS}
    texts["settings.yaml"] = "sidecar: {watch: true}\n"
    texts["catalogue.yaml"] = "currency: EUR\n"
    return {name: text.encode() for name, text in texts.items()}


def versions(read: Catalogue) -> set[str]:
    assert set(read.teams) == set(TEAMS)
    return {team.contact for team in read.teams.values()}


def read_catalogue(volume: MountedVolume) -> set[str]:
    return versions(load([volume.path], {}, {})[1])


def policies(version: str) -> dict[str, bytes]:
    """Packages in directories, two deep, and a configuration."""
    names = ("one.rego", "spend/two.rego", "spend/deep/three.rego", "flow/four.rego")
    return {name: f"# {version}\n".encode() for name in names} | {"config.json": f"{{}}  {version}".encode()}


def read_policies(volume: MountedVolume) -> set[str]:
    def read() -> set[str]:
        found = [each.read_bytes() for each in files_of(volume.path)]
        assert len(found) == len(policies(""))
        return {text.split()[-1].decode() for text in found}

    return policy_files.at_one_moment([volume.path], read)


KINDS: Mapping[str, tuple[Callable[[str], dict[str, bytes]], Callable[[MountedVolume], set[str]]]] = {
    "catalogue": (catalogue, read_catalogue),
    "policies": (policies, read_policies),
}


def careless(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant a reader that does not look whether something changed while it read."""
    monkeypatch.setattr(files if kind == "catalogue" else policy_tree, "_mark", lambda *_: ())


def turning_at(volume: MountedVolume, now: Mapping[str, bytes], at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the volume be written anew just before its file number `at` is opened; each later time not."""
    opened, count = Path.open, 0

    def counting(path: Path, *arguments: object, **more: object) -> object:
        nonlocal count
        if path.is_relative_to(volume.path) and ".." not in path.relative_to(volume.path).parts[0][:2]:
            count += 1
            if count == at:
                volume.write(now)
        return opened(path, *arguments, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", counting)


@pytest.mark.parametrize("kind", KINDS)
def test_a_link_that_is_turned_in_the_middle_of_reading_gives_no_mixture(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever in the middle that is."""
    make, read = KINDS[kind]
    for at in range(1, 6):
        volume = MountedVolume(tmp_path / str(at))
        volume.write(make("old"))
        with monkeypatch.context() as turned:
            turning_at(volume, make("new"), at, turned)
            assert read(volume) == {"new"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_that_does_not_look_again_is_found(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted bug."""
    make, read = KINDS[kind]
    volume = MountedVolume(tmp_path)
    volume.write(make("old"))
    careless(kind, monkeypatch)
    turning_at(volume, make("new"), 3, monkeypatch)
    assert read(volume) == {"old", "new"}


@pytest.mark.parametrize("kind", KINDS)
def test_while_a_volume_is_turned_without_end_what_is_read_is_whole_or_refused(kind: str, tmp_path: Path) -> None:
    """Another thread turns it between two versions; a reader that never finds a quiet moment says so."""
    make, read = KINDS[kind]
    volume, ended = MountedVolume(tmp_path), Event()
    volume.write(make("old"))

    def turn() -> None:
        turns = 0
        while not ended.is_set():
            volume.write(make("new" if turns % 2 == 0 else "old"))
            turns += 1
            ended.wait(0.004)

    turning = Thread(target=turn)
    turning.start()
    whole = 0
    try:
        for _ in range(150):
            try:
                found = read(volume)
            except (CatalogueInvalid, BundleInvalid) as error:
                assert "do not stop changing" in str(error)
                continue
            assert found in ({"old"}, {"new"})
            whole += 1
    finally:
        ended.set()
        turning.join()
    assert whole > 0


def test_the_watcher_sees_an_update_as_one_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it looks in the middle of it; and none where the volume is written again with what it had."""
    rules, names = MountedVolume(tmp_path / "rules"), MountedVolume(tmp_path / "names")
    rules.write(policies("old"))
    names.write(catalogue("old"))
    watched = Files([names.path], {"policies": [rules.path]})
    watched.load()
    first = watched.fingerprint()
    rules.write(policies("old"))
    names.write(catalogue("old"))
    assert watched.fingerprint() == first
    for at in range(1, 8):
        with monkeypatch.context() as turned:
            turning_at(rules, policies(f"new {at}"), at, turned)
            seen = watched.fingerprint()
        assert watched.fingerprint() == seen != first


def test_nothing_in_a_volume_is_read_twice_and_links_to_directories_are_followed(tmp_path: Path) -> None:
    """What the kubelet keeps beside it, by names that begin with two dots, is not part of it; nor is
    what a link leads back to."""
    volume = MountedVolume(tmp_path / "policies")
    volume.write(policies("v"))
    (tmp_path / "policies" / "..2026_11_25_09_00_00.1").mkdir()
    (tmp_path / "policies" / "..2026_11_25_09_00_00.1" / "old.rego").write_text("old")
    (volume.path / "..data" / "spend" / "loop").symlink_to(volume.path / "spend")
    found = [each.relative_to(volume.path).as_posix() for each in files_below(volume.path, {".rego"})]
    assert found == ["flow/four.rego", "one.rego", "spend/deep/three.rego", "spend/two.rego"]


def test_what_is_wrong_is_told_and_not_tried_again(tmp_path: Path) -> None:
    """Only a change is a reason to read again."""
    tries = 0

    def read() -> None:
        nonlocal tries
        tries += 1
        raise BundleInvalid([])

    with pytest.raises(BundleInvalid):
        of_one_moment([tmp_path], {".rego"}, read)
    assert tries == 1
