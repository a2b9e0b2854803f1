"""Many calls at once: the upstream keeps all that reach it waiting until each has reached it or was refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from fakes.budget_stage import FLAT, Heard, Stage, call, request
from fakes.budget_upstream import Play, whole_answer
from fakes.loop import until


@dataclass(frozen=True, slots=True)
class Caller:
    """One of those who come at once; `to` is a service, `kind` its API, `workflow` a context."""

    to: str
    kind: str = "openai"
    model: str = "flat"
    who: str = "support"
    workflow: str = ""
    key: str = ""
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Rush:
    """What became of them: `reached` and `refused` stand for themselves while all still waited; `held` was then held
    in the budget that was asked for."""

    reached: Sequence[str]
    refused: Sequence[Heard]
    answered: Sequence[Heard]
    held: int

    @property
    def codes(self) -> set[str]:
        """Why they were refused."""
        return {each.code for each in self.refused}


async def rush(stage: Stage, callers: Sequence[Caller], *, budget: tuple[str, str] = ("all", "")) -> Rush:
    """All of them at once, and then to their end."""
    go_on = asyncio.Event()
    names = [stage.upstream.add(_waiting(each, go_on)) for each in callers]
    calling = [
        asyncio.create_task(call(stage, _request(each, name))) for each, name in zip(callers, names, strict=True)
    ]
    before = len(stage.upstream.arrivals)

    def decided() -> bool:
        return len(stage.upstream.arrivals) - before + sum(each.done() for each in calling) >= len(calling)

    await until(decided, 30)
    reached = [each.name for each in stage.upstream.arrivals[before:]]
    held = stage.room(*budget)[1]
    go_on.set()
    heard = await asyncio.gather(*calling)
    refused = [each for each, name in zip(heard, names, strict=True) if name not in reached]
    return Rush(reached, refused, [each for each in heard if each not in refused], held)


def _waiting(caller: Caller, go_on: asyncio.Event) -> Play:
    play = whole_answer(caller.kind, caller.stream)
    play.stop, play.go_on = 0, go_on
    play.bill = FLAT if caller.model == "flat" else play.bill
    return play


def _request(caller: Caller, name: str) -> bytes:
    return request(
        name,
        caller.kind,
        stream=caller.stream,
        model=caller.model,
        to=caller.to,
        who=caller.who,
        remit_workflow=caller.workflow,
        remit_key=caller.key,
    )
