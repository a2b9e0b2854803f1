"""From gRPC's errors to Remit's."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from grpc.aio import AioRpcError

from remit.sdk.errors import IllegalState, InvalidRequest, RemitError, Unauthenticated, Unavailable, Violation

_DETAILS = "grpc-status-details-bin"
_IDENTITY = frozenset({StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED})
_ILLEGAL = frozenset({StatusCode.FAILED_PRECONDITION, StatusCode.NOT_FOUND, StatusCode.ALREADY_EXISTS})


def failure(error: AioRpcError, rpc: str) -> RemitError:
    """The error to raise. What is not known to be the caller's is Unavailable: no answer, no permission."""
    code, text = error.code(), f"{rpc}: {error.details() or 'no details'}"
    if code in _IDENTITY:
        return Unauthenticated(text)
    if code is StatusCode.INVALID_ARGUMENT:
        return InvalidRequest(*(_violations(error) or (Violation(rpc, error.details() or "a valid request"),)))
    if code in _ILLEGAL:
        return IllegalState(text)
    return Unavailable(f"{text} ({code.name})")


def _violations(error: AioRpcError) -> tuple[Violation, ...]:
    """The fields that the server names (google.rpc.BadRequest), none where it names none."""
    for key, value in error.trailing_metadata():
        if key == _DETAILS and isinstance(value, bytes):
            return _bad_fields(value)
    return ()


def _bad_fields(raw: bytes) -> tuple[Violation, ...]:
    bad = error_details_pb2.BadRequest()
    try:
        for detail in status_pb2.Status.FromString(raw).details:
            if detail.Unpack(bad):
                return tuple(Violation(each.field, each.description) for each in bad.field_violations)
    except DecodeError:
        pass  # the status' own text is told instead
    return ()
