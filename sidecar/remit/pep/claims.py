"""Claims: taken, renewed, let go of, and ended when their time is up."""

from __future__ import annotations

from dataclasses import dataclass, replace

from remit.core.answer import Taken
from remit.core.call import Call, ClaimCall, Claimed, ReleaseCall
from remit.core.claim import Claim, thing
from remit.core.effect import ReleaseClaim, TakeClaim
from remit.core.errors import IllegalTransition, NotFound
from remit.core.model import ActionName, Facts, Request, Subject
from remit.pep.decide import Draft, Plan, Point, decide
from remit.pep.touching import OBJECT
from remit.pep.workflow import workflow_id
from remit.pep.world import SECOND, Installation, World
from remit.pep.write import Entry, must_write

LAPSED_AT_ONCE = 256


@dataclass(slots=True)
class _Found:
    """The claim on the thing, as it was when policy was asked."""

    claim: Claim | None = None


async def take(world: World, subject: Subject, call: ClaimCall) -> Taken:
    """Take a thing, or renew what the caller holds of it."""
    key, found = thing(call.resource.type, call.resource.id, call.object), _Found()
    question = Call(
        rpc="Claim",
        action=ActionName.CLAIM_TAKE,
        resource=call.resource,
        claimed=_with_arguments(call),
        key=call.key,
        digest=call.digest,
    )

    async def look(installation: Installation, request: Request, facts: Facts) -> Facts:
        found.claim = await world.store.claim(key)
        return facts

    def plan(draft: Draft, facts: Facts) -> Plan:
        there, workflow = found.claim or Claim(key, "", "", 0, 0), draft.request.context.workflow
        renews = there.held(facts.time) and (there.subject, there.workflow) == (subject.id, workflow)
        token = there.token if renews else there.token + 1
        taken = Claim(key, subject.id, workflow, token, facts.time + call.ttl, facts.time)
        told = {"token": token, "expires": str(taken.expires)}
        return Plan((TakeClaim(taken, there.token),), told, {"thing": key, **told})

    decided = await decide(world, subject, question, plan, Point(look=look))
    if not decided.extra:
        return Taken(decided.answer)
    return Taken(decided.answer, int(decided.extra["token"]), int(decided.extra["expires"]))


async def release(world: World, subject: Subject, call: ReleaseCall) -> str:
    """Let go of a thing; the record's id. Raises NotFound where the caller does not hold it by that token."""
    key = thing(call.resource.type, call.resource.id, call.object)
    workflow = workflow_id(world, call.claimed.workflow)
    effect = ReleaseClaim(key, subject.id, workflow, call.token)
    entry = Entry("claim.release", subject.id, {"thing": key, "token": call.token}, filed_in=workflow)
    id, _ = await must_write(world, entry, (effect,))
    return id


async def free_halted(world: World) -> None:
    """Let go of what is held by agents, or in workflows, that are halted: a halt must not keep things from others."""
    halted = {(each.scope, each.value) for each in await world.store.halts() if each.scope in ("agent", "workflow")}
    if not halted:
        return
    for claim in await world.store.claims(world.clock.now(), LAPSED_AT_ONCE):
        if {("agent", claim.subject), ("workflow", claim.workflow)} & halted:
            await _free(world, claim, lapsed=False)


async def lapse_claims(world: World) -> tuple[Claim, ...]:
    """End the claims that have expired, each by a record of its own; those that were ended here."""
    ended = []
    for claim in await world.store.due_claims(world.clock.now(), LAPSED_AT_ONCE):
        if await _free(world, claim, lapsed=True):
            ended.append(claim)
    return tuple(ended)


async def _free(world: World, claim: Claim, *, lapsed: bool) -> bool:
    """End a claim for its holder; False where it was renewed, let go of or ended elsewhere meanwhile."""
    body = {"thing": claim.key, "token": claim.token, "because": "lapsed" if lapsed else "halted"}
    entry = Entry("claim.lapse", claim.subject, body, filed_in=claim.workflow)
    effect = ReleaseClaim(claim.key, claim.subject, claim.workflow, claim.token, lapsed=lapsed)
    try:
        await must_write(world, entry, (effect,))
    except (IllegalTransition, NotFound):
        return False
    return True


def _with_arguments(call: ClaimCall) -> Claimed:
    return replace(call.claimed, arguments={OBJECT: call.object, "ttl": call.ttl // SECOND})
