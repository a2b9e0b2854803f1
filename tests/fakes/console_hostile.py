"""Attacks as text, and an installation in which every text is one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fakes.console_fake import EUR, HOUR, NOW, OverviewFake, body, person
from remit.core.model import BudgetRoom, BudgetRow, Halt, Subject
from remit.ports import Burn, WorkflowState

HARMLESS = "some text"
ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    '" autofocus onfocus=alert(1) x="',
    "' style='position:fixed",
    "</title><script>alert(1)</script>",
    "</textarea></select></style><b>",
    "--><script>alert(1)</script><!--",
    "<![CDATA[<b>]]>",
    "<iframe srcdoc='<b>'>",
    "javascript:alert(1)//x y",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;script&gt;&#x3c;b&#62;",
    "hx-get=/halts <div hx-get=/halts hx-trigger=load>",
    "\x1b[31mred\x1b]8;;https://evil.example\x07link",
    "\u202eevil\u2066isolated\u2069",
    "\u200bhidden\u2028line\u2029\ufeff",
    "\x00nul\x07bell\x08\x7f\x85",
    "a\r\nSet-Cookie: x=y\r\n\r\n<b>",
    "Z\u0335\u0321\u0341" * 50 + " a",
    "x" * 6000 + " <b>",
]
UNPAIRED = "\ud800<b>\udfff"
"""No Unicode at all: only a body can bring it, as an escape of JSON."""


def everywhere(text: str, *, in_bodies: str | None = None) -> tuple[OverviewFake, Subject]:
    """An installation in which every text is this one, and somebody who looks at it by that name."""
    told = OverviewFake(currency=text)
    inside = text if in_bodies is None else in_bodies
    for budget, end in (("one", NOW + HOUR), ("two", 0)):
        row = BudgetRow(budget=text + budget, scope=text, start=NOW - 5 * HOUR, end=end, limit=10 * EUR)
        told.rooms.append(BudgetRoom(row, 10 * EUR, 9 * EUR, 0))
        told.burns[row.budget, row.scope] = [Burn(NOW - HOUR, EUR)]
    told.flows = [WorkflowState("w_1", text, (text, text), (text,), NOW, "open", 1)]
    told.flows.append(WorkflowState("w_2" + text, text, (text,), (text,), NOW, text, 1))
    told.stopped = [Halt(text, text, text, text, text, NOW), Halt("h_2", "service", text, text, text, NOW)]
    said = filled(body(reserved="20000000", sent={"query": {"statement": "x"}, "answer": {"rows": 1}}), inside)
    said["effect"] = "DENY"
    named = {"log": text, "subject": text}
    told.add("d_1", said, workflow="w_1", parent=text, **named)
    told.add("d_2", {**said, "effect": inside}, workflow="w_1", parent="d_1", **named)
    told.add(text, said, workflow=text, parent="d_1", **named)
    told.add("d_3", said, workflow="w_1", parent=text, **named)
    told.add(
        "t_1", {"outcome": inside, "state": inside, "cost": "5", "error": inside}, ref="d_1", workflow="w_1", kind=text
    )
    told.add("x_1", {inside: {inside: [inside, {inside: 1}]}}, kind=text, workflow="w_1", ref=text, **named)
    told.add("e_1", said, workflow="w_1", **named)
    told.erase("e_1")
    return told, replace(person("p", "operator", "auditor"), id=text, team=text)


def filled(value: Any, text: str) -> Any:
    """The value, with every text of it replaced, and a further key of that name in every object."""
    if isinstance(value, dict):
        return {**{key: filled(each, text) for key, each in value.items()}, text: text}
    if isinstance(value, list | tuple):
        return [*(filled(each, text) for each in value), text, {"policy": text, "code": text, "id": text}]
    return text if isinstance(value, str) and not value.isdigit() else value
