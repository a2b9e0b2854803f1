"""Reading services, what they cost, and on which terms their variants are used."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

from remit.config.oversight import approval, conflicts
from remit.config.reading import (
    Cursor,
    Reader,
    Section,
    choice,
    declared,
    distinct,
    entries,
    items,
    known_as,
    nanos,
    one_or_more,
    reference,
    section,
    text,
    truth,
    whole,
)
from remit.config.tree import Entries
from remit.config.values import (
    MAX_QUANTITY,
    Known,
    address,
    by_column,
    by_id,
    by_name,
    by_unit,
    currency,
    date,
    identifier,
    identifiers,
    name,
    path,
    purposes,
    secret_place,
    selector,
    unit,
)
from remit.core.catalogue import (
    Credential,
    Endpoint,
    Override,
    Price,
    Rate,
    Route,
    Service,
    Signing,
    Terms,
    Variant,
)
from remit.core.model import Link
from remit.core.price import POOLS
from remit.core.selector import EVERYTHING

KINDS = ("openai", "anthropic", "gemini", "bedrock", "azure", "http", "grpc", "mcp", "tcp")
SCHEMES = ("https", "http", "grpcs", "grpc", "tcp")
_DAY = 86400
_MATCH = re.compile(r"[a-z0-9*][a-z0-9*._-]{0,63}/[A-Za-z0-9*._:/@-]{0,128}", re.ASCII)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_LISTEN = re.compile(r"(127(\.[0-9]{1,3}){3}|\[::1\]|localhost):[0-9]{1,5}", re.ASCII)
_WORD = re.compile(r"[^\x00-\x1f\x7f]{1,1024}")
_CIDR = re.compile(r"[0-9A-Fa-f.:]{2,45}(/[0-9]{1,3})?", re.ASCII)
_POINTER = re.compile(r"(/[A-Za-z0-9_.~-]{1,64}){1,8}", re.ASCII)
_SOURCE = re.compile(r"(path|query):[A-Za-z_][A-Za-z0-9_.-]{0,63}|(/[A-Za-z0-9_.~-]{1,64}){1,8}", re.ASCII)
_TEMPLATE = re.compile(r"/([A-Za-z0-9._~:@!$&'()*+,;=-]|\{[a-z_][a-z0-9_]{0,63}\}|/(?!/)){0,512}", re.ASCII)
_HEADER = re.compile(r"[a-z][a-z0-9-]{0,63}", re.ASCII)
_PREFIX = re.compile(r"[!-~][ -~]{0,63}|", re.ASCII)
_PATH_PREFIX = re.compile(r"/[A-Za-z0-9._~:@!$&'()*+,;=/-]{0,256}", re.ASCII)
_VALUE = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]{1,2}", re.ASCII)


def service(known: Known) -> Reader[Service]:
    """One entry of `services`."""
    return section(lambda keys: _service(keys, known))


def _service(keys: Section, known: Known) -> Service:
    variants, endpoints = keys.names("variants"), keys.names("endpoints")
    return Service(
        owner=keys.read("owner", reference(known.teams, "a declared team"), ""),
        kind=keys.read("kind", choice(*KINDS), "http"),
        external=keys.read("external", truth, True),
        endpoints=keys.read("endpoints", entries(by_id, section(lambda each: _endpoint(each, known))), {}),
        credentials=keys.read("credentials", items(section(lambda each: _credential(each, known, endpoints))), ()),
        via=keys.read("via", items(section(lambda each: _link(each, known))), ()),
        clearance=keys.read("clearance", identifiers, ()),
        returns=keys.read("returns", identifiers, ()),
        roles=keys.read("roles", identifiers, ()),
        purposes=keys.read("purposes", purposes, ()),
        operations=keys.read("operations", distinct(name), ()),
        variants=keys.read("variants", entries(by_name, _variant(variants)), {}),
        overrides=keys.read("overrides", items(section(lambda each: _override(each, known, variants))), ()),
        metering=keys.read("metering", choice("sidecar", "agent"), "sidecar"),
        reserve=keys.read("reserve", choice("worst", "expected"), "worst"),
        hold_seconds=keys.read("hold_seconds", whole(1, _DAY), 300),
        routes=keys.read("routes", items(section(_route)), ()),
        opaque=keys.read("opaque", truth, False),
        listen=keys.read("listen", text(_LISTEN, "127.0.0.1:PORT"), ""),
        command=keys.read("command", items(text(_WORD, "a word of a command line"), least=1, most=64), ()),
        body_bytes=keys.read("body_bytes", whole(1024, 64 << 20), 1 << 20),
        timeout=keys.read("timeout", whole(1, _DAY), 600),
        reveal=keys.read("reveal", truth, False),
        conflicts=keys.read("conflicts", section(conflicts), None),
        compensations=keys.read("compensations", entries(by_name, name), {}),
    )


def _endpoint(keys: Section, known: Known) -> Endpoint:
    # The region follows from the endpoint, so it cannot choose one.
    who = ("agent", "team", "service", "operation", "variant", "purpose")
    return Endpoint(
        url=keys.require("url", address(*SCHEMES), ""),
        region=keys.read("region", identifier, ""),
        when=keys.read("when", selector(known, *who), EVERYTHING),
        addresses=keys.read("addresses", distinct(_network), ()),
        ca=str(keys.read("ca", path, "")),
    )


def _network(at: Cursor) -> str:
    form = text(_CIDR, "a network such as 10.1.0.0/16 or fd00::/8")(at)
    try:
        return str(ipaddress.ip_network(form))
    except ValueError as error:
        raise at.wrong("a network such as 10.1.0.0/16 or fd00::/8, with no bits set behind its prefix") from error


def _route(keys: Section) -> Route:
    source = text(_SOURCE, "path:NAME, query:NAME or a JSON pointer such as /input/size")
    pointer = text(_POINTER, "a JSON pointer such as /usage/total")
    return Route(
        path=keys.require("path", text(_TEMPLATE, "a path such as /v1/items/{id}"), ""),
        operation=keys.require("operation", name, ""),
        methods=keys.read("methods", distinct(choice(*METHODS), least=1), ("POST",)),
        arguments=keys.read("arguments", entries(by_column, source), {}),
        variant=keys.read("variant", source, ""),
        usage=keys.read("usage", entries(by_unit, source), {}),
        returns=keys.read("returns", entries(by_unit, pointer), {}),
    )


def _credential(keys: Section, known: Known, endpoints: Collection[str]) -> Credential:
    file, environment = secret_place(keys)
    return Credential(
        file=file,
        environment=environment,
        when=keys.read("when", selector(known), EVERYTHING),
        header=keys.read("header", text(_HEADER, "a header's name in lower case, such as x-api-key"), ""),
        prefix=keys.read("prefix", text(_PREFIX, "what stands before the credential, such as `Bearer `"), None),
        endpoints=keys.read("endpoints", distinct(reference(endpoints, "an endpoint of this service")), ()),
        paths=keys.read("paths", distinct(text(_PATH_PREFIX, "a path prefix such as /v1/")), ()),
        methods=keys.read("methods", distinct(choice(*METHODS)), ()),
        signing=keys.read("signing", section(_signing), None),
    )


def _signing(keys: Section) -> Signing:
    return Signing(region=keys.require("region", text(_REGION, "an AWS region such as eu-west-1"), ""))


def _link(keys: Section, known: Known) -> Link:
    return Link(
        service=keys.require("service", identifier, ""),
        owner=keys.read("owner", reference(known.teams, "a declared team"), ""),
        region=keys.read("region", identifier, ""),
        external=keys.read("external", truth, True),
    )


def _override(keys: Section, known: Known, variants: Collection[str]) -> Override:
    of_service = declared(variants, "a variant of this service")
    return Override(
        when=keys.require("when", selector(known), EVERYTHING),
        variants=keys.require("variants", entries(of_service, _terms(variants)), {}),
    )


def _variant(variants: Collection[str]) -> Reader[Variant]:
    return section(
        lambda keys: Variant(
            approval=keys.read("approval", section(approval), None),
            max=keys.read("max", entries(by_unit, whole(0, MAX_QUANTITY)), {}),
            cheaper=keys.read("cheaper", reference(variants, "a variant of this service"), ""),
            model=keys.read("model", name, ""),
            select=keys.read("select", entries(_pointer_key, one_or_more(text(_VALUE, "a value"))), {}),
            inject=keys.read("inject", entries(by_unit, whole(1, MAX_QUANTITY)), {}),
            price=keys.read("price", name, ""),
        )
    )


def _pointer_key(found: str) -> str:
    return "" if _POINTER.fullmatch(found) else "a JSON pointer such as /quality"


def _terms(variants: Collection[str]) -> Reader[Terms]:
    return section(
        lambda keys: Terms(
            approval=keys.read("approval", section(approval), None),
            max=keys.read("max", entries(by_unit, whole(0, MAX_QUANTITY)), None),
            cheaper=keys.read("cheaper", reference(variants, "a variant of this service"), None),
        )
    )


def price(known: Known) -> Reader[Price]:
    """One entry of `prices`."""
    return section(lambda keys: _price(keys, known))


def _price(keys: Section, known: Known) -> Price:
    if keys.has("applies") and not keys.has("above"):
        keys.wrong("applies", "`applies` only beside `above`", "no `above`")
    if keys.has("of") and (keys.has("applies") or not keys.has("above")):
        keys.wrong("of", "`of` only beside `above`, for the whole call", "`applies`, or no `above`")
    return Price(
        match=keys.require("match", _match(known), ""),
        unit=keys.require("unit", unit, ""),
        amount=keys.require("amount", nanos, 0),
        currency=keys.require("currency", currency, ""),
        per=keys.read("per", whole(1, 10**12), 1),
        since=keys.read("from", date, 0),
        above=keys.read("above", whole(1, MAX_QUANTITY), 0),
        applies=keys.read("applies", choice("whole_call", "excess"), "whole_call"),
        of=keys.read("of", choice(*POOLS), ""),
        given=keys.read("given", unit, ""),
        optional=keys.read("optional", truth, False),
    )


def _match(known: Known) -> Reader[str]:
    form = text(_MATCH, 'a pattern "service/variant" in which * stands for any characters')

    def read(at: Cursor) -> str:
        value = form(at)
        service, _, _ = value.partition("/")
        if "*" not in service and service not in known.services:
            raise at.wrong(known_as("a declared service", known.services, service))
        return value

    return read


def exchange(ledger: str) -> Reader[tuple[tuple[int, int], ...]]:
    """The rates of one currency: a mapping, or a list of them by date; as pairs (nanos, ns from which on)."""

    def rate(keys: Section) -> tuple[int, int]:
        return keys.require(ledger, _positive, 1), keys.read("from", date, 0)

    def read(at: Cursor) -> tuple[tuple[int, int], ...]:
        return (section(rate)(at),) if isinstance(at.node, Entries) else items(section(rate), least=1)(at)

    return read


def rates(found: dict[str, tuple[tuple[int, int], ...]], ledger: str) -> tuple[Rate, ...]:
    """The exchange section as the catalogue keeps it."""
    return tuple(
        Rate(source=source, target=ledger, amount=amount, since=since)
        for source, pairs in found.items()
        for amount, since in pairs
    )


def _positive(at: Cursor) -> int:
    amount = nanos(at)
    if amount == 0:
        raise at.wrong("a rate above 0")
    return amount
