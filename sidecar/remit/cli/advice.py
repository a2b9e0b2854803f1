"""What is well-formed in a catalogue and yet not meant: entries that nobody could ever use, agents without bounds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from remit.config.priced_kinds import PRICED_KINDS, PUBLIC_UNITS
from remit.config.reading import nearest
from remit.core.approval import supervisors
from remit.core.catalogue import Agent, Approval, Catalogue, Identity, Service
from remit.core.dataset import Dataset, NamedStatement
from remit.core.selector import Selector, glob_matches

REVIEWER = "approver"
"""The role of people whom the library's rule on reviews asks besides supervisors."""

_SHOWN = 3


def advise(catalogue: Catalogue, now: int) -> list[str]:
    """One line for each; `now` in ns since the epoch."""
    return [
        *_identities(catalogue),
        *_datasets(catalogue),
        *_services(catalogue, now),
        *_reviews(catalogue),
        *_prices(catalogue),
        *_unbounded(catalogue),
    ]


def advise_views(catalogue: Catalogue, views: Collection[str]) -> Iterator[str]:
    """The datasets that can be reached, and of which nothing is shown for want of a view; `views` are those written."""
    for name, dataset in catalogue.datasets.items():
        if dataset.reader.url and name not in views:
            yield f"datasets.{name}: {without_view(name)}"


def without_view(dataset: str) -> str:
    """What it comes to that the policies have no view of a dataset, and what to do."""
    how = f"write one (remit policy new views/{dataset}), or name the directory where it lies (--policy)"
    return f"no view of {dataset} in the policies, so no agent can query it: {how}"


def _identities(catalogue: Catalogue) -> Iterator[str]:
    for kind, name, identity in catalogue.identities():
        if identity == Identity():
            section = "agents" if kind == "agent" else "people"
            yield f"{section}.{name}: no identity, so nobody can prove to be it"


def _datasets(catalogue: Catalogue) -> Iterator[str]:
    for name, dataset in catalogue.datasets.items():
        place = f"datasets.{name}"
        yield from _reachable(place, dataset, catalogue)
        yield from _data(place, dataset)
        for title, statement in dataset.statements.items():
            agents = catalogue.agents.values()
            if not any(admits(dataset, agent) and admits(statement, agent) for agent in agents):
                yield f"{place}.statements.{title}: no agent that the dataset admits may ask for it"


def _data(place: str, dataset: Dataset) -> Iterator[str]:
    reader, writer = dataset.reader.url, dataset.writer.url
    if not reader:
        yield f"{place}: no url, so it is decided about and cannot be queried"
    if dataset.statements and not writer:
        yield f"{place}: statements and no writer, so none of them can be performed"
    if reader == writer != "" and not reader.startswith("sqlite:"):
        yield f"{place}: read and written as one user; the reader needs no right to write"
    for name, table in dataset.tables.items():
        if reader and not table.columns:
            yield f"{place}.tables.{name}: no columns, so nothing of it can be seen"


def _services(catalogue: Catalogue, now: int) -> Iterator[str]:
    for name, service in catalogue.services.items():
        place = f"services.{name}"
        yield from _reachable(place, service, catalogue)
        for link in service.via:
            if not link.owner:
                yield f"{place}.via: {link.service} has no owner, so every call is denied"
        for variant in service.variants or ("",):
            yield from _variant(place, name, variant, catalogue=catalogue, now=now)
        yield from _approvals(place, service, catalogue)
        yield from _ranks(place, service, catalogue)


def _reachable(place: str, entry: Service | Dataset, catalogue: Catalogue) -> Iterator[str]:
    if not entry.owner:
        yield f"{place}: no owner, so every use is denied"
    agents = catalogue.agents.values()
    if not any(admits(entry, agent) for agent in agents):
        yield f"{place}: no agent has one of its roles and one of its purposes, so every use is denied"


def admits(entry: Service | Dataset | NamedStatement, agent: Agent) -> bool:
    """Whether an agent has one of an entry's roles, and one of its purposes."""
    roles, purposes = set(entry.roles), set(entry.purposes)
    return (not roles or bool(roles & {*agent.roles})) and (not purposes or bool(purposes & {*agent.purposes}))


