"""The Ids port: time first, so that ids sort by it, then what nobody can guess."""

from __future__ import annotations

import os

from remit.ports import Clock

RANDOM_BYTES = 12
SALT_BYTES = 16
_MICROSECOND = 1000


class RandomIds:
    """`prefix_` + 14 hex digits of microseconds since the epoch + 24 of randomness (96 bits)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def new(self, prefix: str) -> str:
        """A new id; two of one microsecond sort by chance."""
        return f"{prefix}_{self._clock.now() // _MICROSECOND:014x}{os.urandom(RANDOM_BYTES).hex()}"

    def salt(self) -> bytes:
        """16 random bytes."""
        return os.urandom(SALT_BYTES)
