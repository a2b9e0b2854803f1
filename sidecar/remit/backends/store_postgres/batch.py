"""A batch of parts as it is sent, and what the server answers to each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from remit.backends.store_postgres.chain import Chain
from remit.backends.store_postgres.parts import Part
from remit.core.effect import Committed, Refused
from remit.core.errors import BadRequest, IllegalTransition, NotFound, RemitError, StoreUnavailable, Violation
from remit.core.model import BudgetRow
from remit.core.reason import Reason


@dataclass(frozen=True, slots=True)
class Refusal:
    """A guard said no. `allotted`: other writers' slices of the row have something left, which they may give back."""

    refused: Refused
    allotted: bool = False


@dataclass(frozen=True, slots=True)
class Busy:
    """Nothing happened: another writer decides by itself on this `kind` of thing ('home', 'reservation')."""

    kind: str
    name: str
    log: str


Outcome = Committed | Refusal | Busy | RemitError


def payload(parts: Sequence[Part], chain: Chain, *, own: str, revision: str) -> bytes:
    """What remit.commit takes."""
    places: dict[tuple[str, str, int, int], int] = {}
    rows: list[BudgetRow] = []
    commits = []
    for part in parts:
        named = []
        for row in part.rows:
            key = (row.budget, row.scope, row.start, row.end)
            if key not in places:
                places[key] = len(rows)
                rows.append(row)
            named.append(places[key])
        commits.append({"rows": named, "part": orjson.Fragment(part.text)})
    return orjson.dumps(
        {
            "log": chain.log,
            "own": own,
            "revision": revision,
            "sequence": chain.sequence,
            "head": chain.head.hex(),
            "rows": [[each.budget, each.scope, each.start, each.end, each.limit] for each in rows],
            "ends": [decision for part in parts for decision in part.ends],
            "halting": any(part.is_halting for part in parts),
            "things": sorted({thing for part in parts for thing in part.things}),
            "commits": commits,
        }
    )


def outcome(answer: Mapping[str, Any], part: Part, chain: Chain) -> Outcome:
    """What one caller is told; a record moves the chain on. Raises Lost for a record that is not chained."""
    match answer:
        case {"done": [int(sequence), str(hash_)]}:
            chain.follow(part.header, sequence, bytes.fromhex(hash_))
            return Committed(chain.log, sequence)
        case {"refused": [str(reason), str(name)]}:
            return Refusal(Refused(Reason(reason), name), bool(answer.get("allotted")))
        case {"busy": str(kind), "name": str(name), "log": str(log)}:
            return Busy(kind, name, log)
        case {"error": [str(kind), *texts]}:
            return _error(kind, [str(each) for each in texts])
        case _:
            return StoreUnavailable(f"the database answered what is no outcome: {answer!r:.200}")


def _error(kind: str, texts: Sequence[str]) -> RemitError:
    match kind, texts:
        case "illegal", [why]:
            return IllegalTransition(why)
        case "not_found", [what]:
            return NotFound(what)
        case "bad_request", [name, expected]:
            return BadRequest(Violation(name, expected))
        case _:
            return StoreUnavailable("; ".join(texts))
