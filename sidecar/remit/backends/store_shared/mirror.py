"""What decisions at home rest on, without asking the shared store: sessions, workflows, halts and budgets' room.

A session can be relied on while it is at home here: nobody else changes it meanwhile. Everything else may be changed
by others, and is relied on for a second after it was last compared with the shared store; a commit compares what it
was judged on with what stands here then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from remit.backends.store_sqlite.refusal import Refusal
from remit.core.effect import Commit, Effect, KeepAnswer
from remit.core.model import BudgetRoom, BudgetRow, Halt, RowKey
from remit.core.reason import Reason
from remit.ports import FactsQuery, StoredFacts, WorkflowState

FRESH_SECONDS = 1.0
MOST = 20_000
"""Sessions and rows that are remembered; beyond them all are forgotten, and asked for anew."""


class NotHere(Exception):
    """It is not to be decided here: the shared store decides it."""


@dataclass(slots=True)
class _Flow:
    """What a subject holds in a workflow."""

    labels: Mapping[str, tuple[str, ...]]
    version: int
    workflow: WorkflowState | None
    checked: float  # when its workflow was last compared
    used: bool = True


@dataclass(slots=True)
class _Room:
    room: BudgetRoom
    checked: float
    used: bool = True


@dataclass(slots=True)
class _Home:
    """A subject at home: which answers are kept for it (None: too many to know), and which labels it has joined.

    `absent` are keys of which the shared store said, while the subject was at home, that it keeps no answer for them.
    """

    kept: set[tuple[str, str]] | None
    absent: set[tuple[str, str]] = field(default_factory=set)
    joined: dict[str, set[str]] = field(default_factory=dict)  # workflow -> labels
    flows: dict[tuple[str, str], _Flow] = field(default_factory=dict)  # (workflow, isolation)
    changes: int = 0


class Mirror:
    """`monotonic` tells seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._homes: dict[str, _Home] = {}
        self._rooms: dict[RowKey, _Room] = {}
        self._halts: Sequence[Halt] = ()
        self._halts_version = 0
        self.revision = ""

    def clear(self) -> None:
        """A term has ended: nothing is at home any more."""
        self._homes.clear()
        self._rooms.clear()

    # What is at home

    def at_home(self, subject: str) -> bool:
        """Whether nobody else decides on this session."""
        return subject in self._homes

    def settle(self, subject: str, kept: Iterable[tuple[str, str]] | None) -> None:
        """From now on its session is at home."""
        self._homes[subject] = _Home(set(kept) if kept is not None else None)

    def leave(self, subject: str) -> None:
        """No more."""
        self._homes.pop(subject, None)

    def surely_new(self, subject: str, rpc: str, key: str) -> bool:
        """Whether no answer is kept for the key but perhaps a local one."""
        home = self._homes.get(subject)
        return home is not None and home.kept is not None and (rpc, key) not in home.kept

    def stay(self, subject: str) -> object:
        """The stay of a session at home, which ends when it leaves; None where it is not at home."""
        return self._homes.get(subject)

    def note_absent(self, subject: str, rpc: str, key: str, stay: object) -> None:
        """The shared store, which was asked during that stay, keeps no answer for the key."""
        home = self._homes.get(subject)
        if home is not None and home is stay:
            if len(home.absent) >= MOST:
                home.absent.clear()
            home.absent.add((rpc, key))

    def note_kept(self, subject: str, rpc: str, key: str) -> None:
        """An answer is kept in the shared store."""
        home = self._homes.get(subject)
        if home is not None:
            home.absent.discard((rpc, key))
            if home.kept is not None:
                home.kept.add((rpc, key))

    def has_joined(self, subject: str, workflow: str, labels: Iterable[str]) -> bool:
        """Whether joining these changes nothing: they stand in that very share."""
        home = self._homes.get(subject)
        return home is not None and home.joined.get(workflow, set()).issuperset(labels)

    def note_joined(self, subject: str, workflow: str, labels: Iterable[str]) -> None:
        """They stand in that share now."""
        home = self._homes.get(subject)
        if home is not None:
            home.joined.setdefault(workflow, set()).update(labels)

    def changed(self, subject: str) -> None:
        """Its labels or workflows may be others now."""
        home = self._homes.get(subject)
        if home is not None:
            home.flows.clear()
            home.changes += 1

    def ended(self, workflow: str) -> None:
        """A workflow was closed: whoever acts in it, or has a share in it, has another session now."""
        for home in self._homes.values():
            home.joined.pop(workflow, None)
            if any(name == workflow for name, _ in home.flows):
                home.flows.clear()
                home.changes += 1

    # Facts

    def facts(self, query: FactsQuery) -> StoredFacts | None:
        """The facts as far as they can be relied on; None where the shared store must be asked."""
        if query.things or query.object:
            return None  # claims and acts are anybody's, and not told of here
        home = self._homes.get(query.subject)
        flow = home.flows.get((query.workflow, query.isolation)) if home is not None else None
        rooms = [self._rooms.get(row.key) for row in query.rows]
        fresh = self._monotonic() - FRESH_SECONDS
        if flow is None or (flow.workflow is not None and flow.checked < fresh):
            return None
        budgets = []
        for row, known in zip(query.rows, rooms, strict=True):
            if known is None or known.checked < fresh:
                return None
            known.used = True
            limit = known.room.limit - known.room.row.limit + row.limit
            budgets.append(replace(known.room, row=row, limit=limit))
        flow.used = True
        covering = {("agent", query.subject), ("workflow", query.workflow), ("service", query.service), ("all", "")}
        return StoredFacts(
            labels=flow.labels,
            labels_version=flow.version,
            workflow=flow.workflow,
            halts=tuple(each for each in self._halts if each.scope == "policy" or (each.scope, each.value) in covering),
            halts_version=self._halts_version,
            budgets=tuple(budgets),
        )

    def changes(self, subject: str) -> int:
        """Counts what may have changed of a subject; -1 where it is not at home."""
        home = self._homes.get(subject)
        return home.changes if home is not None else -1

    def learn(self, query: FactsQuery, facts: StoredFacts, *, since: int, asked: float) -> None:
        """Take what the shared store told, asked at that moment, unless something changed `since`."""
        home = self._homes.get(query.subject)
        if home is not None and home.changes == since:
            if len(home.flows) >= MOST:
                home.flows.clear()
            key = (query.workflow, query.isolation)
            home.flows[key] = _Flow(facts.labels, facts.labels_version, facts.workflow, asked)
        if len(self._rooms) >= MOST:
            self._rooms.clear()
        for room in facts.budgets:
            self._rooms[room.row.key] = _Room(room, asked)

    def room(self, row: BudgetRow) -> BudgetRoom | None:
        """A row as the shared store last told it."""
        known = self._rooms.get(row.key)
        return known.room if known else None

    # Comparing with the shared store

    def in_use(self) -> tuple[list[str], list[BudgetRow]]:
        """The workflows and rows that were used since this was last asked: what is to be compared."""
        flows = [flow for home in self._homes.values() for flow in home.flows.values() if flow.used]
        rooms = [room for room in self._rooms.values() if room.used]
        for flow in flows:
            flow.used = False
        for room in rooms:
            room.used = False
        return sorted({flow.workflow.id for flow in flows if flow.workflow}), [room.room.row for room in rooms]

    def compared(
        self, *, closed: Iterable[str], flows: Iterable[str], rooms: Sequence[BudgetRoom], asked: float
    ) -> None:
        """What the comparison found, asked at that moment."""
        for workflow in closed:
            self.ended(workflow)
        compared = set(flows)
        for home in self._homes.values():
            for flow in home.flows.values():
                if flow.workflow is not None and flow.workflow.id in compared:
                    flow.checked = max(flow.checked, asked)
        for room in rooms:
            self._rooms[room.row.key] = _Room(room, asked, used=False)

    def halted(self, version: int, halts: Sequence[Halt]) -> None:
        """The halts in force."""
        self._halts_version, self._halts = version, halts

    def check(self, commit: Commit) -> None:
        """Raise NotHere where the shared store must decide, Refusal where what a decision was made on has changed."""
        seen, home = commit.versions, self._homes.get(commit.subject)
        if seen is None or home is None:
            raise NotHere
        isolation = "workflow" if seen.labels < 0 else "process"
        flow = home.flows.get((commit.workflow, isolation))
        if flow is None or not all(self._may_keep(home, each) for each in commit.effects):
            raise NotHere
        if seen.revision != self.revision:
            raise Refusal(Reason.FACTS_CHANGED, "policy")
        if seen.halts != self._halts_version:
            raise Refusal(Reason.FACTS_CHANGED, "halts")
        if commit.workflow:
            state = flow.workflow
            if state is None or flow.checked < self._monotonic() - FRESH_SECONDS:
                raise NotHere
            if state.state != "open" or state.expires <= commit.record.time:
                raise Refusal(Reason.WORKFLOW_INVALID, commit.workflow)
            if state.version != seen.workflow:
                raise Refusal(Reason.FACTS_CHANGED, "workflow")
        if flow.version != seen.labels:
            raise Refusal(Reason.FACTS_CHANGED, "labels")

    @staticmethod
    def _may_keep(home: _Home, effect: Effect) -> bool:
        """Whether no answer but perhaps a local one is kept for the key: another sidecar may have kept one before the
        session came home, and after this decision was begun."""
        if not isinstance(effect, KeepAnswer):
            return True
        key = (effect.rpc, effect.key)
        return key in home.absent or (home.kept is not None and key not in home.kept)
