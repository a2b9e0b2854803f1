"""AuthZEN Authorization API 1.0 on the sidecar's HTTP port: one question, several, and where to ask them.

Each evaluation is a decision like gRPC's Authorize makes it: judged, journalled, its cost set aside. Who asks is proved
by `Authorization: Bearer`, before the body is looked at; the subject that a body names must be that one, and is never
believed. Evaluations are decided one after the other, in their order: what one brings into the session holds for the
next. The work goes on in a task of its own: a decision that was begun is made, whoever still waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from time import perf_counter
from typing import Any, TypeVar

from remit.core.authzen import (
    CONFIGURATION,
    EVALUATION,
    EVALUATIONS,
    Boxcar,
    Evaluation,
    read_evaluation,
    read_evaluations,
    write_answer,
    write_configuration,
    write_error,
)
from remit.core.call import Call
from remit.core.canonical import MAX_DEPTH, MalformedJson, encode, parse
from remit.core.errors import BadRequest, CallerError, Forbidden, ServiceError, Unauthenticated, Violation
from remit.core.evidence import Cause, Evidence
from remit.core.model import Subject
from remit.listeners import authzen_read
from remit.listeners.grpc_limits import Places
from remit.listeners.grpc_peer import AUTHORIZATION, credential, is_near
from remit.listeners.grpc_status import Overloaded
from remit.listeners.ops import Asked, Told
from remit.listeners.pipeline import Identities, Observer, Pipeline
from remit.listeners.refusal_counts import RefusalCounts
from remit.listeners.working import Working

MAX_BODY_BYTES = 512 * 1024
MAX_AT_ONCE, MAX_PER_CALLER = 32, 16
"""Requests at once: half of the connections, so that probes and scrapes find some."""

SECONDS = 10.0
"""After which no further evaluation of a request is begun."""

REQUEST_ID = "x-request-id"
JSON = "application/json"
_REQUEST_ID = re.compile(r"[ -~]{0,256}", re.ASCII)
_ORIGIN = re.compile(r"https?://([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?", re.ASCII)
_CHARSET = re.compile(r"\s*charset\s*=\s*\"?utf-8\"?\s*", re.ASCII | re.IGNORECASE)
_MAX_MESSAGE = 1000
_UNEXPECTED = "an error of the sidecar's own; its log tells more"

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Authzen:
    """Answers at `paths`. `base` is the URL that it is known by, "" for whatever a request names it by."""

    def __init__(
        self,
        pipeline: Pipeline,
        identities: Identities,
        observer: Observer,
        *,
        base: str = "",
        seconds: float = SECONDS,
    ) -> None:
        self._pipeline = pipeline
        self._identities = identities
        self._observer = observer
        self._base = base.rstrip("/")
        self._seconds = seconds
        self._places = Places(MAX_AT_ONCE, MAX_PER_CALLER, "requests")
        self._working = Working()
        self._counts = RefusalCounts(pipeline, observer)

    @property
    def paths(self) -> Collection[str]:
        """All there are."""
        return (EVALUATION, EVALUATIONS, CONFIGURATION)

    async def answer(self, asked: Asked) -> Told:
        """The answer to one request, under the id that it came with (10.1.3)."""
        named = asked.all(REQUEST_ID)
        if len(named) > 1 or not all(map(_REQUEST_ID.fullmatch, named)):
            return _error(400, "X-Request-ID: expected one, of at most 256 printable characters")
        told = await self._answer(asked)
        return replace(told, headers={**told.headers, "X-Request-ID": named[0]}) if named else told

    async def finish(self, grace: float) -> None:
        """Wait until all work is done, at most `grace` seconds."""
        await self._working.finish(grace)

    async def _answer(self, asked: Asked) -> Told:
        allowed = "GET" if asked.path == CONFIGURATION else "POST"
        if asked.method != allowed:
            return _error(405, f"{allowed} alone", {"Allow": allowed})
        if asked.path == CONFIGURATION:
            return self._configuration(asked)
        caller = asked.peer
        try:
            subject = await self._identify(asked)
            caller = _name(subject)
            self._places.take(caller)
            try:
                return await asyncio.shield(self._working.begin(self._decide(subject, asked, await _body(asked))))
            finally:
                self._places.give_back(caller)
        except _Wrong as wrong:
            return wrong.told
        except Exception as error:
            return await asyncio.shield(self._working.begin(self._refuse(caller, error)))

    def _configuration(self, asked: Asked) -> Told:
        base = self._base or asked.origin
        if not self._base and not _ORIGIN.fullmatch(base):
            return _error(400, "Host: expected a host and a port")
        return _json(write_configuration(base))

    async def _identify(self, asked: Asked) -> Subject:
        started = perf_counter()
        token = credential((AUTHORIZATION, each) for each in asked.all(AUTHORIZATION))
        subject = await self._identities.identify(Evidence(token, None, asked.peer, is_near(asked.peer)))
        self._observer.stage("identify", perf_counter() - started)
        return subject

    async def _decide(self, subject: Subject, asked: Asked, body: Any) -> Told:
        read = read_evaluation(body) if asked.path == EVALUATION else read_evaluations(body)
        if isinstance(read, Evaluation):
            _believed(subject, [read])
            return _json(await self._one(subject, authzen_read.call(read)))
        _believed(subject, (each for each in read.evaluations if isinstance(each, Evaluation)))
        return _json({"evaluations": await self._several(subject, read, asked)})

    async def _several(self, subject: Subject, boxcar: Boxcar, asked: Asked) -> list[dict[str, Any]]:
        """Up to the one that ends them, and while somebody waits: what nobody hears of would be charged as well."""
        calls = [_read(each) for each in boxcar.evaluations]
        _check_keys(calls)
        late = asyncio.get_running_loop().time() + self._seconds
        told: list[dict[str, Any]] = []
        for call in calls:
            if asyncio.get_running_loop().time() > late:
                told.append(write_error(503, f"not evaluated: {self._seconds:g} seconds were over"))
            else:
                told.append(await self._item(subject, call))
            if boxcar.semantic.ends(decision=told[-1]["decision"]) or await asked.gone():
                break
        return told

    async def _item(self, subject: Subject, call: Call | BadRequest) -> dict[str, Any]:
        """One of several: where it fails, the others keep their answers."""
        try:
            if isinstance(call, BadRequest):
                raise call
            return await self._one(subject, call)
        except Exception as error:
            await self._count(_name(subject), error)
            return write_error(*_status(error))

    async def _one(self, subject: Subject, call: Call) -> dict[str, Any]:
        return write_answer(await self._pipeline.authorize(subject, call), self._pipeline.currency)

    async def _refuse(self, peer: str, error: Exception) -> Told:
        await self._count(peer, error)
        status, message = _status(error)
        more = {401: {"WWW-Authenticate": 'Bearer realm="remit"'}, 429: _AGAIN, 503: _AGAIN}
        return _error(status, message, more.get(status))

    async def _count(self, peer: str, error: Exception) -> None:
        """Refused identities and malformed requests are counted into the journal, as gRPC's are."""
        if isinstance(error, ServiceError):
            _log.error("an evaluation ended without a decision: %s", error)
        elif not isinstance(error, CallerError | Overloaded):
            _log.error("an evaluation failed", exc_info=error)
        await self._counts.count(peer, error)


