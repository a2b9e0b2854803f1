"""One agent as a process: jobs come as lines of JSON on stdin, answers go as lines of JSON to stdout.

    python -m remit.demo.agents.run NAME analysis|decision|communication straight|governed

NAME is who it believes to be; with Remit, its credential has to prove it. Where the APIs are, and what is shown to
them, stands in the environment, as `effects.py` says; where the database is too, for those who open it (`straight.py`).

A line out is `{"result": …}`, `{"failed": …}`, or, while the work goes on, `{"noted": {"id", "effect", "said"}}` for
every decision that the agent was answered. The process ends with its stdin.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import httpx2
import openai

import remit
from remit.demo.agents import analysis, communication, decision
from remit.demo.effects import Effects
from remit.demo.governed import GovernedSeam
from remit.demo.seam import Job, NoAnswer, NoRow, Powers, Refused, Result, Seam
from remit.demo.straight import StraightSeam

Work = Callable[[Job, Powers], Awaitable[Result]]
SECONDS = 20.0
AT_ONCE = httpx2.Limits(max_connections=64, max_keepalive_connections=64)
FAILURES = (Refused, NoAnswer, NoRow, sqlite3.Error, remit.RemitError, openai.OpenAIError, httpx2.HTTPError)
AGENTS: Mapping[str, Mapping[str, Work]] = {
    "analysis": analysis.JOBS,
    "decision": decision.JOBS,
    "communication": communication.JOBS,
}


async def main(name: str, kind: str, mode: str) -> None:
    """Work until stdin ends."""
    lines = await _lines()
    async with _http(mode) as http, _seam(mode, name, Effects(http, os.environ)) as seam:
        say({"ready": name})
        while line := await lines.readline():
            say(await done(AGENTS[kind], Job.read(json.loads(line)), seam))


async def done(jobs: Mapping[str, Work], job: Job, seam: Seam) -> dict[str, Any]:
    """What came of one job; a failure is told, and the next job is taken."""
    try:
        async with seam.powers(job) as powers:
            return {"result": asdict(await jobs[job.kind](job, powers))}
    except FAILURES as failure:
        return {"failed": f"{type(failure).__name__}: {failure}"}


def _http(mode: str) -> httpx2.AsyncClient:
    """What requests leave by; with Remit, the workflow goes along to the egress, and to nobody else."""
    if mode == "straight":
        return httpx2.AsyncClient(timeout=SECONDS, limits=AT_ONCE)
    client: httpx2.AsyncClient = remit.async_httpx_client(library=httpx2, timeout=SECONDS, limits=AT_ONCE)
    return client


@asynccontextmanager
async def _seam(mode: str, name: str, effects: Effects) -> AsyncIterator[Seam]:
    if mode == "straight":
        yield StraightSeam(os.environ["CRM_DATABASE"], effects)
        return
    async with remit.Agent.connect(name=name) as agent:
        yield GovernedSeam(agent, effects, note)


def note(decision: str, effect: str, said: str) -> None:
    """Tell of a decision that was answered."""
    say({"noted": {"id": decision, "effect": effect, "said": said}})


def say(document: Mapping[str, Any]) -> None:
    """One line out."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


async def _lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
