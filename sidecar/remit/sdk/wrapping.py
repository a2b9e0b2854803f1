"""A function whose every call is governed: authorised before, reported after."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, cast

from remit.sdk.action import Action, BlockingAction
from remit.sdk.portal import Portal
from remit.sdk.question import Ask, Standing, refuse_unknown

P = ParamSpec("P")
R = TypeVar("R")

Arguments = Callable[..., Mapping[str, Any]]
Used = Callable[[Any], Mapping[str, int]]


class Governor(Protocol):
    """The agent who acts."""

    @property
    def portal(self) -> Portal:
        """The way into its event loop."""
        ...

    def action(self, action: str, resource: str, **ask: Unpack[Ask]) -> Action:
        """An act of it."""
        ...


def govern(
    agent: Callable[[], Governor],
    action: str,
    resource: str,
    *,
    arguments: Arguments | None,
    used: Used | None,
    ask: Standing,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator. The agent is looked up at each call."""
    refuse_unknown(ask, Standing)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        def act(*args: P.args, **kwargs: P.kwargs) -> tuple[Action, Portal]:
            given = {"arguments": arguments(*args, **kwargs)} if arguments else {}
            acting = agent()
            return acting.action(action, resource, **cast(Ask, {**ask, **given})), acting.portal

        return _wrap(function, act, used)

    return decorate


def _wrap(function: Callable[P, R], act: Callable[P, tuple[Action, Portal]], used: Used | None) -> Callable[P, R]:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        # It would be reported before it has run.
        raise TypeError(f"{function.__qualname__} is a generator; govern it inside, with agent.action(...)")
    if inspect.iscoroutinefunction(function):
        return cast(Callable[P, R], _asynchronous(function, act, used))
    return _blocking(function, act, used)


def _asynchronous(
    function: Callable[P, Awaitable[R]], act: Callable[P, tuple[Action, Portal]], used: Used | None
) -> Callable[P, Awaitable[R]]:
    @functools.wraps(function)
    async def governed(*args: P.args, **kwargs: P.kwargs) -> R:
        action, _ = act(*args, **kwargs)
        async with action:
            result = await function(*args, **kwargs)
            if used:
                action.used(**used(result))
            return result

    return governed


def _blocking(function: Callable[P, R], act: Callable[P, tuple[Action, Portal]], used: Used | None) -> Callable[P, R]:
    @functools.wraps(function)
    def governed(*args: P.args, **kwargs: P.kwargs) -> R:
        with BlockingAction(*act(*args, **kwargs)) as action:
            result = function(*args, **kwargs)
            if inspect.isawaitable(result):
                raise TypeError(f"{function.__qualname__} returned an awaitable; write it as `async def`")
            if used:
                action.used(**used(result))
            return result

    return governed
