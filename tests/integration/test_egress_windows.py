"""A month ends while calls are under way: through the whole sidecar, whose clock is moved."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fakes.budget_cuts import ended
from fakes.budget_stage import CLOCK, call, question, request, reservation, stage
from fakes.budget_upstream import COST, whole_answer
from fakes.loop import in_loop

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

SECOND = 10**9
BOUND = reservation(question("p00000", stream=True))
BUDGETS = {
    "month": {"when": {"service": ["openai"]}, "limit": BOUND / SECOND, "window": "month"},
    "day": {"when": {"service": ["openai"]}, "limit": 2 * BOUND / SECOND, "window": "day"},
}


def put_forward(file: Path, moment: int) -> None:
    """The sidecar's clock shows this moment now; whole or not at all."""
    draft = file.with_suffix(".new")
    draft.write_text(str(moment - time.time_ns()))
    draft.replace(file)


@in_loop
async def test_a_call_under_way_at_the_end_of_a_month_is_booked_in_that_month(tmp_path: Path) -> None:
    """The next month has its whole room at once, and its own calls alone."""
    first = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    edge = int((first + timedelta(days=32)).replace(day=1).timestamp()) * SECOND
    file = tmp_path / "clock"
    put_forward(file, edge - 60 * SECOND)
    environment = {"STAGE_CLOCK": str(file)}
    with stage(tmp_path, {"openai": "openai"}, BUDGETS, program=CLOCK, environment=environment) as made:
        async with made.upstream.serving():
            play = whole_answer("openai", True)
            play.stop = 3
            late = made.upstream.add(play)
            under_way = asyncio.create_task(call(made, request(late, stream=True)))
            await play.reached.wait()
            refused = await call(made, request(made.upstream.add(whole_answer("openai", True)), stream=True))
            assert refused.code == "budget_exhausted"

            put_forward(file, edge)
            heard = await call(made, request(made.upstream.add(whole_answer("openai", True)), stream=True))
            assert heard.status == 200
            play.go_on.set()
            assert (await under_way).whole
            assert await ended(made)
        rows = made.select(f"SELECT budget, start_ns >= {edge}, spent, held FROM budget WHERE budget <> 'all'")
        assert sorted(rows) == [(name, new, COST, 0) for name in ("day", "month") for new in (0, 1)]
        assert made.reckon() == []
