"""From what a request says to what is judged: the variant, the caps that are put in, the bounds of its usage.

**Bounds.** Text has no more tokens than bytes, so `input_token` is bounded by the body's bytes, plus what is documented
per image, plus what providers add by themselves where there are tools. What cannot be seen (files and conversations
that the provider holds, documents, sound and video, which may be compressed, whatever a hosted tool reads) has no
bound: then no input unit is stated, and the variant's own `max` decides, or the price is unknown.
Cached input costs less than input, so it is bounded as input. Writing a cache may cost more, so it is stated besides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from remit.core.canonical import encode_exact
from remit.core.catalogue import Service, Variant
from remit.core.egress.exchange import Duplicate, HttpRequest, Mapped, Unmapped
from remit.core.egress.kinds.fields import MODEL, Fields, body_fields
from remit.core.egress.target import query_values, segments

MAX_ARGUMENT_BYTES = 64 * 1024
MAX_NAMES = 256
HIDDEN_TOKENS = 1024
"""What a provider adds to a request with tools or an output schema (documented: below 1,000); and for a typed tool."""

MAX_OUTPUT = 10**12
_OUTPUT = "output_token"
OUTPUT_MEDIA = ("output_audio_token", "output_image_token", "output_video_token")
_INPUT_MEDIA = ("input_audio_token", "cache_audio_read_token", "cache_image_read_token", "input_video_token")
_SEARCHES = ("web_search", "file_search")


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a service, with its target taken apart; `attributes` are those that overrides select by."""

    service: Service
    request: HttpRequest
    attributes: Mapping[str, str]
    segments: tuple[str, ...]

    @classmethod
    def of(cls, service: Service, request: HttpRequest, attributes: Mapping[str, str]) -> Call:
        """The request, its target already checked."""
        return cls(service, request, attributes, segments(request.path))

    def is_at(self, method: str, *template: str) -> bool:
        """Whether the method and the whole path fit; "*" stands for any one segment."""
        if self.request.method != method or len(self.segments) != len(template):
            return False
        return all(want in ("*", each) for each, want in zip(self.segments, template, strict=True))

    def body(self) -> Fields:
        """The JSON object that the body is."""
        return body_fields(self.request, self.service.body_bytes)

    def query(self, *known: str) -> dict[str, str]:
        """The query, which has no other keys than those known."""
        values = query_values(self.request.path)
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise Unmapped(f"the query's {unknown[0][:64]!r} is not known here, so it is not let through")
        return values

    def header(self, name: str) -> str | None:
        """A header's one value."""
        try:
            return self.request.header(name)
        except Duplicate as e:
            raise Unmapped(str(e)) from e

    def no_body(self) -> None:
        """Raises Unmapped where there is a body."""
        if self.request.body:
            raise Unmapped("there is a body where none belongs")


PROCESSING = frozenset({"batch", "fast", "flex", "priority"})
"""Ways of processing that prices may be given for (`given` in the catalogue)."""


