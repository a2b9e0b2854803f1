"""OpenAI's responses, as Azure and OpenAI take them."""

from __future__ import annotations

from urllib.parse import urlsplit

from remit.core.egress.exchange import Mapped, Unmapped
from remit.core.egress.kinds.call import HIDDEN_TOKENS, Call, Draft, names, remote
from remit.core.egress.kinds.chat import CACHE_WRITES, TIERS, changed, headers, image_bound, tool_name
from remit.core.egress.kinds.fields import Fields
from remit.core.egress.target import check_authority, check_target

_FIELDS = frozenset(
    [
        "background",
        "conversation",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "moderation",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    ]
)
_ITEMS = frozenset(
    [
        "message",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "reasoning",
        "item_reference",
        "computer_call",
        "computer_call_output",
        "file_search_call",
        "web_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "local_shell_call",
        "local_shell_call_output",
        "shell_call",
        "shell_call_output",
        "apply_patch_call",
        "apply_patch_call_output",
        "mcp_list_tools",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "compaction",
    ]
)
# What an item refers to by an id, and the provider then reads, has a size that cannot be seen.
_HELD_ITEMS = frozenset({"item_reference", "image_generation_call", "code_interpreter_call"})
# What the caller carries itself, encrypted, is all there, and no shorter than what is in it.
_CARRIED_ITEMS = frozenset({"reasoning", "compaction"})
_PARTS = frozenset(
    {"input_text", "output_text", "text", "refusal", "input_image", "input_file", "input_audio", "computer_screenshot"}
)
_CLIENT_TOOLS = frozenset({"function", "custom"})
# Run by the client, on what the model asks for; the provider adds their descriptions.
_TYPED_TOOLS = frozenset({"local_shell", "apply_patch"})
_HOSTED = {
    "web_search": "web_search",
    "web_search_2025_08_26": "web_search",
    "web_search_preview": "web_search",
    "web_search_preview_2025_03_11": "web_search",
    "file_search": "file_search",
    "code_interpreter": "code_interpreter",
    "computer_use_preview": "computer_use",
    "computer": "computer_use",
    "image_generation": "image_generation",
    "tool_search": "tool_search",
    "programmatic_tool_calling": "programmatic_tool_calling",
}
_KNOWN_TOOLS = _CLIENT_TOOLS | _TYPED_TOOLS | _HOSTED.keys() | {"mcp", "shell", "namespace"}
_TEXT_FORMATS = frozenset({"text", "json_object", "json_schema"})


def map_responses(call: Call, *, image_tokens: int = 0) -> Mapped:
    """A response made while the caller waits; one made in the background is charged where nobody sees it."""
    body = call.body()
    body.only(_FIELDS)
    if body.flag("background"):
        raise Unmapped("/background: its cost is not in the answer")
    draft = Draft(call, body, body.model())
    _arguments(draft)
    _input(draft)
    _tools(draft)
    stream = body.flag("stream") or False
    variant, listed = draft.variant()
    cap = body.whole("max_output_tokens", least=1)
    bound = draft.cap(listed, variant) if cap is None else cap
    draft.bound_output(bound)
    draft.bound_input(image_tokens or image_bound(draft.model), writes=CACHE_WRITES)
    changes: dict[str, object] = {} if cap is not None or bound is None else {"max_output_tokens": bound}
    return draft.mapped("responses", variant, reader="openai.responses", stream=stream, body=changed(body, changes))


