"""`remit authorize`: one question, asked as an agent."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import click

from remit.cli.connection import Connection, connected, explained_error
from remit.cli.decisions import end, tell
from remit.sdk.address import Target
from remit.sdk.agent import Agent
from remit.sdk.answers import Decision
from remit.sdk.errors import RemitError
from remit.sdk.question import Ask


class Quantity(click.ParamType[tuple[str, int]]):
    """UNIT=N, such as input_token=2000."""

    name = "UNIT=N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """The unit and the quantity."""
        unit, _, number = str(value).partition("=")
        if not unit or not (number.isascii() and number.isdigit()):
            self.fail(f"expected UNIT=N such as input_token=2000, found {value!r}", param, ctx)
        return unit, int(number)


class Argument(click.ParamType[tuple[str, Any]]):
    """KEY=TEXT, or KEY:=JSON for what is not text."""

    name = "KEY=TEXT|KEY:=JSON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """The key and its value."""
        key, found, text = str(value).partition("=")
        if not found or not key.removesuffix(":"):
            self.fail(f"expected KEY=TEXT or KEY:=JSON, found {value!r}", param, ctx)
        if not key.endswith(":"):
            return key, text
        try:
            return key[:-1], json.loads(text)
        except (ValueError, RecursionError) as error:
            self.fail(f"expected JSON after {key}=, found {text[:80]!r} ({error})", param, ctx)


@click.command("authorize")
@click.argument("action")
@click.argument("resource", metavar="TYPE:ID")
@click.option("--operation", default="", help="The service's operation, or the tool's name.")
@click.option("--variant", default="", help="The priced variant, such as a model's name.")
@click.option("--field", "fields", multiple=True, metavar="TABLE.COLUMN", help="Column of a dataset; none: all.")
@click.option("--usage", multiple=True, type=Quantity(), help="The most that will be used of a unit.")
@click.option("--arg", "arguments", multiple=True, type=Argument(), help="An argument of the call.")
@click.option("--workflow", default="", help="The signed context of the workflow.")
@click.option("--purpose", default="", help="What for.")
@click.option("--reason", default="", help="Why, for people.")
@click.option("--fulfils", multiple=True, metavar="ID", help="An obligation that you will fulfil.")
@click.option("--wait", type=click.FloatRange(0, 86_400), default=0.0, help="Seconds to wait for an approval.")
@click.option("--key", default="", help="Idempotency key: asked again, the answer is the same.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@connected
def command(connection: Connection, **asked: Any) -> None:
    """Ask whether ACTION may be done on the resource, with REMIT_TOKEN as the agent's credential.

    Exit code 0: go ahead. 1: denied, or held. 3: nobody answered, which is no permission either. An ALLOW sets its cost
    aside and is recorded, like any agent's.

    Example: remit authorize api.call service:openai --operation chat --variant small --usage input_token=2000
    """
    as_json = asked.pop("as_json")
    target = connection.target(person=False)
    action, resource = asked.pop("action"), asked.pop("resource")
    decision = asyncio.run(_ask(target, action, resource, _question(asked, connection.timeout)))
    tell(decision, {}, as_json=as_json)
    end(decision)


def _question(asked: dict[str, Any], timeout: float) -> Ask:
    """Only what was given: the rest has defaults of its own, the idempotency key a random one."""
    lists = {"usage": dict(asked.pop("usage")), "arguments": dict(asked.pop("arguments"))}
    given = {key: value for key, value in {**asked, **lists}.items() if value}
    return cast(Ask, {"timeout": timeout, **given})


async def _ask(target: Target, action: str, resource: str, question: Ask) -> Decision:
    try:
        async with Agent(target) as agent:
            return await agent.authorize(action, resource, check=False, **question)
    except RemitError as error:
        raise explained_error(error, target) from error
