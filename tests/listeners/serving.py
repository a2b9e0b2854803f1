"""The real gRPC server in front of the pipeline in memory, and what a test needs to talk to it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import grpc
from fakes.pep_fake import FakePipeline
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from remit.backends.clock_system import SystemClock
from remit.backends.identity_catalogue import CatalogueIdentity
from remit.core.catalogue import Agent, Catalogue, Identity, Person, Team
from remit.listeners.grpc_limits import Limits
from remit.listeners.grpc_server import Address, GrpcListener, UnixSocket
from remit.v1 import audit_pb2_grpc, oversight_pb2_grpc, resources_pb2, sidecar_pb2, sidecar_pb2_grpc

SUPPORT, WRITER, ANA = "token-of-support", "token-of-writer", "token-of-ana"
OPERATOR = "token-of-operator"


def hashed(token: str) -> str:
    """A token as the catalogue holds it."""
    return f"sha256:{sha256(token.encode()).hexdigest()}"


CATALOGUE = Catalogue(
    currency="EUR",
    teams={"cx": Team()},
    people={"ana": Person(("finance",), Identity((hashed(ANA),)))},
    agents={
        "support": Agent(
            "cx", ("support",), ("support",), identity=Identity((hashed(SUPPORT),), uris=("spiffe://x/support",))
        ),
        "writer": Agent("cx", identity=Identity((hashed(WRITER),), dns=("writer.example",)), mode="observe"),
    },
)


@dataclass(slots=True)
class Seen:
    """An observer that remembers."""

    stages: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def stage(self, name: str, seconds: float) -> None:
        assert seconds >= 0
        self.stages.append(name)

    def identity_failed(self, cause: str) -> None:
        self.failures.append(cause)


class Caller:
    """One caller on one channel."""

    def __init__(self, channel: grpc.aio.Channel, token: str = "") -> None:
        self.channel = channel
        self.metadata: tuple[tuple[str, str], ...] = (("authorization", f"Bearer {token}"),) if token else ()
        self.sidecar = sidecar_pb2_grpc.SidecarStub(channel)
        self.oversight = oversight_pb2_grpc.OversightStub(channel)
        self.audit = audit_pb2_grpc.AuditStub(channel)

    async def authorize(
        self,
        request: sidecar_pb2.AuthorizeRequest | None = None,
        metadata: Sequence[tuple[str, str | bytes]] | None = None,
        seconds: float = 10,
    ) -> resources_pb2.Decision:
        """Ask the usual question, or another one."""
        response = await self.sidecar.Authorize(
            question() if request is None else request,
            metadata=self.metadata if metadata is None else tuple(metadata),
            timeout=seconds,
        )
        return response.decision


@dataclass(slots=True)
class Served:
    """A server that runs; `targets` are its addresses as clients dial them."""

    listener: GrpcListener
    pipeline: FakePipeline
    seen: Seen
    identities: CatalogueIdentity
    targets: tuple[str, ...]

    @asynccontextmanager
    async def caller(self, token: str = SUPPORT, options: Iterable[tuple[str, int]] = ()) -> AsyncIterator[Caller]:
        """A caller with a connection of its own."""
        # A pool of its own: else channels to the same address share one connection.
        alone = ("grpc.use_local_subchannel_pool", 1)
        async with grpc.aio.insecure_channel(self.targets[0], options=[alone, *options]) as channel:
            yield Caller(channel, token)


@asynccontextmanager
async def serving(
    *, limits: Limits | None = None, addresses: Sequence[Address] = (), clock: SystemClock | None = None
) -> AsyncIterator[Served]:
    """A server on a Unix socket of its own, or on other addresses."""
    with tempfile.TemporaryDirectory() as directory:
        pipeline, seen = FakePipeline(), Seen()
        identities = CatalogueIdentity(CATALOGUE, clock or SystemClock(), hashed(OPERATOR))
        listener = GrpcListener(
            pipeline,
            identities,
            seen,
            addresses=addresses or [UnixSocket(Path(directory) / "remit.sock")],
            limits=limits,
        )
        targets = await listener.start()
        await listener.serving(True)
        try:
            yield Served(listener, pipeline, seen, identities, targets)
        finally:
            pipeline.gate.set()
            await listener.stop(grace=5)


def question(**fields: object) -> sidecar_pb2.AuthorizeRequest:
    """The usual question, with other fields where they are given."""
    usual: dict[str, object] = {
        "action": "api.call",
        "resource": resources_pb2.Resource(type="service", id="openai", operation="chat", variant="small"),
    }
    return sidecar_pb2.AuthorizeRequest(**{**usual, **fields})  # type: ignore[arg-type]


def details(error: grpc.aio.AioRpcError, kind: type[Message]) -> Message | None:
    """The google.rpc detail of a kind that a status carries."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            assert isinstance(value, bytes)
            status = status_pb2.Status.FromString(value)
            assert status.code == error.code().value[0]
            for each in status.details:
                found = kind()
                if each.Unpack(found):
                    return found
    return None


def reason(error: grpc.aio.AioRpcError) -> str:
    """The machine-readable reason of a status."""
    found = details(error, error_details_pb2.ErrorInfo)
    assert isinstance(found, error_details_pb2.ErrorInfo), "every status of ours has one"
    assert found.domain == "remit"
    return found.reason


def fields(error: grpc.aio.AioRpcError) -> list[str]:
    """The fields that a status says are wrong."""
    found = details(error, error_details_pb2.BadRequest)
    return [each.field for each in found.field_violations] if isinstance(found, error_details_pb2.BadRequest) else []
