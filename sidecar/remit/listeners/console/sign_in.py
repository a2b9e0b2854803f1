"""How people sign in: with their Remit token in a form, or at the identity provider; and how they sign out.

A form is tied to the browser that it was shown in by a cookie (so that nobody signs another in), and so is the way to
the provider and back. What that cookie stands for is worked out from it with a key of this process: a browser that
begins and never comes back costs no memory.
"""

from __future__ import annotations

import hmac
import logging
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from http import HTTPStatus
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from remit.core.errors import ServiceError, Unauthenticated
from remit.core.evidence import Cause, Evidence, Proof, Proved
from remit.core.model import Subject
from remit.listeners.console.attempts import Attempts
from remit.listeners.console.oidc import Crossing, Provider, ProviderFailed
from remit.listeners.console.pages.site import page
from remit.listeners.console.security import one_cookie
from remit.listeners.console.sessions import LIFE_SECONDS, Sessions
from remit.listeners.pipeline import Identities, Observer, Overview

PATH = "/sign-in"
PROVIDER_PATH = "/sign-in/oidc"
BACK_PATH = "/sign-in/oidc/callback"
OUT_PATH = "/sign-out"

SECOND = 1_000_000_000
CROSSING_SECONDS = 600
MAX_CROSSED = 4096
MAX_TOKEN = 4096
MAX_FIELDS = 32

_TOKEN = re.compile(rf"[!-~]{{1,{MAX_TOKEN}}}", re.ASCII)
# A path of ours; nothing that a browser may read as another host (`//host`, `/\host`), and nothing to escape.
_LOCAL = re.compile(r"/(?![/\\])[A-Za-z0-9._~!$()*+,;=:@%/?&-]{0,2000}", re.ASCII)
_BEGUN = re.compile(r"([0-9a-f]{1,12})\.[0-9a-f]{64}", re.ASCII)

_log = logging.getLogger(__name__)


