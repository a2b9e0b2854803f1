"""Asks today's policy about what was recorded, as the sidecar would ask it, as far as the journal has what it takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from remit.backends.identity_catalogue import subject_of
from remit.backends.opa_bundle import Bundle
from remit.backends.opa_server import OpaServer
from remit.backends.pdp_opa import OpaPdp, PdpSettings
from remit.core.catalogue import Catalogue
from remit.core.document import input_document
from remit.core.errors import BadRequest, PolicyFailure
from remit.core.metering import attributes, is_metered, maxima, named_statement
from remit.core.model import NO_COST, Context, Estimate, Facts, Identity, Mode, Request, Resource
from remit.core.price import CALL, estimate
from remit.core.records import items, mapping, text
from remit.core.ruling import refuse, rule
from remit.core.suggestion.observed import Seen
from remit.core.suggestion.readiness import Outcome, askable, outcome, recorded, sealed, voters

_SECONDS = 10.0
_SAID = "(the reason is not kept in clear)"


async def asked_anew(
    groups: Sequence[Seen], catalogue: Catalogue, bundle: Bundle, opa: Path, directory: Path
) -> list[Outcome]:
    """What each kind of decision would come to now. Raises OpaFailed."""
    asking = {number: question(seen, catalogue) for number, seen in enumerate(groups) if askable(seen)}
    if not asking:
        return [recorded(seen) for seen in groups]
    probe = input_document(*next(iter(asking.values())))
    server = OpaServer(opa, directory, probe, asking=PdpSettings(deadline=_SECONDS))
    await server.start(bundle)
    try:
        return [
            await _asked(server.pdp, seen, *asking[number], catalogue) if number in asking else recorded(seen)
            for number, seen in enumerate(groups)
        ]
    finally:
        await server.stop()


def question(seen: Seen, catalogue: Catalogue) -> tuple[Request, Facts]:
    """The request, by an agent that is bound, and what would be known of it: today's catalogue, the labels of then."""
    access, body = seen.access, seen.body
    context = mapping(body.get("context"))
    identity = mapping(mapping(body.get("subject")).get("identity"))
    proved = Identity(text(identity.get("method")), text(identity.get("subject")))
    subject = replace(subject_of(catalogue, "agent", access.agent, proved), mode=Mode.ENFORCE, actor=access.actor)
    fields = tuple(text(each) for each in items(mapping(body.get("resource")).get("fields")))
    reason = context.get("reason")
    request = Request(
        subject=subject,
        action=access.action,
        resource=Resource(access.type, access.id, access.operation, access.variant, fields),
        context=Context(
            workflow="recorded" if seen.kind.in_workflow else "",
            purpose=access.purpose,
            reason=reason if isinstance(reason, str) else _SAID,
            arguments={} if sealed(body) else mapping(context.get("arguments")),
        ),
    )
    return request, _facts(seen, request, catalogue)


def _facts(seen: Seen, request: Request, catalogue: Catalogue) -> Facts:
    now = time.time_ns()
    resource = catalogue.describe(request.resource, attributes(request), action=request.action)
    metered = is_metered(catalogue, request)
    cost = _estimate(seen, request, catalogue, now) if metered else NO_COST
    labels: dict[str, tuple[str, ...]] = dict.fromkeys(seen.kind.labels, ())
    return Facts(time=now, resource=resource, labels=labels, metered=metered, estimate=cost)


def _estimate(seen: Seen, request: Request, catalogue: Catalogue, now: int) -> Estimate:
    """At today's prices, for the most that was stated of each unit."""
    statement = named_statement(catalogue, request)
    if statement is not None:
        return Estimate(statement.cost, {CALL: 1})
    named = (request.resource.id, request.resource.variant)
    most = maxima(
        catalogue, request, attributes(request, catalogue.describe(request.resource, attributes(request)).region)
    )
    try:
        return estimate(catalogue, *named, usage=seen.units, time_ns=now, maxima=most)
    except BadRequest:
        return Estimate(None)


async def _asked(pdp: OpaPdp, seen: Seen, request: Request, facts: Facts, catalogue: Catalogue) -> Outcome:
    try:
        verdict = await pdp.ask(input_document(request, facts))
    except PolicyFailure as failure:
        return outcome(seen, refuse(failure.reason, failure.detail, request), ())
    # What the enforcement point fulfils is not recorded; that it did not, is.
    fulfils = frozenset(each.id for each in verdict.obligations)
    ruling = rule(verdict, replace(request, fulfils=fulfils), facts.estimate, halted=False, metered=facts.metered)
    return outcome(seen, ruling, voters(ruling.holds, request.subject.id, seen.kind.labels, catalogue))
