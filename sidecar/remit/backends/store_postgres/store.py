"""The store on PostgreSQL that the members of one installation share; each writes a log of its own.

Writing goes through one connection, a batch of callers a call (`writer`), so that a decision costs one round trip.
Reading has connections of its own (`reader`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remit.backends.note_file import read_note_file
from remit.backends.store_postgres.batch import Busy, Refusal
from remit.backends.store_postgres.chain import PAGE, Chain
from remit.backends.store_postgres.journal_logs import verify_all
from remit.backends.store_postgres.parts import SLICE_LAPSE_SECONDS, Header, Part, dumped, record_json
from remit.backends.store_postgres.queue import ANSWER_SECONDS
from remit.backends.store_postgres.read_pool import ReadPool
from remit.backends.store_postgres.reader import PostgresReader
from remit.backends.store_postgres.session import LOCK_SECONDS, LogState, Rejected, Server, Session, Unknown
from remit.backends.store_postgres.writer import CHECKPOINT_RECORDS, CHECKPOINT_SECONDS, LogWriter
from remit.core.canonical import canonical
from remit.core.checkpoint import CheckpointRow, VerifierKey
from remit.core.effect import Commit, Committed, LapseSlice, Record, Refused
from remit.core.errors import IllegalTransition, StoreUnavailable
from remit.core.journal import ERASED, JournalRow, Verification
from remit.core.model import BudgetRow
from remit.core.money import decimal_text
from remit.ports import Clock, Ids

ENDED_NANOSECONDS = 30 * 86_400 * 1_000_000_000
"""How long what has ended is kept: approvals, and things that were claimed."""

PRUNED_AT_ONCE = 500
"""Rows that one `prune` takes from each table."""

RECALLS = 20
"""How often a commit is tried again, after somebody was asked to give back what it needs."""

Recall = Callable[[str, str], Awaitable[bool]]
"""Asks whoever holds a thing to give it back: ('home', subject), ('reservation', decision), ('budget', name).