class SignIn:
    """The routes by which people come and go. `random` gives so many random bytes, `now` is the time in ns."""

    def __init__(
        self,
        sessions: Sessions,
        identities: Identities,
        overview: Overview,
        observer: Observer,
        *,
        provider: Provider | None,
        now: Callable[[], int],
        random: Callable[[int], bytes],
    ) -> None:
        self._sessions = sessions
        self._identities = identities
        self._overview = overview
        self._observer = observer
        self._provider = provider
        self._now = now
        self._random = random
        self._key = random(32)
        self._attempts = Attempts(now)
        self._crossed: dict[bytes, int] = {}  # ways to the provider that were used: when, the oldest first

    def routes(self) -> list[BaseRoute]:
        """All of them; the last one wants a session, and the others none."""
        found: list[BaseRoute] = [
            Route(PATH, self._show, methods=["GET"]),
            Route(PATH, self._by_token, methods=["POST"]),
            Route(OUT_PATH, self._out, methods=["POST"]),
        ]
        if self._provider is not None:
            found += [
                Route(PROVIDER_PATH, self._to_provider, methods=["GET"]),
                Route(BACK_PATH, self._back, methods=["GET"]),
            ]
        return found

    async def _show(self, request: Request) -> Response:
        onward = local(request.query_params.get("next", ""))
        if request.state.person is not None:
            return RedirectResponse(onward, HTTPStatus.SEE_OTHER)
        return self._form(request, onward)

    async def _by_token(self, request: Request) -> Response:
        fields = form(request)
        onward = local(fields.get("next", ""))
        begun = self._begun(request)
        if not begun or not hmac.compare_digest(fields.get("csrf", ""), self._derived("form", begun)):
            return self._form(request, onward, "That page was no longer good. Please try again.", HTTPStatus.FORBIDDEN)
        if not self._attempts.allowed(address(request)):
            return self._too_often(request, onward)
        try:
            subject, proof = await self._token(fields.get("token", "").strip(), peer(request))
        except Unauthenticated as error:
            await self._failed(request, error)
            told = "Nobody who may sign in here has that token."
            return self._form(request, onward, told, HTTPStatus.UNAUTHORIZED)
        return self._welcome(request, subject, proof, RedirectResponse(onward, HTTPStatus.SEE_OTHER))

    async def _token(self, token: str, peer: str) -> tuple[Subject, Proof]:
        if not _TOKEN.fullmatch(token):
            raise Unauthenticated(Cause.MALFORMED if token else Cause.MISSING, "expected a token in the form")
        subject = await self._identities.identify(Evidence(token, None, peer))
        if subject.type != "person":
            raise Unauthenticated(Cause.UNKNOWN, "the token is an agent's, and people alone sign in")
        return subject, Proof(Proved.TOKEN, f"sha256:{sha256(token.encode()).hexdigest()}")

    async def _to_provider(self, request: Request) -> Response:
        onward = local(request.query_params.get("next", ""))
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            # Another site's link may show the form; that somebody goes on from there is their own doing.
            return RedirectResponse(PATH, HTTPStatus.SEE_OTHER)
        begun = self._new()
        try:
            url = await self._asked.begin(self._crossing(begun, onward))
        except ProviderFailed as error:
            _log.error("the identity provider cannot be used: %s", error)
            return self._form(request, onward, UNREACHED, HTTPStatus.BAD_GATEWAY)
        response = RedirectResponse(url, HTTPStatus.SEE_OTHER)
        self._keep(request, response, begun)
        return response

    async def _back(self, request: Request) -> Response:
        """Where the provider sends people back to."""
        if not self._attempts.allowed(address(request)):
            return self._too_often(request, "/")
        answer, begun = request.query_params, self._begun(request)
        if len(answer.multi_items()) != len(answer):
            answer = type(answer)()
        state = answer.get("state", "")
        onward = _onward(state)
        crossing = self._crossing(begun, onward)
        try:
            if not begun or not hmac.compare_digest(state.encode(), crossing.state.encode()):
                raise Unauthenticated(Cause.MISMATCH, "an answer to no sign-in that this browser began")
            self._cross(begun)
            proof = await self._asked.finish(answer, crossing)
            subject = self._identities.person(proof)
        except Unauthenticated as error:
            await self._failed(request, error)
            response = self._form(request, local(onward), f"You were not signed in: {error}.", HTTPStatus.UNAUTHORIZED)
        except ProviderFailed as error:
            _log.error("the identity provider cannot be used: %s", error)
            response = self._form(request, local(onward), UNREACHED, HTTPStatus.BAD_GATEWAY)
        else:
            # A redirect would still be the provider's doing to the browser, which keeps a strict cookie from it.
            response = self._welcome(request, subject, proof, onward_page(request, onward))
        return response

    async def _out(self, request: Request) -> Response:
        self._sessions.end(one_cookie(request.headers, session_cookie(request)))
        response = RedirectResponse(PATH, HTTPStatus.SEE_OTHER)
        _forget(request, response, session_cookie(request))
        return response

    @property
    def _asked(self) -> Provider:
        if self._provider is None:
            raise RuntimeError("there is no identity provider, and so no route that asks it")
        return self._provider

    def _welcome(self, request: Request, subject: Subject, proof: Proof, response: Response) -> Response:
        """A new session, whatever the browser had before."""
        self._sessions.end(one_cookie(request.headers, session_cookie(request)))
        id = self._sessions.open(subject.id, proof)
        _set(request, response, session_cookie(request), id, LIFE_SECONDS, strict=True)
        _forget(request, response, begun_cookie(request))
        _log.info("%s signed in by %s from %s", subject.id, proof.by, peer(request))
        return response

    async def _failed(self, request: Request, error: Unauthenticated) -> None:
        self._attempts.failed(address(request))
        self._observer.identity_failed(error.cause)
        try:
            await self._overview.refused(peer(request), "identity", f"{error.cause}: {error}")
        except ServiceError as failed:
            # The refusal stands all the same: a store that is down makes nobody known.
            _log.error("a refused identity could not be recorded: %s", failed)

    def _too_often(self, request: Request, onward: str) -> Response:
        told = "Too many attempts have failed. Please wait a minute."
        response = self._form(request, onward, told, HTTPStatus.TOO_MANY_REQUESTS)
        response.headers["Retry-After"] = "60"
        return response

    def _form(self, request: Request, onward: str, told: str = "", status: int = HTTPStatus.OK) -> Response:
        begun = self._begun(request) if request.method == "POST" or request.url.path == PATH else ""
        begun = begun or self._new()
        request.state.csrf = self._derived("form", begun)
        response = page(
            request,
            "sign_in.html",
            status=status,
            title="Sign in",
            told=told,
            onward=onward,
            provided=self._provider is not None,
        )
        self._keep(request, response, begun)
        return response

    def _new(self) -> str:
        return f"{self._now() // SECOND:x}.{self._random(32).hex()}"

    def _begun(self, request: Request) -> str:
        """What this browser began; "" for nothing, or too long ago. Its time is good where what it stands for is."""
        found = one_cookie(request.headers, begun_cookie(request))
        read = _BEGUN.fullmatch(found)
        if read is None or not 0 <= self._now() // SECOND - int(read[1], 16) < CROSSING_SECONDS:
            return ""
        return found

    def _keep(self, request: Request, response: Response, begun: str) -> None:
        _set(request, response, begun_cookie(request), begun, CROSSING_SECONDS, strict=False)

    def _derived(self, what: str, begun: str, more: str = "") -> str:
        return hmac.new(self._key, f"{what} {begun} {more}".encode(), sha256).hexdigest()

    def _crossing(self, begun: str, onward: str) -> Crossing:
        named = urlsafe_b64encode(onward.encode()).decode().rstrip("=")
        return Crossing(
            state=f"{self._derived('state', begun, onward)}.{named}",
            nonce=self._derived("nonce", begun),
            verifier=self._derived("verifier", begun),
        )

    def _cross(self, begun: str) -> None:
        """Use a way to the provider, once."""
        now, key = self._now(), sha256(begun.encode()).digest()
        if key in self._crossed:
            raise Unauthenticated(Cause.MISMATCH, "an answer that was used before")
        over = [each for each, since in self._crossed.items() if now - since >= CROSSING_SECONDS * SECOND]
        for each in [*over, *list(self._crossed)[: max(len(self._crossed) - len(over) - MAX_CROSSED + 1, 0)]]:
            self._crossed.pop(each, None)
        self._crossed[key] = now


