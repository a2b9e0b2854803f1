"""Whatever is done to budgets and reservations, in whatever order: the store and a model of it agree at each step."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from counts import COUNTS, PROFILE
from fakes.commits import EUR, SECOND, Desk, row
from fakes.revenants import Memory, Sqlite, on_postgres, planted
from fakes.store_postgres import Installation
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from remit.backends.store_sqlite.ledger import Ledger
from remit.core.effect import AdjustBudget, Committed, EndReservation, ProlongReservation, Refused, Reserve
from remit.core.errors import IllegalTransition, StoreUnavailable
from remit.core.model import BudgetRow

ROWS = {"month": row(10 * EUR), "ann": row(6 * EUR, "each", "ann"), "bob": row(6 * EUR, "each", "bob")}
AMOUNTS = st.integers(0, 5).map(lambda euros: euros * EUR)
NAMES = st.sets(st.sampled_from(sorted(ROWS))).map(sorted)


@dataclass
class Hold:
    """A reservation, as the model knows it."""

    amount: int
    rows: list[str]
    deadline: int
    state: str = "held"
    cost: int = 0


@dataclass
class Model:
    """The ledger in a few lines: nothing is kept but the reservations and the adjustments."""

    holds: dict[str, Hold] = field(default_factory=dict)
    adjusted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROWS, 0))
    excused: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROWS, 0))  # overruns, and limits lowered

    def limit(self, name: str) -> int:
        return ROWS[name].limit + self.adjusted[name]

    def held(self, name: str) -> int:
        return sum(each.amount for each in self.holds.values() if name in each.rows and each.state == "held")

    def spent(self, name: str) -> int:
        return sum(each.cost for each in self.holds.values() if name in each.rows)

    def has_room(self, amount: int, names: list[str]) -> bool:
        return not amount or all(self.spent(name) + self.held(name) + amount <= self.limit(name) for name in names)

    def excuse(self, names: list[str], amount: int) -> None:
        for name in names:
            self.excused[name] += amount


class LedgerMachine(RuleBasedStateMachine):
    """Rules are what callers, enforcement points, the sweeper, operators and the power company do."""

    world_type: type[Memory] = Memory
    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.world = self.world_type()
        self.model = Model()

    @property
    def desk(self) -> Desk:
        return self.world.desk

    @initialize()
    def begin(self) -> None:
        """Time runs in the desk."""
        self.began = self.desk.time

    @rule(target=holds, amount=AMOUNTS, names=NAMES, seconds=st.integers(1, 9))
    def reserve(self, amount: int, names: list[str], seconds: int) -> str:
        id, effect = self._reserving(amount, names, seconds)
        fits = self.model.has_room(amount, names)
        outcome = self.world.run(self.desk.commit(effect))
        assert isinstance(outcome, Committed if fits else Refused)
        if fits:
            self.model.holds[id] = Hold(amount, names, effect.deadline)
        return id

    @rule(amount=AMOUNTS, names=NAMES, callers=st.integers(2, 8))
    def reserve_at_once(self, amount: int, names: list[str], callers: int) -> None:
        """Callers of the same moment get what one after the other would."""
        asked = [self._reserving(amount, names, 5) for _ in range(callers)]

        async def all_of_them() -> list[Committed | Refused]:
            return await asyncio.gather(*(self.desk.commit(effect) for _, effect in asked))

        for (id, effect), outcome in zip(asked, self.world.run(all_of_them()), strict=True):
            assert isinstance(outcome, Committed) == self.model.has_room(amount, names)
            if isinstance(outcome, Committed):
                self.model.holds[id] = Hold(amount, names, effect.deadline)

    @rule(id=holds, cost=AMOUNTS)
    def settle(self, id: str, cost: int) -> None:
        if self._end(id, "settled", cost, legal=("held", "lapsed")):
            hold = self.model.holds[id]
            self.model.excuse(hold.rows, max(0, cost - hold.amount))
            hold.cost = cost

    @rule(id=holds)
    def void(self, id: str) -> None:
        self._end(id, "voided", 0, legal=("held",))

    @rule(id=holds)
    def lapse(self, id: str) -> None:
        hold = self.model.holds.get(id)
        due = hold is not None and hold.deadline <= self.desk.time
        if self._end(id, "lapsed", 0, legal=("held",) if due else ()) and hold:
            hold.cost = hold.amount

    @rule(id=holds, seconds=st.integers(-5, 9))
    def prolong(self, id: str, seconds: int) -> None:
        hold = self.model.holds.get(id)
        if hold is None or hold.state != "held":
            return
        deadline = self.desk.time + seconds * SECOND
        self.world.run(self.desk.must(ProlongReservation(id, deadline)))
        hold.deadline = max(hold.deadline, deadline)

    @rule(name=st.sampled_from(sorted(ROWS)), euros=st.integers(-4, 4))
    def adjust(self, name: str, euros: int) -> None:
        self.world.run(self.desk.must(AdjustBudget(ROWS[name], euros * EUR)))
        self.model.adjusted[name] += euros * EUR
        self.model.excuse([name], max(0, -euros * EUR))

    @rule(seconds=st.integers(1, 9))
    def pass_time(self, seconds: int) -> None:
        self.desk.time += seconds * SECOND

    @rule()
    def crash(self) -> None:
        self.world.crash()

    @invariant()
    def agrees(self) -> None:
        """Spent and held are what the reservations say, in each row."""
        for name, found in self._rooms():
            assert found == (self.model.limit(name), self.model.spent(name), self.model.held(name)), name

    @invariant()
    def nothing_is_overspent(self) -> None:
        """No row has more spent and held than its limit, but for overruns that happened and limits that fell."""
        for name, (limit, spent, held) in self._rooms():
            assert spent + held <= limit + self.model.excused[name], name

    @invariant()
    def knows_what_is_due(self) -> None:
        """Every hold past its deadline is found, oldest first."""
        held = [(each.deadline, id) for id, each in self.model.holds.items() if each.state == "held"]
        due = [id for deadline, id in sorted(held) if deadline <= self.desk.time]
        assert [each.decision for each in self.world.run(self.desk.store.due(self.desk.time, 1000))] == due

    def teardown(self) -> None:
        """In the end all money comes free, the totals are the truth, and the journal verifies."""
        self.desk.time += 1000 * SECOND
        for each in self.world.run(self.desk.store.due(self.desk.time, 1000)):
            self.lapse(each.decision)
        self.agrees()
        assert all(self.model.held(name) == 0 for name in ROWS)
        spending = self.world.run(self.desk.store.spending())
        assert sum(each.cost for each in spending) == sum(each.cost for each in self.model.holds.values())
        assert self.world.verify().problems == ()
        self.world.end()

    def _rooms(self) -> list[tuple[str, tuple[int, int, int]]]:
        """Limit, spent and held of each row, of one moment."""
        found = self.world.run(self.desk.store.rooms(list(ROWS.values())))
        return [(name, (each.limit, each.spent, each.held)) for name, each in zip(ROWS, found, strict=True)]

    def _reserving(self, amount: int, names: list[str], seconds: int) -> tuple[str, Reserve]:
        rows: list[BudgetRow] = [ROWS[name] for name in names]
        return self.desk.reserving(amount, *rows, deadline=self.desk.time + seconds * SECOND)

    def _end(self, id: str, how: str, cost: int, *, legal: tuple[str, ...]) -> bool:
        hold = self.model.holds.get(id)
        if hold is None:  # it was refused
            return False
        may = hold.state in legal
        try:
            self.world.run(self.desk.must(EndReservation(id, how, cost, {}, "")))
            ended = True
        except IllegalTransition:
            ended = False
        assert ended == may, (hold, how)
        if ended:
            hold.state = how
            hold.cost = 0
        return ended


class SqliteLedger(LedgerMachine):
    """On SQLite, with crashes."""

    world_type = Sqlite


MACHINES = settings(max_examples=COUNTS.machines, stateful_step_count=COUNTS.steps)
ON_POSTGRES = settings(MACHINES, max_examples=COUNTS.machines if PROFILE == "soak" else COUNTS.machines // 8)
HUNT = settings(MACHINES, max_examples=400, phases=[Phase.generate], report_multiple_bugs=False, print_blob=False)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", [LedgerMachine, SqliteLedger])
def test_the_ledger_agrees_with_its_model(machine: type[LedgerMachine]) -> None:
    """P2, P3 and P4 at every step, whatever the order."""
    run_state_machine_as_test(machine, settings=MACHINES)


class _Guardless(Ledger):
    """Checks first and takes later: two at once see the same room."""

    def _take(self, row: BudgetRow, amount: int) -> int | None:
        wide = BudgetRow(row.budget, row.scope, row.start, row.end, row.limit + EUR)
        return super()._take(wide, amount)


class _Forgetful(Ledger):
    """Does not free what it spends less than."""

    def end(self, ended: EndReservation, now: int) -> None:
        super().end(ended, now)
        if ended.how == "voided":
            self._db.do("UPDATE budget SET held = held + 1 WHERE budget = 'month'")


class _Twice(Ledger):
    """Settles as often as it is told."""

    def end(self, ended: EndReservation, now: int) -> None:
        self._db.do("UPDATE reservation SET state = 'held' WHERE decision = ? AND state = 'settled'", ended.decision)
        super().end(ended, now)


@pytest.mark.parametrize("ledger", [_Guardless, _Forgetful, _Twice])
def test_planted_bugs_are_found(ledger: type[Ledger]) -> None:
    """A guard that is too wide, money that stays held, and a settlement that counts twice."""
    with pytest.raises((AssertionError, StoreUnavailable)):
        run_state_machine_as_test(planted(SqliteLedger, ledger_type=ledger), settings=HUNT)


@pytest.mark.timeout(3600)
def test_the_ledger_on_postgresql_agrees_with_its_model(installation: Installation) -> None:
    """The same, of what SQL does."""
    run_state_machine_as_test(on_postgres(LedgerMachine, installation), settings=ON_POSTGRES)


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        (
            "reserve",
            "> limit_::numeric + till.adjusted[place]",
            "> limit_::numeric + till.adjusted[place] + 1000000000",
        ),
        ("end_reservation", "WHEN 'held' THEN -was.amount ELSE 0 END", "WHEN 'held' THEN 1 - was.amount ELSE 0 END"),
        ("end_reservation", "was.state = 'lapsed' AND how = 'settled'", "was.state <> 'held' AND how = 'settled'"),
    ],
    ids=["guardless", "forgetful", "twice"],
)
def test_bugs_planted_in_sql_are_found(installation: Installation, function: str, right: str, wrong: str) -> None:
    """The same three, in the functions that hold the guards there."""
    with installation.planted(function, right, wrong), pytest.raises((AssertionError, StoreUnavailable)):
        run_state_machine_as_test(on_postgres(LedgerMachine, installation, hunted=True), settings=HUNT)
