"""The caller of a call that is held: whether it may be kept waiting for an approval, and when it has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from remit.listeners.grpc_limits import Places
from remit.listeners.grpc_status import Overloaded
from remit.pep.outwait import Patience


class Caller:
    """Whom we wait for; `hold_on` is told how long (ns) before the waiting begins."""

    def __init__(self, hold_on: Callable[[int], Awaitable[None]] | None = None) -> None:
        self._hold_on = hold_on
        self._gone = asyncio.Event()
        self.refused = False
        """Whether it was to wait, and there was no place for that."""

    async def stays(self, wait: int) -> bool:
        """Begin to wait, unless it has gone."""
        if self._hold_on is not None and not self._gone.is_set():
            await self._hold_on(wait)
        return not self._gone.is_set()

    async def left(self) -> None:
        """Return once it waits no more."""
        await self._gone.wait()

    def turn_away(self) -> None:
        """There is no place to wait in."""
        self.refused = True

    def leave(self) -> None:
        """It waits no more: it has gone, or is sent away."""
        self._gone.set()


class Seat:
    """What one call takes of the places: while it is decided those for deciding, while it waits those for waiting.

    Who waits takes nothing from those who are being decided. Both bound calls, and bytes of bodies. Raises Overloaded
    where there is no room to decide.
    """

    def __init__(self, deciding: tuple[Places, Places], waiting: tuple[Places, Places], caller: str, size: int) -> None:
        self._deciding, self._waiting, self._caller, self._size = deciding, waiting, caller, size
        self._held: tuple[Places, Places] | None = None
        self._take(deciding)

    def wait(self) -> bool:
        """Change over to a place for waiting; False where there is none, and then nothing has changed."""
        before = self._held
        try:
            self._take(self._waiting)
        except Overloaded:
            return False
        self._give_back(before)
        return True

    def leave(self) -> None:
        """Give back what is taken, once."""
        before, self._held = self._held, None
        self._give_back(before)

    def _take(self, places: tuple[Places, Places]) -> None:
        calls, sizes = places
        calls.take(self._caller)
        try:
            sizes.take(self._caller, self._size)
        except Overloaded:
            calls.give_back(self._caller)
            raise
        self._held = places

    def _give_back(self, places: tuple[Places, Places] | None) -> None:
        if places is not None:
            places[0].give_back(self._caller)
            places[1].give_back(self._caller, self._size)


class Seated:
    """The caller's patience, as far as there is a place to wait in."""

    def __init__(self, patience: Caller, seat: Seat) -> None:
        self._caller, self._seat = patience, seat

    async def stays(self, wait: int) -> bool:
        """Whether there is a place, and the caller stays."""
        if not self._seat.wait():
            self._caller.turn_away()
            return False
        return await self._caller.stays(wait)

    async def left(self) -> None:
        """Return once the caller waits no more."""
        await self._caller.left()


def seated(caller: Caller | None, seat: Seat) -> Patience | None:
    """The patience of a caller; None where there is none."""
    return None if caller is None else Seated(caller, seat)
