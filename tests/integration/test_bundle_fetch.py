"""What a server of bundles may do, it may not do to a member: redirect, delay, flood or lie to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from fakes.bundle_server import Serving, bundle_server
from listeners.certificates import Authority
from remit.backends.bundle_archive import MAX_PACKED
from remit.backends.bundle_fetch import BundleAway, Origin, fetch

AUTHORITY, STRANGER = Authority("servers"), Authority("strangers")


@pytest.fixture
def server() -> Iterator[Serving]:
    with bundle_server() as serving:
        serving.body = b"a bundle"
        yield serving


def refused(origin: Origin, etag: str = "", seconds: float = 5) -> str:
    """Why it gives nothing."""
    with pytest.raises(BundleAway) as found:
        fetch(origin, etag, seconds)
    return str(found.value)


def test_a_body_and_its_etag_are_taken_once(server: Serving) -> None:
    """The second time nothing has changed."""
    first = fetch(Origin(server.url))
    assert first.body == b"a bundle"
    assert first.etag
    assert fetch(Origin(server.url), first.etag).body is None
    assert server.statuses == [200, 304]


@pytest.mark.parametrize("status", [204, 206, 301, 302, 303, 307, 308, 401, 403, 404, 500, 503])
def test_no_other_answer_is_a_bundle_and_no_redirect_is_followed(server: Serving, status: int) -> None:
    """Whatever body it has."""
    server.status, server.headers = status, {"Location": server.url + "?other"}
    said = refused(Origin(server.url))
    assert f"answered {status}" in said
    assert ("redirects are not followed" in said) == (300 <= status < 400)
    assert len(server.asked) == 1


def test_unchanged_is_no_answer_to_who_asked_for_a_bundle(server: Serving) -> None:
    """304 without an ETag to compare with."""
    server.status = 304
    assert "answered 304" in refused(Origin(server.url))


def test_an_encoding_that_was_not_asked_for_is_refused(server: Serving) -> None:
    """Nothing is unpacked that a server says is packed."""
    server.headers = {"Content-Encoding": "gzip"}
    assert "content encoding" in refused(Origin(server.url))
    assert server.asked[0]["Accept-Encoding"] == "identity"


def test_a_body_without_an_end_is_cut(server: Serving) -> None:
    """What is more than a bundle is not read to its end."""
    sent = []

    def flood(asked: BaseHTTPRequestHandler, over: threading.Event) -> None:
        asked.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
        while not over.is_set():
            asked.wfile.write(bytes(1 << 16))
            sent.append(1 << 16)

    server.answer = flood
    assert "more than" in refused(Origin(server.url), seconds=30)
    assert sum(sent) < 4 * MAX_PACKED


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"])
def test_a_server_that_drips_is_left_when_time_is_up(server: Serving, head: bytes) -> None:
    """A byte now and then, in the head or in the body, does not keep anybody waiting."""

    def drip(asked: BaseHTTPRequestHandler, over: threading.Event) -> None:
        asked.wfile.write(head)
        while not over.wait(0.05):
            asked.wfile.write(b"H")

    server.answer = drip
    began = time.monotonic()
    refused(Origin(server.url), seconds=1)
    assert time.monotonic() - began < 8


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    ],
)
def test_a_broken_answer_is_none(server: Serving, answer: bytes) -> None:
    """Nothing, something else, too short."""
    server.answer = lambda asked, over: asked.wfile.write(answer) and None
    assert "could not be asked" in refused(Origin(server.url))


def test_the_token_is_read_each_time_and_shown_nowhere(server: Serving, tmp_path: Path) -> None:
    """A rotated one is used at once; what is no token is not sent."""
    file = tmp_path / "token"
    origin = Origin(server.url, file)
    for each in ("first-one", "second-one"):
        file.write_text(each + "\n")
        fetch(origin)
    assert [asked["Authorization"] for asked in server.asked] == ["Bearer first-one", "Bearer second-one"]
    for wrong in ("two words", "a\r\nX-Other: 1", "", "é", "x" * 9000):
        file.write_text(wrong)
        said = refused(origin)
        assert str(file) in said
        assert not wrong or wrong not in said
    file.unlink()
    assert str(file) in refused(origin)
    assert len(server.asked) == 2


def test_what_follows_a_question_mark_is_not_told(server: Serving) -> None:
    """It may be a secret."""
    server.status = 404
    assert "hidden" not in refused(Origin(server.url + "?sig=hidden"))
    server.answer = lambda asked, over: None
    assert "hidden" not in refused(Origin(server.url + "?sig=hidden"))


def test_a_server_proves_who_it_is(tmp_path: Path) -> None:
    """By the authority that the settings name, for the host that they name; nothing is sent to another."""
    certificate, ca, other = tmp_path / "server.pem", tmp_path / "ca.pem", tmp_path / "other.pem"
    ca.write_bytes(AUTHORITY.certificate)
    other.write_bytes(STRANGER.certificate)
    for names, authorities in ((["127.0.0.1"], (ca, other)), (["127.0.0.9"], (other, None))):
        pair = AUTHORITY.sign(addresses=names)
        certificate.write_bytes(pair.certificate + pair.key)
        with bundle_server(certificate, Serving(body=b"a bundle")) as serving:
            if names == ["127.0.0.1"]:
                assert fetch(Origin(serving.url, ca=ca)).body == b"a bundle"
            else:
                assert "could not be asked" in refused(Origin(serving.url, ca=ca))
            asked = len(serving.asked)
            for authority in authorities[1:]:
                assert "could not be asked" in refused(Origin(serving.url, ca=authority))
            assert len(serving.asked) == asked
    ca.write_text("nothing")
    assert str(ca) in refused(Origin("https://127.0.0.1:9/x", ca=ca))
    assert "could not be asked" in refused(Origin("http://127.0.0.1:9/x"))
