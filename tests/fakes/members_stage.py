"""One installation at work: two sidecars and a desk on a real PostgreSQL, each with an OPA of its own.

All in one process and one event loop. The desk speaks TLS, and every gRPC client of it shows a certificate: ana's, or
one that is nobody's beside a token.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
from fakes.postgres_server import SETTINGS, NoPostgres, go_without, postgres_server
from fakes.store_postgres import DESK, SIDECAR, Installation, new_installation
from listeners.certificates import Authority, Pair
from remit.app.desk import Desk
from remit.app.member import Member
from remit.app.sidecar import App
from remit.config import Settings, load
from remit.core.catalogue import Catalogue
from remit.v1 import resources_pb2, sidecar_pb2
from remit.v1 import sidecar_pb2_grpc as g

ANA = "spiffe://example/ana"
DURABLE = {**SETTINGS, "fsync": "on", "full_page_writes": "on"}
"""What a member asks of its server: one that may lose what it has committed is refused."""


def token_hash(name: str) -> str:
    """As the catalogue has it."""
    return "sha256:" + sha256(f"token-of-{name}".encode()).hexdigest()


CATALOGUE = f"""
currency: EUR
teams: {{cx: {{}}}}
people:
  ana: {{roles: [operator, auditor], identity: {{mtls: {{uri: "{ANA}"}}}}}}
  bo: {{roles: [auditor], identity: {{token_hash: "{token_hash("bo")}"}}}}
agents:
  analysis: {{team: cx, roles: [analyst], purposes: [work], identity: {{token_hash: "{token_hash("analysis")}"}}}}
  mailer: {{team: cx, roles: [mailer], purposes: [work], identity: {{token_hash: "{token_hash("mailer")}"}}}}
services:
  model: {{owner: cx, metering: agent, variants: {{small: {{}}}}}}
