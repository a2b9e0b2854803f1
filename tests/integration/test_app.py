"""The whole sidecar on real parts: OPA, SQLite, gRPC; what happens when one of them fails or changes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import grpc
import pytest
from aiohttp import ClientSession, CookieJar
from remit.app.sidecar import App
from remit.backends.store_sqlite import open_journal
from remit.config import Settings, load
from remit.core.catalogue import Catalogue
from remit.core.errors import StoreUnavailable
from remit.v1 import audit_pb2, audit_pb2_grpc, oversight_pb2, oversight_pb2_grpc, resources_pb2, sidecar_pb2
from remit.v1 import sidecar_pb2_grpc as g

pytestmark = pytest.mark.opa
HASH = {name: sha256(f"token-of-{name}".encode()).hexdigest() for name in ("analysis", "mailer", "ana")}
CATALOGUE = f"""
currency: EUR
teams: {{cx: {{}}}}
people: {{ana: {{roles: [operator], identity: {{token_hash: "sha256:{HASH["ana"]}"}}}}}}
agents:
  analysis: {{team: cx, roles: [analyst], purposes: [onboarding], clearance: [pii],
             identity: {{token_hash: "sha256:{HASH["analysis"]}"}}}}
  mailer: {{team: cx, roles: [mailer], purposes: [onboarding], clearance: [pii],
           identity: {{token_hash: "sha256:{HASH["mailer"]}"}}}}
services:
  model: {{owner: cx, clearance: [pii], metering: agent,
          variants: {{small: {{}}, large: {{approval: {{roles: [finance]}}, cheaper: small}}}}}}
  email: {{owner: cx, metering: agent, variants: {{standard: {{}}}}}}
  orphan: {{metering: agent, variants: {{standard: {{}}}}}}
  unpriced: {{owner: cx, variants: {{standard: {{}}}}}}
prices:
  - {{match: "model/*", unit: call, amount: 0.5, currency: EUR}}
  - {{match: "email/*", unit: call, amount: 0.01, currency: EUR}}
  - {{match: "orphan/*", unit: call, amount: 0.01, currency: EUR}}
datasets:
  crm: {{owner: cx, tables: {{customers: {{columns: {{iban: [pii], region: []}}}}}}}}
budgets:
  month: {{limit: 2, window: month}}
