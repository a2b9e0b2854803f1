"""Takes what was decided locally to the shared store: in order, and once.

The shared store moves a log's head only to what follows it. So a shipment whose outcome nobody knows is just sent
again: where it had arrived, the shared store says how far the log has come.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from typing import Any, Protocol

from remit.backends.store_shared.local import LocalStore, Parcel
from remit.core.errors import StoreUnavailable
from remit.core.journal import JournalRow
from remit.ports import CheckpointRow

RECORDS = 256
"""Records in one shipment."""

FLUSH_SECONDS = 5.0


class Calls(Protocol):
    """Calls functions of the shared store, one after the other."""

    async def call(self, function: str, payload: dict[str, Any], /) -> Any:
        """The function's answer. Raises StoreUnavailable; what was asked for may have happened all the same."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...


class Shipping:
    """Ships a local log. `shipped` is how far it has come."""

    def __init__(self, local: LocalStore, calls: Calls) -> None:
        self._local, self._calls = local, calls
        self._one_at_a_time = asyncio.Lock()
        self._head = 0  # size of the last checkpoint that was shipped
        self._forgotten = 0
        self.shipped = 0

    async def look(self) -> None:
        """Ask how far the log has come. Raises StoreUnavailable, also where more was shipped than the file has."""
        answer = await self._calls.call("ship", self._payload(-1, Parcel((), (), ())))
        self._arrived(int(answer["sequence"]))
        if self.shipped > self._local.last:
            raise StoreUnavailable(
                f"{self._local.path} ends at record {self._local.last} of log {self._local.log}, but the shared store "
                f"has {self.shipped}: the file is an old copy; move it away to begin a new log"
            )

    def since(self) -> int | None:
        """When the oldest record was made that is not shipped; None where everything is."""
        return self._local.first_after(self.shipped) if self._local.last > self.shipped else None

    async def ship(self) -> None:
        """Ship everything that is there now. Raises StoreUnavailable."""
        async with self._one_at_a_time:
            while True:
                parcel = self._local.parcel(self.shipped, self._head, RECORDS)
                if not parcel.records and not parcel.checkpoints:
                    return
                await self._send(parcel)
                if self.shipped - self._forgotten >= RECORDS * 16:
                    await self._local.forget(self.shipped)
                    self._forgotten = self.shipped

    async def _send(self, parcel: Parcel) -> None:
        answer = await self._calls.call("ship", self._payload(self.shipped + 1, parcel))
        self._arrived(int(answer["sequence"]))
        if parcel.checkpoints and parcel.checkpoints[-1].size <= self.shipped:
            self._head = parcel.checkpoints[-1].size

    def _arrived(self, sequence: int) -> None:
        # A failover may have lost what had arrived: as long as it is still here, it is shipped again.
        if sequence < self._forgotten:
            raise StoreUnavailable(
                f"the shared store has lost records of log {self._local.log}: "
                f"it had {self._forgotten} and has {sequence}"
            )
        self.shipped = sequence

    def _payload(self, first: int, parcel: Parcel) -> dict[str, Any]:
        return {
            "log": self._local.log,
            "first": first,
            "records": [_record(row) for row in parcel.records],
            "effects": parcel.effects,
            "checkpoints": [_checkpoint(each) for each in parcel.checkpoints],
        }


def _checkpoint(row: CheckpointRow) -> dict[str, Any]:
    return {"size": row.size, "hash": row.hash.hex(), "time": row.time, "note": row.note}


def _record(row: JournalRow) -> dict[str, Any]:
    record = row.record
    return {
        "sequence": row.sequence,
        "time": record.time,
        "kind": record.kind,
        "id": record.id,
        "subject": record.subject,
        "workflow": record.workflow,
        "parent": record.parent,
        "ref": record.ref,
        "previous": row.previous.hex(),
        "hash": row.hash.hex(),
        "body_hash": row.body_hash.hex(),
        "salt": b64encode(record.salt).decode(),
        "body": b64encode(record.body).decode(),
    }
