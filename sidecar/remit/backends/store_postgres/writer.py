"""The writing end of one log: batches of commits, erasures and checkpoints, one call after the other.

A batch whose connection broke has happened or not. The next connection takes the log's lock, which nothing that an
older one left behind outlives, and looks the batch's records up by their ids: those that are there are committed, and
their callers are told so; what is not there has not happened, and is sent again. Until this is known nothing else is
written. While PostgreSQL cannot be reached callers get StoreUnavailable, within ANSWER_SECONDS, and the store goes on
as soon as it is back. It gives up for good only where going on would vouch for what is not so: the journal was changed,
records that were answered for are gone, somebody else writes the log, or the schema is newer.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from remit.backends.note_file import write_note_file
from remit.backends.store_postgres.batch import Outcome, outcome, payload
from remit.backends.store_postgres.chain import Chain
from remit.backends.store_postgres.parts import Part, record_json
from remit.backends.store_postgres.queue import Caller, Queue
from remit.backends.store_postgres.session import LogState, Lost, Rejected, Session, Unknown
from remit.core.checkpoint import CheckpointRow
from remit.core.effect import Committed
from remit.core.errors import RemitError, StoreUnavailable

CHECKPOINT_RECORDS = 1024
CHECKPOINT_SECONDS = 10.0

RESOLVE_SECONDS = 9.0
"""How long it is tried to learn what came of a batch, before its callers are left without knowing."""

LAST_SECONDS = 1.0
"""The same once the store is to be closed: the next start finds out."""

TRIES = 6
"""How often a batch is sent that other writers' locks or changes got in the way of."""

UNKNOWNS = 3
"""How often a batch is sent whose connection breaks."""

AGAIN = ("40001", "40P01", "55P03")
"""serialization_failure, deadlock_detected, lock_not_available."""

FOR_GOOD = ("RM100", "RM101", "RM102", "RM103")
"""What functions/logs.sql raises where the log is not ours to write."""

_log = logging.getLogger(__name__)


