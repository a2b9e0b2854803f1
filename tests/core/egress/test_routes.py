"""Any HTTP API by its routes, and gRPC by its paths."""

from __future__ import annotations

from typing import Any

import pytest
from remit.core.catalogue import Route, Service, Variant
from remit.core.egress.exchange import HttpRequest, Unmapped
from remit.core.egress.mapping import map_request

from tests.core.egress.requests import get, post, service

ROUTES = (
    Route("/v1/items/{id}", "read", ("GET",), arguments={"id": "path:id", "fields": "query:fields"}),
    Route("/v1/items/latest", "latest", ("GET",)),
    Route("/v1/{kind}/latest", "any_latest", ("GET",)),
    Route("/v1/items/{id}:{verb}", "act", ("POST",), arguments={"id": "path:id", "verb": "path:verb"}),
    Route(
        "/v1/render",
        "render",
        arguments={"size": "/input/size", "draft": "/draft"},
        variant="/model",
        usage={"image": "/n"},
    ),
    Route("/v1/rows", "rows", ("GET",), usage={"row": "query:limit"}),
)
API = service("http", {}, routes=ROUTES)


def at(request: HttpRequest, listed: Service = API) -> tuple[str, dict[str, Any]]:
    found = map_request(listed, request, attributes={})
    return found.operation, dict(found.arguments)


def test_the_most_literal_template_is_taken() -> None:
    """Whatever their order; and a slot is one segment, which is not empty."""
    assert at(get("/v1/items/latest")) == ("latest", {})
    assert at(get("/v1/items/a%20b?fields=x")) == ("read", {"id": "a b", "fields": "x"})
    assert at(get("/v1/things/latest")) == ("any_latest", {})
    assert at(post("/v1/items/7:run", {})) == ("act", {"id": "7", "verb": "run"})


def test_an_answer_is_metered_by_the_route_that_was_taken() -> None:
    """Two routes may be one operation, and tell what was used in different places."""
    routes = (
        Route("/v1/plain", "export", returns={}),
        Route("/v1/export", "export", returns={"row": "/exported"}),
        Route("/v2/export", "export", returns={"row": "/total/rows"}),
    )
    listed = service("http", {}, routes=routes)
    for route in routes:
        assert map_request(listed, post(route.path, {}), attributes={}).returns == route.returns


@pytest.mark.parametrize(
    "request_",
    [
        get("/v1/items"),
        get("/v1/items/"),
        get("/v1/items/a/b"),
        get("/v1/Items/a"),
        get("/v2/items/a"),
        get("/v1/items/a/"),
        post("/v1/items/a", {}),
        HttpRequest("DELETE", "http", "h", "/v1/items/a"),
        HttpRequest("get", "http", "h", "/v1/items/a"),
        HttpRequest("CONNECT", "http", "h", "/v1/items/a"),
    ],
    ids=lambda each: f"{each.method} {each.path}",
)
def test_another_path_or_method_is_unmapped(request_: HttpRequest) -> None:
    """Nothing is close enough."""
    with pytest.raises(Unmapped, match="no operation"):
        map_request(API, request_, attributes={})


def test_a_key_twice_is_refused_where_a_route_reads_the_query() -> None:
    """Nobody says which of them holds; other keys may be there."""
    assert at(get("/v1/items/a?other=1&fields=x")) == ("read", {"id": "a", "fields": "x"})
    assert at(get("/v1/items/a")) == ("read", {"id": "a"})
    with pytest.raises(Unmapped, match="twice"):
        at(get("/v1/items/a?fields=x&fields=y"))


def rendered(body: Any, **variants: Variant) -> Any:
    return map_request(service("http", variants, routes=ROUTES), post("/v1/render", body), attributes={})


def test_sources_in_the_body_are_read() -> None:
    """Arguments, the variant, and the bound of what it uses; the body goes out as it came."""
    found = rendered({"model": "m", "n": 2, "input": {"size": 5}, "draft": False, "more": []}, m=Variant())

    assert (found.operation, found.variant, found.usage) == ("render", "m", {"image": 2})
    assert found.arguments == {"size": 5, "draft": False}
    assert found.body.startswith(b'{"model": "m"')


