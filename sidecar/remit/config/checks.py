"""What must hold between the parts of a catalogue that are each well-formed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from remit.config.datasets import check_datasets
from remit.config.problem import Place
from remit.config.reading import Cursor, way_to
from remit.config.service_checks import check_services
from remit.core.catalogue import Catalogue, Identity

OPERATOR = "operator"
"""The name of whoever holds the sidecar's own token: what it does is recorded under it, and is nobody else's."""


def check(catalogue: Catalogue, root: Cursor) -> None:
    """Note whatever contradicts itself; `root` is the document that the catalogue was read from."""
    _own_ids(catalogue, root)
    _supervision_ends(catalogue, root)
    _own_identities(catalogue, root)
    _one_price_each(catalogue, root)
    _one_rate_each(catalogue, root)
    _maxima_bound_priced_units(catalogue, root)
    _one_pod(catalogue, root)
    check_services(catalogue, root)
    check_datasets(catalogue, root)


def _own_ids(catalogue: Catalogue, root: Cursor) -> None:
    for section, names in (("agents", catalogue.agents), ("people", catalogue.people)):
        if OPERATOR in names:
            way_to(root, section, OPERATOR).wrong(
                "an id of its own", f'"{OPERATOR}", who holds the sidecar\'s own token'
            )
    for name in catalogue.people:
        if name in catalogue.agents:
            way_to(root, "people", name).wrong("an id of its own", f'"{name}", which is an agent too')


def _supervision_ends(catalogue: Catalogue, root: Cursor) -> None:
    for name, agent in catalogue.agents.items():
        seen = {name}
        above = agent.supervisor
        while above in catalogue.agents and above not in seen:
            seen.add(above)
            above = catalogue.agents[above].supervisor
        if above == name:
            at = way_to(root, "agents", name, "supervisor")
            at.wrong("supervision that ends with somebody else", "a supervisor who answers to this agent")


def _own_identities(catalogue: Catalogue, root: Cursor) -> None:
    owners: dict[tuple[str, str], str] = {}
    for kind, name, identity in catalogue.identities():
        section = "agents" if kind == "agent" else "people"
        for method, value in _credentials(identity):
            owner = owners.setdefault((method, value), f"{section}.{name}")
            if owner != f"{section}.{name}":
                at = way_to(root, section, name, "identity")
                at.wrong("an identity of its own", f"a {method} that is also that of {owner}")


def _credentials(identity: Identity) -> Iterator[tuple[str, str]]:
    yield from (("token_hash", value) for value in identity.token_hashes)
    yield from (("uri", value) for value in identity.uris)
    yield from (("dns", value.lower()) for value in identity.dns)
    yield from (("fingerprint", value) for value in identity.fingerprints)
    yield from (("oidc", value) for value in identity.oidc)
    yield from (("kubernetes account", value.subject) for value in identity.kubernetes)


def _one_pod(catalogue: Catalogue, root: Cursor) -> None:
    """Everything on the sidecar's loopback is one agent, or it is nobody in particular."""
    pods = [name for name, agent in catalogue.agents.items() if agent.identity.pod]
    for name in pods[1:]:
        at = way_to(root, "agents", name, "identity")
        at.wrong("pod for one agent at most", f"a second one (the first: agents.{pods[0]})")
    # A catalogue for the pods of a cluster would make each of them this agent.
    bound = next((name for name, agent in catalogue.agents.items() if agent.identity.kubernetes), "")
    if pods and bound:
        at = way_to(root, "agents", pods[0], "identity")
        at.wrong(
            "kubernetes for all of a cluster's pods, or pod for one sidecar", f"pod, and agents.{bound} is of a cluster"
        )


def _one_price_each(catalogue: Catalogue, root: Cursor) -> None:
    seen: dict[tuple[str, str, str, int, int], Place] = {}
    for number, price in enumerate(catalogue.prices):
        at = way_to(root, "prices", number)
        first = seen.setdefault((price.match, price.unit, price.given, price.since, price.above), at.node.place)
        if first != at.node.place:
            at.wrong("one price for a pattern, unit, mark, date and tier", f"a second one (the first: {first})")


def _one_rate_each(catalogue: Catalogue, root: Cursor) -> None:
    seen: set[tuple[str, int]] = set()
    for rate in catalogue.exchange:
        at = way_to(root, "exchange", rate.source)
        if rate.source == rate.target:
            at.wrong("another currency than the ledger's", rate.source)
        elif (rate.source, rate.since) in seen:
            at.wrong("one rate a date", "two for the same date")
        seen.add((rate.source, rate.since))


def _maxima_bound_priced_units(catalogue: Catalogue, root: Cursor) -> None:
    """A maximum under a name that is nearly a priced unit would bound nothing."""
    for name, service in catalogue.services.items():
        own = way_to(root, "services", name)
        for variant, listed in service.variants.items():
            _check_units(catalogue, way_to(own, "variants", variant), (name, variant), listed.max)
        for number, override in enumerate(service.overrides):
            for variant, terms in override.variants.items():
                at = way_to(own, "overrides", number, "variants", variant)
                _check_units(catalogue, at, (name, variant), terms.max or {})


def _check_units(catalogue: Catalogue, at: Cursor, service_variant: tuple[str, str], maxima: Mapping[str, int]) -> None:
    priced = {price.unit for price in catalogue.prices_for(*service_variant)}
    for unit in maxima:
        near = unit.removesuffix("s") if unit.endswith("s") else unit + "s"
        if unit not in priced and near in priced:
            way_to(at, "max", unit).wrong(f"{near}, the unit of its price", f"the unit {unit}")
