"""An empty grpc.aio call: the floor under everything that a gRPC sidecar in Python can do."""

from __future__ import annotations

import sys
from typing import Any

import grpc
import uvloop
from remit.v1 import sidecar_pb2, sidecar_pb2_grpc


class Echo(sidecar_pb2_grpc.SidecarServicer):
    """Answers at once."""

    async def Authorize(self, request: Any, context: Any) -> Any:
        return sidecar_pb2.AuthorizeResponse()


async def serve(address: str) -> None:
    server = grpc.aio.server()
    sidecar_pb2_grpc.add_SidecarServicer_to_server(Echo(), server)
    server.add_insecure_port(address)
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
