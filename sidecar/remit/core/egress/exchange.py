"""One HTTP request on its way out: as it came, and as what it was understood to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Headers = tuple[tuple[str, str], ...]


class Duplicate(Exception):
    """A header that must be there at most once is there twice."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the header {name} is there more than once")
        self.name = name


class Unmapped(Exception):
    """The request is none of those that its service's catalogue entry knows; `detail` says which part, for people."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Malformed(Unmapped):
    """The request's target or headers are not in their one form, so nobody can say what it is."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as it came, unbelieved. `headers` have lower-case names, in order, without pseudo-headers.

    `path` is the raw target below the service's prefix: it begins with "/" and has the query.
    """

    method: str
    scheme: str
    authority: str
    path: str
    headers: Headers = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The header's one value, None where it is absent. Raises Duplicate."""
        found = [value for each, value in self.headers if each == name]
        if len(found) > 1:
            raise Duplicate(name)
        return found[0] if found else None


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a request asks for, in the catalogue's words, and exactly what is to be sent for it.

    `usage` is the upper bound per unit; `arguments` what policy sees; `properties` what policy sees of the resource
    (`hosted`: the provider's own tools that it turns on); `format` names the reader of the response's usage, and
    `returns` where an http route's answer says it: JSON pointers by unit. `essence` is what of the body is the same in
    each try, empty where all of it is.
    """

    operation: str
    variant: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    usage: Mapping[str, int] = field(default_factory=dict)
    body: bytes = b""
    properties: Mapping[str, Any] = field(default_factory=dict)
    format: str = ""
    stream: bool = False
    returns: Mapping[str, str] = field(default_factory=dict)
    essence: bytes = b""
