"""What is private is nobody's but Envoy's and the sidecar's: not an agent's at any of its doors, not another user's.

And an Envoy of somebody else's, set to open on failure, gets explicit denials.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from fakes.canaries import leaks
from fakes.egress_stage import KEY, PROXY_TOKEN, TOKEN, TOKENS, Heard, Stage, request, stage, stopped, talk, until
from fakes.ports import free_port
from listeners.raw_http2 import DATA, END_STREAM, connect, frame, message
from remit._envoy.envoy.service.auth.v3 import external_auth_pb2 as auth
from remit._envoy.envoy.service.ext_proc.v3 import external_processor_pb2 as proc
from remit.backends.envoy_binary import find
from remit.listeners.envoy_check import CHECK
from remit.listeners.envoy_proc import PROCESS

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

SOCKETS = ("remit.sock", "admin.sock", "tcp.sock")
NOBODY = 65534
_DIAL = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for path in sys.argv[1:]:
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(path)
        print("through")
    except OSError as error:
        print(type(error).__name__)
    finally:
        sock.close()
"""


@pytest.fixture(scope="module")
def on() -> Iterator[Stage]:
    """In a place that everybody may enter, so that only what Remit itself closes is closed."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        with stage(Path(place)) as made:
            yield made


def check() -> bytes:
    """A question that Envoy could ask, for what would be allowed."""
    asked = auth.CheckRequest()
    http = asked.attributes.request.http
    http.method, http.path, http.host = "GET", "/api/v1/items/3", "x"
    http.headers["remit-token"] = TOKENS["support"]
    return asked.SerializeToString()


def process() -> bytes:
    """The first message of such a stream."""
    asked = proc.ProcessingRequest()
    given = {":method": "GET", ":path": "/api/v1/items/3", ":authority": "x", "remit-token": TOKENS["support"]}
    for name, value in given.items():
        asked.request_headers.headers.headers.add(key=name, raw_value=value.encode())
    asked.request_headers.end_of_stream = True
    return asked.SerializeToString()


def answered(target: str, path: str, body: bytes, token: str) -> tuple[grpc.StatusCode, bytes]:
    """How a call by gRPC ends, and all that was said."""
    metadata = (("authorization", f"Bearer {token}"), ("remit-listener", "egress")) if token else ()
    with grpc.insecure_channel(target) as channel:
        ask = channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
        try:
            return grpc.StatusCode.OK, ask(body, metadata=metadata, timeout=3)
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            told = f"{error.details()} {error.initial_metadata()} {error.trailing_metadata()}"
            return error.code(), told.encode()


@pytest.mark.parametrize("path", [CHECK, PROCESS])
@pytest.mark.parametrize("token", ["", TOKENS["support"], TOKENS["ana"]], ids=["nobody", "an agent", "a person"])
def test_what_envoy_asks_an_agent_cannot_ask(on: Stage, path: str, token: str) -> None:
    """On the agents' own port and socket, and through both of Envoy's listeners: nothing is answered, no key is had."""
    body = check() if path == CHECK else process()
    on.page()
    for target in (
        f"unix:{on.place / 'agents.sock'}",
        *(f"127.0.0.1:{port}" for port in (on.grpc, on.egress, on.proxy)),
    ):
        code, told = answered(target, path, body, token)
        assert code not in (grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED), (target, code)
        assert leaks({"key": KEY.encode()}, {target: told}) == []
    assert on.api.got == []


def test_the_door_itself_would_hand_out_the_credential(on: Stage) -> None:
    """The planted weakness: who may open the private socket, as the sidecar's own user may, is handed it."""
    code, told = answered(f"unix:{on.state / 'egress' / 'remit.sock'}", CHECK, check(), "")
    assert code is grpc.StatusCode.OK
    assert leaks({"key": KEY.encode()}, {"the answer": told}) != []


