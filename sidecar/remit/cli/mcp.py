"""`remit mcp`: MCP servers that speak over their standard streams, with a decision before each call."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import click

from remit.backends.mcp_server import GRACE, NotFound, start, stop, surroundings
from remit.cli.connection import Connection, connected
from remit.cli.failure import Failure, Refused, Unreachable
from remit.cli.local import catalogue_paths
from remit.cli.screen import note
from remit.config.loading import load
from remit.config.problem import CatalogueInvalid
from remit.core.catalogue import Agent as Listed
from remit.core.catalogue import Catalogue, Credential, Service
from remit.core.egress.mcp_listing import Allowed, listed_for
from remit.listeners.mcp_stdio import MAX_LINE, Line, Permit, Question, Relay, TooLong
from remit.listeners.mcp_stdio import Refused as NotPermitted
from remit.sdk.address import Target
from remit.sdk.agent import Agent
from remit.sdk.answers import Decision, Outcome
from remit.sdk.errors import RemitError, Unavailable
from remit.sdk.question import Ask


@click.group("mcp")
def command() -> None:
    """MCP servers that an agent's client starts."""


@command.command("run")
@click.argument("name")
@click.option("--catalogue", multiple=True, type=click.Path(path_type=Path), help="Catalogue [REMIT_CATALOGUE].")
@click.option("--workflow", default="", help="The signed context of the workflow.")
@click.option("--purpose", default="", help="What for.")
@click.option("--reason", default="", help="Why, for people.")
@connected
def run(connection: Connection, name: str, catalogue: tuple[Path, ...], **why: str) -> int:
    """Start the MCP server NAME of the catalogue, and stand between it and the client on our standard streams.

    An agent's client starts this instead of the server. Each call of a tool is asked for with REMIT_TOKEN as the
    agent's credential; `tools/list` shows what the catalogue lets it call. Without a sidecar no call goes through.

    Example: remit mcp run clock
    """
    listed = _load(catalogue, connection.state)
    service = _service(listed, name)
    target = connection.target(person=False)
    caller = _caller(listed, target)
    secret = _credential(service, {"agent": caller.id, "team": caller.team, "service": name})
    ask: Ask = cast(Ask, {"timeout": connection.timeout, **{key: each for key, each in why.items() if each}})
    allowed = listed_for(service, roles=caller.roles, purposes=(why["purpose"],) if why["purpose"] else caller.purposes)
    started = _Run(name, service, target, ask, allowed)
    return asyncio.run(started.serve(surroundings(os.environ, secret)))


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who asks, as far as the catalogue knows the credential; the sidecar proves it."""

    id: str = ""
    team: str = ""
    roles: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()


def _load(given: tuple[Path, ...], state: Path | None) -> Catalogue:
    try:
        _, catalogue = load(catalogue_paths(given), os.environ, {"state": state})
    except CatalogueInvalid as error:
        raise Failure(*str(error).splitlines()) from error
    return catalogue


def _service(catalogue: Catalogue, name: str) -> Service:
    service = catalogue.services.get(name)
    if service is None or service.kind != "mcp" or not service.command:
        known = sorted(id for id, each in catalogue.services.items() if each.kind == "mcp" and each.command)
        raise Failure(f"{name}: expected a service of kind mcp with a command; there are: {', '.join(known) or 'none'}")
    return service


def _caller(catalogue: Catalogue, target: Target) -> _Caller:
    if not target.token:
        return _Caller()
    shown = "sha256:" + sha256(target.token.encode()).hexdigest()
    for kind, id, identity in catalogue.identities():
        if kind == "agent" and any(hmac.compare_digest(shown, each) for each in identity.token_hashes):
            agent: Listed = catalogue.agents[id]
            return _Caller(id, agent.team, agent.roles, agent.purposes)
    raise Refused("the catalogue knows no agent with this credential; expected one in --token-file or REMIT_TOKEN")


def _credential(service: Service, attributes: Mapping[str, str]) -> dict[str, str]:
    """The variable that carries the service's credential to the server; none where the service has no credential."""
    if not service.credentials:
        return {}
    found = next((each for each in service.credentials if each.when.matches(attributes)), None)
    if found is None:
        raise Refused("credentials: none of the service's is for this agent")
    return {_variable(found): (found.prefix or "") + _secret(found)}


def _variable(credential: Credential) -> str:
    if credential.header:
        return credential.header.upper().replace("-", "_")
    if not credential.environment:
        raise Failure("credentials: a file needs `header`, which names the server's variable: api-key is API_KEY")
    return credential.environment


def _secret(credential: Credential) -> str:
    try:
        found = os.environ.get(credential.environment, "") if credential.environment else ""
        text = found or (Path(credential.file).read_text(encoding="utf-8").strip() if credential.file else "")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"credentials: {credential.file} cannot be read; expected a file of this user's") from error
    if not text or "\x00" in text:
        raise Failure(f"credentials: {credential.file or credential.environment} is empty; expected a credential")
    return text


