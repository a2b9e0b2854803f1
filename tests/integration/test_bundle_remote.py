"""Which bundle a member takes: never an older one, and the last good one where the newest is none or cannot be had."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from fakes.bundles import CATALOGUE, OTHER, SIGNER, public_pem, sound
from remit.backends.bundle_archive import BundleRefused
from remit.backends.bundle_contents import Signed
from remit.backends.bundle_fetch import Answer, BundleAway, Origin
from remit.backends.bundle_remote import WHOLE_SECONDS, RemoteBundle
from remit.backends.bundle_signature import KeyUnusable
from remit.core.errors import StoreUnavailable

POLL = 30.0


class Stage:
    """A member's directory, a server that says what it is told to, and a clock."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.key = directory / "bundle", directory / "key.pub"
        self.key.write_bytes(public_pem())
        self.body: bytes | None = None
        self.lies = False
        self.asked: list[str] = []
        self.time = 1000.0
        self.remote = self.member()

    def member(self) -> RemoteBundle:
        """One that starts now, on what is in the directory."""
        self.remote = RemoteBundle(
            Origin("https://bundles.example.com/b"),
            self.key,
            self.directory,
            poll_seconds=POLL,
            get=self._get,
            now=lambda: self.time,
        )
        return self.remote

    def _get(self, origin: Origin, etag: str) -> Answer:
        self.asked.append(etag)
        if self.body is None:
            raise BundleAway("the server is away")
        current = '"always"' if self.lies else f'"{hash(self.body)}"'
        return Answer(None if etag == current else self.body, current)

    def pass_time(self, seconds: float = POLL) -> None:
        self.time += seconds

    def serial(self) -> int:
        """Take, accept, and say which."""
        self.remote.take()
        return int(str(self.remote.accept(None)["serial"]))


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_a_bundle_is_laid_out_and_the_next_takes_its_place(stage: Stage) -> None:
    """Nothing of the former stays."""
    stage.body = sound(1)
    first = stage.remote.take()
    assert first.catalogue.read_bytes() == CATALOGUE
    assert first.policies is not None
    assert (first.policies / "own" / "rule.rego").exists()
    (first.policies / "left.rego").write_text("package x")
    assert stage.remote.accept(None)["serial"] == 1
    stage.body = sound(2, **{"policies/new.rego": b"package remit.custom.new\n"})
    second = stage.remote.take()
    assert second.policies is not None
    assert sorted(path.name for path in second.policies.rglob("*.rego")) == ["new.rego", "rule.rego"]
    assert stage.remote.accept(None)["serial"] == 2


def test_an_older_serial_is_refused_and_a_restart_does_not_forget_it(stage: Stage) -> None:
    """Also after a restart that finds the server serving the older one: the last good one is taken."""
    stage.body = sound(5)
    assert stage.serial() == 5
    stage.body = sound(4)
    with pytest.raises(BundleRefused, match="serial is 4, and 5 was accepted here"):
        stage.remote.take()
    stage.member()
    assert stage.serial() == 5
    assert stage.remote.behind
    stage.body = sound(6)
    assert stage.serial() == 6
    assert not stage.remote.behind


def test_the_same_serial_stands_for_one_content(stage: Stage) -> None:
    """Signed again is the same; with another file it is not."""
    stage.body = sound(5)
    assert stage.serial() == stage.serial() == 5
    stage.body = sound(5, **{"remit.yaml": CATALOGUE + b"# other\n"})
    with pytest.raises(BundleRefused, match="another bundle of that serial"):
        stage.remote.take()


def test_what_was_not_accepted_does_not_count(stage: Stage) -> None:
    """A bundle whose policies fail leaves the way free for the one before it, which is still the newest good one."""
    stage.body = sound(5)
    assert stage.serial() == 5
    stage.body = sound(9)
    stage.remote.take()
    stage.body = sound(5)
    assert stage.serial() == 5
    stage.body = sound(6)
    assert stage.serial() == 6


def test_a_bad_one_at_the_start_gives_way_to_the_last_good_one(stage: Stage) -> None:
    """The one whose policies fail is known only once it was taken."""
    stage.body = sound(5)
    assert stage.serial() == 5
    assert stage.remote.retreat() is None  # there is no other
    stage.body = sound(6)
    stage.member().take()
    before = stage.remote.retreat()
    assert before is not None
    assert stage.remote.behind
    assert stage.remote.accept(None)["serial"] == 5
    assert stage.remote.retreat() is None