@pytest.mark.parametrize("path", ["", "config_dump", "stats", "ready", "clusters", "quitquitquit", "healthcheck/fail"])
def test_envoys_admin_is_not_to_be_reached_through_envoy(on: Stage, path: str) -> None:
    """By path, by host, by the names of its own clusters and sockets."""
    for target, host in (
        (f"/{path}", "admin"),
        (f"/admin/{path}", "localhost"),
        (f"/remit/{path}", "remit"),
        (f"/tunnels/{path}", "tunnels"),
        (f"/api/../{path}", str(on.state / "egress" / "admin.sock")),
    ):
        assert talk(on.egress, request(target, host=host)).status in (0, 403)
        assert talk(on.proxy, request(f"http://{host}{target}", host=host, headers=PROXY_TOKEN)).status in (0, 400, 403)
    assert talk(on.egress, request("/api/v1/items/3")).status == 200


def test_files_and_sockets_are_their_users_alone(on: Stage) -> None:
    """Modes; and Envoy's admin only reads."""
    egress = on.state / "egress"
    assert stat.S_IMODE(on.state.stat().st_mode) == 0o700
    assert stat.S_IMODE(egress.stat().st_mode) == 0o700
    open_ones = [path.name for path in egress.iterdir() if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert open_ones in ([], ["access.log"])
    for path in ("quitquitquit", "drain_listeners", "runtime_modify?a=b", "logging?level=trace", "cpuprofiler"):
        asked = ["curl", "-s", "-X", "POST", "-w", "%{http_code}", "-o", os.devnull]
        told = subprocess.run(
            [*asked, "--unix-socket", str(egress / "admin.sock"), f"http://x/{path}"], capture_output=True, check=True
        )
        assert told.stdout == b"403"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_crash_leaves_no_core_file_with_credentials_in_it(on: Stage) -> None:
    """Neither the sidecar's nor Envoy's."""
    for pid in (on.pid, on.child("envoy")):
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        (core,) = [line.split()[4:6] for line in limits if line.startswith("Max core file size")]
        assert core == ["0", "0"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_opens_no_private_socket(on: Stage) -> None:
    """Even one that knows where they are; and the test would notice one that was left open."""
    egress = on.state / "egress"

    def dialled() -> list[str]:
        paths = [str(egress / name) for name in SOCKETS]
        said = subprocess.run([sys.executable, "-c", _DIAL, *paths], capture_output=True, text=True, check=True)
        return said.stdout.split()

    assert "through" not in dialled()
    for path in (on.state, egress, *(egress / name for name in SOCKETS if (egress / name).exists())):
        path.chmod(0o777)
    try:
        assert dialled()[:2] == ["through", "through"]
    finally:
        for path in (on.state, egress):
            path.chmod(0o700)
        for name in SOCKETS:
            if (egress / name).exists():
                (egress / name).chmod(0o600)


@contextmanager
def strangers_envoy(on: Stage, checked: Mapping[str, object]) -> Iterator[int]:
    """An Envoy that opens on failure, asks the sidecar by ext_authz, and leads to the upstream; its port."""
    port, api = free_port(), "type.googleapis.com/envoy"
    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{api}.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }

    def cluster(name: str, address: object, **more: object) -> dict[str, object]:
        ends = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
        return {"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": ends}, **more}

    authz = {
        "@type": f"{api}.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "grpc_service": {"envoy_grpc": {"cluster_name": "remit"}, "timeout": "3s"},
        "failure_mode_allow": True,
        **checked,
    }
    route = {"match": {"prefix": "/api/"}, "route": {"cluster": "up", "prefix_rewrite": "/base/"}}
    manager = {
        "@type": f"{api}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "route_config": {"virtual_hosts": [{"name": "x", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "authz", "typed_config": authz},
            {"name": "r", "typed_config": {"@type": f"{api}.extensions.filters.http.router.v3.Router"}},
        ],
    }
    at = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    up = {"socket_address": {"address": "127.0.0.1", "port_value": on.api.port}}
    sidecar = {"pipe": {"path": str(on.state / "egress" / "remit.sock")}}
    clusters = [cluster("up", up), cluster("remit", sidecar, typed_extension_protocol_options=http2)]
    config = {"static_resources": {"listeners": [{"address": at, "filter_chains": [chain]}], "clusters": clusters}}
    path = on.place / "stranger.json"
    path.write_text(json.dumps(config))
    command = [
        str(find(os.environ).path),
        "-c",
        str(path),
        "--concurrency",
        "1",
        "--base-id",
        "0",
        "--use-dynamic-base-id",
    ]
    with (on.place / "stranger.log").open("w") as log:
        process = subprocess.Popen([*command, "-l", "error"], stdout=log, stderr=log)
    try:
        assert until(lambda: _answers(port), 10), (on.place / "stranger.log").read_text()
        yield port
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        return talk(port, request("/nowhere"), whole=1).status == 404
    except OSError:
        return False


