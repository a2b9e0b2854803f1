"""What OPA is sent: JSON by HTTP's POST."""

from __future__ import annotations

from collections.abc import Mapping

from remit.core.canonical import MalformedJson, encode_exact
from remit.core.errors import PolicyFailure
from remit.core.reason import Reason


def encoded(document: Mapping[str, object]) -> bytes:
    """An input document as JSON; PolicyFailure where it is none."""
    try:
        return encode_exact(document)
    except MalformedJson as e:
        raise PolicyFailure(Reason.POLICY_INVALID, f"the input is not JSON: {e}") from e


def post(target: bytes, body: bytes, *, accept: bytes = b"application/json") -> bytes:
    """The request as it goes over the connection."""
    head = (
        b"POST %b HTTP/1.1\r\nHost: opa\r\nAccept: %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    return head % (target, accept, len(body)) + body
