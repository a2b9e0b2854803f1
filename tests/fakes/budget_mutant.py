"""A sidecar with planted bugs, which the reckoning of budgets must find: `python budget_mutant.py up …`.

It pays a cut call only what had been seen of it, does not settle every other one at all, and sets money aside whether
there is room for it or not.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from remit.backends.store_sqlite.ledger import Ledger
from remit.cli.main import main
from remit.core.effect import Reserve
from remit.pep import egress, meter
from remit.pep.meter import End, Held, How, Metered
from remit.pep.world import World

_cut = count()
_settle, _meter, _reserve = meter.settle, meter.meter, Ledger.reserve


def seen_alone(world: World, held: Held, end: End) -> Metered:
    """Planted bug: who leaves early pays for what had come."""
    if end.how is How.CUT:
        nothing = dict.fromkeys(held.units, 0)
        return _meter(world, held, replace(end, how=How.SUCCEEDED, usage={**nothing, **end.usage}, complete=True))
    return _meter(world, held, end)


async def every_other(world: World, held: Held, end: End) -> Metered | None:
    """Planted bug: some calls that were cut are never settled."""
    if end.how is How.CUT and next(_cut) % 2:
        return None
    return await _settle(world, held, end)


def unguarded(self: Ledger, wanted: Reserve, now: int) -> None:
    """Planted bug: there is always room."""
    _reserve(self, replace(wanted, rows=tuple(replace(row, limit=10**18) for row in wanted.rows)), now)


if __name__ == "__main__":
    meter.meter = seen_alone
    egress.settle = every_other
    Ledger.reserve = unguarded  # type: ignore[method-assign]
    main()
