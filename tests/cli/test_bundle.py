"""`remit bundle`: what is built is what sidecars take, and what cannot be is said before anything is signed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from fakes.bundles import CATALOGUE, OTHER, RULE, private_pem, public_pem, sound

from .conftest import Remit

FILES: Mapping[str, bytes] = {
    "remit.yaml": CATALOGUE,
    "policies/own/rule.rego": RULE,
    "policies/own/.hidden.rego": b"no",
    "policies/README.md": b"hello",
    "policies/config.json": b'{"rules":{}}',
}


@pytest.fixture
def written(place: Path) -> Path:
    """A directory to sign, and keys beside it."""
    for name, content in FILES.items():
        path = place / "g" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (place / "key.pem").write_bytes(private_pem())
    (place / "key.pub").write_bytes(public_pem())
    (place / "other.pub").write_bytes(public_pem(OTHER))
    return place


def test_what_is_built_verifies_with_the_public_key_and_with_no_other(remit: Remit, written: Path) -> None:
    """Serial, revision, digest and files are told alike by both; what was left out is named."""
    built = remit(
        "bundle", "build", "g", "--out", "b.tar.gz", "--key", "key.pem", "--serial", "42", "--revision", "r 1"
    )
    assert built.code == 0
    assert built.out.startswith("serial 42, revision r 1, 3 files, digest ")
    assert "left out: policies/README.md" in built.err
    verified = remit("bundle", "verify", "b.tar.gz", "--key", "key.pub", "--json").document
    assert verified["digest"] in built.out
    assert verified["files"] == ["policies/config.json", "policies/own/rule.rego", "remit.yaml"]
    assert (verified["serial"], verified["revision"]) == (42, "r 1")
    refused = remit("bundle", "verify", "b.tar.gz", "--key", "other.pub")
    assert (refused.code, "not signed by the key" in refused.err) == (1, True)


def test_the_same_files_are_the_same_bytes(remit: Remit, written: Path) -> None:
    """Whatever times their files have."""
    made = []
    for name in ("one", "two"):
        (written / "g" / "remit.yaml").write_bytes(CATALOGUE)
        assert remit("bundle", "build", "g", "--out", name, "--key", "key.pem", "--serial", "1").code == 0
        made.append((written / name).read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"remit.yaml": b"currency: nothing\n"}, "remit.yaml:1:11: currency"),
        ({"remit.yaml": CATALOGUE + b"sidecar: {watch: false}\n"}, "settings in a bundle"),
        ({"catalogue/more.yaml": b"teams: {}\n"}, "found both"),
    ],
)
def test_what_no_sidecar_would_take_is_not_signed(
    remit: Remit, written: Path, change: Mapping[str, bytes], said: str
) -> None:
    """A broken catalogue, settings in it, two of them."""
    for name, content in change.items():
        (written / "g" / name).parent.mkdir(exist_ok=True)
        (written / "g" / name).write_bytes(content)
    ended = remit("bundle", "build", "g", "--out", "b.tar.gz", "--key", "key.pem", "--serial", "1")
    assert ended.code == 2
    assert said in ended.err
    assert not (written / "b.tar.gz").exists()


def test_links_keys_and_files_that_are_none_are_told(remit: Remit, written: Path) -> None:
    """With the path of each."""
    given = ("bundle", "build", "g", "--out", "b.tar.gz", "--serial", "1", "--key")
    for key in ("key.pub", "nowhere", "g/remit.yaml"):
        ended = remit(*given, key)
        assert (ended.code, key in ended.err) == (2, True)
    assert remit("bundle", "build", "g", "--out", "nowhere/b", "--key", "key.pem", "--serial", "1").code == 2
    assert remit("bundle", "build", "g", "--out", "b", "--key", "key.pem", "--serial", "0").code == 2
    (written / "g" / "policies" / "link.rego").symlink_to("/etc/hostname")
    ended = remit(*given, "key.pem")
    assert (ended.code, "link.rego: found a link" in ended.err) == (2, True)

    (written / "cut").write_bytes(sound()[:-9])
    for file, key, code, said in (
        ("cut", "key.pub", 1, "cut off"),
        ("cut", "key.pem", 2, "a private key"),
        ("nowhere", "key.pub", 2, "nowhere"),
    ):
        ended = remit("bundle", "verify", file, "--key", key)
        assert ended.code == code
        assert said in ended.err
