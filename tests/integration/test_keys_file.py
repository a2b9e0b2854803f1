"""The installation's keys: made once, whole, and read by their owner alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from remit.backends.keys_file import KeysUnfit, open_keys
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


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    """Its mode is said."""
    open_keys(tmp_path)
    (tmp_path / "keys" / "views.key").chmod(0o640)

    with pytest.raises(KeysUnfit, match="640"):
        open_keys(tmp_path)
