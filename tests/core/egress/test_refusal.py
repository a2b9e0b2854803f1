"""A refusal speaks the language of the API that was called."""

from __future__ import annotations

import json
from binascii import crc32

import pytest
from remit.core.egress.refusal import refused, stream_error

KINDS = ("openai", "azure", "anthropic", "gemini", "bedrock", "http", "grpc")


def refusal(kind: str, status: int = 403) -> tuple[dict[str, str], bytes]:
    headers, body = refused(kind, status=status, code="no_owner", message="nobody é", decision="d-1")
    return dict(headers), body


@pytest.mark.parametrize(
    ("kind", "want"),
    [
        ("openai", {"error": {"message": "nobody é", "type": "permission_error", "param": None, "code": "no_owner"}}),
        ("azure", {"error": {"message": "nobody é", "type": "permission_error", "param": None, "code": "no_owner"}}),
        (
            "anthropic",
            {
                "type": "error",
                "error": {"type": "permission_error", "message": "no_owner: nobody é"},
                "request_id": "d-1",
            },
        ),
        (
            "gemini",
            {
                "error": {
                    "code": 403,
                    "message": "nobody é",
                    "status": "PERMISSION_DENIED",
                    "details": [
                        {
                            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                            "reason": "NO_OWNER",
                            "domain": "remit",
                            "metadata": {"decision": "d-1"},
                        }
                    ],
                }
            },
        ),
        ("bedrock", {"message": "no_owner: nobody é"}),
        ("http", {"error": {"code": "no_owner", "message": "nobody é", "decision": "d-1"}}),
    ],
)
def test_a_refusal_has_the_shape_of_the_provider(kind: str, want: object) -> None:
    """Reason, message and decision, where its clients look for them."""
    headers, body = refusal(kind)

    assert json.loads(body) == want
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_is_not_asked_again_but_an_outage_is(kind: str) -> None:
    """The clients retry unless told not to; a 503 says when."""
    for status in (401, 403, 429):
        headers, _ = refusal(kind, status)
        assert headers["x-should-retry"] == "false"
        assert "retry-after" not in headers
        assert headers["remit-decision"] == "d-1"
    headers, _ = refusal(kind, 503)
    assert headers["retry-after"] == "1"
    assert "x-should-retry" not in headers


def test_a_refusal_without_a_decision_names_none() -> None:
    """Not even an empty one."""
    headers, body = refused("anthropic", status=401, code="unauthenticated", message="who", decision="")

    assert "remit-decision" not in dict(headers)
    assert json.loads(body) == {
        "type": "error",
        "error": {"type": "authentication_error", "message": "unauthenticated: who"},
    }


def test_bedrocks_error_has_its_name_in_a_header() -> None:
    """Where its clients read which exception to raise."""
    assert refusal("bedrock")[0]["x-amzn-errortype"] == "AccessDeniedException"
    assert refusal("bedrock", 429)[0]["x-amzn-errortype"] == "ThrottlingException"
    assert refusal("bedrock", 503)[0]["x-amzn-errortype"] == "ServiceUnavailableException"


def test_a_grpc_refusal_is_headers_alone() -> None:
    """A status and a message, percent-encoded."""
    headers, body = refusal("grpc")

    assert body == b""
    assert headers["content-type"] == "application/grpc"
    assert (headers["grpc-status"], headers["grpc-message"]) == ("7", "nobody %C3%A9")


@pytest.mark.parametrize("kind", ["openai", "azure", "anthropic", "gemini", "http"])
def test_a_stream_that_is_stopped_ends_in_an_error_event(kind: str) -> None:
    """One whole event, after the end of whatever was cut, with the provider's own error in it."""
    event = stream_error(kind, "halted", "stopped\nhere").decode()

    assert event.startswith("\n\n")
    assert event.endswith("\n\n")
    *head, data = event.strip().split("\n")
    assert head == ([] if kind == "gemini" else ["event: error"])
    body = json.loads(data.removeprefix("data: "))
    assert "stopped\nhere" in body["error"]["message"]


def test_bedrocks_stream_ends_in_a_frame_of_its_own() -> None:
    """Lengths and checksums as AWS's event stream has them."""
    frame = stream_error("bedrock", "halted", "stopped")

    assert int.from_bytes(frame[:4], "big") == len(frame)
    assert int.from_bytes(frame[8:12], "big") == crc32(frame[:8])
    assert int.from_bytes(frame[-4:], "big") == crc32(frame[:-4])
    length = int.from_bytes(frame[4:8], "big")
    assert json.loads(frame[12 + length : -4]) == {"message": "halted: stopped"}
    assert b":exception-type\x07\x00\x15accessDeniedException" in frame
