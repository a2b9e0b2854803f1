"""Workflows: which there are, and what happened in one, while it happens."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from remit.core.errors import BadRequest, Violation
from remit.listeners.console.pages.site import ID, Visit, named
from remit.listeners.console.tree import PAGE, Tree, tree, wanted
from remit.ports import WorkflowState

LISTED = 50
MAX_PAGE = 50
"""A trace is read from its beginning: 10,000 records are enough for a screen."""

_AFTER = "!"
"""What any id of ours sorts before, when it is put behind it, and any longer id after."""


async def show_all(visit: Visit) -> Response:
    """The newest first; `before` is the id that the page before ended with."""
    before = visit.request.query_params.get("before", "")
    if before and not ID.fullmatch(before):
        raise BadRequest(Violation("before", "a workflow's id"))
    found = await visit.overview.workflows(visit.person, before, LISTED + 1)
    more = found[LISTED - 1].id if len(found) > LISTED else ""
    return visit.page("workflows.html", title="Workflows", workflows=found[:LISTED], before=before, more=more)


async def show(visit: Visit) -> Response:
    """A workflow and its tree, page by page (`page`)."""
    id, grown = await _grown(visit)
    state = await _state(visit, id)
    return visit.page("workflow.html", title=f"Workflow {id}", **_shown(visit, id, grown, state))


async def live(visit: Visit) -> Response:
    """The tree alone, for htmx. Nothing where it is as it was (`seen`), unless a failure is to be cleared (`lost`)."""
    id, grown = await _grown(visit)
    state = await _state(visit, id)
    asked = visit.request.query_params
    values = _shown(visit, id, grown, state)
    if asked.get("seen") == values["seen"] and not asked.get("lost"):
        return HTMLResponse(status_code=HTTPStatus.NO_CONTENT)
    return visit.page("live.html", polled=True, **values)


async def _grown(visit: Visit) -> tuple[str, Tree]:
    id, number = named(visit.request), _number(visit.request)
    return id, tree(await visit.overview.trace(visit.person, id, wanted(number)), number)


async def _state(visit: Visit, id: str) -> WorkflowState | None:
    """The workflow as it is listed; None where its records are older than what is known of it."""
    found = await visit.overview.workflows(visit.person, id + _AFTER, 1)
    return next((each for each in found if each.id == id), None)


def _shown(visit: Visit, id: str, grown: Tree, state: WorkflowState | None) -> dict[str, Any]:
    runs = state is not None and state.state == "open"
    return {
        "id": id,
        "tree": grown,
        "state": state,
        "runs": runs,
        "live": runs and visit.console.htmx is not None,
        "seen": f"{grown.digest}{state.version if state else ''}{'+' if runs else '-'}",
        "per_page": PAGE,
    }


def _number(request: Request) -> int:
    said = request.query_params.get("page", "1")
    if not (said.isascii() and said.isdigit() and len(said) < 4 and 0 < int(said) <= MAX_PAGE):
        raise BadRequest(Violation("page", f"a number from 1 to {MAX_PAGE}"))
    return int(said)
