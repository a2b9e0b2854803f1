"""`remit audit verify`: any change is found, and whose word it is said."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from counts import COUNTS, dice
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fakes.people_fake import OPERATOR, STRANGER, PeopleFake, people_sidecar
from remit.v1 import audit_pb2

from .conftest import Remit
from .state import KEY, write_state

BODIES = [(f"d{number}", "", b'{"told":"%04d"}' % number) for number in range(1, 41)]


@pytest.fixture
def key(place: Path) -> str:
    """The verifier key of a journal of 40 records, in the state directory `kept`."""
    return write_state(place / "kept", BODIES)


def forms_of_key(key: str) -> list[str]:
    public = KEY.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return [key, pem, base64.b64encode(public.public_bytes_raw()).decode()]


def test_without_a_key_it_is_consistent(remit: Remit, key: str) -> None:
    """What fits together is consistent, and that is said to be less than authentic."""
    ended = remit("audit", "verify", "--state", "kept")

    assert ended.code == 0
    assert ended.out.startswith("consistent: 40 records")
    assert "--key" in ended.err


@pytest.mark.parametrize("form", range(3))
@pytest.mark.parametrize("kept", ["text", "file"])
def test_with_a_pinned_key_it_is_authentic(remit: Remit, key: str, place: Path, form: int, kept: str) -> None:
    """The key is taken as text or from a file: verifier key, PEM, or base64."""
    text = forms_of_key(key)[form]
    (place / "key").write_text(text)

    ended = remit("audit", "verify", "--state", "kept", "--key", text if kept == "text" else "key")

    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("authentic: 40 records")


def test_another_key_is_no(remit: Remit, key: str) -> None:
    """A journal that the pinned key did not sign is broken: exit code 1."""
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()

    ended = remit("audit", "verify", "--state", "kept", "--key", base64.b64encode(other).decode())

    assert ended.code == 1
    assert "not signed by the pinned key" in ended.out


@pytest.mark.parametrize("key_text", ["nonsense", "remit/x+00000000+AAAA", "AAAA", "-----BEGIN PUBLIC KEY-----"])
def test_a_key_that_is_none_is_exit_code_2(remit: Remit, key: str, key_text: str) -> None:
    """What is no key is told with what was expected."""
    ended = remit("audit", "verify", "--state", "kept", "--key", key_text)

    assert ended.code == 2
    assert "expected a verifier key" in ended.err


def test_a_key_beside_the_journal_is_told(remit: Remit, key: str, place: Path) -> None:
    """A key from the state directory itself pins nothing, and the reader is told so."""
    (place / "kept" / "journal.pub").write_text(key)

    assert "whoever can change one" in remit("audit", "verify", "--state", "kept", "--key", "kept/journal.pub").err


def test_a_changed_body_is_found_and_named(remit: Remit, key: str, place: Path) -> None:
    """One changed character of one body: exit code 1, and its sequence."""
    file = place / "kept" / "state.db"
    file.write_bytes(file.read_bytes().replace(b'"told":"0017"', b'"told":"0018"', 1))

    ended = remit("audit", "verify", "--state", "kept", "--json")

    assert ended.code == 1
    assert (ended.document["state"], ended.document["sequence"]) == ("broken", 17)
    assert "  record 17: the body does not match its hash\n" in remit("audit", "verify", "--state", "kept").out


def test_any_flipped_byte_is_an_answer(remit: Remit, key: str, place: Path) -> None:
    """Whatever byte of the file is flipped, verifying ends with an answer about the journal, not with an error."""
    file = place / "kept" / "state.db"
    content = file.read_bytes()
    random, found = dice("flipped bytes of a state directory"), 0
    for _ in range(min(COUNTS.flips // 4, 2000)):
        place_of_byte = random.randrange(len(content))
        changed = bytearray(content)
        changed[place_of_byte] ^= 1 << random.randrange(8)
        file.write_bytes(changed)

        ended = remit("audit", "verify", "--state", "kept", "--key", key)

        assert ended.code in (0, 1), (place_of_byte, ended)
        assert ended.code == 1 or "authentic: 40 records" in ended.out, (place_of_byte, ended)
        found += ended.code
    assert found


def test_no_journal_is_exit_code_3(remit: Remit) -> None:
    """A directory without a journal could not be verified: that is no "broken"."""
    ended = remit("audit", "verify", "--state", "nowhere")

    assert ended.code == 3
    assert "nowhere/state.db" in ended.err


def test_a_checkpoint_kept_elsewhere_finds_a_cut(remit: Remit, key: str, place: Path) -> None:
    """Journal and checkpoints that were cut together are found by a checkpoint that was kept elsewhere."""
    (place / "kept" / "state.db.checkpoint").rename(place / "note")
    assert remit("audit", "verify", "--state", "kept", "--checkpoint", "note").code == 0
    note = (place / "note").read_text()
    (place / "notes").write_text(f"{note}\n\n{note}\n")  # as psql prints two
    assert remit("audit", "verify", "--state", "kept", "--checkpoint", "notes").code == 0

    write_state(place / "forged", BODIES[:10])
    ended, both = (remit("audit", "verify", "--state", "forged", "--checkpoint", each) for each in ("note", "notes"))

    assert ended.code == both.code == 1
    assert "a note kept elsewhere" in ended.out and "a note kept elsewhere" in both.out
    (place / "note").write_text("no note")
    assert remit("audit", "verify", "--state", "kept", "--checkpoint", "note").code == 2


@pytest.fixture
def sidecar(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PeopleFake]:
    with people_sidecar() as fake:
        monkeypatch.setenv("REMIT_TOKEN", OPERATOR)
        yield fake


def test_with_an_address_the_sidecar_verifies(
    remit: Remit, sidecar: PeopleFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--address asks the sidecar; its findings are told alike, and who may not ask gets exit code 1."""
    verify = ("audit", "verify", "--address", sidecar.address)
    assert remit(*verify).out == "authentic: 7 records, 1 checkpoint, 0 bodies erased\n"

    sidecar.verification = audit_pb2.VerifyResponse(ok=False, records=7, problem="cut", sequence=5)
    ended = remit(*verify)
    assert (ended.code, ended.out.splitlines()[1]) == (1, "  record 5: cut")

    monkeypatch.setenv("REMIT_TOKEN", STRANGER)
    assert remit(*verify).code == 1
    assert remit(*verify, "--key", "x").code == 2
