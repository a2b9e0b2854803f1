"""A day of an installation, for screens: agents of a shop, one of them refused, one budget nearly spent."""

from __future__ import annotations

from dataclasses import replace
from json import dumps

from fakes.console_fake import EUR, HOUR, NOW, OverviewFake, body
from remit.core.approval import Approval, Bind, Item, State, Terms, Verdict, Vote
from remit.core.claim import Claim, thing
from remit.core.model import BudgetRoom, BudgetRow, Halt
from remit.ports import Burn, Reservation, WorkflowState

DAY = 24 * HOUR
MINUTE = HOUR // 60
MONTH = 1_793_491_200_000_000_000  # 2026-11-01
NEXT = MONTH + 30 * DAY
TODAY = NOW - NOW % DAY
LIVE = "w_06522e1a77c0b1f2aa93c1d5e8f0471b2c3d4e"
OLD = "w_06522d0000aa11bb22cc33dd44ee55ff66aa77"
LARGE, MAIL, GRANT = "a_06522e1a90d4", "a_06522e1b02aa", "a_06522c000001"


def story() -> OverviewFake:
    """All of it."""
    told = OverviewFake()
    _budgets(told)
    _workflows(told)
    told.waiting = _approvals()
    told.cleared = frozenset({"untrusted"})
    told.unreported = [
        Reservation("d_08", "support", LIVE, "openai", "small", "ml", 5_000_000, 5_000_000, NOW - HOUR, "lapsed", ""),
        Reservation("d_21", "analysis", "", "ledger", "", "finance", 0, 0, NOW - 4 * MINUTE, "held", ""),
        Reservation("d_22", "support", OLD, "openai", "small", "ml", 20_000_000, 0, NOW + 5 * MINUTE, "held", ""),
    ]
    told.claimed = [
        Claim(thing("dataset", "crm", "customer 4711"), "support", LIVE, 17, NOW + 9 * MINUTE, NOW - 21 * MINUTE),
        Claim(thing("service", "refunds"), "analysis", "", 3, NOW + MINUTE, NOW - 2 * MINUTE),
    ]
    told.stopped = [
        Halt("h_1", "service", "mailer", "ana", "bounces since the release of this morning", NOW - 2 * HOUR),
        Halt("h_2", "workflow", OLD, "ben", "loops over the same customer", NOW - 30 * HOUR),
    ]
    return told


