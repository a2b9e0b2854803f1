"""The agent that surrounds the running code."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, Unpack

from remit.sdk.agent import Agent
from remit.sdk.ambient import current
from remit.sdk.errors import IllegalState
from remit.sdk.question import Standing
from remit.sdk.wrapping import Arguments, Used, govern

P = ParamSpec("P")
R = TypeVar("R")


def current_agent() -> Agent:
    """The agent whose `with` block surrounds the running code; IllegalState outside of any."""
    agent = current().agent
    if not isinstance(agent, Agent):
        raise IllegalState("no agent here: call it inside `async with remit.Agent.connect() as agent`")
    return agent


def governed(
    action: str,
    resource: str,
    *,
    arguments: Arguments | None = None,
    used: Used | None = None,
    **ask: Unpack[Standing],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Like Agent.governed, with whichever agent surrounds the call."""
    return govern(current_agent, action, resource, arguments=arguments, used=used, ask=ask)
