"""A halt of policy is told to every question, and moves the version that commits compare."""

from __future__ import annotations

from fakes.commits import START, Desk
from fakes.loop import in_loop
from remit.core.effect import LiftHalt, PlaceHalt, Refused
from remit.core.model import Halt
from remit.core.reason import Reason


@in_loop
async def test_a_halt_of_policy_is_everybodys(desk: Desk) -> None:
    """Whose revision it lets decide is for the reader to compare."""
    before = await desk.facts("ann")
    halt = Halt("h1", "policy", "r2", "ana", "roll-out", START)
    await desk.must(PlaceHalt(halt))

    stale = await desk.judged(before)
    assert stale == Refused(Reason.FACTS_CHANGED, "halts")
    for subject in ("ann", "bob"):
        assert (await desk.facts(subject)).halts == (halt,)

    await desk.must(LiftHalt("h1", "ana"))
    assert (await desk.facts("ann")).halts == ()
