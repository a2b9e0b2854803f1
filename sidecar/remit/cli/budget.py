"""`remit budget`: how much room there is, and more or less of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import click
from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table
from rich.text import Text

from remit.cli.connection import Connection, connected
from remit.cli.decisions import end, money_document, read, tell
from remit.cli.failure import Failure
from remit.cli.screen import emit, show
from remit.cli.text import amount, clean, moment
from remit.core.money import MoneyInvalid, parse_nanos
from remit.sdk.answers import NANOS, Money
from remit.sdk.reading import read_money
from remit.v1 import oversight_pb2, resources_pb2

BAR = 20
_AMOUNT = re.compile(r"(?P<number>[+-]?[0-9.]+) ?(?P<currency>[A-Z]{3})?", re.ASCII)


@click.group("budget")
def command() -> None:
    """List budgets and adjust their limits."""


@command.command("list")
@click.argument("budget", default="")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@connected
def list_budgets(connection: Connection, budget: str, as_json: bool) -> None:
    """Show limit, spent, held and room of every budget, or of BUDGET, in its current window.

    Example: remit budget list
    """
    budgets = _budgets(connection, budget)
    if as_json:
        emit([budget_document(each) for each in budgets])
    elif budgets:
        show(budget_table(budgets))
    else:
        show("no budget is in use")


@command.command("adjust", context_settings={"ignore_unknown_options": True})
@click.argument("budget")
@click.argument("delta", metavar="AMOUNT")
@click.option("--scope", default="", help="The agent or workflow, of a budget that is counted per agent or workflow.")
@click.option("--reason", required=True, help="Why, for people.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@connected
def adjust(connection: Connection, **given: Any) -> None:
    """Add AMOUNT (+50, -10.5, +50EUR) to the limit of BUDGET in its current window.

    Example: remit budget adjust cx-month +50 --reason "end of quarter"
    """
    delta, currency = read_amount(given["delta"])
    request = oversight_pb2.AdjustBudgetRequest(
        budget=given["budget"],
        scope=given["scope"],
        delta=_wire(delta, _agreed(connection, given["budget"], currency)),
        reason=given["reason"],
    )
    answer = connection.call("Oversight", "AdjustBudget", request)
    decision = read(answer.decision)
    changed = answer.HasField("budget")
    more = {"budget": budget_document(answer.budget)} if changed else {}
    tell(decision, more, as_json=given["as_json"])
    if changed and not given["as_json"]:
        show(budget_table([answer.budget]))
    end(decision)


def read_amount(text: str) -> tuple[int, str]:
    """Nanos and currency ("" where none is said) of such as "+50", "-10.5" or "+50EUR". Raises Failure."""
    matched = _AMOUNT.fullmatch(text)
    try:
        nanos = parse_nanos(matched["number"]) if matched else 0
    except MoneyInvalid as error:
        raise Failure(f"AMOUNT: found {text[:40]!r}; {error}") from error
    if matched is None or not nanos:
        raise Failure(f"AMOUNT: found {text[:40]!r}; expected an exact amount other than 0, such as +50 or -10.5")
    return nanos, matched["currency"] or ""


def _agreed(connection: Connection, budget: str, said: str) -> str:
    """The ledger's currency; it must be what was said. The sidecar checks once more."""
    # A budget that is counted per agent has no row before its first use: any other one tells the currency too.
    rows = _first(connection, budget) or _first(connection, "")
    if not rows and not said:
        raise Failure("AMOUNT: the ledger's currency is not known before its first use; say it, as in +50EUR")
    ledger: str = rows[0].limit.currency if rows else said
    if said and said != ledger:
        raise Failure(f"AMOUNT: found {said}; expected {ledger}, the ledger's currency")
    return ledger


def _budgets(connection: Connection, budget: str) -> Sequence[oversight_pb2.Budget]:
    """All of them, page by page."""
    budgets: list[oversight_pb2.Budget] = []
    request = oversight_pb2.ListBudgetsRequest(budget=budget)
    while True:
        page = connection.call("Oversight", "ListBudgets", request)
        budgets.extend(page.budgets)
        if not page.truncated:
            return budgets
        request.after.id, request.after.scope = budgets[-1].id, budgets[-1].scope


def _first(connection: Connection, budget: str) -> Sequence[oversight_pb2.Budget]:
    request = oversight_pb2.ListBudgetsRequest(budget=budget, limit=1)
    budgets: Sequence[oversight_pb2.Budget] = connection.call("Oversight", "ListBudgets", request).budgets
    return budgets


def _wire(nanos: int, currency: str) -> resources_pb2.Money:
    units, rest = divmod(abs(nanos), NANOS)
    sign = -1 if nanos < 0 else 1
    return resources_pb2.Money(currency=currency, units=sign * units, nanos=sign * rest)


def budget_table(budgets: Sequence[oversight_pb2.Budget]) -> Table:
    """A row a budget, with a bar of what is spent and held of its limit."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("budget", "scope"):
        table.add_column(name)
    for name in ("limit", "spent", "held", "room"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("window ends", no_wrap=True)
    for each in budgets:
        limit, spent, held = (read_money(each.limit), read_money(each.spent), read_money(each.held))
        room = Money(limit.currency, limit.nanos - spent.nanos - held.nanos)
        table.add_row(
            clean(each.id),
            clean(each.scope),
            amount(limit.nanos, limit.currency),
            amount(spent.nanos),
            amount(held.nanos),
            Text(amount(room.nanos), "red" if room.nanos <= 0 else ""),
            bar(limit.nanos, spent.nanos, held.nanos),
            _end(each),
        )
    return table


def bar(limit: int, spent: int, held: int) -> Text:
    """BAR characters: `#` spent, `=` held, `.` room."""
    whole = max(limit, spent + held, 1)
    filled = _cells(spent + held, whole)
    full = min(_cells(spent, whole), filled - bool(held))
    text = Text("#" * full, "red" if spent + held >= limit else "green")
    return text.append("=" * (filled - full), "yellow").append("." * (BAR - filled), "dim")


def _cells(part: int, whole: int) -> int:
    """Rounded down, but a little is 1: only what is full looks full, only what is empty looks empty."""
    return max(part * BAR // whole, 1) if part > 0 else 0


def _end(budget: oversight_pb2.Budget) -> str:
    return moment(_ns(budget.window_end)) if budget.HasField("window_end") else "never"


def _ns(time: Timestamp) -> int:
    return int(time.seconds * NANOS + time.nanos)


def budget_document(budget: oversight_pb2.Budget) -> dict[str, Any]:
    """One budget for JSON; times in ns, `window_end_ns` 0 where it never ends."""
    limit, spent, held = (read_money(budget.limit), read_money(budget.spent), read_money(budget.held))
    return {
        "budget": budget.id,
        "scope": budget.scope,
        "limit": money_document(limit),
        "spent": money_document(spent),
        "held": money_document(held),
        "room": money_document(Money(limit.currency, limit.nanos - spent.nanos - held.nanos)),
        "window_start_ns": _ns(budget.window_start),
        "window_end_ns": _ns(budget.window_end),
    }
