"""What every page is made with: one Jinja environment that trusts nobody's text, and the answers to what goes wrong.

Everything that a template prints passes `shown`: control characters, bidirectional controls and the like become visible
escapes, and the environment then escapes for HTML. No filter that could mark text as safe is there to be called.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from remit.core.approval import State
from remit.core.decision import Effect
from remit.core.errors import BadRequest, CallerError, Forbidden, IllegalTransition, NotFound, ServiceError
from remit.core.model import Subject
from remit.core.reason import EXPLANATIONS, Reason
from remit.core.text import amount, clean, moment
from remit.listeners.pipeline import Overview

ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
"""What an id of ours looks like; nothing else is asked for, or linked to."""

SIGNS = {Effect.ALLOW: "✓", Effect.DENY: "✕", Effect.HOLD: "‖"}
"""An effect's shape, for who does not see its colour."""

STANDINGS = {
    State.PENDING: ("hold", "‖"),
    State.APPROVED: ("allow", "✓"),
    State.DENIED: ("deny", "✕"),
    State.EXPIRED: ("other", "○"),
    State.REVOKED: ("deny", "✕"),
}
"""Where an approval stands: its style, and its shape for who does not see its colour."""

_FILTERS = ("length", "string")

_log = logging.getLogger(__name__)

_TITLES = {
    400: "That cannot be read",
    401: "Please sign in",
    403: "This is not for you to see",
    404: "There is nothing here",
    405: "That cannot be done here",
    409: "That cannot be done now",
    429: "Too much at once",
    503: "The desk cannot answer now",
}

_STATUS: tuple[tuple[type[CallerError], int], ...] = (
    (BadRequest, HTTPStatus.BAD_REQUEST),
    (NotFound, HTTPStatus.NOT_FOUND),
    (Forbidden, HTTPStatus.FORBIDDEN),
    (IllegalTransition, HTTPStatus.CONFLICT),
)


class Console(Protocol):
    """What the pages stand on."""

    @property
    def overview(self) -> Overview:
        """What is shown and done."""
        ...

    @property
    def now(self) -> Callable[[], int]:
        """The time in ns."""
        ...

    @property
    def htmx(self) -> bytes | None:
        """The script for what is live; None where it is not installed: then there is a link to refresh."""
        ...


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a person that was proved."""

    console: Console
    request: Request
    person: Subject

    @property
    def overview(self) -> Overview:
        """What is shown and done."""
        return self.console.overview

    def page(self, template: str, *, status: int = HTTPStatus.OK, **values: Any) -> HTMLResponse:
        """A page, of this moment."""
        more = {"now": self.console.now(), "currency": self.overview.currency, "scripted": bool(self.console.htmx)}
        return page(self.request, template, status=status, **more, **values)


_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class Part(Generic[_Row]):
    """A part of a page; `told` says why it is not shown to this person, or is ""."""

    rows: Sequence[_Row]
    told: str = ""


async def part(asked: Awaitable[Sequence[_Row]]) -> Part[_Row]:
    """What is not for this person to see leaves the rest of the page as it is."""
    try:
        return Part(await asked)
    except Forbidden as error:
        return Part((), str(error))


View = Callable[[Visit], Awaitable[Response]]


def guarded(console: Console, view: View) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of a view: for people alone, and what goes wrong becomes a page that says so."""

    async def endpoint(request: Request) -> Response:
        person = getattr(request.state, "person", None)
        if person is None:
            return trouble_page(request, HTTPStatus.UNAUTHORIZED, "You are not signed in.")
        try:
            return await view(Visit(console, request, person))
        except CallerError as error:
            return trouble_page(request, status_of(error), str(error))
        except HTTPException as error:
            return trouble_page(request, error.status_code, error.detail)
        except ServiceError as error:
            _log.warning("a page could not be shown: %s", clean(str(error)))
            return trouble_page(request, HTTPStatus.SERVICE_UNAVAILABLE, _told(error))

    return endpoint


