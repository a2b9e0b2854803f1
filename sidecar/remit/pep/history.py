"""What agents did in the last ten minutes, as this process saw it: kept in memory, by the minute.

It is for stopping what goes wrong again and again, not for the books: a restart forgets it, and sidecars of one agent
each count for themselves. What is done about it (a halt, an approval) is durable and holds everywhere.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Hashable
from typing import TypeVar

from remit.core.approval import Bind, binding
from remit.core.model import History, Request

MINUTE = 60 * 1_000_000_000
MINUTES = 10
MOST_AGENTS = 2_000
MOST_KEYS = 2_000
"""What is counted for one agent in one minute; beyond it nothing new is: an agent that floods its own history only
loses sight of itself, of nobody else."""
MOST_DECISIONS = 1_000
"""Decisions of one agent whose ends are still to be told apart."""

DENIALS, ASKED, FAILED = "denials", "asked", "failed"

T = TypeVar("T")


class Window:
    """Counts of ten minutes, by the minute; of at most `most` keys in a minute, where agents make them up."""

    def __init__(self, most: int = 0) -> None:
        self._most = most
        self._minutes: deque[tuple[int, Counter[Hashable]]] = deque()

    def add(self, key: Hashable, now: int, amount: int = 1) -> None:
        """Count it."""
        counter = self._current(now)
        if not self._most or key in counter or len(counter) < self._most:
            counter[key] += amount

    def count(self, key: Hashable, now: int) -> int:
        """How much of it there was."""
        self._forget(now)
        return sum(counter[key] for _, counter in self._minutes)

    def _current(self, now: int) -> Counter[Hashable]:
        minute = now // MINUTE
        self._forget(now)
        if not self._minutes or self._minutes[-1][0] < minute:
            self._minutes.append((minute, Counter()))
        return self._minutes[-1][1]

    def _forget(self, now: int) -> None:
        oldest = now // MINUTE - MINUTES
        while self._minutes and self._minutes[0][0] <= oldest:
            self._minutes.popleft()


class Watched:
    """What is counted of one agent: its `actions` by what they were, and `totals` whose keys the catalogue bounds.
    `decided` says of its latest decisions what was done, `ended` which of them have ended."""

    def __init__(self) -> None:
        self.actions = Window(MOST_KEYS)
        self.totals = Window()
        self.decided: OrderedDict[str, Hashable] = OrderedDict()
        self.ended: OrderedDict[str, None] = OrderedDict()


class Histories:
    """The history of each agent. The least recently seen goes first where there are too many."""

    def __init__(self) -> None:
        self._agents: OrderedDict[str, Watched] = OrderedDict()

    def of(self, request: Request, now: int) -> History:
        """What the agent did before this request."""
        watched = self._agents.get(request.subject.id)
        if watched is None:
            return History()
        denials = watched.totals.count(DENIALS, now)
        if not request.context.workflow:
            return History(denials=denials)
        action = action_of(request)
        asked, failed = (watched.actions.count((what, action), now) for what in (ASKED, FAILED))
        return History(asked, failed, denials)

    def asked(self, request: Request, decision: str, now: int) -> int:
        """A request was decided; how often the same was by now. 0 outside of workflows, where it is not counted."""
        if not request.context.workflow:
            return 0
        action = action_of(request)
        _keep(self.watched(request.subject.id).decided, decision, action)
        return self._count(request.subject.id, (ASKED, action), now)

    def failed(self, subject: str, decision: str, now: int) -> int:
        """What was decided has failed; how often the same has by now. 0 where nothing is known of it any more."""
        action = self.watched(subject).decided.get(decision)
        return 0 if action is None else self._count(subject, (FAILED, action), now)

    def ended(self, subject: str, decision: str) -> bool:
        """What was decided has ended; whether that is news. It ends once, however often an agent says so."""
        ended = self.watched(subject).ended
        if decision in ended:
            return False
        _keep(ended, decision, None)
        return True

    def total(self, subject: str, key: Hashable, now: int, amount: int = 1) -> int:
        """Count something of an agent whose keys are bounded; how much of it there is by now."""
        totals = self.watched(subject).totals
        totals.add(key, now, amount)
        return totals.count(key, now)

    def forgive(self, subject: str) -> None:
        """Count anew for an agent: what it did was answered."""
        watched = self.watched(subject)
        watched.actions, watched.totals = Window(MOST_KEYS), Window()

    def watched(self, subject: str) -> Watched:
        """All that is counted of an agent."""
        watched = self._agents.get(subject)
        if watched is None:
            watched = self._agents[subject] = Watched()
            while len(self._agents) > MOST_AGENTS:
                self._agents.popitem(last=False)
        self._agents.move_to_end(subject)
        return watched

    def _count(self, subject: str, key: Hashable, now: int) -> int:
        actions = self.watched(subject).actions
        actions.add(key, now)
        return actions.count(key, now)


def _keep(known: OrderedDict[str, T], decision: str, value: T) -> None:
    known[decision] = value
    while len(known) > MOST_DECISIONS:
        known.popitem(last=False)


def action_of(request: Request) -> Hashable:
    """The very action, in its workflow: the arguments are in it, what says why is not."""
    return binding(Bind.EXACT, request)
