"""How a guard unwinds one caller's part of a transaction."""

from __future__ import annotations

from remit.core.effect import Refused
from remit.core.reason import Reason


class Refusal(Exception):
    """A guard said no: the caller's savepoint is rolled back, and `refused` is its answer."""

    def __init__(self, reason: Reason, name: str) -> None:
        super().__init__(reason, name)
        self.refused = Refused(reason, name)
