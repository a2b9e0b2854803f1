"""A gRPC server with methods of every shape, whose messages are plain bytes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc

SERVICE = "shop.Orders"


def same(message: bytes) -> bytes:
    """Bytes as they are, for either side."""
    return message


@dataclass
class GrpcUpstream:
    """What arrived: (method, message, metadata by name). A `Watch` goes on once `go` is set."""

    port: int = 0
    got: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)

    def note(self, method: str, message: bytes, context: grpc.ServicerContext) -> None:
        pairs = {key: value if isinstance(value, str) else value.hex() for key, value in context.invocation_metadata()}
        self.got.append((method, message, pairs))


@contextmanager
def grpc_upstream() -> Iterator[GrpcUpstream]:
    """Run it."""
    made = GrpcUpstream()

    def get(message: bytes, context: grpc.ServicerContext) -> bytes:
        made.note("Get", message, context)
        if message == b"none":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such order")
        context.set_trailing_metadata((("shop-took", "7"),))
        return b"got " + message

    def watch(message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        made.note("Watch", message, context)
        yield b"first"
        made.go.wait(10)
        yield b"second"

    def put(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        whole = b"+".join(messages)
        made.note("Put", whole, context)
        return whole

    methods = {
        "Get": grpc.unary_unary_rpc_method_handler(get, same, same),
        "Erase": grpc.unary_unary_rpc_method_handler(get, same, same),
        "Watch": grpc.unary_stream_rpc_method_handler(watch, same, same),
        "Put": grpc.stream_unary_rpc_method_handler(put, same, same),
    }
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    made.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield made
    finally:
        made.go.set()
        server.stop(None).wait()