"""
Ask = Callable[..., Awaitable[resources_pb2.Decision]]


class Running:
    """A sidecar in this process, and its clients."""

    def __init__(self, directory: Path, app: App) -> None:
        self.directory, self.app = directory, app
        self.channel = grpc.aio.insecure_channel(f"unix:{directory / 's'}")

    async def ask(
        self, action: str, type: str, id: str, *, who: str = "analysis", **more: object
    ) -> resources_pb2.Decision:
        """One question."""
        fields = more.pop("fields", ())
        key = str(more.pop("key", ""))
        workflow = str(more.pop("workflow", ""))
        resource = resources_pb2.Resource(type=type, id=id, fields=fields, **more)  # type: ignore[arg-type]
        context = resources_pb2.Context(purpose="" if workflow else "onboarding", workflow=workflow)
        request = sidecar_pb2.AuthorizeRequest(action=action, resource=resource, context=context, key=key)
        answer = await g.SidecarStub(self.channel).Authorize(request, metadata=token(who), timeout=10)
        return answer.decision

    async def model(self, variant: str = "small", **more: object) -> resources_pb2.Decision:
        return await self.ask("api.call", "service", "model", operation="chat", variant=variant, **more)

    async def mail(self, **more: object) -> resources_pb2.Decision:
        return await self.ask("api.call", "service", "email", variant="standard", **more)

    @property
    def opa_pid(self) -> int:
        return self.app._pdp.pid  # type: ignore[attr-defined,no-any-return]


def token(who: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer token-of-{who}"),)


def loader(directory: Path, **more: object) -> Callable[[], tuple[Settings, Catalogue]]:
    flags: dict[str, object] = {
        "state": directory / "state",
        "socket": directory / "s",
        "grpc": "off",
        "http": "off",
        "policies": [directory / "policies"],
        "watch": False,
        **more,
    }
    return lambda: load([directory / "remit.yaml"], os.environ, flags)


@asynccontextmanager
async def running(directory: Path, catalogue: str = CATALOGUE, **more: object) -> AsyncIterator[Running]:
    (directory / "policies").mkdir(exist_ok=True)
    (directory / "remit.yaml").write_text(catalogue, encoding="utf-8")
    read = loader(directory, **more)
    settings, parsed = read()
    app = App(settings, parsed, load=read)
    await app.start()
    sidecar = Running(directory, app)
    try:
        yield sidecar
    finally:
        await sidecar.channel.close()
        await app.stop()


def codes(decision: resources_pb2.Decision) -> list[str]:
    return [each.code for each in decision.reasons]


def is_allowed(decision: resources_pb2.Decision) -> bool:
    return bool(decision.effect == resources_pb2.EFFECT_ALLOW)


def test_the_library_judges_as_the_catalogue_says(tmp_path: Path) -> None:
    """Allowed, held for approval, without owner, without price, unknown: each with its own reason."""

    async def scene() -> None:
        async with running(tmp_path) as sidecar:
            assert is_allowed(await sidecar.model())
            large = await sidecar.model("large")
            assert (codes(large), large.cheaper) == (["approval_required"], "small")
            assert "variant_not_listed" in codes(await sidecar.model("huge"))
            assert "no_owner" in codes(await sidecar.ask("api.call", "service", "orphan", variant="standard"))
            assert "price_unknown" in codes(await sidecar.ask("api.call", "service", "unpriced", variant="standard"))
            assert "unknown_resource" in codes(await sidecar.ask("api.call", "service", "nowhere"))
            assert "unknown_action" in codes(await sidecar.ask("launch", "service", "model", variant="small"))

    asyncio.run(scene())


def test_what_was_read_decides_where_it_may_go(tmp_path: Path) -> None:
    """Columns without labels leave the session clean; one with a label closes the way to the e-mail service."""

    async def scene() -> None:
        async with running(tmp_path) as sidecar:
            assert is_allowed(await sidecar.ask("data.read", "dataset", "crm", fields=["customers.region"]))
            assert is_allowed(await sidecar.mail())
            assert is_allowed(await sidecar.ask("data.read", "dataset", "crm", fields=["customers.iban"]))
            refused = await sidecar.mail()
            assert codes(refused) == ["flow_label_exceeds_clearance"]
            assert "pii" in refused.message
            assert is_allowed(await sidecar.mail(who="mailer"))

    asyncio.run(scene())


def test_a_passport_carries_labels_to_the_receiver(tmp_path: Path) -> None:
    """Handoff and Accept through gRPC, inside one sidecar: the receiver may no longer mail."""

    async def scene() -> None:
        async with running(tmp_path) as sidecar:
            client = g.SidecarStub(sidecar.channel)
            await sidecar.ask("data.read", "dataset", "crm", fields=["customers.iban"])
            handoff = sidecar_pb2.HandoffRequest(agent="mailer", context=resources_pb2.Context(purpose="onboarding"))
            passport = (await client.Handoff(handoff, metadata=token("analysis"))).passport
            accepted = await client.Accept(sidecar_pb2.AcceptRequest(passport=passport), metadata=token("mailer"))
            assert list(accepted.labels) == ["pii"]
            assert codes(await sidecar.mail(who="mailer")) == ["flow_label_exceeds_clearance"]

    asyncio.run(scene())


def test_opa_killed_while_serving_denies_and_is_back_within_five_seconds(tmp_path: Path) -> None:
    """DENY pdp_unavailable (retryable, recorded), never an ALLOW, and the next good request works."""

    async def scene() -> None:
        async with running(tmp_path) as sidecar:
            assert is_allowed(await sidecar.model())
            os.kill(sidecar.opa_pid, signal.SIGKILL)
            killed = time.monotonic()
            refused = await sidecar.model()
            while not is_allowed(decision := await sidecar.model()):
                assert codes(decision) == ["pdp_unavailable"], decision
                assert decision.retryable
                assert time.monotonic() - killed < 5
            assert codes(refused) == ["pdp_unavailable"]

    asyncio.run(scene())


def test_a_reload_takes_the_new_catalogue_and_a_bad_one_keeps_the_good(tmp_path: Path) -> None:
    """Opening a variant takes effect without a restart; a broken catalogue changes nothing."""

    async def scene() -> None:
        async with running(tmp_path) as sidecar:
            before = await sidecar.model("large")
            opened = CATALOGUE.replace("{approval: {roles: [finance]}, cheaper: small}", "{cheaper: small}")
            (tmp_path / "remit.yaml").write_text(opened, encoding="utf-8")
            await sidecar.app.reload()
            after = await sidecar.model("large")
            (tmp_path / "remit.yaml").write_text(opened.replace("team: cx", "team: nobody"), encoding="utf-8")
            await sidecar.app.reload()
            still = await sidecar.model("large")

            assert codes(before) == ["approval_required"]
            assert is_allowed(after)
            assert after.policy_revision == still.policy_revision != before.policy_revision
            assert is_allowed(still)

    asyncio.run(scene())


def test_a_users_rule_joins_in_and_speaks_in_its_own_words(tmp_path: Path) -> None:
    """A package below remit.custom denies with its own code and message; a bad one is refused on reload."""
    rule = """# METADATA