def _told(error: ServiceError) -> str:
    """What people are told of our own failure; the log has its detail, which may name hosts."""
    if error.reason is Reason.STORE_UNAVAILABLE:
        return f"The store cannot be reached just now. ({error.reason})"
    told = EXPLANATIONS[error.reason]
    return f"{told.raised} {told.remedy} ({error.reason})"


def status_of(error: CallerError) -> int:
    """The HTTP status that says whose fault it was."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.BAD_REQUEST)


def page(request: Request, template: str, *, status: int = HTTPStatus.OK, **values: Any) -> HTMLResponse:
    """A template with what all pages have: who looks, the text for forms, where one is."""
    shared = {
        "person": getattr(request.state, "person", None),
        "csrf": getattr(request.state, "csrf", ""),
        "path": request.url.path,
        "here": to(request.url.path, **dict(request.query_params)),
        "now": 0,
        "scripted": False,
        "live": False,
        "polled": False,
    }
    return HTMLResponse(_ENVIRONMENT.get_template(template).render(shared | values), status)


def trouble_page(request: Request, status: int, told: str) -> HTMLResponse:
    """The page for what goes wrong; for a live part, only its words."""
    live = request.headers.get("HX-Request") == "true"
    template = "trouble_live.html" if live else "trouble.html"
    title = _TITLES.get(status, "Something went wrong")
    return page(
        request, template, status=status, title=title, told=told, code=int(status), asking=request.method == "GET"
    )


def to(path: str, /, *parts: str, **query: str) -> str:
    """A path of ours with further parts and a query, whatever is in them."""
    joined = "/".join([quote(path, safe="/"), *(quote(each, safe="") for each in parts)])
    asked = {name: value.encode("utf-8", "replace") for name, value in query.items() if value}
    return f"{joined}?{urlencode(asked)}" if asked else joined


def shown(value: object) -> object:
    """What is printed for a value: text is cleaned; anything that is neither text nor a number is a mistake of ours."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise TypeError(f"a template prints {type(value).__name__}, expected text or a whole number")


def iso(time_ns: int) -> str:
    """A time for machines, as `datetime` has it; "" for what no year can say."""
    said = moment(time_ns)
    return "" if said == "never" else said.replace(" ", "T")


def seconds(time_ns: int) -> str:
    """A time for people, without its fraction: for what was set, or computed, and not measured."""
    return moment(time_ns - time_ns % 10**9).replace(".000Z", "Z")


def span(length_ns: int) -> str:
    """How long, for people: to the minute below a day, to the hour above."""
    minutes = max(length_ns, 0) // (60 * 10**9)
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{rest} min" if rest else "less than a minute"


def linkable(id: object) -> bool:
    """Whether this is an id that there can be a page of."""
    return isinstance(id, str) and ID.fullmatch(id) is not None


def named(request: Request) -> str:
    """The id in the request's path. Raises NotFound for what is none."""
    id = str(request.path_params["id"])
    if not linkable(id):
        raise NotFound(f"{id[:64]!r} is not an id of ours")
    return id


def effect_class(effect: str) -> str:
    """The style of an effect, and of no other word."""
    return effect.lower() if effect in SIGNS else "other"


def standing_class(state: str) -> str:
    """The style of where an approval stands, and of no other word."""
    return STANDINGS[State(state)][0] if state in STANDINGS else "other"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("remit.listeners.console"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters = {name: environment.filters[name] for name in _FILTERS}
    environment.globals = {
        "amount": amount,
        "effect_class": effect_class,
        "iso": iso,
        "linkable": linkable,
        "moment": moment,
        "seconds": seconds,
        "signs": SIGNS,
        "span": span,
        "standing_class": standing_class,
        "standings": STANDINGS,
        "to": to,
    }
    return environment


_ENVIRONMENT = _environment()