class _Asking:
    """The sidecar as the relay asks it."""

    def __init__(self, agent: Agent, service: str, ask: Ask) -> None:
        self._agent = agent
        self._service = service
        self._ask = ask

    async def ask(self, question: Question) -> Permit:
        asked = {**self._ask, "operation": question.operation, "variant": question.variant}
        asked |= {"arguments": question.arguments, "usage": {"call": 1}}
        try:
            decision = await self._agent.authorize(
                question.action, f"service:{self._service}", check=False, **cast(Ask, asked)
            )
        except Unavailable as error:
            raise NotPermitted(
                f"remit: no answer from the sidecar: {error}", status=503, code="pdp_unavailable"
            ) from error
        except RemitError as error:
            raise NotPermitted(f"remit: {error}", status=403, code=type(error).__name__) from error
        if not decision.permitted:
            said = f"remit: {decision.message or ', '.join(decision.codes)} (decision {decision.id})"
            raise NotPermitted(said, status=403, code=next(iter(decision.codes), ""), decision=decision.id)
        return _Told(self._agent, decision)


class _Told:
    """A permission whose end is reported; a report that gets lost leaves the reservation to lapse, and is told."""

    def __init__(self, agent: Agent, decision: Decision) -> None:
        self._agent = agent
        self._decision = decision

    async def succeeded(self) -> None:
        await self._tell("succeeded", "")

    async def failed(self, why: str) -> None:
        await self._tell("failed", why)

    async def _tell(self, outcome: Outcome, error: str) -> None:
        try:
            await self._agent.report(self._decision, outcome, error=error)
        except RemitError as lost:
            note(f"remit: decision {self._decision.id} could not be reported; its reservation lapses: {lost}")


@dataclass(frozen=True, slots=True)
class _Run:
    """One server and its client, until either has ended."""

    name: str
    service: Service
    target: Target
    ask: Ask
    allowed: Allowed

    async def serve(self, environment: Mapping[str, str]) -> int:
        """Relay until the client, the server or a signal ends it; the exit code. Raises Failure, Unreachable."""
        stopped = _signals()
        async with _standard_streams() as (reader, to_client), Agent(self.target) as agent:
            process = await self._start(environment)
            assert process.stdin is not None and process.stdout is not None
            relay = Relay(
                _Asking(agent, self.name, self.ask),
                self.allowed,
                to_server=_writing(process.stdin),
                to_client=to_client,
                variants=frozenset(self.service.variants),
            )
            client = asyncio.create_task(relay.from_client(reader))
            server = asyncio.create_task(relay.from_server(process.stdout))
            try:
                ends: set[asyncio.Future[Any]] = {client, server, stopped}
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                if client.done() and client.exception() is None:
                    await self._last_answers(process, server)
            finally:
                code = await stop(process)
                await relay.finish("the server has ended")
                for each in (client, server):
                    each.cancel()
                await asyncio.gather(client, server, return_exceptions=True)
        return self._ended(code, client, server, stopped)

    async def _start(self, environment: Mapping[str, str]) -> Process:
        try:
            return await start(self.service.command, environment, line_bytes=MAX_LINE)
        except (NotFound, OSError) as error:
            raise Failure(f"{self.name}: {self.service.command[0]} cannot be started; expected a program") from error

    async def _last_answers(self, process: Process, server: asyncio.Task[None]) -> None:
        """The client has said all that it had to say; what it asked for is still to be answered."""
        assert process.stdin is not None
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await asyncio.shield(asyncio.wait({server}))

    def _ended(
        self, code: int, client: asyncio.Task[None], server: asyncio.Task[None], stopped: asyncio.Future[int]
    ) -> int:
        if stopped.done():
            return 128 + stopped.result()
        for each in (client, server):
            error = None if each.cancelled() else each.exception()
            if isinstance(error, TooLong):
                raise Failure(f"{self.name}: {error}")
            if error is not None and not isinstance(error, OSError):
                raise error
        if not client.done() or client.cancelled():
            raise Unreachable(f"{self.name}: the server has ended (exit code {code}) while its client was there")
        return 0


def _signals() -> asyncio.Future[int]:
    """Done with the number of the first signal that asks us to end."""
    loop = asyncio.get_running_loop()
    asked: asyncio.Future[int] = loop.create_future()

    def ask(number: int) -> None:
        if not asked.done():
            asked.set_result(number)

    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(each, ask, int(each))
    return asked


@contextlib.asynccontextmanager
async def _standard_streams() -> AsyncIterator[tuple[asyncio.StreamReader, Line]]:
    """What the client says, and how to answer it. Raises Failure where our streams are none that can be waited on."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_LINE)
    try:
        coming, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
        going, flow = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout.buffer)
    except ValueError as error:
        raise Failure("standard input and output: expected an MCP client's pipes") from error
    writer = asyncio.StreamWriter(going, flow, None, loop)
    try:
        yield reader, _writing(writer)
    finally:
        with contextlib.suppress(OSError):
            async with asyncio.timeout(GRACE):
                await writer.drain()
        coming.close()
        going.close()


def _writing(writer: asyncio.StreamWriter) -> Line:
    async def write(line: bytes) -> None:
        writer.write(line + b"\n")
        await writer.drain()

    return write