# title: No mail on Sundays
# custom:
#   owner: cx
#   codes:
#     sunday: "{subject.id} rests on Sundays"
package remit.custom.cx.sunday

deny contains "sunday" if input.resource.id == "email"

record contains "/reason"
"""

    async def scene() -> None:
        async with running(tmp_path) as sidecar:
            assert is_allowed(await sidecar.mail())
            (tmp_path / "policies" / "sunday.rego").write_text(rule, encoding="utf-8")
            await sidecar.app.reload()
            refused = await sidecar.mail()
            (tmp_path / "policies" / "evil.rego").write_text("package remit\n\ndecision := 1\n", encoding="utf-8")
            await sidecar.app.reload()

            assert [(each.policy, each.code) for each in refused.reasons] == [("custom.cx.sunday", "sunday")]
            assert refused.message.startswith("analysis rests on Sundays")
            assert codes(await sidecar.mail()) == ["sunday"]

    asyncio.run(scene())


def test_library_rules_can_be_switched_off_by_name_only(tmp_path: Path) -> None:
    """config.json lowers one rule; a name that does not exist is refused."""

    async def scene() -> None:
        async with running(tmp_path) as sidecar:
            off = '{"rules": {"variants.approval": {"level": "off"}}}'
            (tmp_path / "policies" / "config.json").write_text(off, encoding="utf-8")
            await sidecar.app.reload()
            assert is_allowed(await sidecar.model("large"))
            (tmp_path / "policies" / "config.json").write_text(off.replace("approval", "aproval"), encoding="utf-8")
            await sidecar.app.reload()
            assert is_allowed(await sidecar.model("large"))

    asyncio.run(scene())


def test_a_second_sidecar_on_the_same_state_refuses_to_start(tmp_path: Path) -> None:
    """The embedded store belongs to one running sidecar."""

    async def scene() -> None:
        async with running(tmp_path) as sidecar:
            settings, catalogue = loader(tmp_path)()
            with pytest.raises(StoreUnavailable):
                await App(settings, catalogue, load=loader(tmp_path)).start()
            assert is_allowed(await sidecar.model())

    asyncio.run(scene())


def test_people_halt_resume_adjust_and_see(tmp_path: Path) -> None:
    """Oversight and Audit through gRPC: an operator may, an agent may not; each act is recorded."""

    async def scene() -> None:
        async with running(tmp_path) as sidecar:
            oversight = oversight_pb2_grpc.OversightStub(sidecar.channel)
            audit = audit_pb2_grpc.AuditStub(sidecar.channel)
            halt = oversight_pb2.HaltRequest(
                scope=resources_pb2.SCOPE_AGENT, value="analysis", reason="spends too fast"
            )
            by_agent = await oversight.Halt(halt, metadata=token("mailer"))
            by_person = await oversight.Halt(halt, metadata=token("ana"))
            stopped = await sidecar.model()
            resume = oversight_pb2.ResumeRequest(scope=halt.scope, value=halt.value, reason="repaired")
            await oversight.Resume(resume, metadata=token("ana"))
            allowed = await sidecar.model()
            listed = await oversight.ListBudgets(oversight_pb2.ListBudgetsRequest(), metadata=token("ana"))
            seen = await audit.GetDecision(audit_pb2.GetDecisionRequest(decision=stopped.id), metadata=token("ana"))
            verified = await audit.Verify(audit_pb2.VerifyRequest(), metadata=token("ana"))

            assert not is_allowed(by_agent.decision)
            assert is_allowed(by_person.decision)
            assert "halted" in codes(stopped)
            assert is_allowed(allowed)
            assert [(each.id, each.held.nanos) for each in listed.budgets] == [("month", 500_000_000)]
            assert seen.record.id == stopped.id
            assert (verified.ok, verified.authentic) == (True, True)

    asyncio.run(scene())


def test_a_wrong_token_and_a_false_name_are_refused_and_recorded(tmp_path: Path) -> None:
    """UNAUTHENTICATED for nobody's token and for an agent that claims to be another; both in the journal."""

    async def scene() -> None:
        async with running(tmp_path) as sidecar:
            client = g.SidecarStub(sidecar.channel)
            request = sidecar_pb2.AuthorizeRequest(
                action="api.call",
                resource=resources_pb2.Resource(type="service", id="model", variant="small"),
                agent="mailer",
            )
            for metadata in (token("nobody"), token("analysis"), ()):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await client.Authorize(request, metadata=metadata)
                assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with open_journal(tmp_path / "state" / "state.db") as journal:
            kinds = [row.record.kind for row in journal.rows()]
        assert "refused.identity" in kinds

    asyncio.run(scene())


