"""`remit unresolved`: what was allowed, and nobody has told how it ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from remit.cli.ages import ago, nanoseconds, still
from remit.cli.connection import Connection, connected
from remit.cli.decisions import money_document
from remit.cli.screen import emit, note, progress, show
from remit.cli.text import amount, clean, counted
from remit.sdk.reading import read_money
from remit.v1 import oversight_pb2 as pb
from remit.v1 import resources_pb2

LIMIT = 500
STATES: dict[resources_pb2.ReservationState, str] = {
    resources_pb2.RESERVATION_STATE_HELD: "held",
    resources_pb2.RESERVATION_STATE_LAPSED: "lapsed",
}


@click.command("unresolved")
@click.option("--limit", type=click.IntRange(1, LIMIT), default=LIMIT, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@connected
def command(connection: Connection, limit: int, as_json: bool) -> None:
    """Show what was allowed and never reported, the oldest first: held until it is due, then charged as presumed.

    Example: remit unresolved
    """
    with progress("asking the sidecar"):
        answer = connection.call("Oversight", "ListUnresolved", pb.ListUnresolvedRequest(limit=limit))
    now = time.time_ns()
    if as_json:
        emit({"effects": [_document(each, now) for each in answer.effects], "truncated": answer.truncated})
    elif answer.effects:
        show(_table(answer.effects, now))
        overdue = sum(nanoseconds(each.expire_time) <= now for each in answer.effects)
        show(f"{counted(len(answer.effects), 'effect')}, {overdue} overdue")
    else:
        show("everything that was allowed was reported")
    if answer.truncated:
        note(f"remit: only the oldest {len(answer.effects)}; see --limit")


def _table(effects: Sequence[pb.Unresolved], now: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("decision", "agent", "workflow", "what"):
        table.add_column(name, overflow="fold")
    table.add_column("amount", justify="right", no_wrap=True)
    for name in ("state", "due"):
        table.add_column(name, no_wrap=True)
    for each in effects:
        cost, due = read_money(each.amount), nanoseconds(each.expire_time)
        what = "/".join(clean(part) for part in (each.service, each.variant) if part)
        age = Text(ago(due, now), "red") if due <= now else Text(still(due, now))
        table.add_row(
            clean(each.decision),
            clean(each.agent),
            clean(each.workflow) or "-",
            what,
            amount(cost.nanos, cost.currency),
            STATES.get(each.state, "unknown"),
            age,
        )
    return table


def _document(effect: pb.Unresolved, now: int) -> dict[str, Any]:
    due = nanoseconds(effect.expire_time)
    return {
        "decision": effect.decision,
        "agent": effect.agent,
        "workflow": effect.workflow,
        "service": effect.service,
        "variant": effect.variant,
        "amount": money_document(read_money(effect.amount)),
        "state": STATES.get(effect.state, ""),
        "due_ns": due,
        "overdue_ns": max(0, now - due),
    }
