"""What the HTTP adapters share: which service a request is for, what it will use, what its response says it used.

One effect has one decision: requests to Remit's own egress are decided there, so they only get the headers that name
their surroundings; all others are authorised here. A request to no declared service is refused before it is sent.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from remit.sdk.action import Action
from remit.sdk.address import is_loopback
from remit.sdk.errors import InvalidRequest, Violation
from remit.sdk.question import Ask

EGRESS = "http://127.0.0.1:7452"
"""Where the sidecar's egress listens unless told otherwise."""

_LOG = logging.getLogger("remit")
_PORTS = {"http": 80, "https": 443}
# Providers' names for the priced units.
_UNITS = {
    "prompt_tokens": "input_token",
    "input_tokens": "input_token",
    "completion_tokens": "output_token",
    "output_tokens": "output_token",
}

Json = Mapping[str, Any]


def path_as_operation(method: str, path: str) -> str:
    """The operation of a request: its path below the service's base URL, e.g. "chat/completions"."""
    return path.strip("/")


def usage_of(body: Json) -> dict[str, int]:
    """The usage that a response in the style of OpenAI or Anthropic states, as priced units."""
    usage = body.get("usage")
    if not isinstance(usage, Mapping):
        return {}
    counts = ((unit, usage.get(name)) for name, unit in _UNITS.items())
    return {unit: count for unit, count in counts if isinstance(count, int) and count >= 0}


def no_estimate(body: Json) -> dict[str, int]:
    """States no usage: the catalogue's maxima are set aside."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service of the catalogue and where it is reached.

    `operation` names a request's operation from method and path below `base`; `estimate` the most that it will use,
    from its JSON body; `used` reads the real usage from the response's JSON body.
    """

    name: str
    base: str
    operation: Callable[[str, str], str] = path_as_operation
    estimate: Callable[[Json], Mapping[str, int]] = no_estimate
    used: Callable[[Json], Mapping[str, int]] = usage_of


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask about one request."""

    service: Service
    ask: Ask

    @property
    def resource(self) -> str:
        """The service as a resource."""
        return f"service:{self.service.name}"


class Services:
    """Finds the service of a request by its URL; the longest base wins."""

    def __init__(self, services: Sequence[Service], *, egress: str = EGRESS) -> None:
        ordered = sorted(services, key=lambda each: len(each.base), reverse=True)
        self._services = [(_base(service.base), service) for service in ordered]
        self._egress = _base(egress)

    def is_egress(self, url: str) -> bool:
        """Whether Remit's own egress decides about it."""
        return _below(self._egress, urlsplit(url)) is not None

    def takes_to_egress(self, url: str) -> bool:
        """The same, without complaint: a URL that nobody can follow leads nowhere."""
        try:
            return self.is_egress(url)
        except (InvalidRequest, ValueError):
            return False

    @property
    def egress_is_private(self) -> bool:
        """Whether what goes to the egress crosses no network in clear."""
        return self._egress.scheme == "https" or is_loopback(self._egress.hostname or "")

    def question(self, method: str, url: str, body: bytes | None) -> Question:
        """What to ask; `body` is the request's JSON text, None where it has none. Raises InvalidRequest."""
        parts = urlsplit(url)
        for base, service in self._services:
            path = _below(base, parts)
            if path is not None:
                return _question(service, method, path, body)
        raise InvalidRequest(Violation("url", f"a URL below a declared service's base, not {_shown(parts)}"))


def is_json(content_type: str | None) -> bool:
    """Whether a Content-Type header names JSON."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def json_object(text: bytes) -> Json:
    """The JSON object, {} for an empty text or another JSON value; ValueError where it is not JSON."""
    try:
        value = json.loads(text) if text else {}
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    return value if isinstance(value, dict) else {}


def tell_used(act: Action, used: Callable[[Any], Mapping[str, int]], answer: object) -> None:
    """Take the usage from an answer. What was paid for is not lost because its usage cannot be read: the mistake is
    logged, and the usage counts as estimated."""
    try:
        act.used(**used(answer))
    except Exception:
        _LOG.exception("the usage of decision %s cannot be read; it counts as estimated", act.decision.id)


def account(act: Action, *, code: int, content: bytes | None, service: Service) -> None:
    """Take outcome and usage from a response; `content` is its JSON text, None where it has none or too much."""
    if code >= 400:
        act.failed(f"HTTP {code}")
    try:
        body = json_object(content or b"")
    except ValueError:
        return  # cut short, or not the JSON that it says it is: counts as estimated
    tell_used(act, service.used, body)


def _question(service: Service, method: str, path: str, body: bytes | None) -> Question:
    try:
        content = json_object(body or b"")
    except ValueError as error:
        raise InvalidRequest(Violation("body", f"JSON, as its content type says ({error})")) from error
    model = content.get("model")
    return Question(
        service,
        Ask(
            operation=service.operation(method, path),
            variant=model if isinstance(model, str) else "",
            usage=service.estimate(content),
        ),
    )


def _base(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise InvalidRequest(Violation("base", f"an http or https URL, not {url[:128]!r}"))
    return parts


def _below(base: SplitResult, url: SplitResult) -> str | None:
    """The path below the base, None where the URL is not below it."""
    if _origin(base) != _origin(url):
        return None
    stem, path = base.path.rstrip("/"), url.path
    if path != stem and not path.startswith(f"{stem}/"):
        return None
    if {".", ".."} & set(unquote(path).replace("\\", "/").split("/")):
        raise InvalidRequest(Violation("url", "a path without . and .. segments"))
    return path[len(stem) :]


def _origin(url: SplitResult) -> tuple[str, str, int]:
    try:
        port = url.port
    except ValueError as error:
        raise InvalidRequest(Violation("url", "a port from 0 to 65535")) from error
    return url.scheme, url.hostname or "", port or _PORTS.get(url.scheme, 0)


def _shown(url: SplitResult) -> str:
    # Without userinfo and query: both carry credentials.
    return f"{url.scheme}://{url.hostname}{url.path}"[:128]
