"""Labels only go up: whatever is read, opened and closed, a session holds what the rule of shares says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from counts import COUNTS, PROFILE
from fakes.commits import SECOND, START, Desk
from fakes.revenants import Memory, Sqlite, on_postgres, planted
from fakes.store_postgres import Installation
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from remit.backends.store_sqlite.sessions import Sessions
from remit.core.effect import CloseWorkflow, JoinLabels
from remit.core.errors import IllegalTransition, StoreUnavailable

SUBJECTS = ("ann", "bob", "lead")
MAX_FLOWS = 4  # few enough that much happens in each
WHO = st.sampled_from(SUBJECTS)
# Many, so that a label is often held in one place alone, and its loss shows.
LABELS = st.sets(st.integers(0, 19).map("label{}".format), min_size=1, max_size=2).map(sorted)


@dataclass
class Flow:
    """A workflow, as the model knows it."""

    opener: str
    started_with: set[str]
    closed_by: str = ""


@dataclass
class Model:
    """Who read what where; sessions are worked out anew each time."""

    flows: dict[str, Flow] = field(default_factory=dict)
    reads: list[tuple[str, str, str]] = field(default_factory=list)  # subject, workflow, label

    def counts(self, subject: str, workflow: str) -> bool:
        if not workflow:
            return True
        flow = self.flows[workflow]
        return not flow.closed_by or subject in (flow.opener, flow.closed_by)

    def join(self, subject: str, workflow: str, labels: list[str]) -> None:
        share = workflow if self.counts(subject, workflow) else ""
        self.reads += [(subject, share, label) for label in labels]

    def share(self, subject: str, workflow: str) -> set[str]:
        own = {label for who, where, label in self.reads if (who, where) == (subject, workflow)}
        return own | (self.flows[workflow].started_with if workflow else set())

    def session(self, subject: str) -> set[str]:
        where = {workflow for who, workflow, _ in self.reads if who == subject}
        where |= {id for id, flow in self.flows.items() if flow.opener == subject}
        return set().union(*(self.share(subject, each) for each in where if self.counts(subject, each)))


class LabelMachine(RuleBasedStateMachine):
    """Rules are what agents, orchestrators and the clock do."""

    world_type: type[Memory] = Memory
    flows = Bundle("flows")

    def __init__(self) -> None:
        super().__init__()
        self.world = self.world_type()
        self.model = Model()
        self.seen: dict[str, tuple[set[str], int]] = {}
        self.spared: set[str] = set(SUBJECTS)  # who may lose no label in this step

    @property
    def desk(self) -> Desk:
        return self.world.desk

    @precondition(lambda self: len(self.model.flows) < MAX_FLOWS)
    @rule(target=flows, opener=WHO, seconds=st.integers(1, 50))
    def open(self, opener: str, seconds: int) -> str:
        """With the labels that the opener holds."""
        id = f"w{len(self.model.flows)}"
        held = self.world.run(self.desk.facts(opener)).labels
        self.world.run(self.desk.open(id, opener, expires=START + seconds * SECOND, labels=held))
        self.model.flows[id] = Flow(opener, set(held))
        self.spared = set(SUBJECTS)
        return id

    @rule(flow=flows, by=WHO)
    def close(self, flow: str, by: str) -> None:
        known = self.model.flows[flow]
        try:
            self.world.run(self.desk.must(CloseWorkflow(flow, by)))
            closed = True
        except IllegalTransition:
            closed = False
        assert closed == (not known.closed_by)
        if closed:
            known.closed_by = by
            self.spared = {by, known.opener}

    @rule(flow=flows, subject=WHO, labels=LABELS)
    def read_in_a_workflow(self, flow: str, subject: str, labels: list[str]) -> None:
        self._join(subject, flow, labels)

    @rule(subject=WHO, labels=LABELS)
    def read(self, subject: str, labels: list[str]) -> None:
        self._join(subject, "", labels)

    @rule(seconds=st.integers(1, 30))
    def pass_time(self, seconds: int) -> None:
        self.desk.time += seconds * SECOND
        self.spared = set(SUBJECTS)

    @rule()
    def crash(self) -> None:
        self.world.crash()
        self.spared = set(SUBJECTS)

    @invariant()
    def sessions_are_what_the_rule_says(self) -> None:
        """For each subject, asked outside workflows and in each, in one process or isolated."""
        expected = {}
        for subject in SUBJECTS:
            for flow in ("", *self.model.flows):
                share = self.model.share(subject, flow)
                expected[subject, flow, "workflow"] = share
                expected[subject, flow, "process"] = self.model.session(subject) | share

        async def held() -> list[set[str]]:
            return await asyncio.gather(*(self.desk.labels(*each) for each in expected))

        assert dict(zip(expected, self.world.run(held()), strict=True)) == expected

    @invariant()
    def labels_only_go_up(self) -> None:
        """Nobody loses a label but by a close of somebody else's workflow by somebody else."""
        for subject, labels, _ in self._sessions():
            before = self.seen.get(subject, (set(), 0))[0]
            assert before <= labels or subject not in self.spared

    @invariant()
    def versions_move_with_the_labels(self) -> None:
        """The version of a session changes if and only if its labels do."""
        for subject, labels, version in self._sessions():
            before, was = self.seen.get(subject, (set(), 0))
            assert (labels == before) == (version == was)
            self.seen[subject] = (labels, version)

    def teardown(self) -> None:
        """The journal verifies."""
        assert self.world.verify().problems == ()
        self.world.end()

    def _join(self, subject: str, workflow: str, labels: list[str]) -> None:
        self.world.run(self.desk.must(JoinLabels(subject, workflow, dict.fromkeys(labels, "d"))))
        self.model.join(subject, workflow, labels)
        self.spared = set(SUBJECTS)

    def _sessions(self) -> Iterator[tuple[str, set[str], int]]:
        for subject in SUBJECTS:
            facts = self.world.run(self.desk.facts(subject))
            yield subject, set(facts.labels), facts.labels_version


