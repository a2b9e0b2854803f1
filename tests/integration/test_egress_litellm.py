"""LiteLLM's reported budget bugs, both ways (overspend, and refusals of money that was never spent): none holds here.

Each test is named by the issue and says what happened there. Those that lie in the arithmetic of prices are in
tests/core/egress/test_litellm_prices.py, those in a failing settlement in tests/pep/test_litellm_settlements.py.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import apsw
import pytest
import remit
from fakes.budget_cuts import WAYS, Cut, Where, Who, ended, perform
from fakes.budget_rush import Caller, rush
from fakes.budget_stage import FLAT, REMIT, TOKENS, Stage, call, post, question, request, reservation, stage
from fakes.budget_upstream import COST, Play, Then, framed, sized, whole_answer
from fakes.loop import in_loop, until

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

ONE = reservation(question("p00000", "openai"))
BOUND = reservation(question("p00000", "openai", stream=True))
CLAUDE = reservation(question("p00000", "anthropic", stream=True))


def budget(service: str, nanos: int, **more: Any) -> dict[str, Any]:
    return {"when": {"service": [service]}, "limit": nanos / 10**9, **more}


BUDGETS = {
    "b34732": budget("s34732", 2 * FLAT, per="workflow"),
    "b40095": budget("s40095", FLAT - 1, per="agent"),
    "b11083": budget("s11083", FLAT - 1, per="agent"),
    "b35567": budget("s35567", 10**12),
    "b26672": budget("s26672", BOUND),
    "b27639": budget("s27639", ONE),
    "b29493": budget("s29493", 10**12),
    "b33923": budget("s33923", 10 * BOUND),
    "b36926": budget("s36926", 10 * COST + 4 * BOUND),
    "b36926-late": budget("late", BOUND + COST),
    "b40050": budget("s40050", 9 * COST + CLAUDE),
    "b27735": budget("s27735", BOUND),
    "b37923": budget("s37923", 2 * BOUND - 1),
    "b26845": budget("s26845", 2 * BOUND - 1),
}
SERVICES = {name.replace("b", "s", 1): "openai" for name in BUDGETS if "-" not in name} | {
    "openai": "openai",
    "anthropic": "anthropic",
    "s40050": "anthropic",
    "late": {"kind": "openai", "hold_seconds": 1},
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("litellm"), SERVICES, BUDGETS) as made:
        yield made


async def tried(made: Stage, to: str, kind: str = "openai", *, play: Play | None = None, **more: Any) -> str:
    """A call: "200", or the reason of its refusal; its reservation has ended."""
    name = made.upstream.add(play or whole_answer(kind, bool(more.get("stream", True))))
    heard = await call(made, request(name, kind, to=to, **{"stream": True, **more}))
    assert await ended(made)
    return heard.code or str(heard.status)


async def opened(made: Stage) -> str:
    async with remit.Agent.connect(f"127.0.0.1:{made.grpc}", TOKENS["support"]) as agent:
        return (await agent.open_workflow(["support"])).context


@in_loop
async def test_litellm_34732_calls_of_one_session_at_once_do_not_share_its_room(running: Stage) -> None:
    """There: all calls of a session read the same spend before any was added, and all passed."""
    async with running.upstream.serving():
        for _ in range(2):
            found = await rush(running, [Caller("s34732", workflow=await opened(running))] * 16)
            assert (len(found.reached), found.codes) == (2, {"budget_exhausted"})
            assert await ended(running)


@in_loop
async def test_litellm_40095_the_first_calls_of_an_agent_at_once_have_a_budget(running: Stage) -> None:
    """There: eight first calls of an unknown user passed, since the budget was there only after they were recorded."""
    async with running.upstream.serving():
        found = await rush(running, [Caller("s40095", who="novice")] * 8)
    assert (found.reached, len(found.refused), found.codes) == ([], 8, {"budget_exhausted"})
    assert running.room("b40095", "novice") == (0, 0)


@pytest.mark.parametrize("header", ["remit-token", "authorization", "x-api-key", "api-key", "x-goog-api-key"])
@in_loop
async def test_litellm_11083_however_an_agent_is_known_its_budget_holds(running: Stage, header: str) -> None:
    """There: a user who was named by a header was never checked, for the check stood behind an early return."""
    token = TOKENS["support"]
    shown = {header: f"Bearer {token}" if header == "authorization" else token}
    async with running.upstream.serving():
        name = running.upstream.add(whole_answer("openai", False))
        body = question(name, model="flat")
        heard = await call(running, post("/s11083/v1/chat/completions", body, **shown))
    assert (heard.status, heard.code, running.upstream.of(name)) == (403, "budget_exhausted", [])


@in_loop
async def test_litellm_35567_settlements_at_once_are_all_added(running: Stage) -> None:
    """There: two answers at once read one sum and wrote one of two, and a cost was lost for good."""
    async with running.upstream.serving():
        found = await rush(running, [Caller("s35567", model="small", stream=True)] * 64)
        assert await ended(running)
    assert len(found.reached) == 64
    assert running.room("b35567") == (64 * COST, 0)


@in_loop
async def test_litellm_26672_a_budget_that_is_overspent_stays_so_after_a_restart(running: Stage) -> None:
    """There: calls passed although more than the limit was spent: a new process found no spend, and took that for 0."""
    dear = whole_answer("openai", True)
    dear.writes = [each.replace(b'"completion_tokens": 50', b'"completion_tokens":9999') for each in dear.writes]
    dear.bill = COST + (9999 - 50) * 8_000
    async with running.upstream.serving():
        assert await tried(running, "s26672", play=resized(dear)) == "200"
        assert running.room("b26672") == (dear.bill, 0)
        assert await tried(running, "s26672") == "budget_exhausted"
        await asyncio.to_thread(running.end, signal.SIGKILL)
        await asyncio.to_thread(running.up)
        assert await tried(running, "s26672") == "budget_exhausted"
    assert running.room("b26672") == (dear.bill, 0)


def resized(play: Play) -> Play:
    """The same with chunks of their new length."""
    pieces = [each.partition(b"\r\n")[2].removesuffix(b"0\r\n\r\n").removesuffix(b"\r\n") for each in play.writes[1:]]
    return Play(framed(pieces), bill=play.bill)


@in_loop
async def test_litellm_27639_no_reservation_leaks_on_any_way_to_fail(running: Stage) -> None:
    """There: aborts, errors and retries left reservations behind, and calls were refused with next to nothing spent.

    This budget has room for one call: after each failure that cost nothing, the next one still fits.
    """
    async with running.upstream.serving():
        for status in (400, 401, 429, 500, 503) * 4:
            failing = Play(sized(b"{}", status=status), bill=0)
            assert await tried(running, "s27639", play=failing, stream=False) == str(status)
        for _ in range(10):
            await perform(running, Cut("openai", False, Who.CALLER_RESETS, Where.HALF_ASKED, 0, True), "s27639")
        running.upstream.pause()
    assert [await tried(running, "s27639", stream=False) for _ in range(10)] == ["endpoint_unavailable"] * 10
    running.upstream.resume()
    async with running.upstream.serving():
        assert await tried(running, "s27639", stream=False) == "200"
    assert running.room("b27639") == (COST, 0)


@in_loop
async def test_litellm_29493_what_is_counted_is_what_was_spent_and_no_multiple_of_it(running: Stage) -> None:
    """There: counters climbed to whole multiples of the real spend, until a switch was added to reserve nothing."""
    async with running.upstream.serving():
        for who, where in WAYS:
            await perform(running, Cut("openai", True, who, where, 1000, True), "s29493")
        for _ in range(5):
            assert await tried(running, "s29493") == "200"
    assert running.room("b29493") == (sum(spent(running, "s29493")), 0)
    assert spent(running, "s29493")[-5:] == [COST] * 5
    assert running.reckon() == []


def spent(made: Stage, service: str) -> Sequence[int]:
    return [each.spent for each in made.booked() if each.decision.body["resource"]["id"] == service]


@in_loop
async def test_litellm_33923_where_nothing_can_be_reserved_nothing_is_sent(running: Stage) -> None:
    """There: a reservation that could not be written was left out, and the call went on without one.

    What ends meanwhile is settled as soon as the store is back, and once.
    """
    play = whole_answer("openai", True)
    play.stop = 3
    async with running.upstream.serving():
        under_way = asyncio.create_task(tried(running, "s33923", play=play))
        await play.reached.wait()
        stranger = apsw.Connection(str(running.place / ".remit" / "state.db"))
        stranger.execute("BEGIN IMMEDIATE")
        name = running.upstream.add(whole_answer("openai", True))
        heard = await call(running, request(name, to="s33923", stream=True))
        assert (heard.status, heard.code) == (503, "store_unavailable")
        play.go_on.set()
        assert running.upstream.of(name) == []
        stranger.execute("ROLLBACK")
        stranger.close()
        await under_way
        assert await tried(running, "s33923") == "200"
    assert running.room("b33923") == (2 * COST, 0)


@in_loop
async def test_litellm_36926_sustained_load_is_not_refused_for_what_was_not_spent(running: Stage) -> None:
    """There: under load the counter was the limit and the recent spend besides, or twice the spend, for minutes."""
    async with running.upstream.serving():
        for _ in range(3):
            found = await rush(running, [Caller("s36926", model="small", stream=True)] * 4)
            assert len(found.reached) == 4
            assert await ended(running)
        # Twelve were spent, and two more bounds fit.
        found = await rush(running, [Caller("s36926", model="small", stream=True)] * 4)
        left = 10 * COST + 4 * BOUND - 12 * COST
        assert len(found.reached) == left // BOUND
        assert await ended(running)
    assert running.room("b36926") == ((12 + left // BOUND) * COST, 0)


@in_loop
async def test_litellm_36926_a_late_settlement_replaces_what_was_presumed(running: Stage) -> None:
    """There: what was counted for a call came on top of what had been assumed for it.

    An answer that is silent for longer than its reservation lasts lapses by its deadline, is charged as reserved, and
    at its end at its real cost: the next call fits again.
    """
    play = whole_answer("openai", True)
    play.stop = 0
    async with running.upstream.serving():
        name = running.upstream.add(play)
        calling = asyncio.create_task(call(running, request(name, to="late", stream=True)))
        await play.reached.wait()
        await until(lambda: running.held() == 0, 3)
        (lapsed,) = running.of(name)
        assert (lapsed.state, lapsed.spent) == ("lapsed", BOUND)
        assert lapsed.deadline <= lapsed.endings[0].time <= lapsed.deadline + 10**9
        assert running.room("b36926-late") == (BOUND, 0)
        assert await tried(running, "late") == "budget_exhausted"
        play.go_on.set()
        assert (await calling).status == 200
        await until(lambda: running.of(name)[0].state == "settled", 1)
        assert running.room("b36926-late") == (COST, 0)
        assert await tried(running, "late") == "200"
    assert running.room("b36926-late") == (2 * COST, 0)


@in_loop
async def test_litellm_40050_what_is_enforced_is_what_is_recorded(running: Stage) -> None:
    """There: calls of /v1/messages were refused at 111 of 100 dollars, while the records summed up to 55.

    Budget, calls, journal and totals say the same, and a call that fits by them passes.
    """
    async with running.upstream.serving():
        for _ in range(10):
            assert await tried(running, "s40050", "anthropic") == "200"
    calls = [each for each in running.booked() if each.decision.body["resource"]["id"] == "s40050"]
    journal = sum(int(each.endings[0].body["cost"]) for each in calls)
    spending = running.select("SELECT sum(cost) FROM spending WHERE service = 's40050'")[0][0]
    assert running.room("b40050") == (10 * COST, 0)
    assert journal == spending == sum(each.spent for each in calls) == 10 * COST


@in_loop
async def test_litellm_27735_a_refusal_rests_on_what_is_spent_now(running: Stage) -> None:
    """There: calls were refused by a stale sum, while the spend that people were shown was below the limit.

    Room that a settlement has made, or a raised limit, is there for the very next call; and the refusal's record shows
    the sums that it rests on.
    """
    async with running.upstream.serving():
        found = await rush(running, [Caller("s27735", model="small", stream=True)] * 2, budget=("b27735", ""))
        assert (len(found.reached), found.codes, found.held) == (1, {"budget_exhausted"}, BOUND)
        assert await ended(running)
        assert await tried(running, "s27735") == "budget_exhausted"
        (shown,) = [each for each in running.denials("s27735")[-1].body["facts"]["budgets"] if each["id"] == "b27735"]
        assert (shown["spent"], shown["held"], shown["limit"]) == (str(COST), "0", str(BOUND))
        asked = ["budget", "adjust", "b27735", f"+{COST / 10**9}", "--reason", "more", "--json"]
        raised = await asyncio.to_thread(
            subprocess.run, [*REMIT, *asked], cwd=running.place, capture_output=True, text=True, check=False
        )
        assert raised.returncode == 0, raised.stderr
        assert await tried(running, "s27735") == "200"
    assert running.room("b27735") == (2 * COST, 0)


@in_loop
async def test_litellm_37923_streams_that_tell_no_usage_are_counted_until_the_budget_is_spent(running: Stage) -> None:
    """There: their spend was recorded as 0, and the invoice said 830 EUR where the budget said $1.47."""
    async with running.upstream.serving():
        silent = [Play(framed([b'data: {"choices": []}\n\n', b"data: [DONE]\n\n"])) for _ in range(2)]
        assert await tried(running, "s37923", play=silent[0]) == "200"
        assert running.room("b37923") == (BOUND, 0)
        assert await tried(running, "s37923", play=silent[1]) == "budget_exhausted"


@pytest.mark.parametrize(
    "cut",
    [
        Cut("anthropic", False, Who.CALLER_LEAVES, Where.BEFORE_HEADERS, 0, True),
        Cut("anthropic", True, Who.CALLER_LEAVES, Where.MIDDLE, 3, True),
        Cut("openai", True, Who.CALLER_RESETS, Where.LAST_CHUNK, 0, True),
    ],
    ids=["13245", "35958", "40100"],
)
@in_loop
async def test_litellm_13245_35958_40100_who_disconnects_is_charged_for_all_that_was_made(
    running: Stage, cut: Cut
) -> None:
    """There: a caller that left skipped the accounting, and the provider billed what nobody had recorded."""
    async with running.upstream.serving():
        await perform(running, cut)
        assert await ended(running)
    (booked,) = running.of(running.upstream.arrivals[-1].name)
    # Where its usage had come already, that is the provider's last word.
    assert booked.spent >= COST and booked.presumed == (booked.spent > COST)


@in_loop
async def test_litellm_26845_a_reservation_is_never_made_smaller_to_fit(running: Stage) -> None:
    """There: where less was left than a call may cost, that was reserved, and the call passed."""
    play = whole_answer("openai", True)
    play.stop, play.then = 1, Then.RESET
    async with running.upstream.serving():
        await tried(running, "s26845", play=play)
        assert running.room("b26845") == (BOUND, 0)
        assert await tried(running, "s26845") == "budget_exhausted"
    assert running.room("b26845") == (BOUND, 0)


@in_loop
async def test_litellm_35524_a_call_without_a_price_is_not_sent(running: Stage) -> None:
    """There: a cost that could not be estimated meant no reservation, and the call went on."""
    async with running.upstream.serving():
        name = running.upstream.add(whole_answer("openai", True))
        heard = await call(running, request(name, stream=True, model="large"))
    assert (heard.status, heard.code, running.upstream.of(name)) == (403, "price_unknown", [])
