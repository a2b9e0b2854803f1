"""Whoever gives the three agents their work, and carries their messages; it neither reads nor decides anything."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from subprocess import Popen
from typing import Any

from aiohttp import ClientSession

from remit.demo.children import ChildFailed, Children, Worker, python, until
from remit.demo.places import Layout
from remit.demo.seam import Job

AGENTS = ("analysis", "decision", "communication")
KINDS: Mapping[str, str] = {"decision": "decide", "communication": "tell"}


@dataclass(frozen=True, slots=True)
class Upstreams:
    """The third parties: base URLs, and their processes."""

    models: str
    mail: str
    processes: tuple[Popen[bytes], ...] = ()

    async def answer(self) -> bool:
        """Whether both can be reached."""
        try:
            await self.books()
        except OSError:
            return False
        return True

    async def books(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What each wrote down: the model API's entries, the e-mail API's entries."""
        return await _fetch(f"{self.models}/books"), await _fetch(f"{self.mail}/books")

    async def inbox(self) -> list[dict[str, str]]:
        """What the e-mail API was handed."""
        received: list[dict[str, str]] = await _fetch(f"{self.mail}/inbox")
        return received

    async def prompts(self) -> list[str]:
        """What the model API was told."""
        told: list[str] = await _fetch(f"{self.models}/prompts")
        return told


async def _fetch(url: str) -> Any:
    async with ClientSession() as session, session.get(url, raise_for_status=True) as response:
        return await response.json()


async def start_upstreams(children: Children, layout: Layout, stem: str, ports: Sequence[int]) -> Upstreams:
    """Two third parties, each a process with its own key and books, under names with that stem."""
    kinds = dict(zip(("models", "mail"), ports, strict=True))
    processes = tuple(
        children.start(
            f"{stem}-{kind}",
            python(
                *("remit.demo.upstream.serve", kind, str(port)),
                *(str(layout.books / f"{stem}-{kind}.jsonl"), str(layout.key(kind))),
            ),
        )
        for kind, port in kinds.items()
    )
    urls = {kind: f"http://127.0.0.1:{port}" for kind, port in kinds.items()}
    upstreams = Upstreams(**urls, processes=processes)
    if not await until(upstreams.answer, seconds=20):
        raise ChildFailed(f"the third parties did not start (logs: {children.log(f'{stem}-*')})")
    return upstreams


async def start_agents(
    children: Children, mode: str, environments: Mapping[str, Mapping[str, str]]
) -> dict[str, Worker]:
    """The three agents, each a process with its own environment (and in it, its own credential)."""
    started = (start_agent(children, (name, name, mode), environments[name]) for name in AGENTS)
    return dict(zip(AGENTS, await asyncio.gather(*started), strict=True))


async def start_agent(children: Children, how: tuple[str, str, str], environment: Mapping[str, str]) -> Worker:
    """One agent; `how` is its name, which agent it is, and straight or governed."""
    name, _, mode = how
    command = python("remit.demo.agents.run", *how)
    process = await children.talk(f"{name}-{mode}", command, environment)
    worker = Worker(name, process, children.log(f"{name}-{mode}"))
    await worker.ready()
    return worker


async def onboard(workers: Mapping[str, Worker], customer: str, workflow: str) -> Mapping[str, Any]:
    """One customer from analysis to the letter; returns what the last agent says of it."""
    result = await workers["analysis"].do(Job("onboard", customer, workflow))
    while (message := result.envelope) is not None:
        worker = workers.get(message.to)
        if worker is None:
            raise ChildFailed(f"a message to {message.to}, who does not exist")
        result = await worker.do(Job(KINDS[message.to], customer, envelope=message))
    return result.end
