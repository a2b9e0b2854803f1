"""Refusals in the shape of the provider that was called, so that clients' own error handling works.

A refusal is 403 and not to be retried; what retrying can cure is 503, since nothing went upstream; 429 is Remit's own
load alone. Official clients retry 409, 429 and 503, and take 202 for success (measured). What waits for an approval is
403 as well: people take longer than any client's retries.
"""

from __future__ import annotations

from dataclasses import dataclass

from remit.core.answer import Answer
from remit.core.egress.exchange import Headers, HttpRequest
from remit.core.egress.mcp_message import McpRefused
from remit.core.egress.mcp_refusal import mcp_refused
from remit.core.egress.refusal import refused
from remit.core.egress.turning import NOTHING, Turned, turned
from remit.core.errors import Unauthenticated
from remit.core.evidence import Cause
from remit.core.reason import Reason

FORBIDDEN, UNAUTHENTICATED, TOO_LARGE, OVERLOADED, BAD_UPSTREAM, UNAVAILABLE = 403, 401, 413, 429, 502, 503

_GRPC_STATUS = 200


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP answer; `code` is the reason, for metrics."""

    code: str
    status: int
    headers: Headers
    body: bytes


def unproved(error: Unauthenticated) -> int:
    """The status for who proved no identity: where that is our own failure, retrying can cure it."""
    return UNAVAILABLE if error.cause == Cause.UNAVAILABLE else UNAUTHENTICATED


def of_answer(
    kind: str, request: HttpRequest, answer: Answer, fault: McpRefused | None = None, *, resumes: bool = False
) -> Refusal:
    """The refusal that a decision is; `fault` is what was wrong with an MCP message's form.

    With `resumes` an MCP client may try again at once where it is held: that is then kept open for a while.
    """
    status = UNAVAILABLE if answer.retryable else FORBIDDEN
    # Of what is not there, nothing else needs to be told.
    absent = [each for each in answer.reasons if each.code == Reason.UNKNOWN_RESOURCE]
    reasons = absent or answer.reasons
    code = reasons[0].code if reasons else Reason.DEFAULT_DENY.value
    on = NOTHING if absent else turned(answer)
    hint = f"Cheaper: {answer.cheaper}." if answer.cheaper else ""
    message = " ".join(each for each in ("; ".join(each.message for each in reasons), on.text(), hint) if each)
    return own(
        kind,
        request,
        status=status,
        code=code,
        message=message,
        decision=answer.id,
        fault=fault,
        on=on,
        resumes=resumes,
    )


def own(
    kind: str,
    request: HttpRequest,
    *,
    status: int,
    code: str,
    message: str,
    decision: str = "",
    fault: McpRefused | None = None,
    on: Turned = NOTHING,
    resumes: bool = False,
) -> Refusal:
    """A refusal of Remit's: its message names the reason and, where there is one, the decision."""
    told = f"Remit: {code}: {message}" + (f" [{decision}]" if decision else "")
    if kind == "mcp":
        found = mcp_refused(
            request,
            status=status,
            code=code,
            message=told,
            decision=decision,
            retry=status in (OVERLOADED, UNAVAILABLE),
            fault=fault,
            turned=on,
            resumes=resumes,
        )
        return Refusal(code, found.status, found.headers, found.body)
    headers, body = refused(kind, status=status, code=code, message=told, decision=decision, turned=on)
    # gRPC has a status of its own among the headers: its clients take any other HTTP status for a broken proxy.
    return Refusal(code, _GRPC_STATUS if kind == "grpc" else status, headers, body)
