"""Short ways to say commits, for tests of stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from remit.core.effect import (
    CloseWorkflow,
    Commit,
    Committed,
    Effect,
    EndReservation,
    JoinLabels,
    OpenWorkflow,
    Record,
    Refused,
    Reserve,
)
from remit.core.model import BudgetRow, Versions
from remit.ports import FactsQuery, Store, StoredFacts

EUR = 1_000_000_000
SECOND = 1_000_000_000
START = 1_800_000_000 * SECOND
NEVER = START + 10**9 * SECOND
EVERY = 8  # records from one checkpoint to the next, of the stores under contract


def row(limit: int, budget: str = "month", scope: str = "", *, start: int = 0, end: int = 0) -> BudgetRow:
    """A row of a budget; its window never ends unless told."""
    return BudgetRow(budget, scope, start, end, limit)


@dataclass
class Desk:
    """A store with a clock and ids that count; every method is one commit."""

    store: Store
    time: int = START
    count: int = 0
    revision: str = "r1"
    made: list[str] = field(default_factory=list)

    def record(self, kind: str = "decision", **parts: Any) -> Record:
        """A record with what is told, and an id of its own."""
        self.count += 1
        given: dict[str, Any] = {
            "id": f"d_{self.count:06d}",
            "time": self.time,
            "subject": "ann",
            "workflow": "",
            "parent": "",
            "ref": "",
            "body": b'{"n":"%d"}' % self.count,
            "salt": self.count.to_bytes(16, "big"),
        }
        return Record(kind=kind, **{**given, **parts})

    async def commit(self, *effects: Effect, **parts: Any) -> Committed | Refused:
        """A commit that rests on no versions."""
        return await self.store.commit(Commit(self.record(**parts), effects))

    async def must(self, *effects: Effect, **parts: Any) -> Committed:
        """A commit that is not refused."""
        outcome = await self.commit(*effects, **parts)
        assert isinstance(outcome, Committed), outcome
        return outcome

    async def judged(
        self,
        facts: StoredFacts,
        *effects: Effect,
        subject: str = "ann",
        workflow: str = "",
        revision: str | None = None,
    ) -> Committed | Refused:
        """A commit that rests on facts."""
        seen = Versions(
            labels=facts.labels_version,
            workflow=facts.workflow.version if facts.workflow else 0,
            halts=facts.halts_version,
            revision=self.revision if revision is None else revision,
        )
        record = self.record(subject=subject, workflow=workflow)
        return await self.store.commit(Commit(record, effects, seen, subject, workflow))

    async def facts(
        self, subject: str = "ann", workflow: str = "", *, isolation: str = "process", service: str = "model"
    ) -> StoredFacts:
        """What a decision would be made on."""
        return await self.store.facts(FactsQuery(subject, isolation, workflow, service, ()))

    async def labels(self, subject: str = "ann", workflow: str = "", isolation: str = "process") -> set[str]:
        """The labels alone."""
        return set((await self.facts(subject, workflow, isolation=isolation)).labels)

    def reserving(self, amount: int, *rows: BudgetRow, **parts: Any) -> tuple[str, Reserve]:
        """An id, and the reservation of it."""
        self.count += 1
        given: dict[str, Any] = {
            "decision": f"r_{self.count:06d}",
            "subject": "ann",
            "workflow": "",
            "service": "model",
            "variant": "large",
            "owner": "ml",
            "deadline": self.time + 60 * SECOND,
        }
        effect = Reserve(rows=rows, amount=amount, **{**given, **parts})
        return effect.decision, effect

    async def reserve(self, amount: int, *rows: BudgetRow, **parts: Any) -> str:
        """A reservation that is made."""
        id, effect = self.reserving(amount, *rows, **parts)
        await self.must(effect)
        return id

    async def end(
        self, decision: str, how: str = "settled", cost: int = 0, usage: Mapping[str, int] | None = None
    ) -> Committed:
        """An end of a reservation."""
        return await self.must(
            EndReservation(decision, how, cost, usage or {}, f"digest of {cost}"), kind="report", ref=decision
        )

    async def join(self, *labels: str, subject: str = "ann", workflow: str = "", source: str = "d_source") -> Committed:
        """Labels read."""
        return await self.must(JoinLabels(subject, workflow, dict.fromkeys(labels, source)))

    async def open(
        self,
        id: str,
        opener: str = "ann",
        *,
        expires: int = NEVER,
        labels: Mapping[str, tuple[str, ...]] | None = None,
        trace: str = "",
    ) -> Committed:
        """A workflow."""
        effect = OpenWorkflow(id, opener, ("support",), ("ann", "bob"), expires, trace, labels or {})
        return await self.must(effect, kind="workflow.open")

    async def close(self, id: str, by: str = "ann") -> Committed:
        """Its end."""
        return await self.must(CloseWorkflow(id, by), kind="workflow.close")

    async def room(self, each: BudgetRow) -> tuple[int, int, int]:
        """Limit, spent and held of a row."""
        found = (await self.store.rooms([each]))[0]
        return found.limit, found.spent, found.held
