"""What docs/sdk.md shows, works."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import remit
from fakes.sidecar_fake import TOKENS, SidecarFake, sidecar_in_thread

PAGE = Path(__file__).parents[2] / "docs" / "sdk.md"
TEXT = PAGE.read_text(encoding="utf-8")
SNIPPETS = [
    pytest.param(found.group(1), id=f"line {TEXT[: found.start()].count(chr(10)) + 1}")
    for found in re.finditer(r"```python\n(.*?)```", TEXT, re.DOTALL)
]


class Model(BaseHTTPRequestHandler):
    """A model API with one answer."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"usage": {"prompt_tokens": 7, "completion_tokens": 5}}')

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def model() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


async def _call_the_model() -> str:
    return "hi"


async def _answer(lead: remit.Agent) -> None:
    """Offer a hundred rows of an export, and approve all else."""
    async for request in lead.reviews():
        if request.resource == "tool:export":
            await request.offer({"arguments": {"rows": 100}}, "a hundred will do")
        else:
            await request.approve("fine")


async def _ask(agent: remit.Agent) -> None:
    await agent.authorize("tool.call", "tool:payments", arguments={"to": "ana"}, wait=60)


async def _run(snippet: str, fake: SidecarFake) -> None:
    tokens = {agent: token for token, agent in TOKENS.items()}
    async with (
        remit.Agent.connect(fake.address, tokens["writer"]) as writer,
        remit.Agent.connect() as agent,
    ):
        around = {
            "remit": remit,
            "agent": agent,
            "writer": writer,
            "lead": writer,
            "call_the_model": _call_the_model,
            "context": (await agent.open_workflow(["support"])).context,
        }
        others = asyncio.ensure_future(_ask(agent) if "reviews()" in snippet else _answer(writer))
        fake.calls.clear()
        code = compile(snippet, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, around)
        if inspect.iscoroutine(result):
            await result
        others.cancel()
        await asyncio.wait({others})
        if "channel" in around:
            await around["channel"].close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_each_snippet_runs(snippet: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a sidecar that lets everything pass but the large images, and it is asked."""
    with sidecar_in_thread() as fake:
        monkeypatch.setenv("REMIT_ADDRESS", fake.address)
        monkeypatch.setenv("REMIT_TOKEN", "token-support")
        fake.deny("service:images", "approval_required")
        fake.hold("tool:payments")
        fake.hold("tool:export")
        asyncio.run(_run(snippet.replace("https://api.openai.com", model), fake))

        assert fake.calls or "channel" in snippet


def test_the_error_tree_is_complete() -> None:
    """The page names every error that there is."""
    errors = {error.__name__ for error in (remit.RemitError, remit.Denied, *remit.RemitError.__subclasses__())}

    assert errors | {"Held"} <= set(re.findall(r"`remit\.(\w+)`", TEXT))


def test_the_page_uses_nothing_that_is_not_there() -> None:
    """Each `remit.name` of the page is a public name."""
    named = set(re.findall(r"\bremit\.([a-zA-Z_]+)", TEXT)) - {"sock", "sdk"}

    assert named <= set(remit.__all__)
