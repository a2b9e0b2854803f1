"""Approvals: what waits for somebody, and what they say to it. Policy answers; its answer is shown as it is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from starlette.responses import HTMLResponse, Response

from remit.core.answer import Answer, Shown
from remit.core.approval import SECOND, State, Verdict
from remit.core.call import Resolution
from remit.core.errors import BadRequest, IllegalTransition, NotFound, Violation
from remit.core.reason import Reason
from remit.listeners.console.approval import digest, line, whole
from remit.listeners.console.pages.site import ID, Visit, named, span
from remit.listeners.grpc_fields import Fields

LISTED = 50
LATELY = 10
MAX_FIELDS = 8

_ENDED = tuple(each for each in State if each is not State.PENDING)
_CHOICES = {
    Verdict.APPROVE: "approve it",
    Verdict.DENY: "deny it",
    Verdict.HOLD: "pass it on to whoever is asked next",
}
_CHANGED = "It has changed since you looked at it: nothing was done. This is how it is now."


@dataclass(frozen=True, slots=True)
class Form:
    """What a person filled in, and what is wrong with it by field."""

    verdict: str = ""
    reason: str = ""
    version: int = 0
    wrong: dict[str, str] = field(default_factory=dict)


async def show_all(visit: Visit) -> Response:
    """Those that wait and then the latest others; or those of a `state`. `before` is the id that a page ended with."""
    return visit.page("approvals.html", title="Approvals", **await _with_latest(visit, await _first(visit)))


async def live(visit: Visit) -> Response:
    """The lists alone, for htmx. Nothing where those that wait are as they were (`seen`), unless a failure is to be
    cleared: the others may be many, and are looked for only when something happens."""
    waiting, asked = await _first(visit), visit.request.query_params
    if asked.get("seen") == waiting["seen"] and not asked.get("lost"):
        return HTMLResponse(status_code=HTTPStatus.NO_CONTENT)
    return visit.page("approvals_live.html", polled=True, **await _with_latest(visit, waiting))


async def show(visit: Visit) -> Response:
    """One of them, with a form for who may resolve it."""
    found = await _one(visit)
    return _page(visit, found, Form(version=found.approval.version))


async def changed(visit: Visit) -> Response:
    """Whether one is another than at `version`, for htmx; nothing where it is not. A form is never taken away."""
    found = await _one(visit)
    asked = visit.request.query_params
    same = asked.get("version") == str(found.approval.version)
    if same and not asked.get("lost"):
        return HTMLResponse(status_code=HTTPStatus.NO_CONTENT)
    return visit.page("approval_live.html", polled=True, **_live(visit, found), moved=not same)


async def resolve(visit: Visit) -> Response:
    """Approve, deny, take back or pass on what was looked at, and nothing else."""
    form = await _read(visit)
    found = await _one(visit)
    if form.wrong:
        seen = replace(form, version=form.version or found.approval.version)
        return _page(visit, found, seen, status=HTTPStatus.BAD_REQUEST)
    if form.version != found.approval.version:
        return _anew(visit, found, form, _CHANGED)
    resolution = Resolution(found.approval.id, Verdict(form.verdict), form.reason, form.version)
    try:
        resolved = await visit.overview.resolve(visit.person, resolution)
    except IllegalTransition as error:
        return _anew(visit, await _one(visit), form, f"Nothing was done: {error}.")
    except BadRequest as error:
        return _page(visit, found, _refused(form, error), status=HTTPStatus.BAD_REQUEST)
    if any(each.code == Reason.FACTS_CHANGED for each in resolved.answer.reasons):
        return _anew(visit, await _one(visit), form, _CHANGED)
    permitted = resolved.answer.permits
    # What is asked next of the same person is asked anew; what was refused may have been passed on.
    after = replace(Form() if permitted else form, version=resolved.shown.approval.version)
    status = HTTPStatus.OK if permitted else HTTPStatus.FORBIDDEN
    return _page(visit, resolved.shown, after, answer=resolved.answer, act=form.verdict, status=status)


async def _first(visit: Visit) -> dict[str, Any]:
    """The list that was asked for: those that wait, or those of a state."""
    asked = visit.request.query_params
    state, before = asked.get("state", ""), asked.get("before", "")
    if state and state not in tuple(State):
        raise BadRequest(Violation("state", f"one of {', '.join(State)}"))
    if before and not ID.fullmatch(before):
        raise BadRequest(Violation("before", "an approval's id"))
    states = (State(state or State.PENDING),)
    found = await visit.overview.approvals(visit.person, states, "", before, LISTED + 1)
    now = visit.console.now()
    lines = [line(each, now) for each in found[:LISTED]]
    more = lines[-1].id if len(found) > LISTED else ""
    return {
        "lines": lines,
        "state": state,
        "states": tuple(State),
        "before": before,
        "more": more,
        "mine": sum(each.resolvable for each in lines),
        "live": visit.console.htmx is not None and not before and state in ("", State.PENDING),
        "seen": f"{digest(lines)}{more}",
    }


async def _with_latest(visit: Visit, first: dict[str, Any]) -> dict[str, Any]:
    """The list, and the latest of those that do not wait any more below it."""
    if first["state"] or first["before"]:
        return {**first, "lately": ()}
    found = await visit.overview.approvals(visit.person, _ENDED, "", "", LATELY)
    # One that is resolved between the two questions is in both answers.
    listed, now = {each.id for each in first["lines"]}, visit.console.now()
    return {**first, "lately": [line(each, now) for each in found if each.approval.id not in listed]}


async def _one(visit: Visit) -> Shown:
    id = named(visit.request)
    found = await visit.overview.approvals(visit.person, tuple(State), id, "", 1)
    if not found:
        raise NotFound(f"no approval {id} that {visit.person.id} may see")
    return found[0]


def _anew(visit: Visit, found: Shown, form: Form, told: str) -> Response:
    """Show what it is now. What was said about what it was is not chosen again by itself."""
    anew = Form(reason=form.reason, version=found.approval.version)
    return _page(visit, found, anew, told=told, status=HTTPStatus.CONFLICT)


def _page(
    visit: Visit,
    found: Shown,
    form: Form,
    *,
    answer: Answer | None = None,
    act: str = "",
    told: str = "",
    status: int = HTTPStatus.OK,
) -> Response:
    terms = found.approval.terms
    lasting = {"ttl": span(terms.ttl * SECOND), "wait": span(terms.wait * SECOND)}
    granted = found.approval.state is State.APPROVED
    return visit.page(
        "approval.html",
        title=f"Approval {found.approval.id}",
        status=status,
        approval=whole(found, visit.console.now(), visit.overview.currency, lasting),
        choices={Verdict.DENY: "take it back"} if granted else _CHOICES,
        form=form,
        answer=answer,
        act="take back" if act == Verdict.DENY and found.approval.state is State.REVOKED else act,
        told=told,
        moved=False,
        **_live(visit, found),
    )


def _live(visit: Visit, found: Shown) -> dict[str, Any]:
    ends = found.approval.state in (State.PENDING, State.APPROVED)
    return {
        "id": found.approval.id,
        "version": found.approval.version,
        "live": visit.console.htmx is not None and ends,
    }


async def _read(visit: Visit) -> Form:
    """The form, its fields bounded as everywhere."""
    async with visit.request.form(max_files=0, max_fields=MAX_FIELDS) as given:
        verdict, reason, version = (str(given.get(each, "")).strip() for each in ("verdict", "reason", "version"))
    fields = Fields()
    fields.one_of("verdict", verdict, tuple(Verdict))
    fields.why("reason", reason)
    if not (version.isascii() and version.isdigit() and len(version) < 19 and int(version) > 0):
        fields.refuse("version", "what was looked at")
        version = "0"
    form = Form(verdict, reason, int(version))
    try:
        fields.check()
    except BadRequest as error:
        return _refused(form, error)
    return form


def _refused(form: Form, error: BadRequest) -> Form:
    return replace(form, wrong={each.field: each.expected for each in error.violations})
