"""AuthZEN over HTTP: who may ask, what is asked of the pipeline, what is answered, and what is refused."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from decimal import Decimal

import pytest
from fakes.loop import in_loop, until
from fakes.pep_fake import FakePipeline
from remit.core.answer import Answer, Change, GivenReason
from remit.core.authzen import CONFIGURATION, EVALUATION, EVALUATIONS, read_evaluation, write_answer
from remit.core.call import Call
from remit.core.decision import Effect
from remit.core.errors import StoreUnavailable
from remit.core.model import Subject
from remit.core.obligation import Obligation
from remit.core.reason import Reason
from remit.listeners import authzen_read
from remit.listeners.authzen import MAX_AT_ONCE, MAX_PER_CALLER
from remit.listeners.ops import OpsListener

from .authzen_stage import HELD, SECOND, Reply, Stage, boxcar, of, question, staged
from .serving import ANA, SUPPORT, WRITER


class Told(FakePipeline):
    """Answers everything with one answer."""

    answer: Answer = HELD

    async def authorize(self, subject: Subject, call: Call, wait: int = 0) -> Answer:
        await super().authorize(subject, call)
        return self.answer


@in_loop
async def test_an_evaluation_is_a_decision() -> None:
    """What is asked reaches the pipeline field by field, and its answer comes back with its id, reasons and cost."""
    context = {
        "workflow": "w_1.signed",
        "purpose": "support",
        "reason": "an order",
        "parent": "d_0",
        "actor": "summarise",
        "inputs": ["d_0"],
        "trace": "0" * 31 + "1",
        "attempt": 2,
        "claim": 7,
        "arguments": {"n": 9007199254740993},
        "usage": {"input_token": 100},
        "fulfils": ["log"],
        "key": "k1",
        "time": "2026-11-26T12:00:00Z",
    }
    asked = question(action={"name": "api.call", "properties": {"method": "GET"}}, context=context)
    asked["resource"]["properties"] |= {"fields": ["t.c"], "to": "eu", "price": 0.1}
    raw = json.dumps(asked).replace("0.1}", "0.100000000000000000001}").encode()
    async with staged() as stage:
        stage.pipeline.reserves = SECOND // 2
        stage.pipeline.obligations = (Obligation("log", {"level": 1}),)
        reply = await stage.send(raw)

        subject, call = stage.pipeline.asked[0]
        assert (subject.type, subject.id) == ("agent", "support")
        assert (call.rpc, call.action, call.key) == ("Evaluation", "api.call", "k1")
        resource = call.resource
        assert (resource.type, resource.id, resource.operation, resource.variant, resource.fields) == (
            "service",
            "openai",
            "chat",
            "small",
            ("t.c",),
        )
        claimed = call.claimed
        assert (claimed.workflow, claimed.purpose, claimed.reason) == ("w_1.signed", "support", "an order")
        assert (claimed.parent, claimed.actor, claimed.inputs) == ("d_0", "summarise", ("d_0",))
        assert (claimed.trace, claimed.attempt, claimed.claim) == (context["trace"], 2, 7)
        assert claimed.arguments == {
            "n": 9007199254740993,
            "method": "GET",
            "to": "eu",
            "price": Decimal("0.100000000000000000001"),
        }
        assert (call.usage, call.fulfils) == ({"input_token": 100}, {"log"})
        assert reply.body == {
            "decision": True,
            "context": {
                "id": "d_1",
                "effect": "ALLOW",
                "reason": "allowed",
                "reasons": [{"policy": "access.resource", "code": "allowed", "message": "allowed"}],
                "obligations": [{"id": "log", "properties": {"level": 1}}],
                "reservation": {"amount": "0.5", "currency": "EUR", "expires": "2027-01-15T08:01:00.000Z"},
                "policy_revision": "r1",
                "log": "local",
                "sequence": 1,
            },
        }


@in_loop
async def test_a_hold_is_a_refusal_that_names_its_approval() -> None:
    """decision is false; who is asked, which roles may, and until when, stand beside the reasons."""
    async with staged(Told()) as stage:
        told = (await stage.send(question())).body

        assert told["decision"] is False
        context = told["context"]
        assert (context["effect"], context["id"], context["cheaper"]) == ("HOLD", "d_1", "small")
        assert context["approvals"] == [
            {
                "id": "a_1",
                "policy": "approval.variant",
                "code": "approval_required",
                "state": "pending",
                "supervisor": "lead",
                "roles": ["finance"],
                "expires": "2027-01-15T08:00:01.000Z",
            }
        ]
        assert context["reasons"][0]["changes"] == [
            {"kind": "approval", "name": "a_1", "time": "2027-01-15T08:00:01.000Z"}
        ]


@pytest.mark.parametrize("effect", Effect)
@pytest.mark.parametrize("enforced", [True, False])
def test_only_what_permits_is_true(effect: Effect, enforced: bool) -> None:
    """decision is true for ALLOW, and for an agent that is only observed, which is told so."""
    told = write_answer(replace(HELD, effect=effect, enforced=enforced), "EUR")

    assert told["decision"] is (effect is Effect.ALLOW or not enforced)
    assert told["context"].get("enforced") is (None if enforced else False)


def test_a_denial_tells_what_would_change_it_exactly() -> None:
    """Room left is exact decimal text, and the alternative stands as it was offered."""
    room = Change("budget", "cx-month", left=1, time=0)
    alternative = {"arguments": {"n": Decimal("0.1")}}
    reasons = (GivenReason("remit", "alternative_offered", "take this", (room,)),)
    answer = replace(HELD, effect=Effect.DENY, reasons=reasons, alternative=alternative, approvals=(), retryable=True)

    context = write_answer(answer, "EUR")["context"]

    left = {"amount": "0.000000001", "currency": "EUR"}
    assert context["reasons"][0]["changes"] == [{"kind": "budget", "name": "cx-month", "left": left}]
    assert (context["alternative"], context["retryable"]) == (alternative, True)


@pytest.mark.parametrize(
    ("semantic", "wanted"),
    [
        ("execute_all", [True, False, True, False]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
        (None, [True, False, True, False]),
    ],
)
def test_evaluations_end_as_their_semantic_says(semantic: str | None, wanted: list[bool]) -> None:
    """In their order; what comes after the one that ends them is not decided."""

    @in_loop
    async def run() -> None:
        options = {"options": {"evaluations_semantic": semantic}} if semantic else {}
        async with staged() as stage:
            asked = boxcar(of("openai"), of("other"), of("crm"), of("none"), **options)
            told = (await stage.send(asked, EVALUATIONS)).body
            assert [each["decision"] for each in told["evaluations"]] == wanted
            assert [call.resource.id for _, call in stage.pipeline.asked] == ["openai", "other", "crm", "none"][
                : len(wanted)
            ]

    run()


@in_loop
async def test_one_that_cannot_be_read_is_a_denial_among_the_others() -> None:
    """It is told why, and counts as the first denial where that ends them."""
    wrong = {**of("openai"), "context": {"attempt": "2"}}
    for semantic, count in (("execute_all", 3), ("deny_on_first_deny", 2)):
        async with staged() as stage:
            asked = boxcar(of("openai"), wrong, of("crm"), options={"evaluations_semantic": semantic})
            told = (await stage.send(asked, EVALUATIONS)).body["evaluations"]
            assert len(told) == count
            assert told[1]["decision"] is False
            assert told[1]["context"]["error"]["status"] == 400
            assert "evaluations[1].context.attempt" in told[1]["context"]["error"]["message"]
            assert stage.pipeline.refusals == [("agent:support", "request", "evaluations[1].context.attempt")]


@in_loop
async def test_a_store_that_fails_in_the_middle_takes_no_answer_away() -> None:
    """What was decided before is told; the rest is an error each, and says nothing of the inside."""

    class Failing(FakePipeline):
        async def authorize(self, subject: Subject, call: Call, wait: int = 0) -> Answer:
            if self.asked:
                raise StoreUnavailable("secret-canary")
            return await super().authorize(subject, call)

    async with staged(Failing()) as stage:
        reply = await stage.send(boxcar(of("openai"), of("crm")), EVALUATIONS)
        first, second = reply.body["evaluations"]
        assert first["decision"] is True
        assert second["context"]["error"]["status"] == 503
        assert b"canary" not in reply.raw


@in_loop
async def test_what_is_late_is_not_begun() -> None:
    """Once the time for a request is over, the rest is refused without being decided."""
    async with staged(seconds=-1) as stage:
        told = (await stage.send(boxcar(of("openai"), of("crm")), EVALUATIONS)).body["evaluations"]
        assert [each["context"]["error"]["status"] for each in told] == [503, 503]
        assert stage.pipeline.asked == []


FORGED = [
    ({"type": "agent", "id": "writer"}, SUPPORT, "agent:support"),
    ({"type": "person", "id": "support"}, SUPPORT, "agent:support"),
    ({"type": "agent", "id": "ana"}, ANA, "person:ana"),
    ({"type": "agent", "id": "Support"}, SUPPORT, "agent:support"),
    ({"type": "agent", "id": "support\u200b"}, SUPPORT, "agent:support"),
]


@pytest.mark.parametrize(("subject", "token", "peer"), FORGED)
@pytest.mark.parametrize("several", [False, True])
def test_nobody_asks_for_somebody_else(subject: dict[str, str], token: str, peer: str, several: bool) -> None:
    """403 for all of it, nothing is decided, and it is counted as other refused identities are."""

    @in_loop
    async def run() -> None:
        async with staged() as stage:
            asked = boxcar(of("openai"), of("crm", subject=subject)) if several else question(subject=subject)
            if several and token == ANA:
                asked["subject"] = {"type": "person", "id": "ana"}
            reply = await stage.send(asked, EVALUATIONS if several else EVALUATION, token=token)
            assert reply.status == 403
            assert stage.pipeline.asked == []
            assert [(who, kind) for who, kind, _ in stage.pipeline.refusals] == [(peer, "identity")]
            assert stage.seen.failures == ["mismatch"]

    run()


BEARERS: dict[str, dict[str, str]] = {
    "none": {"Authorization": ""},
    "nobody's": {"Authorization": "Bearer nobody"},
    "another scheme": {"Authorization": "Basic c3VwcG9ydDp4"},
    "two tokens": {"Authorization": f"Bearer {SUPPORT} {SUPPORT}"},
    "too long": {"Authorization": "Bearer " + "x" * 5000},
}


@pytest.mark.parametrize("name", BEARERS)
def test_without_a_credential_there_is_no_answer(name: str) -> None:
    """401 with how to prove who one is, before the body is looked at; it is counted."""

    @in_loop
    async def run() -> None:
        async with staged() as stage:
            reply = await stage.send(b"{", token="", headers=BEARERS[name])
            assert reply.status == 401
            assert reply.headers["www-authenticate"].startswith("Bearer")
            assert len(stage.pipeline.refusals) == len(stage.seen.failures) == 1
            assert stage.pipeline.refusals[0][:2] == ("ipv4:127.0.0.1", "identity")
            assert SUPPORT.encode() not in reply.raw

    run()


@in_loop
async def test_a_credential_that_is_there_twice_proves_nobody() -> None:
    """Also where both are the same."""
    async with staged() as stage:
        raw = json.dumps(question()).encode()
        twice = f"Authorization: Bearer {SUPPORT}\r\n" * 2
        head = f"POST {EVALUATION} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{twice}"
        status, _ = await raw_send(stage, f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
        assert status == 401
        assert stage.pipeline.asked == []


@pytest.mark.parametrize("path", [EVALUATION, EVALUATIONS, CONFIGURATION])
def test_each_path_has_its_method(path: str) -> None:
    """405 says which."""
    right = "GET" if path == CONFIGURATION else "POST"

    @in_loop
    async def run() -> None:
        async with staged() as stage:
            for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} - {right}:
                reply = await stage.send(b"", path, method=method)
                assert (reply.status, reply.headers["allow"]) == (405, right)

    run()


@pytest.mark.parametrize("path", [EVALUATION, EVALUATIONS, CONFIGURATION])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", ""])
def test_under_another_name_nobody_is_answered(path: str, host: str) -> None:
    """A page whose name was rebound to us asks nothing, whatever credential it has."""

    @in_loop
    async def run() -> None:
        async with staged() as stage:
            method = "GET" if path == CONFIGURATION else "POST"
            reply = await stage.send(question(), path, method=method, headers={"Host": host})
            assert reply.status in (400, 421)
            assert stage.pipeline.asked == []

    run()


@in_loop
async def test_the_metadata_names_us_as_we_were_asked() -> None:
    """Without a URL of its own; a Host that would write anything else is refused, and tenants there are none."""
    async with staged() as stage:
        reply = await stage.send(b"", CONFIGURATION, method="GET", token="", headers={"Host": "localhost:7451"})
        assert reply.body == {
            "policy_decision_point": "http://localhost:7451",
            "access_evaluation_endpoint": "http://localhost:7451/access/v1/evaluation",
            "access_evaluations_endpoint": "http://localhost:7451/access/v1/evaluations",
        }
        for host in ("localhost:7451/x", 'localhost:"', "localhost:@evil.example"):
            assert (await stage.send(b"", CONFIGURATION, method="GET", headers={"Host": host})).status == 400
        assert (await stage.send(b"", f"{CONFIGURATION}/tenant1", method="GET")).status == 404


@in_loop
async def test_the_listener_of_probes_answers_no_agent() -> None:
    """Where nothing else is given to it, the paths are not there."""

    async def exposition(accept: str) -> tuple[bytes, str]:
        return b"", "text/plain"

    async with staged() as stage:
        listener = OpsListener(exposition, dict)
        stage.port = int((await listener.start("127.0.0.1", 0)).rpartition(":")[2])
        try:
            for path in (EVALUATION, EVALUATIONS, CONFIGURATION):
                assert (await stage.send(question(), path)).status == 404
        finally:
            await listener.stop()
        assert stage.pipeline.asked == []


@in_loop
async def test_a_request_keeps_its_id() -> None:
    """On answers and on errors; one that cannot be given back is refused."""
    async with staged() as stage:
        for token, status in ((SUPPORT, 200), ("nobody", 401)):
            reply = await stage.send(question(), token=token, headers={"X-Request-ID": "a b/c"})
            assert (reply.status, reply.headers["x-request-id"]) == (status, "a b/c")
        assert "x-request-id" not in (await stage.send(question())).headers
        for bad in ("x" * 257, "caf\u00e9"):
            reply = await stage.send(question(), headers={"X-Request-ID": bad})
            assert reply.status == 400
        assert len(stage.pipeline.asked) == 2


@in_loop
async def test_a_failure_of_ours_is_told_apart_and_tells_nothing() -> None:
    """503 where asking again may help, 500 for what nobody expected; neither says what it was."""
    async with staged() as stage:
        for failure, status in ((StoreUnavailable("secret-canary"), 503), (ValueError("secret-canary"), 500)):
            stage.pipeline.failure = failure
            reply = await stage.send(question())
            assert reply.status == status
            assert b"canary" not in reply.raw
        stage.pipeline.failure = None
        assert (await stage.send(question())).status == 200


@in_loop
async def test_a_refusal_stands_where_it_cannot_be_recorded() -> None:
    """A store that is down makes nobody known."""
    async with staged() as stage:
        stage.pipeline.store_down = True
        assert (await stage.send(question(), token="nobody")).status == 401


@in_loop
async def test_one_caller_has_only_so_many_places() -> None:
    """429 beyond them, while others, and probes, are answered; and again once there is room."""
    assert MAX_PER_CALLER < MAX_AT_ONCE
    async with staged() as stage:
        stage.pipeline.gate.clear()
        waiting = [asyncio.create_task(stage.send(question())) for _ in range(MAX_PER_CALLER)]
        await until(lambda: stage.pipeline.waiting == MAX_PER_CALLER)
        reply = await stage.send(question())
        assert (reply.status, reply.headers["retry-after"]) == (429, "1")
        writer = {"type": "agent", "id": "writer"}
        other = asyncio.create_task(stage.send(question(subject=writer), token=WRITER))
        await until(lambda: stage.pipeline.waiting == MAX_PER_CALLER + 1)
        assert (await stage.send(b"", "/healthz", method="GET")).status == 200
        stage.pipeline.gate.set()
        assert [each.status for each in await asyncio.gather(*waiting, other)] == [200] * (MAX_PER_CALLER + 1)
        assert (await stage.send(question())).status == 200


@in_loop
async def test_a_decision_that_was_begun_is_made_whoever_waits_for_it() -> None:
    """A client that hangs up cuts nothing off."""
    async with staged() as stage:
        stage.pipeline.gate.clear()
        asking = asyncio.create_task(stage.send(question()))
        await until(lambda: stage.pipeline.waiting == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        stage.pipeline.gate.set()
        await until(lambda: len(stage.pipeline.asked) == 1)


@in_loop
async def test_what_nobody_waits_for_is_not_begun() -> None:
    """Of several, the one under way is decided when the client hangs up, and no further one."""
    async with staged() as stage:
        stage.pipeline.gate.clear()
        asking = asyncio.create_task(stage.send(boxcar(*[of("openai")] * 3), EVALUATIONS))
        await until(lambda: stage.pipeline.waiting == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: stage.connections() == 0)
        stage.pipeline.gate.set()
        await stage.authzen.finish(5)
        assert len(stage.pipeline.asked) == 1


@in_loop
async def test_a_body_that_breaks_off_is_nobodys_question() -> None:
    """A chunk that is none is a bad request."""
    async with staged() as stage:
        head = f"POST {EVALUATION} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {SUPPORT}\r\n"
        head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"
        status, _ = await raw_send(stage, head.encode())
        assert status == 400
        assert stage.pipeline.asked == []


@in_loop
async def test_who_waits_to_be_told_to_go_on_is() -> None:
    """`Expect: 100-continue`, which curl sends with larger bodies."""
    async with staged() as stage:
        raw = json.dumps(question()).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        head = f"POST {EVALUATION} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {SUPPORT}\r\n"
        head += f"Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {len(raw)}\r\n\r\n"
        writer.write(head.encode())
        async with asyncio.timeout(5):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(raw)
            assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
        writer.close()
        await writer.wait_closed()


async def raw_send(stage: Stage, raw: bytes) -> tuple[int, bytes]:
    """Send bytes, and read until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(raw)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split()[1]), answer


