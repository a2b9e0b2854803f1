"""Decisions: the latest ones, and all that is known of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from remit.core.errors import BadRequest, Violation
from remit.core.journal import JournalRow
from remit.core.phrases import Names, resource_words, said
from remit.core.records import Entry, from_row, grow, items, mapping, text
from remit.listeners.console.pages.site import Visit, named
from remit.listeners.console.record import record

LISTED = 50


@dataclass(frozen=True, slots=True)
class Line:
    """A decision in a list. `effect` is "" where its body was erased."""

    id: str
    time: int
    subject: str
    workflow: str
    effect: str
    observed: bool
    what: str
    because: str


async def show_all(visit: Visit) -> Response:
    """The newest first; `before` is a time in ns, that of the last one of the page before."""
    before = visit.request.query_params.get("before", "0")
    if not (before.isascii() and before.isdigit() and len(before) < 20):
        raise BadRequest(Violation("before", "a time in ns"))
    found = await visit.overview.latest(visit.person, int(before), LISTED + 1)
    more = str(found[LISTED - 1].record.time) if len(found) > LISTED else ""
    return visit.page("decisions.html", title="Decisions", lines=lines_of(found[:LISTED]), before=before, more=more)


async def show(visit: Visit) -> Response:
    """A decision and what was said of it later; any other record shows what it has."""
    row, later = await visit.overview.decision(visit.person, named(visit.request))
    entries = [from_row(row), *(from_row(each) for each in later)]
    (node, *_) = grow(entries)
    shown = record(row, node, Names.of(entries))
    return visit.page("decision.html", title=f"{shown.effect or shown.kind} {shown.id}", record=shown)


def lines_of(rows: Sequence[JournalRow]) -> list[Line]:
    """The lines of a list, in the same order."""
    return [_line(from_row(each)) for each in rows]


def _line(entry: Entry) -> Line:
    body = entry.body
    return Line(
        id=entry.id,
        time=entry.time,
        subject=entry.subject,
        workflow=entry.workflow,
        effect=text(body.get("effect")),
        observed=body.get("enforced") is False,
        what="" if entry.erased else f"{said(body.get('action'))} {resource_words(mapping(body.get('resource')))}",
        because=", ".join(said(mapping(each).get("code")) for each in items(body.get("reasons"))),
    )
