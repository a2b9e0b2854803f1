"""An agent's connection to its sidecar: one method for each thing that it can ask."""

# ruff: noqa: ASYNC109 (a timeout here is the deadline of an RPC, which the sidecar learns too)

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing
from datetime import timedelta
from hashlib import sha256
from threading import get_ident
from types import TracebackType
from typing import ParamSpec, Self, TypedDict, TypeVar, Unpack
from uuid import UUID, uuid4

from google.protobuf.duration_pb2 import Duration

from remit.sdk.acceptance import Acceptance
from remit.sdk.action import LAST_WORDS, Action
from remit.sdk.address import Target, Tls, find_target
from remit.sdk.afterwards import Afterwards
from remit.sdk.ambient import current, scope, trace_id
from remit.sdk.answers import Accepted, Decision, Effect, Outcome, Reported, Workflow
from remit.sdk.claim import Claim, Claimable, Lease
from remit.sdk.errors import IllegalState, InvalidRequest, Unavailable, Violation, refusal
from remit.sdk.portal import Portal
from remit.sdk.query import Query, read_executed
from remit.sdk.question import (
    Ask,
    Grounds,
    Standing,
    Why,
    authorize_request,
    build,
    context_message,
    decision_id,
    refuse_unknown,
    thing,
    usage_messages,
    wait_seconds,
)
from remit.sdk.reading import read_accepted, read_decision, read_report, read_workflow
from remit.sdk.review import Review, Reviews
from remit.sdk.rows import Executed
from remit.sdk.transport import Retry, Transport
from remit.sdk.values import Value, parameter_messages
from remit.sdk.wrapping import Arguments, Used, govern
from remit.v1 import oversight_pb2, resources_pb2, sidecar_pb2

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_TIMEOUT = 5.0
QUERY_TIMEOUT = 300.0
EXECUTE_TIMEOUT = 30.0
WATCH_TIMEOUT = 600.0
WAIT_SLICE = 600.0
"""Seconds that one call waits for an approval; longer waits ask again."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
MINUTE = timedelta(minutes=1)
_LOG = logging.getLogger("remit")
_OUTCOMES: dict[Outcome, resources_pb2.Outcome] = {
    "succeeded": resources_pb2.OUTCOME_SUCCEEDED,
    "failed": resources_pb2.OUTCOME_FAILED,
    "not_sent": resources_pb2.OUTCOME_NOT_SENT,
    "progress": resources_pb2.OUTCOME_PROGRESS,
}


class Connecting(TypedDict, total=False):
    """Options of `connect`.

    tls: for anything but a Unix socket or loopback; name: the agent that the caller believes to be (refused where
    the credential proves another); timeout: seconds for a call that says nothing else; retry: after a lost
    connection; ids: makes idempotency keys.
    """

    tls: Tls
    name: str
    timeout: float
    retry: Retry
    ids: Callable[[], str]


class Opening(TypedDict, total=False):
    """Options of a workflow: agents that may act in it besides the opener (none named: all), how long it may run,
    why (for people), idempotency key, and seconds for the call."""

    agents: Sequence[str]
    ttl: timedelta
    reason: str
    key: str
    timeout: float


def _new_key() -> str:
    return uuid4().hex


class Agent:
    """`async with remit.Agent.connect() as agent:`. Belongs to one event loop; any number of tasks may use it."""

    def __init__(self, target: Target, **options: Unpack[Connecting]) -> None:
        self._timeout = options.get("timeout", DEFAULT_TIMEOUT)
        self._transport = Transport(target, retry=options.get("retry", Retry()), timeout=self._timeout)
        self._name = options.get("name", "")
        self._ids = options.get("ids", _new_key)
        self.afterwards = Afterwards()
        self._portal: Portal | None = None
        self._scope: AbstractContextManager[None] | None = None

    @classmethod
    def connect(cls, address: str | None = None, token: str | None = None, **options: Unpack[Connecting]) -> Self:
        """An agent to be entered with `async with`; it connects with its first call.

        Address: REMIT_ADDRESS, else the socket ./.remit-run/remit.sock, else 127.0.0.1:7450. Token: REMIT_TOKEN, else
        what the file REMIT_TOKEN_FILE holds at each call. Raises InvalidRequest, also for plain TCP beyond loopback.
        """
        refuse_unknown(options, Connecting)
        target = find_target(address, token, tls=options.get("tls"), environment=os.environ)
        return cls(target, **options)

    async def open(self) -> Self:
        """Make the connection; `async with` does it."""
        self._transport.open()
        self._portal = Portal(self._transport.loop, get_ident())
        return self

    async def close(self) -> None:
        """Let reports under way arrive (at most 2 s), then close the connection."""
        if self._portal is not None:
            self._portal.close()
        await self.afterwards.drain(LAST_WORDS)
        await self._transport.close()

    async def __aenter__(self) -> Self:
        await self.open()
        self._scope = scope(agent=self)
        self._scope.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scope is not None:
            self._scope.__exit__(None, None, None)
        await self.close()

    @property
    def portal(self) -> Portal:
        """The way into this agent's event loop for other threads."""
        if self._portal is None:
            raise IllegalState("the agent is not connected")
        return self._portal

    async def authorize(self, action: str, resource: str, *, check: bool = True, **ask: Unpack[Ask]) -> Decision:
        """Ask whether `action` may be done on `resource` ("service:openai"), and have its cost set aside.

        Raises Denied (or Held) unless the decision permits; with `check=False` a refusal is returned instead.
        Who asks this way reports as well; `action` does both. Cancelled meanwhile: what was set aside is given back.

        With `wait`, what is held is waited for so many seconds, through restarts of the sidecar; it needs a key, which
        is made where none is given. It is asked anew under the key, so what it does is done once.
        """
        key = ask.get("key", self._ids())
        wait = wait_seconds(ask.get("wait", 0))
        if wait and not key:
            raise InvalidRequest(Violation("key", "one, where a held question is to be waited for"))
        request = authorize_request(action, resource, ask, around=current(), key=key, agent=self._name)
        usual, fulfils = ask.get("timeout", self._timeout), frozenset(ask.get("fulfils", ()))
        decision = await self.afterwards.whole(self._decide(request, usual, fulfils), self._give_back)
        if wait and _held(decision):
            decision = await self._outwaited(
                decision, wait, lambda left: self._ask(_waiting(request, left), usual + left)
            )
            await self._check_obligations(decision, fulfils)
        return _checked(decision) if check else decision

    async def _outwaited(
        self, decision: Decision, wait: float, ask: Callable[[float], Awaitable[Decision]]
    ) -> Decision:
        """What a HOLD has become after at most `wait` seconds. Where the sidecar cannot be asked, it is asked later.

        The first question did not wait, so an absent sidecar is told at once, and one that only allows has no waiting
        calls. Cancelled, the call is: the sidecar then waits no longer, and whatever it allowed just then lapses.
        """
        loop, pause = self._transport.loop, FIRST_PAUSE
        until = loop.time() + wait
        while _held(decision) and (left := until - loop.time()) > 0:
            asked, left = loop.time(), min(left, WAIT_SLICE)
            try:
                decision = await ask(left)
            except Unavailable as error:
                _LOG.info("decision %s waits for its approval, and the sidecar is away: %s", decision.id, error)
            if _held(decision) and loop.time() - asked < left / 2:
                # It was cut short: the sidecar is gone, or has too many who wait.
                await asyncio.sleep(min(pause, max(until - loop.time(), 0)))
                pause = min(2 * pause, LONGEST_PAUSE)
        return decision

    async def _decide(self, request: sidecar_pb2.AuthorizeRequest, timeout: float, fulfils: frozenset[str]) -> Decision:
        decision = await self._ask(request, timeout)
        await self._check_obligations(decision, fulfils)
        return decision

    async def _ask(self, request: sidecar_pb2.AuthorizeRequest, timeout: float) -> Decision:
        response: sidecar_pb2.AuthorizeResponse = await self._transport.call(
            "Authorize", request, repeatable=bool(request.key), timeout=timeout
        )
        return read_decision(response.decision)

    async def _check_obligations(self, decision: Decision, fulfils: frozenset[str]) -> None:
        unknown = [each.id for each in decision.obligations if each.id not in fulfils]
        if unknown and decision.permitted and decision.enforced:
            await self._give_back(decision)
            raise Unavailable(f"decision {decision.id} obliges to {unknown[0]!r}, which this caller does not fulfil")

    async def _give_back(self, decision: Decision) -> None:
        if decision.permitted:
            await self.report(decision, "not_sent", error="nobody waited for the decision", timeout=LAST_WORDS)

    async def report(
        self,
        decision: str | Decision,
        outcome: Outcome,
        *,
        usage: Mapping[str, int] | None = None,
        error: str = "",
        timeout: float | None = None,
    ) -> Reported:
        """Tell how an allowed action ended; no usage means as estimated. The same report may be sent again."""
        request = build(
            sidecar_pb2.ReportRequest,
            decision=decision_id(decision),
            outcome=_OUTCOMES[outcome],
            usage=usage_messages(usage or {}),
            error=error,
        )
        return read_report(await self._transport.call("Report", request, repeatable=True, timeout=timeout))

    def query(
        self,
        statement: str,
        *,
        dataset: str,
        parameters: Mapping[str, Value | UUID] | None = None,
        rows: int = 0,
        **grounds: Unpack[Grounds],
    ) -> Query:
        """Read a dataset: one SELECT, its `:name` places filled from `parameters`.

        At most `rows` rows; 0 for as many as the dataset allows.

        `rows = await agent.query(…)` has all rows, `async for row in agent.query(…)` takes them as they arrive, each a
        dict. Raises Denied, and QueryFailed where the database fails. `timeout` (300 s) is for the whole answer.
        """
        refuse_unknown(grounds, Grounds)
        request = build(
            sidecar_pb2.QueryRequest,
            dataset=dataset,
            statement=statement,
            parameters=parameter_messages(parameters or {}),
            context=context_message(grounds, current()),
            rows=rows,
            agent=self._name,
        )
        timeout = grounds.get("timeout", QUERY_TIMEOUT)
        return Query(lambda: self._transport.parts("Query", request, timeout=timeout))

    async def execute(
        self,
        statement: str,
        *,
        dataset: str,
        parameters: Mapping[str, Value | UUID] | None = None,
        **why: Unpack[Why],
    ) -> Executed:
        """Write by a statement that the catalogue names, in one transaction, once for each key.

        Raises Denied, and DataFailed where the database did not do it: then nothing was changed.
        """
        refuse_unknown(why, Why)
        request = build(
            sidecar_pb2.ExecuteRequest,
            dataset=dataset,
            statement=statement,
            parameters=parameter_messages(parameters or {}),
            context=context_message(why, current(), f"dataset:{dataset}"),
            key=why.get("key", self._ids()),
            agent=self._name,
        )
        return read_executed(
            await self._transport.call(
                "Execute", request, repeatable=bool(request.key), timeout=why.get("timeout", EXECUTE_TIMEOUT)
            )
        )

    def action(self, action: str, resource: str, **ask: Unpack[Ask]) -> Action:
        """`async with agent.action("api.call", "service:openai", …) as act:` asks before and reports after."""
        refuse_unknown(ask, Ask)
        return Action(lambda: self.authorize(action, resource, **ask), self.report, after=self.afterwards)

    def governed(
        self,
        action: str,
        resource: str,
        *,
        arguments: Arguments | None = None,
        used: Used | None = None,
        **ask: Unpack[Standing],
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """A decorator: each call of the function is an `action`.

        `arguments` makes the question's arguments from the call's; `used` reads the real usage from the result.
        Plain functions must be called in another thread than the agent's event loop.
        """
        return govern(lambda: self, action, resource, arguments=arguments, used=used, ask=ask)

    async def open_workflow(self, purposes: Sequence[str], **options: Unpack[Opening]) -> Workflow:
        """Open a workflow for these purposes. Raises Denied. `remit.workflow` also closes it."""
        refuse_unknown(options, Opening)
        return await self.afterwards.whole(self._open_workflow(purposes, options), self._close_again)

    async def _open_workflow(self, purposes: Sequence[str], options: Opening) -> Workflow:
        request = build(
            sidecar_pb2.OpenWorkflowRequest,
            purposes=purposes,
            agents=options.get("agents", ()),
            ttl=_duration(options["ttl"]) if "ttl" in options else None,
            reason=options.get("reason", ""),
            trace=trace_id(),
            key=options.get("key", self._ids()),
        )
        response: sidecar_pb2.OpenWorkflowResponse = await self._transport.call(
            "OpenWorkflow", request, repeatable=bool(request.key), timeout=options.get("timeout")
        )
        return read_workflow(response, _checked(read_decision(response.decision)))

    async def _close_again(self, workflow: Workflow) -> None:
        await self.close_workflow(workflow, reason="nobody waited for it", timeout=LAST_WORDS)

    async def close_workflow(self, workflow: str | Workflow, *, reason: str = "", timeout: float | None = None) -> str:
        """Close a workflow, named by its context or id: nothing more is decided in it. Returns the record's id."""
        named = workflow.context if isinstance(workflow, Workflow) else workflow
        request = build(sidecar_pb2.CloseWorkflowRequest, workflow=named, reason=reason)
        response: sidecar_pb2.CloseWorkflowResponse = await self._transport.call(
            "CloseWorkflow", request, timeout=timeout
        )
        return response.record

    async def handoff(self, agent: str, *, message: bytes | str | None = None, **why: Unpack[Why]) -> str:
        """A passport (compact JWS, single use) for a message to `agent`, bound to the message where it is given.

        Raises Denied where the receiver is not cleared for a label that this session holds.
        """
        refuse_unknown(why, Why)
        request = build(
            sidecar_pb2.HandoffRequest,
            agent=agent,
            context=context_message(why, current()),
            digest=_digest(message),
            key=why.get("key", self._ids()),
        )
        response: sidecar_pb2.HandoffResponse = await self._transport.call(
            "Handoff", request, repeatable=bool(request.key), timeout=why.get("timeout")
        )
        decision = _checked(read_decision(response.decision))
        if not response.passport:
            raise Unavailable(f"the sidecar's answer carries no passport (decision {decision.id})")
        return response.passport

    def accept(self, passport: str, *, message: bytes | str | None = None, timeout: float | None = None) -> Acceptance:
        """Accept a message's passport: its labels join this session, once.

        `accepted = await agent.accept(…)` does just that; `async with agent.accept(…) as accepted:` also acts in the
        message's workflow until the end of the block. Raises Denied.
        """
        request = build(sidecar_pb2.AcceptRequest, passport=passport, digest=_digest(message))
        return Acceptance(lambda: self._accept(request, timeout))

    async def _accept(self, request: sidecar_pb2.AcceptRequest, timeout: float | None) -> Accepted:
        # Not repeated: a passport is used once, and a second attempt could not tell whose use the first one was.
        response: sidecar_pb2.AcceptResponse = await self._transport.call("Accept", request, timeout=timeout)
        return read_accepted(response, _checked(read_decision(response.decision)))

    async def record(self, summary: str, **why: Unpack[Why]) -> Decision:
        """Record what the agent decided by itself: `inputs` are the decisions whose results it knew. Raises Denied."""
        refuse_unknown(why, Why)
        request = build(
            sidecar_pb2.RecordRequest,
            summary=summary,
            context=context_message(why, current()),
            key=why.get("key", self._ids()),
        )
        response: sidecar_pb2.RecordResponse = await self._transport.call(
            "Record", request, repeatable=bool(request.key), timeout=why.get("timeout")
        )
        return _checked(read_decision(response.decision))

    def claim(
        self,
        resource: str,
        *,
        object: str = "",  # noqa: A002 (the protocol's word)
        ttl: timedelta = MINUTE,
        **why: Unpack[Why],
    ) -> Claim:
        """`async with agent.claim("service:mail", object="7") as claim:` keeps others from acting on a thing.

        It is renewed for as long as the block runs. Entering raises Denied where somebody else holds it (`claim_held`);
        losing it ends the block with ClaimLost. `ttl` is how long it outlives an agent that is gone, in whole seconds.
        """
        refuse_unknown(why, Why)
        if ttl <= timedelta():
            raise InvalidRequest(Violation("ttl", f"a time, not {ttl}"))
        request = build(
            sidecar_pb2.ClaimRequest,
            resource=thing(resource),
            object=object,
            ttl=_duration(ttl),
            context=context_message(why, current()),
            key=why.get("key", self._ids()),
        )
        what = Claimable(resource, object, request.context.workflow, ttl.total_seconds())
        usual = why.get("timeout", self._timeout)
        return Claim(
            what,
            lambda seconds: self._take(request, min(usual, seconds)),
            lambda token: self._release(request, token),
            after=self.afterwards,
        )

    async def _take(self, request: sidecar_pb2.ClaimRequest, timeout: float) -> Lease:
        asked = sidecar_pb2.ClaimRequest()
        asked.CopyFrom(request)
        # The next one is a question of its own, not the same again.
        request.key = self._ids()
        response: sidecar_pb2.ClaimResponse = await self._transport.call(
            "Claim", asked, repeatable=bool(asked.key), timeout=timeout
        )
        decision = _checked(read_decision(response.decision))
        return Lease(decision, response.token, response.expire_time.ToNanoseconds())

    async def _release(self, request: sidecar_pb2.ClaimRequest, token: int) -> None:
        held = build(
            sidecar_pb2.ReleaseRequest,
            resource=request.resource,
            object=request.object,
            token=token,
            context=resources_pb2.Context(workflow=request.context.workflow),
        )
        await self._transport.call("Release", held, timeout=LAST_WORDS)

    async def reviews(self) -> AsyncGenerator[Review, None]:
        """`async for request in agent.reviews():` hands out what waits for this agent's verdict, without end.

        Each version of a request once: those that are there, then each as it comes. Goes on through lost connections.
        """
        request = oversight_pb2.WatchApprovalsRequest()
        watching = Reviews(
            lambda: self._transport.parts("WatchApprovals", request, timeout=WATCH_TIMEOUT),
            lambda answer: self._transport.call("ResolveApproval", answer),
        )
        async with aclosing(watching.each()) as found:
            async for review in found:
                yield review


def _held(decision: Decision) -> bool:
    return decision.effect is Effect.HOLD and not decision.permitted


def _waiting(request: sidecar_pb2.AuthorizeRequest, seconds: float) -> sidecar_pb2.AuthorizeRequest:
    request.wait.FromNanoseconds(int(seconds * 1_000_000_000))
    return request


def _checked(decision: Decision) -> Decision:
    if not decision.permitted:
        raise refusal(decision)
    return decision


def _digest(message: bytes | str | None) -> str:
    if message is None:
        return ""
    return sha256(message.encode() if isinstance(message, str) else message).hexdigest()


def _duration(span: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(span)
    return duration
