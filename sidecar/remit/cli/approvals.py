"""`remit approvals`: what waits for somebody's word, and giving it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

import click

from remit.cli.ages import nanoseconds, still
from remit.cli.approval_text import STATES, Listing, approval_document, approval_text, state
from remit.cli.connection import Connection, connected
from remit.cli.decisions import decision_document, decision_text, end, read
from remit.cli.failure import Failure
from remit.cli.screen import emit, emit_line, note, show
from remit.cli.text import clean, counted, moment
from remit.cli.watching import Watch
from remit.core.canonical import MalformedJson, encode_exact, parse
from remit.v1 import oversight_pb2 as pb
from remit.v1 import resources_pb2

PAGE = 100
LIMIT = 10_000
MAX_OFFER_BYTES = 16 * 1024

R = TypeVar("R")


@click.group("approvals")
def command() -> None:
    """See what waits for approval; approve, deny, take back, pass on."""


@command.command("list")
@click.option("--all", "everything", is_flag=True, help="Of every state, not only what waits.")
@click.option("--only", "states", multiple=True, type=click.Choice(list(STATES.values())), help="Of this state.")
@click.option("--limit", type=click.IntRange(1, LIMIT), default=PAGE, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@connected
def list_approvals(
    connection: Connection, everything: bool, states: tuple[str, ...], limit: int, as_json: bool
) -> None:
    """Show the approvals that you may give or have asked for, the newest first: those that wait, unless told otherwise.

    Example: remit approvals list
    """
    if everything and states:
        raise click.UsageError("--all or --only, not both.")
    wanted = [number for number, name in STATES.items() if everything or name in states]
    found, more = _listed(connection, wanted, limit)
    if as_json:
        emit([approval_document(each) for each in found])
    elif found:
        show(Listing(found, time.time_ns()))
    else:
        show("nothing waits for approval" if not wanted else "there are none")
    if more:
        note(f"remit: only the newest {len(found)}; see --limit")


def _listed(
    connection: Connection, states: Sequence[resources_pb2.ApprovalState], limit: int
) -> tuple[list[pb.Approval], bool]:
    """Page by page."""
    found: list[pb.Approval] = []
    while True:
        before = found[-1].id if found else ""
        asked = pb.ListApprovalsRequest(states=states, limit=min(PAGE, limit - len(found)), before=before)
        page = connection.call("Oversight", "ListApprovals", asked)
        found.extend(page.approvals)
        if not page.truncated or not page.approvals or len(found) >= limit:
            return found, page.truncated


@command.command("show")
@click.argument("approval")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@connected
def show_approval(connection: Connection, approval: str, as_json: bool) -> None:
    """Show all of one APPROVAL.

    Example: remit approvals show a_0123456789
    """
    found = _find(connection, approval)
    if as_json:
        emit(approval_document(found))
    else:
        show(approval_text(found, time.time_ns()))


@command.command("watch")
@click.option("--json", "as_json", is_flag=True, help="Print each as JSON on a line of its own.")
@connected
def watch(connection: Connection, as_json: bool) -> None:
    """Show what waits, then each approval as it opens, changes or ends, until Ctrl-C.

    Example: remit approvals watch
    """
    asyncio.run(_watch(connection, as_json=as_json))


async def _watch(connection: Connection, *, as_json: bool) -> None:
    # That a stream was ended is no news: gRPC would write it between the blocks.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    target = connection.target(person=True)
    async with aclosing(Watch(target, connection.timeout).approvals()) as approvals:
        async for each in approvals:
            if as_json:
                emit_line(approval_document(each))
            else:
                show(approval_text(each, time.time_ns()), "")


def _resolving(command: Callable[..., R]) -> Callable[..., R]:
    """What the three have in common."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--version", type=click.IntRange(1), help="Only as you saw it, in this version."),
        click.option("--reason", required=True, help="Why, for people."),
        click.argument("approval"),
    ):
        command = option(command)
    return command


@command.command("approve")
@_resolving
@connected
def approve(connection: Connection, **given: Any) -> None:
    """Approve APPROVAL, as it is shown first: it is a grant once as many have approved as it takes.

    What has several items is approved in the version that you have read alone, with --version: more of them may join.

    Example: remit approvals approve a_0123456789 --reason "within the project's budget"
    """
    _resolve(connection, resources_pb2.APPROVAL_VERDICT_APPROVE, **given)


