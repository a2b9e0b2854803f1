"""`remit authorize` against a sidecar of the tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.sidecar_fake import SidecarFake, sidecar_in_thread
from remit.cli.decisions import decision_document, decision_text
from remit.sdk.answers import Alternative, Change, Decision, Effect, Money, Obligation, PendingApproval, PolicyReason

from .conftest import Remit

ASK = ("authorize", "api.call", "service:openai")


@pytest.fixture
def sidecar(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SidecarFake]:
    with sidecar_in_thread() as fake:
        monkeypatch.setenv("REMIT_ADDRESS", fake.address)
        monkeypatch.setenv("REMIT_TOKEN", "token-support")
        yield fake


def test_allowed_is_exit_code_0(remit: Remit, sidecar: SidecarFake) -> None:
    """An ALLOW is told with its reason and the cost that is now set aside."""
    ended = remit(*ASK, "--usage", "call=3")

    assert ended.code == 0
    assert ended.out.startswith("ALLOW  d1\n")
    assert "0.000003 EUR set aside until 2027-01-15 08:00:00.000Z" in ended.out


def test_denied_is_exit_code_1(remit: Remit, sidecar: SidecarFake) -> None:
    """A DENY names its reasons and the cheaper variant, with nothing in them that acts on a terminal."""
    sidecar.deny("service:openai", "budget_exhausted", cheaper="small\x1b[2J")

    ended = remit(*ASK)

    assert ended.code == 1
    assert "budget_exhausted" in ended.out
    assert "small\\x1b[2J" in ended.out


def test_what_is_held_names_whom_it_waits_for(remit: Remit, sidecar: SidecarFake) -> None:
    """Exit code 1: nobody has allowed it yet; who may, and until when, is told."""
    sidecar.hold("service:openai")

    ended = remit(*ASK)
    asked = remit(*ASK, "--json").document

    assert ended.code == 1
    assert ended.out.startswith("HOLD")
    (approval,) = asked["approvals"]
    assert (approval["state"], asked["permitted"]) == ("pending", False)
    assert f"approval  {approval['approval']} pending: " in ended.out


def test_a_held_question_can_be_waited_for(remit: Remit, sidecar: SidecarFake) -> None:
    """For as long as is said; then it is still held."""
    sidecar.hold("service:openai")

    ended = remit(*ASK, "--wait", "0.3")

    assert ended.code == 1
    assert ended.out.startswith("HOLD")
    assert sidecar.asked().wait.ToMilliseconds() > 0
    assert remit(*ASK, "--wait", "-1").code == 2


def test_what_would_change_it_is_told() -> None:
    """Room left, times and offers, with nobody's text acting on a terminal."""
    changes = (Change("budget", "cx\u202e", Money("EUR", 1)), Change("wait", "", time=1_800_000_000 * 10**9))
    waits = PendingApproval("a_1", "p", "c", "pending", "lead", ("finance", "boss"), 1_800_000_000 * 10**9)
    offered = Alternative("service:openai", "chat", "small", (), {"n": "\x1b"})
    decision = Decision(
        "d_1",
        Effect.DENY,
        (PolicyReason("remit", "budget_exhausted", "none left", changes),),
        "none left",
        True,
        approvals=(waits, replace(waits, state="denied"), replace(waits, supervisor="", roles=())),
        alternative=offered,
    )

    told = decision_text(decision).plain

    assert all(each.isprintable() or each == "\n" for each in told)
    for said in (
        "budget  cx\\u202e, 0.000000001 EUR left",
        "wait  at 2027-01-15 08:00:00.000Z",
        "a_1 pending: lead or people with finance or boss may answer until 2027-01-15 08:00:00.000Z",
        "approval  a_1 denied\n",
        "a_1 pending: nobody may answer",
        'instead  service:openai/chat/small with {"n": "\\u001b"}',
    ):
        assert said in told, (said, told)
    json.dumps(decision_document(decision))