def _variant(place: str, service: str, variant: str, *, catalogue: Catalogue, now: int) -> Iterator[str]:
    named = f"{place}.variants.{variant}" if variant else place
    prices = [price for price in catalogue.prices_for(service, variant) if price.since <= now]
    if not prices:
        yield f"{named}: no price, so every call is denied (price_unknown); what is free says amount: 0"
    for currency in sorted({price.currency for price in prices}):
        if catalogue.rate(currency, now) is None:
            yield f"{named}: priced in {currency}, of which no rate into {catalogue.currency} is known: denied"
    listed = catalogue.services[service].variants.get(variant)
    if listed and prices and catalogue.services[service].kind in PRICED_KINDS:
        known = PUBLIC_UNITS | {price.unit for price in prices}
        for unit in sorted({*listed.max, *listed.inject} - known):
            if meant := nearest(unit, known):
                yield f"{named}: {unit} is no unit of its prices, so it bounds nothing: did you mean {meant}?"


def _approvals(place: str, service: Service, catalogue: Catalogue) -> Iterator[str]:
    """What nobody may approve for some of those who may ask for it."""
    asking = [name for name, agent in catalogue.agents.items() if admits(service, agent)]
    for name, variant in service.variants.items():
        if variant.approval:
            yield from _votes(f"{place}.variants.{name}", variant.approval, asking, catalogue)
    for number, override in enumerate(service.overrides):
        selected = [name for name in asking if _may_select(override.when, _attributes(name, catalogue))]
        for name, terms in override.variants.items():
            if terms.approval:
                yield from _votes(f"{place}.overrides[{number}].variants.{name}", terms.approval, selected, catalogue)


def _ranks(place: str, service: Service, catalogue: Catalogue) -> Iterator[str]:
    ranks = {agent.priority for agent in catalogue.agents.values() if admits(service, agent)}
    if service.conflicts and service.conflicts.policy == "priority" and len(ranks) == 1:
        yield f"{place}.conflicts: all who may use it have the same priority, so the first always has its way"


def _votes(place: str, approval: Approval, asking: Sequence[str], catalogue: Catalogue) -> Iterator[str]:
    roles = ", ".join(approval.roles) or "none named"
    if not approval.supervisor:
        voters = _voters(approval, "", catalogue)
        if not voters:
            yield f"{place}: nobody has a role that may approve it ({roles})"
        elif len(voters) < approval.quorum:
            yield f"{place}: {_too_few(approval, len(voters))}"
        return
    counts = {name: len(_voters(approval, name, catalogue)) for name in asking}
    if nobody := [name for name, count in counts.items() if not count]:
        yield f"{place}: nobody may approve it for {_some(nobody)}: no supervisor, and nobody has a role ({roles})"
    if few := {name: count for name, count in counts.items() if 0 < count < approval.quorum}:
        yield f"{place}: {_too_few(approval, max(few.values()))} for {_some(list(few))}"


def _voters(approval: Approval, agent: str, catalogue: Catalogue) -> set[str]:
    """Who may approve what an agent asks for, if all are cleared for what it holds."""
    people = {name for name, person in catalogue.people.items() if {*approval.roles} & {*person.roles}}
    return people.union(supervisors(catalogue.agents, catalogue.people, agent, ()) if approval.supervisor else ())


def _too_few(approval: Approval, count: int) -> str:
    return f"its quorum of {approval.quorum} is never reached: at most {count} may approve it"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _reviews(catalogue: Catalogue) -> Iterator[str]:
    """Reviewed actions of agents whom nobody supervises go to people."""
    people = any(REVIEWER in person.roles for person in catalogue.people.values())
    for name, agent in catalogue.agents.items():
        if agent.review and not people and not agent.supervisor:
            yield f"agents.{name}.review: no supervisor, and nobody has the role {REVIEWER} to review it"


def _prices(catalogue: Catalogue) -> Iterator[str]:
    names = [f"{name}/{variant}" for name, service in catalogue.services.items() for variant in ("", *service.variants)]
    for pattern in dict.fromkeys(price.match for price in catalogue.prices):
        if not any(glob_matches(pattern, name) for name in names):
            yield f"prices: {pattern!r} matches no service's variant"


def _unbounded(catalogue: Catalogue) -> Iterator[str]:
    for name in catalogue.agents:
        attributes = _attributes(name, catalogue)
        if not any(_may_select(budget.when, attributes) for budget in catalogue.budgets.values()):
            yield f"agents.{name}: no budget selects it, so what it spends is not bounded"


def _attributes(agent: str, catalogue: Catalogue) -> dict[str, str]:
    return {"agent": agent, "team": catalogue.agents[agent].team}


def _may_select(when: Selector, attributes: Mapping[str, str]) -> bool:
    """Whether a selector selects some request with these attributes; what it asks of others may hold."""
    asked = tuple((key, patterns) for key, patterns in when.terms if key in attributes)
    return Selector(asked).matches(attributes)
