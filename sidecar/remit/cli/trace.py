"""`remit trace`: what happened in a workflow, and what led to what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import click
from rich.tree import Tree

from remit.backends.store_sqlite import open_journal
from remit.cli.connection import Connection, connected
from remit.cli.failure import Failure, Unreachable
from remit.cli.local import DATABASE
from remit.cli.records import Entry, from_row, from_wire, grow, summary
from remit.cli.screen import emit, note, progress, show
from remit.cli.tracing import Names, node_text, root_text
from remit.core.errors import StoreUnavailable
from remit.v1 import audit_pb2

LIMIT = 10_000


@click.command("trace")
@click.argument("workflow")
@click.option("--limit", type=click.IntRange(1, LIMIT), default=LIMIT, show_default=True, help="Records at most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@connected
def command(connection: Connection, workflow: str, limit: int, as_json: bool) -> None:
    """Show the decisions of WORKFLOW as a tree: who did what after what, why, at what cost, knowing what.

    Asks the sidecar; with --state, reads that state directory instead, beside a running sidecar or without one.

    Example: remit trace w_0123456789 --state .remit
    """
    entries, truncated = _entries(connection, workflow, limit)
    if as_json:
        emit({"workflow": workflow, "records": [each.document() for each in entries], "truncated": truncated})
    elif entries:
        _tell(workflow, entries)
    if truncated:
        note(f"remit: only the first {len(entries)} records; see --limit")


def _entries(connection: Connection, workflow: str, limit: int) -> tuple[list[Entry], bool]:
    if connection.state is not None and not connection.address:
        found = list(islice(_stored(connection.state, workflow), limit + 1))
        if not found:
            raise Failure(f"{connection.state}: no records of a workflow {workflow[:64]!r}; expected a workflow's id")
        return found[:limit], len(found) > limit
    with progress("asking the sidecar"):
        answer = connection.call("Audit", "Trace", audit_pb2.TraceRequest(workflow=workflow, limit=limit))
    return [from_wire(each) for each in answer.records], answer.truncated


def _stored(state: Path, workflow: str) -> Iterator[Entry]:
    path = state / DATABASE
    if not path.is_file():
        raise Unreachable(
            f"{path}: there is no journal here; expected a state directory: "
            "where members share a PostgreSQL, ask one of them, without --state"
        )
    try:
        with progress("reading the journal"), open_journal(path) as journal:
            for row in journal.rows():
                if row.record.workflow == workflow:
                    yield from_row(row)
    except StoreUnavailable as error:
        raise Unreachable(error.detail) from error


def _tell(workflow: str, entries: Sequence[Entry]) -> None:
    names = Names.of(entries)
    tree = Tree(root_text(workflow, names), guide_style="dim")
    waiting = [(tree, node) for node in reversed(grow(entries))]
    while waiting:
        branch, node = waiting.pop()
        twig = branch.add(node_text(node, names))
        waiting.extend((twig, child) for child in reversed(node.children))
    show(tree, summary(entries))
