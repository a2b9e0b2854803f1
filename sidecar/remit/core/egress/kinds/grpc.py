"""gRPC: /package.Service/Method is the operation package.Service/Method; its messages are not read."""

from __future__ import annotations

import re

from remit.core.egress.exchange import Mapped, Unmapped
from remit.core.egress.kinds.call import Call

_SERVICE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)
_METHOD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_CONTENT = re.compile(r"application/grpc(\+proto)?", re.ASCII)
_LONGEST = 128


def map_grpc(call: Call) -> Mapped | None:
    """The call by its path; None for a path that is none. Only operations that the service lists are let through."""
    if len(call.segments) != 2 or "?" in call.request.path:
        return None
    service, method = call.segments
    if not _SERVICE.fullmatch(service) or not _METHOD.fullmatch(method):
        return None
    if call.request.method != "POST" or not _CONTENT.fullmatch(call.header("content-type") or ""):
        raise Unmapped("it is no gRPC call: a POST of application/grpc")
    operation = f"{service}/{method}"
    if len(operation) > _LONGEST or operation not in call.service.operations:
        raise Unmapped(f"the service does not list the operation {operation[:_LONGEST]!r}")
    return Mapped(operation=operation, body=call.request.body, format="", stream=True)
