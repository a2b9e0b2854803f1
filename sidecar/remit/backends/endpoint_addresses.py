"""Where each endpoint of the catalogue may be dialled: its host resolved here, each address judged here.

Envoy dials only what stands in this table, so a name that suddenly leads into the private network leads nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from remit.backends.envoy_clusters import host, port, targets
from remit.backends.envoy_places import Addresses, Target
from remit.core.catalogue import Catalogue, Endpoint
from remit.core.egress.address import may_dial
from remit.ports import NotResolved, Resolver


@dataclass(frozen=True, slots=True)
class _Found:
    """What is known of one endpoint: where it may be dialled, or why it may not."""

    addresses: tuple[tuple[str, int], ...] = ()
    problem: str = ""


_UNKNOWN = _Found(problem="the endpoint was not resolved yet")


class EndpointAddresses:
    """The table, and why something is not in it."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._found: Mapping[Target, _Found] = {}
        self._told: dict[str, tuple[str, ...]] = {}

    @property
    def addresses(self) -> Addresses:
        """Where each endpoint may be dialled now."""
        return {target: found.addresses for target, found in self._found.items()}

    def problem(self, service: str, endpoint: str) -> str:
        """Why an endpoint cannot be dialled, "" where it can."""
        return self._found.get((service, endpoint), _UNKNOWN).problem

    async def refresh(self, catalogue: Catalogue) -> bool:
        """Resolve every endpoint anew; whether the table has changed.

        It keeps what it knows of other endpoints: where a catalogue is not taken after all, the one before needs it.
        """
        wanted = [(target, endpoint) for target, _, endpoint in targets(catalogue)]
        answers: dict[str, tuple[str, ...] | NotResolved] = {}

        async def ask(name: str) -> None:
            try:
                answers[name] = self._told[name] = tuple(await self._resolver.resolve(name))
            except NotResolved as error:
                answers[name] = error

        names = {host(endpoint.url) for _, endpoint in wanted} - {""}
        async with asyncio.TaskGroup() as asking:
            for name in sorted(names):
                if not _literal(name):
                    asking.create_task(ask(name))
        before = self._found
        self._found = {**before, **{target: self._judge(endpoint, answers) for target, endpoint in wanted}}
        return before != self._found

    def _judge(self, endpoint: Endpoint, answers: Mapping[str, tuple[str, ...] | NotResolved]) -> _Found:
        name, at = host(endpoint.url), port(endpoint.url)
        if not name or not at:
            return _Found(problem="the endpoint's URL names no host and port")
        if _literal(name):
            return _allowed(name, at, (name,), (*endpoint.addresses, name))
        answer = answers[name]
        if isinstance(answer, NotResolved):
            # Only the name's server is silent: where this very name led stays true, judged as the endpoint is now.
            told = self._told.get(name)
            return _Found(problem=str(answer)) if told is None else _allowed(name, at, told, endpoint.addresses)
        return _allowed(name, at, answer, endpoint.addresses)


def _allowed(name: str, at: int, found: tuple[str, ...], networks: tuple[str, ...]) -> _Found:
    refused = {address: why for address in found if (why := may_dial(address, networks))}
    dialled = tuple((address, at) for address in found if address not in refused)
    if dialled:
        return _Found(dialled)
    if not refused:
        return _Found(problem=f"{name} has no address")
    return _Found(problem=f"{name}: {next(iter(refused.values()))}, and the endpoint's `addresses` do not name it")


def _literal(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
