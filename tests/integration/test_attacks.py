"""A hostile agent against the whole sidecar: its own token, any message, the real policies and the real ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from hashlib import sha256
from pathlib import Path

import grpc
import pytest
from integration.test_app import CATALOGUE, Running, codes, is_allowed, running, token
from remit.core.model import ActionName
from remit.listeners.grpc_read import RESOURCE_TYPES
from remit.v1 import oversight_pb2, oversight_pb2_grpc, resources_pb2, sidecar_pb2
from remit.v1 import sidecar_pb2_grpc as g

pytestmark = pytest.mark.opa

WATCHED = f"""
  watched: {{team: cx, purposes: [onboarding], clearance: [pii], mode: observe,
            identity: {{token_hash: "sha256:{sha256(b"token-of-watched").hexdigest()}"}}}}
"""
# A dataset, a service and an agent of one name, and columns whose names begin alike.
ATTACKED = (
    CATALOGUE.replace("services:\n", f"{WATCHED.strip(chr(10))}\nservices:\n  mailer: {{owner: cx}}\n", 1)
    .replace("datasets:\n", "datasets:\n  model: {owner: cx, labels: [pii]}\n", 1)
    .replace("region: []", "region: [], iban2: []", 1)
)
CONTEXT = resources_pb2.Context(purpose="onboarding")


async def refused(call: Awaitable[object]) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def month(sidecar: Running) -> oversight_pb2.Budget:
    oversight = oversight_pb2_grpc.OversightStub(sidecar.channel)
    listed = await oversight.ListBudgets(oversight_pb2.ListBudgetsRequest(budget="month"), metadata=token("ana"))
    return listed.budgets[0]


def test_no_confusion_of_actions_and_resources_is_allowed(tmp_path: Path) -> None:
    """Of every action on every type of every name, only what the catalogue means is allowed."""
    names = ("model", "crm", "mailer", "month", "analysis", "email")
    meant = {("api.call", "service", "model"), ("tool.call", "service", "model"), ("tool.call", "tool", "model")}
    meant |= {("message.send", "service", "model"), ("data.read", "dataset", "crm"), ("data.read", "dataset", "model")}
    meant |= {("decision.make", "decision", name) for name in names}

    async def scene() -> None:
        async with running(tmp_path, ATTACKED.replace("limit: 2", "limit: 2000")) as sidecar:
            allowed = set()
            for action in ActionName:
                for type in RESOURCE_TYPES:
                    for name in names:
                        if (action, type) == ("message.send", "agent") or action == "claim.take":
                            assert await refused(sidecar.ask(action, type, name)) is grpc.StatusCode.INVALID_ARGUMENT
                        elif is_allowed(await sidecar.ask(action, type, name, variant="small")):
                            allowed.add((str(action), type, name))
            # "email" has no such variant; the datasets were read, and so nothing unlabelled follows but the model.
            assert allowed == meant

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("fields", "clean"),
    [
        (["customers.region"], True),
        (["customers.iban2"], True),
        (["customers.region", "customers.region"], True),
        (["customers"], False),
        (["customers.iban", "customers.region"], False),
        ([], False),
    ],
)
def test_fields_bring_their_labels_however_they_are_named(tmp_path: Path, fields: list[str], clean: bool) -> None:
    """Only columns without labels leave a session clean; a table is all of its columns; no name is another."""

    async def scene() -> None:
        async with running(tmp_path, ATTACKED) as sidecar:
            assert is_allowed(await sidecar.ask("data.read", "dataset", "crm", fields=fields))
            assert is_allowed(await sidecar.mail()) == clean

    asyncio.run(scene())


@pytest.mark.parametrize(
    "fields",
    [
        ["CUSTOMERS.iban"],
        ["customers.IBAN2"],
        ["customers.iban."],
        ["customers.region", "x"],
        ["customers.region.iban"],
    ],
)
def test_fields_that_are_not_there_are_not_read(tmp_path: Path, fields: list[str]) -> None:
    """A field that the catalogue does not list makes the read a DENY, whatever stands beside it."""

    async def scene() -> None:
        async with running(tmp_path, ATTACKED) as sidecar:
            assert not is_allowed(await sidecar.ask("data.read", "dataset", "crm", fields=fields))
            by_watched = await sidecar.ask("data.read", "dataset", "crm", fields=fields, who="watched")
            assert not by_watched.enforced
            assert "flow_label_exceeds_clearance" in codes(await sidecar.mail(who="watched"))

    asyncio.run(scene())


@pytest.mark.parametrize("name", ["mоdel", "model ", "model\u200b", "model/../orphan", "MODEL", "model\n", "ｍodel"])
def test_a_name_that_only_looks_like_a_known_one_is_not_it(tmp_path: Path, name: str) -> None:
    """Other scripts' letters, blanks and paths are malformed or unknown, never repaired."""

    async def scene() -> None:
        async with running(tmp_path, ATTACKED) as sidecar:
            try:
                answer = await sidecar.ask("api.call", "service", name, variant="small")
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            else:
                assert "unknown_resource" in codes(answer)

    asyncio.run(scene())