class SqliteLabels(LabelMachine):
    """On SQLite, with crashes."""

    world_type = Sqlite


MACHINES = settings(max_examples=COUNTS.machines, stateful_step_count=COUNTS.steps)
ON_POSTGRES = settings(MACHINES, max_examples=COUNTS.machines if PROFILE == "soak" else COUNTS.machines // 8)
HUNT = settings(MACHINES, max_examples=400, phases=[Phase.generate], report_multiple_bugs=False, print_blob=False)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", [LabelMachine, SqliteLabels])
def test_labels_agree_with_the_rule_of_shares(machine: type[LabelMachine]) -> None:
    """P11 at every step, whatever the order."""
    run_state_machine_as_test(machine, settings=MACHINES)


class _Washing(Sessions):
    """Lets an agent wash itself by closing what it did not open."""

    def close(self, closed: CloseWorkflow, now: int) -> None:
        super().close(closed, now)
        self._db.do("UPDATE share SET live = 0 WHERE workflow = ? AND subject = ?", closed.id, closed.by)


class _Losing(Sessions):
    """Puts what is learnt after the end where nobody looks."""

    def _share(self, joined: JoinLabels) -> str:
        return joined.workflow


class _Quiet(Sessions):
    """Does not tell that a session has changed."""

    def _add(self, subject: str, share: str, label: str, source: str) -> bool:
        super()._add(subject, share, label, source)
        return False


@pytest.mark.parametrize("sessions", [_Washing, _Losing, _Quiet])
def test_planted_bugs_are_found(sessions: type[Sessions]) -> None:
    """Washing by closing, labels lost after the end, and stale versions."""
    with pytest.raises((AssertionError, StoreUnavailable)):
        run_state_machine_as_test(planted(SqliteLabels, sessions_type=sessions), settings=HUNT)


@pytest.mark.timeout(3600)
def test_labels_on_postgresql_agree_with_the_rule_of_shares(installation: Installation) -> None:
    """The same, of what SQL does."""
    run_state_machine_as_test(on_postgres(LabelMachine, installation), settings=ON_POSTGRES)


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        ("close_workflow", "subject NOT IN (flow.opener, p->>'by')", "subject <> ''"),
        ("join_labels", "(flow.closed_by IN ('', whose) OR flow.opener = whose)", "true"),
        ("join_labels", "RETURN is_new;", "RETURN false;"),
    ],
    ids=["washing", "losing", "quiet"],
)
def test_bugs_planted_in_sql_are_found(installation: Installation, function: str, right: str, wrong: str) -> None:
    """The same three, in the functions that hold the rule there."""
    with installation.planted(function, right, wrong), pytest.raises((AssertionError, StoreUnavailable)):
        run_state_machine_as_test(on_postgres(LabelMachine, installation, hunted=True), settings=HUNT)