@dataclass(slots=True)
class Draft:
    """What is found out while a body is read."""

    call: Call
    body: Fields
    model: str
    arguments: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    hosted: set[str] = field(default_factory=set)
    images: int = 0
    hidden: int = 0
    bounded: bool = True
    """Whether all of the input can be seen."""
    priced: dict[str, str] = field(default_factory=dict)
    """Pointers whose value makes the same model cost something else: the variant must select each."""

    def unseen(self, what: str) -> None:
        """Some of the input cannot be seen from here."""
        self.bounded = False
        held = self.arguments.setdefault("unseen", [])
        if what not in held:
            held.append(what)

    def host(self, name: str) -> None:
        """The provider runs something of its own, and reads what it finds."""
        if not MODEL.fullmatch(name):
            raise Unmapped(f"the hosted tool {name[:64]!r} has no name that the catalogue can list")
        self.hosted.add(name)
        self.unseen("hosted")

    def text(self, name: str, *, standard: Iterable[str] | None = None, pointer: str = "") -> None:
        """A text becomes an argument; one that is not `standard` has a price of its own."""
        value = self.body.text(name)
        if value is not None:
            self.arguments[name] = value
            if standard is not None and value not in standard:
                self.priced[pointer or f"/{name}"] = value

    def numbers(self, *names: str) -> None:
        """Numbers become arguments."""
        for name in names:
            value = self.body.number(name)
            if value is not None:
                self.arguments[name] = value

    def flags(self, *names: str) -> None:
        """Truth values become arguments."""
        for name in names:
            value = self.body.flag(name)
            if value is not None:
                self.arguments[name] = value

    def variant(self) -> tuple[str, Variant | None]:
        """The listed variant that the request is of, or the model's own name and None."""
        fitting = [
            (len(each.select), name)
            for name, each in self.call.service.variants.items()
            if (each.model or name) == self.model and _selected(self.body, each)
        ]
        if fitting:
            most = max(terms for terms, _ in fitting)
            name = next(name for terms, name in fitting if terms == most)
            variant = self.call.service.variants[name]
            self._check_priced(variant)
            return name, variant
        if self.model in self.call.service.variants:
            raise Unmapped(f"the model {self.model!r} with these values is none of the service's variants")
        return self.model, None

    def cap(self, variant: Variant | None, name: str) -> int | None:
        """The cap to put in where the caller gave none: never above what it may have at most."""
        if variant is None or _OUTPUT not in variant.inject:
            return None
        terms = self.call.service.variant(name, self.call.attributes)
        most = (terms or variant).max.get(_OUTPUT, variant.inject[_OUTPUT])
        return max(1, min(variant.inject[_OUTPUT], most))

    def bound_input(self, image_tokens: int, *, writes: Iterable[str] = ()) -> None:
        """State the input's bound, if it has one. `writes` are the units of a cache that may be written."""
        if self.bounded:
            size = len(self.call.request.body) + self.images * image_tokens + self.hidden
            self.usage |= {"input_token": size, "cache_read_token": 0, "input_character": len(self.call.request.body)}
            self.usage |= {"cache_write_token": 0, "cache_write_1h_token": 0} | dict.fromkeys(writes, size)
            # Sound that can be seen has been stated by whoever saw it.
            self.usage = dict.fromkeys(_INPUT_MEDIA, 0) | self.usage
            self.usage["input_image_token"] = self.images * image_tokens

    def bound_output(self, bound: int | None, *media: str) -> None:
        """State the output's bound, if it has one: of text, and of the media that it may be as well."""
        self.usage |= {unit: 0 for unit in OUTPUT_MEDIA if unit not in media}
        if bound is not None:
            self.arguments["max_tokens"] = bound
            self.usage |= dict.fromkeys((_OUTPUT, *media), bound)

    def mapped(
        self, operation: str, variant: str, *, reader: str, stream: bool = False, body: bytes | None = None
    ) -> Mapped:
        """All of it."""
        arguments = {"model": self.model, "stream": stream, "bytes": len(self.call.request.body), **self.arguments}
        if len(encode_exact(arguments)) > MAX_ARGUMENT_BYTES:
            raise Unmapped(f"what policy would have to see of the request is more than {MAX_ARGUMENT_BYTES} bytes")
        return Mapped(
            operation=operation,
            variant=variant,
            arguments=arguments,
            usage=(self.usage if self.hosted else dict.fromkeys(_SEARCHES, 0) | self.usage) | self._marks(),
            body=self.call.request.body if body is None else body,
            properties={"hosted": sorted(self.hosted)} if self.hosted else {},
            format=reader,
            stream=stream,
        )

    def _marks(self) -> dict[str, int]:
        """What the request is priced under besides: the marks of the price table."""
        return {value: 1 for value in self.priced.values() if value in PROCESSING}

    def _check_priced(self, variant: Variant) -> None:
        for pointer, value in self.priced.items():
            if pointer not in variant.select:
                raise Unmapped(f"{pointer} {value!r} is priced apart, so a variant must select it")


def free(call: Call, operation: str, *, arguments: Mapping[str, Any] | None = None) -> Mapped:
    """An operation that costs nothing and has no model: its variant is named like itself."""
    return Mapped(operation=operation, variant=operation, arguments=dict(arguments or {}), body=call.request.body)


def names(found: list[str], where: str) -> list[str]:
    """Names for policy, sorted, each once, and not too many."""
    if len(found) > MAX_NAMES:
        raise Unmapped(f"{where} has more than {MAX_NAMES} entries")
    return sorted(set(found))


def remote(url: str) -> bool:
    """Whether a URL makes the provider fetch something: a data URL has it all with it."""
    return url[:5].lower() != "data:"


def at_pointer(value: Any, pointer: str) -> Any:
    """What stands at a JSON pointer (RFC 6901), None where nothing does."""
    for raw in pointer.split("/")[1:]:
        part = raw.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif (
            isinstance(value, list) and part.isascii() and part.isdigit() and len(part) < 10 and int(part) < len(value)
        ):
            value = value[int(part)]
        else:
            return None
    return value


def as_text(value: Any) -> str | None:
    """A scalar as the catalogue writes it; None for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


def _selected(body: Fields, variant: Variant) -> bool:
    whole = {name: body.raw(name) for name in body}
    return all(as_text(at_pointer(whole, pointer)) in values for pointer, values in variant.select.items())
