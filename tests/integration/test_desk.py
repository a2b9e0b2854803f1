"""One installation: what one member does holds for all of them, and people see and stop it at the desk."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from fakes.loop import in_loop, one_loop
from fakes.members_stage import Asks, Stage, Trio, bearer, durable_installation, ran, trio
from fakes.store_postgres import DESK, SIDECAR, Installation
from grpc_health.v1 import health_pb2, health_pb2_grpc
from remit.app.desk import Desk, NoSharedStore
from remit.app.member import Member
from remit.app.sidecar import App
from remit.backends.keys_file import KeysUnfit
from remit.core.errors import StoreUnavailable
from remit.v1 import audit_pb2, audit_pb2_grpc, oversight_pb2, oversight_pb2_grpc, resources_pb2, sidecar_pb2

pytestmark = [pytest.mark.opa, pytest.mark.xdist_group("desk")]


@pytest.fixture(scope="module")
def durable() -> Iterator[Installation]:
    with durable_installation() as made:
        yield made


@pytest.fixture(scope="module")
def members(durable: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """Two sidecars and a desk, for all tests of this file."""
    stage = Stage(tmp_path_factory.mktemp("m"), durable)
    with one_loop() as runner:
        opened = trio(stage)
        yield runner.run(opened.__aenter__())
        runner.run(opened.__aexit__(None, None, None))


def is_allowed(decision: resources_pb2.Decision) -> bool:
    return bool(decision.effect == resources_pb2.EFFECT_ALLOW)


def codes(decision: resources_pb2.Decision) -> list[str]:
    return [each.code for each in decision.reasons]


async def open_workflow(sidecar: Asks) -> sidecar_pb2.OpenWorkflowResponse:
    request = sidecar_pb2.OpenWorkflowRequest(purposes=["work"], agents=["analysis"])
    opened: sidecar_pb2.OpenWorkflowResponse = await sidecar.stub.OpenWorkflow(request, metadata=bearer("analysis"))
    return opened


async def fetch(member: Member, path: str, authority: Path | None = None) -> tuple[int, str]:
    """What a member answers over HTTP."""
    address = next(each for each in member.addresses if each.startswith("http"))
    context = ssl.create_default_context(cafile=authority) if authority else None

    def get() -> tuple[int, str]:
        with urllib.request.urlopen(address + path, context=context, timeout=20) as answer:
            return answer.status, answer.read().decode()

    return await asyncio.to_thread(get)


@in_loop
async def test_a_halt_at_the_desk_is_in_force_at_every_sidecars_next_decision(members: Trio) -> None:
    """And so is its end; ana is proved by her certificate."""
    async with members.desk_channel() as channel:
        oversight = oversight_pb2_grpc.OversightStub(channel)
        halt = oversight_pb2.HaltRequest(scope=resources_pb2.SCOPE_AGENT, value="analysis", reason="too fast")
        assert is_allowed(await members.first.model())
        placed = await oversight.Halt(halt)
        halted = [await each.model() for each in (members.first, members.second)]
        await oversight.Resume(oversight_pb2.ResumeRequest(scope=halt.scope, value="analysis", reason="well"))
        resumed = [await each.model() for each in (members.first, members.second)]

    assert is_allowed(placed.decision)
    assert ["halted" in codes(each) for each in halted] == [True, True]
    assert list(map(is_allowed, resumed)) == [True, True]


@in_loop
async def test_a_budget_is_one_for_all_sidecars(members: Trio) -> None:
    """Four halves fit into two, wherever they are asked for; the desk sees what is held, and may add to the limit."""
    asked = [members.first, members.second, members.first, members.second, members.first, members.second]
    effects = [await each.model("mailer") for each in asked]
    async with members.desk_channel() as channel:
        oversight = oversight_pb2_grpc.OversightStub(channel)
        listed = await oversight.ListBudgets(oversight_pb2.ListBudgetsRequest(budget="of-mailer"))
        delta = resources_pb2.Money(currency="EUR", units=1)
        await oversight.AdjustBudget(oversight_pb2.AdjustBudgetRequest(budget="of-mailer", delta=delta, reason="more"))

    assert list(map(is_allowed, effects)) == [True] * 4 + [False] * 2
    assert codes(effects[-1]) == ["budget_exhausted"]
    assert [(each.id, each.limit.units, each.held.units) for each in listed.budgets] == [("of-mailer", 2, 2)]
    assert is_allowed(await members.second.model("mailer"))


@in_loop
async def test_a_workflow_of_one_sidecar_goes_on_at_another_and_is_traced_at_the_desk(members: Trio) -> None:
    """Its context verifies there; the trace has both sidecars' records, each with its own log."""
    opened = await open_workflow(members.first)
    decided = [await each.model(workflow=opened.context) for each in (members.first, members.second)]
    async with members.desk_channel("nobody") as channel:
        audit = audit_pb2_grpc.AuditStub(channel)
        trace = await audit.Trace(audit_pb2.TraceRequest(workflow=opened.workflow), metadata=bearer("bo"))
        one = await audit.GetDecision(audit_pb2.GetDecisionRequest(decision=decided[1].id), metadata=bearer("bo"))
    close = sidecar_pb2.CloseWorkflowRequest(workflow=opened.context, reason="done")
    await members.second.stub.CloseWorkflow(close, metadata=bearer("analysis"))
    late = await members.first.model(workflow=opened.context)

    assert list(map(is_allowed, decided)) == [True, True]
    assert {each.id for each in decided} <= {each.id for each in trace.records}
    assert len({each.log for each in trace.records if each.kind == "decision"}) >= 2
    assert one.record.id == decided[1].id
    assert codes(late) == ["workflow_invalid"]


