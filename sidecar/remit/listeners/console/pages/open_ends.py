"""Open ends: what was allowed and never reported, and what is held by a claim."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from remit.core.canonical import MalformedJson, parse
from remit.core.claim import Claim
from remit.core.phrases import resource_words, said
from remit.core.records import items
from remit.listeners.console.pages.site import Visit, part
from remit.ports import Reservation

LISTED = 100

_KEY_BYTES, _KEY_DEPTH = 64 * 1024, 2


@dataclass(frozen=True, slots=True)
class Effect:
    """What was allowed and not reported; `late` for how long (ns) it has been due, 0 where it is not yet."""

    decision: str
    subject: str
    workflow: str
    what: str
    amount: int
    lapsed: bool
    due: int
    late: int


@dataclass(frozen=True, slots=True)
class Held:
    """A thing that somebody holds."""

    thing: str
    object: str
    subject: str
    workflow: str
    token: int
    since: int
    until: int


async def show(visit: Visit) -> Response:
    """Both, the oldest first; each only to whom it may be shown."""
    effects = await part(visit.overview.unresolved(visit.person, LISTED + 1))
    claims = await part(visit.overview.claims(visit.person, LISTED + 1))
    now = visit.console.now()
    return visit.page(
        "open_ends.html",
        title="Open ends",
        effects=[_effect(each, now) for each in effects.rows[:LISTED]],
        effects_told=effects.told,
        more_effects=len(effects.rows) > LISTED,
        claims=[_held(each) for each in claims.rows[:LISTED]],
        claims_told=claims.told,
        more_claims=len(claims.rows) > LISTED,
    )


def _effect(held: Reservation, now: int) -> Effect:
    return Effect(
        decision=held.decision,
        subject=held.subject,
        workflow=held.workflow,
        what=" ".join(filter(None, [held.service, held.variant])),
        amount=held.amount,
        lapsed=held.state == "lapsed",
        due=held.deadline,
        late=max(now - held.deadline, 0),
    )


def _held(claim: Claim) -> Held:
    return Held(*_thing(claim.key), claim.subject, claim.workflow, claim.token, claim.time, claim.expires)


def _thing(key: str) -> tuple[str, str]:
    """A thing's words (`claim.thing`), and the object in it; a key that is none of ours as it is."""
    try:
        named = items(parse(key.encode("utf-8", "replace"), _KEY_BYTES, _KEY_DEPTH))
    except MalformedJson:
        named = []
    if len(named) != 3 or not all(isinstance(each, str) for each in named):
        return said(key), ""
    return resource_words({"type": named[0], "id": named[1]}), said(named[2])
