"""Reading requests: every field that is not as it must be is named, all of them at once, and nothing is repaired."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st
from listeners.serving import question
from remit.core.alternative import check_patch
from remit.core.approval import State, Verdict
from remit.core.errors import BadRequest
from remit.listeners import grpc_read as read
from remit.v1 import audit_pb2, oversight_pb2, resources_pb2, sidecar_pb2

Context, Resource, Usage, Money = (
    resources_pb2.Context,
    resources_pb2.Resource,
    resources_pb2.Usage,
    resources_pb2.Money,
)


def refused(read_it: Any, *arguments: Any) -> dict[str, str]:
    """The violations by field."""
    with pytest.raises(BadRequest) as caught:
        read_it(*arguments)
    return {each.field: each.expected for each in caught.value.violations}


def service(**changed: Any) -> Resource:
    return Resource(**{"type": "service", "id": "openai", **changed})


def deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


BAD_FIELDS: Mapping[str, tuple[dict[str, Any], list[str]]] = {
    "another type": ({"resource": service(type="Service")}, ["resource.type"]),
    "an id with a newline": ({"resource": service(id="open\nai")}, ["resource.id"]),
    "an id with a newline at its end": ({"resource": service(id="openai\n")}, ["resource.id"]),
    "an id with NUL": ({"resource": service(id="openai\0")}, ["resource.id"]),
    "an id of look-alikes": ({"resource": service(id="оpenai")}, ["resource.id"]),
    "a full-width slash": ({"resource": service(operation="chat／x")}, ["resource.operation"]),
    "a zero-width space": ({"resource": service(variant="small\u200b")}, ["resource.variant"]),
    "a Turkish İ": ({"resource": service(id="İnvoices")}, ["resource.id"]),
    "a bidi override": ({"resource": service(id="\u202eianepo")}, ["resource.id"]),
    "a name of 10 KB": ({"resource": service(id="a" * 10_000)}, ["resource.id"]),
    "a path upwards": ({"resource": service(id="../openai")}, ["resource.id"]),
    "65 columns": ({"resource": service(fields=["t.c"] * 65)}, ["resource.fields"]),
    "a column with a quote": ({"resource": service(fields=["t.c", 'a"b'])}, ["resource.fields[1]"]),
    "an action in capitals": ({"action": "DATA.READ"}, ["action"]),
    "an action of 10 KB": ({"action": "a" * 10_000}, ["action"]),
    "a negative quantity": ({"usage": [Usage(unit="call", quantity=-1)]}, ["usage[0].quantity"]),
    "2^63-1 of a unit": ({"usage": [Usage(unit="call", quantity=2**63 - 1)]}, ["usage[0].quantity"]),
    "a unit twice": ({"usage": [Usage(unit="call"), Usage(unit="call")]}, ["usage[1].unit"]),
    "a unit without a name": ({"usage": [Usage(quantity=1)]}, ["usage[0].unit"]),
    "17 units": ({"usage": [Usage(unit=f"u{place}") for place in range(17)]}, ["usage"]),
    "100 000 obligations": ({"fulfils": ["x"] * 100_000}, ["fulfils"]),
    "an empty obligation": ({"fulfils": [""]}, ["fulfils[0]"]),
    "a key of 129": ({"key": "k" * 129}, ["key"]),
    "a key with a newline": ({"key": "a\nb"}, ["key"]),
    "a key that is not ASCII": ({"key": "schlüssel"}, ["key"]),
    "an agent with a space": ({"agent": "sup port"}, ["agent"]),
    "a workflow of 1025": ({"context": Context(workflow="a" * 1025)}, ["context.workflow"]),
    "a workflow with a newline": ({"context": Context(workflow="a.b.c\n")}, ["context.workflow"]),
    "a purpose in capitals": ({"context": Context(purpose="Support")}, ["context.purpose"]),
    "a reason of 513 bytes": ({"context": Context(reason="a" * 513)}, ["context.reason"]),
    "a reason of 171 € signs": ({"context": Context(reason="€" * 171)}, ["context.reason"]),
    "a parent with a space": ({"context": Context(parent="d 1")}, ["context.parent"]),
    "an actor with a dot": ({"context": Context(actor="a.b")}, ["context.actor"]),
    "65 inputs": ({"context": Context(inputs=["d"] * 65)}, ["context.inputs"]),
    "a trace of 31": ({"context": Context(trace="a" * 31)}, ["context.trace"]),
    "a trace of zeros": ({"context": Context(trace="0" * 32)}, ["context.trace"]),
    "a trace in capitals": ({"context": Context(trace="A" * 32)}, ["context.trace"]),
    "a negative attempt": ({"context": Context(attempt=-1)}, ["context.attempt"]),
    "a negative claim": ({"context": Context(claim=-1)}, ["context.claim"]),
    "a claim beyond 2^62": ({"context": Context(claim=2**62 + 1)}, ["context.claim"]),
    "a negative wait": ({"wait": Duration(seconds=-1)}, ["wait"]),
    "a wait that is less than nothing": ({"wait": Duration(nanos=-1)}, ["wait"]),
    "a wait of mixed signs": ({"wait": Duration(seconds=1, nanos=-1)}, ["wait"]),
    "a wait of too many billionths": ({"wait": Duration(nanos=10**9)}, ["wait"]),
    "a wait of more than an hour": ({"wait": Duration(seconds=3600, nanos=1)}, ["wait"]),
    "a wait of ages": ({"wait": Duration(seconds=2**62)}, ["wait"]),
    "two things": ({"action": "", "key": "\n"}, ["action", "key"]),
}


@pytest.mark.parametrize("name", BAD_FIELDS)
def test_a_field_that_is_not_as_it_must_be_is_named(name: str) -> None:
    """The violation names the field, and says what was expected."""
    changed, wrong = BAD_FIELDS[name]

    found = refused(read.authorize, question(**changed))

    assert list(found) == wrong
    assert all(found.values())


BAD_ARGUMENTS: Mapping[str, bytes] = {
    "not JSON": b"{",
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":-Infinity}',
    "1e400": b'{"a":1e400}',
    "an integer of 5000 digits": b'{"a":' + b"9" * 5000 + b"}",
    "2^63": b'{"a":9223372036854775808}',
    "a key twice": b'{"path":"/public","path":"/secret"}',
    "a lone surrogate": b'{"a":"\\ud800"}',
    "not UTF-8": b'{"a":"\xff"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a comment": b'{"a":1/**/}',
    "a trailing comma": b'{"a":1,}',
    "two values": b"{}{}",
    "33 levels": deep(33),
    "10 000 levels": deep(10_000),
    "10 000 open brackets": b"[" * 10_000,
    "more than 256 KiB": b'{"a":"' + b"x" * (256 * 1024) + b'"}',
    "a control character": b'{"a":"\x01"}',
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_arguments_are_one_strict_json_object(name: str) -> None:
    """What two readers could understand differently is refused."""
    found = refused(read.authorize, question(context=Context(arguments=BAD_ARGUMENTS[name])))

    assert list(found) == ["context.arguments"]
    assert len(found["context.arguments"]) < 200


def test_arguments_keep_their_exact_numbers() -> None:
    """Numbers that a double would change stay as they were written."""
    call = read.authorize(question(context=Context(arguments=b'{"a":9007199254740993,"b":1.0000000000000000000001}')))

    assert call.claimed.arguments == {"a": 9007199254740993, "b": Decimal("1.0000000000000000000001")}


def test_the_bounds_themselves_are_allowed() -> None:
    """The largest of everything is read."""
    call = read.authorize(
        question(
            resource=Resource(
                type="dataset", id="a" * 128, operation="b" * 128, variant="c" * 128, fields=["t.c"] * 64
            ),
            context=Context(
                workflow="w" * 1024,
                purpose="p" * 64,
                reason="€" * 170,
                parent="d" * 64,
                actor="a" * 64,
                arguments=deep(32),
                inputs=["d"] * 64,
                attempt=10**6,
                claim=2**62,
            ),
            wait=Duration(seconds=3600),
            usage=[Usage(unit=f"u{place}", quantity=10**15) for place in range(16)],
            fulfils=["f" * 128] * 64,
            key="k" * 128,
        )
    )

    assert len(call.usage) == 16
    assert call.claimed.attempt == 10**6


WAITS = [
    (Duration(), 0),
    (Duration(nanos=1), 1),
    (Duration(seconds=3600), 3600 * 10**9),
    (Duration(seconds=3600, nanos=1), 0),
    (Duration(seconds=-1), 0),
    (Duration(seconds=2**62), 0),
]


@pytest.mark.parametrize(("wait", "nanos"), WAITS)
def test_a_call_waits_for_as_long_as_it_may(wait: Duration, nanos: int) -> None:
    """What is out of bounds is no wait: the request is refused anyhow. Nothing said is none either."""
    assert read.waits(question(wait=wait)) == nanos
    assert read.waits(question()) == 0


def claim(**changed: Any) -> sidecar_pb2.ClaimRequest:
    return sidecar_pb2.ClaimRequest(**{"resource": Resource(type="object", id="ticket"), "object": "7", **changed})


BAD_CLAIMS: Mapping[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({"resource": Resource()}, ["resource.type", "resource.id"]),
    "an operation": ({"resource": service(operation="chat")}, ["resource.operation"]),
    "a variant": ({"resource": service(variant="small")}, ["resource.variant"]),
    "columns": ({"resource": service(fields=["t.c"])}, ["resource.fields"]),
    "an object of 257": ({"object": "a" * 257}, ["object"]),
    "an object of 129 é": ({"object": "é" * 129}, ["object"]),
    "an object with NUL": ({"object": "7\0"}, ["object"]),
    "an object with a newline": ({"object": "7\n"}, ["object"]),
    "an object that reads backwards": ({"object": "\u202e7"}, ["object"]),
    "half a second": ({"ttl": Duration(nanos=5 * 10**8)}, ["ttl"]),
    "no time": ({"ttl": Duration()}, ["ttl"]),
    "a negative time": ({"ttl": Duration(seconds=-60)}, ["ttl"]),
    "more than an hour": ({"ttl": Duration(seconds=3601)}, ["ttl"]),
    "a key with a newline": ({"key": "a\n"}, ["key"]),
    "arguments that are none": ({"context": Context(arguments=b"[]")}, ["context.arguments"]),
}


@pytest.mark.parametrize("name", BAD_CLAIMS)
def test_a_claim_that_is_not_as_it_must_be_is_refused(name: str) -> None:
    """By the field; and nothing that looks like a claim on less is taken for one on more."""
    changed, wrong = BAD_CLAIMS[name]
    assert list(refused(read.claim, claim(**changed))) == wrong


def test_a_claim_is_read_whole() -> None:
    """A minute where nothing is said; the time to live is part of what a key binds, the attempt is not."""
    call = read.claim(claim(object="über 7", key="k", context=Context(reason="why", attempt=1)))

    assert (call.resource.type, call.resource.id, call.object, call.ttl) == ("object", "ticket", "über 7", 60 * 10**9)
    assert (call.claimed.reason, call.key, len(call.digest)) == ("why", "k", 64)
    longer = read.claim(claim(object="über 7", key="k", ttl=Duration(seconds=3600), context=Context(reason="why")))
    assert longer.ttl == 3600 * 10**9
    assert longer.digest != call.digest
    again = read.claim(claim(object="über 7", key="j", context=Context(reason="why", attempt=2)))
    assert again.digest == call.digest


@pytest.mark.parametrize("token", [0, -1, 2**62 + 1])
def test_a_release_names_the_token_that_it_is_held_by(token: int) -> None:
    """None, negative and too large ones are refused; the rest is read as for a claim."""
    request = sidecar_pb2.ReleaseRequest(resource=service(variant="small"), object="\0", token=token)
    assert list(refused(read.release, request)) == ["resource.variant", "object", "token"]
    good = read.release(sidecar_pb2.ReleaseRequest(resource=service(), object="7", token=2**62))
    assert (good.resource.id, good.object, good.token) == ("openai", "7", 2**62)


def resolution(**changed: Any) -> oversight_pb2.ResolveApprovalRequest:
    usual = {"approval": "a_1", "verdict": resources_pb2.APPROVAL_VERDICT_DENY, "reason": "no", "version": 3}
    return oversight_pb2.ResolveApprovalRequest(**{**usual, **changed})


def of(**parts: Any) -> bytes:
    return json.dumps(parts).encode()


BAD_RESOLUTIONS: Mapping[str, tuple[dict[str, Any], list[str]]] = {
    "no approval": ({"approval": ""}, ["approval"]),
    "an approval with NUL": ({"approval": "a\0"}, ["approval"]),
    "no reason": ({"reason": " \n"}, ["reason"]),
    "a reason of 513": ({"reason": "a" * 513}, ["reason"]),
    "a reason with NUL": ({"reason": "a\0b"}, ["reason"]),
    "a negative version": ({"version": -1}, ["version"]),
    "a version beyond 2^62": ({"version": 2**62 + 1}, ["version"]),
    "an alternative that is no JSON": ({"alternative": b"{"}, ["alternative"]),
    "a list": ({"alternative": b"[]"}, ["alternative"]),
    "a text": ({"alternative": b'"x"'}, ["alternative"]),
    "null": ({"alternative": b"null"}, ["alternative"]),
    "NaN": ({"alternative": b'{"arguments":{"a":NaN}}'}, ["alternative"]),
    "a key twice": ({"alternative": b'{"arguments":{"a":1,"a":2}}'}, ["alternative"]),
    "33 levels": ({"alternative": b'{"arguments":' + deep(32) + b"}"}, ["alternative"]),
    "more than 64 KiB": ({"alternative": of(arguments={"a": "x" * 65_536})}, ["alternative"]),
    "another part": ({"alternative": of(arguments={}, subject="ana")}, ["alternative"]),
    "a part with a newline": ({"alternative": of(**{"a\nb": 1})}, ["alternative"]),
    "arguments that are a list": ({"alternative": of(arguments=[1])}, ["alternative.arguments"]),
    "arguments that are nothing": ({"alternative": of(arguments=None)}, ["alternative.arguments"]),
    "a resource that is a text": ({"alternative": of(resource="openai")}, ["alternative.resource"]),
    "an owner": ({"alternative": of(resource={"owner": "me"})}, ["alternative.resource"]),
    "a part with NUL": ({"alternative": of(resource={"a\0": "me"})}, ["alternative.resource"]),
    "another resource": ({"alternative": of(resource={"id": "other"})}, ["alternative.resource"]),
    "a variant of look-alikes": ({"alternative": of(resource={"variant": "smаll"})}, ["alternative.resource.variant"]),
    "an operation that is a number": (
        {"alternative": of(resource={"operation": 1})},
        ["alternative.resource.operation"],
    ),
    "a variant that is a list": ({"alternative": of(resource={"variant": ["a"]})}, ["alternative.resource.variant"]),
    "columns that are a text": ({"alternative": of(resource={"fields": "t.c"})}, ["alternative.resource.fields"]),
    "columns of numbers": ({"alternative": of(resource={"fields": [1]})}, ["alternative.resource.fields"]),
    "65 columns": ({"alternative": of(resource={"fields": ["t.c"] * 65})}, ["alternative.resource.fields"]),
    "an alternative to yes": (
        {"alternative": of(arguments={}), "verdict": resources_pb2.APPROVAL_VERDICT_APPROVE},
        ["alternative"],
    ),
    "an alternative that is passed on": (
        {"alternative": of(arguments={}), "verdict": resources_pb2.APPROVAL_VERDICT_HOLD},
        ["alternative"],
    ),
}


@pytest.mark.parametrize("name", BAD_RESOLUTIONS)
def test_a_resolution_that_is_not_as_it_must_be_is_refused(name: str) -> None:
    """By the field, whose name is never the caller's text."""
    changed, wrong = BAD_RESOLUTIONS[name]
    found = refused(read.resolve, resolution(**changed))

    assert list(found) == wrong
    assert all(each.isprintable() and len(each) < 200 for each in found.values())


