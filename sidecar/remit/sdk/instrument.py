"""`remit.instrument()`: every httpx, httpx2 and requests client of this process carries the surroundings to the egress.

Opt-in, for agents whose libraries make their own clients. It wraps the method by which each library's own transport
sends, in all those that are installed, and takes it back with `undo`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from threading import Lock
from types import TracebackType
from typing import Any, Self

from remit.sdk.carriers import LIBRARIES, Carrier
from remit.sdk.errors import IllegalState

_LOCK = Lock()
_MARK = "__remit_carrier__"


class Instrumented:
    """What was wrapped; `with` ends by undoing it. `libraries` names them."""

    def __init__(self, originals: list[tuple[type, str, Any]], libraries: tuple[str, ...]) -> None:
        self._originals = originals
        self.libraries = libraries

    def undo(self) -> None:
        """Send as before. A second time does nothing."""
        with _LOCK:
            for owner, method, original in self._originals:
                setattr(owner, method, original)
            self._originals.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()


def instrument(*, egress: str | None = None) -> Instrumented:
    """Let the `Remit-*` headers of the surroundings go along with each request to the egress, and with no other.

    `egress` as in `httpx_client`. Clients that are there already are included; those with a transport written from
    scratch are not, and neither are other libraries: `remit.egress_headers()` is for them.
    Raises IllegalState where it is on already or there is nothing to wrap.
    """
    carrier = Carrier(egress)
    with _LOCK:
        found = [(name, import_module(name)) for name in (*LIBRARIES, "requests") if find_spec(name)]
        if not found:
            raise IllegalState("neither httpx2, httpx nor requests is installed")
        wrapped = [each for name, library in found for each in _methods(name, library)]
        if any(hasattr(getattr(owner, method), _MARK) for owner, method, _ in wrapped):
            raise IllegalState("remit.instrument() is on already; undo it first")
        originals = []
        for owner, method, wrapping in wrapped:
            original = getattr(owner, method)
            originals.append((owner, method, original))
            replacement = wrapping(original, carrier)
            setattr(replacement, _MARK, True)
            setattr(owner, method, replacement)
    return Instrumented(originals, tuple(name for name, _ in found))


Wrapping = Callable[[Any, Carrier], Any]


def _methods(name: str, library: Any) -> list[tuple[type, str, Wrapping]]:
    if name == "requests":
        return [(library.adapters.HTTPAdapter, "send", _session)]
    return [
        (library.HTTPTransport, "handle_request", _transport),
        (library.AsyncHTTPTransport, "handle_async_request", _async_transport),
    ]


# Each sends a copy: what a redirect takes over must not have the headers in it.


def _transport(original: Any, carrier: Carrier) -> Any:
    @wraps(original)
    def handle_request(self: Any, request: Any) -> Any:
        return original(self, _copied(request, carrier))

    return handle_request


def _async_transport(original: Any, carrier: Carrier) -> Any:
    @wraps(original)
    async def handle_async_request(self: Any, request: Any) -> Any:
        return await original(self, _copied(request, carrier))

    return handle_async_request


def _session(original: Any, carrier: Carrier) -> Any:
    @wraps(original)
    def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        sent = request.copy()
        carrier.carry(sent)
        response = original(self, sent, *args, **kwargs)
        response.request = request
        return response

    return send


def _copied(request: Any, carrier: Carrier) -> Any:
    sent = type(request)(
        request.method, request.url, headers=request.headers, stream=request.stream, extensions=request.extensions
    )
    carrier.carry(sent)
    return sent
