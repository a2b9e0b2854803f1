"""Carries the surroundings to Remit's egress as `Remit-*` headers, and to nobody else.

    client = openai.AsyncOpenAI(http_client=remit.async_httpx_client())   # or, for every client there is:
    remit.instrument()

The egress decides; nothing is asked or reported from here. What goes elsewhere loses such headers, redirects included:
the signed workflow context is no third party's business.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from remit.sdk.address import LOOPBACK, find_target
from remit.sdk.ambient import egress_headers
from remit.sdk.errors import IllegalState
from remit.sdk.http import EGRESS, Services

LIBRARIES = ("httpx2", "httpx")
"""What official clients send with, the newer ones with the first; both have the same interface."""

_OURS = "remit-"


def httpx_client(*, egress: str | None = None, library: ModuleType | None = None, **options: Any) -> Any:
    """An `httpx2.Client` where that is installed, else an `httpx.Client`; `library` chooses. `options` are its own.

    Requests to the egress (`egress`, else REMIT_EGRESS, else http://127.0.0.1:7452) also get the agent's credential
    (REMIT_TOKEN, REMIT_TOKEN_FILE), so that services without a client library of their own can be called.
    Raises IllegalState where neither is installed, InvalidRequest for an egress that is no URL.
    """
    towards = Carrier(egress, credential=True)
    return (library or _library()).Client(**_hooked(options, towards.carry))


def async_httpx_client(*, egress: str | None = None, library: ModuleType | None = None, **options: Any) -> Any:
    """The same with `await`: an `AsyncClient`."""
    towards = Carrier(egress, credential=True)

    async def carry(request: Any) -> None:
        towards.carry(request)

    return (library or _library()).AsyncClient(**_hooked(options, carry))


class Carrier:
    """Puts the headers on what goes to the egress, and takes them off what goes elsewhere."""

    def __init__(
        self, egress: str | None = None, *, credential: bool = False, environment: Mapping[str, str] = os.environ
    ) -> None:
        self._services = Services([], egress=egress or environment.get("REMIT_EGRESS") or EGRESS)
        private = credential and self._services.egress_is_private
        found = find_target(LOOPBACK, None, tls=None, environment=environment).credential if credential else None
        self._credential = found if private else None

    def carry(self, request: Any) -> None:
        """For a request with `url` and `headers`; a header that its sender has set stays."""
        self.apply(str(request.url), request.headers)

    def apply(self, url: str, headers: MutableMapping[str, str]) -> None:
        """The same for headers alone."""
        if self._services.takes_to_egress(url):
            token = self._credential.now() if self._credential is not None else ""
            for name, value in {**({"Remit-Token": token} if token else {}), **egress_headers()}.items():
                headers.setdefault(name, value)
        else:
            for name in [name for name in headers if name.lower().startswith(_OURS)]:
                del headers[name]


def _hooked(options: dict[str, Any], carry: Any) -> dict[str, Any]:
    # A hook, not a transport: it sees every redirect, and leaves proxies and the client's own transport as they are.
    hooks = options.pop("event_hooks", {})
    return {**options, "event_hooks": {**hooks, "request": [*hooks.get("request", []), carry]}}


def _library() -> ModuleType:
    for name in LIBRARIES:
        if find_spec(name):
            return import_module(name)
    raise IllegalState("neither httpx2 nor httpx is installed")