@pytest.mark.parametrize("verdict", [0, 4, 99, -1])
def test_a_verdict_that_is_none_is_refused(verdict: int) -> None:
    """Unset and unknown ones are never taken for one of the three."""
    request = resolution()
    request.ClearField("verdict")
    request.MergeFromString(b"\x10" + _varint(verdict))

    assert list(refused(read.resolve, request)) == ["verdict"]


def test_a_resolution_is_read_exactly() -> None:
    """A merge patch keeps its nulls and its numbers; the largest of everything is read."""
    patch = b'{"resource":{"variant":null,"fields":["t.c"],"operation":""},"arguments":{"limit":10,"x":null,"y":1.10}}'
    found = read.resolve(resolution(alternative=patch, reason="a" * 512, version=2**62))

    assert found.verdict is Verdict.DENY
    assert found.alternative == {
        "resource": {"variant": None, "fields": ["t.c"], "operation": ""},
        "arguments": {"limit": 10, "x": None, "y": Decimal("1.10")},
    }
    assert read.resolve(resolution(verdict=resources_pb2.APPROVAL_VERDICT_HOLD)).verdict is Verdict.HOLD
    assert read.resolve(resolution(version=0, alternative=b"{}")).alternative == {}
    assert read.resolve(resolution(alternative=of(arguments={"a": "x" * 65_000}))).alternative


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"limit": -1}, "limit"),
        ({"limit": 101}, "limit"),
        ({"id": "a b"}, "id"),
        ({"before": "a\0"}, "before"),
        ({"states": [0]}, "states[0]"),
        ({"states": [1, 9]}, "states[1]"),
        ({"states": [1] * 65}, "states"),
    ],
)
def test_approvals_are_listed_within_bounds(changed: dict[str, Any], wrong: str) -> None:
    """Nothing stated is pending ones, a hundred; each state counts once."""
    assert list(refused(read.list_approvals, oversight_pb2.ListApprovalsRequest(**changed))) == [wrong]
    assert read.list_approvals(oversight_pb2.ListApprovalsRequest()) == ((), "", "", 100)
    whole = oversight_pb2.ListApprovalsRequest(states=[2, 1, 2], id="a_1", before="a_2", limit=7)
    assert read.list_approvals(whole) == ((State.APPROVED, State.PENDING), "a_1", "a_2", 7)


