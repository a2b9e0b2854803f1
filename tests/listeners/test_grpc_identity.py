"""Who calls is proved by the connection, never by what a request says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest
from fakes.loop import in_loop
from google.rpc import error_details_pb2
from grpc import StatusCode
from listeners.serving import (
    ANA,
    CATALOGUE,
    OPERATOR,
    SUPPORT,
    WRITER,
    Caller,
    details,
    question,
    reason,
    serving,
)
from remit.core.catalogue import Catalogue
from remit.core.model import Mode
from remit.listeners.grpc_server import CannotListen, Tcp, UnixSocket
from remit.v1 import audit_pb2, resources_pb2

Metadata = Sequence[tuple[str, str | bytes]]


async def refusal(caller: Caller, metadata: Metadata | None = None, **changed: object) -> grpc.aio.AioRpcError:
    """How a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await caller.authorize(question(**changed), metadata)
    return caught.value


WRONG: list[tuple[str, Metadata, str]] = [
    ("nothing", (), "missing"),
    ("a guess", (("authorization", "Bearer guess"),), "unknown"),
    ("a token with more", (("authorization", f"Bearer {SUPPORT}x"),), "unknown"),
    ("a token's hash", (("remit-token", "sha256:" + "0" * 64),), "unknown"),
    ("another scheme", (("authorization", f"Basic {SUPPORT}"),), "malformed"),
    ("no scheme", (("authorization", SUPPORT),), "malformed"),
    ("two spaces", (("authorization", f"Bearer  {SUPPORT}"),), "malformed"),
    ("a token with a space", (("remit-token", f"{SUPPORT} x"),), "malformed"),
    ("a token of 5000", (("remit-token", "t" * 5000),), "malformed"),
    ("the same twice", (("remit-token", SUPPORT), ("remit-token", SUPPORT)), "ambiguous"),
    ("two keys", (("remit-token", SUPPORT), ("authorization", f"Bearer {WRITER}")), "ambiguous"),
    ("claims in other keys", (("x-agent", "support"), ("remit-agent", "support"), ("x-spiffe", "x")), "missing"),
]


@pytest.mark.parametrize(("name", "metadata", "cause"), WRONG, ids=[each[0] for each in WRONG])
def test_without_one_good_credential_nobody_is_known(name: str, metadata: Metadata, cause: str) -> None:
    """UNAUTHENTICATED with details, recorded, counted by its cause, and nothing of the request is looked at."""

    @in_loop
    async def run() -> None:
        async with serving() as served, served.caller() as caller:
            error = await refusal(caller, metadata, action="\n")  # the bad field is not what is told

            assert error.code() is StatusCode.UNAUTHENTICATED
            assert reason(error) == "UNAUTHENTICATED"
            assert served.seen.failures == [cause]
            ((peer, kind, detail),) = served.pipeline.refusals
            assert (peer, kind) == ("unix", "identity")
            assert detail.startswith(f"{cause}: ")
            assert SUPPORT not in f"{error.details()}{error.trailing_metadata()}{detail}"
            assert not served.pipeline.asked
            assert (await caller.authorize()).effect == resources_pb2.EFFECT_ALLOW

    run()


@pytest.mark.parametrize("metadata", [(("remit-token", SUPPORT),), (("authorization", f"bearer {SUPPORT}"),)])
def test_a_token_is_taken_from_either_key(metadata: Metadata) -> None:
    """`remit-token`, or `authorization` whose scheme is written either way."""

    @in_loop
    async def run() -> None:
        async with serving() as served, served.caller() as caller:
            await caller.authorize(metadata=metadata)
            assert served.pipeline.asked[0][0].id == "support"

    run()


@in_loop
async def test_an_agent_that_claims_to_be_another_is_refused_and_recorded() -> None:
    """UNAUTHENTICATED, under the name that was proved; the pipeline never sees the question."""
    async with serving() as served, served.caller(SUPPORT) as caller:
        error = await refusal(caller, agent="writer")

        assert error.code() is StatusCode.UNAUTHENTICATED
        assert isinstance(details(error, error_details_pb2.ErrorInfo), error_details_pb2.ErrorInfo)
        assert served.seen.failures == ["mismatch"]
        ((peer, kind, detail),) = served.pipeline.refusals
        assert (peer, kind) == ("agent:support", "identity")
        assert "writer" in detail
        assert not served.pipeline.asked
        await caller.authorize(question(agent="support"))


