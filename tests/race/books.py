"""What must hold in an installation's ledger at any moment, and when a story has come to its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import psycopg
from fakes.store_postgres import Installation

# All of one moment: what each row says, and what its reservations and slices add up to.
_ROWS = """
SELECT b.budget, b.scope, b.spent, b.held,
       coalesce(r.held, 0) AS open, coalesce(r.spent, 0) AS ended,
       coalesce(a.held, 0) AS sliced, coalesce(a.spent, 0) AS presumed
FROM remit.budget b
LEFT JOIN (
    SELECT u.id, sum(amount) FILTER (WHERE state = 'held') AS held, sum(spent) AS spent
    FROM remit.reservation, unnest(budgets) AS u (id) GROUP BY u.id
) r ON r.id = b.id
LEFT JOIN (
    SELECT budget, sum(greatest(0, allotted - drawn)) FILTER (WHERE NOT lapsed) AS held,
           sum(greatest(0, allotted - drawn)) FILTER (WHERE lapsed) AS spent
    FROM remit.allotment GROUP BY budget
) a ON a.budget = b.id
"""
_STUCK = "SELECT decision, allotted FROM remit.reservation WHERE state = 'held' AND deadline < %s"
_TWICE = "SELECT id FROM remit.journal GROUP BY id HAVING count(*) > 1"
_HALF = """
SELECT decision FROM remit.reservation r WHERE NOT EXISTS (SELECT FROM remit.journal j WHERE j.id = r.decision)
UNION ALL
SELECT id FROM remit.journal j WHERE kind = 'decision'
    AND NOT EXISTS (SELECT FROM remit.reservation r WHERE r.decision = j.id)
"""
_TOTALS = """
SELECT (SELECT coalesce(sum(cost), 0) FROM remit.spending), (SELECT coalesce(sum(spent), 0) FROM remit.reservation),
       (SELECT coalesce(sum(quantity), 0) FROM remit.usage),
       (SELECT count(*) FROM remit.reservation WHERE state = 'settled'),
       (SELECT coalesce(sum(spent), 0) FROM remit.burn), (SELECT coalesce(sum(spent), 0) FROM remit.budget)
"""


def wrong_books(connection: psycopg.Connection[Any], limits: Mapping[str, int]) -> list[str]:
    """What does not add up, or is overspent, at this moment; `connection` is the owner's."""
    wrong = []
    for budget, scope, spent, held, open_, ended, sliced, presumed in connection.execute(_ROWS).fetchall():
        where = f"{budget} {scope}".strip()
        if spent + held > limits[budget]:
            wrong.append(f"{where}: overspent: {spent} + {held} of {limits[budget]}")
        if held != open_ + sliced:
            wrong.append(f"{where}: {held} is held, not {open_} + {sliced}")
        if spent != ended + presumed:
            wrong.append(f"{where}: {spent} is spent, not {ended} + {presumed}")
    return wrong


def wrong_end(installation: Installation, *, before: int) -> list[str]:
    """What is stuck past its deadline (`before`, in ns), twice or half there, when nobody is at work any more."""
    wrong = [f"stuck past its deadline: {decision} ({log})" for decision, log in installation.rows(_STUCK, [before])]
    wrong += [f"recorded twice: {id}" for (id,) in installation.rows(_TWICE)]
    wrong += [f"half there: {id}" for (id,) in installation.rows(_HALF)]
    ((cost, spent, used, settled, burnt, booked),) = installation.rows(_TOTALS)
    if cost != spent:
        wrong.append(f"{cost} is told as spending, and reservations have spent {spent}")
    if used != settled:
        wrong.append(f"{used} calls are told as usage, and {settled} were settled")
    if burnt != booked:
        wrong.append(f"{burnt} is told hour by hour, and {booked} is spent")
    return wrong


def recorded(installation: Installation) -> set[str]:
    """The ids of all records."""
    return {id for (id,) in installation.rows("SELECT id FROM remit.journal")}


def left_behind(installation: Installation, log: str) -> dict[tuple[str, str], int]:
    """What a log's slices have left, by row."""
    asked = """SELECT b.budget, b.scope, greatest(0, a.allotted - a.drawn) FROM remit.allotment a
               JOIN remit.budget b ON b.id = a.budget WHERE a.log = %s"""
    return {(budget, scope): left for budget, scope, left in installation.rows(asked, [log])}


def answered(lines: Iterable[str]) -> tuple[dict[str, tuple[int, str]], dict[str, int]]:
    """What a spender has said: decisions (amount, log), and ends (cost), by the decision's id."""
    decisions: dict[str, tuple[int, str]] = {}
    ends: dict[str, int] = {}
    for line in lines:
        sign, id, number, *log = line.split()
        if sign == "+":
            decisions[id] = (int(number), log[0])
        else:
            ends[id] = int(number)
    return decisions, ends