@pytest.mark.parametrize("limit", [-1, 501])
def test_what_was_never_reported_is_listed_within_bounds(limit: int) -> None:
    """Five hundred at most, which is also what is told where nothing is said."""
    assert list(refused(read.list_unresolved, oversight_pb2.ListUnresolvedRequest(limit=limit))) == ["limit"]
    assert read.list_unresolved(oversight_pb2.ListUnresolvedRequest()) == 500


def test_free_text_is_kept_as_it_came() -> None:
    """What is for people may hold anything: whoever shows it escapes it."""
    call = read.authorize(question(context=Context(reason="a\r\n\x1b[31m\u202e<b>")))

    assert call.claimed.reason == "a\r\n\x1b[31m\u202e<b>"


@pytest.mark.parametrize("outcome", [0, 99, -1])
def test_an_outcome_that_is_none_is_refused(outcome: int) -> None:
    """Unset, unknown and negative enums are violations, not defaults."""
    request = sidecar_pb2.ReportRequest(decision="d_1")
    request.MergeFromString(b"\x10" + _varint(outcome))

    assert list(refused(read.report, request)) == ["outcome"]


@pytest.mark.parametrize("scope", [0, 99, -1])
def test_a_scope_that_is_none_is_refused(scope: int) -> None:
    """As for outcomes; and SCOPE_ALL takes no value."""
    request = oversight_pb2.HaltRequest(value="x", reason="why")
    request.MergeFromString(b"\x08" + _varint(scope))

    assert list(refused(read.control, request)) == ["scope"]


