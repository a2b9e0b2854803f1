"""Attacks as text, and an installation in which every text is one of them."""

from __future__ import annotations

from dataclasses import replace
from json import dumps
from typing import Any

from fakes.console_fake import EUR, HOUR, NOW, OverviewFake, body, person
from remit.core.approval import Approval, Item, State, Terms, Verdict, Vote
from remit.core.claim import Claim, thing
from remit.core.model import BudgetRoom, BudgetRow, Halt, Subject
from remit.ports import Burn, Reservation, WorkflowState

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
    told.unreported = [
        Reservation(id, text, text, text, text, text, 5, 5, NOW - HOUR, state, "")
        for id, state in (("d_1", "lapsed"), (text, "held"))
    ]
    told.claimed = [
        Claim(key, text, workflow, 1, NOW + HOUR, NOW)
        for key, workflow in ((thing(text, text, text), "w_1"), (text, text), (f"[{text}", ""), ('["a", 1, "c"]', ""))
    ]
    told.waiting = [_approval(id, State.PENDING, text, inside) for id in ("a_1", "a_2")]
    told.waiting += [_approval(f"a_3{state}", state, text, inside) for state in State]
    told.waiting.append(_approval("b" + text, State.PENDING, text, inside))
    told.cleared = frozenset({text})
    named = [{"id": id, "policy": inside, "code": inside, "state": inside} for id in ("a_1", inside, "a_1")]
    turns = {
        "approvals": named,
        "grants": ["a_1", inside],
        "alternative": {"resource": {"id": inside}, "arguments": {inside: inside}},
    }
    said = filled(body(reserved="20000000", sent={"query": {"statement": "x"}, "answer": {"rows": 1}}), inside)
    said["effect"] = "DENY"
    said |= {**turns, "action": inside}
    whose = {"log": text, "subject": text}
    told.add("d_1", said, workflow="w_1", parent=text, **whose)
    told.add("d_2", {**said, "effect": inside}, workflow="w_1", parent="d_1", **whose)
    told.add(text, said, workflow=text, parent="d_1", **whose)
    told.add("d_3", said, workflow="w_1", parent=text, **whose)
    told.add(
        "t_1", {"outcome": inside, "state": inside, "cost": "5", "error": inside}, ref="d_1", workflow="w_1", kind=text
    )
    told.add(
        "r_1",
        {**said, "action": "approval.resolve", "resource": {**said["resource"], "type": "approval"}},
        ref="d_1",
        workflow="w_1",
        **whose,
    )
    told.add("p_1", {"approval": inside, "move": inside}, kind="approval", ref="d_1", workflow="w_1", **whose)
    told.add("x_1", {inside: {inside: [inside, {inside: 1}]}}, kind=text, workflow="w_1", ref=text, **whose)
    told.add("e_1", said, workflow="w_1", **whose)
    told.erase("e_1")
    return told, replace(person("p", "operator", "auditor"), id=text, team=text)


def _approval(id: str, state: State, text: str, inside: str) -> Approval:
    """One in which every text is this one; what it shows is a body's, and no JSON, and hidden."""
    resource = dict.fromkeys(("type", "id", "operation", "variant"), text)
    shown = ({inside: [inside, {inside: inside}]}, text)
    items = [Item(text, text, 1, (text,), each if each is text else dumps(each), used=1, spent=1) for each in shown]
    items += [Item("b", "d_1", 1, (text, "more"), "x"), Item("c", "d_1", 1, (), "")]
    votes = [Vote(text, text, each, text, NOW, named) for each, named in zip(Verdict, ("d_1", text, ""), strict=True)]
    return Approval(
        id=id,
        like=text,
        subject=text + " it is",  # nobody resolves what they asked for
        team=text,
        workflow=text,
        purpose=text,
        policy=text,
        code=text,
        action=text,
        resource=resource,
        reason=text,
        terms=Terms(roles=("operator", text), supervisor=True, quorum=3),
        time=NOW,
        deadline=NOW + HOUR,
        chain=(text, text),
        level=1,
        state=state,
        votes=tuple(votes),
        expires=NOW + HOUR,
        ended=NOW,
        lifts=text,
        alternative={text: {text: [text, None]}},
        items=tuple(items),
    )


def filled(value: Any, text: str) -> Any:
    """The value, with every text of it replaced, and a further key of that name in every object."""
    if isinstance(value, dict):
        return {**{key: filled(each, text) for key, each in value.items()}, text: text}
    if isinstance(value, list | tuple):
        return [*(filled(each, text) for each in value), text, {"policy": text, "code": text, "id": text}]
    return text if isinstance(value, str) and not value.isdigit() else value