@in_loop
async def test_agents_share_a_sidecar_each_with_its_own_name() -> None:
    """The subject is the catalogue's, team, mode and all; people and the operator are no agents."""
    async with serving() as served, served.caller() as caller:
        for token in (SUPPORT, WRITER, ANA, OPERATOR):
            await caller.authorize(metadata=(("remit-token", token),))

        support, writer, ana, operator = (subject for subject, _ in served.pipeline.asked)
        assert (support.type, support.id, support.team, support.roles) == ("agent", "support", "cx", ("support",))
        assert (support.mode, writer.mode, writer.isolation) == (Mode.ENFORCE, Mode.OBSERVE, "process")
        assert (ana.type, ana.id, ana.team, ana.roles) == ("person", "ana", "", ("finance",))
        assert (operator.type, operator.id, operator.roles) == ("person", "operator", ("operator", "auditor"))
        assert operator.identity.method == "local"


@in_loop
async def test_a_reload_takes_effect_with_the_next_call() -> None:
    """An agent that left the catalogue is nobody, on a connection that it already has."""
    async with serving() as served, served.caller() as caller:
        await caller.authorize()
        served.identities.use(Catalogue("EUR", agents={"writer": CATALOGUE.agents["writer"]}))
        assert (await refusal(caller)).code() is StatusCode.UNAUTHENTICATED
        await caller.authorize(metadata=(("remit-token", WRITER),))
        await caller.authorize(metadata=(("remit-token", OPERATOR),))


@in_loop
async def test_a_refusal_stands_when_it_cannot_be_recorded() -> None:
    """A store that is down makes nobody known."""
    async with serving() as served, served.caller("guess") as caller:
        served.pipeline.store_down = True
        assert (await refusal(caller)).code() is StatusCode.UNAUTHENTICATED


@in_loop
async def test_every_method_asks_who_calls() -> None:
    """None of the three services answers a stranger."""
    async with serving() as served, served.caller("") as caller:
        stubs = (caller.sidecar, caller.oversight, caller.audit)
        methods = {name: call for stub in stubs for name, call in vars(stub).items()}
        assert len(methods) == 23
        for name, call in methods.items():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                # The wrong message on purpose: nobody reads it.
                under_way = call(audit_pb2.VerifyRequest())
                await (under_way.read() if name in ("Query", "WatchApprovals") else under_way)
            assert caught.value.code() is StatusCode.UNAUTHENTICATED, name
        assert len(served.pipeline.refusals) == 23


@in_loop
async def test_on_tcp_a_token_is_needed_as_well() -> None:
    """Loopback proves nothing; the peer is told without its port."""
    async with serving(addresses=[Tcp("127.0.0.1", 0)]) as served, served.caller("guess") as caller:
        assert (await refusal(caller)).code() is StatusCode.UNAUTHENTICATED
        assert served.pipeline.refusals[0][0] == "ipv4:127.0.0.1"
        await caller.authorize(metadata=(("remit-token", SUPPORT),))


@in_loop
async def test_nothing_listens_beyond_loopback_without_tls() -> None:
    """The server does not start."""
    with pytest.raises(CannotListen, match="without TLS"):
        async with serving(addresses=[Tcp("0.0.0.0", 0)]):
            pass


@in_loop
async def test_a_socket_that_somebody_listens_on_is_not_taken_over(tmp_path: Path) -> None:
    """A second server refuses to start, and the first goes on."""
    path = tmp_path / "s"
    async with serving(addresses=[UnixSocket(path, 0o600)]) as served, served.caller() as caller:
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(CannotListen, match="another process"):
            async with serving(addresses=[UnixSocket(path)]):
                pass
        await caller.authorize()


@in_loop
async def test_a_file_in_the_sockets_place_is_left_alone(tmp_path: Path) -> None:
    """It is somebody's, and no socket."""
    path = tmp_path / "s"
    path.write_text("mine")
    with pytest.raises(CannotListen, match="there is a file"):
        async with serving(addresses=[UnixSocket(path)]):
            pass
    assert path.read_text() == "mine"


@in_loop
async def test_a_port_that_is_taken_is_told() -> None:
    """So_reuseport is off: two servers never share a port by accident."""
    async with serving(addresses=[Tcp("127.0.0.1", 0)]) as served:
        port = int(served.targets[0].rpartition(":")[2])
        with pytest.raises(CannotListen, match=str(port)):
            async with serving(addresses=[Tcp("127.0.0.1", port)]):
                pass


@in_loop
async def test_a_socket_left_by_a_crash_is_no_obstacle(tmp_path: Path) -> None:
    """Nobody listens there any more."""
    path = tmp_path / "s"
    async with serving(addresses=[UnixSocket(path)]):
        path.rename(tmp_path / "t")
    (tmp_path / "t").rename(path)
    async with serving(addresses=[UnixSocket(path)]) as served, served.caller() as caller:
        await caller.authorize()