class LogWriter:
    """What a store writes with. `own` is the local log by whose allotments its process decides; `now` in ns."""

    def __init__(
        self,
        session: Session,
        chain: Chain,
        now: Callable[[], int],
        own: str,
        checkpoint_records: int,
        checkpoint_seconds: float,
        synced: Callable[[float], None],
        note: Path | None = None,
    ) -> None:
        self._note = note
        self._session, self._chain = session, chain
        self._now, self._own, self._synced = now, own, synced
        self._records, self._seconds = checkpoint_records, checkpoint_seconds
        self._revision = ""  # of the policy in force
        self._queue = Queue(self._commit)
        self._unresolved: Sequence[Part] = ()  # of which nobody knows whether they were written
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False

    async def _commit(self, batch: Sequence[tuple[Part, Caller]]) -> None:
        """One batch, until each of its callers has an answer. Raises StoreUnavailable for those that have none."""
        unknowns, tries = 0, 0
        await self._resolve()
        # Whoever was told meanwhile that there is no answer is not begun.
        while batch := [each for each in batch if not each[1].answer.done()]:
            began = time.monotonic()
            try:
                answer = await self._call("commit", self._payload(batch))
            except Unknown as error:
                unknowns += 1
                batch = await self._left_over(batch, error)
                if unknowns >= UNKNOWNS:
                    raise StoreUnavailable(f"the connection to PostgreSQL broke again and again: {error}") from error
            except Rejected as error:
                tries += 1
                if error.code in AGAIN and tries < TRIES:
                    await asyncio.sleep(random.random() * 0.02 * tries)  # noqa: S311
                elif len(batch) == 1:
                    batch[0][1].fail(StoreUnavailable(f"PostgreSQL refused it: {error}"))
                    return
                else:  # it may be one of them alone that cannot be
                    for each in batch:
                        await self._commit([each])
                    return
            else:
                self._synced(time.monotonic() - began)
                await self._answer(batch, answer)
                return

    def _payload(self, batch: Sequence[tuple[Part, Caller]]) -> bytes:
        return payload([part for part, _ in batch], self._chain, own=self._own, revision=self._revision)

    async def _answer(self, batch: Sequence[tuple[Part, Caller]], answer: Mapping[str, object]) -> None:
        told = answer["outcomes"]
        if not isinstance(told, list) or len(told) != len(batch):
            raise self._fail(Lost("the database did not answer to each commit of a batch"))
        try:
            found = [outcome(each, part, self._chain) for each, (part, _) in zip(told, batch, strict=True)]
        except Lost as error:
            raise self._fail(error) from None
        await self._sign_if_due()
        for (_, caller), each in zip(batch, found, strict=True):
            _tell(caller, each)

    async def _left_over(self, batch: Sequence[tuple[Part, Caller]], error: Unknown) -> Sequence[tuple[Part, Caller]]:
        """Answer those whose records are there; the others, of which nothing has happened. Raises StoreUnavailable."""
        self._unresolved = [part for part, _ in batch]
        try:
            written = await self._resolve()
        except Lost:
            raise
        except StoreUnavailable as again:
            raise StoreUnavailable(f"the connection to PostgreSQL broke ({error}), and then: {again.detail}") from again
        for part, caller in batch:
            if part.record.id in written:
                caller.give(Committed(self._chain.log, written[part.record.id]))
        return [each for each in batch if each[0].record.id not in written]

    async def _resolve(self) -> Mapping[str, int]:
        """Learn what came of what is unresolved: id -> sequence of what was written. Raises StoreUnavailable."""
        if not self._unresolved:
            return {}
        ids = [part.record.id for part in self._unresolved]
        began = time.monotonic()
        while True:
            try:
                found = await self._call("look_up", {"log": self._chain.log, "ids": ids})
                break
            except Lost:
                raise
            except (Unknown, Rejected, StoreUnavailable) as error:
                if time.monotonic() - began > (LAST_SECONDS if self._closing else RESOLVE_SECONDS):
                    said = error.detail if isinstance(error, StoreUnavailable) else str(error)
                    raise StoreUnavailable(said) from error
            await asyncio.sleep(0.05)
        headers = {part.record.id: part.header for part in self._unresolved}
        written: dict[str, int] = {}
        try:
            for id, sequence, hash_ in found["found"]:
                self._chain.follow(headers[id], sequence, bytes.fromhex(hash_))
                written[id] = sequence
            self._chain.compare(LogState(found["sequence"], bytes.fromhex(found["head"]), 0, ""), pending=False)
        except Lost as error:
            raise self._fail(error) from None
        self._unresolved = ()
        return written

    async def _erase(self, part: Part) -> Committed:
        await self._resolve()
        sequence, head = self._chain.sequence + 1, part.header.hash(self._chain.head, self._chain.sequence + 1)
        signed = self._chain.signed_as(sequence, head, self._now())
        request = {
            "log": self._chain.log,
            "sequence": self._chain.sequence,
            "head": self._chain.head.hex(),
            "record": record_json(part.record, part.header),
            "checkpoint": _note(signed),
        }
        try:
            answer = await self._call("erase", request)
        except Rejected as error:
            raise StoreUnavailable(f"PostgreSQL refused it: {error}") from error
        except Unknown as error:
            self._unresolved = [part]
            written = await self._resolve()
            if part.record.id not in written:
                raise StoreUnavailable(
                    f"the connection to PostgreSQL broke, and nothing was erased: {error}"
                ) from error
            await self._keep(signed)
            return Committed(self._chain.log, sequence)
        try:
            found = outcome(answer, part, self._chain)
        except Lost as error:
            raise self._fail(error) from None
        if not isinstance(found, Committed):
            assert isinstance(found, RemitError)
            raise found
        await self._keep(signed)
        return found

    async def _sign(self) -> None:
        """Keep a signed head, if there is anything new in it. Raises StoreUnavailable."""
        self._stop_timer()
        await self._resolve()
        if not self._chain.unsigned:
            return
        signed = self._chain.head_signed(self._now())
        try:
            await self._asked("sign_head", {"log": self._chain.log, "revision": self._revision, **_note(signed)})
        except StoreUnavailable:
            self._set_timer()
            raise
        await self._keep(signed)

    async def _keep(self, signed: CheckpointRow) -> None:
        """A signed head is durable in the database: keep a copy of it here too, where a restored database finds it."""
        self._chain.signed = signed
        if self._note is None:
            return
        try:
            await asyncio.to_thread(write_note_file, self._note, signed.note)
        except OSError as error:  # the older copy stays: it promises less
            _log.warning("the last checkpoint could not be copied to %s: %s", self._note, error)

    async def _sign_if_due(self) -> None:
        """After every batch. What could not be signed now is tried again: its records are durable all the same."""
        if self._chain.unsigned >= self._records:
            try:
                await self._sign()
            except Lost:
                raise
            except StoreUnavailable:
                return  # the timer is set; the age of the last checkpoint tells of it
        if self._chain.unsigned:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is None and not self._queue.failure:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._sign_soon)

    def _sign_soon(self) -> None:
        self._timer = None
        if not self._queue.failure:
            self._queue.submit(self._sign).add_done_callback(_look_at)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _call(self, function: str, request: Mapping[str, object] | bytes) -> Any:
        """Call, and give up for good where that is told. Raises as Session.call does."""
        try:
            return await self._session.call(function, request)
        except Lost as error:
            raise self._fail(error) from None
        except Rejected as error:
            if error.code in FOR_GOOD:
                raise self._fail(
                    Lost(f"{error.said}: another process writes it, or the database was replaced")
                ) from error
            raise

    async def _asked(self, function: str, request: Mapping[str, object]) -> Any:
        """A call that may be repeated, once where its connection broke; what else goes wrong is StoreUnavailable."""
        try:
            try:
                return await self._call(function, request)
            except Unknown:
                return await self._call(function, request)
        except (Unknown, Rejected) as error:
            raise StoreUnavailable(f"PostgreSQL: {error}") from error

    def _fail(self, error: Lost) -> Lost:
        self._queue.failure = self._queue.failure or error.detail
        self._stop_timer()
        return error

    def _taken_again(self, state: LogState) -> None:
        """The lock was taken again. Raises Lost."""
        self._chain.compare(state, pending=bool(self._unresolved))


def _tell(caller: Caller, found: Outcome) -> None:
    if isinstance(found, RemitError):
        caller.fail(found)
    else:
        caller.give(found)


def _note(signed: CheckpointRow) -> dict[str, object]:
    return {"size": signed.size, "hash": signed.hash.hex(), "time": signed.time, "note": signed.note}


def _look_at(signing: asyncio.Future[None]) -> None:
    """A checkpoint that could not be made shows in the age of the last; the store's failure shows by itself."""
    if not signing.cancelled():
        signing.exception()