def test_nothing_is_told_that_says_nothing() -> None:
    """Of a change its kind alone; and of a verdict how policy states what comes of it."""
    changes = (Change("role", ""), Change("approval", "a_1", time=1_800_000_000 * 10**9))
    reasons = (PolicyReason("remit", "role_not_granted", "no", changes),)
    owed = (Obligation("resolve_approval", {}), Obligation("redact", {}))
    decision = Decision("d_1", Effect.ALLOW, reasons, "no", True, obligations=owed)

    told = [line.strip() for line in decision_text(decision).plain.splitlines()]

    assert "approval  a_1, until 2027-01-15 08:00:00.000Z" in told
    assert "obliges to  redact" in told
    assert not any(line.startswith("role") for line in told)


def test_json_has_all_of_the_decision(remit: Remit, sidecar: SidecarFake) -> None:
    """--json prints one document, money as exact decimal text."""
    ended = remit(*ASK, "--usage", "call=3", "--json")

    assert ended.document["effect"] == "ALLOW"
    assert ended.document["permitted"] is True
    assert ended.document["cost"] == {"amount": "0.000003", "currency": "EUR"}
    reason = {"policy": "fake", "code": "allowed", "message": "allowed by the fake", "changes": []}
    assert ended.document["reasons"] == [reason]
    assert (ended.document["approvals"], ended.document["alternative"]) == ([], None)


def test_an_observed_agent_may_go_on(remit: Remit, sidecar: SidecarFake) -> None:
    """Where decisions do not bind, a DENY is told and permits."""
    sidecar.deny("service:openai")
    sidecar.observed.add("support")

    ended = remit(*ASK)

    assert ended.code == 0
    assert ended.out.startswith("DENY  d1  observed only: let through")


def test_the_whole_question_arrives(remit: Remit, sidecar: SidecarFake) -> None:
    """Every option is part of the question, arguments typed as written."""
    remit(
        *(*ASK, "--operation", "chat", "--variant", "small", "--purpose", "p", "--reason", "why"),
        *("--arg", "to=a=b", "--arg", "n:=5", "--arg", "list:=[1, null]", "--usage", "image=2", "--field", "t.c"),
    )

    asked = sidecar.asked()
    assert (asked.resource.operation, asked.resource.variant, list(asked.resource.fields)) == ("chat", "small", ["t.c"])
    assert (asked.context.purpose, asked.context.reason) == ("p", "why")
    assert asked.context.arguments == b'{"to":"a=b","n":5,"list":[1,null]}'
    assert [(each.unit, each.quantity) for each in asked.usage] == [("image", 2)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("authorize", "api.call", "openai"), '"type:id"'),
        ((*ASK, "--usage", "call"), "UNIT=N"),
        ((*ASK, "--usage", "call=-1"), "UNIT=N"),
        ((*ASK, "--arg", "n:=oops"), "expected JSON"),
        ((*ASK, "--arg", "n:=NaN"), "arguments"),
        ((*ASK, "--address", "example.com:7450"), "a loopback address or TLS"),
    ],
)
def test_a_question_that_cannot_be_asked_is_exit_code_2(
    remit: Remit, sidecar: SidecarFake, arguments: tuple[str, ...], told: str
) -> None:
    """What was expected is told, and nobody is asked."""
    ended = remit(*arguments)

    assert ended.code == 2
    assert told in ended.err
    assert sidecar.calls == []


def test_an_unknown_credential_is_exit_code_2(remit: Remit, sidecar: SidecarFake, place: Path) -> None:
    """The credential's file wins over the environment; nobody is known by it; its text is in no message."""
    (place / "other").write_text("rmt_secret\n")

    ended = remit(*ASK, "--token-file", "other")

    assert ended.code == 2
    assert "nobody with this credential" in ended.err
    assert "rmt_secret" not in ended.err


def test_nobody_there_is_exit_code_3(remit: Remit) -> None:
    """No sidecar is no permission: told as such, with what to do."""
    ended = remit(*ASK, "--address", "unix:/nowhere/remit.sock")

    assert ended.code == 3
    assert ended.err.startswith("remit: no answer from a sidecar at unix:/nowhere/remit.sock (")
    assert ended.out == ""
