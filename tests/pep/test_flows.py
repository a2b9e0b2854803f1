"""Whatever agents do in whatever order: what one of them knows never leaves where it may not, and money adds up.

The model knows nothing of sessions, workflows or passports. It follows the data: who has read what, and who was
given a message by whom, and when that message was written. Each step is several calls at once.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from counts import COUNTS
from fakes.store_memory import MemoryStore
from fakes.world import EUR, OPERATOR, FakeClock, clearance_policy, subject
from fakes.world import world as make_world
from hypothesis import given, settings
from hypothesis import strategies as st
from remit.core.call import Call, Claimed, HandoffCall, Report, WorkflowCall
from remit.core.decision import Effect
from remit.core.errors import RemitError
from remit.core.model import Mode, Resource, Subject
from remit.pep.pipeline import Pipeline
from remit.pep.world import SECOND

AGENTS = (subject("analysis"), subject("decision"), subject("watched", mode=Mode.OBSERVE))
TRACE = "0" * 31 + "1"
# How often each is tried: reads are rare, since there is nothing to find out about who knows everything.
WEIGHTS = {
    "read": 2,
    "mail": 8,
    "call": 2,
    "report": 2,
    "open": 3,
    "close": 2,
    "handoff": 4,
    "bound handoff": 2,
    "accept": 5,
    "halt": 0.5,
    "pass": 0.5,
}
STEPS = 60
Acts = list[tuple[str, int, int, int]]


def acts(dice: Random) -> Acts:
    """Up to three things at once: what, who, a choice (of context, passport, report), and another agent."""
    chosen = dice.choices(list(WEIGHTS), list(WEIGHTS.values()), k=dice.randint(1, 3))
    return [(what, dice.randrange(3), dice.randrange(6), dice.randrange(3)) for what in chosen]


class Town:
    """Agents at work; `knows` is what each has in its memory."""

    def __init__(self) -> None:
        store = MemoryStore()
        store.activate("r1")
        self.world = make_world(store, clearance_policy)
        self.pipeline = Pipeline(self.world)
        self.knows: dict[str, set[str]] = {each.id: set() for each in AGENTS}
        self.contexts: list[tuple[str, str]] = []  # (id, context)
        self.messages: list[tuple[str, str, set[str] | None]] = []  # (sender, passport, content; None: not written)
        self.calls: list[tuple[Subject, str]] = []
        self.count = 0

    async def step(self, acts: Acts) -> None:
        knew = {name: set(known) for name, known in self.knows.items()}
        await asyncio.gather(*(self.act(*each, knew) for each in acts))
        await self.check_money()

    async def act(self, what: str, who: int, which: int, other: int, knew: dict[str, set[str]]) -> None:
        agent = AGENTS[who]
        try:
            await getattr(self, what.replace(" ", "_"))(agent, which, AGENTS[other], knew)
        except RemitError:
            return  # a typed refusal changes nothing

    def claimed(self, which: int) -> Claimed:
        """No context, a trace, one of the workflows, or nonsense."""
        if which == 0 or not self.contexts:
            return Claimed(purpose="onboarding")
        if which == 1:
            return Claimed(purpose="onboarding", trace=TRACE)
        if which == 2:
            return Claimed(purpose="onboarding", parent="d_nobodys")
        return Claimed(purpose="onboarding", workflow=self.contexts[which % len(self.contexts)][1])

    async def ask(self, agent: Subject, action: str, resource: Resource, which: int) -> Any:
        answer = await self.pipeline.authorize(agent, Call("Authorize", action, resource, self.claimed(which)))
        if answer.effect is Effect.ALLOW or not answer.enforced:
            self.calls.append((agent, answer.id))
        return answer

    async def read(self, agent: Subject, which: int, other: Subject, knew: Any) -> None:
        answer = await self.ask(agent, "data.read", Resource("dataset", "crm"), which)
        if answer.effect is Effect.ALLOW or not answer.enforced:
            self.knows[agent.id].add("pii")

    async def call(self, agent: Subject, which: int, other: Subject, knew: Any) -> None:
        await self.ask(agent, "api.call", Resource("service", "model", "chat", "small"), which)

    async def mail(self, agent: Subject, which: int, other: Subject, knew: Any) -> None:
        answer = await self.ask(agent, "api.call", Resource("service", "email", "send"), which)
        assert answer.effect is not Effect.ALLOW or not knew[agent.id], "what was known went out by mail"

    async def open(self, agent: Subject, which: int, other: Subject, knew: Any) -> None:
        trace = TRACE if which % 2 else ""
        asked = WorkflowCall(("onboarding",), (agent.id,), (which + 1) * 100 * SECOND, trace=trace)
        opened = await self.pipeline.open_workflow(agent, asked)
        if opened.context:
            self.contexts.append((opened.id, opened.context))

    async def close(self, agent: Subject, which: int, other: Subject, knew: Any) -> None:
        # A close ends what others learnt in a workflow, which is meant. So here nobody else learns anything in one:
        # each is its opener's alone, and no passport names it.
        if self.contexts:
            await self.pipeline.close_workflow(agent, self.contexts[which % len(self.contexts)][0], "")

    async def handoff(self, agent: Subject, which: int, other: Subject, knew: Any) -> None:
        handed = await self.pipeline.handoff(agent, HandoffCall(other.id, self.claimed(which % 2 * 2)))
        if handed.passport:
            self.messages.append((agent.id, handed.passport, None))

    async def bound_handoff(self, agent: Subject, which: int, other: Subject, knew: Any) -> None:
        written = set(knew[agent.id])
        handed = await self.pipeline.handoff(agent, HandoffCall(other.id, self.claimed(which % 2 * 2), "m1"))
        if handed.passport:
            self.messages.append((agent.id, handed.passport, written))

    async def accept(self, agent: Subject, which: int, other: Subject, knew: Any) -> None:
        if not self.messages:
            return
        sender, passport, written = self.messages[which % len(self.messages)]
        content = knew[sender] if written is None else written
        accepted = await self.pipeline.accept(agent, passport, "m1" if written is not None else "")
        if accepted.answer.effect is Effect.ALLOW:
            self.knows[agent.id] |= content

    async def report(self, agent: Subject, which: int, other: Subject, knew: Any) -> None:
        if self.calls:
            _, decision = self.calls[which % len(self.calls)]
            outcome = ("succeeded", "failed", "not_sent", "progress")[which % 4]
            await self.pipeline.report(agent, Report(decision, outcome, {"call": which} if which % 2 else {}))

    async def halt(self, agent: Subject, which: int, other: Subject, knew: Any) -> None:
        act = self.pipeline.resume if which % 2 else self.pipeline.halt
        await act(OPERATOR, "agent", agent.id, "why")

    async def pass_(self, seconds: int) -> None:
        assert isinstance(self.world.clock, FakeClock)
        self.world.clock.pass_seconds(seconds)
        await self.pipeline.sweep()

    async def check_money(self) -> None:
        (room,) = await self.pipeline.budgets(OPERATOR, "month")
        found = [await self.world.store.reservation(id) for _, id in self.calls]
        live = [each for each in found if each is not None]
        assert room.held == sum(each.amount for each in live if each.state == "held")
        assert room.spent == sum(each.spent for each in live)
        overrun = sum(max(0, each.spent - each.amount) for each in live)
        assert room.held + room.spent - overrun <= 10 * EUR


async def play(dice: Random) -> None:
    """One town's life, after which every hold has ended."""
    town = Town()
    for _ in range(STEPS):
        todo = acts(dice)
        for what, _, which, _ in todo:
            if what == "pass":
                await town.pass_((which + 1) * 60)
        await town.step([each for each in todo if each[0] != "pass"])
    await town.pass_(3600)
    assert (await town.pipeline.budgets(OPERATOR, "month"))[0].held == 0


@settings(max_examples=COUNTS.examples, deadline=None)
@given(st.randoms(use_true_random=True))
def test_nothing_known_leaves_and_money_adds_up(dice: Random) -> None:
    """No enforced mail goes out of an agent that knows something; held and spent are what the reservations say."""
    asyncio.run(play(dice))
