"""From errors to gRPC statuses, each with google.rpc details that a program can read.

A status means that nothing could be recorded as a decision. What went wrong inside is not told.
"""

from __future__ import annotations

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from grpc_status import rpc_status

from remit.core.errors import (
    BadRequest,
    BadToken,
    CallerError,
    Forbidden,
    IllegalTransition,
    NotFound,
    RemitError,
    ServiceError,
    Unauthenticated,
)
from remit.core.evidence import Cause

DOMAIN = "remit"
MAX_VIOLATIONS = 16
"""Violations told at once: a status travels in trailers, which clients bound at 8 KiB."""

RETRY_SECONDS = 1
_MAX_MESSAGE = 1000


class Overloaded(RemitError):
    """More calls at once than are served; nothing was done, and retrying may help."""


class TooSlow(RemitError):
    """A deadline of ours has passed. The request may not have arrived, or its decision be recorded later."""


class Stopping(RemitError):
    """The sidecar ends while a call waits. Nothing is lost: whoever asks again with the same key goes on waiting."""


class WatchAgain(RemitError):
    """A watch was long enough; whoever watches on asks again, at once."""


class AnswerTooLarge(RemitError):
    """The answer is larger than a message may be."""


_CODES: dict[type[RemitError], tuple[StatusCode, str]] = {
    Unauthenticated: (StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
    BadRequest: (StatusCode.INVALID_ARGUMENT, "BAD_REQUEST"),
    BadToken: (StatusCode.INVALID_ARGUMENT, "BAD_TOKEN"),
    NotFound: (StatusCode.NOT_FOUND, "NOT_FOUND"),
    Forbidden: (StatusCode.PERMISSION_DENIED, "FORBIDDEN"),
    IllegalTransition: (StatusCode.FAILED_PRECONDITION, "ILLEGAL_TRANSITION"),
    CallerError: (StatusCode.INVALID_ARGUMENT, "CALLER_ERROR"),
    Overloaded: (StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
    TooSlow: (StatusCode.DEADLINE_EXCEEDED, "TOO_SLOW"),
    Stopping: (StatusCode.UNAVAILABLE, "STOPPING"),
    WatchAgain: (StatusCode.UNAVAILABLE, "WATCH_AGAIN"),
    AnswerTooLarge: (StatusCode.RESOURCE_EXHAUSTED, "ANSWER_TOO_LARGE"),
}


def status_of(error: Exception) -> grpc.Status:
    """The status of an error; one that nobody expected is INTERNAL, with a text that tells nothing."""
    if isinstance(error, ServiceError):
        # Its detail is for the operator's log: it may name files and hosts.
        return _status(StatusCode.UNAVAILABLE, f"{error.reason}: ask again", error.reason.name, _retry())
    if isinstance(error, Unauthenticated) and error.cause == Cause.UNAVAILABLE:
        return _status(StatusCode.UNAVAILABLE, str(error), "IDENTITY_UNAVAILABLE", _retry())
    for kind, (code, reason) in _CODES.items():
        if isinstance(error, kind):
            return _status(code, str(error), reason, *_details(error))
    return _status(StatusCode.INTERNAL, "an error of the sidecar's own; its log tells more", "INTERNAL")


def _details(error: Exception) -> tuple[Message, ...]:
    if isinstance(error, BadRequest):
        return (_violations(error),)
    if isinstance(error, WatchAgain):
        return (_retry(0),)
    return (_retry(),) if isinstance(error, Overloaded | Stopping) else ()


def _violations(error: BadRequest) -> error_details_pb2.BadRequest:
    told = error_details_pb2.BadRequest()
    for each in error.violations[:MAX_VIOLATIONS]:
        told.field_violations.add(field=each.field, description=each.expected)
    return told


def _retry(seconds: int = RETRY_SECONDS) -> error_details_pb2.RetryInfo:
    told = error_details_pb2.RetryInfo()
    told.retry_delay.FromSeconds(seconds)
    return told


def _status(code: StatusCode, text: str, reason: str, *details: Message) -> grpc.Status:
    status = Status(code=code.value[0], message=text[:_MAX_MESSAGE])
    for detail in (error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN), *details):
        status.details.add().Pack(detail)
    found: grpc.Status = rpc_status.to_status(status)
    return found
