"""Which service a request is for: one answer for each, and the one that Envoy's routes give as well."""

from __future__ import annotations

import re

import pytest
from counts import COUNTS
from hypothesis import given, settings
from hypothesis import strategies as st
from remit.core.catalogue import Catalogue, Credential, Endpoint, Service
from remit.core.egress.routing import EGRESS, PROXY, TCP
from remit.core.egress.target import check_target
from remit.core.reason import Reason
from remit.listeners.egress_places import Place, place_of

KEY = (Credential(file="x"),)
CATALOGUE = Catalogue(
    currency="EUR",
    services={
        "crm": Service(endpoints={"main": Endpoint("https://crm.example/base")}),
        "tools": Service(kind="mcp", endpoints={"main": Endpoint("https://tools.example/mcp")}),
        "db": Service(kind="tcp", listen="127.0.0.1:5432", endpoints={"main": Endpoint("tcp://db.example:5432")}),
        "grpc.one": Service(kind="grpc", endpoints={"main": Endpoint("grpcs://grpc.example")}),
        "plain": Service(
            endpoints={"eu": Endpoint("http://plain.example/v1"), "us": Endpoint("http://plain.example/v1")}
        ),
        "odd": Service(endpoints={"main": Endpoint("http://odd.example:8080")}),
        "keyed": Service(endpoints={"main": Endpoint("http://keyed.example")}, credentials=KEY),
        "six": Service(endpoints={"main": Endpoint("http://[2001:db8::1]:80")}),
    },
)


def egress(path: str, authority: str = "localhost:7452", method: str = "GET") -> Place:
    return place_of(CATALOGUE, EGRESS, {":method": method, ":path": path, ":authority": authority})


def proxy(authority: str, path: str = "/", method: str = "GET") -> Place:
    return place_of(CATALOGUE, PROXY, {":method": method, ":path": path, ":authority": authority, ":scheme": "http"})


@pytest.mark.parametrize(
    ("path", "service", "below"),
    [
        ("/crm/v1/items?q=/tools", "crm", "/v1/items?q=/tools"),
        ("/crm", "crm", "/"),
        ("/crm?q=1", "crm", "/?q=1"),
        ("/crm//admin", "crm", "//admin"),
        ("/crm/mcp/tools", "crm", "/mcp/tools"),
        ("/mcp/tools", "tools", "/"),
        ("/mcp/tools?a=b", "tools", "/?a=b"),
        ("/mcp/tools/sub", "tools", "/sub"),
        ("/nowhere/x", "nowhere", "/x"),
    ],
)
def test_the_first_part_of_the_path_names_the_service(path: str, service: str, below: str) -> None:
    place = egress(path)
    assert (place.service, place.path, place.tunnel, place.objection) == (service, below, False, None)


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/tools", "tools"),
        ("/mcp/crm/x", "crm"),
        ("/db/x", "db"),
        ("x", "unlisted"),
        ("*", "unlisted"),
        ("", "unlisted"),
        ("/", "unlisted"),
        ("/mcp", "unlisted"),
    ],
)
def test_a_service_under_another_s_prefix_is_an_objection(path: str, service: str) -> None:
    """An MCP server's calls are not plain requests, and no connection's bytes come by HTTP."""
    place = egress(path)
    assert place.service == service and place.objection is not None
    assert (place.objection.reason, place.objection.binding) == (Reason.REQUEST_MALFORMED, True)


def test_connect_is_for_the_proxy_alone() -> None:
    assert egress("", "crm.example:443", "CONNECT").objection is not None
    assert egress("/crm/x", "crm.example:443", "CONNECT").objection is not None
    assert place_of(CATALOGUE, "elsewhere", {":path": "/crm/x"}).objection is not None


@pytest.mark.parametrize("authority", ["grpc.one", "grpc.one:7452", "GRPC.one"])
def test_a_grpc_service_is_named_by_the_host_and_then_the_whole_path_is_its(authority: str) -> None:
    """As Envoy's routes have it: whatever the path looks like."""
    for path in ("/pkg.Service/Method", "/grpc.one/Method", "/crm/x"):
        place = egress(path, authority)
        assert (place.service, place.path, place.objection) == ("grpc.one", path, None)
    assert egress("/pkg.Service/Method", "crm").service == "pkg.Service"
    assert egress("/grpc.one/pkg.Service/Method").path == "/pkg.Service/Method"
    assert egress("/crm/x", "grpc.one.evil").service == "crm"


