"""AuthZEN in front of the real pipeline: evaluations are decisions, and what is held is allowed once it is approved."""

from __future__ import annotations

from typing import Any, cast

import orjson
import pytest
from fakes.approving import CODE, POLICY, Holding
from fakes.loop import in_loop
from fakes.store_memory import MemoryStore
from fakes.world import world as make_world
from remit.backends.clock_system import SystemClock
from remit.backends.identity_catalogue import CatalogueIdentity
from remit.core.approval import Verdict
from remit.core.authzen import EVALUATIONS
from remit.core.call import Resolution
from remit.core.catalogue import Agent, Identity, Person
from remit.core.model import Identity as Proved
from remit.core.model import Subject
from remit.pep.pipeline import Pipeline
from remit.pep.world import World

from .authzen_stage import Stage, staged
from .serving import hashed

BO = Subject("person", "bo", "", ("approver",), Proved("token", "bo"))


def made() -> World:
    """Two agents, one of them observed; the variant `large` is held until somebody approves it."""
    store = MemoryStore()
    store.activate("r1")

    def agent(name: str, **more: Any) -> Agent:
        return Agent("cx", ("worker",), ("onboarding",), identity=Identity((hashed(name),)), **more)

    agents = {"worker": agent("worker"), "watched": agent("watched", mode="observe")}
    return make_world(store, Holding(), agents=agents, people={"bo": Person(("approver",))})


def asked(variant: str, *, who: str = "worker", type: str = "service", **context: Any) -> dict[str, Any]:
    """A call to the model."""
    return {
        "subject": {"type": "agent", "id": who},
        "action": {"name": "api.call", "properties": {"to": "eu"}},
        "resource": {"type": type, "id": "model", "properties": {"operation": "chat", "variant": variant}},
        "context": {"purpose": "onboarding", "usage": {"call": 1}, **context},
    }


def stage_of(world: World) -> Any:
    # Only the pipeline in memory has what tests look at.
    known = CatalogueIdentity(world.catalogue, SystemClock())
    return staged(cast(Any, _Gated(world)), known)


class _Gated(Pipeline):
    """The pipeline, with the gate that the stage opens when it ends."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.gate = type("Open", (), {"set": lambda self: None})()


@in_loop
async def test_what_is_held_is_allowed_once_it_is_approved() -> None:
    """The refusal names the approval; the same question is then permitted, at its cost, and not a second time."""
    world = made()
    async with stage_of(world) as stage:
        held = (await stage.send(asked("large"), token="worker")).body
        assert held["decision"] is False
        assert "reservation" not in held["context"]
        (approval,) = held["context"]["approvals"]
        assert (approval["state"], approval["policy"], approval["code"]) == ("pending", POLICY, CODE)
        assert approval["roles"] == ["approver"]

        await pipeline_of(stage).resolve(BO, Resolution(approval["id"], Verdict.APPROVE, "fine"))
        allowed = (await stage.send(asked("large"), token="worker")).body
        again = (await stage.send(asked("large"), token="worker")).body

        assert allowed["decision"] is True
        assert allowed["context"]["reservation"]["amount"] == "1"
        assert again["decision"] is False


@in_loop
async def test_an_evaluation_is_in_the_journal_before_it_is_answered() -> None:
    """Under the id that is told, as the agent that was proved."""
    world = made()
    async with stage_of(world) as stage:
        told = (await stage.send(asked("small"), token="worker")).body["context"]

        row = await world.store.record(told["id"])
        assert row is not None
        assert (row.record.subject, row.log, row.sequence) == ("worker", told["log"], told["sequence"])
        body = orjson.loads(row.record.body)
        assert (body["action"], body["effect"], body["resource"]["variant"]) == ("api.call", "ALLOW", "small")


@in_loop
async def test_a_key_makes_it_the_same_decision() -> None:
    """Whatever the clock in its context says; another question under the key is refused."""
    world = made()
    async with stage_of(world) as stage:
        first = (await stage.send(asked("small", key="k", time="10:00"), token="worker")).body
        second = (await stage.send(asked("small", key="k", time="10:01", attempt=2), token="worker")).body
        other = (await stage.send(asked("small", key="k", reason="x"), token="worker")).body

        assert second["context"]["replayed"] is True
        assert second["context"]["id"] == first["context"]["id"]
        assert other["context"]["reasons"][0]["code"] == "idempotency_mismatch"
        assert other["decision"] is False


@pytest.mark.parametrize("who", ["worker", "watched"])
def test_a_type_that_is_none_of_ours_is_denied_and_recorded(who: str) -> None:
    """No rule is asked; of an observed agent it is told, and lets it through."""

    @in_loop
    async def run() -> None:
        world = made()
        async with stage_of(world) as stage:
            told = (await stage.send(asked("small", who=who, type="todo"), token=who)).body
            assert told["context"]["effect"] == "DENY"
            assert told["context"]["reasons"][0]["code"] == "unknown_resource"
            assert told["decision"] is (who == "watched")
            assert told["context"].get("enforced") is (False if who == "watched" else None)
            assert await world.store.record(told["context"]["id"]) is not None

    run()


@in_loop
async def test_an_observed_agent_is_told_that_nothing_binds_it() -> None:
    """true, for it may act; no approval is opened."""
    async with stage_of(made()) as stage:
        told = (await stage.send(asked("large", who="watched"), token="watched")).body
        assert (told["decision"], told["context"]["enforced"], told["context"]["effect"]) == (True, False, "HOLD")
        assert "approvals" not in told["context"]


@in_loop
async def test_several_are_decided_in_their_order_within_one_budget() -> None:
    """Ten of them fit, the eleventh is told what is in its way."""
    world = made()
    async with stage_of(world) as stage:
        one = asked("small")
        subject = one.pop("subject")
        told = (await stage.send({"subject": subject, "evaluations": [one] * 11}, EVALUATIONS, token="worker")).body
        decisions = [each["decision"] for each in told["evaluations"]]
        assert decisions == [True] * 10 + [False]
        assert told["evaluations"][-1]["context"]["reasons"][0]["code"] == "budget_exhausted"


@in_loop
async def test_a_message_to_an_agent_goes_another_way() -> None:
    """400: its labels would not travel."""
    async with stage_of(made()) as stage:
        message = asked("small") | {"action": {"name": "message.send"}, "resource": {"type": "agent", "id": "watched"}}
        reply = await stage.send(message, token="worker")
        assert reply.status == 400
        assert b"Handoff" in reply.raw


def pipeline_of(stage: Stage) -> Pipeline:
    return cast(Any, stage.pipeline)
