"""`remit halt`: stop something, from the next decision on."""

from __future__ import annotations

import click

from remit.cli.connection import Connection, connected
from remit.cli.decisions import end, read, tell
from remit.cli.scopes import Scope, scoped
from remit.v1 import oversight_pb2


@click.command("halt")
@scoped
@click.option("--reason", required=True, help="Why, for people.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@connected
def command(connection: Connection, scope: Scope, reason: str, as_json: bool) -> None:
    """Stop an agent, a workflow, a service or everything, from the next decision on.

    Example: remit halt --agent support --reason "sends the same mail again and again"
    """
    request = oversight_pb2.HaltRequest(scope=scope.kind, value=scope.value, reason=reason)
    answer = connection.call("Oversight", "Halt", request)
    decision = read(answer.decision)
    tell(decision, {"halt": answer.halt}, as_json=as_json)
    end(decision)
