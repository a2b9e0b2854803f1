"""Whatever is asked, answered, used and taken back, in whatever order and by however old a view: the store and a model
agree at each step, and no grant is ever used beyond what somebody approved (P12)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import pytest
from counts import COUNTS, PROFILE
from fakes.approvals import asked, item, vote
from fakes.commits import SECOND, Desk
from fakes.revenants import Memory, Sqlite, on_postgres, planted
from fakes.store_postgres import Installation
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from remit.backends.store_sqlite.approvals import Approvals
from remit.backends.store_sqlite.refusal import Refusal
from remit.core.approval import Approval, Bind, State, Terms, Verdict
from remit.core.effect import (
    Committed,
    Effect,
    JoinApproval,
    MoveApproval,
    OpenApproval,
    Refused,
    UseGrant,
)
from remit.core.errors import IllegalTransition, StoreUnavailable
from remit.core.reason import Reason
from remit.ports import ApprovalsQuery

MAX_APPROVALS = 4  # few enough that much happens to each
COST = 5  # so little that two uses may be too dear
CHAIN = ("lead",)
STALE = Refused(Reason.FACTS_CHANGED, "approval")
SPENT = Refused(Reason.FACTS_CHANGED, "grant")
BINDS = st.sampled_from([Bind.EXACT, Bind.VARIANT])
LIKES = st.sampled_from(["x", "y"])
BINDINGS = st.sampled_from(["b1", "b1", "b2"])
AMOUNTS = st.sampled_from([0, 1, 3, 3, 4])
WHICH = st.integers(0, MAX_APPROVALS)
AGES = st.sampled_from([0, 0, 0, 1, 2])  # how many changes ago somebody looked
VOICES = st.sampled_from(["ben", "cleo", "dan", "ann"])  # ann is who asks


@dataclass
class Thing:
    """An item, as the model knows it."""

    amount: int
    asked: int = 1
    used: int = 0
    spent: int = 0


@dataclass
class Known:
    """An approval, as the model knows it."""

    like: str
    bind: Bind
    quorum: int
    uses: int
    deadline: int
    things: dict[str, Thing]
    state: str = "pending"
    version: int = 1
    level: int = 0
    expires: int = 0
    votes: list[tuple[str, Verdict]] = field(default_factory=list)

    def approving(self) -> int:
        return sum(said is Verdict.APPROVE for said in dict(self.votes).values())

    def admits(self, binding: str, amount: int, now: int) -> bool:
        thing = self.things.get(binding)
        if thing is None or self.state != "approved" or self.expires <= now:
            return False
        if thing.used >= self.uses or (self.bind is Bind.EXACT and amount > thing.amount):
            return False
        return sum(each.spent for each in self.things.values()) + amount <= COST


class ApprovalMachine(RuleBasedStateMachine):
    """Rules are what agents, those who are asked, the sweeper, old views and the power company do."""

    world_type: type[Memory] = Memory

    def __init__(self) -> None:
        super().__init__()
        self.world = self.world_type()
        self.known: dict[str, Known] = {}
        self.seen: dict[str, list[Approval]] = {}  # as they were, the newest first
        self.version = self.world.run(self.desk.store.approvals_version())
        self.moved = False  # whether the version is to have moved in this step

    @property
    def desk(self) -> Desk:
        return self.world.desk

    @initialize(bind=BINDS, uses=st.integers(1, 3), amount=AMOUNTS)
    def begin(self, bind: Bind, uses: int, amount: int) -> None:
        """With a grant, and something that waits."""
        self.ask(like="x", bind=bind, quorum=1, uses=uses, amount=amount)
        self.join(which=0, age=0, binding="b2", amount=amount)
        self.say(which=0, age=0, by="ben", verdict=Verdict.APPROVE, outcome="approved")
        self.ask(like="x", bind=bind, quorum=2, uses=uses, amount=amount)

    @precondition(lambda self: len(self.known) < MAX_APPROVALS)
    @rule(
        like=LIKES,
        bind=BINDS,
        quorum=st.sampled_from([1, 1, 2]),
        uses=st.integers(1, 3),
        amount=AMOUNTS,
    )
    def ask(self, like: str, bind: Bind, quorum: int, uses: int, amount: int) -> None:
        """Unless something alike waits already."""
        id = f"a{len(self.known)}"
        terms = Terms(("approver",), True, quorum, bind, uses, COST, 90, 30)
        deadline = self.desk.time + 30 * SECOND
        opened = asked(
            id,
            time=self.desk.time,
            like=like,
            chain=CHAIN,
            terms=terms,
            deadline=deadline,
            items=(item(amount=amount),),
        )
        waits = any(each.like == like and each.state == "pending" for each in self.known.values())
        if self._do(OpenApproval(opened), refused=STALE if waits else None):
            self.known[id] = Known(like, bind, quorum, uses, deadline, {"b1": Thing(amount)})
            self.seen[id] = []
            self._look(id)

    @rule(which=WHICH, age=AGES, binding=BINDINGS, amount=AMOUNTS)
    def join(self, which: int, age: int, binding: str, amount: int) -> None:
        view, known = self._view(which, age, "pending")
        waits = known.state == "pending" and known.deadline > self.desk.time
        joining = JoinApproval(view.id, view.version, item(binding, amount=amount))
        if self._do(joining, refused=None if waits and known.version == view.version else STALE):
            known.version += 1
            there = known.things.get(binding)
            known.things[binding] = Thing(amount, there.asked + 1 if there else 1)

    @rule(which=WHICH, age=AGES, binding=BINDINGS, amount=AMOUNTS)
    def ask_again(self, which: int, age: int, binding: str, amount: int) -> None:
        """For the same: it needs no version, and moves none."""
        view, known = self._view(which, age, "pending")
        thing = known.things.get(binding)
        waits = known.state == "pending" and known.deadline > self.desk.time
        there = waits and thing is not None and amount <= thing.amount
        again = JoinApproval(view.id, view.version, item(binding, amount=amount), same=True)
        if self._do(again, refused=None if there else STALE, moves=False) and thing:
            thing.asked += 1

    @rule(
        which=WHICH,
        age=AGES,
        by=VOICES,
        verdict=st.sampled_from([Verdict.APPROVE, Verdict.APPROVE, Verdict.APPROVE, Verdict.DENY, Verdict.HOLD]),
        outcome=st.sampled_from([*["approved"] * 4, "denied", "pending", "escalated", "revoked"]),
    )
    def say(self, which: int, age: int, by: str, verdict: Verdict, outcome: str) -> None:
        """Somebody says something, and policy states what it likes."""
        view, known = self._view(which, age, "pending")
        said = [*known.votes, (by, verdict)]
        legal = by != "ann" and (
            known.state == "approved"
            if outcome == "revoked"
            else known.state == "pending"
            and known.deadline > self.desk.time
            and (outcome != "approved" or replace(known, votes=said).approving() >= known.quorum)
        )
        votes = (*view.votes, vote(by, verdict, time=self.desk.time))
        if self._move(view, known, outcome, votes=votes, legal=legal):
            known.votes = said

    @rule(which=WHICH, age=AGES, outcome=st.sampled_from(["approved", "denied", "expired", "escalated"]))
    def run_out(self, which: int, age: int, outcome: str) -> None:
        """The sweeper, whether it is time or not; whoever it asks next is somebody who was not asked."""
        view, known = self._view(which, age, "pending")
        over = known.state == "pending" and known.deadline <= self.desk.time
        legal = over and outcome != "approved" and (outcome != "escalated" or known.level < len(CHAIN))
        self._move(view, known, outcome, votes=view.votes, legal=legal)

    @rule(which=WHICH, age=AGES, binding=BINDINGS, amounts=st.lists(AMOUNTS, min_size=1, max_size=4))
    def use(self, which: int, age: int, binding: str, amounts: list[int]) -> None:
        """Callers of the same moment get what one after the other would."""
        view, known = self._view(which, age, "approved")

        async def all_of_them() -> list[Committed | Refused]:
            return await asyncio.gather(*(self.desk.commit(UseGrant(view.id, binding, each)) for each in amounts))

        for amount, outcome in zip(amounts, self.world.run(all_of_them()), strict=True):
            admitted = known.admits(binding, amount, self.desk.time)
            assert isinstance(outcome, Committed) if admitted else outcome == SPENT
            if admitted:
                known.things[binding].used += 1
                known.things[binding].spent += amount

    @rule(which=WHICH, age=AGES, binding=BINDINGS, use_first=st.booleans())
    def take_back_in_use(self, which: int, age: int, binding: str, use_first: bool) -> None:
        """A use and a revocation of the same moment go one after the other."""
        view, known = self._view(which, age, "approved")
        if known.state != "approved" or known.version != view.version:
            return
        votes = (*view.votes, vote("cleo", Verdict.DENY, time=self.desk.time))
        back = MoveApproval(self._changed(view, "revoked", votes))
        use = UseGrant(view.id, binding, 1)
        admitted = use_first and known.admits(binding, 1, self.desk.time)

        async def both() -> list[Committed | Refused]:
            return await asyncio.gather(*map(self.desk.commit, (use, back) if use_first else (back, use)))

        outcomes = self.world.run(both())
        assert isinstance(outcomes[use_first], Committed)
        assert isinstance(outcomes[not use_first], Committed) == admitted
        self.moved = True
        known.state, known.version = "revoked", known.version + 1
        known.votes.append(("cleo", Verdict.DENY))
        if admitted:
            known.things[binding].used += 1
            known.things[binding].spent += 1

    @rule(seconds=st.integers(1, 12))
    def pass_time(self, seconds: int) -> None:
        self.desk.time += seconds * SECOND

    @rule()
    def crash(self) -> None:
        self.world.crash()

    @invariant()
    def agrees(self) -> None:
        """Each is where the model says, with the items and uses that the model counts."""
        found = self.world.run(self.desk.store.approvals(ApprovalsQuery()))
        assert {each.id: _as_known(each) for each in found} == self.known

    @invariant()
    def nothing_is_used_beyond_its_bounds(self) -> None:
        """Nor without those who were to approve it."""
        for each in self.world.run(self.desk.store.approvals(ApprovalsQuery())):
            approved = {voice.by for voice in each.votes if voice.verdict is Verdict.APPROVE} - {each.subject}
            assert all(thing.used <= each.terms.uses for thing in each.items)
            assert sum(thing.spent for thing in each.items) <= COST
            assert len(approved) >= each.terms.quorum or not any(thing.used for thing in each.items)

    @invariant()
    def knows_what_is_over(self) -> None:
        """Every pending one past its deadline is found, oldest first."""
        pending = [(each.deadline, id) for id, each in self.known.items() if each.state == "pending"]
        due = [id for deadline, id in sorted(pending) if deadline <= self.desk.time]
        assert [each.id for each in self.world.run(self.desk.store.due_approvals(self.desk.time, 100))] == due

    @invariant()
    def the_version_moves_with_what_was_changed(self) -> None:
        """And with nothing else: those who wait look when it moves."""
        version = self.world.run(self.desk.store.approvals_version())
        assert (version > self.version) if self.moved else (version == self.version)
        self.version, self.moved = version, False

    def teardown(self) -> None:
        """The journal verifies."""
        assert self.world.verify().problems == ()
        self.world.end()

    def _look(self, id: str) -> None:
        (found,) = self.world.run(self.desk.store.approvals(ApprovalsQuery(ids=(id,))))
        if found not in self.seen[id]:
            self.seen[id].insert(0, found)

    def _view(self, which: int, age: int, state: str) -> tuple[Approval, Known]:
        """An approval as somebody saw it, most often just now, and as it is: most often one of that state."""
        fit = [id for id, each in self.known.items() if each.state == state]
        ids = fit if fit and which else list(self.known)
        id = ids[which % len(ids)]
        if age == 0:
            self._look(id)
        seen = self.seen[id]
        return seen[min(age, len(seen) - 1)], self.known[id]

    def _changed(self, view: Approval, outcome: str, votes: tuple[object, ...]) -> Approval:
        """The view after a step, made by nobody who checks anything; what it says of uses is made up."""
        now = self.desk.time
        state = State.PENDING if outcome == "escalated" else State(outcome)
        passed = {"level": min(view.level + 1, len(CHAIN)), "deadline": now + 30 * SECOND}
        items = tuple(replace(each, used=0, spent=0, amount=99) for each in view.items)
        return replace(
            view,
            state=state,
            version=view.version + 1,
            votes=votes,
            items=items,
            expires=now + 90 * SECOND if state is State.APPROVED else view.expires,
            ended=now if state in (State.DENIED, State.EXPIRED, State.REVOKED) else 0,
            **(passed if outcome == "escalated" else {}),
        )

    def _move(self, view: Approval, known: Known, outcome: str, *, votes: tuple[object, ...], legal: bool) -> bool:
        wanted = self._changed(view, outcome, votes)
        stale = known.version != view.version
        done = self._do(MoveApproval(wanted), refused=STALE if stale else None, illegal=not legal)
        if done:
            known.state, known.version = wanted.state.value, wanted.version
            known.level, known.deadline, known.expires = wanted.level, wanted.deadline, wanted.expires
        return done

    def _do(self, effect: Effect, *, refused: Refused | None, illegal: bool = False, moves: bool = True) -> bool:
        """Whether it was done, which must be as expected."""
        try:
            outcome = self.world.run(self.desk.commit(effect))
        except IllegalTransition:
            assert illegal and refused is None, effect
            return False
        assert isinstance(outcome, Committed) if refused is None else outcome == refused, (effect, outcome)
        assert refused is not None or not illegal, effect
        self.moved = self.moved or (refused is None and moves)
        return refused is None


def _as_known(found: Approval) -> Known:
    things = {each.binding: Thing(each.amount, each.asked, each.used, each.spent) for each in found.items}
    return Known(
        like=found.like,
        bind=found.terms.bind,
        quorum=found.terms.quorum,
        uses=found.terms.uses,
        deadline=found.deadline,
        things=things,
        state=found.state.value,
        version=found.version,
        level=found.level,
        expires=found.expires,
        votes=[(each.by, each.verdict) for each in found.votes],
    )


class SqliteApprovals(ApprovalMachine):
    """On SQLite, with crashes."""

    world_type = Sqlite


MACHINES = settings(max_examples=COUNTS.machines, stateful_step_count=COUNTS.steps)
ON_POSTGRES = settings(MACHINES, max_examples=COUNTS.machines if PROFILE == "soak" else COUNTS.machines // 8)
HUNT = settings(MACHINES, max_examples=400, phases=[Phase.generate], report_multiple_bugs=False, print_blob=False)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", [ApprovalMachine, SqliteApprovals])
def test_approvals_agree_with_their_model(machine: type[ApprovalMachine]) -> None:
    """P12 at every step, whatever the order."""
    run_state_machine_as_test(machine, settings=MACHINES)


class _Believing(Approvals):
    """Takes what a change says of uses for what was used."""

    def move(self, move: MoveApproval, now: int) -> None:
        super().move(move, now)
        for each in move.approval.items:
            self._db.do(
                "UPDATE approval_item SET used = ?, spent = ? WHERE approval = ? AND binding = ?",
                *(each.used, each.spent, move.approval.id, each.binding),
            )


class _Blind(Approvals):
    """Does not look at what was seen."""

    def move(self, move: MoveApproval, now: int) -> None:
        stored = self._find(move.approval.id)
        version = stored.version + 1 if stored else 0
        super().move(MoveApproval(replace(move.approval, version=version)), now)


class _Obedient(Approvals):
    """Believes whatever policy stated, of the right version."""

    def move(self, move: MoveApproval, now: int) -> None:
        stored = self._find(move.approval.id)
        if stored is None or stored.version + 1 != move.approval.version:
            raise Refusal(Reason.FACTS_CHANGED, "approval")
        self._write(move.approval)


class _Generous(Approvals):
    """Counts each item's uses, and not what all of them cost."""

    def use(self, use: UseGrant, now: int) -> None:
        grant = self._find(use.id)
        there = grant.item(use.binding) if grant else None
        if not grant or not there or grant.state is not State.APPROVED or grant.expires <= now:
            raise Refusal(Reason.FACTS_CHANGED, "grant")
        if there.used >= grant.terms.uses or (grant.terms.bind is Bind.EXACT and use.amount > there.amount):
            raise Refusal(Reason.FACTS_CHANGED, "grant")
        sql = "UPDATE approval_item SET used = used + 1, spent = spent + ? WHERE approval = ? AND binding = ?"
        self._db.do(sql, use.amount, use.id, use.binding)


