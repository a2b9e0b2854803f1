"""What a record did to the ledger, as it is shipped: plain JSON, of the kinds that are decided locally."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from remit.core.effect import AdjustBudget, Effect, EndReservation, KeepAnswer, ProlongReservation, Reserve
from remit.core.model import BudgetRow


def shipped(effects: Sequence[Effect], time: int) -> list[dict[str, Any]]:
    """The effects of a record of that time. An adjustment is a slice: what was taken is known already, and left out."""
    return [told for each in effects if (told := _told(each, time)) is not None]


def row_json(row: BudgetRow) -> dict[str, Any]:
    """A budget's row, as SQL functions take it."""
    return {"budget": row.budget, "scope": row.scope, "start": row.start, "end": row.end, "limit": row.limit}


def _told(effect: Effect, time: int) -> dict[str, Any] | None:
    match effect:
        case Reserve():
            return {
                "do": "reserve",
                "time": time,
                "decision": effect.decision,
                "subject": effect.subject,
                "workflow": effect.workflow,
                "service": effect.service,
                "variant": effect.variant,
                "owner": effect.owner,
                "rows": [row_json(row) for row in effect.rows],
                "amount": effect.amount,
                "deadline": effect.deadline,
            }
        case EndReservation():
            return {
                "do": "end",
                "time": time,
                "decision": effect.decision,
                "how": effect.how,
                "cost": effect.cost,
                "usage": dict(effect.usage),
                "digest": effect.digest,
            }
        case ProlongReservation():
            return {"do": "prolong", "time": time, "decision": effect.decision, "deadline": effect.deadline}
        case KeepAnswer():
            return {
                "do": "keep",
                "time": time,
                "subject": effect.subject,
                "rpc": effect.rpc,
                "key": effect.key,
                "digest": effect.digest,
                "answer": b64encode(effect.answer).decode(),
                "expires": effect.expires,
            }
        case AdjustBudget():
            if effect.delta >= 0:
                return None
            return {"do": "give", "time": time, "row": row_json(effect.row), "amount": -effect.delta}
    raise TypeError(f"{type(effect).__name__} is not decided locally")