@command.command("deny")
@click.option("--offer", metavar="JSON|@FILE", default="", help="What you would allow: a merge patch of the request.")
@_resolving
@connected
def deny(connection: Connection, **given: Any) -> None:
    """Deny APPROVAL; of one that is approved, take the grant back.

    With --offer the agent is told what would be allowed instead, and gets a grant for exactly that: a JSON merge patch
    (RFC 7396) over `resource` and `arguments`.

    Example: remit approvals deny a_0123456789 --reason "too dear" --offer '{"resource": {"variant": "small"}}'
    """
    _resolve(connection, resources_pb2.APPROVAL_VERDICT_DENY, **given)


@command.command("pass")
@_resolving
@connected
def pass_on(connection: Connection, **given: Any) -> None:
    """Leave APPROVAL to whoever is asked next: the supervisor's supervisor, at last people.

    Example: remit approvals pass a_0123456789 --reason "not mine to say"
    """
    _resolve(connection, resources_pb2.APPROVAL_VERDICT_HOLD, **given)


def _resolve(
    connection: Connection,
    verdict: resources_pb2.ApprovalVerdict,
    *,
    approval: str,
    reason: str,
    version: int | None,
    as_json: bool,
    offer: str = "",
) -> None:
    """Show what is resolved, and resolve exactly that: what has changed since is refused by the sidecar."""
    offered = read_offer(offer) if offer else b""
    seen = _find(connection, approval)
    if not as_json:
        show(approval_text(seen, time.time_ns()), "")
    if verdict == resources_pb2.APPROVAL_VERDICT_APPROVE and version is None and len(seen.items) > 1:
        raise Failure(
            f"{clean(seen.id)} has {len(seen.items)} items, which may have joined since you saw it: read them, and "
            f"approve all of them with --version {seen.version}"
        )
    request = pb.ResolveApprovalRequest(
        approval=seen.id, verdict=verdict, reason=reason, version=version or seen.version, alternative=offered
    )
    answer = connection.call("Oversight", "ResolveApproval", request)
    decision = read(answer.decision)
    told = answer.approval if answer.HasField("approval") else None
    if as_json:
        emit(
            decision_document(decision)
            | {"version": request.version, "approval": None if told is None else approval_document(told)}
        )
    else:
        show(decision_text(decision))
        if told is not None and decision.permitted:
            show(outcome(told, time.time_ns()))
    end(decision)


def outcome(approval: pb.Approval, now: int) -> str:
    """What came of it, in a line."""
    match state(approval):
        case "approved":
            ends = nanoseconds(approval.grant_expire_time)
            return f"approved until {moment(ends)}, {still(ends, now)}; the agent asks again, and may"
        case "pending" if approval.supervisor:
            return f"waits for {clean(approval.supervisor)}"
        case "pending":
            last = {(each.kind, each.by): each.verdict for each in approval.votes}
            yes = sum(each == resources_pb2.APPROVAL_VERDICT_APPROVE for each in last.values())
            return f"waits for people: {yes} of {counted(approval.quorum, 'approval')} so far"
        case ended:
            return ended


def read_offer(given: str) -> bytes:
    """The JSON object itself, or what stands in a file. Raises Failure."""
    if given.startswith("@"):
        try:
            with Path(given[1:]).open("rb") as file:
                raw = file.read(MAX_OFFER_BYTES + 1)
        except OSError as error:
            raise Failure(f"--offer: {given[1:]} cannot be read: {error.strerror}") from error
    else:
        raw = given.encode("utf-8", "surrogateescape")
    try:
        offer = parse(raw, MAX_OFFER_BYTES)
    except MalformedJson as error:
        raise Failure(f"--offer: {error}") from error
    if not isinstance(offer, dict) or not offer or not offer.keys() <= {"resource", "arguments"}:
        raise Failure('--offer: expected a JSON object with "resource", "arguments" or both')
    return encode_exact(offer)


def find(connection: Connection, id: str) -> pb.Approval | None:
    """The approval of any state; None where there is none that the caller may see."""
    found = connection.call("Oversight", "ListApprovals", pb.ListApprovalsRequest(id=id, states=list(STATES)))
    return next(iter(found.approvals), None)


def _find(connection: Connection, id: str) -> pb.Approval:
    found = find(connection, id)
    if found is None:
        raise Failure(f"no approval {id[:64]!r} that you may see; `remit approvals list` shows those")
    return found
