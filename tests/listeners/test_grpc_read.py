"""Reading requests: every field that is not as it must be is named, all of them at once, and nothing is repaired."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st
from listeners.serving import question
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
            ),
            usage=[Usage(unit=f"u{place}", quantity=10**15) for place in range(16)],
            fulfils=["f" * 128] * 64,
            key="k" * 128,
        )
    )

    assert len(call.usage) == 16
    assert call.claimed.attempt == 10**6


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
    """It binds what is asked, not how often and under which name."""
    usual = question(key="a", context=Context(reason="r"))
    again = question(key="b", context=Context(reason="r", attempt=3))

    assert len(digest(usual)) == 64
    assert digest(usual) == digest(again)


def test_reading_does_not_change_the_request() -> None:
    """The digest is made on a copy."""
    request = question(key="a", context=Context(attempt=3))
    read.authorize(request)

    assert (request.key, request.context.attempt) == ("a", 3)


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
