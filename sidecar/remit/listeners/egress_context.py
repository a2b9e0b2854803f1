"""The surroundings of a call, from its headers: workflow, purpose, reason, actor, parent, key, wait, trace.

Whatever is there twice or malformed is a denial: nothing is repaired, and a forged context is never taken for none.
`baggage` says the same as the headers, which win; `traceparent` is correlation, and one that cannot be read is none.
Sources: DESIGN §6; W3C Trace Context and Baggage.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from urllib.parse import unquote_to_bytes

from remit.core.call import Claimed, Objection
from remit.core.egress.exchange import Duplicate, Headers, HttpRequest
from remit.core.egress.mcp_resume import RETRY_WAIT_SECONDS, is_retry
from remit.core.reason import Reason
from remit.listeners.grpc_fields import ID, KEY, MAX_REASON_BYTES, TRACE, WORD, WORKFLOW, Form

MAX_WAIT_SECONDS = 3600

_ENCODED = re.compile(r"(?:[!-$&-~ ]|%[0-9A-Fa-f]{2}){1,1536}", re.ASCII)
_SECOND = 1_000_000_000
_SECONDS = re.compile(r"[0-9]{1,6}", re.ASCII)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
_OURS = re.compile(r"\s*remit\.(workflow|purpose|actor)(?![A-Za-z0-9._-])", re.ASCII)
_MEMBER = re.compile(r"\s*remit\.(workflow|purpose|actor)\s*=\s*([^,;\s]*)\s*(?:;[^,]*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the headers claim; `objection` is the first thing wrong with them, "" keys where they say nothing.

    `wait` is how long (ns) the call may be kept open for an approval.
    """

    claimed: Claimed
    key: str
    objection: Objection | None
    wait: int = 0


class _Malformed(Exception):
    """A header that is not as it must be."""


def read_surroundings(request: HttpRequest) -> Surroundings:
    """What the request's headers claim; an objection where any of them cannot be believed."""
    try:
        baggage = _baggage(request.headers)
        claimed = Claimed(
            workflow=_text(request, "remit-workflow", WORKFLOW) or baggage.get("workflow", ""),
            purpose=_text(request, "remit-purpose", WORD) or baggage.get("purpose", ""),
            reason=_reason(request),
            parent=_text(request, "remit-parent", ID),
            actor=_text(request, "remit-actor", WORD) or baggage.get("actor", ""),
            trace=_trace(request.headers),
        )
        key = _text(request, "remit-key", KEY)
        wait = _wait(request)
    except (Duplicate, _Malformed) as wrong:
        return Surroundings(Claimed(), "", Objection(Reason.CONTEXT_INVALID, str(wrong), binding=True))
    return Surroundings(claimed, key, None, wait)


def longer(told: Surroundings, request: HttpRequest) -> Surroundings:
    """The same; where an MCP client tries again what was held, with a wait at least."""
    return replace(told, wait=max(told.wait, RETRY_WAIT_SECONDS * _SECOND)) if is_retry(request) else told


def _text(request: HttpRequest, name: str, form: Form) -> str:
    value = request.header(name)
    if value is None:
        return ""
    if not form.matches(value):
        raise _Malformed(f"{name}: expected {form.expected}")
    return value


def _reason(request: HttpRequest) -> str:
    value = request.header("remit-reason")
    if not value:
        return ""
    if not _ENCODED.fullmatch(value):
        raise _Malformed("remit-reason: expected percent-encoded text")
    try:
        decoded = unquote_to_bytes(value).decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Malformed("remit-reason: expected UTF-8, percent-encoded") from error
    if len(decoded.encode()) > MAX_REASON_BYTES:
        raise _Malformed(f"remit-reason: expected at most {MAX_REASON_BYTES} bytes")
    return decoded


def _wait(request: HttpRequest) -> int:
    value = request.header("remit-wait")
    if value is None:
        return 0
    if not _SECONDS.fullmatch(value) or int(value) > MAX_WAIT_SECONDS:
        raise _Malformed(f"remit-wait: expected seconds from 0 to {MAX_WAIT_SECONDS}")
    return int(value) * _SECOND


def _trace(headers: Headers) -> str:
    found = [value for name, value in headers if name == "traceparent"]
    matched = _TRACEPARENT.fullmatch(found[0]) if len(found) == 1 else None
    return matched[1] if matched and TRACE.matches(matched[1]) else ""


def _baggage(headers: Headers) -> dict[str, str]:
    forms: dict[str, Form] = {"workflow": WORKFLOW, "purpose": WORD, "actor": WORD}
    found: dict[str, str] = {}
    for name, value in _members(headers):
        if name in found:
            raise Duplicate(f"baggage remit.{name}")
        if not forms[name].matches(value):
            raise _Malformed(f"baggage remit.{name}: expected {forms[name].expected}")
        found[name] = value
    return found


def _members(headers: Headers) -> Iterable[tuple[str, str]]:
    decode: Callable[[str], str] = lambda text: unquote_to_bytes(text).decode("utf-8", "replace")  # noqa: E731
    for name, value in headers:
        if name == "baggage":
            for member in value.split(","):
                if ours := _OURS.match(member):
                    matched = _MEMBER.fullmatch(member)
                    if matched is None:
                        raise _Malformed(f"baggage remit.{ours[1]}: expected KEY=VALUE, percent-encoded")
                    yield matched[1], decode(matched[2])
