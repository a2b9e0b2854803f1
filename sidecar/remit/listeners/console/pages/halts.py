"""Halts: what is stopped, and stopping and resuming it. Policy answers; its answer is shown as it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.responses import Response

from remit.core.answer import Halted
from remit.core.errors import BadRequest, NotFound
from remit.core.model import HALT_SCOPES
from remit.listeners.console.pages.site import Visit
from remit.listeners.grpc_fields import ID, Fields

MAX_FIELDS = 8


@dataclass(frozen=True, slots=True)
class Form:
    """What a person filled in, and what is wrong with it by field."""

    scope: str = "agent"
    value: str = ""
    reason: str = ""
    wrong: dict[str, str] = field(default_factory=dict)


async def show(visit: Visit) -> Response:
    """Those in force, and the form; `scope` and `value` may be filled in by a link."""
    asked = visit.request.query_params
    scope = asked.get("scope", "")
    return await _page(visit, Form(scope if scope in HALT_SCOPES else HALT_SCOPES[0], asked.get("value", "")))


async def halt(visit: Visit) -> Response:
    """Stop a scope."""
    form = await _read(visit)
    if form.wrong:
        return await _page(visit, form, status=HTTPStatus.BAD_REQUEST)
    try:
        answer = await visit.overview.halt(visit.person, form.scope, form.value, form.reason)
    except BadRequest as error:
        return await _page(visit, _refused(form, error), status=HTTPStatus.BAD_REQUEST)
    return await _answered(visit, form, answer, "halt")


async def resume(visit: Visit) -> Response:
    """Lift the halts of a scope."""
    form = await _read(visit)
    if form.wrong:
        told = "; ".join(f"{each}: expected {expected}" for each, expected in form.wrong.items())
        return await _page(visit, Form(), told=told, status=HTTPStatus.BAD_REQUEST)
    try:
        answer = await visit.overview.resume(visit.person, form.scope, form.value, form.reason)
    except (BadRequest, NotFound) as error:
        status = HTTPStatus.NOT_FOUND if isinstance(error, NotFound) else HTTPStatus.BAD_REQUEST
        return await _page(visit, Form(), told=str(error), status=status)
    return await _answered(visit, form, answer, "resume")


async def _answered(visit: Visit, form: Form, answer: Halted, act: str) -> Response:
    permitted = answer.answer.permits
    status = HTTPStatus.OK if permitted else HTTPStatus.FORBIDDEN
    return await _page(visit, Form() if permitted else form, answer=answer, act=act, about=form, status=status)


async def _page(
    visit: Visit,
    form: Form,
    *,
    answer: Halted | None = None,
    act: str = "",
    about: Form | None = None,
    told: str = "",
    status: int = HTTPStatus.OK,
) -> Response:
    halts = sorted(await visit.overview.halts(visit.person), key=lambda each: -each.time)
    return visit.page(
        "halts.html",
        title="Halts",
        status=status,
        halts=halts,
        scopes=HALT_SCOPES,
        form=form if act != "resume" else Form(),
        answer=answer.answer if answer else None,
        changed=answer.halts if answer else (),
        act=act,
        about=about or form,
        told=told,
    )


async def _read(visit: Visit) -> Form:
    """The form, its fields bounded as everywhere."""
    async with visit.request.form(max_files=0, max_fields=MAX_FIELDS) as given:
        scope, value, reason = (str(given.get(each, "")).strip() for each in ("scope", "value", "reason"))
    fields = Fields()
    if scope not in HALT_SCOPES:
        fields.refuse("scope", f"one of {', '.join(HALT_SCOPES)}")
    if scope != "all":
        fields.required("value", value, ID)
    elif value:
        fields.refuse("value", "nothing, where all is meant")
    fields.why("reason", reason)
    try:
        fields.check()
    except BadRequest as error:
        return _refused(Form(scope, value, reason), error)
    return Form(scope, value, reason)


def _refused(form: Form, error: BadRequest) -> Form:
    return Form(form.scope, form.value, form.reason, {each.field: each.expected for each in error.violations})
