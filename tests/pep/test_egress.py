"""What leaves through Remit: judged as it is sent, and not allowed on record where it cannot be sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from fakes.leaving import CRM, SECRET, Leaving, attempt, chat, leaving, run
from fakes.world import EUR, OPERATOR, FakePdp, allow_all, subject, verdict
from remit.core.answer import Answer
from remit.core.call import Call, Claimed, Objection, Report, WorkflowCall
from remit.core.canonical import digest
from remit.core.catalogue import Credential, Service, Signing
from remit.core.decision import Verdict
from remit.core.model import Mode, Resource
from remit.core.reason import Reason
from remit.pep.egress import Attempt, Passage
from remit.pep.meter import End, How
from remit.pep.pipeline import Pipeline

ANALYSIS, DECISION, WATCHED = subject("analysis"), subject("decision"), subject("watched", mode=Mode.OBSERVE)
MALFORMED = Objection(Reason.REQUEST_MALFORMED, "two lengths", binding=True)
ROWS = b'{"name":"x","rows":3}'


@pytest.fixture(name="site")
def _site() -> Leaving:
    return leaving()


def code(answer: Answer) -> str:
    return answer.reasons[0].code


def pipeline(site: Leaving) -> Pipeline:
    return Pipeline(site.world)


async def month(site: Leaving) -> tuple[int, int]:
    (room,) = await pipeline(site).budgets(OPERATOR, "month")
    return room.spent, room.held


def test_what_is_permitted_goes_to_the_judged_endpoint_with_its_credential(site: Leaving) -> None:
    """The endpoint is that of the region that policy saw, and the record names it."""

    async def scene() -> None:
        for who, place in ((ANALYSIS, "eu"), (DECISION, "us")):
            services = {**site.world.catalogue.services}
            services["crm"] = replace(services["crm"], credentials=(replace(CRM, endpoints=()),))
            site.world.installation = replace(
                site.world.installation, catalogue=replace(site.world.catalogue, services=services)
            )
            passage = await site.passage(who, attempt())

            body = await site.body(passage.answer.id)
            assert passage.endpoint == body["facts"]["region"] == body["sent"]["endpoint"] == place
            assert passage.credential == ("authorization", f"Bearer {SECRET.decode()}")
            assert (passage.secrets, passage.mapped.operation) == ((SECRET,), "read")
            assert SECRET.decode() not in repr(passage) + str(body)

    run(scene())


@pytest.mark.parametrize("asked", [attempt("POST", "/v1/items", ROWS), chat()], ids=["as it came", "with a cap put in"])
def test_the_record_has_the_digest_of_exactly_what_is_sent(site: Leaving, asked: Attempt) -> None:
    """Method, target and the body that goes out, whether it is the one that came or not."""

    async def scene() -> None:
        passage = await site.passage(ANALYSIS, asked)

        sent = (await site.body(passage.answer.id))["sent"]
        body = passage.mapped.body
        assert (body == asked.request.body) == (asked.request.body == ROWS)
        assert sent["digest"] == digest([asked.request.method, asked.request.path, sha256(body).hexdigest()])
        assert (sent["size"], sent["method"]) == (len(body), asked.request.method)

    run(scene())


def test_policy_sees_the_arguments_that_are_sent(site: Leaving) -> None:
    async def scene() -> None:
        await site.passage(ANALYSIS, attempt("POST", "/v1/items", ROWS))

        pdp = site.world.installation.pdp
        assert isinstance(pdp, FakePdp)
        assert pdp.documents[-1]["context"]["arguments"] == {"name": "x"}
        assert pdp.documents[-1]["resource"]["operation"] == "put"

    run(scene())


def no_endpoint(site: Leaving) -> None:
    site.ways.wrong["crm", "eu"] = "its name leads nowhere"


def no_value(site: Leaving) -> None:
    site.vault.put("crm", None)


def a_bad_value(site: Leaving) -> None:
    site.vault.put("crm", b"short")


def nothing(site: Leaving) -> None:
    pass


@pytest.mark.parametrize(
    ("spoil", "asked", "reason"),
    [
        (no_endpoint, attempt(), Reason.ENDPOINT_UNAVAILABLE),
        (no_value, attempt(), Reason.CREDENTIAL_UNAVAILABLE),
        (a_bad_value, attempt(), Reason.CREDENTIAL_UNAVAILABLE),
        (nothing, attempt("DELETE"), Reason.CREDENTIAL_UNAVAILABLE),
        (nothing, attempt("GET", "/v1/itemsall"), Reason.CREDENTIAL_UNAVAILABLE),
        (nothing, attempt(tunnel=True), Reason.TUNNEL_NOT_ALLOWED),
        (nothing, attempt(endpoints=frozenset({"us"})), Reason.ENDPOINT_UNAVAILABLE),
    ],
    ids=["endpoint", "no value", "unfit value", "method", "path", "tunnel", "other endpoint"],
)
@pytest.mark.parametrize("who", [ANALYSIS, WATCHED], ids=["enforced", "observed"])
def test_no_allow_is_recorded_for_what_cannot_be_sent(
    site: Leaving, spoil: Callable[[Leaving], None], asked: Attempt, reason: Reason, who: Any
) -> None:
    """A denial in every mode: there is no way out, or no credential that is bound to this very request."""

    async def scene() -> None:
        spoil(site)

        answer = await site.refused(who, asked)

        assert code(answer) == reason
        assert await month(site) == (0, 0)

    run(scene())


def test_an_observed_agent_s_call_to_nowhere_does_not_go_out() -> None:
    """Whatever its mode, and whatever policy says: there is nobody to send it to."""

    async def scene() -> None:
        site = leaving(allow_all)
        assert code(await site.refused(WATCHED, attempt(service="nowhere"))) == Reason.UNKNOWN_RESOURCE
        await site.refused(ANALYSIS, attempt(service="nowhere"))

    run(scene())


def test_a_credential_is_good_at_its_endpoints_alone_and_below_its_paths(site: Leaving) -> None:
    """A prefix ends at a segment's border, whether it is written with a slash or not; another endpoint has none."""

    async def scene() -> None:
        for path in ("/v1/items/7", "/v1/items/7?all=1", "/v1/open/x"):
            assert (await site.passage(ANALYSIS, attempt("GET", path))).credential is not None
        assert code(await site.refused(DECISION, attempt())) == Reason.CREDENTIAL_UNAVAILABLE

    run(scene())


