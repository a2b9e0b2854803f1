"""An approval for people and for pipes. Reasons, arguments and names in it are somebody else's text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from remit.cli.ages import ago, lasting, nanoseconds, still
from remit.cli.decisions import money_document, money_text, people_text
from remit.cli.text import clean, counted, moment
from remit.core.canonical import MalformedJson, encode_exact, parse
from remit.sdk.reading import read_money
from remit.v1 import oversight_pb2 as pb
from remit.v1 import resources_pb2

STATES: dict[resources_pb2.ApprovalState, str] = {
    resources_pb2.APPROVAL_STATE_PENDING: "pending",
    resources_pb2.APPROVAL_STATE_APPROVED: "approved",
    resources_pb2.APPROVAL_STATE_DENIED: "denied",
    resources_pb2.APPROVAL_STATE_EXPIRED: "expired",
    resources_pb2.APPROVAL_STATE_REVOKED: "revoked",
}
VERDICTS: dict[resources_pb2.ApprovalVerdict, str] = {
    resources_pb2.APPROVAL_VERDICT_APPROVE: "approve",
    resources_pb2.APPROVAL_VERDICT_DENY: "deny",
    resources_pb2.APPROVAL_VERDICT_HOLD: "pass",
}
COLOURS = {"pending": "bold yellow", "approved": "bold green", "denied": "bold red", "revoked": "bold red"}

MOST_TEXT = 2_000
"""Characters of one value that are shown; what is left out is said."""

MAX_SHOWN_BYTES = 64 * 1024

TABLE_WIDTH = 130
"""Columns that a table of approvals needs: an id alone has forty."""


def state(approval: pb.Approval) -> str:
    """Where it stands."""
    return STATES.get(approval.state, "unknown")


def resource_text(resource: resources_pb2.Resource) -> str:
    """Such as "service openai/chat/large"."""
    parts = "/".join(clean(each) for each in (resource.id, resource.operation, resource.variant) if each)
    fields = f" ({', '.join(map(clean, resource.fields))})" if resource.fields else ""
    return f"{clean(resource.type)} {parts}{fields}"


def asked_of(approval: pb.Approval) -> str:
    """Who may answer now: the supervisor, or people with one of the roles."""
    people = people_text(approval.roles)
    if not approval.supervisor:
        return people or "nobody: no role is named"
    return clean(approval.supervisor) + (f", or {people}" if people else "")


@dataclass(frozen=True, slots=True)
class Listing:
    """A row each; where a terminal is too narrow for that, two lines each."""

    approvals: Sequence[pb.Approval]
    now: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """By the width there is."""
        if options.max_width < TABLE_WIDTH:
            yield from (_brief(each, self.now) for each in self.approvals)
        else:
            yield approval_table(self.approvals, self.now)


def _brief(approval: pb.Approval, now: int) -> Text:
    id, named, subject, wanted, because, asked, age, left = _cells(approval, now)
    text = Text.assemble((id, "bold"), "  ", named)
    if left:
        text.append("  ").append_text(left)
    text.append(f"\n  {subject}", "cyan").append(f"  {wanted}  {because}")
    text.append("\n  asked  ", "dim").append(age)
    if asked:
        text.append("; waits for  ", "dim").append(asked)
    return text


def approval_table(approvals: Sequence[pb.Approval], now: int) -> Table:
    """A row each."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("approval", "state", "asks", "for", "because", "waits for", "asked", "answer"):
        table.add_column(name, overflow="fold", no_wrap=name == "approval")
    for each in approvals:
        table.add_row(*_cells(each, now))
    return table


def _cells(approval: pb.Approval, now: int) -> tuple[str, Text, str, str, str, str, str, Text]:
    named = state(approval)
    pending = named == "pending"
    left = still(nanoseconds(approval.expire_time), now) if pending else ""
    return (
        clean(approval.id),
        Text(named, COLOURS.get(named, "")),
        clean(approval.subject),
        f"{clean(approval.action)} {resource_text(approval.resource)}",
        clean(approval.why.code),
        asked_of(approval) if pending else "",
        ago(nanoseconds(approval.create_time), now),
        Text(left, "" if approval.resolvable else "dim"),
    )


def approval_text(approval: pb.Approval, now: int) -> Text:
    """All that whoever resolves it must know, in one block."""
    named = state(approval)
    text = Text(clean(approval.id), "bold")
    text.append(f"  {named}", COLOURS.get(named, "")).append(f"  version {approval.version}", "dim")
    text.append(f"\n  {clean(approval.subject)}", "cyan").append(f" ({clean(approval.team)})" if approval.team else "")
    text.append(f"  {clean(approval.action)}  {resource_text(approval.resource)}")
    for label, said in _lines(approval, now):
        text.append(f"\n  {label}  ", "dim").append(said)
    return text


def _lines(approval: pb.Approval, now: int) -> Iterator[tuple[str, str]]:
    found = [
        ("said", _bounded(approval.reason)),
        ("purpose", clean(approval.purpose)),
        ("workflow", clean(approval.workflow)),
        ("because", _why(approval)),
        ("labels held", ", ".join(map(clean, approval.labels))),
        ("asked", f"{moment(nanoseconds(approval.create_time))}, {ago(nanoseconds(approval.create_time), now)}"),
    ]
    yield from ((label, said) for label, said in found if said)
    if state(approval) == "pending":
        yield (
            "answer by",
            f"{moment(nanoseconds(approval.expire_time))}, {still(nanoseconds(approval.expire_time), now)}",
        )
        yield "waits for", asked_of(approval) + ("" if approval.resolvable else "; not for you")
        if approval.chain:
            yield "supervisors", ", then ".join(map(clean, approval.chain))
    yield "grants", _grants(approval, now)
    for place, item in enumerate(approval.items, start=1):
        yield from _item(place, item)
    for vote in approval.votes:
        yield "said to it", _vote(vote)
    if approval.alternative:
        yield "offered", _bounded(_text(approval.alternative))


