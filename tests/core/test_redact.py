"""What the journal shows of arguments: only what policy lists."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from remit.core.redact import redact, sealed

SECRET = "canary-5f1d"
trees = st.recursive(
    st.just(SECRET) | st.integers(-(10**18), 10**18) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc/~"), inner, max_size=3),
    max_leaves=8,
)


def hmac(text: bytes) -> str:
    return sha256(b"key" + text).hexdigest()


def test_a_listed_path_stays_in_clear_with_all_below_it() -> None:
    """Listing /arguments/customer shows the whole customer and nothing beside it."""
    shown = redact({"customer": {"id": 7}, "iban": SECRET}, "/arguments", ["/arguments/customer"], hmac)

    assert shown == {"customer": {"id": 7}, "iban": sealed(SECRET, hmac)}


def test_a_name_that_begins_alike_is_not_covered() -> None:
    """Listing /arguments/id does not show /arguments/iban or /arguments/id2."""
    shown = redact({"id2": SECRET}, "/arguments", ["/arguments/id"], hmac)

    assert SECRET not in str(shown)


def test_slash_and_tilde_in_keys_are_escaped_as_in_rfc_6901() -> None:
    """A key that contains a slash cannot pose as a deeper path."""
    assert redact({"a/b": SECRET}, "", ["/a/b"], hmac) == sealed({"a/b": SECRET}, hmac) or SECRET not in str(
        redact({"a/b": SECRET}, "", ["/a/b"], hmac)
    )
    assert redact({"a/b": 1}, "", ["/a~1b"], hmac) == {"a/b": 1}


@given(trees)
def test_nothing_unlisted_is_ever_shown(value: Any) -> None:
    """Whatever the shape, without a listed path no leaf is in clear."""
    assert SECRET not in str(redact(value, "/arguments", [], hmac))


@given(trees)
def test_what_is_told_of_a_sealed_value_is_its_hmac_type_and_size(value: Any) -> None:
    """The same value seals alike, so that auditors can compare without reading."""
    told = redact(value, "/arguments", [], hmac)

    assert told == redact(value, "/arguments", [], hmac)
    assert set(told) == {"hmac", "type", "size"}
