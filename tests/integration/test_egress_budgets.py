"""Money at the egress: recorded answers are settled to the nano, the last cent is spent once, each attempt is its own.

Real OPA, Envoy and store, official clients, and an upstream that speaks the providers' APIs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import remit
from counts import dice
from fakes.budget_cuts import ended
from fakes.budget_rush import Caller, rush
from fakes.budget_stage import FLAT, TOKENS, Stage, call, question, request, reservation, stage
from fakes.budget_upstream import COST, Play, Then, sized, whole_answer
from fakes.loop import in_loop
from fakes.official import openai
from fakes.ports import free_port
from fakes.recorded import CASES, recorded_answer, recorded_request, recorded_services

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

KINDS = {"qo": "openai", "qa": "anthropic", "qg": "gemini", "qh": "http"}
LAST = reservation(question("p00000", "openai", stream=True))
FITS = 4


def dollars(nanos: int) -> float:
    return nanos / 10**9


BUDGETS: dict[str, dict[str, Any]] = {
    # Room for four calls, and for all but a nano of a fifth.
    "last-cent": {"when": {"service": ["last"]}, "limit": dollars(FITS * LAST + LAST - 1)},
    "four-team": {"when": {"service": [*KINDS], "team": ["cx"]}, "limit": dollars(20 * FLAT), "window": "month"},
    "four-agent": {"when": {"service": [*KINDS]}, "per": "agent", "limit": dollars(12 * FLAT), "window": "day"},
    "four-run": {"when": {"service": [*KINDS]}, "per": "workflow", "limit": dollars(7 * FLAT)},
    "two": {"when": {"service": ["twice"]}, "limit": dollars(2 * FLAT)},
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    closed = {"gone": {"kind": "openai", "at": free_port()}}
    services = {**KINDS, "openai": "openai", "last": "openai", "twice": "openai", **closed, **recorded_services()}
    with stage(tmp_path_factory.mktemp("budgets"), services, BUDGETS) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@in_loop
async def test_a_recorded_answer_is_settled_at_the_price_computed_by_hand(
    running: Stage, case: Mapping[str, Any]
) -> None:
    """To the nano, in whatever pieces it comes; what does not tell its usage costs what was reserved."""
    async with running.upstream.serving():
        name = running.upstream.add(recorded_answer(case, dice(case["name"])))
        heard = await call(running, recorded_request(case, name))
    assert (heard.status, heard.whole) == (200, True), heard.body
    assert await ended(running)
    (booked,) = running.of(name)
    if "cost" in case:
        assert (booked.state, booked.spent, booked.presumed) == ("settled", case["cost"], False)
        assert booked.endings[0].body["reported"] == case["usage"]
    else:
        assert (booked.state, booked.spent, booked.presumed) == ("settled", booked.reserved, True)


@in_loop
async def test_of_64_first_calls_on_the_last_cent_exactly_those_reach_the_upstream_that_fit(running: Stage) -> None:
    """The room of a fifth call but for one nano admits none; what they cost less than reserved makes room again."""
    callers = [Caller("last", model="small", stream=True)] * 64
    async with running.upstream.serving():
        first = await rush(running, callers, budget=("last-cent", ""))
        assert (len(first.reached), len(first.refused)) == (FITS, 64 - FITS)
        assert first.codes == {"budget_exhausted"}
        assert first.held == FITS * LAST
        assert await ended(running)
        assert running.room("last-cent") == (FITS * COST, 0)
        left = FITS * LAST + LAST - 1 - FITS * COST
        second = await rush(running, callers, budget=("last-cent", ""))
        assert len(second.reached) == left // LAST
        assert await ended(running)
    assert running.reckon() == []


@in_loop
async def test_of_64_calls_through_four_services_and_three_budgets_exactly_those_pass_that_fit(running: Stage) -> None:
    """Team, agent and workflow: what is refused by one of them takes no room of the others."""
    async with running.upstream.serving():
        runs = {who: [await opened(running, who) for _ in range(2)] for who in ("support", "second")}
        callers = [
            Caller(to, kind, who=who, workflow=runs[who][number % 2], stream=kind != "http" and number % 4 > 1)
            for number in range(8)
            for who in runs
            for to, kind in KINDS.items()
        ]
        found = await rush(running, callers, budget=("four-team", ""))
        # Each agent alone could have twelve, and each run seven.
        assert (len(found.reached), len(found.refused)) == (20, 44)
        assert found.codes == {"budget_exhausted"}
        assert found.held == 20 * FLAT
        assert await ended(running)
    each_agent = [running.room("four-agent", who) for who in runs]
    each_run = [running.room("four-run", id) for id in scopes(running, "four-run")]
    for rows, most in (([running.room("four-team")], 20), (each_agent, 12), (each_run, 7)):
        assert sum(spent for spent, _ in rows) == 20 * FLAT
        assert all(spent <= most * FLAT and held == 0 for spent, held in rows)
    assert running.reckon() == []


async def opened(made: Stage, who: str) -> str:
    async with remit.Agent.connect(f"127.0.0.1:{made.grpc}", TOKENS[who]) as agent:
        return (await agent.open_workflow(["support"])).context


def scopes(made: Stage, budget: str) -> list[str]:
    return [row[0] for row in made.select(f"SELECT scope FROM budget WHERE budget = '{budget}'")]


def failing(status: int) -> Play:
    text = json.dumps({"error": {"message": "try again", "type": "server_error"}}).encode()
    return Play(sized(text, status=status, more="retry-after-ms: 1\r\n"), bill=0)


async def ask(made: Stage, name: str, *, to: str = "openai", retries: int = 2) -> str:
    """A question of the official client; what it said, or the status of its error."""
    base = f"http://127.0.0.1:{made.port}/{to}/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key=TOKENS["support"], max_retries=retries) as client:
        try:
            answer = await client.chat.completions.create(**json.loads(question(name)))
        except openai.APIStatusError as error:
            return str(error.status_code)
    return str(answer.choices[0].message.content)


@in_loop
async def test_each_retry_of_the_official_client_is_a_decision_and_a_cost_of_its_own(running: Stage) -> None:
    """Two failures that cost nothing, and then the answer."""
    async with running.upstream.serving():
        name = running.upstream.add(failing(500), failing(503), whole_answer("openai", False))
        said = await ask(running, name)
        assert await ended(running)
    assert said == "All is well."
    calls = running.of(name)
    assert len({each.decision.id for each in calls}) == len(running.upstream.of(name)) == 3
    assert [(each.spent, each.presumed) for each in calls] == [(0, False), (0, False), (COST, False)]
    assert running.reckon() == []


@in_loop
async def test_a_connection_that_is_reset_is_charged_and_not_asked_again(running: Stage) -> None:
    """Nobody knows what the upstream did: the client is told not to retry, and one call is paid as reserved."""
    async with running.upstream.serving():
        play = whole_answer("openai", False)
        play.stop, play.then = 0, Then.RESET
        name = running.upstream.add(play)
        assert await ask(running, name) == "502"
        assert await ended(running)
    (booked,) = running.of(name)
    assert booked.spent == booked.reserved and booked.presumed
    assert running.reckon() == []


@in_loop
async def test_what_was_never_sent_is_asked_again_and_costs_nothing(running: Stage) -> None:
    """Nobody listens there: each attempt of the client is a decision, and its reservation is voided."""
    async with running.upstream.serving():
        assert await ask(running, "p99999", to="gone", retries=1) == "503"
        assert await ended(running)
    calls = [each for each in running.booked() if each.decision.body["resource"]["id"] == "gone"]
    assert [(each.state, each.spent) for each in calls] == [("voided", 0)] * 2
    assert running.reckon() == []


@in_loop
async def test_a_denial_is_replayed_by_its_key_and_a_permission_is_a_new_one(running: Stage) -> None:
    """The key of a denial gives that denial again, for the same request alone; what is permitted again is sent,
    reserved and paid for again, as long as there is room."""
    async with running.upstream.serving():
        answer = whole_answer("openai", False)
        answer.bill = FLAT
        name = running.upstream.add(answer)
        denied = request(name, model="large", to="twice", remit_key="k1")
        again = [await call(running, denied) for _ in range(3)]
        assert [(each.status, each.code) for each in again] == [(403, "price_unknown")] * 3
        assert len({each.headers["remit-decision"] for each in again}) == 1
        other = await call(running, request(name, model="flat", to="twice", remit_key="k1"))
        assert (other.status, other.code) == (403, "idempotency_mismatch")
        assert running.upstream.of(name) == []

        permitted = request(name, model="flat", to="twice", remit_key="k2")
        heard = [await call(running, permitted) for _ in range(3)]
        assert await ended(running)
    assert [each.status for each in heard] == [200, 200, 403]
    assert heard[2].code == "budget_exhausted"
    assert len({each.headers["remit-decision"] for each in heard}) == 3
    assert [each.spent for each in running.of(name)] == [FLAT, FLAT]
    assert running.reckon() == []


@in_loop
async def test_one_key_at_once_reserves_for_each_call_that_is_sent(running: Stage) -> None:
    """Sixteen with the same key and the same body: as many decisions as arrivals, each with its cost."""
    async with running.upstream.serving():
        name = running.upstream.add(whole_answer("openai", True))
        heard = await asyncio.gather(*(call(running, request(name, stream=True, remit_key="k3")) for _ in range(16)))
        assert await ended(running)
    assert [each.status for each in heard] == [200] * 16
    assert len({each.headers["remit-decision"] for each in heard}) == 16
    assert [each.spent for each in running.of(name)] == [COST] * 16
    assert running.reckon() == []