def test_an_observed_agent_changes_nothing_for_others(tmp_path: Path) -> None:
    """It neither halts nor adjusts nor lends purposes that it was refused; its own calls go through."""

    async def scene() -> None:
        async with running(tmp_path, ATTACKED) as sidecar:
            client, me = g.SidecarStub(sidecar.channel), token("watched")
            oversight = oversight_pb2_grpc.OversightStub(sidecar.channel)
            halt = oversight_pb2.HaltRequest(scope=resources_pb2.SCOPE_ALL, reason="because")
            more = resources_pb2.Money(currency="EUR", units=1000)
            halted = await oversight.Halt(halt, metadata=me)
            adjusted = await oversight.AdjustBudget(
                oversight_pb2.AdjustBudgetRequest(budget="month", delta=more, reason="because"), metadata=me
            )
            opened = await client.OpenWorkflow(sidecar_pb2.OpenWorkflowRequest(purposes=["payroll"]), metadata=me)
            mine = await sidecar.model(who="watched", workflow=opened.context)
            lent = await sidecar.model(workflow=opened.context)

            assert (halted.decision.enforced, adjusted.decision.enforced) == (True, True)
            assert not opened.decision.enforced and not lent.obligations
            assert codes(lent) == ["workflow_invalid"] and lent.enforced
            assert is_allowed(mine) or not mine.enforced
            assert (await month(sidecar)).limit.units == 2
            assert is_allowed(await sidecar.model())

    asyncio.run(scene())


def test_a_call_that_was_begun_before_a_reload_has_no_older_rights(tmp_path: Path) -> None:
    """Identified while observed, and kept open until the agent is enforced: it is judged as enforced."""

    async def scene() -> None:
        async with running(tmp_path, ATTACKED) as sidecar:
            resource = resources_pb2.Resource(type="service", id="orphan", variant="standard")
            request = sidecar_pb2.AuthorizeRequest(action="api.call", resource=resource, context=CONTEXT)
            begun = sidecar.channel.stream_unary(
                "/remit.v1.Sidecar/Authorize",
                request_serializer=sidecar_pb2.AuthorizeRequest.SerializeToString,
                response_deserializer=sidecar_pb2.AuthorizeResponse.FromString,
            )(metadata=token("watched"))
            await begun.wait_for_connection()
            before = await sidecar.ask("api.call", "service", "orphan", variant="standard", who="watched")
            (tmp_path / "remit.yaml").write_text(ATTACKED.replace("mode: observe", "mode: enforce"), encoding="utf-8")
            await sidecar.app.reload()
            await begun.write(request)
            await begun.done_writing()

            assert not before.enforced
            assert (await begun).decision.enforced

    asyncio.run(scene())


def test_a_hammer_of_repeated_keys_never_overspends(tmp_path: Path) -> None:
    """Thirty keys, each asked five times at once by two agents: one decision a key, and never above the limit."""

    async def scene() -> None:
        async with running(tmp_path, ATTACKED) as sidecar:
            asked = [(who, f"k{n}") for who in ("analysis", "mailer") for n in range(15) for _ in range(5)]
            answers = await asyncio.gather(*(sidecar.model(key=key, who=who) for who, key in asked))
            by_key: dict[tuple[str, str], set[tuple[str, int]]] = {}
            for each, answer in zip(asked, answers, strict=True):
                if not answer.retryable:
                    by_key.setdefault(each, set()).add((answer.id, answer.effect))
            budget = await month(sidecar)

            assert all(len(decisions) == 1 for decisions in by_key.values())
            assert len({answer.id for answer in answers if is_allowed(answer)}) == 4
            assert (budget.held.units, budget.held.nanos) == (2, 0)

    asyncio.run(scene())


def test_absurd_reports_leave_the_sidecar_whole(tmp_path: Path) -> None:
    """Unknown units, the largest quantities, others' decisions, twins: typed answers, and the next call works."""

    async def scene() -> None:
        async with running(tmp_path, ATTACKED.replace("limit: 2", "limit: 2000")) as sidecar:
            client = g.SidecarStub(sidecar.channel)

            async def report(who: str, decision: str, outcome: int, **usage: int) -> sidecar_pb2.ReportResponse:
                stated = [resources_pb2.Usage(unit=unit, quantity=quantity) for unit, quantity in usage.items()]
                told = sidecar_pb2.ReportRequest(decision=decision, outcome=outcome, usage=stated)  # type: ignore[arg-type]
                return await client.Report(told, metadata=token(who))

            done, unsent = resources_pb2.OUTCOME_SUCCEEDED, resources_pb2.OUTCOME_NOT_SENT
            call = await sidecar.model()
            assert await refused(report("mailer", call.id, done)) is grpc.StatusCode.NOT_FOUND
            assert await refused(report("analysis", call.id, done, call=-1)) is grpc.StatusCode.INVALID_ARGUMENT
            assert await refused(report("analysis", call.id, done, call=2**60)) is grpc.StatusCode.INVALID_ARGUMENT
            odd = await report("analysis", call.id, done, gpu_second=10**15)
            assert (odd.cost.units, odd.cost.nanos) == (0, 500_000_000)
            assert await refused(report("analysis", call.id, unsent)) is grpc.StatusCode.FAILED_PRECONDITION
            huge = await report("analysis", (await sidecar.model()).id, done, call=2 * 10**9)
            assert huge.overrun.units == 10**9 - 1
            assert "budget_exhausted" in codes(await sidecar.model())
            assert is_allowed(await sidecar.ask("data.read", "dataset", "crm"))

    asyncio.run(scene())
