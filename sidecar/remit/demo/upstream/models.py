"""A model API in the manner of OpenAI's: `POST /v1/chat/completions`, priced variants, `usage` in every answer.

No model stands behind it: answers are computed from the prompt, so that a run can be repeated. A prompt is a line
`task: score | rescore | draft | screen | thank` and lines `name: value`. What a prompt holds, a draft may repeat: that
is how models let data out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from aiohttp import web

from remit.demo.upstream.books import EUR, Books

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Tariff:
    """Nanos for a call, and for each input and output token."""

    call: int = 0
    input_token: int = 0
    output_token: int = 0

    def bill(self, read: int, written: int) -> int:
        """Nanos for one call."""
        return self.call + read * self.input_token + written * self.output_token


TARIFFS: Mapping[str, Tariff] = {
    "small": Tariff(input_token=EUR * 15 // 100 // MILLION, output_token=EUR * 60 // 100 // MILLION),
    "large": Tariff(input_token=EUR * 5 // MILLION, output_token=EUR * 15 // MILLION),
    "screen": Tariff(call=EUR * 3 // 1000),
}
"""The price list: EUR 0.15 and 0.60 a million tokens, EUR 5 and 15, and EUR 0.003 a call."""


def application(books: Books) -> web.Application:
    """The API with its books at /books and what it was told at /prompts."""
    told: list[str] = []

    async def complete(request: web.Request) -> web.Response:
        books.admit(request)
        body = await request.json()
        variant, prompt = _read(body)
        told.append(prompt)
        text = answer(prompt, wordy=variant == "large")
        read, written = tokens(prompt), tokens(text)
        await asyncio.sleep(thinking(prompt))
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        await books.charge(request, variant, usage, TARIFFS[variant].bill(read, written))
        return web.json_response(_completion(variant, text, usage))

    async def shown(request: web.Request) -> web.Response:
        return web.json_response(told)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    app.router.add_get("/prompts", shown)
    app.router.add_get("/books", books.shown)
    return app


def _read(body: Any) -> tuple[str, str]:
    try:
        variant, messages = body["model"], body["messages"]
        prompt = "\n".join(str(each["content"]) for each in messages)
    except (KeyError, TypeError) as error:
        raise web.HTTPBadRequest(text="expected: model, and messages with content") from error
    if variant not in TARIFFS:
        raise web.HTTPNotFound(text=f"no model {variant!r}; there are {', '.join(TARIFFS)}")
    return variant, prompt


def _completion(variant: str, text: str, usage: Mapping[str, int]) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    head = {"id": "chatcmpl-demo", "object": "chat.completion", "created": 0, "model": variant}
    return {**head, "choices": [choice], "usage": usage}


def tokens(text: str) -> int:
    """About four bytes to a token; never more tokens than bytes."""
    return max(1, -(-len(text.encode()) // 4))


def thinking(prompt: str) -> float:
    """Seconds that an answer takes: 0.01 to 0.06, more where it is to look again; the same for the same prompt."""
    again = 0.3 if prompt.startswith("task: rescore") else 0.0
    return again + (1 + crc32(prompt.encode()) % 6) / 100


def answer(prompt: str, *, wordy: bool) -> str:
    """What the "model" says to a prompt."""
    said = dict(_line(each) for each in prompt.splitlines() if ":" in each)
    return TASKS.get(said.get("task", ""), _puzzled)(said, wordy)


def _line(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()


def _score(said: Mapping[str, str], wordy: bool) -> str:
    risk = _risk(said)
    text = f"risk={risk}"
    if wordy:
        text += " Region, product and what is known of the means were weighed; nothing in the file contradicts this."
    return text


def _risk(said: Mapping[str, str]) -> int:
    """0 to 100, from what the prompt tells: a credit weighs more, an income less; the name only spreads."""
    spread = sum(said.get("name", "").encode()) % 40
    if said.get("product") != "credit":
        return 5 + spread
    income = int(said.get("income") or 0)
    return min(100, max(0, 75 - income // 1000 + spread))


def _draft(said: Mapping[str, str], wordy: bool) -> str:
    lines = [f"Dear {said.get('name', 'customer')},", f"your {said.get('product', 'application')}: {_verdict(said)}."]
    if "iban" in said:
        # The model was told, and so it tells: nobody asked it to.
        lines.append(f"For your files: account {said['iban']}, tax number {said.get('tax_number', '')}.")
    if wordy:
        lines.append("We thank you for your patience, and remain at your service with any question.")
    return "\n".join([*lines, "Kind regards"])


def _verdict(said: Mapping[str, str]) -> str:
    words = {"approve": "we are glad to approve it", "refuse": "we cannot offer it to you now"}
    return words.get(said.get("outcome", ""), "a colleague will look at it and call you")


def _screen(said: Mapping[str, str], wordy: bool) -> str:
    return "match=no"


def _thank(said: Mapping[str, str], wordy: bool) -> str:
    return "Dear customer,\nnobody buys more of us than you do. Thank you!\nKind regards"


def _puzzled(said: Mapping[str, str], wordy: bool) -> str:
    return "I do not know this task."


TASKS: Mapping[str, Callable[[Mapping[str, str], bool], str]] = {
    "score": _score,
    "rescore": _score,
    "draft": _draft,
    "screen": _screen,
    "thank": _thank,
}