def test_a_type_that_is_none_of_ours_is_recorded_as_a_denial() -> None:
    """Anybody's types are read, and no rule is asked about them."""
    known = authzen_read.call(read_evaluation(question()))
    unknown = authzen_read.call(read_evaluation(question(resource={"type": "todo", "id": "1"})))

    assert known.objection is None
    assert unknown.objection is not None
    assert unknown.objection.reason is Reason.UNKNOWN_RESOURCE


def test_the_digest_is_of_what_was_understood() -> None:
    """The same under another attempt, another clock, and another order; another one where anything else differs."""

    def digest(**context: object) -> str:
        return authzen_read.call(read_evaluation(question(context={"key": "k", **context}))).digest

    first = digest(arguments={"a": 1, "b": 2}, time="10:00", attempt=1)
    assert digest(attempt=2, time="10:01", arguments={"b": 2, "a": 1}) == first
    others = [
        digest(arguments={"a": 1, "b": "2"}),
        digest(arguments={"a": 1, "b": 2}, reason="x"),
        digest(arguments={"a": 1, "b": 2}, workflow="w"),
        digest(arguments={"a": 1, "b": 2}, purpose="p"),
        digest(arguments={"a": 1, "b": 2}, parent="p"),
        digest(arguments={"a": 1, "b": 2}, claim=1),
        digest(arguments={"a": 1, "b": 2}, usage={"call": 1}),
        digest(arguments={"a": 1, "b": 2}, fulfils=["log"]),
        digest(arguments={"a": 1, "b": 2}, inputs=["d"]),
    ]
    assert len({first, *others}) == len(others) + 1
    assert authzen_read.call(read_evaluation(question())).digest == ""


def test_a_reply_that_is_no_json_is_found() -> None:
    """The stage's own check of content types can fail."""
    with pytest.raises(AssertionError):
        _ = Reply(200, {"content-type": "text/plain"}, b"{}").body
