"""The console as an application: who asks is a person with a session, or is shown the way in."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from remit.core.errors import BadRequest, Unauthenticated, Violation
from remit.core.model import Subject
from remit.listeners.console.oidc import OidcSettings, Provider
from remit.listeners.console.pages import routes
from remit.listeners.console.pages.site import trouble_page
from remit.listeners.console.security import BODY_SECONDS, Guard, Limits, Names, one_cookie
from remit.listeners.console.sessions import Session, Sessions
from remit.listeners.console.sign_in import (
    BACK_PATH,
    PATH,
    PROVIDER_PATH,
    SignIn,
    form,
    local,
    onward_page,
    session_cookie,
)
from remit.listeners.ops import Asked, Besides, Checks, Exposition, Health
from remit.listeners.pipeline import Identities, Observer, Overview
from remit.ports import Clock, Ids

CSRF_HEADER = "x-csrf-token"

_OPEN = (PATH, PROVIDER_PATH, BACK_PATH)
_STATIC = "/static/"

_log = logging.getLogger(__name__)


class Console:
    """The application, `app`. `hosts` are names that it is called by besides those of loopback and `public_url`'s.

    `public_url` is what people have in their address line ("" for the address that is listened on): an identity
    provider sends them back there. `htmx` is the script for what is live, None where there is none. `besides` is what
    programs are answered by, at paths of their own.
    Raises ProviderFailed for a provider that secrets must not be sent to.
    """

    def __init__(
        self,
        pipeline: Overview,
        identities: Identities,
        *,
        exposition: Exposition,
        checks: Checks,
        observer: Observer,
        clock: Clock,
        ids: Ids,
        hosts: Sequence[str] = (),
        public_url: str = "",
        oidc: OidcSettings | None = None,
        htmx: bytes | None = None,
        limits: Limits | None = None,
        besides: Besides | None = None,
    ) -> None:
        if oidc is not None and not public_url:
            raise ValueError("an identity provider needs a public_url to send people back to")
        self.overview = pipeline
        self.now = clock.now
        self.htmx = htmx
        self._identities = identities
        self._health = Health(exposition, checks)
        self._besides = besides

        def random(size: int) -> bytes:
            return b"".join(ids.salt() for _ in range(size // 16))

        self._sessions = Sessions(clock.now, random)
        provider = None if oidc is None else Provider(oidc, public_url.rstrip("/") + BACK_PATH, clock.now)
        sign_in = SignIn(
            self._sessions, identities, pipeline, observer, provider=provider, now=clock.now, random=random
        )
        self._pages = Starlette(
            routes=[*sign_in.routes(), *routes(self)],
            exception_handlers={HTTPException: _refused, Exception: _failed},
        )
        self.app: ASGIApp = Guard(
            self._serve,
            Names(hosts, public_url),
            self._health.paths,
            limits,
            besides=() if besides is None else besides.paths,
        )

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await (await self._answer(request))(scope, receive, send)

    async def _answer(self, request: Request) -> ASGIApp:
        """What answers: health to whoever asks, pages to people."""
        path = request.scope["path"]
        if path in self._health.paths:
            health = await self._health.answer(request.method, path, request.headers.get("accept", ""))
            return Response(health.body, health.status, dict(health.headers))
        if self._besides is not None and path in self._besides.paths:
            answer = await self._besides.answer(_asked(request))
            return Response(answer.body, answer.status, dict(answer.headers))
        state = request.state
        state.person, state.session, state.csrf = None, None, ""
        if path.startswith(_STATIC):
            return self._pages
        found = self._find(request)
        if found is not None:
            state.session, state.person = found
            state.csrf = found[0].csrf
        if path in _OPEN:
            return self._pages
        if found is None:
            return _way_in(request)
        if request.method == "POST" and not _is_meant(request, found[0]):
            told = "The form was not made by this session. Go back, load the page anew and try again."
            return trouble_page(request, HTTPStatus.FORBIDDEN, told)
        return self._pages

    def _find(self, request: Request) -> tuple[Session, Subject] | None:
        """The session and its person, as the catalogue in force has them."""
        id = one_cookie(request.headers, session_cookie(request))
        # What a page asks for by itself is no visit: a page that was left open must not keep its session alive.
        visit = request.method == "POST" or "hx-request" not in request.headers
        session = self._sessions.find(id, visit=visit) if id else None
        if session is None:
            return None
        try:
            person = self._identities.person(session.proof)
        except Unauthenticated as error:
            _log.info("the session of %s has ended: %s", session.person, error)
            person = None
        if person is None or person.id != session.person:
            self._sessions.end(id)
            return None
        return session, person


def _asked(request: Request) -> Asked:
    async def body(most: int) -> bytes | None:
        if int(request.headers.get("content-length", "0")) > most:
            return None
        read = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for piece in request.stream():
                    read += piece
                    if len(read) > most:
                        return None
        except (TimeoutError, ClientDisconnect):
            raise BadRequest(Violation("message", "one that comes to its end")) from None
        return bytes(read)

    peer = request.client.host if request.client else ""
    return Asked(
        request.method,
        request.scope["path"],
        request.headers.items(),
        f"{request.scope['scheme']}://{request.state.host}",
        f"{'ipv6' if ':' in peer else 'ipv4'}:{peer}",
        body,
        request.is_disconnected,
    )


def _is_meant(request: Request, session: Session) -> bool:
    """Whether a form or a script of this session's own pages sent this."""
    sent = request.headers.getlist(CSRF_HEADER) or [form(request).get("csrf", "")]
    return len(sent) == 1 and hmac.compare_digest(sent[0].encode(), session.csrf.encode())


def _way_in(request: Request) -> Response:
    """For whom nobody is known to be."""
    asked = request.scope["raw_path"].decode("latin-1")
    if query := request.scope["query_string"].decode("latin-1"):
        asked += f"?{query}"
    if request.headers.get("hx-request"):
        response = trouble_page(request, HTTPStatus.UNAUTHORIZED, "You are not signed in any more.")
        response.headers["HX-Redirect"] = PATH
        return response
    if request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site":
        # A link on another site: the browser kept its strict cookie back, and brings it when we ask by ourselves.
        return onward_page(request, asked)
    onward = local(asked) if request.method == "GET" else "/"
    to = PATH if onward == "/" else f"{PATH}?{urlencode({'next': onward})}"
    return RedirectResponse(to, HTTPStatus.SEE_OTHER)


async def _refused(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.NOT_FOUND
    told = "There is no such page." if status == HTTPStatus.NOT_FOUND else "That is not how this page is asked for."
    return trouble_page(request, status, told)


async def _failed(request: Request, error: Exception) -> Response:
    # What serves us logs it.
    return trouble_page(request, HTTPStatus.INTERNAL_SERVER_ERROR, "An error of the desk's own; its log tells more.")
