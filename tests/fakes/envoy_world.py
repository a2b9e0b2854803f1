"""A real Envoy between agents and an upstream of our own, with a judge in the sidecar's place."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from fakes.envoy_judge import Judge, judging
from fakes.envoy_upstream import Upstream, upstream
from fakes.ports import free_port
from remit.backends.endpoint_addresses import EndpointAddresses
from remit.backends.envoy_binary import find
from remit.backends.envoy_config import Documents, documents, system_authorities
from remit.backends.envoy_places import EgressPlaces, EgressTls
from remit.backends.envoy_server import EnvoyServer, ServerSettings
from remit.backends.tls_files import TlsFiles
from remit.core.catalogue import Catalogue, Endpoint, Service
from remit.ports import NotResolved

BRIEF = ServerSettings(first_pause=0.02, check=0.2)


@dataclass
class Hosts:
    """The port Resolver, over a table that a test changes."""

    table: dict[str, Sequence[str]] = field(default_factory=dict)

    async def resolve(self, host: str) -> Sequence[str]:
        if host not in self.table:
            raise NotResolved(f"{host} cannot be resolved: no such name")
        return sorted(self.table[host])


@dataclass
class World:
    """What a test of the real thing has to do with."""

    envoy: EnvoyServer
    endpoints: EndpointAddresses
    judge: Judge
    upstream: Upstream
    hosts: Hosts
    places: EgressPlaces
    session: aiohttp.ClientSession
    tcp: int
    told: list[tuple[bool, str]]
    sidecar: AsyncExitStack

    async def judge_dies(self) -> None:
        """The sidecar's socket, and every stream on it, is gone."""
        await self.sidecar.aclose()

    @property
    def base(self) -> str:
        """Where agents reach services."""
        assert self.places.egress is not None
        return f"http://127.0.0.1:{self.places.egress[1]}"

    async def reload(self, catalogue: Catalogue) -> None:
        """Have Envoy serve another catalogue."""
        await self.endpoints.refresh(catalogue)
        await self.envoy.reload(self.documents(catalogue))

    async def resolve(self) -> None:
        """Look up all hosts anew."""
        if await self.endpoints.refresh(self.catalogue()):
            await self.envoy.update(self.documents(self.catalogue()))

    def documents(self, catalogue: Catalogue) -> Documents:
        """What Envoy is told, and the judge knows."""
        self.judge.know(catalogue)
        return documents(catalogue, self.places, self.endpoints.addresses, self.judge.nonce)

    def catalogue(self, more: Mapping[str, Service] | None = None) -> Catalogue:
        """The services of every test, and more."""
        here = {"here": self.endpoint("http")}
        services = {
            "api": Service(owner="x", endpoints=here, body_bytes=2 << 20),
            "small": Service(owner="x", endpoints=here, body_bytes=2000),
            "tunnel": Service(owner="x", opaque=True, endpoints={"here": self.endpoint("http", raw=True)}),
            "cal": Service(owner="x", kind="mcp", endpoints={"here": self.endpoint("http", "/base/mcp")}),
            "nowhere": Service(owner="x", endpoints={"here": Endpoint(f"http://inside.example:{self.upstream.port}")}),
            "redis": Service(
                owner="x",
                kind="tcp",
                listen=f"127.0.0.1:{self.tcp}",
                endpoints={"here": self.endpoint("tcp", raw=True)},
            ),
        }
        return Catalogue("EUR", services={**services, **(more or {})})

    def endpoint(self, scheme: str, path: str = "/v1", *, raw: bool = False, ca: str = "") -> Endpoint:
        """The upstream, as up.example."""
        port = self.upstream.raw if raw else self.upstream.port
        at = "" if scheme == "tcp" else path
        return Endpoint(f"{scheme}://up.example:{port}{at}", addresses=("127.0.0.0/8",), ca=ca)


@asynccontextmanager
async def world(
    directory: Path, *, tls: ssl.SSLContext | None = None, agents: EgressTls | None = None
) -> AsyncIterator[World]:
    """Run it all. `tls` is the upstream's, `agents` what they speak to Envoy."""
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(upstream(tls))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        places = EgressPlaces(
            directory / "egress",
            ("127.0.0.1", free_port()),
            ("127.0.0.1", free_port()),
            authorities=system_authorities(),
            access_log=True,
            tls=agents,
        )
        told: list[tuple[bool, str]] = []
        hosts = Hosts({"up.example": ["127.0.0.1"], "inside.example": ["127.0.0.1", "10.0.0.1"]})
        envoy = EnvoyServer(
            find(os.environ).path, places.directory, changed=lambda up, why: told.append((up, why)), settings=BRIEF
        )
        judge = Judge("0123456789abcdef", tcp="redis/here")
        sidecar = await stack.enter_async_context(AsyncExitStack())
        made = World(envoy, EndpointAddresses(hosts), judge, up, hosts, places, session, free_port(), told, sidecar)
        places.directory.mkdir(mode=0o700)
        await TlsFiles(places).start()
        await sidecar.enter_async_context(judging(judge, places.sidecar_socket))
        await made.endpoints.refresh(made.catalogue())
        await envoy.start(made.documents(made.catalogue()))
        stack.push_async_callback(envoy.stop)
        yield made
