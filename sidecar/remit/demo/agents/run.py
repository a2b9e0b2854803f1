"""One agent as a process: jobs come as lines of JSON on stdin, answers go as lines of JSON to stdout.

    python -m remit.demo.agents.run NAME analysis|decision|communication straight|governed DATABASE MODELS MAIL

NAME is who it believes to be; with Remit, its credential has to prove it.

A line out is `{"result": …}`, `{"failed": …}`, or, while the work goes on, `{"noted": {"id", "effect"}}` for every
decision that the agent was answered. The process ends with its stdin.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import remit
from remit.demo.agents import analysis, communication, decision
from remit.demo.effects import Effects, Places, UpstreamFailed
from remit.demo.governed import GovernedSeam
from remit.demo.seam import Job, NoAnswer, Powers, Refused, Result, Seam
from remit.demo.straight import StraightSeam

Work = Callable[[Job, Powers], Awaitable[Result]]
AGENTS: Mapping[str, Mapping[str, Work]] = {
    "analysis": analysis.JOBS,
    "decision": decision.JOBS,
    "communication": communication.JOBS,
}


async def main(name: str, kind: str, mode: str, *where: str) -> None:
    """Work until stdin ends."""
    database, models, mail = where
    places = Places(Path(database), models, mail)
    lines = await _lines()
    async with Effects(places) as effects, _seam(mode, name, effects) as seam:
        say({"ready": name})
        while line := await lines.readline():
            say(await done(AGENTS[kind], Job.read(json.loads(line)), seam))


async def done(jobs: Mapping[str, Work], job: Job, seam: Seam) -> dict[str, Any]:
    """What came of one job; a failure is told, and the next job is taken."""
    try:
        async with seam.powers(job) as powers:
            return {"result": asdict(await jobs[job.kind](job, powers))}
    except (Refused, NoAnswer, UpstreamFailed, remit.RemitError) as failure:
        return {"failed": f"{type(failure).__name__}: {failure}"}


@asynccontextmanager
async def _seam(mode: str, name: str, effects: Effects) -> AsyncIterator[Seam]:
    if mode == "straight":
        yield StraightSeam(effects)
        return
    async with remit.Agent.connect(name=name) as agent:
        yield GovernedSeam(agent, effects, note)


def note(decision: remit.Decision) -> None:
    """Tell of a decision that was answered."""
    say({"noted": {"id": decision.id, "effect": decision.effect.value}})


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
