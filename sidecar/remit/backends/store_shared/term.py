"""The lease under which a sidecar decides by itself, and what it hears from the others at each pulse.

The lease is an interval: the shared store counts it from when it was told, we from before we asked, so that ours ends
first whatever the clocks say. Once it has passed, others may take what was ours: it is never prolonged then, and a new
term begins with closed books.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from remit.backends.store_shared.effects import row_json
from remit.backends.store_shared.mirror import Mirror
from remit.core.model import BudgetRoom, BudgetRow, Halt

LEASE_SECONDS = 1.0
PULSE_SECONDS = 0.25
MARGIN_SECONDS = 0.1
"""What the two machines' clocks may differ in speed over a lease, and then some."""


class Pulses(Protocol):
    """A connection of its own, so that a long shipment does not delay it."""

    async def call(self, function: str, payload: dict[str, Any], /) -> Any:
        """The function's answer. Raises StoreUnavailable."""
        ...

    async def heard(self, seconds: float) -> None:
        """Wait until something is told to all members, or for so long."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...


class Term:
    """`number` counts terms; `rows` and `subjects` are what others want back, as of the last pulse."""

    def __init__(self, log: str, mirror: Mirror, monotonic: Callable[[], float]) -> None:
        self._log, self._mirror, self._monotonic = log, mirror, monotonic
        self._until = float("-inf")
        self.begun = False
        self.number = 0
        self.members = 1
        self.rows: Sequence[BudgetRow] = ()
        self.subjects: Sequence[str] = ()

    @property
    def live(self) -> bool:
        """Whether nobody else may have taken what is ours."""
        return self.begun and self._monotonic() < self._until

    def lose(self) -> None:
        """The term is over; what was ours may be others'."""
        self.begun = False

    async def begin(self, calls: Callable[[str, dict[str, Any]], Any], now: int) -> None:
        """Begin one, with nothing allotted: all that was decided before must be shipped. Raises StoreUnavailable."""
        asked = self._monotonic()
        answer = await calls("begin_term", {**self._asking((), ()), "now": now})
        self._mirror.clear()
        self._until = asked + LEASE_SECONDS - MARGIN_SECONDS
        self.begun = True
        self.number += 1
        self._take(answer)

    async def pulse(self, pulses: Pulses) -> bool:
        """Prolong the lease, and compare what is in use; False where it is lost. Raises StoreUnavailable."""
        asked = self._monotonic()
        flows, rows = self._mirror.in_use()
        answer = await pulses.call("pulse", self._asking(flows, rows))
        if answer.get("lost"):
            self.lose()
            return False
        self._until = asked + LEASE_SECONDS - MARGIN_SECONDS
        self._take(answer)
        rooms = [BudgetRoom(row, *known) for row, known in zip(rows, answer["rooms"], strict=True) if known is not None]
        self._mirror.compared(closed=answer["closed"], flows=flows, rooms=rooms, asked=asked)
        return True

    def _asking(self, flows: Sequence[str], rows: Sequence[BudgetRow]) -> dict[str, Any]:
        return {
            "log": self._log,
            "lease_ms": int(LEASE_SECONDS * 1000),
            "flows": list(flows),
            "rooms": [row_json(row) for row in rows],
        }

    def _take(self, answer: Mapping[str, Any]) -> None:
        self.members = int(answer["members"])
        self.rows = [BudgetRow(budget, scope, start, end, 0) for budget, scope, start, end in answer["rows"]]
        self.subjects = answer["subjects"]
        halts = answer["halts"]
        self._mirror.halted(int(halts["version"]), [Halt(*each) for each in halts["list"]])
