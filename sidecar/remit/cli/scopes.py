"""What a halt stops, from options of which exactly one is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import click

from remit.v1 import resources_pb2

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Scope:
    """`kind` as on the wire; `value` is the id, "" for everything."""

    kind: resources_pb2.Scope
    value: str


def scoped(command: Callable[..., R]) -> Callable[..., R]:
    """Options --agent, --workflow, --service, --policy and --all; the command gets `scope`."""

    @click.option("--agent", metavar="ID", help="One agent.")
    @click.option("--workflow", metavar="ID", help="One workflow.")
    @click.option("--service", metavar="ID", help="Every call to one service.")
    @click.option("--policy", metavar="REVISION", help="Every decision that another policy revision judges.")
    @click.option("--all", "everything", is_flag=True, help="Everything.")
    @wraps(command)
    def chosen(
        *args: Any,
        agent: str | None,
        workflow: str | None,
        service: str | None,
        policy: str | None,
        everything: bool,
        **options: Any,
    ) -> R:
        named = {
            resources_pb2.SCOPE_AGENT: agent,
            resources_pb2.SCOPE_WORKFLOW: workflow,
            resources_pb2.SCOPE_SERVICE: service,
            resources_pb2.SCOPE_POLICY: policy,
            resources_pb2.SCOPE_ALL: "" if everything else None,
        }
        given = [Scope(kind, value) for kind, value in named.items() if value is not None]
        if len(given) != 1:
            raise click.UsageError("Expected exactly one of --agent, --workflow, --service, --policy and --all.")
        return command(*args, scope=given[0], **options)

    return chosen
