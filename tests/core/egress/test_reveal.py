"""Tokens in a body: turned back for who is cleared, and left as they are for everybody else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remit.backends.tokens_aessiv import KEY_BYTES, AesSivTokenizer
from remit.core.egress.reveal import MOST, Revealed, reveal

TOKENS = AesSivTokenizer(bytes(range(KEY_BYTES)))


def token(value: str, *labels: str) -> str:
    return TOKENS.token(value, "crm.customers.email", labels)


def forged(value: str, *labels: str) -> str:
    mark = token(value, *labels)
    return mark[:-10] + ("A" if mark[-10] != "A" else "B") + mark[-9:]


def test_a_cleared_service_gets_the_value() -> None:
    """Alone in a string or within text, once or twice; what was put in is told once."""
    mark = token("ada@example.com", "pii")
    body = json.dumps({"to": mark, "text": f"Dear {mark}, and {mark}!"}).encode()

    told = reveal(body, TOKENS.value, {"pii", "finance"})

    assert json.loads(told.body) == {"to": "ada@example.com", "text": "Dear ada@example.com, and ada@example.com!"}
    assert (told.values, told.count) == ((b"ada@example.com",), 3)


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"to": token("ada@example.com", "finance")}).encode(),
        json.dumps({"to": token("ada", "pii")}).encode(),
        json.dumps({"to": forged("ada@example.com", "pii")}).encode(),
        json.dumps({"to": "tok_" + "A" * 40}).encode(),
        json.dumps({"to": "x" + token("ada@example.com", "pii") + "x"}).encode(),
        b"to=" + token("ada@example.com", "pii").encode(),
        b"{" + token("ada@example.com", "pii").encode(),
        b"[" * 100_000 + token("ada@example.com", "pii").encode(),
        b"",
    ],
    ids=["uncleared", "too-short", "forged", "foreign", "within-a-word", "a-form", "no-json", "too-deep", "empty"],
)
def test_everything_else_stays_as_it_is(body: bytes) -> None:
    """A token that is not to be turned back reaches the service as a token."""
    assert reveal(body, TOKENS.value, {"pii"}) == Revealed(body)


def test_no_more_than_so_many_are_turned_back() -> None:
    """A request full of tokens costs no more than a bounded one."""
    body = json.dumps([token(f"customer-{n}", "pii") for n in range(MOST + 5)]).encode()

    told = reveal(body, TOKENS.value, {"pii"})

    assert told.count == MOST
    assert json.loads(told.body)[-5:] == json.loads(body)[-5:]


@given(value=st.text(min_size=8), around=st.text())
def test_any_value_arrives_as_it_is(value: str, around: str) -> None:
    """Quotes, backslashes, controls and surrogates come through JSON unchanged."""
    body = json.dumps({"a": f"{around} {token(value)} {around}"}).encode()

    told = reveal(body, TOKENS.value, ())

    assert json.loads(told.body) == {"a": f"{around} {value} {around}"}
