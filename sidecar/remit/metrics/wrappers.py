"""Wrappers around ports, so that the inside never mentions metrics."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic as system_monotonic
from typing import Any, cast

from remit.core.decision import Verdict
from remit.core.effect import Commit, Committed, Refused
from remit.core.errors import PolicyFailure, StoreUnavailable
from remit.core.reason import Reason
from remit.core.view.model import TableView
from remit.metrics.registry import Metrics
from remit.ports import Pdp, Reservation, Store

REFUSED_SECONDS = 10.0


class MeteredPdp:
    """A Pdp that tells whether it is up. A verdict that cannot be used says nothing of that."""

    def __init__(self, pdp: Pdp, metrics: Metrics) -> None:
        self._pdp = pdp
        self._metrics = metrics

    @property
    def revision(self) -> str:
        """That of the Pdp within."""
        return self._pdp.revision

    async def ask(self, document: Mapping[str, object]) -> Verdict:
        """Ask the Pdp within."""
        with self._told():
            return await self._pdp.ask(document)

    def reads_time(self, dataset: str) -> bool:
        """What the Pdp within says."""
        return self._pdp.reads_time(dataset)

    async def view(self, dataset: str, tables: Sequence[str], document: Mapping[str, object]) -> Sequence[TableView]:
        """Ask the Pdp within."""
        with self._told():
            return await self._pdp.view(dataset, tables, document)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except PolicyFailure as failure:
            self._metrics.pdp(up=failure.reason is not Reason.PDP_UNAVAILABLE)
            raise
        self._metrics.pdp(up=True)


class Unsigned:
    """Since when records wait to be signed, as far as they are told here; to a second."""

    def __init__(self, monotonic: Callable[[], float] = system_monotonic) -> None:
        self._monotonic = monotonic
        self._waiting: deque[tuple[int, float]] = deque()
        """The last record of each second, and when it came; the newest last."""

    def recorded(self, sequence: int, signed: int) -> None:
        """A record is in the journal, of which so many are signed."""
        now = self._monotonic()
        if self._waiting and now - self._waiting[-1][1] < 1.0:
            now = self._waiting.pop()[1]
        self._waiting.append((sequence, now))
        self._drop(signed)

    def seconds(self, signed: int) -> float:
        """How long the oldest has waited; 0 where none does."""
        self._drop(signed)
        return self._monotonic() - self._waiting[0][1] if self._waiting else 0.0

    def _drop(self, signed: int) -> None:
        while self._waiting and self._waiting[0][0] <= signed:
            self._waiting.popleft()


class _MeteredStore:
    """A Store that tells whether it answers and records; everything else goes straight to the one within."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._records = not store.failed
        self._answers = True
        self._refused = system_monotonic()
        self._unsigned = Unsigned()
        self._tell()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, commit: Commit) -> Committed | Refused:
        try:
            done = await self._store.commit(commit)
        except StoreUnavailable:
            self._records, self._refused = False, system_monotonic()
            raise
        else:
            self._records = self._answers = True
            if isinstance(done, Committed) and done.log == self._store.log:
                self._unsigned.recorded(done.sequence, self._signed())
        finally:
            self._tell()
        return done

    async def due(self, now: int, limit: int) -> Sequence[Reservation]:
        """Asked twice a second, whether or not anybody decides anything: so a store that is away shows at once."""
        try:
            found = await self._store.due(now, limit)
        except StoreUnavailable:
            self._answers = False
            raise
        else:
            self._answers = True  # which does not show that it can record
        finally:
            self._tell()
        return found

    def problem(self) -> str:
        if not self._answers:
            return "the store does not answer"
        # For a while only: who is asked nothing for it would never show that it records again.
        if not self._records and system_monotonic() - self._refused < REFUSED_SECONDS:
            return "the store does not record"
        return ""

    def unsigned(self) -> float:
        return self._unsigned.seconds(self._signed())

    def _signed(self) -> int:
        checkpoint = self._store.checkpoint
        return checkpoint.size if checkpoint else 0

    def _tell(self) -> None:
        self._metrics.store(up=self._records and self._answers)


def metered_store(store: Store, metrics: Metrics, unshipped: Callable[[], float] | None = None) -> Store:
    """The store, telling whether it answers and records, and for how long records wait to be signed.

    `unshipped` are seconds that the oldest has waited to be in the shared store, where it decides ahead of that.
    """
    metered = _MeteredStore(store, metrics)
    metrics.journal(metered.unsigned, unshipped)
    metrics.store_problem = metered.problem
    return cast(Store, metered)