True where it is worth to try again."""


class PostgresStore(LogWriter, PostgresReader):
    """The `Store` port. To be used from one event loop at a time; made by `open`."""

    def __init__(
        self,
        server: Server,
        session: Session,
        chain: Chain,
        *,
        clock: Clock,
        ids: Ids,
        own: str = "",
        recall: Recall | None = None,
        checkpoint_records: int = CHECKPOINT_RECORDS,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        synced: Callable[[float], None] = lambda seconds: None,
        note: Path | None = None,
    ) -> None:
        super().__init__(session, chain, clock.now, own, checkpoint_records, checkpoint_seconds, synced, note)
        self._server, self._clock, self._ids, self._recall = server, clock, ids, recall
        self._reads = ReadPool(lambda: server.connect("remit-reads"))
        self._log = chain.log

    @classmethod
    async def open(
        cls,
        server: Server,
        *,
        log: str,
        kind: str,
        key: Ed25519PrivateKey,
        clock: Clock,
        ids: Ids,
        own: str = "",
        recall: Recall | None = None,
        checkpoint_records: int = CHECKPOINT_RECORDS,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        synced: Callable[[float], None] = lambda seconds: None,
        patience: float = LOCK_SECONDS,
        careless: bool = False,
        note: Path | None = None,
    ) -> PostgresStore:
        """Open the store of which this process writes `log`, of a `kind` ('sidecar', 'desk').

        `key` signs the log's checkpoints: every `checkpoint_records` records, `checkpoint_seconds` after the first
        unsigned one, on open and on close. `own` names the local log by whose allotments the process decides, "" for
        none. `synced` is told how many seconds each batch took to get durable. `patience` and `careless` are as Session
        says. `note` is a file of this member's own that has a copy of the last checkpoint: it tells when the database
        was set back to before it. Raises StoreUnavailable: the database cannot be reached, is no store, or older or
        newer than this Remit, its settings may lose what was committed, the role may do too much or too little, another
        process writes the log, or its journal was changed.
        """
        chain = Chain(log, key)
        found: list[LogState] = []
        public = key.public_key().public_bytes_raw()
        session = Session(
            server,
            log=log,
            kind=kind,
            key=public,
            now=clock.now,
            check=lambda state: store._taken_again(state) if found else found.append(state),
            patience=patience,
            careless=careless,
        )
        store = cls(
            server,
            session,
            chain,
            clock=clock,
            ids=ids,
            own=own,
            recall=recall,
            checkpoint_records=checkpoint_records,
            checkpoint_seconds=checkpoint_seconds,
            synced=synced,
            note=note,
        )
        try:
            await session.open()
            (state,) = found
            await chain.take_up(state, store._tail(state.signed))
            await store._compare_note()
            await session.call("prepare_months", {"time": clock.now()})
            await store._sign()
        except BaseException as error:
            await session.close()
            await store._reads.close()
            if isinstance(error, Rejected | Unknown):
                raise StoreUnavailable(f"{server.where}: {error}") from error
            raise
        return store

    @property
    def log(self) -> str:
        """The name of this writer's log."""
        return self._log

    @property
    def verifier(self) -> VerifierKey:
        """What an auditor pins, as text: `str(store.verifier)`."""
        return self._chain.verifier

    @property
    def checkpoint(self) -> CheckpointRow | None:
        """The last signed head that is durable."""
        return self._chain.signed

    @property
    def failed(self) -> bool:
        """Whether the store has given up for good."""
        return bool(self._queue.failure)

    def activate(self, revision: str) -> None:
        """Refuse commits that were judged by another policy revision."""
        self._revision = revision

    async def commit(self, commit: Commit) -> Committed | Refused:
        """All of it or nothing, durable. Raises as the port says."""
        part = Part.of(self._log, commit)
        end = time.monotonic() + ANSWER_SECONDS
        for turn in range(RECALLS + 1):
            found: Committed | Refusal | Busy = await self._queue.submit(part)
            if isinstance(found, Committed):
                return found
            may_recall = turn < RECALLS and time.monotonic() < end
            if isinstance(found, Busy):
                if not (may_recall and await self._recalled(found.kind, found.name)):
                    break
            elif not (found.allotted and may_recall and await self._recalled("budget", found.refused.name)):
                return found.refused
        assert isinstance(found, Busy)
        what = "the session of" if found.kind == "home" else "the reservation"
        raise StoreUnavailable(f"{what} {found.name} is another member's to decide on for now (log {found.log})")

    async def erase(self, id: str, *, by: str, reason: str) -> Committed:
        """Blank a record's body by a journalled act, and sign a checkpoint over it."""
        record = self._record(ERASED, {"reason": reason}, subject=by, ref=id)
        part = Part(record, Header.of(self._log, record))
        dumped(record_json(record, part.header), record)
        committed: Committed = await self._queue.submit(lambda: self._erase(part))
        return committed

    async def sign(self) -> None:
        """Sign a checkpoint over everything that is recorded by now. Raises StoreUnavailable."""
        await self._queue.submit(self._sign)

    async def verify(self, *also: VerifierKey) -> Sequence[Verification]:
        """Sign the head, so that the key vouches for all of it, and read the whole journal; `also` pins other logs."""
        await self.sign()
        return await verify_all(self._server, [self.verifier, *also])

    async def prune(self, now: int) -> int:
        """Forget some of what has expired; how many rows. Raises StoreUnavailable."""

        async def prune() -> int:
            await self._asked("prepare_months", {"time": self._clock.now()})
            asked = {"now": now, "ended": now - ENDED_NANOSECONDS, "most": PRUNED_AT_ONCE}
            gone: int = await self._asked("prune", asked)
            return gone

        return int(await self._queue.submit(prune)) + await self._lapse_slices()

    async def _compare_note(self) -> None:
        """Whether what this member has signed before is there. Raises Lost."""
        kept = await asyncio.to_thread(read_note_file, self._note) if self._note is not None else ""
        if kept:
            signed = self._chain.own(kept)
            row = await self.journal(signed.size - 1, 1)
            self._chain.compare_kept(signed, row[0].hash if row else b"")

    async def _lapse_slices(self) -> int:
        """Presume spent what slices have left whose writers are gone, each by a record of its own; how many."""
        lapsed = 0
        asked = {"after": SLICE_LAPSE_SECONDS}
        due: list[Any] = await self._queue.submit(lambda: self._asked("slices_due", asked))
        for log, (budget, scope, start, end, limit), left in due:
            row = BudgetRow(budget, scope, start, end, limit)
            body = {"budget": budget, "scope": scope, "start": str(start), "end": str(end), "log": log}
            record = self._record("allotment", {**body, "lapsed": decimal_text(left)})
            try:
                await self.commit(Commit(record, (LapseSlice(log, row, left),)))
            except IllegalTransition:
                continue  # another member was faster, or its writer is back
            lapsed += 1
        return lapsed

    def _record(self, kind: str, body: Mapping[str, str], *, subject: str = "", ref: str = "") -> Record:
        """A record of what the store does by itself, or for somebody."""
        return Record(
            kind=kind,
            id=self._ids.new("r"),
            time=self._clock.now(),
            subject=subject,
            workflow="",
            parent="",
            ref=ref,
            body=canonical(body),
            salt=self._ids.salt(),
        )

    async def close(self) -> None:
        """Sign the head, and let go of the log. Raises StoreUnavailable where it could not be signed."""
        self._closing = True
        try:
            if not self._queue.failure:
                await self.sign()
        finally:
            await self._queue.stop("the store is closed")
            self._stop_timer()
            await self._session.close()
            await self._reads.close()

    async def ask(self, function: str, request: Mapping[str, Any]) -> Any:
        """Call a function that may be called again, between two commits. Raises StoreUnavailable."""
        return await self._queue.submit(lambda: self._asked(function, request))

    async def _recalled(self, kind: str, name: str) -> bool:
        return self._recall is not None and await self._recall(kind, name)

    async def _tail(self, signed: int) -> AsyncIterator[Sequence[JournalRow]]:
        at = max(0, signed - 1)
        while rows := await self.journal(at, PAGE):
            yield rows
            at = rows[-1].sequence