UNREACHED = "The identity provider cannot be asked now. The desk's log says why."


def local(path: str) -> str:
    """A path of ours to go on to; "/" in the place of anything else."""
    inside = path.partition("?")[0]
    return path if _LOCAL.fullmatch(path) and not inside.startswith((PATH, OUT_PATH)) else "/"


def form(request: Request) -> dict[str, str]:
    """A form's fields; none that comes twice, and none at all where it cannot be read."""
    try:
        read = parse_qs(
            request.state.body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=MAX_FIELDS
        )
    except ValueError:
        return {}
    return {name: values[0] for name, values in read.items() if len(values) == 1}


def onward_page(request: Request, path: str) -> Response:
    """Has the browser ask for a page of ours by itself, so that its strict cookie comes along."""
    return page(request, "onward.html", title="One moment", onward=local(path))


def address(request: Request) -> str:
    """Where a request comes from; "" where that is unknown."""
    return request.client.host if request.client else ""


def peer(request: Request) -> str:
    """The same, as refusals are counted by."""
    host = address(request)
    return f"{'ipv6' if ':' in host else 'ipv4'}:{host[:64]}" if host else "unknown"


def session_cookie(request: Request) -> str:
    """The name of the session's cookie. With TLS its prefix keeps other hosts of the domain from setting it."""
    return "__Host-remit-session" if request.state.secure else "remit-session"


def begun_cookie(request: Request) -> str:
    """The name of the cookie that ties a sign-in to its browser."""
    return "__Host-remit-sign-in" if request.state.secure else "remit-sign-in"


def _set(request: Request, response: Response, name: str, value: str, seconds: int, *, strict: bool) -> None:
    # On the way back from the provider a strict cookie would stay behind.
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path="/",
        secure=request.state.secure,
        httponly=True,
        samesite="strict" if strict else "lax",
    )


def _forget(request: Request, response: Response, name: str) -> None:
    response.delete_cookie(name, path="/", secure=request.state.secure, httponly=True, samesite="strict")


def _onward(state: str) -> str:
    """The path in a state, which is believed once the state is."""
    named = state.partition(".")[2]
    try:
        return local(urlsafe_b64decode(named + "=" * (-len(named) % 4)).decode("ascii"))
    except ValueError:
        return "/"