def mcp_name(url: str, where: str) -> str:
    """How a remote MCP server is listed among the operations: mcp:HOST/PATH. Raises Unmapped."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if scheme != "https" or check_authority(host) or check_target(f"/{path}") or "?" in path:
        raise Unmapped(f"{where} is not an https address in its canonical form, without a query")
    return f"mcp:{host}{slash}{path}".rstrip("/")


def _arguments(draft: Draft) -> None:
    body = draft.body
    headers(draft)
    draft.numbers("temperature", "top_p")
    draft.flags("store", "parallel_tool_calls")
    draft.text("service_tier", standard=TIERS)
    for name in ("truncation", "user", "safety_identifier", "prompt_cache_retention"):
        draft.text(name)
    calls = body.whole("max_tool_calls")
    if calls is not None:
        draft.arguments["max_tool_calls"] = calls
    reasoning, shape = body.fields("reasoning"), body.fields("text")
    if reasoning is not None and (effort := reasoning.text("effort")):
        draft.arguments["reasoning_effort"] = effort
    if shape is not None and (form := shape.fields("format")) is not None:
        draft.arguments["response_format"] = form.kind(_TEXT_FORMATS)
        draft.hidden += HIDDEN_TOKENS
    if "moderation" in body:
        draft.arguments["moderation"] = True
    for name in ("previous_response_id", "conversation"):
        if name in body:
            draft.unseen(name)


def _input(draft: Draft) -> None:
    draft.body.require("input")
    value = draft.body.raw("input")
    if isinstance(value, str):
        draft.arguments |= {"messages": 1, "roles": ["user"]}
        return
    items = draft.body.objects("input")
    roles = set()
    for item in items:
        kind = item.kind(_ITEMS, default="message")
        if kind == "message":
            roles.add(_role(item))
            _content(draft, item, "content")
        elif kind in _HELD_ITEMS:
            draft.unseen(kind)
        elif kind in _CARRIED_ITEMS:
            if not item.raw("encrypted_content") or not isinstance(item.raw("encrypted_content"), str):
                draft.unseen(kind)
        else:
            _content(draft, item, "output")
    draft.arguments |= {"messages": len(items), "roles": sorted(roles)}


def _role(item: Fields) -> str:
    role = item.text("role") or ""
    if role not in ("system", "developer", "user", "assistant"):
        raise Unmapped(f"{item.at('role')} is not one that is known here")
    return role


def _content(draft: Draft, item: Fields, name: str) -> None:
    value = item.raw(name)
    if isinstance(value, list):
        parts = item.objects(name)
    elif isinstance(value, dict):
        parts = [part] if (part := item.fields(name)) is not None else []
    elif value is None or isinstance(value, str):
        return
    else:
        raise Unmapped(f"{item.at(name)} is neither text nor parts")
    for part in parts:
        # A shell's output is a list of what was written, without types.
        if "type" in part:
            _part(draft, part)


def _part(draft: Draft, part: Fields) -> None:
    kind = part.kind(_PARTS | {"logs", "image", "exit", "timeout"})
    if kind in ("input_image", "computer_screenshot"):
        draft.images += 1
    if kind in ("input_file", "input_audio", "image"):
        draft.unseen("file")
    if "file_id" in part:
        draft.unseen("file")
    for name in ("image_url", "file_url"):
        url = part.raw(name)
        if url is not None and not isinstance(url, str):
            raise Unmapped(f"{part.at(name)} is not text")
        if url is not None and remote(url):
            draft.host("remote_content")


def _tools(draft: Draft) -> None:
    found, servers = [], []
    waiting = draft.body.objects("tools")
    while waiting:
        tool = waiting.pop()
        kind = tool.kind(_KNOWN_TOOLS)
        draft.hidden += HIDDEN_TOKENS
        if kind in _CLIENT_TOOLS:
            found.append(tool_name(tool, tool))
        elif kind in _TYPED_TOOLS:
            found.append(kind)
        elif kind == "namespace":
            waiting += tool.objects("tools")
        elif kind == "mcp":
            servers.append(_server(draft, tool))
        elif kind == "shell":
            _shell(draft, tool, found)
        else:
            draft.host(_HOSTED[kind])
    if found:
        draft.arguments["tools"] = names(found, "/tools")
    if servers:
        draft.arguments["mcp_servers"] = servers


def _server(draft: Draft, tool: Fields) -> dict[str, str]:
    connector, url = tool.text("connector_id"), tool.text("server_url", most=1024)
    if (connector is None) == (url is None):
        raise Unmapped(f"{tool.where} names neither a server's address nor a connector, or both")
    draft.host(f"mcp:{connector}" if url is None else mcp_name(url, tool.at("server_url")))
    place = connector if url is None else urlsplit(url).netloc
    return {"label": tool.text("server_label") or "", "server": place or ""}


def _shell(draft: Draft, tool: Fields, found: list[str]) -> None:
    environment = tool.fields("environment")
    if environment is not None and environment.kind() == "local":
        found.append("shell")
    else:
        draft.host("shell")
