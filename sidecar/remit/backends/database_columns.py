"""The catalogue's columns in a database, of either kind: asked for once, and told where they are not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from remit.core.view.model import Columns
from remit.ports import DatabaseFailed, Failure

_SHOWN = 10


def refuse_any(problems: Sequence[str]) -> None:
    """Raise DatabaseFailed (NOT_FIT) with the first of what is wrong, where anything is."""
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DatabaseFailed(Failure.NOT_FIT, "; ".join(problems[:_SHOWN]) + more)


class AskedColumns:
    """Columns as a database tells of them: asked for by whoever needs them first, and again where that failed."""

    def __init__(self, ask: Callable[[], Awaitable[Columns]]) -> None:
        self._ask = ask
        self._asking = asyncio.Lock()
        self._found: Columns | None = None

    @asynccontextmanager
    async def doubted(self) -> AsyncIterator[None]:
        """While a statement made from them runs: where a name of it is not there, the next to need them asks again."""
        try:
            yield
        except DatabaseFailed as error:
            if error.absent:
                self._found = None
            raise

    async def get(self) -> Columns:
        """What was found once, until it is doubted. Raises DatabaseFailed."""
        if self._found is None:
            async with self._asking:
                if self._found is None:
                    self._found = await self._ask()
        return self._found