prices: [{{match: "model/*", unit: call, amount: 0.5, currency: EUR}}]
budgets: {{total: {{limit: 100}}, of-mailer: {{when: {{agent: mailer}}, limit: 2}}}}
"""


@contextmanager
def durable_installation() -> Iterator[Installation]:
    """A migrated database on a server of its own, which keeps what it has committed; skips where there is none."""
    try:
        with postgres_server(DURABLE) as server, new_installation(server) as made:
            yield made
    except NoPostgres as error:
        go_without(error)


@dataclass
class Stage:
    """What members are made of. `place` is the directory below which all of it lies."""

    place: Path
    installation: Installation
    authority: Authority = field(default_factory=Authority)

    def __post_init__(self) -> None:
        (self.place / "remit.yaml").write_text(CATALOGUE, encoding="utf-8")
        for role in (SIDECAR, DESK):
            (self.place / f"{role}.password").write_text(self.installation.passwords[role])
        (self.place / "ca.crt").write_bytes(self.authority.certificate)
        self.write("desk", self.authority.sign(dns=["localhost"], addresses=["127.0.0.1"]))
        self.write("ana", self.authority.sign(uris=[ANA]))
        self.write("nobody", self.authority.sign(uris=["spiffe://example/nobody"]))

    def write(self, name: str, pair: Pair) -> None:
        """As PEM files."""
        (self.place / f"{name}.crt").write_bytes(pair.certificate)
        (self.place / f"{name}.key").write_bytes(pair.key)

    def flags(self, name: str, role: str = SIDECAR, **more: object) -> dict[str, object]:
        """The settings of a member, as flags."""
        return {
            "state": self.place / name,
            "keys": self.place / "keys",
            "store_url": self.installation.url(role),
            "store_password_file": self.place / f"{role}.password",
            "socket": self.place / f"{name}.sock",
            "grpc": "off",
            "http": "127.0.0.1:0",
            "desk_grpc": "127.0.0.1:0",
            "desk_http": "127.0.0.1:0",
            "desk_tls_cert": self.place / "desk.crt",
            "desk_tls_key": self.place / "desk.key",
            "desk_tls_client_ca": self.place / "ca.crt",
            "watch": False,
            **more,
        }

    def reading(self, flags: dict[str, object]) -> Callable[[], tuple[Settings, Catalogue]]:
        """Reads catalogue and settings, as for a reload."""
        return lambda: load([self.place / "remit.yaml"], os.environ, flags)

    def member(self, kind: type[Member], flags: dict[str, object]) -> Member:
        """One that is not started."""
        read = self.reading(flags)
        settings, catalogue = read()
        return kind(settings, catalogue, load=read)

    @asynccontextmanager
    async def running(
        self, kind: type[Member], name: str, role: str = SIDECAR, **more: object
    ) -> AsyncIterator[Member]:
        """A member that serves."""
        member = self.member(kind, self.flags(name, role, **more))
        await member.start()
        try:
            yield member
        finally:
            await member.stop()


@dataclass
class Asks:
    """A client of one sidecar."""

    channel: grpc.aio.Channel

    @property
    def stub(self) -> Any:
        """What agents call."""
        return g.SidecarStub(self.channel)  # type: ignore[no-untyped-call]

    async def model(self, who: str = "analysis", workflow: str = "") -> resources_pb2.Decision:
        """May `who` call the model?"""
        request = sidecar_pb2.AuthorizeRequest(
            action="api.call",
            resource=resources_pb2.Resource(type="service", id="model", variant="small"),
            context=resources_pb2.Context(purpose="" if workflow else "work", workflow=workflow),
        )
        answer = await self.stub.Authorize(request, metadata=bearer(who), timeout=20)
        decision: resources_pb2.Decision = answer.decision
        return decision


@dataclass
class Trio:
    """Two sidecars and a desk that serve."""

    stage: Stage
    first: Asks
    second: Asks
    sidecars: tuple[Member, Member]
    desk: Member

    def desk_channel(self, certificate: str = "ana") -> grpc.aio.Channel:
        """To the desk, showing a certificate."""
        place = self.stage.place
        credentials = grpc.ssl_channel_credentials(
            (place / "ca.crt").read_bytes(),
            (place / f"{certificate}.key").read_bytes(),
            (place / f"{certificate}.crt").read_bytes(),
        )
        return grpc.aio.secure_channel(self.desk.addresses[0], credentials)


@asynccontextmanager
async def trio(stage: Stage) -> AsyncIterator[Trio]:
    """Two sidecars and a desk, of one installation."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(stage.running(App, "one"))
        two = await stack.enter_async_context(stage.running(App, "two"))
        desk = await stack.enter_async_context(stage.running(Desk, "desk", DESK))
        channels = [grpc.aio.insecure_channel(f"unix:{stage.place / name}.sock") for name in ("one", "two")]
        for channel in channels:
            stack.push_async_callback(channel.close)
        yield Trio(stage, Asks(channels[0]), Asks(channels[1]), (one, two), desk)


# Many commands for the price of one start.
_RUN = """
import contextlib, io, json, os, sys
from remit.cli.main import run
ended = []
for arguments, environment in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    os.environ.update(environment)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(arguments)
    ended.append((code, out.getvalue(), err.getvalue()))
json.dump(ended, sys.stdout)
"""
Command = tuple[Sequence[str], Mapping[str, str]]


async def ran(*commands: Command) -> list[tuple[int, str, str]]:
    """How each command (arguments, what it adds to the environment) ended: exit code, stdout, stderr.

    They run one after the other in a process of their own, with nothing of Remit's in its environment at first.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _RUN),
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate(json.dumps(commands).encode())
    return [(code, out, err) for code, out, err in json.loads(told)]


def bearer(who: str) -> tuple[tuple[str, str], ...]:
    """The credential of somebody of the catalogue."""
    return (("authorization", f"Bearer token-of-{who}"),)