@pytest.mark.parametrize(
    ("authority", "path", "service", "below", "endpoints"),
    [
        ("plain.example", "/v1/items?q", "plain", "/items?q", {"eu", "us"}),
        ("plain.example:80", "/v1", "plain", "/", {"eu", "us"}),
        ("odd.example:8080", "/", "odd", "/", {"main"}),
        ("[2001:db8::1]", "/", "six", "/", {"main"}),
    ],
)
def test_at_the_proxy_an_endpoint_s_host_names_its_service(
    authority: str, path: str, service: str, below: str, endpoints: set[str]
) -> None:
    place = proxy(authority, path)
    assert (place.service, place.path, place.endpoints, place.objection) == (service, below, endpoints, None)


@pytest.mark.parametrize(
    ("authority", "path", "method"),
    [
        ("crm.example", "/base/x", "GET"),
        ("crm.example:443", "/base/x", "GET"),
        ("plain.example", "/v10/items", "GET"),
        ("plain.example", "/", "GET"),
        ("plain.example:8080", "/v1/items", "GET"),
        ("odd.example", "/", "GET"),
        ("plain.example:443", "", "CONNECT"),
        ("db.example:5432", "", "CONNECT"),
        ("tools.example:443", "", "CONNECT"),
        ("sub.plain.example", "/v1/", "GET"),
    ],
)
def test_another_scheme_port_path_or_kind_is_not_the_endpoint(authority: str, path: str, method: str) -> None:
    """http:// must not become https://, nor the other way round."""
    place = proxy(authority, path, method)
    assert place.service == authority.rpartition(":")[0] or place.service == authority
    assert place.service not in CATALOGUE.services and not place.endpoints


def test_a_tunnel_is_for_an_endpoint_of_that_host_and_port() -> None:
    place = proxy("crm.example:443", "", "CONNECT")
    assert (place.service, place.path, place.tunnel, place.endpoints) == ("crm", "/", True, {"main"})
    assert proxy("odd.example:8080", "", "CONNECT").service == "odd"


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_a_service_with_a_credential_is_not_reached_by_the_proxy(method: str) -> None:
    """There its credential would go by the caller's choice of path, or not at all."""
    place = proxy("keyed.example:80", "/", method)
    assert place.service == "keyed" and place.objection is not None and place.objection.binding


@pytest.mark.parametrize(
    "authority",
    ["user@plain.example", "PLAIN.example", "plain.example.", "127.1", "plain.example:080", "", "a b", "é.example"],
)
def test_a_host_that_two_readers_may_take_differently_is_refused(authority: str) -> None:
    for method in ("GET", "CONNECT"):
        place = proxy(authority, "/v1/x", method)
        assert place.service == "unlisted" and place.objection is not None


def test_a_connection_is_for_the_service_that_its_listener_names() -> None:
    place = place_of(CATALOGUE, TCP, {":method": "CONNECT", ":authority": "db:1"})
    assert (place.service, place.path, place.tunnel, place.objection) == ("db", "/", True, None)


def test_what_is_asked_for_over_tls_is_not_fetched_in_clear() -> None:
    """An absolute https:// URL is for a tunnel; it must not become the http:// one of the same host."""
    pseudo = {":method": "GET", ":path": "/", ":authority": "plain.example"}
    assert place_of(CATALOGUE, PROXY, pseudo | {":scheme": "http"}).objection is None
    for scheme in ({":scheme": "https"}, {":scheme": "HTTP"}, {}):
        assert place_of(CATALOGUE, PROXY, pseudo | scheme).objection is not None


RECORDED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
anything = st.text(max_size=30) | st.from_regex(r"/(crm|tools|mcp|db)?[/?%.a-z]{0,12}", fullmatch=True)


@settings(max_examples=5 * COUNTS.examples)
@given(
    st.sampled_from([EGRESS, PROXY]),
    st.sampled_from(["GET", "CONNECT"]),
    anything,
    anything | st.sampled_from(["crm.example:443", "plain.example", "grpc.one:1"]),
)
def test_a_name_is_never_recorded_raw_and_every_place_has_a_path(
    listener: str, method: str, path: str, authority: str
) -> None:
    """Whatever an agent asks for: a listed name, a name that is fit to record, or "unlisted"."""
    place = place_of(CATALOGUE, listener, {":method": method, ":path": path, ":authority": authority})

    assert place.service in CATALOGUE.services or RECORDED.fullmatch(place.service)
    assert place.path.startswith("/") or place.objection is not None or check_target(place.path)


def test_a_long_name_is_not_recorded() -> None:
    assert egress("/" + "a" * 128).service == "a" * 128
    assert egress("/" + "a" * 129).service == "unlisted"
    assert egress("/caf\xe9").service == egress("/%63rm").service == egress("/..").service == "unlisted"
