"""`remit explain`: the story of one decision."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click

from remit.cli.approval_text import approval_document
from remit.cli.approvals import find
from remit.cli.connection import Connection, connected
from remit.cli.explaining import Story, story_text
from remit.cli.failure import Failure, Unreachable
from remit.cli.records import from_wire
from remit.cli.screen import emit, progress, show
from remit.core.phrases import approvals, grants
from remit.v1 import audit_pb2
from remit.v1 import oversight_pb2 as pb


@click.command("explain")
@click.argument("decision")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@connected
def command(connection: Connection, decision: str, as_json: bool) -> None:
    """Tell who asked for what, what was known, what each rule said, who approved, what came of it, and what would
    change it.

    Example: remit explain d_0123456789
    """
    with progress("asking the sidecar"):
        answer = connection.call("Audit", "GetDecision", audit_pb2.GetDecisionRequest(decision=decision))
        entry = from_wire(answer.record)
        turned = _approvals(connection, [*(id for id, _ in approvals(entry.body)), *grants(entry.body)])
    story = Story(entry, tuple(map(from_wire, answer.about)), tuple(turned))
    if as_json:
        emit(_document(story))
    else:
        show(story_text(story, time.time_ns()))


def _approvals(connection: Connection, ids: Sequence[str]) -> list[pb.Approval]:
    """Those that the caller may see; of the others the record alone tells."""
    found = []
    for id in dict.fromkeys(ids):
        try:
            approval = find(connection, id)
        except Unreachable:
            raise
        except Failure:
            continue
        if approval is not None:
            found.append(approval)
    return found


def _document(story: Story) -> dict[str, Any]:
    return {
        "decision": story.entry.document(),
        "reasons": [
            {
                "policy": each.policy,
                "code": each.code,
                "raised": each.raised,
                "remedy": each.remedy,
                "retryable": each.retryable,
            }
            for each in story.reasons
        ],
        "approvals": [approval_document(each) for each in story.approvals],
        "about": [each.document() for each in story.about],
    }
