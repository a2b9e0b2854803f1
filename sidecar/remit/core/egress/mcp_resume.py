"""A held MCP request that its client sends again: the protocol's multi round-trip requests (specification 2026-07-28).

Remit answers a held request with `input_required`. Its `requestState` says only that the next try is one, and carries
what the request brought for its server: the server's own state and the answers to its questions, which the client is
not to send along with Remit's. Nothing in it is believed: whoever forges it sends what they could have sent anyway, and
each try is decided anew.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from remit.core.canonical import MalformedJson, encode_exact, parse
from remit.core.egress.exchange import HttpRequest
from remit.core.egress.mcp_message import INVALID_PARAMS, MAX_DEPTH, McpRefused, Message, read_message

PREFIX = "remit."
"""What Remit's `requestState` begins with."""

QUESTION = "remit.approval"
"""The name of Remit's one question among the `inputRequests`."""

MOST_ROUNDS = 8
"""Tries that are answered by `input_required`; official clients give up after 10."""

RETRY_WAIT_SECONDS = 20
"""How long a try again is kept open, unless its client says longer: it comes at once, and so the tries are not many.
Clients give up on a request after 30 s or more."""

RETRIED = frozenset({"tools/call", "prompts/get", "resources/read"})
"""Requests that may be answered so."""

_STATE, _RESPONSES = "requestState", "inputResponses"
_MEMBERS = frozenset({"approvals", "round", "state", "responses"})


@dataclass(frozen=True, slots=True)
class Resumed:
    """A request as its client means it for the server: `message` without what is Remit's, `round` 0 at the first try.

    `declined`: whoever was asked at the client's side does not want to wait for an approval any longer.
    """

    message: Message
    round: int = 0
    declined: bool = False


def resumed(message: Message) -> Resumed:
    """The request that is tried again, or for the first time. Raises McpRefused."""
    said = message.params.get(_STATE)
    if message.method not in RETRIED or not isinstance(said, str) or not said.startswith(PREFIX):
        return Resumed(message)
    kept = _unpacked(said.removeprefix(PREFIX))
    answers = message.params.get(_RESPONSES, {})
    answer = answers.get(QUESTION, {}) if isinstance(answers, Mapping) else {}
    declined = isinstance(answer, Mapping) and answer.get("action", "accept") != "accept"
    params = {key: value for key, value in message.params.items() if key not in (_STATE, _RESPONSES)}
    params |= {key: kept[name] for key, name in ((_STATE, "state"), (_RESPONSES, "responses")) if name in kept}
    restored = replace(message, params=params, content={**message.content, "params": params})
    return Resumed(restored, kept["round"], declined)


def is_retry(request: HttpRequest) -> bool:
    """Whether the request tries again what Remit has held, and its client still wants it."""
    try:
        found = resumed(read_message(request.body, len(request.body)))
    except McpRefused:
        return False
    return found.round > 0 and not found.declined


def state_of(request: Resumed, approvals: Sequence[str]) -> str:
    """The `requestState` of the next try."""
    params = request.message.params
    kept: dict[str, Any] = {"approvals": list(approvals), "round": request.round + 1}
    kept |= {name: params[key] for key, name in ((_STATE, "state"), (_RESPONSES, "responses")) if key in params}
    return PREFIX + base64.urlsafe_b64encode(encode_exact(kept)).decode("ascii")


def _unpacked(text: str) -> Mapping[str, Any]:
    try:
        raw = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
        kept = parse(raw, len(raw), MAX_DEPTH)
    except (UnicodeEncodeError, binascii.Error, MalformedJson) as error:
        raise _foreign() from error
    if not isinstance(kept, dict) or not kept.keys() <= _MEMBERS:
        raise _foreign()
    tries = kept.get("round")
    if not isinstance(tries, int) or isinstance(tries, bool) or tries < 1:
        raise _foreign()
    return kept


def _foreign() -> McpRefused:
    return McpRefused("params.requestState: found one that Remit did not make", INVALID_PARAMS)
