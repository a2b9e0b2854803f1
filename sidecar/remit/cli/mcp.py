"""`remit mcp`: MCP servers that speak over their standard streams, with a decision before each call."""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import cast

import click

from remit.app.mcp_stdio import NoStreams, NotStarted, Permit, Question, ServerEnded, StdioServer, TooLong, Turned
from remit.app.mcp_stdio import Refused as NotPermitted
from remit.backends.mcp_server import surroundings
from remit.cli.connection import Connection, connected
from remit.cli.failure import Failure, Refused, Unreachable
from remit.cli.local import catalogue_paths
from remit.cli.screen import note
from remit.config.loading import load
from remit.config.problem import CatalogueInvalid
from remit.core.answer import Turning
from remit.core.approval import State
from remit.core.catalogue import Agent as Listed
from remit.core.catalogue import Catalogue, Credential, Service
from remit.core.egress.mcp_listing import Allowed, listed_for
from remit.sdk.address import Target
from remit.sdk.agent import Agent
from remit.sdk.answers import Decision, Outcome
from remit.sdk.errors import RemitError, Unavailable
from remit.sdk.question import Ask

MAX_WAIT_SECONDS = 3600


@click.group("mcp")
def command() -> None:
    """MCP servers that an agent's client starts."""


@command.command("run")
@click.argument("name")
@click.option("--catalogue", multiple=True, type=click.Path(path_type=Path), help="Catalogue [REMIT_CATALOGUE].")
@click.option("--workflow", default="", help="The signed context of the workflow.")
@click.option("--purpose", default="", help="What for.")
@click.option("--reason", default="", help="Why, for people.")
@click.option(
    "--wait",
    type=click.IntRange(0, MAX_WAIT_SECONDS),
    default=0,
    help="Seconds to keep a call open that waits for an approval.",
)
@connected
def run(connection: Connection, name: str, catalogue: tuple[Path, ...], wait: int, **why: str) -> int:
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
    environment = surroundings(os.environ, secret)
    try:
        return asyncio.run(_serve(name, service, target, ask=ask, allowed=allowed, wait=wait, environment=environment))
    except (NotStarted, NoStreams, TooLong) as error:
        raise Failure(f"{name}: {error}") from error
    except ServerEnded as error:
        raise Unreachable(f"{name}: {error}") from error


async def _serve(
    name: str,
    service: Service,
    target: Target,
    *,
    ask: Ask,
    allowed: Allowed,
    wait: int,
    environment: Mapping[str, str],
) -> int:
    async with Agent(target) as agent:
        return await StdioServer(service, _Asking(agent, name, ask), allowed, wait).serve(environment)


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
        asked |= {"wait": question.wait} if question.wait else {}
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
            turned = _turned(decision)
            told = " ".join(each for each in (decision.message or ", ".join(decision.codes), turned.text()) if each)
            said = f"remit: {told} (decision {decision.id})"
            code = next(iter(decision.codes), "")
            raise NotPermitted(said, status=403, code=code, decision=decision.id, turned=turned)
        return _Told(self._agent, decision)


def _turned(decision: Decision) -> Turned:
    """What a decision turns on, as the relay tells of it."""
    approvals = tuple(
        Turning(each.id, each.policy, each.code, State(each.state), each.supervisor, each.roles, each.expires)
        for each in decision.approvals
    )
    instead = decision.alternative
    if instead is None:
        return Turned(approvals)
    type, _, id = instead.resource.partition(":")
    resource = {"type": type, "id": id, "operation": instead.operation, "variant": instead.variant}
    return Turned(approvals, {"resource": resource, "arguments": instead.arguments})


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
