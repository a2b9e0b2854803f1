"""kill -9 in the middle of a burst: what was answered is kept, and what was left open ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from time import time_ns
from typing import Any

from remit.demo.children import until
from remit.demo.evidence import Noted, arrived, billed, decisions, metered
from remit.demo.page import NANOS, euros
from remit.demo.seam import Job
from remit.demo.with_remit import AT_ONCE, PURPOSE, Run

BURST = 2000
MEANWHILE = 150
"""So many decisions are answered before the sidecar is killed."""
GRACE = NANOS
"""A reservation ends by its deadline, or by the restart where that is later, and this much."""


async def killed(run: Run) -> None:
    """Kill the sidecar while 64 calls are under way, start it again, and look."""
    page = run.page
    analysis = run.workers["analysis"]
    before = len(analysis.noted)
    sent_before, _ = await run.upstreams.books()
    opened = await run.intake.open_workflow([PURPOSE], reason="score old customers again")
    run.workflows["rescoring"] = opened.id
    burst = asyncio.create_task(analysis.do(Job("rescore", workflow=opened.context, count=BURST)))
    await analysis.answered(before + MEANWHILE)
    pid = run.sidecar.pid
    await run.sidecar.kill()
    end = (await burst).end
    answered = list(analysis.noted)[before:]
    page.say(f"killed process {pid} with {AT_ONCE} calls under way, against a budget with room for about half of them:")
    page.say(_told(end))
    closed = await run.sidecar.closed()
    page.expect(
        "without the sidecar nothing leaves: its Envoy ended with it",
        "connection refused" if closed else "the egress still listens",
        closed,
    )
    took = await run.sidecar.up()
    ready = time_ns()
    page.say(f"started again on the same state, ready after {took:.1f} s")
    records = await run.auditor.trace(opened.id)
    lost = {id for id, _ in answered} - {each.id for each in records}
    page.expect(
        "decisions answered before the kill that the journal has after it",
        f"{len(answered) - len(lost)} of {len(answered)}",
        len(answered) >= MEANWHILE and not lost and end.get("no answer", 0) > 0,
    )
    sent, _ = await run.upstreams.books()
    allowed = {each.sent for each in decisions(records, effect="ALLOW")}
    loose = [entry for entry in sent[len(sent_before) :] if arrived(entry) not in allowed]
    page.expect(
        "calls that went out without a permission, while nobody could give one",
        f"{len(loose)} of {len(sent) - len(sent_before)}",
        not loose,
    )
    await lapsed(run, opened.id, ready)
    await run.intake.close_workflow(opened)


async def lapsed(run: Run, workflow: str, ready: int) -> None:
    """What was set aside and never reported is charged as reserved, at its deadline."""
    records = await _settled(run, workflow)
    permits = {each.id: each for each in decisions(records, effect="ALLOW")}
    lapses = [each for each in records if each.kind == "lapse"]
    late = [each.time - max(int(permits[each.ref].body["deadline"]), ready) for each in lapses]
    open_ones = permits.keys() - {each.ref for each in records if each.kind in ("lapse", "report")}
    page = run.page
    page.expect(
        "reservations that the kill left open, all lapsed by their deadline + 1 s",
        f"{len(lapses)}, the last {max(late, default=0) / NANOS:+.2f} s after its deadline",
        bool(lapses) and not open_ones and max(late) <= GRACE,
    )
    rows = await run.auditor.budgets()
    tight = next(each for each in rows if each.id == "rescoring")
    page.expect(
        "budgets that are exceeded, or still hold something",
        f"{sum(each.spent + each.held > each.limit or each.held > 0 for each in rows)} of {len(rows)}; "
        f"the tightest: {euros(tight.spent)} of {euros(tight.limit)}",
        all(each.spent <= each.limit and each.held == 0 for each in rows),
    )
    await presumed(run, lapses, permits)


async def presumed(run: Run, lapses: Sequence[Noted], permits: Mapping[str, Noted]) -> None:
    """The ledger is the bill, plus exactly what was presumed of calls that nobody reported."""
    models, mail = await run.upstreams.books()
    bill, meter = billed(models, mail).total(), metered(await run.sidecar.metrics()).total()
    paid = {arrived(entry): int(entry["nanos"]) for entry in models}
    above = sum(int(permits[each.ref].body["reserved"]) - paid.get(permits[each.ref].sent, 0) for each in lapses)
    run.page.expect(
        "the ledger is the bill plus what was presumed, never less",
        f"{euros(meter)} = {euros(bill)} + {euros(above)}",
        meter == bill + above and above >= 0,
    )


async def _settled(run: Run, workflow: str) -> list[Noted]:
    """The workflow's records once nothing is held any more, or after ten seconds as they are."""

    async def nothing_held() -> bool:
        return not any(each.held for each in await run.auditor.budgets())

    await until(nothing_held, seconds=10)
    return await run.auditor.trace(workflow)


def _told(end: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in end.items())
