"""Tests that run in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec

P = ParamSpec("P")

_RUNNERS: list[asyncio.Runner] = []


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """The test, run in an event loop: its own, or that of a fixture's `one_loop`; fixtures reach it as without."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        if _RUNNERS:
            _RUNNERS[-1].run(test(*args, **kwargs))
        else:
            asyncio.run(test(*args, **kwargs))

    return run


@contextmanager
def one_loop() -> Iterator[asyncio.Runner]:
    """One loop for what a fixture opens, its test and what the fixture closes: connections belong to a loop."""
    with asyncio.Runner() as runner:
        _RUNNERS.append(runner)
        try:
            yield runner
        finally:
            _RUNNERS.remove(runner)


async def until(holds: Callable[[], bool], seconds: float = 5) -> None:
    """Wait until something holds that tells nobody; TimeoutError if it does not in time."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