def test_a_halt_of_everything_names_nothing() -> None:
    """A value beside SCOPE_ALL is a mistake that must not stop everything."""
    request = oversight_pb2.HaltRequest(scope=resources_pb2.SCOPE_ALL, value="support", reason="why")

    assert list(refused(read.control, request)) == ["value"]
    request.value = ""
    assert read.control(request) == ("all", "", "why")


TTLS = [
    (Duration(seconds=0), False),
    (Duration(seconds=-1), False),
    (Duration(seconds=1, nanos=1), False),
    (Duration(seconds=7 * 24 * 3600 + 1), False),
    (Duration(seconds=2**62), False),
    (Duration(seconds=1), True),
    (Duration(seconds=7 * 24 * 3600), True),
]


@pytest.mark.parametrize(("ttl", "good"), TTLS)
def test_a_workflow_lives_from_a_second_to_a_week(ttl: Duration, good: bool) -> None:
    """Whole seconds within the bounds."""
    request = sidecar_pb2.OpenWorkflowRequest(purposes=["support"], ttl=ttl)

    if good:
        assert read.open_workflow(request).ttl == ttl.seconds * 10**9
    else:
        assert list(refused(read.open_workflow, request)) == ["ttl"]


DELTAS = [
    (Money(currency="USD", units=1), "delta.currency"),
    (Money(units=1), "delta.currency"),
    (Money(currency="EUR", units=1, nanos=-1), "delta"),
    (Money(currency="EUR", nanos=1_000_000_000), "delta"),
    (Money(currency="EUR", units=2**63 - 1), "delta"),
    (Money(currency="EUR"), "delta"),
]


