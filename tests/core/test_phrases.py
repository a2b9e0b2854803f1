"""Decisions in words: what they wait for, what they were allowed under, and what was said to that later."""

from __future__ import annotations

from typing import Any

import pytest
from remit.core.phrases import Names, about_words, approvals, grants, told
from remit.core.records import Entry, grow

ESCAPE = "\x1b[31m"


def entry(body: dict[str, Any], kind: str = "decision", subject: str = "bo") -> Entry:
    """A record of that body."""
    return Entry("log_1", 7, 0, kind, "d_1", subject, "w_1", "", "", False, "", body)


def lines(body: dict[str, Any]) -> dict[str, str]:
    """What is told of a decision, by its labels."""
    (node,) = grow([entry(body)])
    return dict(told(node, Names({}, "", "")))


def test_a_hold_tells_what_it_waits_for_and_what_would_be_allowed_instead() -> None:
    """Each approval once, by the id that it is resolved by, and how it was found."""
    waits = [{"id": "a_1", "state": "opened"}, {"id": "a_2", "state": "joined"}, {"id": "a_1", "state": "opened"}]
    instead = {"resource": {"type": "service", "id": "model", "variant": "small"}, "arguments": {"rows": 5}}

    found = lines({"approvals": waits, "grants": ["a_0", "a_0"], "alternative": instead})

    assert found == {
        "approvals": "a_1 opened, a_2 joined",
        "grants": "a_0",
        "instead": "service model/small with rows=5",
    }


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (
            {
                "action": "approval.resolve",
                "resource": {"operation": "approve"},
                "effect": "ALLOW",
                "done": {"outcome": "pending", "reason": "fine"},
                "context": {"reason": "sealed?"},
            },
            "decision",
            "bo approve (fine): ALLOW, pending",
        ),
        (
            {
                "action": "approval.resolve",
                "resource": {"operation": "deny"},
                "effect": "DENY",
                "context": {"reason": {"hmac": "00", "type": "string", "size": 4}},
            },
            "decision",
            "bo deny: DENY",
        ),
        ({"approval": "a_1", "move": "expired"}, "approval", "approval a_1 expired"),
        (
            {"failure": "loop", "answer": "halt", "scope": "agent", "value": "x"},
            "failure",
            "failure loop: halt agent x",
        ),
        (
            {"failure": "loop", "answer": "escalate", "scope": "workflow", "value": "w_1", "approval": "a_1"},
            "failure",
            "failure loop: escalate workflow w_1, lifted by approval a_1",
        ),
    ],
)
def test_what_was_said_later_is_told(body: dict[str, Any], kind: str, words: str) -> None:
    """By whom, why, what policy answered, and what came of it."""
    assert about_words(entry(body, kind)) == (words, "")


@pytest.mark.parametrize("value", [None, 7, "x", [], {}, [None], [[]], [{}], {"a": {}}, ESCAPE, [ESCAPE], {ESCAPE: 1}])
def test_no_shape_of_a_body_breaks_the_words(value: Any) -> None:
    """Nor does any bring a control sequence."""
    names = (
        "approvals",
        "grants",
        "alternative",
        "done",
        "resource",
        "context",
        "approval",
        "move",
        "failure",
        "answer",
    )
    body = {"action": "approval.resolve", **dict.fromkeys(names, value)}
    said = [*lines(body).values(), *(about_words(entry(body, kind))[0] for kind in ("decision", "approval", "failure"))]

    assert all(each.isprintable() for each in said)
    assert isinstance(approvals(body), list) and isinstance(grants(body), list)
