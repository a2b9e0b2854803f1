"""Which service a request is for: by the first part of its path, by the host at the forward proxy, by its listener.

egress   /SERVICE/rest…, /mcp/NAME for MCP servers, and the host SERVICE for gRPC
proxy    an absolute http:// URL, or CONNECT HOST:PORT, to a declared endpoint of a service without a credential
tcp      a connection to a service's own `listen` address
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from remit.core.call import Objection
from remit.core.catalogue import Catalogue
from remit.core.egress.routing import EGRESS, PROXY, TCP
from remit.core.egress.target import check_authority
from remit.core.reason import Reason

TCP_PORT = ":1"
"""What stands after the service's name where Envoy asks for a connection to it."""
MCP = "mcp"
_PORTS = {"http": 80, "https": 443, "grpc": 80, "grpcs": 443}
_MAX_SHOWN = 128


@dataclass(frozen=True, slots=True)
class Place:
    """`service` is the catalogue's name, or what was asked for instead; `path` the target below it.

    `endpoints` are those that the caller may mean (empty: any).
    """

    service: str
    path: str
    tunnel: bool = False
    endpoints: frozenset[str] = frozenset()
    objection: Objection | None = None


def place_of(catalogue: Catalogue, listener: str, pseudo: Mapping[str, str]) -> Place:
    """Where a request is meant to go. One that is for nothing that is declared keeps the name that it asked for."""
    if listener == EGRESS:
        return _by_path(catalogue, pseudo)
    if listener == TCP:
        return Place(pseudo.get(":authority", "").removesuffix(TCP_PORT), "/", tunnel=True)
    if listener == PROXY:
        return _by_host(catalogue, pseudo)
    return Place("unlisted", "/", objection=_wrong(f"no listener {listener[:32]!r}"))


def _by_path(catalogue: Catalogue, pseudo: Mapping[str, str]) -> Place:
    path = pseudo.get(":path", "")
    if pseudo.get(":method") == "CONNECT" or not path.startswith("/"):
        return Place("unlisted", "/", objection=_wrong("expected a path /SERVICE/…"))
    called = _called(catalogue, pseudo.get(":authority", "").lower())
    if called:
        return Place(called, path)
    name, rest = _first(path)
    mcp = name == MCP
    if mcp:
        name, rest = _first(rest)
    if not name:
        return Place("unlisted", "/", objection=_wrong("expected a path /SERVICE/… or /mcp/NAME"))
    service = catalogue.services.get(name)
    if service is not None and (service.kind == "mcp") is not mcp:
        expected = f"/mcp/{name}" if service.kind == "mcp" else f"/{name}/…"
        return Place(name, rest, objection=_wrong(f"expected {expected}"))
    if service is not None and service.kind == "tcp":
        return Place(name, rest, objection=_wrong(f"{name} is reached by TCP at {service.listen or 'no address'}"))
    return Place(_named(name), rest)


def _called(catalogue: Catalogue, authority: str) -> str:
    """The gRPC service that is named as the host, "" for none: its clients have no path of their own to name it by."""
    grpc = (name for name, service in catalogue.services.items() if service.kind == "grpc")
    host, colon, port = authority.partition(":")
    return host if host in set(grpc) and (port.isdigit() or not colon) else ""


def _by_host(catalogue: Catalogue, pseudo: Mapping[str, str]) -> Place:
    authority, tunnel = pseudo.get(":authority", ""), pseudo.get(":method") == "CONNECT"
    path = "/" if tunnel else pseudo.get(":path", "")
    wrong = check_authority(authority)
    if not tunnel and pseudo.get(":scheme") != "http":
        wrong = wrong or "what is to go by TLS goes through a tunnel: CONNECT"
    if wrong:
        return Place("unlisted", path, tunnel, objection=_wrong(wrong))
    scheme = "https" if tunnel else "http"
    host, _, port = authority.rpartition(":") if _has_port(authority) else (authority, "", str(_PORTS[scheme]))
    # Where several are at one host, those without a credential are what the proxy is for.
    for name, service in sorted(catalogue.services.items(), key=lambda each: bool(each[1].credentials)):
        if service.kind in ("tcp", MCP):
            continue
        meant = [
            (endpoint, below)
            for endpoint, each in service.endpoints.items()
            if (below := _below(each.url, host, int(port), path, tunnel=tunnel)) is not None
        ]
        if meant:
            own = _wrong(f"{name} has a credential of its own: use http://…/{name}/") if service.credentials else None
            return Place(name, meant[0][1], tunnel, frozenset(each for each, _ in meant), own)
    return Place(_named(host), path, tunnel)


def _below(url: str, host: str, port: int, path: str, *, tunnel: bool) -> str | None:
    """The path below an endpoint's, None where the request is not for it. A tunnel has no path to look at."""
    parts = urlsplit(url)
    if (parts.hostname, parts.port or _PORTS.get(parts.scheme)) != (host.strip("[]"), port):
        return None
    if tunnel:
        return "/"
    if parts.scheme != "http":
        return None  # a proxy request for http:// must not become one over TLS, nor the other way round
    base = parts.path.rstrip("/")
    return path[len(base) :] or "/" if path == base or path.startswith((f"{base}/", f"{base}?")) else None


def _has_port(authority: str) -> bool:
    return authority.rpartition(":")[2].isdigit() and not authority.endswith("]")


def _first(path: str) -> tuple[str, str]:
    """The first segment, and the target below it."""
    plain, mark, query = path.partition("?")
    name, slash, rest = plain[1:].partition("/")
    return name, (slash + rest or "/") + mark + query


def _named(name: str) -> str:
    """A name that can be recorded: what an agent asked for, as far as it is one."""
    plain = name[:_MAX_SHOWN]
    fits = plain and plain.isascii() and all(each.isalnum() or each in "._-" for each in plain) and plain[0].isalnum()
    return plain if fits and plain == name else "unlisted"


def _wrong(detail: str) -> Objection:
    return Objection(Reason.REQUEST_MALFORMED, detail, binding=True)