class _Wrong(Exception):
    """A request that is answered before there is a question in it."""

    def __init__(self, told: Told) -> None:
        super().__init__(told.status)
        self.told = told


async def _body(asked: Asked) -> Any:
    """The JSON value that was sent. Raises _Wrong, and BadRequest where it is none."""
    encodings = [each for each in asked.all("content-encoding") if each.strip().lower() != "identity"]
    if encodings:
        raise _Wrong(_error(415, "Content-Encoding: expected none", {"Accept-Encoding": "identity"}))
    types = asked.all("content-type")
    if len(types) != 1 or not _is_json(types[0]):
        raise BadRequest(Violation("Content-Type", JSON))
    raw = await asked.body(MAX_BODY_BYTES)
    if raw is None:
        raise _Wrong(_error(413, f"expected a body of at most {MAX_BODY_BYTES} bytes"))
    try:
        return parse(raw, MAX_BODY_BYTES, MAX_DEPTH)
    except MalformedJson as error:
        raise BadRequest(Violation("message", f"one JSON object; at {error.where}: {error.expected}")) from None


def _is_json(content_type: str) -> bool:
    kind, semicolon, parameter = content_type.partition(";")
    return kind.strip().lower() == JSON and (not semicolon or _CHARSET.fullmatch(parameter) is not None)


def _believed(subject: Subject, evaluations: Iterable[Evaluation]) -> None:
    """Refuse a request that speaks for somebody else, before anything of it is decided."""
    for each in evaluations:
        said = each.subject
        if (said.type, said.id) != (subject.type, subject.id):
            claimed = f"{said.type[:64]} {said.id[:128]}"
            raise Unauthenticated(Cause.MISMATCH, f"{_name(subject)} was proved, and {claimed!r} is claimed")


def _read(read: Evaluation | BadRequest) -> Call | BadRequest:
    if isinstance(read, BadRequest):
        return read
    try:
        return authzen_read.call(read)
    except BadRequest as wrong:
        return wrong


def _check_keys(calls: Iterable[Call | BadRequest]) -> None:
    """A key that several have, from a context that all inherit, would answer all but one as another's request."""
    keys = [each.key for each in calls if isinstance(each, Call) and each.key]
    if len(keys) != len(set(keys)):
        raise BadRequest(Violation("evaluations", "for each a context.key of its own, or none"))


def _status(error: Exception) -> tuple[int, str]:
    """The status and what is said of an error. What went wrong inside is not told."""
    match error:
        case Unauthenticated(cause=Cause.UNAVAILABLE):
            return 503, str(error)[:_MAX_MESSAGE]
        case Unauthenticated():
            return 403 if error.cause == Cause.MISMATCH else 401, str(error)[:_MAX_MESSAGE]
        case Forbidden():
            return 403, str(error)[:_MAX_MESSAGE]
        case CallerError():
            return 400, str(error)[:_MAX_MESSAGE]
        case Overloaded():
            return 429, str(error)
        case ServiceError():
            return 503, f"{error.reason}: ask again"
    return 500, _UNEXPECTED


def _name(subject: Subject) -> str:
    return f"{subject.type}:{subject.id}"


_AGAIN = {"Retry-After": "1"}


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Told:
    """The message as such, as the specification has it (10.1.2)."""
    plain = {"Content-Type": "text/plain; charset=utf-8"}
    return Told(status, message.encode("utf-8", "backslashreplace") + b"\n", {**plain, **(headers or {})})


def _json(value: object) -> Told:
    return Told(200, encode(value), {"Content-Type": JSON})