def test_a_variant_is_selected_by_sources_too() -> None:
    """As for the ready-made kinds."""
    variants = {"plain": Variant(model="m"), "draft": Variant(model="m", select={"/draft": ("true",)})}

    assert rendered({"model": "m", "n": 1, "draft": True}, **variants).variant == "draft"
    assert rendered({"model": "m", "n": 1}, **variants).variant == "plain"
    assert rendered({"model": "other", "n": 1}, **variants).variant == "other"
    with pytest.raises(Unmapped, match="none of the service's variants"):
        rendered({"model": "draft", "n": 1}, **variants)


@pytest.mark.parametrize("value", [None, True, -1, 1.5, "2", [], {}, 10**16])
def test_a_usage_that_is_no_whole_number_is_unmapped(value: Any) -> None:
    """An absent one too: it is what the price is reserved by."""
    with pytest.raises(Unmapped, match="how many of image"):
        rendered({"model": "m", "n": value}, m=Variant())
    with pytest.raises(Unmapped, match="how many of image"):
        rendered({"model": "m"}, m=Variant())


@pytest.mark.parametrize(("query", "want"), [("?limit=10", 10), ("?limit=0", 0)])
def test_a_usage_may_stand_in_the_query(query: str, want: int) -> None:
    """There everything is text."""
    assert map_request(API, get(f"/v1/rows{query}"), attributes={}).usage == {"row": want}


@pytest.mark.parametrize("query", ["", "?limit=", "?limit=-1", "?limit=1e3", "?limit=01", "?limit=+1", "?limit=%D9%A1"])
def test_a_usage_in_the_query_that_is_no_whole_number_is_unmapped(query: str) -> None:
    """In the one way to write it."""
    with pytest.raises(Unmapped, match="how many of row"):
        map_request(API, get(f"/v1/rows{query}"), attributes={})


@pytest.mark.parametrize("value", [[], {}, [1]])
def test_an_argument_that_is_no_scalar_is_unmapped(value: Any) -> None:
    """Policy sees scalars alone."""
    with pytest.raises(Unmapped, match="/input/size"):
        rendered({"model": "m", "n": 1, "input": {"size": value}}, m=Variant())


@pytest.mark.parametrize("value", [None, 1.5, [], "a b", "x" * 129])
def test_a_variant_that_is_no_name_is_unmapped(value: Any) -> None:
    """It could not be listed."""
    with pytest.raises(Unmapped, match="/model"):
        rendered({"model": value, "n": 1}, m=Variant())


def test_a_ready_made_kind_takes_routes_besides() -> None:
    """For what it does not know; what it knows stays its own."""
    routes = (Route("/v1/files", "files", ("GET",)), Route("/v1/models", "stolen", ("GET",)))
    listed = service("openai", routes=routes)

    assert at(get("/v1/files"), listed)[0] == "files"
    assert at(get("/v1/models"), listed)[0] == "models"


GRPC = service("grpc", {}, operations=("demo.v1.Greeter/Hello",))


def call(path: str, *, method: str = "POST", kind: str = "application/grpc") -> HttpRequest:
    return HttpRequest(method, "http", "h", path, (("content-type", kind),), b"\0\0\0\0\0")


def test_a_grpc_call_is_the_operation_of_its_path() -> None:
    """Its messages are not read."""
    found = map_request(GRPC, call("/demo.v1.Greeter/Hello"), attributes={})

    assert (found.operation, found.variant, found.body) == ("demo.v1.Greeter/Hello", "", b"\0\0\0\0\0")


@pytest.mark.parametrize(
    "request_",
    [
        call("/demo.v1.Greeter/Bye"),
        call("/demo.v1.Greeter/hello"),
        call("/demo.v1.Greeter/Hello?x=1"),
        call("/demo.v1.Greeter/Hello/"),
        call("/x/demo.v1.Greeter/Hello"),
        call("/Hello"),
        call("/demo.v1.Greeter/Hello", method="GET"),
        call("/demo.v1.Greeter/Hello", kind="application/json"),
        call("/demo.v1.Greeter/Hello", kind="application/grpc-web"),
    ],
    ids=lambda each: f"{each.method} {each.path}",
)
def test_any_other_grpc_call_is_unmapped(request_: HttpRequest) -> None:
    """Also where the service lists no operations at all."""
    with pytest.raises(Unmapped):
        map_request(GRPC, request_, attributes={})
    with pytest.raises(Unmapped):
        map_request(service("grpc", {}), request_, attributes={})
