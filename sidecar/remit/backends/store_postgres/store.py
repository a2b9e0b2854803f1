"""The store on PostgreSQL that the members of one installation share; each writes a log of its own.

Writing goes through one connection (`session`), a batch of callers a call (`queue`), so that a decision costs one round
trip. Reading has connections of its own (`reader`).

A batch whose connection broke has happened or not. The next connection takes the log's lock, which nothing that an
older one left behind outlives, and looks the batch's records up by their ids: those that are there are committed, and
their callers are told so; what is not there has not happened, and is sent again. Until this is known nothing else is
written. While PostgreSQL cannot be reached callers get StoreUnavailable, within ANSWER_SECONDS, and the store goes on
as soon as it is back. It gives up for good only where going on would vouch for what is not so: the journal was changed,
records that were answered for are gone, somebody else writes the log, or the schema is newer.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remit.backends.store_postgres.batch import Busy, Outcome, Refusal, outcome, payload
from remit.backends.store_postgres.chain import PAGE, Chain
from remit.backends.store_postgres.journal_logs import verify_all
from remit.backends.store_postgres.parts import Header, Part, dumped, record_json
from remit.backends.store_postgres.queue import ANSWER_SECONDS, Caller, Queue
from remit.backends.store_postgres.read_pool import ReadPool
from remit.backends.store_postgres.reader import PostgresReader
from remit.backends.store_postgres.session import LOCK_SECONDS, LogState, Lost, Rejected, Server, Session, Unknown
from remit.core.canonical import canonical
from remit.core.checkpoint import CheckpointRow, VerifierKey
from remit.core.effect import Commit, Committed, Record, Refused
from remit.core.errors import RemitError, StoreUnavailable
from remit.core.journal import ERASED, JournalRow, Verification
from remit.ports import Clock, Ids

CHECKPOINT_RECORDS = 1024
CHECKPOINT_SECONDS = 10.0
PRUNED_AT_ONCE = 500
"""Rows that one `prune` takes from each table."""

RESOLVE_SECONDS = 9.0
"""How long it is tried to learn what came of a batch, before its callers are left without knowing."""

TRIES = 6
"""How often a batch is sent that other writers' locks or changes got in the way of."""

UNKNOWNS = 3
"""How often a batch is sent whose connection breaks."""

RECALLS = 20
"""How often a commit is tried again, after somebody was asked to give back what it needs."""

AGAIN = ("40001", "40P01", "55P03")
"""serialization_failure, deadlock_detected, lock_not_available."""

FOR_GOOD = ("RM100", "RM101", "RM102", "RM103")
"""What functions/logs.sql raises where the log is not ours to write."""

Recall = Callable[[str, str], Awaitable[bool]]
"""Asks whoever holds a thing to give it back: ('home', subject), ('reservation', decision), ('budget', name).

True where it is worth to try again."""


class PostgresStore(PostgresReader):
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
    ) -> None:
        self._server, self._session, self._chain = server, session, chain
        self._reads = ReadPool(lambda: server.connect("remit-reads"))
        self._clock, self._ids = clock, ids
        self._own, self._recall = own, recall
        self._records, self._seconds = checkpoint_records, checkpoint_seconds
        self._synced = synced
        self._log = chain.log
        self._revision = ""
        self._queue = Queue(self._commit)
        self._unresolved: Sequence[Part] = ()  # of which nobody knows whether they were written
        self._timer: asyncio.TimerHandle | None = None

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
    ) -> PostgresStore:
        """Open the store of which this process writes `log`, of a `kind` ('sidecar', 'desk').

        `key` signs the log's checkpoints: every `checkpoint_records` records, `checkpoint_seconds` after the first
        unsigned one, on open and on close. `own` names the local log by whose allotments the process decides, "" for
        none. `synced` is told how many seconds each batch took to get durable. `patience` and `careless` are as
        Session says. Raises StoreUnavailable: the database cannot be reached, is no store, or older or newer than this
        Remit, its settings may lose what was committed, the role may do too much or too little, another process
        writes the log, or its journal was changed.
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
            check=lambda state: store._look_at(state) if found else found.append(state),
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
        )
        try:
            await session.open()
            (state,) = found
            await chain.take_up(state, store._tail(state.signed))
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
        record = Record(
            kind=ERASED,
            id=self._ids.new("r"),
            time=self._clock.now(),
            subject=by,
            workflow="",
            parent="",
            ref=id,
            body=canonical({"reason": reason}),
            salt=self._ids.salt(),
        )
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
            gone: int = await self._asked("prune", {"now": now, "most": PRUNED_AT_ONCE})
            return gone

        return int(await self._queue.submit(prune))

    async def close(self) -> None:
        """Sign the head, and let go of the log. Raises StoreUnavailable where it could not be signed."""
        try:
            if not self._queue.failure:
                await self.sign()
        finally:
            await self._queue.stop("the store is closed")
            self._stop_timer()
            await self._session.close()
            await self._reads.close()

    async def _commit(self, batch: Sequence[tuple[Part, Caller]]) -> None:
        """One batch, until each of its callers has an answer. Raises StoreUnavailable for those that have none."""
        unknowns, tries = 0, 0
        await self._resolve()
        while batch:
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
                caller.give(Committed(self._log, written[part.record.id]))
        return [each for each in batch if each[0].record.id not in written]

    async def _resolve(self) -> Mapping[str, int]:
        """Learn what came of what is unresolved: id -> sequence of what was written. Raises StoreUnavailable."""
        if not self._unresolved:
            return {}
        ids = [part.record.id for part in self._unresolved]
        end = time.monotonic() + RESOLVE_SECONDS
        while True:
            try:
                found = await self._call("look_up", {"log": self._log, "ids": ids})
                break
            except Lost:
                raise
            except (Unknown, Rejected, StoreUnavailable) as error:
                if time.monotonic() > end:
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
        signed = self._chain.signed_as(sequence, head, self._clock.now())
        request = {
            "log": self._log,
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
            self._chain.signed = signed
            return Committed(self._log, sequence)
        try:
            found = outcome(answer, part, self._chain)
        except Lost as error:
            raise self._fail(error) from None
        if not isinstance(found, Committed):
            assert isinstance(found, RemitError)
            raise found
        self._chain.signed = signed
        return found

    async def _sign(self) -> None:
        """Keep a signed head, if there is anything new in it. Raises StoreUnavailable."""
        self._stop_timer()
        await self._resolve()
        if not self._chain.unsigned:
            return
        signed = self._chain.head_signed(self._clock.now())
        try:
            await self._asked("sign_head", {"log": self._log, "revision": self._revision, **_note(signed)})
        except StoreUnavailable:
            self._set_timer()
            raise
        self._chain.signed = signed

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

    async def _recalled(self, kind: str, name: str) -> bool:
        return self._recall is not None and await self._recall(kind, name)

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
        """A call that may be repeated: whatever goes wrong is StoreUnavailable."""
        try:
            return await self._call(function, request)
        except (Unknown, Rejected) as error:
            raise StoreUnavailable(f"PostgreSQL: {error}") from error

    def _fail(self, error: Lost) -> Lost:
        self._queue.failure = self._queue.failure or error.detail
        self._stop_timer()
        return error

    def _look_at(self, state: LogState) -> None:
        """The lock was taken again. Raises Lost."""
        self._chain.compare(state, pending=bool(self._unresolved))

    async def _tail(self, signed: int) -> AsyncIterator[Sequence[JournalRow]]:
        at = max(0, signed - 1)
        while rows := await self.journal(at, PAGE):
            yield rows
            at = rows[-1].sequence


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