@in_loop
async def test_the_desk_serves_people_and_no_agents(members: Trio) -> None:
    """Sidecar is UNIMPLEMENTED there, and not told of; health is served; a certificate of nobody's proves nobody."""
    request = sidecar_pb2.AuthorizeRequest(action="api.call")
    async with members.desk_channel("nobody") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        well = await health.Check(health_pb2.HealthCheckRequest(service="remit.v1.Oversight"))
        refused = []
        for call in (
            Asks(channel).stub.Authorize(request, metadata=bearer("analysis")),
            health.Check(health_pb2.HealthCheckRequest(service="remit.v1.Sidecar")),
            oversight_pb2_grpc.OversightStub(channel).ListBudgets(oversight_pb2.ListBudgetsRequest()),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            refused.append(caught.value.code())

    assert well.status == health_pb2.HealthCheckResponse.SERVING
    assert refused == [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAUTHENTICATED]


@in_loop
async def test_what_lives_in_the_store_is_told_by_the_desk_alone(members: Trio) -> None:
    """So that sums are true; each tells of its own OPA. The desk's web pages are behind a sign-in."""
    place = members.stage.place
    at_desk = (await fetch(members.desk, "/metrics", place / "ca.crt"))[1]
    at_sidecars = [(await fetch(each, "/metrics"))[1] for each in members.sidecars]
    page = await fetch(members.desk, "/", place / "ca.crt")
    ready = await fetch(members.desk, "/readyz", place / "ca.crt")

    assert 'remit_budget_limit{budget="total",currency="EUR"} 100.0' in at_desk
    assert "remit_halted" in at_desk and "remit_pdp_up 1.0" in at_desk
    assert 'remit_agent_info{agent="analysis"' in at_desk and "remit_unsigned_oldest_age_seconds" in at_desk
    assert "remit_egress_up" not in at_desk and "remit_unshipped_oldest_age_seconds" not in at_desk
    for text in at_sidecars:
        assert "remit_budget" not in text and "remit_halted" not in text and "_info{agent" not in text
        assert "remit_unsigned_oldest_age_seconds" in text and "remit_unshipped_oldest_age_seconds" in text
        assert "remit_pdp_up 1.0" in text
    assert page[0] == ready[0] == 200
    assert "total" not in page[1] and "sign" in page[1].lower()


@in_loop
async def test_commands_ask_the_desk_over_tls(members: Trio) -> None:
    """https:// with who signed it; without, and for what only a sidecar answers, it is said what to do."""
    place, address = members.stage.place, f"https://{members.desk.addresses[0]}"
    ana = ["--tls-cert", str(place / "ana.crt"), "--tls-key", str(place / "ana.key")]
    authority = ["--tls-ca", str(place / "ca.crt")]
    agent = ["authorize", "api.call", "service:model", "--address", address, *ana]
    listed, unknown, plain, asked = await ran(
        (["budget", "list", "--json", "--address", address, *ana, *authority], {}),
        (["budget", "list", "--address", address, *ana], {}),
        (["budget", "list", "--address", members.desk.addresses[0]], {}),
        (agent, {"REMIT_TLS_CA": authority[1], "REMIT_TOKEN": "token-of-analysis"}),
    )

    assert listed[0] == 0 and '"total"' in listed[1], listed
    assert unknown[0] == 3 and "name who signed its certificate with --tls-ca or REMIT_TLS_CA" in unknown[2], unknown
    assert plain[0] == 3 and f"if it speaks TLS, name it as {address}" in plain[2], plain
    assert asked[0] == 2 and "does not serve agents: it is a desk; ask a sidecar with --address" in asked[2], asked


def log_of(member: Member) -> str:
    """The log that a member writes in the store."""
    return str(member.verifier).partition("/")[2].partition("+")[0]


def states(ended: tuple[int, str, str]) -> dict[str, str]:
    """What a verification that ended well found in each log."""
    assert ended[0] == 0, ended
    return {each["log"]: each["state"] for each in json.loads(ended[1])["logs"]}


@contextmanager
def changed(installation: Installation) -> Iterator[None]:
    """One byte more in a record, as whoever owns the database could add it past its guards; taken away afterwards."""
    change = "UPDATE remit.journal SET body = {} WHERE id = (SELECT min(id) FROM remit.journal)"
    forced = "SET session_replication_role = replica; {}; RESET session_replication_role"
    installation.run(forced.format(change.format("body || 'x'")))
    yield
    installation.run(forced.format(change.format("substring(body FOR length(body) - 1)")))


@in_loop
async def test_every_members_log_is_verified_at_the_desk_and_without_it(members: Trio) -> None:
    """By the desk, and by whoever may read the database: with each member's key, and broken by any change."""
    for each in members.sidecars:
        await each._store.sign()  # type: ignore[attr-defined]  # as each does by itself, ten seconds later
    async with members.desk_channel() as channel:
        asked = await audit_pb2_grpc.AuditStub(channel).Verify(audit_pb2.VerifyRequest())
    installation, place = members.stage.installation, members.stage.place
    publics = [place / name / "keys" / "journal.pub" for name in ("one", "two", "desk")]
    keys = [part for each in publics for part in ("--key", str(each))]
    password = str(place / f"{DESK}.password")
    verify = ["audit", "verify", "--store-url", installation.url(DESK), "--store-password-file", password]
    pinned, unpinned, other = await ran(
        ([*verify, *keys, "--key", members.desk.verifier, "--json"], {}),
        ([*verify, *keys[2:], "--json"], {}),
        ([*verify, "--key", base64.b64encode(bytes(32)).decode()], {}),
    )
    with changed(installation):
        (broken,) = await ran(([*verify, *keys, "--json"], {}))

    assert (asked.ok, asked.records > 0) == (True, True), asked
    # What a sidecar decided by itself it has not signed yet, and nobody's key vouches for it so far.
    own = [log_of(each) for each in (*members.sidecars, members.desk)]
    assert [states(pinned)[log] for log in own] == ["authentic"] * 3, pinned
    assert [states(unpinned)[log] for log in own] == ["consistent", "authentic", "authentic"], unpinned
    assert other[0] == 1 and "no log of the store is registered with the key" in other[2], other
    assert broken[0] == 1 and json.loads(broken[1])["state"] == "broken", broken


@in_loop
async def test_a_member_with_other_keys_does_not_start(members: Trio) -> None:
    """It is said which differ and which setting to mend; nothing of its own is left in the way of a second try."""
    stage = members.stage
    other = stage.flags("other", keys=stage.place / "other-keys")
    (stage.place / "other-keys").mkdir()
    (stage.place / "other-keys" / "hmac.key").write_bytes((stage.place / "keys" / "hmac.key").read_bytes())
    (stage.place / "other-keys" / "hmac.key").chmod(0o600)
    with pytest.raises(KeysUnfit) as refused:
        await stage.member(App, other).start()

    assert str(refused.value) == (
        f"{stage.place}/other-keys: context.key, views.key: not the keys of this installation's other members; "
        "expected copies of theirs, in a directory that `keys` (REMIT_KEYS, --keys) names"
    )
    async with stage.running(App, "other") as member:
        assert member.addresses


@in_loop
async def test_two_members_do_not_share_a_state_directory(members: Trio) -> None:
    """The second is told whose it is."""
    stage = members.stage
    with pytest.raises(StoreUnavailable, match="belongs to a running sidecar"):
        await stage.member(App, stage.flags("one", socket=stage.place / "again.sock")).start()


@in_loop
async def test_a_desk_needs_a_store_that_is_shared(members: Trio) -> None:
    """On an embedded one it would be the only member; with a sidecar's role it may keep no desk's log."""
    stage = members.stage
    with pytest.raises(NoSharedStore, match="REMIT_STORE_URL"):
        await stage.member(Desk, stage.flags("alone", store_url=None, store_password_file=None)).start()
    with pytest.raises(StoreUnavailable, match="no member of remit_desk"):
        await stage.member(Desk, stage.flags("false", SIDECAR)).start()