def _approvals() -> list[Approval]:
    """One that two people must approve, one beside it, one with a supervisor; and how others ended."""
    prompt = {"model": "large", "messages": [{"role": "user", "content": "Summarise the complaints of this week"}]}
    asked_for = {"arguments": prompt, "usage": {"input_token": 1841, "output_token": 800}}
    large = Approval(
        id=LARGE,
        like="large",
        subject="analysis",
        team="cx",
        workflow=LIVE,
        purpose="support",
        policy="approval.variant",
        code="approval_required",
        action="api.call",
        resource={"type": "service", "id": "openai", "operation": "chat", "variant": "large"},
        reason="the small model left out half of the complaints",
        terms=Terms(roles=("finance", "operator"), quorum=2, bind=Bind.VARIANT, uses=50, cost=20 * EUR, ttl=4 * 3600),
        time=NOW - 12 * MINUTE,
        deadline=NOW + 48 * MINUTE,
        version=3,
        votes=(Vote("person", "ben", Verdict.APPROVE, "only until the summary is done", NOW - 5 * MINUTE, "d_20"),),
        items=(
            Item("5b1f" * 16, "d_06", 410_000_000, ("untrusted",), dumps(asked_for), asked=5),
            Item("77c0" * 16, "d_06", 380_000_000, ("pii", "untrusted"), dumps({"arguments": {}}), asked=2),
        ),
    )
    mail = replace(
        large,
        id=MAIL,
        subject="support",
        workflow="",
        policy="supervision.review",
        code="review_required",
        action="message.send",
        resource={"type": "agent", "id": "mailer-agent", "operation": "send", "variant": ""},
        reason="tell the customer that the refund is on its way",
        terms=Terms(roles=("operator",), supervisor=True, alternative={"arguments": {"attachment": None}}),
        time=NOW - 40 * 10**9,
        deadline=NOW + 59 * MINUTE,
        version=1,
        chain=("lead", "ben"),
        votes=(),
        items=(Item("e3a0" * 16, "d_05", 0, ("pii",), dumps({"arguments": {"to": "x@example.com"}})),),
    )
    booked = replace(
        mail,
        id=GRANT,
        action="data.write",
        resource={"type": "dataset", "id": "ledger", "operation": "book_refund", "variant": ""},
        reason="refund for a late parcel",
        terms=replace(mail.terms, supervisor=False, uses=3, cost=30 * EUR, alternative={}),
        time=NOW - 5 * HOUR,
        chain=(),
        version=2,
        state=State.APPROVED,
        expires=NOW + HOUR,
        votes=(Vote("person", "ana", Verdict.APPROVE, "as agreed with finance", NOW - 4 * HOUR, "d_13"),),
        items=(Item("19fe" * 16, "d_12", 9 * EUR, (), dumps({"arguments": {"order": 77}}), used=2, spent=13 * EUR),),
    )
    gone = (replace(booked.items[0], shown=""),)
    no = Vote("person", "ana", Verdict.DENY, "the contract forbids it", NOW - 6 * HOUR, "d_14")
    denied = replace(booked, id="a_06522b000001", state=State.DENIED, ended=NOW - 6 * HOUR, votes=(no,), items=gone)
    expired = replace(denied, id="a_06522a000001", state=State.EXPIRED, ended=NOW - 30 * HOUR, votes=())
    back = (*booked.votes, replace(no, reason="the account was taken over"))
    return [large, mail, booked, denied, expired, replace(denied, id="a_065229000001", state=State.REVOKED, votes=back)]