def test_a_workflow_is_traced_from_start_to_close(tmp_path: Path) -> None:
    """OpenWorkflow, a call in it, its report and its close come back in order from Trace."""

    async def scene() -> None:
        async with running(tmp_path) as sidecar:
            client = g.SidecarStub(sidecar.channel)
            opened = await client.OpenWorkflow(
                sidecar_pb2.OpenWorkflowRequest(purposes=["onboarding"]), metadata=token("analysis")
            )
            call = await sidecar.model(workflow=opened.context)
            report = sidecar_pb2.ReportRequest(decision=call.id, outcome=resources_pb2.OUTCOME_SUCCEEDED)
            told = await client.Report(report, metadata=token("analysis"))
            close = sidecar_pb2.CloseWorkflowRequest(workflow=opened.context, reason="done")
            await client.CloseWorkflow(close, metadata=token("analysis"))
            trace = await audit_pb2_grpc.AuditStub(sidecar.channel).Trace(
                audit_pb2.TraceRequest(workflow=opened.workflow), metadata=token("ana")
            )
            late = await sidecar.model(workflow=opened.context)
            refused = await client.OpenWorkflow(
                sidecar_pb2.OpenWorkflowRequest(purposes=["marketing"]), metadata=token("analysis")
            )

            assert told.cost.nanos == 500_000_000
            assert [each.kind for each in trace.records if each.workflow] == ["decision", "report", "workflow.close"]
            assert codes(late) == ["workflow_invalid"]
            assert "purpose_not_granted" in codes(refused.decision)

    asyncio.run(scene())


def test_a_sidecar_on_its_own_serves_people_the_console(tmp_path: Path) -> None:
    """With `console`, at its HTTP address, beside metrics that tell of its store: whoever signs in sees budgets."""

    async def scene() -> None:
        async with running(tmp_path, http="127.0.0.1:0", console=True) as sidecar:
            address = sidecar.app.addresses[-1]
            operator = (tmp_path / "state" / "keys" / "operator.token").read_text()
            async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as browser:
                asked = await browser.get(f"{address}/sign-in")
                (csrf,) = re.findall(r'name="csrf" value="([^"]+)"', await asked.text())
                form = {"csrf": csrf, "next": "/budgets", "token": operator}
                page = await browser.post(f"{address}/sign-in", data=form, headers={"Origin": address})
                told = await (await browser.get(f"{address}/metrics")).text()

                assert (page.status, page.url.path) == (200, "/budgets")
                assert "month" in await page.text()
                assert 'remit_budget_limit{budget="month",currency="EUR"} 2.0' in told

    asyncio.run(scene())
