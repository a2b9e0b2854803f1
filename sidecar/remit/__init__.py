"""What an agent imports. Needs gRPC, protobuf and the standard library; nothing of the sidecar.

    async with remit.Agent.connect() as agent:
        async with agent.action("api.call", "service:openai", operation="chat", variant="small") as act:
            ...
            act.used(input_token=812, output_token=95)

The HTTP and gRPC adapters are imported by name, because their libraries are optional: `remit.sdk.httpx_adapter`,
`remit.sdk.requests_adapter`, `remit.sdk.grpc_adapter`.
"""

from __future__ import annotations

from remit.sdk import blocking
from remit.sdk.action import Action
from remit.sdk.address import Tls
from remit.sdk.agent import Agent
from remit.sdk.ambient import egress_headers
from remit.sdk.answers import (
    Accepted,
    Alternative,
    Change,
    Decision,
    Effect,
    Money,
    Obligation,
    PendingApproval,
    PolicyReason,
    Reported,
    Workflow,
)
from remit.sdk.carriers import async_httpx_client, httpx_client
from remit.sdk.claim import Claim
from remit.sdk.current import current_agent, governed
from remit.sdk.errors import (
    ClaimLost,
    DataFailed,
    Denied,
    Held,
    IllegalState,
    InvalidRequest,
    QueryFailed,
    RemitError,
    Unauthenticated,
    Unavailable,
    Violation,
)
from remit.sdk.instrument import Instrumented, instrument
from remit.sdk.query import BlockingQuery, Query
from remit.sdk.review import Asked, BlockingReview, Review, ReviewItem, Vote
from remit.sdk.rows import Column, Executed, Masked, Rows
from remit.sdk.transport import Retry
from remit.sdk.workflow import actor, workflow

__all__ = [
    "Accepted",
    "Action",
    "Agent",
    "Alternative",
    "Asked",
    "BlockingQuery",
    "BlockingReview",
    "Change",
    "Claim",
    "ClaimLost",
    "Column",
    "DataFailed",
    "Decision",
    "Denied",
    "Effect",
    "Executed",
    "Held",
    "IllegalState",
    "Instrumented",
    "InvalidRequest",
    "Masked",
    "Money",
    "Obligation",
    "PendingApproval",
    "PolicyReason",
    "Query",
    "QueryFailed",
    "RemitError",
    "Reported",
    "Retry",
    "Review",
    "ReviewItem",
    "Rows",
    "Tls",
    "Unauthenticated",
    "Unavailable",
    "Violation",
    "Vote",
    "Workflow",
    "actor",
    "async_httpx_client",
    "blocking",
    "current_agent",
    "egress_headers",
    "governed",
    "httpx_client",
    "instrument",
    "workflow",
]
