"""A bundle that anybody has touched after it was signed is refused before anything of it is read."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from fakes import bundles
from fakes.bundles import FILES, OTHER, SIGNER, Private, attacks, private_pem, public_pem, sound
from remit.backends import bundle_signature
from remit.backends.bundle_archive import BundleRefused
from remit.backends.bundle_contents import Signed, make, verify
from remit.backends.bundle_signature import KeyUnusable, private_key, public_keys
from remit.backends.opa_binary import find

KEYS = public_keys(public_pem())
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
PRIVATE: dict[str, Private] = {"EdDSA": SIGNER, "ES256": EC, "RS256": RSA}
FLIPS = 400


@pytest.fixture(scope="module")
def opa() -> Path:
    return find(os.environ).path


def taken(packed: bytes) -> Signed | None:
    """What a bundle says; None where it is refused. Whatever else is raised fails the test."""
    try:
        return verify(packed, KEYS)
    except BundleRefused as error:
        assert str(error)
        assert str(error).isprintable()
        return None


def passed() -> list[str]:
    """The attacks that come through."""
    return [name for name, packed in attacks() if taken(packed) is not None]


def test_a_sound_bundle_is_taken_with_everything_in_it() -> None:
    """Serial, revision and each byte of each file."""
    found = verify(sound(), KEYS)
    assert (found.serial, found.revision, dict(found.files)) == (7, "r7", dict(FILES))


def test_every_attack_is_refused() -> None:
    """Keys, algorithms, coverage, archives, paths, manifests."""
    assert len(list(attacks())) > 90
    assert passed() == []


def test_a_verifier_that_skips_what_is_not_listed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: what is listed is checked, and what is not is let in."""
    monkeypatch.setattr(bundle_signature, "check_listed", lambda files, listed: None)
    assert {"a policy more", "a configuration more", "remit.yaml was not signed"} <= set(passed())


def test_a_verifier_that_believes_the_header_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: headers that name keys are looked over."""
    monkeypatch.setattr(bundle_signature, "_HEADERS", {"alg", "typ", "kid", "jku", "jwk"})
    assert "a key of its own by URL" in passed()


@pytest.mark.parametrize("where", ["packed", "unpacked"])
def test_a_byte_changed_anywhere_changes_nothing_that_is_read(where: str) -> None:
    """All regions: what is still taken (a time of day in a header of the archive) says what was signed."""
    pick = random.Random(where)
    packed, good = sound(), verify(sound(), KEYS)
    raw = packed if where == "packed" else gzip.decompress(packed)
    refused = 0
    for _ in range(FLIPS):
        changed = bytearray(raw)
        changed[pick.randrange(len(raw))] ^= 1 << pick.randrange(8)
        found = taken(bytes(changed) if where == "packed" else gzip.compress(bytes(changed), 1))
        refused += found is None
        assert found is None or found == good
    assert refused > FLIPS // 10


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_each_kind_of_key_takes_its_own_signatures_and_no_other(algorithm: str) -> None:
    """Another key of the same kind, and the other kinds, are refused."""
    packed = make(FILES, serial=3, revision="r", key=private_key(private_pem(PRIVATE[algorithm])))
    for name, key in PRIVATE.items():
        keys = public_keys(public_pem(key))
        if name == algorithm:
            assert verify(packed, keys).serial == 3
        else:
            with pytest.raises(BundleRefused, match="not signed by the key"):
                verify(packed, keys)
    assert verify(packed, public_keys(public_pem(OTHER) + public_pem(PRIVATE[algorithm]))).serial == 3


@pytest.mark.parametrize("algorithm", ["EdDSA", "RS256"])
def test_the_same_files_give_the_same_bytes(algorithm: str) -> None:
    """Whoever builds it again can compare; with ECDSA the digest is the same."""
    key = private_key(private_pem(PRIVATE[algorithm]))
    assert make(FILES, serial=3, revision="r", key=key) == make(FILES, serial=3, revision="r", key=key)


def test_who_signs_again_signs_the_same_bundle() -> None:
    """The digest is of what was signed, not of how."""
    one, other = (verify(sound(key=key), public_keys(public_pem(key))) for key in (SIGNER, EC))
    assert one.digest == other.digest != verify(sound(8), KEYS).digest


@pytest.mark.parametrize(
    ("pem", "said"),
    [
        (b"", "found 0 public keys"),
        (public_pem() * 5, "found 5 public keys"),
        (private_pem(), "a private key"),
        (public_pem() + private_pem(), "a private key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "public key in PEM"),
        (public_pem(rsa.generate_private_key(65537, 1024)), "another kind of key"),
        (public_pem(ec.generate_private_key(ec.SECP384R1())), "another kind of key"),
    ],
)
def test_a_key_that_is_none_is_told(pem: bytes, said: str) -> None:
    """Too short, of another curve, private, too many, none."""
    with pytest.raises(KeyUnusable, match=said):
        public_keys(pem)


@pytest.mark.opa
@pytest.mark.parametrize("algorithm", PRIVATE)
def test_opa_takes_our_bundles_and_we_take_what_opa_signed(algorithm: str, tmp_path: Path, opa: Path) -> None:
    """Both ways, for each kind of key, catalogue and all."""
    key, public = tmp_path / "key.pem", tmp_path / "key.pub"
    key.write_bytes(private_pem(PRIVATE[algorithm]))
    public.write_bytes(public_pem(PRIVATE[algorithm]))
    ours = tmp_path / "ours.tar.gz"
    ours.write_bytes(make(FILES, serial=3, revision="r", key=private_key(key.read_bytes())))
    check = ["--verification-key", public, "--signing-alg", algorithm, "-o", tmp_path / "out.tar.gz"]
    subprocess.run([opa, "build", "-b", ours, *check], check=True, capture_output=True)

    tree = tmp_path / "tree"
    files = {
        **FILES,
        ".manifest": b'{\n "revision": "by opa", "roots": ["remit"], "metadata": {"remit": {"serial": 9}}}',
    }
    for name, content in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    sign = [opa, "sign", "--signing-key", key, "--signing-alg", algorithm, "--bundle", ".", "-o", "."]
    subprocess.run(sign, cwd=tree, check=True, capture_output=True)
    theirs = shutil.make_archive(str(tmp_path / "theirs"), "gztar", tree)
    found = verify(Path(theirs).read_bytes(), public_keys(public.read_bytes()))
    assert (found.serial, found.revision, dict(found.files)) == (9, "by opa", dict(FILES))


def test_ed25519_from_bytes_is_what_signs_here() -> None:
    """The forgeries are made by the very key that is pinned: nothing but the forged part is wrong with them."""
    assert isinstance(bundles.SIGNER, ed25519.Ed25519PrivateKey)
    assert verify(bundles.Making().packed(), KEYS) == verify(sound(), KEYS)
