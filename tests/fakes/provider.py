"""A local provider: OpenAI's chat completions and responses, Anthropic's messages, plain and as events.

Bodies have every field that the official clients read. What was used follows from the request, so that a test knows it:
input = 20, cached = 8 of them, output = the caller's cap less 50. The first answer to a request with tools calls the
first of them; after its result comes text. `requests` keeps what arrived.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from threading import Event, Thread
from typing import Any

from aiohttp import web

INPUT, CACHED, UNCAPPED_OUTPUT = 20, 8, 30
WORDS = ("All", " is", " well", ".")
KEYS = {"openai": "sk-upstream-openai", "anthropic": "sk-ant-upstream"}
ARGUMENTS = '{"city": "Paris"}'

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Arrived:
    """One request; header names in small letters."""

    path: str
    headers: Mapping[str, str]
    body: Json = field(repr=False)


class Provider:
    """The server; `url` once it runs. It refuses any key that is not the service's."""

    def __init__(self) -> None:
        self.requests: list[Arrived] = []
        self.url = ""
        self._numbers = count(1)

    def application(self) -> web.Application:
        """What it serves."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/responses", self._responses)
        app.router.add_post("/v1/messages", self._messages)
        return app

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._arrived(request)
        self._authorised(request.headers.get("Authorization", "") == f"Bearer {KEYS['openai']}")
        calls = bool(body.get("tools")) and not any(each["role"] == "tool" for each in body["messages"])
        answer = Chat(f"chatcmpl-{next(self._numbers)}", body, calls)
        if not body.get("stream"):
            return web.json_response(answer.whole())
        return await _events(request, answer.events())

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        body = await self._arrived(request)
        self._authorised(request.headers.get("Authorization", "") == f"Bearer {KEYS['openai']}")
        given = body["input"] if isinstance(body["input"], list) else []
        calls = bool(body.get("tools")) and not any(each.get("type") == "function_call_output" for each in given)
        answer = Response(f"resp_{next(self._numbers):032x}", body, calls)
        if not body.get("stream"):
            return web.json_response(answer.whole())
        return await _events(request, answer.events())

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        body = await self._arrived(request)
        # Older clients send the first.
        shown = (request.headers.get("X-Api-Key", ""), request.headers.get("Authorization", "").removeprefix("Bearer "))
        self._authorised(sorted(shown) == ["", KEYS["anthropic"]])
        answer = Message(f"msg_{next(self._numbers):024d}", body)
        if not body.get("stream"):
            return web.json_response(answer.whole())
        return await _events(request, answer.events())

    async def _arrived(self, request: web.Request) -> Json:
        body: Json = await request.json()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(Arrived(request.path_qs, headers, body))
        return body

    def _authorised(self, known: bool) -> None:
        if not known:
            text = json.dumps({"error": {"message": "Incorrect API key provided", "type": "invalid_request_error"}})
            raise web.HTTPUnauthorized(text=text, content_type="application/json")


class Chat:
    """https://platform.openai.com/docs/api-reference/chat"""

    def __init__(self, id: str, body: Json, calls: bool) -> None:
        self._id = id
        self._body = body
        self._calls = calls
        self._finish = "tool_calls" if calls else "stop"

    def whole(self) -> Json:
        message: Json = {"role": "assistant", "content": "".join(WORDS), "refusal": None, "annotations": []}
        if self._calls:
            message |= {"content": None, "tool_calls": [self._call()]}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish}
        return {**self._head("chat.completion"), "choices": [choice], "usage": self._usage()}

    def events(self) -> Iterator[str]:
        yield self._chunk({"role": "assistant", "content": None if self._calls else "", "refusal": None})
        if self._calls:
            yield self._chunk({"tool_calls": [{"index": 0, **self._call()}]})
        else:
            for word in WORDS:
                yield self._chunk({"content": word})
        yield self._chunk({}, self._finish)
        if (self._body.get("stream_options") or {}).get("include_usage"):
            yield _data({**self._head("chat.completion.chunk"), "choices": [], "usage": self._usage()})
        yield "data: [DONE]\n\n"

    def _chunk(self, delta: Json, finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _data({**self._head("chat.completion.chunk"), "choices": [choice]})

    def _head(self, kind: str) -> Json:
        head = {"id": self._id, "object": kind, "created": 1764150000, "model": self._body["model"]}
        return {**head, "service_tier": "default", "system_fingerprint": "fp_local"}

    def _call(self) -> Json:
        name = self._body["tools"][0]["function"]["name"]
        return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": ARGUMENTS}}

    def _usage(self) -> Json:
        out = _output(self._body, "max_completion_tokens", "max_tokens")
        return {
            "prompt_tokens": INPUT,
            "completion_tokens": out,
            "total_tokens": INPUT + out,
            "prompt_tokens_details": {"cached_tokens": CACHED, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


class Response:
    """https://platform.openai.com/docs/api-reference/responses"""

    def __init__(self, id: str, body: Json, calls: bool) -> None:
        self._id = id
        self._body = body
        self._calls = calls

    def whole(self) -> Json:
        return self._response("completed", [self._item("completed")], self._usage())

    def events(self) -> Iterator[str]:
        numbers = count()

        def event(kind: str, **more: Any) -> str:
            return _data({"type": kind, "sequence_number": next(numbers), **more}, kind)

        yield event("response.created", response=self._response("in_progress", [], None))
        yield event("response.in_progress", response=self._response("in_progress", [], None))
        place = {"output_index": 0, "item_id": "item_1"}
        yield event("response.output_item.added", output_index=0, item=self._item("in_progress"))
        if self._calls:
            yield event("response.function_call_arguments.delta", delta=ARGUMENTS, **place)
            yield event("response.function_call_arguments.done", arguments=ARGUMENTS, name=self._tool(), **place)
        else:
            part = {"content_index": 0, **place}
            yield event("response.content_part.added", part=_text(""), **part)
            for word in WORDS:
                yield event("response.output_text.delta", delta=word, logprobs=[], **part)
            yield event("response.output_text.done", text="".join(WORDS), logprobs=[], **part)
            yield event("response.content_part.done", part=_text("".join(WORDS)), **part)
        yield event("response.output_item.done", output_index=0, item=self._item("completed"))
        yield event("response.completed", response=self.whole())

    def _tool(self) -> str:
        name: str = self._body["tools"][0]["name"]
        return name

    def _item(self, status: str) -> Json:
        done = status == "completed"
        if self._calls:
            call = {"type": "function_call", "id": "item_1", "call_id": "call_1", "name": self._tool()}
            return {**call, "arguments": ARGUMENTS if done else "", "status": status}
        content = [_text("".join(WORDS))] if done else []
        return {"type": "message", "id": "item_1", "role": "assistant", "status": status, "content": content}

    def _response(self, status: str, output: list[Json], usage: Json | None) -> Json:
        return {
            "id": self._id,
            "object": "response",
            "created_at": 1764150000,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": self._body.get("instructions"),
            "max_output_tokens": self._body.get("max_output_tokens"),
            "model": self._body["model"],
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "service_tier": "default",
            "store": True,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}, "verbosity": "medium"},
            "tool_choice": "auto",
            "tools": self._body.get("tools") or [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": usage,
            "metadata": {},
        }

    def _usage(self) -> Json:
        out = _output(self._body, "max_output_tokens")
        return {
            "input_tokens": INPUT,
            "input_tokens_details": {"cached_tokens": CACHED},
            "output_tokens": out,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": INPUT + out,
        }


class Message:
    """https://docs.anthropic.com/en/api/messages"""

    def __init__(self, id: str, body: Json) -> None:
        self._id = id
        self._body = body

    def whole(self) -> Json:
        usage = {**self._usage(), "output_tokens": _output(self._body, "max_tokens")}
        return self._message([{"type": "text", "text": "".join(WORDS)}], "end_turn", usage)

    def events(self) -> Iterator[str]:
        def event(kind: str, **more: Any) -> str:
            return _data({"type": kind, **more}, kind)

        yield event("message_start", message=self._message([], None, {**self._usage(), "output_tokens": 1}))
        yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        yield event("ping")
        for word in WORDS:
            yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
        yield event("content_block_stop", index=0)
        ended = {"stop_reason": "end_turn", "stop_sequence": None}
        yield event("message_delta", delta=ended, usage={"output_tokens": _output(self._body, "max_tokens")})
        yield event("message_stop")

    def _message(self, content: list[Json], stop: str | None, usage: Json) -> Json:
        message = {"id": self._id, "type": "message", "role": "assistant", "model": self._body["model"]}
        return {**message, "content": content, "stop_reason": stop, "stop_sequence": None, "usage": usage}

    def _usage(self) -> Json:
        # Anthropic counts cached tokens beside the others.
        return {
            "input_tokens": INPUT - CACHED,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": CACHED,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "service_tier": "standard",
        }


@contextmanager
def provider() -> Iterator[Provider]:
    """It runs in a thread of its own until the end of the block."""
    server = Provider()
    ready, done = Event(), None

    async def serve() -> None:
        nonlocal done
        done = asyncio.Event()
        runner = web.AppRunner(server.application(), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        loops.append(asyncio.get_running_loop())
        ready.set()
        await done.wait()
        await runner.cleanup()

    loops: list[asyncio.AbstractEventLoop] = []
    thread = Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield server
    finally:
        assert done is not None
        loops[0].call_soon_threadsafe(done.set)
        thread.join(30)


async def _events(request: web.Request, events: Iterator[str]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    async for event in _paced(events):
        await response.write(event.encode())
    await response.write_eof()
    return response


async def _paced(events: Iterator[str]) -> AsyncIterator[str]:
    for event in events:
        yield event
        await asyncio.sleep(0)  # lets other streams come between, and each event be a chunk of its own


def _output(body: Json, *caps: str) -> int:
    cap = next((body[name] for name in caps if body.get(name)), None)
    return UNCAPPED_OUTPUT if cap is None else int(cap) - 50


def _text(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _data(value: Json, event: str = "") -> str:
    return (f"event: {event}\n" if event else "") + f"data: {json.dumps(value)}\n\n"
