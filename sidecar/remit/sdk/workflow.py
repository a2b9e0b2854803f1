"""The block that names the run of work: `remit.workflow(...)` and `remit.actor(...)`.

With an agent, `remit.workflow` opens a workflow and closes it at the end of the block: `async with` for a
remit.Agent, `with` for a remit.blocking.Agent. Without one it enters what is there already: a workflow whose signed
context came from elsewhere, or only another purpose or reason. Either way the surroundings follow `await` and tasks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Unpack, cast, overload

from remit.sdk import blocking
from remit.sdk.action import LAST_WORDS
from remit.sdk.agent import Agent, Opening
from remit.sdk.ambient import Changes, checked, scope
from remit.sdk.answers import Accepted, Workflow
from remit.sdk.errors import RemitError
from remit.sdk.question import refuse_unknown

_LOG = logging.getLogger("remit")


class Opened:
    """A workflow for the length of an `async with` block. Opens, acts, closes; also on exception and cancellation."""

    def __init__(self, agent: Agent, purposes: Sequence[str], purpose: str, options: Opening) -> None:
        self._agent = agent
        self._purposes = purposes
        self._purpose = purpose
        self._options = options
        self._workflow: Workflow | None = None
        self._scope: AbstractContextManager[None] = nullcontext()

    async def open(self) -> Workflow:
        """Ask for the workflow. Raises Denied."""
        self._workflow = await self._agent.open_workflow(self._purposes, **self._options)
        return self._workflow

    def enter(self, workflow: Workflow) -> None:
        """Act in it from now on."""
        reason = self._options.get("reason", "")
        self._scope = scope(workflow=workflow.context, purpose=self._purpose, reason=reason, parent="")
        self._scope.__enter__()

    def leave(self) -> None:
        """Act in it no longer."""
        self._scope.__exit__(None, None, None)

    async def close(self, error: BaseException | None) -> None:
        """Close it. A close that fails is logged, and noted on the block's exception; the workflow then expires."""
        await asyncio.shield(self._agent.afterwards.start(self._close(error)))

    async def _close(self, error: BaseException | None) -> None:
        if self._workflow is None:
            return
        reason = f"ended by {type(error).__name__}" if error is not None else ""
        limit = LAST_WORDS if isinstance(error, asyncio.CancelledError) else None
        try:
            await self._agent.close_workflow(self._workflow, reason=reason, timeout=limit)
        except RemitError as lost:
            _LOG.error("workflow %s could not be closed; it expires: %s", self._workflow.id, lost)
            if error is not None:
                error.add_note(f"remit: workflow {self._workflow.id} could not be closed: {lost}")

    async def __aenter__(self) -> Workflow:
        workflow = await self.open()
        self.enter(workflow)
        return workflow

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        await self.close(error)


class BlockingOpened:
    """The same for a plain `with` block."""

    def __init__(self, agent: blocking.Agent, opened: Opened) -> None:
        self._agent = agent
        self._opened = opened

    def __enter__(self) -> Workflow:
        workflow = self._agent.portal.run(self._opened.open())
        self._opened.enter(workflow)
        return workflow

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.leave()
        self._agent.portal.run(self._opened.close(error))


@overload
def workflow(agent: Agent, *, purposes: Sequence[str], purpose: str = "", **options: Unpack[Opening]) -> Opened: ...
@overload
def workflow(
    agent: blocking.Agent, *, purposes: Sequence[str], purpose: str = "", **options: Unpack[Opening]
) -> BlockingOpened: ...
@overload
def workflow(
    *, context: str | Accepted | None = None, purpose: str | None = None, reason: str | None = None
) -> AbstractContextManager[None]: ...
def workflow(
    agent: Agent | blocking.Agent | None = None, **given: Any
) -> Opened | BlockingOpened | AbstractContextManager[None]:
    """Open a workflow with `agent`, or enter what is there already.

    Opening: `purposes` are what it is for, each one of the agent's; `purpose` is the one that calls inside name
    (needed only where there are several); further options as in `Opening`.
    Entering: `context` is the signed context ("" for none), or what `accept` gave; purpose and reason replace
    those around.
    Raises InvalidRequest for what cannot travel in a header, and on entering the block whatever opening raises.
    """
    if agent is None:
        return _entering(**given)
    return _opening(agent, **given)


def actor(name: str) -> AbstractContextManager[None]:
    """`with remit.actor("summarise"):` names the part of the agent that acts. It may only narrow."""
    checked(actor=name)
    return scope(actor=name)


def _opening(
    agent: Agent | blocking.Agent, *, purposes: Sequence[str], purpose: str = "", **options: Unpack[Opening]
) -> Opened | BlockingOpened:
    refuse_unknown(options, Opening)
    checked(purpose=purpose, reason=options.get("reason"))
    if isinstance(agent, blocking.Agent):
        return BlockingOpened(agent, Opened(agent.awaited, purposes, purpose, options))
    return Opened(agent, purposes, purpose, options)


def _entering(
    *, context: str | Accepted | None = None, purpose: str | None = None, reason: str | None = None
) -> AbstractContextManager[None]:
    parent = context.decision.id if isinstance(context, Accepted) else ""
    named = context.workflow if isinstance(context, Accepted) else context
    checked(context=named, purpose=purpose, reason=reason)
    changes = {"purpose": purpose, "reason": reason}
    if named is not None:
        # Another workflow has other purposes, and a parent must be a decision of the same workflow.
        changes |= {"workflow": named, "purpose": purpose or "", "parent": parent}
    given = {name: value for name, value in changes.items() if value is not None}
    return scope(**cast(Changes, given))