@pytest.mark.parametrize("approvals", [_Believing, _Blind, _Obedient, _Generous])
def test_planted_bugs_are_found(approvals: type[Approvals]) -> None:
    """Lost uses, answers to what was not seen, grants that too few approved, and costs that nobody adds up."""
    with pytest.raises((AssertionError, StoreUnavailable)):
        run_state_machine_as_test(planted(SqliteApprovals, approvals_type=approvals), settings=HUNT)


@pytest.mark.timeout(3600)
def test_approvals_on_postgresql_agree_with_their_model(installation: Installation) -> None:
    """The same, of what SQL does."""
    run_state_machine_as_test(on_postgres(ApprovalMachine, installation), settings=ON_POSTGRES)


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        ("use_grant", "used < (terms->>'uses')::bigint", "true"),
        ("use_grant", "cost IS NULL OR", "true OR"),
        ("move_approval", "was.version + 1 <> (wanted->>'version')::bigint", "false"),
    ],
    ids=["uses", "cost", "blind"],
)
def test_bugs_planted_in_sql_are_found(installation: Installation, function: str, right: str, wrong: str) -> None:
    """A use too many, a cost that nobody adds up, and an answer to what was not seen."""
    with installation.planted(function, right, wrong), pytest.raises((AssertionError, StoreUnavailable)):
        run_state_machine_as_test(on_postgres(ApprovalMachine, installation, hunted=True), settings=HUNT)
