"""A gRPC client and a gRPC server, unchanged, with the real egress between them."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from fakes.egress_up import TOKEN, EgressUp, egress_up, until
from fakes.grpc_upstream import SERVICE, GrpcUpstream, grpc_upstream, same

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

KEY = "sk-of-the-shop-0123456789"
SERVICES = """\
shop:
  owner: cx
  kind: grpc
  endpoints: {{here: {{url: "grpc://127.0.0.1:{port}", region: eu}}}}
  credentials: [{{file: shop.key}}]
  operations: [shop.Orders/Get, shop.Orders/Watch, shop.Orders/Put]
  body_bytes: 4096
away:
  owner: cx
  kind: grpc
  endpoints: {{here: {{url: "grpc://127.0.0.1:1", region: eu}}}}
  operations: [shop.Orders/Get]
"""
ME = (("remit-token", TOKEN),)


@pytest.fixture(scope="module")
def upstream() -> Iterator[GrpcUpstream]:
    with grpc_upstream() as running:
        yield running


@pytest.fixture(scope="module")
def up(upstream: GrpcUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgressUp]:
    place = tmp_path_factory.mktemp("grpc")
    (place / "shop.key").write_text(KEY)
    (place / "shop.key").chmod(0o600)
    with egress_up(place, SERVICES.format(port=upstream.port)) as running:
        yield running


@pytest.fixture
def channel(up: EgressUp, upstream: GrpcUpstream) -> Iterator[grpc.Channel]:
    upstream.got.clear()
    upstream.go.clear()
    with called(up, "shop") as made:
        yield made


def called(up: EgressUp, service: str) -> grpc.Channel:
    options = [("grpc.default_authority", service), ("grpc.enable_retries", 0)]
    return grpc.insecure_channel(f"127.0.0.1:{up.port}", options=options)


def unary(channel: grpc.Channel, method: str) -> grpc.UnaryUnaryMultiCallable:
    return channel.unary_unary(f"/{SERVICE}/{method}", same, same)


def failed(channel: grpc.Channel, method: str, message: bytes, metadata: tuple[tuple[str, str], ...] = ME) -> grpc.Call:
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel, method)(message, metadata=metadata, timeout=20)
    assert isinstance(caught.value, grpc.Call)
    return caught.value


def test_a_unary_call_is_answered_and_recorded(up: EgressUp, upstream: GrpcUpstream, channel: grpc.Channel) -> None:
    """The service's credential is added, the agent's is gone; trailing metadata and decision come back."""
    answer, call = unary(channel, "Get").with_call(b"7", metadata=(*ME, ("shop-trace", "x")), timeout=20)
    assert answer == b"got 7"
    assert dict(call.trailing_metadata())["shop-took"] == "7"
    ((method, message, metadata),) = upstream.got
    assert (method, message, metadata["shop-trace"]) == ("Get", b"7", "x")
    assert metadata["authorization"] == f"Bearer {KEY}"
    assert not [name for name in metadata if "remit" in name]
    decision = up.decisions()[-1]
    assert (decision.body["effect"], decision.body["resource"]["operation"]) == ("ALLOW", "shop.Orders/Get")
    assert dict(call.initial_metadata())["remit-decision"] == decision.id


def test_a_servers_own_error_comes_through_as_it_is(channel: grpc.Channel) -> None:
    error = failed(channel, "Get", b"none")
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such order")


def test_a_stream_from_the_server_passes_message_by_message(upstream: GrpcUpstream, channel: grpc.Channel) -> None:
    """The second is sent only once the first has been read."""
    call = channel.unary_stream(f"/{SERVICE}/Watch", same, same)(b"7", metadata=ME, timeout=20)
    assert next(call) == b"first"
    upstream.go.set()
    assert list(call) == [b"second"]
    assert call.code() is grpc.StatusCode.OK


def test_a_stream_to_the_server_arrives_once_it_is_whole(upstream: GrpcUpstream, channel: grpc.Channel) -> None:
    call = channel.stream_unary(f"/{SERVICE}/Put", same, same)
    assert call(iter([b"a", b"b"]), metadata=ME, timeout=20) == b"a+b"


@pytest.mark.parametrize("method", ["Erase", "Nothing"])
def test_what_is_not_listed_is_denied_in_grpcs_own_words(
    up: EgressUp, upstream: GrpcUpstream, channel: grpc.Channel, method: str
) -> None:
    error = failed(channel, method, b"7")
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    details = error.details() or ""
    assert details.startswith("Remit: request_unmapped: ") and f"{SERVICE}/{method}" in details
    decision = up.decisions()[-1]
    assert decision.body["effect"] == "DENY" and f"[{decision.id}]" in details
    assert not upstream.got


def test_who_has_no_credential_is_unauthenticated(upstream: GrpcUpstream, channel: grpc.Channel) -> None:
    for metadata in ((), (("remit-token", "rmt_of_nobody"),)):
        error = failed(channel, "Get", b"7", metadata)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert (error.details() or "").startswith("Remit: unauthenticated: ")
    assert not upstream.got


@pytest.mark.parametrize(
    ("size", "code"), [(5_000, grpc.StatusCode.PERMISSION_DENIED), (300_000, grpc.StatusCode.RESOURCE_EXHAUSTED)]
)
def test_a_message_that_is_too_large_is_refused(
    upstream: GrpcUpstream, channel: grpc.Channel, size: int, code: grpc.StatusCode
) -> None:
    """By the sidecar where it comes in one piece, or by Envoy before the sidecar has seen it."""
    error = failed(channel, "Get", b"x" * size)
    assert error.code() is code
    assert (error.details() or "").startswith("Remit: request_")
    assert not upstream.got


def test_an_upstream_that_is_away_is_unavailable(up: EgressUp) -> None:
    with called(up, "away") as channel:
        error = failed(channel, "Get", b"7")
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "nothing was sent" in (error.details() or "")


def test_nothing_is_left_reserved(up: EgressUp, channel: grpc.Channel) -> None:
    """Each call that was permitted has its report."""
    unary(channel, "Get")(b"7", metadata=ME, timeout=20)
    permitted = {each.id for each in up.decisions() if each.body["effect"] == "ALLOW"}
    until(lambda: permitted <= {each.ref for each in up.records() if each.kind == "report"})
