"""What a caller asks, as it came over the wire: typed and bounded, but not yet believed.

The listeners make these; the pipeline verifies the workflow, resolves the purpose and gathers the facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from remit.core.approval import Verdict
from remit.core.model import Resource
from remit.core.reason import Reason


@dataclass(frozen=True, slots=True)
class Claimed:
    """The context by the caller's word. `workflow` is the compact JWS; `arguments` strictly parsed JSON."""

    workflow: str = ""
    purpose: str = ""
    reason: str = ""
    parent: str = ""
    actor: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    trace: str = ""
    attempt: int = 1
    claim: int = 0


@dataclass(frozen=True, slots=True)
class Objection:
    """Why an enforcement point refuses by itself. One that is `binding` holds for observed agents too."""

    reason: Reason
    detail: str = ""
    binding: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One question by the caller's word. `digest` is SHA-256 (hex) over the request's canonical form, for the
    idempotency key; `rpc` scopes the key. With an `objection`, policy is not asked: it is recorded as a denial.

    `content` is what is performed beside the arguments (a statement, a body's digest): an exact grant binds it.
    `shown` is what an approver sees of the request besides its arguments. `about` is (decision, workflow) that the
    record is filed under, where it speaks of another one's.
    """

    rpc: str
    action: str
    resource: Resource
    claimed: Claimed
    usage: Mapping[str, int] = field(default_factory=dict)
    fulfils: frozenset[str] = frozenset()
    key: str = ""
    digest: str = ""
    objection: Objection | None = None
    content: str = ""
    shown: Mapping[str, Any] = field(default_factory=dict)
    about: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class ClaimCall:
    """Asks for a thing, for `ttl` ns. `object` names one in the resource, "" for all of it."""

    resource: Resource
    object: str
    ttl: int
    claimed: Claimed
    key: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseCall:
    """Lets go of a thing that is held by `token`."""

    resource: Resource
    object: str
    token: int
    claimed: Claimed


@dataclass(frozen=True, slots=True)
class Resolution:
    """What somebody says about an approval. `version` is what they looked at, 0 for whatever it is now; `alternative`
    a JSON merge patch over `resource` and `arguments`, empty for none."""

    approval: str
    verdict: Verdict
    reason: str
    version: int = 0
    alternative: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """How an allowed action ended, by the enforcement point's word: `outcome` is succeeded, failed, not_sent or
    progress; `usage` is empty for "as estimated"."""

    decision: str
    outcome: str
    usage: Mapping[str, int] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True)
class WorkflowCall:
    """Asks for a workflow; `ttl` in ns."""

    purposes: tuple[str, ...]
    agents: tuple[str, ...]
    ttl: int
    reason: str = ""
    trace: str = ""
    key: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class HandoffCall:
    """Asks for a passport to `agent`; `digest` is the message's SHA-256 in hex, "" for none."""

    agent: str
    claimed: Claimed
    message_digest: str = ""
    key: str = ""
    digest: str = ""
