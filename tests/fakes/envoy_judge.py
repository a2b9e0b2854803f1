"""A stand-in for the sidecar's ext_proc: lets a request through to where the request itself says, and nothing else.

`x-to: SERVICE/ENDPOINT` is let through there; without it the request goes on without a word, as if the sidecar had
forgotten to refuse it. `x-hold: SECONDS` is let through after so many, and Envoy is asked to wait for `x-longer` of
them. Responses and tunnels pass unchanged until `cut` ends them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from remit._envoy.envoy.config.core.v3 import base_pb2
from remit._envoy.envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from remit._envoy.envoy.service.ext_proc.v3 import external_processor_pb2_grpc as pb_grpc
from remit.core.catalogue import Catalogue
from remit.core.egress.routing import LISTENER, ROUTE_HEADER, TCP, route, terms_of
from remit.listeners.egress_wire import hold_on

BODY_BYTES = 80 << 20


class Judge(pb_grpc.ExternalProcessorServicer):
    """`seen` are the headers of each request as the sidecar would see them; `answered` of each response."""

    def __init__(self, nonce: str, *, tcp: str = "") -> None:
        self.nonce = nonce
        self.tcp = tcp
        self.ways: dict[str, str] = {}
        self.seen: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.answered: list[dict[str, str]] = []
        self.open = 0
        self._cut = asyncio.Event()

    def know(self, catalogue: Catalogue) -> None:
        """Learn the ways to a catalogue's endpoints: SERVICE/ENDPOINT is another one where it leads elsewhere."""
        for name, service in catalogue.services.items():
            for place in service.endpoints:
                self.ways[f"{name}/{place}"] = route(self.nonce, name, place, terms_of(service, place))

    def cut(self) -> None:
        """End everything that is under way, as a halt does."""
        self._cut.set()

    async def Process(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        listener = str(dict(context.invocation_metadata())[LISTENER])
        self.open += 1
        cut = asyncio.ensure_future(self._cut.wait())
        to, hold, longer = "", 0.0, 0.0
        iterator = aiter(requests)
        try:
            while True:
                message = asyncio.ensure_future(anext(iterator, None))
                await asyncio.wait({message, cut}, return_when=asyncio.FIRST_COMPLETED)
                if cut.done():
                    message.cancel()
                    await context.abort(grpc.StatusCode.ABORTED, "halted")
                asked = message.result()
                if asked is None:
                    return
                if asked.HasField("request_headers"):
                    headers = _headers(asked.request_headers)
                    self.seen.append(headers)
                    to = self.tcp if listener == TCP else headers.get("x-to", "")
                    hold, longer = (float(headers.get(each, "0")) for each in ("x-hold", "x-longer"))
                if asked.HasField("request_body"):
                    self.bodies.append(asked.request_body.body)
                if asked.HasField("response_headers"):
                    self.answered.append(_headers(asked.response_headers))
                if hold and _decides(asked):
                    if longer:
                        yield hold_on(int(longer * 1000))
                    await asyncio.sleep(hold)
                yield self._answer(asked, to)
        finally:
            self.open -= 1
            cut.cancel()

    def _answer(self, asked: Any, to: str) -> Any:
        allowed = pb.CommonResponse(clear_route_cache=True)
        if to:
            value = base_pb2.HeaderValue(key=ROUTE_HEADER, raw_value=self.ways.get(to, to).encode())
            allowed.header_mutation.set_headers.append(base_pb2.HeaderValueOption(header=value, append_action=2))
        if asked.HasField("request_headers"):
            return pb.ProcessingResponse(request_headers=pb.HeadersResponse(response=allowed))
        if asked.HasField("request_body"):
            return pb.ProcessingResponse(request_body=pb.BodyResponse(response=allowed))
        if asked.HasField("response_headers"):
            return pb.ProcessingResponse(response_headers=pb.HeadersResponse())
        if asked.HasField("response_trailers"):
            return pb.ProcessingResponse(response_trailers=pb.TrailersResponse())
        passed = pb.BodyResponse()
        streamed = passed.response.body_mutation.streamed_response
        streamed.body, streamed.end_of_stream = asked.response_body.body, asked.response_body.end_of_stream
        return pb.ProcessingResponse(response_body=passed)


def _decides(asked: Any) -> bool:
    """Whether the request is there whole."""
    return bool(asked.request_body.end_of_stream or asked.request_headers.end_of_stream)


def _headers(message: Any) -> dict[str, str]:
    return {each.key: each.raw_value.decode("latin-1") for each in message.headers.headers}


@asynccontextmanager
async def judging(judge: Judge, socket: Path) -> AsyncIterator[None]:
    """Serve the judge on a Unix socket."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", BODY_BYTES)])
    pb_grpc.add_ExternalProcessorServicer_to_server(judge, server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)
