"""`remit resume`: lift halts."""

from __future__ import annotations

import click

from remit.cli.connection import Connection, connected
from remit.cli.decisions import end, read, tell
from remit.cli.scopes import Scope, scoped
from remit.v1 import oversight_pb2


@click.command("resume")
@scoped
@click.option("--reason", required=True, help="Why, for people.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@connected
def command(connection: Connection, scope: Scope, reason: str, as_json: bool) -> None:
    """Resume what was stopped by a halt of exactly this scope.

    Example: remit resume --agent support --reason "repaired"
    """
    request = oversight_pb2.ResumeRequest(scope=scope.kind, value=scope.value, reason=reason)
    answer = connection.call("Oversight", "Resume", request)
    decision = read(answer.decision)
    tell(decision, {"halts": list(answer.halts)}, as_json=as_json)
    end(decision)
