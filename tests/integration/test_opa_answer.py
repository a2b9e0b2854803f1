"""What comes back from OPA, byte for byte: only an untouched shape and revision, and ALLOW in it, allows."""

from __future__ import annotations

import json
from typing import Any

from counts import COUNTS
from fakes.fake_opa import ALLOW, DENY, REVISION, answer
from hypothesis import given, settings
from hypothesis import strategies as st
from remit.backends.opa_answer import read_result
from remit.backends.opa_http import AnswerReader, ExchangeFailed, HttpAnswer
from remit.core.decision import Effect
from remit.core.document import read_verdict
from remit.core.errors import PolicyFailure

GOOD = answer(ALLOW)
BAD = answer(DENY)
HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
PIECES = [b"ALLOW", b"DENY", b'"', b"{", b"}", b"[", b"]", b",", b"null", b"1e999", b"\xff", b"\\ud800", b'"effect":']


def allows(body: bytes) -> bool:
    try:
        return read_verdict(read_result(HttpAnswer(200, body, True), REVISION)).effect is Effect.ALLOW
    except PolicyFailure:
        return False


def means_allow(body: bytes) -> bool:
    """Whether another reader of JSON finds the revision and an ALLOW in it, with no key twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    read = json.loads(body, object_pairs_hook=once)
    (bundle,) = read["provenance"]["bundles"].values()
    return bool(bundle["revision"] == REVISION and read["result"]["effect"] == "ALLOW")


@given(
    st.sampled_from([GOOD, BAD]),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 12), st.sampled_from(PIECES)), min_size=1, max_size=3),
)
@settings(max_examples=50 * COUNTS.examples, deadline=None)
def test_a_body_that_was_tampered_with_allows_only_if_it_says_so(
    body: bytes, cuts: list[tuple[int, int, bytes]]
) -> None:
    for start, length, piece in cuts:
        body = body[:start] + piece + body[start + length :]
    if allows(body):
        assert means_allow(body)


@given(st.binary(max_size=60))
@settings(max_examples=10 * COUNTS.examples, deadline=None)
def test_no_bytes_at_all_are_an_allow(body: bytes) -> None:
    assert not allows(body)


@given(st.integers(0, 400), st.binary(min_size=1, max_size=3), st.integers(1, 50))
@settings(max_examples=20 * COUNTS.examples, deadline=None)
def test_bytes_on_the_wire_end_in_one_answer_or_a_typed_failure(start: int, piece: bytes, size: int) -> None:
    raw = HTTP % (len(GOOD), GOOD)
    raw = raw[:start] + piece + raw[start + len(piece) :]
    reader = AnswerReader()
    try:
        for index in range(0, len(raw), size):
            found = reader.feed(raw[index : index + size])
            if found is not None:
                assert len(found.body) <= len(raw)
                return
    except ExchangeFailed:
        return


@given(st.integers(1, 60))
def test_a_whole_answer_is_read_from_any_pieces(size: int) -> None:
    raw = HTTP % (len(GOOD), GOOD)
    reader = AnswerReader()
    answers = [reader.feed(raw[index : index + size]) for index in range(0, len(raw), size)]
    assert answers[-1] == HttpAnswer(200, GOOD, True)
    assert allows(GOOD) and not allows(BAD)
