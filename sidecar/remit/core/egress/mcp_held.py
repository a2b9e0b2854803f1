"""A held MCP request's answer in the protocol's own words, for what waits for an approval.

2026-07-28     `input_required`: the client tries again, by itself or once its user says so; each try is kept open for a
               while. A client that was asked often enough, or declines, gets the same as one of
before         a result with `isError`, whose text says who is waited for: the model sees it, and the session goes on.

There is no -32042 (URL elicitation required, 2025-11-25): that is for what the client's own user does at an address.
Who sits at the client and who may approve are not the same, and no address of Remit's is known to be open to both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from remit.core.egress.mcp_message import SESSIONS_END, TOOL_CALL, McpRefused, Message
from remit.core.egress.mcp_resume import MOST_ROUNDS, QUESTION, RETRIED, Resumed, resumed, state_of
from remit.core.egress.turning import Turned

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
META = "remit"
"""The member of a result's `_meta`, and of an error's `data`."""


def held_result(
    message: Message, version: str, text: str, *, turned: Turned, told: Mapping[str, Any], resumes: bool
) -> Mapping[str, Any] | None:
    """The result of a request that is held, None where the protocol has but an error for it.

    `told` is Remit's part for programs; without `resumes` the client is not to try again at once.
    """
    try:
        request = resumed(message)
    except McpRefused:
        return None
    newest = version == SESSIONS_END
    if newest and resumes and message.method in RETRIED and request.round < MOST_ROUNDS and not request.declined:
        return _input_required(request, text, turned, told)
    if message.method != TOOL_CALL:
        return None
    content = [{"type": "text", "text": text}]
    return {
        "content": content,
        "isError": True,
        "_meta": {META: told},
        **({"resultType": "complete"} if newest else {}),
    }


def _input_required(request: Resumed, text: str, turned: Turned, told: Mapping[str, Any]) -> Mapping[str, Any]:
    result: dict[str, Any] = {
        "resultType": "input_required",
        "requestState": state_of(request, turned.ids),
        "_meta": {META: told},
    }
    if _asks_people(request.message):
        schema: dict[str, Any] = {"type": "object", "properties": {}}
        params = {"mode": "form", "message": f"{text} Accept to try again now.", "requestedSchema": schema}
        result["inputRequests"] = {QUESTION: {"method": "elicitation/create", "params": params}}
    return result


def _asks_people(message: Message) -> bool:
    """Whether the client has said that it can show its user a form: nothing named is a form."""
    capabilities = message.meta.get(CAPABILITIES)
    modes = capabilities.get("elicitation") if isinstance(capabilities, Mapping) else None
    return isinstance(modes, Mapping) and (not modes or "form" in modes)