def test_a_key_that_signs_is_not_sent_and_must_not_come_back(site: Leaving) -> None:
    """Where nobody signs, or the key is none, there is no way out; what is wrong with the key tells nothing of it."""

    async def scene() -> None:
        key = (b"AKIA0123456789ABCDEF", b"abcdefghij0123456789", b"session/0123456789==")
        services = {**site.world.catalogue.services}
        signs = Credential(file="aws", signing=Signing("eu-west-1"))
        services["crm"] = replace(services["crm"], credentials=(signs,))
        site.world.installation = replace(
            site.world.installation, catalogue=replace(site.world.catalogue, services=services)
        )
        site.vault.put("aws", b":".join(key))
        passage = await site.passage(ANALYSIS, attempt())
        assert (passage.credential, passage.secrets) == (None, key[1:])

        elsewhere = await site.refused(ANALYSIS, replace(attempt(), rewrites=False))
        site.vault.put("aws", b"AKIA0123456789ABCDEF:tooshort")
        malformed = await site.refused(ANALYSIS, attempt())
        assert code(elsewhere) == code(malformed) == Reason.CREDENTIAL_UNAVAILABLE
        assert "it signs" in elsewhere.reasons[0].message
        assert "ACCESS_KEY_ID" in malformed.reasons[0].message and "tooshort" not in malformed.reasons[0].message

    run(scene())


def test_what_was_understood_by_one_catalogue_is_not_judged_by_another() -> None:
    """A reload in between: whoever asks again is understood anew. One that leaves the service alone does not matter."""

    async def scene(change: dict[str, Any]) -> Answer | Passage:
        site = leaving()

        def reloads(document: Any) -> Verdict:
            if site.world.installation.pdp.revision == "r1":
                services = {**site.world.catalogue.services}
                services["crm"] = replace(services["crm"], **change)
                changed = replace(site.world.catalogue, services=services)
                site.world.installation = replace(
                    site.world.installation, catalogue=changed, pdp=FakePdp(allow_all, "r2")
                )
                site.world.store.activate("r2")
            return verdict("ALLOW")

        site.world.installation = replace(site.world.installation, pdp=FakePdp(reloads, "r1"))
        return await site.egress.begin(ANALYSIS, attempt())

    changed = run(scene({"routes": ()}))
    assert isinstance(changed, Answer) and code(changed) == Reason.FACTS_CHANGED and changed.retryable
    assert isinstance(run(scene({})), Passage)


