"""`remit audit who`: which answers told of somebody."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import click
from rich.table import Table

from remit.cli.connection import Connection, connected
from remit.cli.failure import Failure
from remit.cli.records import Entry, from_wire, mapping, text
from remit.cli.screen import emit, note, progress, show
from remit.cli.text import clean, moment
from remit.v1 import audit_pb2

LIMIT = 1000
SIGHTS = {
    audit_pb2.SIGHT_RETURNED: "returned",
    audit_pb2.SIGHT_REACHED: "reached",
    audit_pb2.SIGHT_MANY: "many",
}
_SUBJECT = re.compile(r"(?:(?P<dataset>[^:]+)\.)?(?P<table>[^:.]+):(?P<key>.+)", re.DOTALL)

Seen = tuple[Entry, str]


@click.command("who")
@click.option("--subject", required=True, metavar="[DATASET.]TABLE:KEY", help="Whom, such as customers:4711.")
@click.option("--limit", type=click.IntRange(1, LIMIT), default=LIMIT, show_default=True, help="Decisions at most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@connected
def who(connection: Connection, subject: str, limit: int, as_json: bool) -> None:
    """Show which agents' queries told, or may have told, of a subject: when, for what, and how certain that is.

    A table of the catalogue that names a `subject_key` is asked by that column's value. "returned": a row of the answer
    was of the subject; "reached": the query read such a row (in a sum, for example); "many": it was of more than are
    told apart.

    Example: remit audit who --subject crm.customers:4711
    """
    request = audit_pb2.WhoRequest(**read_subject(subject), limit=limit)
    with progress("asking the sidecar"):
        answer = connection.call("Audit", "Who", request)
    found = [(from_wire(each.decision), SIGHTS.get(each.sight, "")) for each in answer.sightings]
    if as_json:
        emit({"sightings": [_document(each) for each in found], "truncated": answer.truncated})
    elif found:
        show(_table(found))
    else:
        show("no recorded answer told of it")
    if answer.truncated:
        note(f"remit: only the newest {len(found)}; see --limit")


def read_subject(text: str) -> dict[str, str]:
    """Dataset ("" where none is named), table and key. Raises Failure, which does not repeat the key."""
    found = _SUBJECT.fullmatch(text)
    if found is None:
        raise Failure("--subject: expected TABLE:KEY or DATASET.TABLE:KEY, such as customers:4711")
    return {name: value or "" for name, value in found.groupdict().items()}


def _document(seen: Seen) -> dict[str, Any]:
    entry, sight = seen
    return {"sight": sight, "decision": entry.document()}


def _table(found: Sequence[Seen]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("when", "agent", "for", "sight", "workflow", "decision"):
        table.add_column(title, overflow="fold")
    for entry, sight in found:
        purpose = "(body erased)" if entry.erased else text(mapping(entry.body.get("context")).get("purpose"))
        told = (moment(entry.time), entry.subject, purpose, sight, entry.workflow, entry.id)
        table.add_row(*(clean(each) or "-" for each in told))
    return table
