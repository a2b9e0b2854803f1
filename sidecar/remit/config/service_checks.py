"""What must hold within a service, and between services, for requests to leave as the catalogue means it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from remit.config.reading import Cursor, known_as, way_to
from remit.core.catalogue import Catalogue, Credential, Route, Service
from remit.core.selector import EVERYTHING

MCP = "mcp"
"""The first part of the path at which all MCP servers are reached."""

_PORTS = range(1, 65536)
_SLOT = re.compile(r"\{([a-z_][a-z0-9_]*)\}", re.ASCII)
_UNROUTED = ("grpc", "mcp", "tcp")
_BODILESS = frozenset({"GET", "HEAD", "DELETE"})


def check_services(catalogue: Catalogue, root: Cursor) -> None:
    """Note whatever contradicts itself."""
    for name, service in catalogue.services.items():
        at = way_to(root, "services", name)
        if name == MCP:
            at.wrong("another id", f'"{MCP}", where all MCP servers are reached')
        _kind(service, at)
        _endpoints(service, at)
        _opaque(service, at)
        _reveal(service, at)
        _credentials(service, at)
        _signing(service, at)
        _routes(service, at)
        _variants(service, at)
        _conflicts(service, at)
        _compensations(service, at)
    _own_ports(catalogue, root)


def _kind(service: Service, at: Cursor) -> None:
    kind = service.kind
    if kind == "tcp" and not service.listen:
        at.wrong("`listen`, the address where agents reach a service of kind tcp", "none")
    if kind == "tcp" and not service.endpoints:
        at.wrong("an endpoint, such as {here: {url: tcp://host:port}}", "none")
    if kind != "tcp" and service.listen:
        way_to(at, "listen").wrong("`listen` only for kind tcp", f"kind {kind}")
    if kind != "mcp" and service.command:
        way_to(at, "command").wrong("`command` only for kind mcp", f"kind {kind}")
    if kind in _UNROUTED and service.routes:
        way_to(at, "routes").wrong("no routes: they are for requests that are read as HTTP", f"kind {kind}")


def _endpoints(service: Service, at: Cursor) -> None:
    for name, endpoint in service.endpoints.items():
        here = way_to(at, "endpoints", name, "url")
        parts = urlsplit(endpoint.url)
        _scheme(service.kind, parts.scheme, here)
        if parts.scheme == "tcp" and (parts.port is None or parts.path):
            here.wrong("tcp://host:port and no more")
        if service.kind == "mcp" and parts.path.endswith("/"):
            here.wrong("the one path of an MCP server, without a slash at its end")
        if endpoint.addresses and _is_literal(parts.hostname or ""):
            networks = way_to(at, "endpoints", name, "addresses")
            networks.wrong("`addresses` only beside a name: an address in the URL is dialled as it is")
        if endpoint.ca and parts.scheme not in ("https", "grpcs"):
            way_to(at, "endpoints", name, "ca").wrong("`ca` only beside https:// or grpcs://", f"{parts.scheme}://")


def _scheme(kind: str, scheme: str, at: Cursor) -> None:
    if (kind == "tcp") is not (scheme == "tcp"):
        at.wrong("tcp://host:port" if kind == "tcp" else "tcp:// only for kind tcp", f"{scheme}:// for kind {kind}")
    elif kind != "grpc" and scheme in ("grpc", "grpcs"):
        at.wrong("grpc:// and grpcs:// only for kind grpc", f"{scheme}:// for kind {kind}")


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _own_ports(catalogue: Catalogue, root: Cursor) -> None:
    """By port alone: who asks about a connection may know no more of where it came in."""
    taken: dict[int, str] = {}
    for name, service in catalogue.services.items():
        if not service.listen:
            continue
        at, port = way_to(root, "services", name, "listen"), int(service.listen.rpartition(":")[2])
        if port not in _PORTS:
            at.wrong("a port from 1 to 65535")
        elif taken.setdefault(port, name) != name:
            at.wrong("a port of its own", f"that of services.{taken[port]}")


def _opaque(service: Service, at: Cursor) -> None:
    if not service.opaque:
        return
    here = way_to(at, "opaque")
    if service.kind in ("tcp", "mcp"):
        here.wrong("`opaque` for a service that is reached through the forward proxy", f"kind {service.kind}")
    elif way_to(at, "clearance") is at:
        here.wrong("a `clearance` beside it ([] for none): nobody reads what goes through a tunnel", "none")
    if service.credentials and service.kind != "tcp":
        way_to(at, "credentials").wrong("none: nothing can be added to what goes through a tunnel", "`opaque: true`")


def _reveal(service: Service, at: Cursor) -> None:
    if service.reveal and (service.opaque or service.kind == "tcp"):
        found = "`opaque: true`" if service.opaque else "kind tcp"
        way_to(at, "reveal").wrong("`reveal` for a service whose requests are read", found)


def _credentials(service: Service, at: Cursor) -> None:
    if service.kind == "tcp" and service.credentials:
        way_to(at, "credentials").wrong("none: nothing can be added to what is not read", "kind tcp")
    for number, later in enumerate(service.credentials):
        for place, earlier in enumerate(service.credentials[:number]):
            if earlier.when == EVERYTHING and _covers(earlier, later, service):
                here = way_to(at, "credentials", number)
                here.wrong("the first that is for a caller and an endpoint", f"one that credentials[{place}] hides")
                break


def _covers(earlier: Credential, later: Credential, service: Service) -> bool:
    return all(earlier.covers(each) for each in later.endpoints or service.endpoints or ("",))


def _signing(service: Service, at: Cursor) -> None:
    signing = [number for number, each in enumerate(service.credentials) if each.signing]
    for number in signing:
        credential, here = service.credentials[number], way_to(at, "credentials", number)
        if service.kind != "bedrock":
            way_to(here, "signing").wrong("`signing` only for kind bedrock", f"kind {service.kind}")
        for key, given in (("header", credential.header), ("prefix", credential.prefix is not None)):
            if given:
                way_to(here, key).wrong(f"no `{key}`: a key that signs is not sent", "`signing` beside it")
        if credential.when != EVERYTHING:
            way_to(here, "when").wrong("no `when`: what signs is chosen by the endpoint, not by who calls")
    for name in service.endpoints:
        covering = [number for number, each in enumerate(service.credentials) if each.covers(name)]
        if len(covering) > 1 and any(number in signing for number in covering):
            here = way_to(at, "credentials", covering[1])
            here.wrong("one credential for an endpoint of which one signs", f"a second one for {name}")
            return


def _routes(service: Service, at: Cursor) -> None:
    for number, route in enumerate(service.routes):
        here = way_to(at, "routes", number)
        _slots(route, here)
        _listed(service, route.operation, way_to(here, "operation"))
        for earlier, other in enumerate(service.routes[:number]):
            same = sorted({*route.methods} & {*other.methods})
            if same and _shape(route.path) == _shape(other.path):
                way_to(here, "path").wrong(
                    "a path of its own", f"one that takes the same {same[0]} requests as routes[{earlier}]"
                )
                break


def _slots(route: Route, at: Cursor) -> None:
    slots = _SLOT.findall(route.path)
    twice = [each for each in slots if slots.count(each) > 1]
    if "{" in _SLOT.sub("", route.path) or twice:
        way_to(at, "path").wrong("a path such as /v1/items/{id}, each name once")
    for way, source in _sources(route):
        here = way_to(at, *way)
        if source.startswith("path:") and source.removeprefix("path:") not in slots:
            here.wrong(known_as("a name in the route's path", slots, source.removeprefix("path:")))
        if source.startswith("/") and {*route.methods} <= _BODILESS:
            here.wrong("path:NAME or query:NAME: these methods bring no body", f'"{source}"')


def _sources(route: Route) -> Iterator[tuple[tuple[str, ...], str]]:
    if route.variant:
        yield ("variant",), route.variant
    yield from ((("arguments", name), source) for name, source in route.arguments.items())
    yield from ((("usage", name), source) for name, source in route.usage.items())


def _shape(template: str) -> str:
    """A template without the names of its slots."""
    return _SLOT.sub("{}", template)


def _variants(service: Service, at: Cursor) -> None:
    """Two that a request could be of alike; and what is chosen by a request's fields where nothing reads them."""
    seen: dict[tuple[str, tuple[tuple[str, frozenset[str]], ...]], str] = {}
    for name, variant in service.variants.items():
        here = way_to(at, "variants", name)
        if variant.select and service.kind in _UNROUTED:
            way_to(here, "select").wrong("no `select`: it is for requests that are read", f"kind {service.kind}")
        if variant.select and service.kind == "http" and not _readable(service.routes):
            way_to(here, "select").wrong("a route that names a `variant`, whose requests can be selected", "none")
        terms = tuple(sorted((pointer, frozenset(values)) for pointer, values in variant.select.items()))
        first = seen.setdefault((variant.model or name, terms), name)
        if first != name:
            here.wrong("a model or a `select` of its own", f"those of variants.{first}")


def _readable(routes: Collection[Route]) -> bool:
    return any(route.variant for route in routes)


def _conflicts(service: Service, at: Cursor) -> None:
    seen: dict[frozenset[str], int] = {}
    for number, pair in enumerate(service.conflicts.between if service.conflicts else ()):
        here = way_to(at, "conflicts", "between", number)
        for place, operation in enumerate(pair):
            _listed(service, operation, way_to(here, place))
        first = seen.setdefault(frozenset(pair), number)
        if first != number:
            here.wrong("each pair once, in any order", f"that of between[{first}]")


def _compensations(service: Service, at: Cursor) -> None:
    for operation, undoing in service.compensations.items():
        here = way_to(at, "compensations", operation)
        if service.operations and operation not in service.operations:
            expected = known_as("one of the service's `operations`", service.operations, operation)
            here.wrong(expected, f'the name "{operation}"')
        if operation == undoing:
            here.wrong("another operation: the one that undoes it")
        else:
            _listed(service, undoing, here)


def _listed(service: Service, operation: str, at: Cursor) -> None:
    """A service that lists its operations is called by no other."""
    if service.operations and operation not in service.operations:
        at.wrong(known_as("one of the service's `operations`", service.operations, operation))
