"""What surrounds a call without being passed along: workflow, purpose, reason, parent, actor, claims and the agent.

One context variable holds all of it, so it follows `await`, new tasks and `asyncio.to_thread`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TypedDict, Unpack
from urllib.parse import quote

from remit.sdk import baggage
from remit.sdk.errors import InvalidRequest, Violation

MAX_REASON_BYTES = 512
_NAME = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
_CONTEXT = re.compile(r"[A-Za-z0-9_.-]{1,1024}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Ambient:
    """The surroundings; "" for what is not there. `agent` is the connected agent, if any; `claims` are those on whole
    resources, each (workflow, thing, fencing token)."""

    workflow: str = ""
    purpose: str = ""
    reason: str = ""
    parent: str = ""
    actor: str = ""
    agent: object = None
    claims: tuple[tuple[str, str, int], ...] = ()


class Changes(TypedDict, total=False):
    """Fields of Ambient to replace."""

    workflow: str
    purpose: str
    reason: str
    parent: str
    actor: str
    agent: object
    claims: tuple[tuple[str, str, int], ...]


_NOTHING = Ambient()
_CURRENT: ContextVar[Ambient] = ContextVar("remit", default=_NOTHING)


def current() -> Ambient:
    """The surroundings of the running code."""
    return _CURRENT.get()


@contextmanager
def scope(**changes: Unpack[Changes]) -> Iterator[None]:
    """Replace some of the surroundings until the end of the block."""
    previous = current()
    _enter(replace(previous, **changes))
    try:
        yield
    finally:
        # Not ContextVar.reset: an `async with` may be left in another context than it was entered in.
        _enter(previous)


def _enter(ambient: Ambient) -> None:
    _CURRENT.set(ambient)
    baggage.carry({"workflow": ambient.workflow, "purpose": ambient.purpose, "actor": ambient.actor})


def checked(**fields: str | None) -> None:
    """Refuse what neither the sidecar nor an HTTP header accepts: `context`, `purpose`, `actor`, `reason`."""
    for field, value in fields.items():
        if value and (expected := _expected(field, value)):
            raise InvalidRequest(Violation(field, expected))


def _expected(field: str, value: str) -> str:
    """What was expected instead; "" where the value is as it must be."""
    if field == "reason":
        fits = len(value.encode(errors="surrogatepass")) <= MAX_REASON_BYTES and _encodable(value)
        return "" if fits else f"Unicode text of at most {MAX_REASON_BYTES} bytes"
    if field == "context":
        return "" if _CONTEXT.fullmatch(value) else "a signed workflow context"
    return "" if _NAME.fullmatch(value) else "1 to 64 of a-z, 0-9 and -"


def _encodable(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def token_of(claims: tuple[tuple[str, str, int], ...], workflow: str, resource: str) -> int:
    """The token of the claim on all of a resource ("type:id") that is held in a workflow; 0 for none."""
    for held_in, thing, token in reversed(claims):
        if held_in == workflow and _listed(thing) == _listed(resource):
            return token
    return 0


def _listed(resource: str) -> str:
    """A tool is listed among the services."""
    return f"service:{resource.removeprefix('tool:')}" if resource.startswith("tool:") else resource


def trace_id() -> str:
    """The current OpenTelemetry trace id (32 hex digits), "" where there is none.

    The library is never imported for it: where nobody else has loaded it, there is no trace.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ""
    span = trace.get_current_span().get_span_context()
    return format(span.trace_id, "032x") if span.is_valid else ""


def egress_headers() -> dict[str, str]:
    """The surroundings as request headers for Remit's egress; only towards it, never to anyone else."""
    now = current()
    headers = {
        "Remit-Workflow": now.workflow,
        "Remit-Purpose": now.purpose,
        "Remit-Reason": quote(now.reason, safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~").replace(" ", "%20"),
        "Remit-Parent": now.parent,
        "Remit-Actor": now.actor,
    }
    return {name: value for name, value in headers.items() if value}