def _budgets(told: OverviewFake) -> None:
    month = [("cx-month", "", 500, 431, 22), ("ml-month", "", 1200, 318, 4), ("tools-month", "", 50, 0, 0)]
    for name, scope, limit, spent, held in month:
        row = BudgetRow(budget=name, scope=scope, start=MONTH, end=NEXT, limit=limit * EUR)
        told.rooms.append(BudgetRoom(row, limit * EUR, spent * EUR + 250_000_000 * bool(spent), held * EUR))
        hours = range((NOW - MONTH) // HOUR)
        weights = [(3 if 7 <= at % 24 <= 18 else 0) * (2 + at % 5) * (60 + at * (at > 300)) for at in hours]
        shares = [weight * 10**6 // (sum(weights) or 1) for weight in weights]
        told.burns[name, scope] = [
            Burn(MONTH + at * HOUR, spent * EUR // 10**6 * share) for at, share in enumerate(shares) if share * spent
        ]
    for agent, spent in (("support", 20), ("analysis", 7)):
        row = BudgetRow(budget="agent-day", scope=agent, start=TODAY, end=TODAY + DAY, limit=20 * EUR)
        told.rooms.append(BudgetRoom(row, 20 * EUR, spent * EUR, 0))
    row = BudgetRow(budget="pilot", scope="", start=0, end=0, limit=80 * EUR)
    told.rooms.append(BudgetRoom(row, 80 * EUR, 12_345_000_000, 0))
    told.burns["pilot", ""] = [Burn(MONTH + at * 50 * HOUR, 1_234_500_000) for at in range(10)]
    told.rooms.sort(key=lambda each: (each.row.budget, each.row.scope))


def _workflows(told: OverviewFake) -> None:
    agents, purposes = ("support", "analysis", "mailer-agent"), ("support", "refund")
    told.flows = [
        WorkflowState(LIVE, "support", purposes, agents, NOW + HOUR, "open", 3),
        WorkflowState(OLD, "support", ("support",), ("support",), NOW - 20 * HOUR, "closed", 9),
        WorkflowState("w_06522c00", "research", ("research",), ("research", "analysis"), NOW - HOUR, "open", 1),
    ]
    told.time = NOW - 120 * 10**9
    budgets = [{"id": "cx-month", "scope": "", "limit": str(500 * EUR), "spent": str(431 * EUR), "held": str(22 * EUR)}]
    facts = {**body()["facts"], "budgets": budgets}
    told.add("d_01", body(action="workflow.open", resource={"type": "workflow", "id": LIVE}), workflow=LIVE)
    read = {"type": "dataset", "id": "crm", "operation": "customers", "variant": "", "fields": ["customers.email"]}
    query = {"query": {"statement": "SELECT email, region FROM customers WHERE id = 4711"}, "answer": {"rows": 1}}
    told.add("d_02", body(action="data.read", resource=read, sent=query), workflow=LIVE, parent="d_01")
    held = {**facts, "labels": {"pii": ["d_02"], "untrusted": []}}
    spent = body(
        reserved="20000000",
        deadline=str(NOW + HOUR),
        facts=held,
        context={
            "purpose": "support",
            "attempt": 1,
            "inputs": ["d_02"],
            "reason": "draft an answer for the customer",
            "arguments": {"temperature": "0.2", "prompt": {"hmac": "9f3c", "type": "string", "size": 1841}},
        },
        obligations=[{"id": "log_prompt_digest"}],
    )
    told.add("d_03", spent, workflow=LIVE, parent="d_02", log="sidecar-b")
    settled = {"outcome": "succeeded", "state": "settled", "cost": "13700000"}
    told.add("t_04", settled, kind="report", ref="d_03", workflow=LIVE, log="sidecar-b")
    refused = body(
        "DENY",
        action="message.send",
        resource={"type": "agent", "id": "mailer-agent", "operation": "send", "variant": ""},
        facts=held,
        reasons=[{"policy": "flow.clearance", "code": "flow_label_exceeds_clearance"}],
    )
    told.add("d_05", refused, workflow=LIVE, parent="d_03", log="sidecar-b")
    large = {"type": "service", "id": "openai", "operation": "chat", "variant": "large", "fields": []}
    required = {"policy": "approval.variant", "code": "approval_required"}
    opened = [{"id": LARGE, **required, "state": "opened"}]
    waits = body(
        "HOLD",
        resource=large,
        reasons=[required],
        approvals=opened,
        alternative={"resource": {**large, "variant": "small"}},
    )
    told.add("d_06", waits, workflow=LIVE, parent="d_05", subject="analysis")
    heard = body(
        action="approval.resolve",
        resource={"type": "approval", "id": LARGE, "operation": "approve", "variant": ""},
        context={"reason": {"hmac": "77aa", "type": "string", "size": 30}},
        done={
            "approval": LARGE,
            "verdict": "approve",
            "outcome": "pending",
            "reason": "only until the summary is done",
        },
    )
    told.add("d_20", heard, workflow=LIVE, ref="d_06", log="desk", subject="ben")
    observed = body("DENY", enforced=False, reasons=[{"policy": "access.tool", "code": "default_deny"}])
    told.add("d_07", observed, subject="analysis", workflow=LIVE, parent="d_02")
    lapsed = body(reserved="5000000", deadline=str(NOW - HOUR))
    told.add("d_08", lapsed, workflow=LIVE, parent="d_02")
    presumed = {"state": "lapsed", "cost": "5000000"}
    told.add("l_09", presumed, kind="lapse", ref="d_08", workflow=LIVE)
    told.add("d_10", body(), workflow=LIVE, parent="d_08")
    told.erase("d_10")
    told.add("e_11", {"by": "ana", "reason": "the customer asked for it"}, kind="erased", ref="d_10", workflow=LIVE)
    for at in range(12, 30):
        exhausted = at % 6 == 0
        said = body(
            "DENY" if exhausted else "ALLOW",
            facts=facts,
            grants=[GRANT] if at == 13 else [],
            reasons=[{"policy": "remit", "code": "budget_exhausted"}] if exhausted else body()["reasons"],
        )
        told.add(f"d_{at}", said, workflow=OLD, subject="support")
    told.time = NOW
