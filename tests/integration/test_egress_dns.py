"""Names that lead where they must not: into the private network, to nobody, to a thousand, or elsewhere a moment later.

None of it is dialled, and the refusal says why. Addresses: tests/cases/address_vectors.yaml.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from fakes.egress_book import Book, serving
from fakes.egress_stage import TOKENS, Heard, reason, request, talk
from fakes.envoy_world import Hosts
from fakes.ports import free_port
from remit.app import egress as app_egress
from remit.app.sidecar import App
from remit.config import load

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

CASES = yaml.safe_load((Path(__file__).parents[1] / "cases" / "address_vectors.yaml").read_text())
INNER = {str(each): what for each, what in CASES["addresses"].items() if what != "public"}
SERVICE = """\
  {name}:
    owner: cx
    endpoints: {{here: {{url: "http://{host}:{port}/base", region: eu{more}}}}}
    routes: [{{path: "/v1/items/{{id}}", operation: item, methods: [GET]}}]
"""
TOP = """\
currency: EUR
teams: {cx: {contact: "#cx"}}
agents:
  support: {team: cx, roles: [support], purposes: [support], identity: {token_hash: "sha256:HASH"}}
prices: [{match: "*/*", unit: call, amount: 0, currency: EUR}]
services:
"""
NAMED = ", addresses: [127.0.0.0/8]"


@dataclass
class Counted(Hosts):
    """Names, and how often any was asked for."""

    looks: int = 0

    async def resolve(self, host: str) -> Sequence[str]:
        self.looks += 1
        return await super().resolve(host)


class Scene:
    """A sidecar in this process; `hosts` is all that it knows of names."""

    def __init__(self, place: Path, book: Book, hosts: Counted) -> None:
        self.place, self.book, self.hosts = place, book, hosts
        self.port = free_port()

    async def ask(self, service: str) -> Heard:
        """A call."""
        return await asyncio.to_thread(talk, self.port, request(f"/{service}/v1/items/3"))

    async def becomes(self, service: str, code: str) -> Heard:
        """Ask until this is the answer, "" for one that went through. Raises TimeoutError."""
        async with asyncio.timeout(5):
            while True:
                heard = await self.ask(service)
                if reason(heard) == code and (code or heard.status == 200):
                    return heard

    async def looked(self) -> None:
        """Ask away until names have been looked up some times more."""
        enough = self.hosts.looks + 8
        while self.hosts.looks < enough:
            await self.ask("nobody")

    @property
    def dialled(self) -> str:
        """Where Envoy was told that it may dial."""
        return "".join(path.read_text() for path in (self.place / "state" / "egress").glob("eds-*.json"))


@asynccontextmanager
async def scene(
    place: Path, services: dict[str, tuple[str, str]], table: dict[str, Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    """Services by name, as (host, what else their endpoint says)."""
    monkeypatch.setattr(app_egress, "RESOLVE_SECONDS", 0.05)
    book = Book()
    with serving(book):
        made = Scene(place, book, Counted(table))
        text = TOP.replace("HASH", sha256(TOKENS["support"].encode()).hexdigest())
        for name, (host, more) in services.items():
            text += SERVICE.format(name=name, host=host, port=book.port, more=more)
        (place / "remit.yaml").write_text(text)
        (place / "policies").mkdir()
        flags = {
            "state": place / "state",
            "socket": place / "s",
            "grpc": "off",
            "http": "off",
            "policies": [place / "policies"],
            "watch": False,
            "egress.on": True,
            "egress.http": f"127.0.0.1:{made.port}",
            "egress.proxy": "off",
        }
        settings, catalogue = load([place / "remit.yaml"], os.environ, flags)
        app = App(settings, catalogue, load=lambda: (settings, catalogue), resolver=made.hosts)
        await app.start()
        try:
            yield made
        finally:
            await app.stop()


def test_a_name_that_leads_within_is_not_dialled_whatever_the_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every kind of address that is not public, IPv4 and IPv6, alone; beside a public one it is left out."""

    async def act() -> None:
        services = {f"s{place}": (f"h{place}.example", "") for place in range(len(INNER))}
        table: dict[str, Sequence[str]] = {f"h{place}.example": [each] for place, each in enumerate(INNER)}
        services |= {"mixed": ("mixed.example", ""), "none": ("none.example", ""), "many": ("many.example", "")}
        table |= {"mixed.example": ["127.0.0.1", "::1", "192.0.2.1"], "none.example": []}
        table["many.example"] = [f"10.{each // 250}.{each % 250}.1" for each in range(1000)]
        async with scene(tmp_path, services, table, monkeypatch) as on:
            for name in services:
                heard = await on.ask(name)
                assert (heard.status, reason(heard)) == (503, "endpoint_unavailable"), (name, heard)
            assert b"h0.example" in (await on.ask("s0")).raw
            assert b"no address" in (await on.ask("none")).raw
            assert [each for each in INNER if f'"{each}"' in on.dialled] == []
            assert on.book.connections == 0

    asyncio.run(act())


def test_a_name_that_leads_elsewhere_a_moment_later_is_followed_only_where_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a permitted address to the metadata service, to nothing, to another one; and back."""

    async def act() -> None:
        services = {"api": ("up.example", NAMED), "literal": ("127.0.0.1", ""), "open": ("up.example", "")}
        async with scene(tmp_path, services, {"up.example": ["127.0.0.1"]}, monkeypatch) as on:
            assert (await on.ask("api")).status == 200
            assert (await on.ask("literal")).status == 200
            assert reason(await on.ask("open")) == "endpoint_unavailable"
            for flipped in (["169.254.169.254"], ["::1"], ["fd00:ec2::254"], [], ["10.0.0.1", "192.168.0.1"]):
                on.hosts.table["up.example"] = flipped
                heard = await on.becomes("api", "endpoint_unavailable")
                assert heard.status == 503
                arrived = len(on.book.got)
                assert reason(await on.ask("api")) == "endpoint_unavailable"
                assert len(on.book.got) == arrived
                assert [each for each in flipped if f'"{each}"' in on.dialled] == []
                on.hosts.table["up.example"] = ["127.0.0.1"]
                await on.becomes("api", "")
            assert (await on.ask("literal")).status == 200

    asyncio.run(act())


def test_a_name_server_that_is_silent_takes_nothing_back_and_gives_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was judged stays as it was; what never was is unavailable, and says that it cannot be resolved."""

    async def act() -> None:
        services = {"api": ("up.example", NAMED), "lost": ("lost.example", "")}
        async with scene(tmp_path, services, {"up.example": ["127.0.0.1"]}, monkeypatch) as on:
            heard = await on.ask("lost")
            assert (reason(heard), b"cannot be resolved" in heard.raw) == ("endpoint_unavailable", True)
            del on.hosts.table["up.example"]
            await on.looked()
            assert (await on.ask("api")).status == 200
            on.hosts.table["lost.example"] = ["127.0.0.1"]
            await on.looked()
            assert reason(await on.ask("lost")) == "endpoint_unavailable"

    asyncio.run(act())


def test_the_scene_notices_an_address_that_is_dialled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted weakness: a judge of addresses that permits everything lets the call through to loopback."""
    monkeypatch.setattr("remit.backends.endpoint_addresses.may_dial", lambda address, networks: "")

    async def act() -> None:
        async with scene(tmp_path, {"api": ("up.example", "")}, {"up.example": ["127.0.0.1"]}, monkeypatch) as on:
            assert (await on.ask("api")).status == 200
            assert on.book.connections == 1
            assert '"127.0.0.1"' in on.dialled

    asyncio.run(act())