@pytest.mark.parametrize(("delta", "field"), DELTAS)
def test_money_is_exact_bounded_and_in_the_ledgers_currency(delta: Money, field: str) -> None:
    """Mixed signs, too many billionths, another currency, too much and nothing are refused."""
    request = oversight_pb2.AdjustBudgetRequest(budget="cx-month", delta=delta, reason="why")

    assert list(refused(read.adjust, request, "EUR")) == [field]


def test_money_is_read_exactly() -> None:
    """Units and billionths of one sign become nanos."""
    delta = Money(currency="EUR", units=-1, nanos=-1)
    request = oversight_pb2.AdjustBudgetRequest(budget="cx-month", scope="support", delta=delta, reason="why")

    assert read.adjust(request, "EUR") == ("cx-month", "support", -1_000_000_001, "why")


@pytest.mark.parametrize("limit", [-1, 10_001, 2**31 - 1])
def test_a_trace_has_at_most_ten_thousand_records(limit: int) -> None:
    """Out of bounds is refused, nothing stated is the maximum."""
    assert list(refused(read.trace, audit_pb2.TraceRequest(workflow="w", limit=limit))) == ["limit"]
    assert read.trace(audit_pb2.TraceRequest(workflow="w")) == ("w", 10_000)


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"limit": -1}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"dataset": "c r m"}, "dataset"),
        ({"table": "sales.customers"}, "table"),
        ({"key": ""}, "key"),
        ({"key": "ä" * 513}, "key"),
    ],
)
def test_who_is_asked_of_one_subject(changes: dict[str, Any], wrong: str) -> None:
    """Of one table, by a key of any text; out of bounds is refused, nothing stated is the most."""
    given = {"dataset": "crm", "table": "customers", "key": "'; --\n ü"}
    assert list(refused(read.who, audit_pb2.WhoRequest(**{**given, **changes}))) == [wrong]
    assert read.who(audit_pb2.WhoRequest(**given)) == (*given.values(), 1000)


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def digest(request: sidecar_pb2.AuthorizeRequest) -> str:
    return read.authorize(request).digest