def test_an_agent_that_no_credential_selects_is_given_none() -> None:
    async def scene() -> None:
        site = leaving()
        services = {**site.world.catalogue.services}
        other = replace(CRM, when=services["crm"].endpoints["eu"].when)
        services["crm"] = replace(services["crm"], credentials=(replace(other, endpoints=()),))
        site.world.installation = replace(
            site.world.installation, catalogue=replace(site.world.catalogue, services=services)
        )
        assert code(await site.refused(DECISION, attempt())) == Reason.CREDENTIAL_UNAVAILABLE

    run(scene())


def test_a_tunnel_to_an_opaque_service_is_opened_without_a_credential(site: Leaving) -> None:
    async def scene() -> None:
        passage = await site.passage(ANALYSIS, attempt("CONNECT", "/", service="tunnel", tunnel=True))

        assert (passage.mapped.operation, passage.credential, passage.answer.reserved) == ("connect", None, EUR // 10)

    run(scene())


@pytest.mark.parametrize("who", [ANALYSIS, WATCHED], ids=["enforced", "observed"])
def test_a_binding_objection_is_a_denial_on_record_for_everybody(site: Leaving, who: Any) -> None:
    """Policy is not asked; observed agents are bound as well."""

    async def scene() -> None:
        answer = await site.refused(who, attempt(objection=MALFORMED))

        assert code(answer) == Reason.REQUEST_MALFORMED
        assert not site.world.installation.pdp.documents  # type: ignore[attr-defined]
        assert code(await site.refused(who, attempt("GET", "/v1/../admin"))) == Reason.REQUEST_MALFORMED
        overridden = replace(attempt().request, headers=(("x-http-method-override", "DELETE"),))
        assert code(await site.refused(who, replace(attempt(), request=overridden))) == Reason.REQUEST_MALFORMED
        assert code(await site.refused(who, chat(rewrites=False))) == Reason.OBLIGATION_UNSUPPORTED

    run(scene())


def test_what_maps_to_nothing_is_let_through_for_observed_agents_alone(site: Leaving) -> None:
    """And then with the bytes as they came, to the endpoint; a denial that did not bind is on record."""

    async def scene() -> None:
        asked = attempt("GET", "/v1/items/7/more/of/it")
        assert code(await site.refused(ANALYSIS, asked)) == Reason.REQUEST_UNMAPPED
        shop = attempt("POST", "/anything", b"\x00\xff", service="shop")
        passage = await site.passage(WATCHED, shop)

        body = await site.body(passage.answer.id)
        assert (body["effect"], body["enforced"], body["sent"]["size"]) == ("DENY", False, 2)
        assert (passage.mapped.body, passage.mapped.operation) == (b"\x00\xff", "")
        await pipeline(site).halt(OPERATOR, "agent", "watched", "enough")
        assert code(await site.refused(WATCHED, shop)) == Reason.REQUEST_UNMAPPED

    run(scene())


def test_a_denial_is_replayed_and_an_allow_is_a_new_attempt_with_its_own_reservation(site: Leaving) -> None:
    """It will be sent once more, and so paid for once more."""

    async def scene() -> None:
        denied = [await site.egress.begin(ANALYSIS, attempt("GET", "/none", key="k1")) for _ in range(2)]
        assert all(isinstance(each, Answer) for each in denied)
        assert denied[0].id == denied[1].id and denied[1].replayed  # type: ignore[union-attr]

        one = await site.passage(ANALYSIS, attempt(key="k2"))
        two = await site.passage(ANALYSIS, attempt(key="k2"))
        assert one.answer.id != two.answer.id and not two.answer.replayed
        assert await month(site) == (0, 2 * EUR // 10)

    run(scene())


def test_the_same_key_at_once_is_two_attempts(site: Leaving) -> None:
    async def scene() -> None:
        both = await asyncio.gather(*(site.passage(ANALYSIS, attempt(key="k")) for _ in range(2)))

        assert both[0].held.decision != both[1].held.decision
        assert await month(site) == (0, 2 * EUR // 10)

    run(scene())


@pytest.mark.parametrize(
    "other",
    [attempt("GET", "/v1/items/8", key="k"), attempt("POST", "/v1/items", ROWS, key="k"), chat(key="k")],
    ids=["target", "body", "service"],
)
@pytest.mark.parametrize("who", [ANALYSIS, WATCHED], ids=["enforced", "observed"])
def test_another_request_with_the_same_key_is_refused(site: Leaving, other: Attempt, who: Any) -> None:
    async def scene() -> None:
        await site.passage(who, attempt(key="k"))

        assert code(await site.refused(who, other)) == Reason.IDEMPOTENCY_MISMATCH

    run(scene())


def test_a_refusal_by_the_ledger_says_nothing_of_something_sent() -> None:
    """The way had been found when the budget had no room: the denial's record names no endpoint."""

    async def scene() -> None:
        site = leaving()
        passages = [await site.passage(ANALYSIS, attempt("POST", "/v1/items", b'{"name":"x","rows":490}'))]
        answer = await site.refused(ANALYSIS, attempt("POST", "/v1/items", b'{"name":"x","rows":990}'))

        assert code(answer) == Reason.BUDGET_EXHAUSTED and passages[0].answer.reserved == 5 * EUR

    run(scene())


@pytest.mark.parametrize("outcome", ["not_sent", "succeeded", "failed", "progress"])
def test_an_agent_s_report_changes_nothing_of_what_remit_sends(site: Leaving, outcome: str) -> None:
    """Also where the catalogue believes agents: it is on record as claimed, and the meter has the word."""

    async def scene() -> None:
        services = {**site.world.catalogue.services}
        services["crm"] = replace(services["crm"], metering="agent")
        site.world.installation = replace(
            site.world.installation, catalogue=replace(site.world.catalogue, services=services)
        )
        passage = await site.passage(ANALYSIS, attempt())
        before = await site.world.store.reservation(passage.answer.id)
        told = Report(passage.answer.id, outcome, {} if outcome in ("not_sent", "progress") else {"call": 0})

        for _ in range(2):
            reported = await pipeline(site).report(ANALYSIS, told)

        assert (reported.state, reported.claimed, reported.cost) == ("held", True, 0)
        assert (await site.body(reported.record))["claimed"] is True
        assert await site.world.store.reservation(passage.answer.id) == before
        await site.egress.ended(passage, End(How.SUCCEEDED))
        assert await month(site) == (EUR // 10, 0)
        assert (await pipeline(site).report(ANALYSIS, told)).state == "settled"
        assert await month(site) == (EUR // 10, 0)

    run(scene())


def test_a_report_on_an_erased_decision_changes_nothing(site: Leaving) -> None:
    """Its record does not say any more who sent it."""

    async def scene() -> None:
        passage = await site.passage(ANALYSIS, attempt())
        await site.world.store.erase(passage.answer.id, by="ana", reason="asked to be forgotten")

        reported = await pipeline(site).report(ANALYSIS, Report(passage.answer.id, "not_sent"))

        assert (reported.state, reported.claimed) == ("held", True) and await month(site) == (0, EUR // 10)
        await site.egress.ended(passage, End(How.SUCCEEDED))
        assert await month(site) == (EUR // 10, 0)

    run(scene())


def test_a_caller_is_shown_the_tools_that_policy_would_not_deny_it() -> None:
    """Asked tool by tool; an observed agent is shown all, since it may call all."""

    async def scene() -> None:
        site = leaving(lambda document: verdict("DENY" if document["resource"]["operation"] == "drop" else "ALLOW"))
        passage = replace(await site.passage(ANALYSIS, attempt()), service="tools")
        services = {**site.world.catalogue.services, "tools": Service("cx", "mcp", operations=("read", "drop"))}
        site.world.installation = replace(
            site.world.installation, catalogue=replace(site.world.catalogue, services=services)
        )

        shown = await site.egress.shown(passage)

        assert [shown(tool) for tool in ("read", "drop", "other")] == [True, False, False]
        everything = await site.egress.shown(replace(passage, subject=WATCHED))
        assert all(everything(tool) for tool in ("read", "drop", "other"))

    run(scene())


def test_a_report_on_what_the_agent_sent_itself_still_counts(site: Leaving) -> None:
    async def scene() -> None:
        mail = Call(
            "Authorize", "api.call", Resource("service", "model", "chat", "small"), Claimed(purpose="onboarding")
        )
        answer = await pipeline(site).authorize(ANALYSIS, mail)

        reported = await pipeline(site).report(ANALYSIS, Report(answer.id, "not_sent"))

        assert (reported.state, reported.claimed) == ("voided", False)

    run(scene())


async def opened(site: Leaving) -> str:
    """A workflow's signed context."""
    found = await pipeline(site).open_workflow(ANALYSIS, WorkflowCall(("onboarding",), ("analysis",), 10**12))
    assert found.context
    return found.context


@pytest.mark.parametrize("scope", ["agent", "service", "workflow", "all"])
def test_what_is_halted_meanwhile_is_unfit(site: Leaving, scope: str) -> None:
    """Whatever the halt's scope; what it does not cover goes on."""

    async def scene() -> None:
        claimed = Claimed(workflow=await opened(site), purpose="onboarding")
        passage = await site.passage(ANALYSIS, replace(attempt(), claimed=claimed))
        other = await site.passage(WATCHED, attempt("GET", "/x", service="shop"))
        assert await site.egress.unfit([passage, other]) == []
        value = {"agent": "analysis", "service": "crm", "workflow": passage.workflow, "all": ""}[scope]

        await pipeline(site).halt(OPERATOR, scope, value, "stop")

        unfit = await site.egress.unfit([passage, other])
        assert (passage, Reason.HALTED) in unfit
        assert ((other, Reason.HALTED) in unfit) is (scope == "all")

    run(scene())


def test_labels_that_rise_meanwhile_end_what_is_under_way_and_those_held_before_do_not() -> None:
    """What the session learns later than the call may reach the upstream by the open stream; observed agents go on."""

    async def scene() -> None:
        site = leaving(lambda document: verdict("ALLOW"))
        services = {**site.world.catalogue.services}
        services["crm"] = replace(services["crm"], clearance=())
        site.world.installation = replace(
            site.world.installation, catalogue=replace(site.world.catalogue, services=services)
        )
        early = await site.passage(ANALYSIS, attempt())
        watched = await site.passage(WATCHED, attempt())
        read = Call("Authorize", "data.read", Resource("dataset", "crm"), Claimed(purpose="onboarding"))
        for who in (ANALYSIS, WATCHED):
            await pipeline(site).authorize(who, read)
        late = await site.passage(ANALYSIS, attempt())

        assert late.exceeding == {"pii"}
        unfit = await site.egress.unfit([early, watched, late])
        assert unfit == [(early, Reason.FLOW_LABEL_EXCEEDS_CLEARANCE)]

    run(scene())


def test_labels_that_the_service_is_cleared_for_end_nothing(site: Leaving) -> None:
    async def scene() -> None:
        passage = await site.passage(ANALYSIS, attempt())
        read = Call("Authorize", "data.read", Resource("dataset", "crm"), Claimed(purpose="onboarding"))
        await pipeline(site).authorize(ANALYSIS, read)

        assert await site.egress.unfit([passage]) == []

    run(scene())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"crm": None}, Reason.UNKNOWN_RESOURCE),
        ({"crm": {"endpoints": {}}}, Reason.ENDPOINT_UNAVAILABLE),
        ({"tunnel": {"opaque": False}}, Reason.TUNNEL_NOT_ALLOWED),
        ({"crm": {"timeout": 1, "credentials": (), "owner": ""}, "tunnel": {"timeout": 1}, "shop": None}, None),
    ],
    ids=["service", "endpoint", "opaque", "other changes"],
)
def test_what_goes_to_something_that_is_no_more_is_unfit(site: Leaving, change: Any, why: Reason | None) -> None:
    """Of observed agents too, as a new call would be refused; nothing else that changes ends what is under way."""

    async def scene() -> None:
        tunnel = replace(attempt("CONNECT", "/", service="tunnel"), tunnel=True)
        under_way = [await site.passage(who, each) for who in (ANALYSIS, WATCHED) for each in (attempt(), tunnel)]
        services = {**site.world.catalogue.services}
        for name, fields in change.items():
            if fields is None:
                del services[name]
            else:
                services[name] = replace(services[name], **fields)
        site.world.installation = replace(
            site.world.installation, catalogue=replace(site.world.catalogue, services=services)
        )
        found = await site.egress.unfit(under_way)
        assert {reason for _, reason in found} == ({why} if why else set())
        assert {passage.service for passage, _ in found} == ({next(iter(change))} if why else set())
        assert len(found) == (2 if why else 0)

    run(scene())


def test_a_call_is_prolonged_while_it_moves_and_for_a_day_at_most(site: Leaving) -> None:
    async def scene() -> None:
        passage = await site.passage(ANALYSIS, attempt())
        assert passage.hold == 100 * 10**9
        prolonged = 0
        while await site.egress.prolong(passage):
            prolonged += 1
            site.pass_seconds(90)

        held = await site.world.store.reservation(passage.answer.id)
        assert held is not None and held.state == "held"
        assert 86_400 * 10**9 - 100 * 10**9 <= held.deadline - passage.held.time <= 86_400 * 10**9
        assert prolonged == 86_300 // 90 + 1

    run(scene())
