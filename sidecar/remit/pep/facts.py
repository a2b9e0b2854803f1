"""Gathers what the sidecar knows about a question, and whose versions the commit must check."""

from __future__ import annotations

from dataclasses import replace

from remit.core.catalogue import Catalogue
from remit.core.metering import attributes, is_metered, maxima, named_statement
from remit.core.model import NO_COST, BudgetRow, Estimate, Facts, Halt, Mode, Request, Subject, Versions
from remit.core.price import CALL, estimate
from remit.core.window import budget_rows
from remit.pep.touching import acts_fact, claims_fact, touched
from remit.pep.world import Installation, World
from remit.ports import FactsQuery


def in_force(catalogue: Catalogue, subject: Subject) -> Subject:
    """The caller as this catalogue has it: it may have been identified by one that was replaced since.

    One that is no longer listed keeps its name alone. Whoever holds the operator's own token is in no catalogue.
    """
    if subject.identity.method == "local":
        return subject
    if subject.type == "person":
        person = catalogue.people.get(subject.id)
        return replace(subject, roles=person.roles if person else ())
    agent = catalogue.agents.get(subject.id)
    if agent is None:
        return replace(subject, team="", roles=(), mode=Mode.ENFORCE)
    return replace(subject, team=agent.team, roles=agent.roles, mode=Mode(agent.mode), isolation=agent.isolation)


async def gather(world: World, installation: Installation, request: Request, now: int) -> Facts:
    """Facts of this moment, to be judged with this installation's catalogue and revision."""
    catalogue = installation.catalogue
    resource = catalogue.describe(request.resource, attributes(request), action=request.action)
    selected = attributes(request, resource.region)
    metered = is_metered(catalogue, request)
    rows: tuple[BudgetRow, ...] = ()
    if metered:
        rows = budget_rows(catalogue.budgets, selected, workflow=request.context.workflow, time_ns=now)
    things, acted = touched(catalogue, request)
    stored = await world.store.facts(
        FactsQuery(
            request.subject.id,
            request.subject.isolation,
            request.context.workflow,
            selected["service"],
            rows,
            things,
            acted,
        )
    )
    return Facts(
        time=now,
        resource=resource,
        labels=stored.labels,
        metered=metered,
        estimate=_estimate(catalogue, request, selected, now) if metered else NO_COST,
        budgets=stored.budgets,
        claims=claims_fact(stored.claims, request, now),
        acts=acts_fact(stored.acts),
        history=world.history.of(request, now),
        # A halt of everything must not keep people from resuming.
        halts=_in_force(stored.halts, installation.pdp.revision) if request.subject.type == "agent" else (),
        versions=Versions(
            labels=stored.labels_version,
            workflow=stored.workflow.version if stored.workflow else 0,
            halts=stored.halts_version,
            revision=installation.pdp.revision,
        ),
    )


def _in_force(halts: tuple[Halt, ...], revision: str) -> tuple[Halt, ...]:
    """A halt of policy lets the revision decide that it names."""
    return tuple(each for each in halts if (each.scope, each.value) != ("policy", revision))


def _estimate(catalogue: Catalogue, request: Request, selected: dict[str, str], now: int) -> Estimate:
    resource = request.resource
    statement = named_statement(catalogue, request)
    if statement is not None:
        return Estimate(statement.cost, {CALL: 1})
    return estimate(
        catalogue,
        resource.id,
        resource.variant,
        usage=request.usage,
        time_ns=now,
        maxima=maxima(catalogue, request, selected),
    )