def _why(approval: pb.Approval) -> str:
    why = approval.why
    return f"{clean(why.policy)}: {clean(why.code)}" + (f"  {clean(why.message)}" if why.message else "")


def _grants(approval: pb.Approval, now: int) -> str:
    words = [f"{clean(approval.bind)}, {counted(approval.uses, 'use')} of each item"]
    if approval.HasField("cost"):
        words.append(f"at most {money_text(read_money(approval.cost))} in all")
    if approval.HasField("grant_expire_time"):
        ends = nanoseconds(approval.grant_expire_time)
        words.append(f"until {moment(ends)}, {still(ends, now)}")
    else:
        words.append(f"for {lasting(approval.ttl)}")
    if approval.quorum > 1:
        words.append(f"once {approval.quorum} approve")
    return "; ".join(words)


def _item(place: int, item: pb.ApprovalItem) -> Iterator[tuple[str, str]]:
    words = [f"decision {clean(item.decision)}", f"asked {counted(item.asked, 'time')}"]
    if item.HasField("amount"):
        words.append(f"at most {money_text(read_money(item.amount))} a use")
    if item.used:
        spent = f" for {money_text(read_money(item.spent))}" if item.HasField("spent") else ""
        words.append(f"used {counted(item.used, 'time')}{spent}")
    if item.labels:
        words.append(f"labels {', '.join(map(clean, item.labels))}")
    yield f"item {place}", "; ".join(words)
    if not item.shown:
        yield "      ", "what was asked for is not shown: it has ended, or is not for you to see"
        return
    yield from (("      ", line) for line in _shown(item.shown))


def _shown(raw: bytes) -> Iterator[str]:
    """The arguments, and whatever else was asked for, a line each; as they were sent where they are no JSON."""
    try:
        asked = parse(raw, MAX_SHOWN_BYTES)
    except MalformedJson:
        asked = None
    if not isinstance(asked, dict):
        yield _bounded(_text(raw))
        return
    for name, value in asked.items():
        if isinstance(value, dict):
            yield from (f"{clean(name)}.{clean(key)} = {_bounded(_json(each))}" for key, each in value.items())
        elif value not in ([], ""):
            yield f"{clean(name)} = {_bounded(_json(value))}"


def _json(value: object) -> str:
    return encode_exact(value).decode()


def _vote(vote: pb.ApprovalVote) -> str:
    verdict = VERDICTS.get(vote.verdict, "unknown")
    why = f": {_bounded(vote.reason)}" if vote.reason else ""
    return f"{moment(nanoseconds(vote.time))} {clean(vote.kind)} {clean(vote.by)} {verdict}{why}"


def _bounded(text: str) -> str:
    if len(text) <= MOST_TEXT:
        return clean(text)
    return f"{clean(text[:MOST_TEXT])}… ({len(text)} characters, --json shows all)"


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def approval_document(approval: pb.Approval) -> dict[str, Any]:
    """All of it, for JSON; what was asked for and what was offered stay the text that they are, exact."""
    return {
        "approval": approval.id,
        "state": state(approval),
        "version": approval.version,
        "subject": approval.subject,
        "team": approval.team,
        "workflow": approval.workflow,
        "purpose": approval.purpose,
        "policy": approval.why.policy,
        "code": approval.why.code,
        "message": approval.why.message,
        "action": approval.action,
        "resource": {
            "type": approval.resource.type,
            "id": approval.resource.id,
            "operation": approval.resource.operation,
            "variant": approval.resource.variant,
            "fields": list(approval.resource.fields),
        },
        "reason": approval.reason,
        "items": [_item_document(each) for each in approval.items],
        "bind": approval.bind,
        "uses": approval.uses,
        "cost": money_document(read_money(approval.cost) if approval.HasField("cost") else None),
        "ttl_seconds": approval.ttl,
        "quorum": approval.quorum,
        "roles": list(approval.roles),
        "chain": list(approval.chain),
        "supervisor": approval.supervisor,
        "created_ns": nanoseconds(approval.create_time),
        "answer_until_ns": nanoseconds(approval.expire_time),
        "grant_until_ns": nanoseconds(approval.grant_expire_time),
        "votes": [_vote_document(each) for each in approval.votes],
        "labels": list(approval.labels),
        "alternative": _text(approval.alternative),
        "resolvable": approval.resolvable,
    }


def _item_document(item: pb.ApprovalItem) -> dict[str, Any]:
    return {
        "binding": item.binding,
        "decision": item.decision,
        "amount": money_document(read_money(item.amount) if item.HasField("amount") else None),
        "shown": _text(item.shown),
        "asked": item.asked,
        "used": item.used,
        "spent": money_document(read_money(item.spent) if item.HasField("spent") else None),
        "labels": list(item.labels),
    }


def _vote_document(vote: pb.ApprovalVote) -> dict[str, Any]:
    return {
        "kind": vote.kind,
        "by": vote.by,
        "verdict": VERDICTS.get(vote.verdict, ""),
        "reason": vote.reason,
        "time_ns": nanoseconds(vote.time),
        "decision": vote.decision,
    }
