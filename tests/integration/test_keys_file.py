"""The installation's keys: made once, whole, and read by their owner alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_hex
from shutil import rmtree
from threading import Barrier

import pytest
from remit.backends import keys_file
from remit.backends.keys_file import Keys, KeysUnfit, open_keys
from remit.backends.tokens_aessiv import AesSivTokenizer


def test_tokens_outlive_a_restart(tmp_path: Path) -> None:
    """The key of views is made once: a token of before is one of now; and another installation's is none."""
    first, again, other = open_keys(tmp_path / "a"), open_keys(tmp_path / "a"), open_keys(tmp_path / "b")
    token = AesSivTokenizer(first.views).token("Ada", "crm.people.name", ["pii"])

    assert AesSivTokenizer(again.views).value(token) == ("Ada", "crm.people.name", ("pii",))
    assert AesSivTokenizer(other.views).value(token) is None
    assert first.views.hex() not in repr(first) and repr(first.views) not in repr(first)


@pytest.mark.parametrize(("name", "size"), [("views.key", 32), ("views.key", 0), ("hmac.key", 64)])
def test_a_key_of_another_length_is_not_used(tmp_path: Path, name: str, size: int) -> None:
    """It is named, and nothing is made in its place."""
    open_keys(tmp_path)
    path = tmp_path / "keys" / name
    path.write_bytes(bytes(size))

    with pytest.raises(KeysUnfit, match=name):
        open_keys(tmp_path)
    assert path.read_bytes() == bytes(size)


def test_members_share_some_keys_and_have_others_of_their_own(tmp_path: Path) -> None:
    """In one shared directory, two members sign contexts alike, and journals each by itself; nothing lies twice."""
    one, two = (open_keys(tmp_path / each, tmp_path / "shared") for each in ("one", "two"))

    assert one.fingerprints == two.fingerprints
    assert one.seal(b"x") == two.seal(b"x") and one.views == two.views
    assert one.journal.public_key() != two.journal.public_key()
    assert one.operator_hash != two.operator_hash
    assert sorted(each.name for each in (tmp_path / "shared").iterdir()) == ["context.key", "hmac.key", "views.key"]
    own = sorted(each.name for each in (tmp_path / "one" / "keys").iterdir())
    assert own == ["journal.key", "journal.pub", "operator.token"]


@pytest.mark.parametrize("name", ["context.key", "hmac.key", "views.key"])
def test_a_fingerprint_tells_whether_a_key_is_the_same_and_nothing_of_it(tmp_path: Path, name: str) -> None:
    """Another key has another one, the others keep theirs; it is no part of the key's bytes."""
    first = open_keys(tmp_path)
    secret = (tmp_path / "keys" / name).read_bytes()
    (tmp_path / "keys" / name).unlink()
    second = open_keys(tmp_path)

    assert {each for each in first.fingerprints if first.fingerprints[each] != second.fingerprints[each]} == {name}
    assert first.fingerprints[name] not in (secret.hex(), first.seal(b""))
    assert open_keys(tmp_path).fingerprints == second.fingerprints


def test_members_that_start_at_once_agree_on_the_keys(tmp_path: Path) -> None:
    """Each may be the one that makes a missing key: nobody goes on with one that is not in the file."""
    assert all(agree(tmp_path) for _ in range(20))


def test_members_that_would_not_agree_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted bug: a key is put over one that another member has made meanwhile."""

    def put_over(path: Path, content: bytes) -> None:
        draft = path.with_name(token_hex(8))
        draft.write_bytes(content)
        draft.chmod(0o600)
        draft.replace(path)

    monkeypatch.setattr(keys_file, "_create", put_over)
    assert not all(agree(tmp_path) for _ in range(500))


def agree(place: Path) -> bool:
    """Whether eight members that start at once, without a key, have the same."""
    together = Barrier(8)

    def start(number: int) -> Keys:
        together.wait()
        return open_keys(place / str(number), place / "shared")

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(start, range(8)))
    rmtree(place / "shared")
    return len({tuple(each.fingerprints.items()) for each in found}) == 1


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    """Its mode is said."""
    open_keys(tmp_path)
    (tmp_path / "keys" / "views.key").chmod(0o640)

    with pytest.raises(KeysUnfit, match="640"):
        open_keys(tmp_path)
