"""What a refusal says of the approvals that it turns on, for people and for programs, in every API's own shape."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from remit.core.answer import Turning
from remit.core.approval import State
from remit.core.egress.refusal import refused
from remit.core.egress.turning import BODY_BYTES, MESSAGE_BYTES, NOTHING, Turned

UNTIL = 1_800_000_000 * 10**9
WRITTEN = "2027-01-15T08:00:00Z"
INSTEAD = {"resource": {"type": "service", "id": "llm", "variant": "small"}, "arguments": {"n": Decimal("0.10")}}


def waits(
    id: str = "a1", state: State = State.PENDING, *, supervisor: str = "", roles: tuple[str, ...] = ()
) -> Turning:
    return Turning(id, "variants.approval", "approval_required", state, supervisor, roles, UNTIL)


@pytest.mark.parametrize(
    ("supervisor", "roles", "whom"),
    [
        ("lead", (), "lead"),
        ("lead", ("finance",), "lead or people with the role finance"),
        ("", ("finance", "ops"), "people with the role finance or ops"),
        ("", (), "whoever may"),
    ],
)
def test_a_message_says_who_is_waited_for_until_when_and_what_to_do_then(
    supervisor: str, roles: tuple[str, ...], whom: str
) -> None:
    on = Turned((waits(supervisor=supervisor, roles=roles),))
    assert on.text() == (
        f"It waits for approval by {whom} until {WRITTEN}: approval a1. "
        "Send the same request again to use it once it is given."
    )


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (State.DENIED, "Approval a1 was denied."),
        (State.EXPIRED, "Approval a1 was not answered in time."),
        (State.REVOKED, "Approval a1 was taken back."),
    ],
)
def test_what_was_refused_names_its_approval_and_asks_for_no_other_try(state: State, told: str) -> None:
    on = Turned((waits(state=state),))
    assert on.text() == told and not on.pending


def test_many_approvals_are_named_as_far_as_anybody_reads_and_listed_whole() -> None:
    on = Turned(tuple(waits(f"a{number}") for number in range(16)))
    assert "approval a2." in on.text() and "a3" not in on.text() and "13 more wait as well." in on.text()
    assert "once all are given" in on.text() and len(on.text()) < 1000
    headers, body = refused("openai", status=403, code="x", message="m", decision="d", turned=on)
    assert dict(headers)["remit-approval"].split(", ") == list(on.ids)
    assert [each["id"] for each in json.loads(body)["error"]["remit"]["approvals"]] == list(on.ids)


def test_an_alternative_is_told_exactly_where_it_is_short_and_left_out_where_it_is_too_long() -> None:
    """Never cut: half a request is another one."""
    assert '"arguments":{"n":0.10}' in Turned(alternative=INSTEAD).text()
    for size, body in ((MESSAGE_BYTES, True), (BODY_BYTES, False)):
        on = Turned(alternative={"arguments": {"text": "x" * size}})
        assert "xx" not in on.text() and "as this decision says" in on.text()
        assert ("alternative" in on.document()) is body


@pytest.mark.parametrize("kind", ["openai", "azure", "anthropic", "gemini", "bedrock", "http", "grpc"])
def test_every_api_s_error_carries_them_where_it_has_room(kind: str) -> None:
    """The ids in a header in any case."""
    on = Turned((waits(supervisor="lead"),), INSTEAD)
    headers, body = refused(kind, status=403, code="approval_required", message="m", decision="d", turned=on)
    named = dict(headers)
    assert (named["remit-approval"], named["remit-decision"], named["x-should-retry"]) == ("a1", "d", "false")
    if kind == "grpc":
        assert body == b""
        return
    told = json.loads(body, parse_float=Decimal)
    if kind == "gemini":
        metadata = told["error"]["details"][0]["metadata"]
        assert metadata["approvals"] == "a1" and json.loads(metadata["alternative"], parse_float=Decimal) == INSTEAD
        return
    ours = told["remit"] if kind == "bedrock" else told["error"] if kind == "http" else told["error"]["remit"]
    assert ours["alternative"] == INSTEAD
    (approval,) = ours["approvals"]
    assert (approval["id"], approval["state"], approval["supervisor"]) == ("a1", "pending", "lead")
    assert approval["expire_time"] == WRITTEN


def test_what_turns_on_nothing_says_nothing() -> None:
    headers, body = refused("anthropic", status=403, code="x", message="m", decision="d")
    assert not NOTHING and "remit-approval" not in dict(headers) and "remit" not in json.loads(body)["error"]
