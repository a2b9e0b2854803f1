"""Accepting a message: once awaited, or for a block that acts in the message's workflow."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

from remit.sdk.ambient import scope
from remit.sdk.answers import Accepted


class Acceptance:
    """`await` it, or enter it with `async with`; either way once."""

    def __init__(self, accept: Callable[[], Coroutine[Any, Any, Accepted]]) -> None:
        self._accept = accept
        self._scope: AbstractContextManager[None] = nullcontext()

    def __await__(self) -> Generator[Any, None, Accepted]:
        return self._accept().__await__()

    async def __aenter__(self) -> Accepted:
        accepted = await self._accept()
        self._scope = within(accepted)
        self._scope.__enter__()
        return accepted

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scope.__exit__(None, None, None)


def within(accepted: Accepted) -> AbstractContextManager[None]:
    """The message's workflow; what follows has the acceptance as its parent, as that has the sender's decision."""
    # The purpose belonged to whatever was going on before the message came.
    return scope(workflow=accepted.workflow, purpose="", parent=accepted.decision.id)
