"""Any HTTP API, by the routes that its catalogue entry names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from remit.core.canonical import encode_exact
from remit.core.catalogue import Route
from remit.core.egress.exchange import Mapped, Unmapped
from remit.core.egress.kinds.call import MAX_ARGUMENT_BYTES, Call, as_text, at_pointer
from remit.core.egress.kinds.fields import MODEL, json_body
from remit.core.egress.target import decoded, query_values
from remit.core.price import MAX_QUANTITY

_SLOT = re.compile(r"\{([a-z_][a-z0-9_]*)\}", re.ASCII)
_WHOLE = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_MISSING = object()


def map_http(call: Call) -> Mapped | None:
    """The request as the route says that fits it most literally (of two alike, the first); None where none does."""
    fitting = [
        (_literals(route), -place, route, slots)
        for place, route in enumerate(call.service.routes)
        if call.request.method in route.methods and (slots := _fit(route.path, call.segments)) is not None
    ]
    if not fitting:
        return None
    _, _, route, slots = max(fitting, key=lambda each: each[:2])
    return _mapped(call, route, _Sources(call, slots))


def _mapped(call: Call, route: Route, sources: _Sources) -> Mapped:
    arguments = {
        name: value for name, source in route.arguments.items() if (value := sources.scalar(source)) is not _MISSING
    }
    if len(encode_exact(arguments)) > MAX_ARGUMENT_BYTES:
        raise Unmapped(f"what policy would have to see of the request is more than {MAX_ARGUMENT_BYTES} bytes")
    return Mapped(
        operation=route.operation,
        variant=_variant(call, sources.name(route.variant) if route.variant else "", sources),
        arguments=arguments,
        usage={unit: sources.quantity(source, unit) for unit, source in route.usage.items()},
        body=call.request.body,
        format="http",
        returns=route.returns,
    )


def _variant(call: Call, model: str, sources: _Sources) -> str:
    """The listed variant of this model whose `select` fits, the one with most terms first; else the model's name."""
    listed = call.service.variants
    fitting = [
        (len(each.select), name)
        for name, each in listed.items()
        if model
        and (each.model or name) == model
        and all(sources.text(at) in values for at, values in each.select.items())
    ]
    if fitting:
        most = max(terms for terms, _ in fitting)
        return next(name for terms, name in fitting if terms == most)
    if model in listed:
        raise Unmapped(f"the variant {model!r} with these values is none of the service's variants")
    return model


class _Sources:
    """Values by where they stand: path:NAME, query:NAME, or a JSON pointer into the body."""

    def __init__(self, call: Call, slots: Mapping[str, str]) -> None:
        self._call = call
        self._slots = slots
        self._query: Mapping[str, str] | None = None
        self._body: Any = _MISSING

    def value(self, source: str) -> Any:
        """What stands there; _MISSING where nothing does."""
        kind, _, name = source.partition(":")
        if source.startswith("/"):
            if self._body is _MISSING:
                self._body = json_body(self._call.request, self._call.service.body_bytes)
            found = at_pointer(self._body, source)
            return _MISSING if found is None else found
        if kind == "path":
            return decoded(self._slots[name]) if name in self._slots else _MISSING
        if self._query is None:
            self._query = query_values(self._call.request.path)
        return self._query.get(name, _MISSING)

    def scalar(self, source: str) -> Any:
        """A text, a number or a truth value; _MISSING where nothing stands. Raises Unmapped for anything else."""
        value = self.value(source)
        if value is not _MISSING and not isinstance(value, str | int | bool | Decimal):
            raise Unmapped(f"{source} is not text, a number, true or false")
        return value

    def text(self, source: str) -> str | None:
        """A scalar as the catalogue writes it."""
        value = self.value(source)
        return None if value is _MISSING else as_text(value)

    def name(self, source: str) -> str:
        """A variant's name. Raises Unmapped."""
        value = self.text(source)
        if value is None or not MODEL.fullmatch(value):
            raise Unmapped(f"{source} is no name of a variant")
        return value

    def quantity(self, source: str, unit: str) -> int:
        """A whole number. Raises Unmapped."""
        value = self.value(source)
        # In a path or a query everything is text; in JSON a number is one.
        if isinstance(value, str) and not source.startswith("/") and _WHOLE.fullmatch(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_QUANTITY:
            raise Unmapped(f"{source}, which says how many of {unit}, is no whole number from 0 to {MAX_QUANTITY}")
        return value


def _literals(route: Route) -> tuple[int, ...]:
    """Orders templates of one length: literal segments first, from the left; then more literal characters."""
    parts = route.path.split("/")[1:]
    return (*(0 if _SLOT.search(each) else 1 for each in parts), len(_SLOT.sub("", route.path)))


def _fit(template: str, segments: tuple[str, ...]) -> dict[str, str] | None:
    parts = template.split("/")[1:]
    if len(parts) != len(segments):
        return None
    slots: dict[str, str] = {}
    for part, segment in zip(parts, segments, strict=True):
        found = re.fullmatch(_pattern(part), segment, re.ASCII)
        if found is None:
            return None
        slots |= found.groupdict()
    return slots


def _pattern(part: str) -> str:
    """A segment of a template as a pattern: a slot is one character or more."""
    pieces = _SLOT.split(part)
    return "".join(f"(?P<{each}>.+)" if place % 2 else re.escape(each) for place, each in enumerate(pieces))