def test_without_the_server_the_last_accepted_one_starts_and_nothing_else_does(stage: Stage) -> None:
    """It is verified again: what was changed on the disk is refused, and so is what another key signed."""
    with pytest.raises(BundleAway, match="the server is away"):
        stage.remote.take()
    stage.body = sound(5)
    assert stage.serial() == 5
    stage.body = None
    stage.member()
    assert stage.serial() == 5
    assert stage.remote.behind

    kept = stage.directory / "bundle.tar.gz"
    good = kept.read_bytes()
    for bad in (good[:-9], sound(5, key=OTHER), sound(4), sound(5, **{"policies/x.rego": b"package x"}), b""):
        kept.write_bytes(bad)
        with pytest.raises(BundleRefused):
            stage.member().take()
    kept.write_bytes(good)
    assert stage.member().take()
    stage.key.write_bytes(public_pem(OTHER))
    with pytest.raises(BundleRefused, match="not signed by the key"):
        stage.member().take()


def test_what_says_how_far_serials_came_must_be_readable(stage: Stage) -> None:
    """A member that does not know what is too old takes nothing."""
    stage.body = sound(5)
    assert stage.serial() == 5
    highest = stage.directory / "highest.json"
    assert json.loads(highest.read_text())["serial"] == 5
    for wrong in ("", "{", "{}", '{"serial": "5", "digest": "x"}', '{"serial": 0, "digest": "' + "0" * 64 + '"}'):
        highest.write_text(wrong)
        with pytest.raises(BundleRefused, match=r"highest\.json"):
            stage.member().take()


def test_a_running_member_goes_on_while_the_server_is_away_and_it_is_told_once(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """Asked as often as the settings say, and no oftener."""
    stage.body = sound(5)
    assert stage.serial() == 5
    before, asked = stage.remote.fingerprint(), len(stage.asked)
    for _ in range(5):
        assert stage.remote.fingerprint() == before
    assert len(stage.asked) == asked
    stage.body = None
    with caplog.at_level(logging.INFO, "remit"):
        for _ in range(3):
            stage.pass_time()
            assert stage.remote.fingerprint() == before
        assert stage.serial() == 5  # a reload that somebody asks for
        stage.body = sound(6)
        stage.pass_time()
        assert stage.remote.fingerprint() != before
    told = [each.message for each in caplog.records if "away" in each.message or "again" in each.message]
    assert told == ["bundle: the server is away", "bundle: https://bundles.example.com/b answers again"]
    assert stage.serial() == 6


def test_a_server_that_is_wrong_about_its_etag_is_asked_whole_once_an_hour(stage: Stage) -> None:
    """Until then what it says of it is believed."""
    stage.lies, stage.body = True, sound(5)
    assert stage.serial() == 5
    before = stage.remote.fingerprint()
    stage.body = sound(6)
    stage.pass_time()
    assert stage.remote.fingerprint() == before
    stage.pass_time(WHOLE_SECONDS)
    assert stage.remote.fingerprint() != before
    assert stage.serial() == 6


def test_a_new_key_is_seen_and_both_are_taken_while_one_follows_the_other(stage: Stage) -> None:
    """First both keys in the file, then bundles of the new one, then the new one alone; serials go on."""
    stage.body = sound(5)
    assert stage.serial() == 5
    seen = {stage.remote.fingerprint()}
    stage.key.write_bytes(public_pem(SIGNER) + public_pem(OTHER))
    seen.add(stage.remote.fingerprint())
    assert len(seen) == 2
    assert stage.serial() == 5
    stage.body = sound(4, key=OTHER)
    with pytest.raises(BundleRefused, match="serial is 4"):
        stage.serial()
    stage.body = sound(6, key=OTHER)
    assert stage.serial() == 6
    stage.key.write_bytes(public_pem(OTHER))
    assert stage.serial() == 6
    stage.key.write_text("nothing")
    with pytest.raises(KeyUnusable, match=r"key\.pub"):
        stage.remote.take()


def test_what_the_shared_store_knows_better_is_not_accepted_and_is_tried_again(stage: Stage) -> None:
    """A store that is away is asked again with the server; one that knows a newer one has the last word."""
    stage.body = sound(5)
    assert stage.serial() == 5
    stage.body = sound(6)
    stage.remote.take()

    def away(signed: Signed) -> None:
        raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        stage.remote.accept(away)
    before = stage.remote.fingerprint()
    assert stage.remote.fingerprint() == before
    stage.pass_time()
    assert stage.remote.fingerprint() != before

    def newer(signed: Signed) -> None:
        raise BundleRefused("7 was accepted in this installation")

    with pytest.raises(BundleRefused):
        stage.remote.accept(newer)
    assert json.loads((stage.directory / "highest.json").read_text())["serial"] == 5
    assert stage.remote.accept(lambda signed: None)["serial"] == 6