WITH_BODY = {"with_request_body": {"max_request_bytes": 4096, "allow_partial_message": True, "pack_as_bytes": True}}
POST = f"POST /api/v1/chat HTTP/1.1\r\nhost: x\r\n{TOKEN}content-type: application/json\r\nconnection: close\r\n"


def h2_post(port: int, body: bytes) -> None:
    """A body whose length no header tells."""

    async def send() -> None:
        fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/api/v1/chat")]
        fields += [(b"remit-token", TOKENS["support"].encode()), (b"content-type", b"application/json")]
        async with connect(f"127.0.0.1:{port}") as connection:
            stream = await connection.ask(fields, [], half_close=False)
            await connection.send(frame(DATA, END_STREAM, 1, body))
            await connection.end(stream, seconds=2)

    asyncio.run(send())


@pytest.mark.parametrize(
    "checked", [WITH_BODY, {}, {**WITH_BODY, "encode_raw_headers": True}], ids=["body", "none", "raw"]
)
def test_an_envoy_that_opens_on_failure_gets_explicit_denials(on: Stage, checked: Mapping[str, object]) -> None:
    """Nobody's calls, targets in two readings, cut bodies, bodies that are not shown, a policy engine that hangs."""
    with strangers_envoy(on, checked) as port:
        on.page()
        long = b'{"a":"' + b"x" * 8000 + b'"}'
        sized = POST.encode() + b"content-length: %d\r\n\r\n" % len(long) + long
        chunked = POST.encode() + b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(long), long)
        denied: list[Heard] = [
            talk(port, request("/api/v1/items/3", who="")),
            talk(port, request("/api/v1/items/3", who="remit-token: of-nobody\r\n")),
            talk(port, request("/api/v1/secret")),
            talk(port, request("/api/v1/%2E%2E/admin")),
            talk(port, sized),
            talk(port, chunked),
            talk(port, chunked.replace(b"connection:", b"x-envoy-auth-partial-body: false\r\nconnection:")),
        ]
        if checked:
            # Of a GET's body nothing is told to whoever is not shown bodies.
            denied.append(talk(port, chunked.replace(b"POST", b"GET").replace(b"v1/chat", b"v1/items/3")))
        h2_post(port, long)
        with stopped(on.child("opa")):
            denied.append(talk(port, request("/api/v1/items/3")))
        assert [each.status for each in denied if each.status not in (401, 403, 503)] == []
        assert on.api.got == []
        assert talk(port, request("/api/v1/items/3")).status == 200
        assert [got.all("authorization") for got in on.api.got] == [[f"Bearer {KEY}"]]
        assert on.reckon() == []


def test_bytes_that_are_no_message_at_the_private_door_open_nothing(on: Stage) -> None:
    """A Check that cannot be read is denied in words, not by an error."""
    target = f"unix:{on.state / 'egress' / 'remit.sock'}"
    for body in (b"\xff\xff", b"", message(b"x" * 100)):
        code, told = answered(target, CHECK, body, "")
        assert code is grpc.StatusCode.OK
        assert auth.CheckResponse.FromString(told).status.code == grpc.StatusCode.PERMISSION_DENIED.value[0]