def test_without_a_key_there_is_no_digest() -> None:
    """Nobody would ask for it."""
    assert digest(question()) == ""


def test_the_digest_is_the_same_under_every_key_and_attempt() -> None:
    """It binds what is asked, not how often, under which name and how long its answer may take."""
    usual = question(key="a", context=Context(reason="r"))
    again = question(key="b", context=Context(reason="r", attempt=3), wait=Duration(seconds=9))

    assert len(digest(usual)) == 64
    assert digest(usual) == digest(again)


def test_reading_does_not_change_the_request() -> None:
    """The digest is made on a copy."""
    request = question(key="a", context=Context(attempt=3), wait=Duration(seconds=9))
    read.authorize(request)

    assert (request.key, request.context.attempt, request.wait.seconds) == ("a", 3, 9)


DIFFERENT = [
    question(key="k"),
    question(key="k", action="tool.call"),
    question(key="k", resource=service(id="other")),
    question(key="k", resource=service(fields=["t.c"])),
    question(key="k", usage=[Usage(unit="call", quantity=1)]),
    question(key="k", usage=[Usage(unit="call", quantity=2)]),
    question(key="k", fulfils=["mask"]),
    question(key="k", agent="support"),
    question(key="k", context=Context(arguments=b'{"a":1}')),
    question(key="k", context=Context(arguments=b'{"a":2}')),
    question(key="k", context=Context(purpose="support")),
    question(key="k", context=Context(reason="r")),
    question(key="k", context=Context(parent="d")),
    question(key="k", context=Context(inputs=["d"])),
    question(key="k", context=Context(trace="1" * 32)),
    question(key="k", context=Context(actor="n")),
    question(key="k", context=Context(workflow="a.b.c")),
    question(key="k", context=Context(claim=1)),
]


