"""Tokens and keyed hashes: deterministic, of their domain alone, and opened by nobody else."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remit.backends.database_sqlite.connection import as_text
from remit.backends.tokens_aessiv import MAX_DOMAIN, MAX_TOKEN, PREFIX, AesSivTokenizer

KEY = bytes(range(64))
DOMAIN = "crm.customers.email"
TOKENS = AesSivTokenizer(KEY)
# Surrogates too: a mask never fails.
texts = st.text(alphabet=st.characters(exclude_categories=()))
domains = st.text(min_size=1, max_size=40)
labels = st.lists(st.sampled_from(["pii", "health", "money"]), max_size=3)


@given(texts, domains, labels)
def test_a_token_comes_back_as_what_it_was_made_of(value: str, domain: str, held: list[str]) -> None:
    """Value, domain and labels; and it is the same token each time, in whatever order the labels are named."""
    token = TOKENS.token(value, domain, held)

    assert TOKENS.value(token) == (value, domain, tuple(sorted(set(held))))
    assert AesSivTokenizer(KEY).token(value, domain, held[::-1]) == token
    assert token.startswith(PREFIX) and token.isascii()


@given(texts, st.data())
def test_a_token_that_was_changed_is_none(value: str, data: st.DataObject) -> None:
    """One character more, less, or another: nobody opens it."""
    token = TOKENS.token(value, DOMAIN, ["pii"])
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("aA0-_+/=. é").filter(lambda each: each != token[place]))

    for changed in (token[:place] + other + token[place + 1 :], token[:place] + token[place + 1 :], token + other):
        assert TOKENS.value(changed) is None


@given(texts)
def test_no_text_is_a_token_by_chance(text: str) -> None:
    """Whatever an agent sends: None, and no exception."""
    assert TOKENS.value(text) is None
    assert TOKENS.value(PREFIX + text) is None


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x01", b"\x01\x00", b"\x01\xff", b"\x01\x01a", b"\x01\x02\xff\xff" + bytes(32), b"\x02\x01a" + bytes(40)],
)
def test_a_token_that_is_cut_short_is_none(raw: bytes) -> None:
    """No domain, half of one, one that is no text, nothing sealed, another form."""
    assert TOKENS.value(PREFIX + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()) is None


def test_a_token_is_of_one_way_to_write_it() -> None:
    """The last character's spare bits, padding and the other alphabet are not ignored."""
    token = TOKENS.token("a@example.org", DOMAIN, [])
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

    opened = [letter for letter in letters if TOKENS.value(token[:-1] + letter) is not None]

    assert opened == [token[-1]]
    assert TOKENS.value(token + "=") is None


def test_a_text_that_is_too_long_is_not_even_decoded() -> None:
    """An agent cannot make us work on it."""
    assert TOKENS.value(PREFIX + "A" * MAX_TOKEN) is None


def test_tokens_of_two_domains_labels_or_keys_are_others() -> None:
    """They cannot be joined; and one that is moved into another domain is none."""
    made = {
        TOKENS.token("Ada", DOMAIN, []),
        TOKENS.token("Ada", DOMAIN, ["pii"]),
        TOKENS.token("Ada", "crm.customers.name", []),
        AesSivTokenizer(bytes(64)).token("Ada", DOMAIN, []),
    }
    assert len(made) == 4
    assert AesSivTokenizer(bytes(64)).value(TOKENS.token("Ada", DOMAIN, [])) is None
    raw = base64.urlsafe_b64decode(TOKENS.token("Ada", "ab", []).removeprefix(PREFIX) + "==")
    moved = base64.urlsafe_b64encode(raw.replace(b"ab", b"ac", 1)).rstrip(b"=").decode()
    assert TOKENS.value(PREFIX + moved) is None


def test_a_token_tells_its_domain_and_not_its_labels() -> None:
    """Neither value nor labels are in what is written."""
    token = TOKENS.token("needle-value", DOMAIN, ["needle-label"])
    raw = base64.urlsafe_b64decode(token.removeprefix(PREFIX) + "==")

    assert DOMAIN.encode() in raw and b"needle" not in raw


@given(texts, domains)
def test_the_pads_are_those_of_hmac(value: str, domain: str) -> None:
    """What a database computes with the two blocks is HMAC-SHA-256 (RFC 2104), and the key is of the domain."""
    text = value.encode("utf-8", "surrogatepass")
    inner, outer = TOKENS.pad(domain, "inner"), TOKENS.pad(domain, "outer")

    computed = hashlib.sha256(outer + hashlib.sha256(inner + text).digest()).hexdigest()

    key = bytes(byte ^ 0x36 for byte in inner)
    assert len(inner) == len(outer) == 64
    assert computed == TOKENS.hash(value, domain) == hmac.digest(key, text, "sha256").hex()
    assert TOKENS.pad(domain + "x", "inner") != inner


@pytest.mark.parametrize("domain", ["", "d" * (MAX_DOMAIN + 1)])
def test_a_domain_has_a_length(domain: str) -> None:
    """Of one byte at least, and as many as one byte counts."""
    with pytest.raises(ValueError, match="domain"):
        TOKENS.token("x", domain, [])


@pytest.mark.parametrize("size", [0, 32, 63, 65])
def test_a_key_has_its_length(size: int) -> None:
    """Nothing shorter is stretched."""
    with pytest.raises(ValueError, match="64"):
        AesSivTokenizer(bytes(size))


def test_the_key_is_not_shown() -> None:
    """Not by repr, whoever prints it."""
    assert repr(TOKENS) == "AesSivTokenizer()"


def test_every_cell_has_a_text() -> None:
    """What is hashed or made a token of is text first."""
    assert [as_text(each) for each in (5, 1.5, "é", b"\xff")] == ["5", "1.5", "é", "ff"]