def test_another_request_has_another_digest() -> None:
    """Every field but the key and the attempt counts."""
    assert len({digest(each) for each in DIFFERENT}) == len(DIFFERENT)


def test_what_this_version_does_not_know_counts_too() -> None:
    """An unknown field may be a restriction, so a request with it is another one."""
    unknown = question(key="k")
    unknown.MergeFromString(b"\xfa\x7f\x04none")

    assert digest(unknown) != digest(question(key="k"))


def test_the_digests_of_two_methods_differ() -> None:
    """A key is scoped to its method, and so is what it binds."""
    record = sidecar_pb2.RecordRequest(key="k")
    handoff = sidecar_pb2.HandoffRequest(key="k")

    assert read._digest("Record", record) != read._digest("Handoff", handoff)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_question_or_a_bad_request(raw: bytes) -> None:
    """Nothing else comes out of reading, whatever goes in."""
    try:
        call = read.authorize(read.message(sidecar_pb2.AuthorizeRequest, raw))
    except BadRequest as error:
        assert error.violations
    else:
        assert call.action


READERS: list[tuple[Any, Any]] = [
    (sidecar_pb2.ClaimRequest, read.claim),
    (sidecar_pb2.ReleaseRequest, read.release),
    (oversight_pb2.ResolveApprovalRequest, read.resolve),
    (oversight_pb2.ListApprovalsRequest, read.list_approvals),
    (oversight_pb2.ListUnresolvedRequest, read.list_unresolved),
]


@pytest.mark.parametrize(("kind", "reader"), READERS)
@given(raw=st.binary(max_size=300))
def test_any_bytes_are_what_is_asked_of_oversight_or_a_bad_request(kind: Any, reader: Any, raw: bytes) -> None:
    """As for a question."""
    with suppress(BadRequest):
        reader(read.message(kind, raw))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
PARTS_OF_RESOURCE = st.dictionaries(st.sampled_from(["operation", "variant", "fields", "id", "owner", ""]), JSON)


@given(st.dictionaries(st.sampled_from(["resource", "arguments", "subject"]), JSON | PARTS_OF_RESOURCE, max_size=3))
def test_any_alternative_is_one_that_the_core_takes_or_is_refused(patch: dict[str, Any]) -> None:
    """What is let in is nothing that could not be asked for."""
    try:
        found = read.resolve(resolution(alternative=of(**patch))).alternative
    except BadRequest as error:
        assert error.violations
    else:
        if found:
            check_patch(found)
        assert found.keys() <= {"resource", "arguments"}


@given(st.text(max_size=80))
def test_any_text_as_a_name_is_ascii_and_short_or_refused(text: str) -> None:
    """The grammar lets nothing through that could be mistaken on a screen, in a path or in a header."""
    try:
        request = question(resource=service(id=text))
    except (UnicodeEncodeError, ValueError):
        return  # protobuf itself takes no lone surrogate
    try:
        found = read.authorize(request).resource.id
    except BadRequest:
        return
    assert found.isascii()
    assert found.isprintable()
    assert not set(found) & set(" \"'\\<>;|&$`(){}[]*?!%#^~,=+")


@pytest.mark.parametrize("limit", [-1, 501])
def test_a_page_of_budgets_has_a_bound(limit: int) -> None:
    """500 at most, which is also what is told where nothing is said."""
    with pytest.raises(BadRequest, match="limit"):
        read.list_budgets(oversight_pb2.ListBudgetsRequest(limit=limit))
    assert read.list_budgets(oversight_pb2.ListBudgetsRequest()) == ("", 500, ("", ""))
