"""From messages to calls: every field typed and bounded before anything is done with it.

The digest that binds an idempotency key is SHA-256 over the RPC's name and the message's deterministic
serialisation, without the key, the attempt and the wait (a second attempt at the same thing is the same request).
That form is canonical enough: it sorts what maps there are, so one library version writes equal messages alike;
arguments and fields that this version does not know count as the bytes that were sent, and whoever repeats a request
sends the same bytes. Where two forms differ all the same, the key is refused with `idempotency_mismatch`: never a
wrong replay.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from remit.core.alternative import CHANGEABLE, PARTS
from remit.core.approval import State, Verdict
from remit.core.call import (
    Call,
    ClaimCall,
    Claimed,
    HandoffCall,
    ReleaseCall,
    Report,
    Resolution,
    WorkflowCall,
)
from remit.core.claim import LONGEST_CLAIM_SECONDS
from remit.core.errors import BadRequest, Violation
from remit.core.model import ActionName, Resource, Subject
from remit.core.query import ExecuteCall, QueryCall
from remit.core.view.model import MAX_STATEMENT_BYTES
from remit.listeners.grpc_fields import (
    ACTION,
    BUDGET,
    COLUMN,
    DIGEST,
    ID,
    KEY,
    MAX_ALTERNATIVE_BYTES,
    MAX_ATTEMPT,
    MAX_OBJECT_BYTES,
    MAX_SUMMARY_BYTES,
    MAX_TOKEN,
    MAX_WAIT_SECONDS,
    NAME,
    PASSPORT,
    SECOND,
    TABLE,
    TRACE,
    WORD,
    WORKFLOW,
    Fields,
)
from remit.listeners.grpc_values import parameters
from remit.v1 import audit_pb2, oversight_pb2, resources_pb2, sidecar_pb2

RESOURCE_TYPES = (
    "service",
    "dataset",
    "agent",
    "tool",
    "workflow",
    "budget",
    "scope",
    "decision",
    "approval",
    "object",
)
OUTCOMES: dict[int, str] = {
    resources_pb2.OUTCOME_SUCCEEDED: "succeeded",
    resources_pb2.OUTCOME_FAILED: "failed",
    resources_pb2.OUTCOME_NOT_SENT: "not_sent",
    resources_pb2.OUTCOME_PROGRESS: "progress",
}
SCOPES: dict[int, str] = {
    resources_pb2.SCOPE_AGENT: "agent",
    resources_pb2.SCOPE_WORKFLOW: "workflow",
    resources_pb2.SCOPE_SERVICE: "service",
    resources_pb2.SCOPE_POLICY: "policy",
    resources_pb2.SCOPE_ALL: "all",
}
STATES: dict[int, State] = {getattr(resources_pb2, f"APPROVAL_STATE_{each.name}"): each for each in State}
VERDICTS: dict[int, Verdict] = {getattr(resources_pb2, f"APPROVAL_VERDICT_{each.name}"): each for each in Verdict}
DEFAULT_TTL = 3600 * SECOND
DEFAULT_CLAIM_TTL = 60 * SECOND
MAX_APPROVALS = 100
MAX_UNRESOLVED = 500
MAX_TTL_SECONDS = 7 * 24 * 3600
MAX_TRACE = 10_000
MAX_WHO = 1_000
MAX_BUDGETS = 500
MAX_KEY_BYTES = 256
MAX_SUBJECT_BYTES = 1024
MAX_ROWS = 10**9

M = TypeVar("M", bound=Message)


def message(kind: type[M], raw: bytes) -> M:
    """The message that the bytes are; BadRequest where they are none (broken, or text that is not UTF-8)."""
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise BadRequest(Violation("message", f"a {kind.DESCRIPTOR.full_name} in protobuf's binary form")) from None


def waits(request: Any) -> int:
    """How long a call is to wait, in ns: 0 where it does not say, or says what is refused."""
    return Fields().at_most("wait", request.wait, MAX_WAIT_SECONDS)


def authorize(request: sidecar_pb2.AuthorizeRequest) -> Call:
    """The question of Authorize; `waits` tells how long its answer may take."""
    fields = Fields()
    call = Call(
        rpc="Authorize",
        action=fields.required("action", request.action, ACTION),
        resource=_resource(fields, request.resource),
        claimed=_claimed(fields, request.context),
        usage=fields.usage("usage", request.usage),
        fulfils=frozenset(fields.texts("fulfils", request.fulfils, NAME)),
        key=fields.text("key", request.key, KEY),
        digest=_digest("Authorize", request),
    )
    fields.at_most("wait", request.wait, MAX_WAIT_SECONDS)
    fields.text("agent", request.agent, NAME)
    fields.check()
    return call


def record(request: sidecar_pb2.RecordRequest, subject: Subject) -> tuple[str, Call]:
    """What an agent decided by itself: the summary, and the question whether it may be recorded."""
    fields = Fields()
    if not request.summary.strip():
        fields.refuse("summary", "what was decided")
    summary = fields.free("summary", request.summary, MAX_SUMMARY_BYTES)
    call = Call(
        rpc="Record",
        action=ActionName.DECISION_MAKE,
        resource=Resource("decision", subject.id),
        claimed=_claimed(fields, request.context),
        key=fields.text("key", request.key, KEY),
        digest=_digest("Record", request),
    )
    fields.check()
    return summary, call


def query(request: sidecar_pb2.QueryRequest) -> QueryCall:
    """What a dataset is asked for."""
    fields = Fields()
    if not request.statement.strip():
        fields.refuse("statement", "one SELECT")
    call = QueryCall(
        dataset=fields.required("dataset", request.dataset, NAME),
        statement=fields.free("statement", request.statement, MAX_STATEMENT_BYTES),
        parameters=parameters(fields, "parameters", request.parameters),
        claimed=_claimed(fields, request.context),
        rows=fields.between("rows", request.rows, least=0, most=MAX_ROWS),
    )
    fields.text("agent", request.agent, NAME)
    fields.check()
    return call


def execute(request: sidecar_pb2.ExecuteRequest) -> ExecuteCall:
    """Which named write is asked for."""
    fields = Fields()
    call = ExecuteCall(
        dataset=fields.required("dataset", request.dataset, NAME),
        statement=fields.required("statement", request.statement, NAME),
        parameters=parameters(fields, "parameters", request.parameters),
        claimed=_claimed(fields, request.context),
        key=fields.text("key", request.key, KEY),
        digest=_digest("Execute", request),
    )
    fields.text("agent", request.agent, NAME)
    fields.check()
    return call


def report(request: sidecar_pb2.ReportRequest) -> Report:
    """How an allowed action ended."""
    fields = Fields()
    told = Report(
        decision=fields.required("decision", request.decision, ID),
        outcome=fields.choice("outcome", request.outcome, OUTCOMES),
        usage=fields.usage("usage", request.usage),
        error=fields.free("error", request.error),
    )
    fields.check()
    return told


def open_workflow(request: sidecar_pb2.OpenWorkflowRequest) -> WorkflowCall:
    """What a workflow is asked for."""
    fields = Fields()
    if not request.purposes:
        fields.refuse("purposes", "at least one purpose")
    stated = request.HasField("ttl")
    call = WorkflowCall(
        purposes=fields.texts("purposes", request.purposes, WORD),
        agents=fields.texts("agents", request.agents, ID),
        ttl=fields.seconds("ttl", request.ttl, MAX_TTL_SECONDS) if stated else DEFAULT_TTL,
        reason=fields.free("reason", request.reason),
        trace=fields.text("trace", request.trace, TRACE),
        key=fields.text("key", request.key, KEY),
        digest=_digest("OpenWorkflow", request),
    )
    fields.check()
    return call


def close_workflow(request: sidecar_pb2.CloseWorkflowRequest) -> tuple[str, str]:
    """The workflow, and how it went."""
    fields = Fields()
    named = fields.required("workflow", request.workflow, WORKFLOW)
    reason = fields.free("reason", request.reason)
    fields.check()
    return named, reason


def handoff(request: sidecar_pb2.HandoffRequest) -> HandoffCall:
    """To whom a message goes."""
    fields = Fields()
    call = HandoffCall(
        agent=fields.required("agent", request.agent, ID),
        claimed=_claimed(fields, request.context),
        message_digest=fields.text("digest", request.digest, DIGEST),
        key=fields.text("key", request.key, KEY),
        digest=_digest("Handoff", request),
    )
    fields.check()
    return call


def accept(request: sidecar_pb2.AcceptRequest) -> tuple[str, str]:
    """The passport, and the message's digest."""
    fields = Fields()
    passport = fields.required("passport", request.passport, PASSPORT)
    digest = fields.text("digest", request.digest, DIGEST)
    fields.check()
    return passport, digest


def claim(request: sidecar_pb2.ClaimRequest) -> ClaimCall:
    """What is to be taken, and for how long."""
    fields = Fields()
    stated = request.HasField("ttl")
    call = ClaimCall(
        resource=_thing(fields, request.resource),
        object=fields.printable("object", request.object, MAX_OBJECT_BYTES),
        ttl=fields.seconds("ttl", request.ttl, LONGEST_CLAIM_SECONDS) if stated else DEFAULT_CLAIM_TTL,
        claimed=_claimed(fields, request.context),
        key=fields.text("key", request.key, KEY),
        digest=_digest("Claim", request),
    )
    fields.check()
    return call


def release(request: sidecar_pb2.ReleaseRequest) -> ReleaseCall:
    """What is let go of."""
    fields = Fields()
    call = ReleaseCall(
        resource=_thing(fields, request.resource),
        object=fields.printable("object", request.object, MAX_OBJECT_BYTES),
        token=fields.between("token", request.token, least=1, most=MAX_TOKEN),
        claimed=_claimed(fields, request.context),
    )
    fields.check()
    return call


def resolve(request: oversight_pb2.ResolveApprovalRequest) -> Resolution:
    """What is said about an approval."""
    fields = Fields()
    resolution = Resolution(
        approval=fields.required("approval", request.approval, ID),
        verdict=VERDICTS.get(request.verdict, Verdict.HOLD),
        reason=fields.why("reason", request.reason),
        version=fields.between("version", request.version, least=0, most=MAX_TOKEN),
        alternative=_alternative(fields, request.alternative),
    )
    fields.choice("verdict", request.verdict, VERDICTS)
    if "\0" in request.reason:
        fields.refuse("reason", "text without NUL")
    if request.alternative and resolution.verdict is not Verdict.DENY:
        fields.refuse("alternative", "nothing, unless the verdict is DENY")
    fields.check()
    return resolution


def list_approvals(request: oversight_pb2.ListApprovalsRequest) -> tuple[tuple[State, ...], str, str, int]:
    """(states, id, before, how many at most)."""
    fields = Fields()
    states = tuple(State(name) for name in fields.choices("states", request.states, STATES) if name)
    id = fields.text("id", request.id, ID)
    before = fields.text("before", request.before, ID)
    limit = fields.between("limit", request.limit or MAX_APPROVALS, least=1, most=MAX_APPROVALS)
    fields.check()
    return states, id, before, limit


def list_unresolved(request: oversight_pb2.ListUnresolvedRequest) -> int:
    """How many at most."""
    fields = Fields()
    limit = fields.between("limit", request.limit or MAX_UNRESOLVED, least=1, most=MAX_UNRESOLVED)
    fields.check()
    return limit


def control(request: oversight_pb2.HaltRequest | oversight_pb2.ResumeRequest) -> tuple[str, str, str]:
    """(scope, value, reason) of what is stopped or resumed."""
    fields = Fields()
    scope = fields.choice("scope", request.scope, SCOPES)
    if scope == "all":
        if request.value:
            fields.refuse("value", "nothing, for SCOPE_ALL")
    else:
        fields.required("value", request.value, ID)
    reason = fields.why("reason", request.reason)
    fields.check()
    return scope, request.value, reason


def list_budgets(request: oversight_pb2.ListBudgetsRequest) -> tuple[str, int, tuple[str, str]]:
    """The budget's id, or "" for all; how many at most, and (id, scope) after which, ("", "") from the first."""
    fields = Fields()
    budget = fields.text("budget", request.budget, BUDGET)
    limit = fields.between("limit", request.limit or MAX_BUDGETS, least=1, most=MAX_BUDGETS)
    after = (
        fields.free("after.id", request.after.id, MAX_KEY_BYTES),
        fields.free("after.scope", request.after.scope, MAX_KEY_BYTES),
    )
    fields.check()
    return budget, limit, after


def adjust(request: oversight_pb2.AdjustBudgetRequest, currency: str) -> tuple[str, str, int, str]:
    """(budget, scope, nanos to add, reason)."""
    fields = Fields()
    budget = fields.required("budget", request.budget, BUDGET)
    scope = fields.text("scope", request.scope, ID)
    delta = fields.nanos("delta", request.delta, currency)
    reason = fields.why("reason", request.reason)
    fields.check()
    if not delta:
        raise BadRequest(Violation("delta", "an amount other than zero"))
    return budget, scope, delta, reason


def get_decision(request: audit_pb2.GetDecisionRequest) -> str:
    """The decision's id."""
    fields = Fields()
    decision = fields.required("decision", request.decision, ID)
    fields.check()
    return decision


def trace(request: audit_pb2.TraceRequest) -> tuple[str, int]:
    """The workflow, and how many records at most."""
    fields = Fields()
    named = fields.required("workflow", request.workflow, WORKFLOW)
    limit = fields.between("limit", request.limit or MAX_TRACE, least=1, most=MAX_TRACE)
    fields.check()
    return named, limit


def who(request: audit_pb2.WhoRequest) -> tuple[str, str, str, int]:
    """The dataset ("": the only one with such a table), its table, the subject's key there, and the most sightings."""
    fields = Fields()
    dataset = fields.text("dataset", request.dataset, ID)
    table = fields.required("table", request.table, TABLE)
    key = fields.free("key", request.key, MAX_SUBJECT_BYTES)
    if not key:
        fields.refuse("key", "the subject's key, as text")
    limit = fields.between("limit", request.limit or MAX_WHO, least=1, most=MAX_WHO)
    fields.check()
    return dataset, table, key, limit


def _resource(fields: Fields, resource: resources_pb2.Resource) -> Resource:
    return Resource(
        type=fields.one_of("resource.type", resource.type, RESOURCE_TYPES),
        id=fields.required("resource.id", resource.id, NAME),
        operation=fields.text("resource.operation", resource.operation, NAME),
        variant=fields.text("resource.variant", resource.variant, NAME),
        fields=fields.texts("resource.fields", resource.fields, COLUMN),
    )


def _thing(fields: Fields, resource: resources_pb2.Resource) -> Resource:
    """A resource as a claim names it. Nobody can claim one of its operations alone, so it is not asked for either."""
    for name in ("operation", "variant", "fields"):
        if getattr(resource, name):
            fields.refuse(f"resource.{name}", "nothing: a claim is on the whole resource, or on one object in it")
    return Resource(
        type=fields.one_of("resource.type", resource.type, RESOURCE_TYPES),
        id=fields.required("resource.id", resource.id, NAME),
    )


def _alternative(fields: Fields, raw: bytes) -> dict[str, Any]:
    """A merge patch over a request; null takes a part away."""
    patch = fields.object("alternative", raw, MAX_ALTERNATIVE_BYTES)
    if not patch.keys() <= PARTS:
        fields.refuse("alternative", f"{' and '.join(sorted(PARTS))} alone")
    for name in sorted(patch.keys() & PARTS):
        if not isinstance(patch[name], dict):
            fields.refuse(f"alternative.{name}", "a JSON object")
        elif name == "resource":
            _check_changed(fields, patch[name])
    return patch


def _check_changed(fields: Fields, changed: Mapping[str, Any]) -> None:
    """The same bounds as for the resource of a request."""
    if not changed.keys() <= CHANGEABLE:
        fields.refuse("alternative.resource", f"{', '.join(sorted(CHANGEABLE))} alone")
    for name in ("operation", "variant"):
        value = changed.get(name)
        if not isinstance(value, str | None):
            fields.refuse(f"alternative.resource.{name}", NAME.expected)
        else:
            fields.text(f"alternative.resource.{name}", value or "", NAME)
    columns = changed.get("fields")
    if columns is not None and not (isinstance(columns, list) and all(isinstance(each, str) for each in columns)):
        fields.refuse("alternative.resource.fields", f"a list, each {COLUMN.expected}")
    else:
        fields.texts("alternative.resource.fields", columns or (), COLUMN)


def _claimed(fields: Fields, context: resources_pb2.Context) -> Claimed:
    return Claimed(
        workflow=fields.text("context.workflow", context.workflow, WORKFLOW),
        purpose=fields.text("context.purpose", context.purpose, WORD),
        reason=fields.free("context.reason", context.reason),
        parent=fields.text("context.parent", context.parent, ID),
        actor=fields.text("context.actor", context.actor, WORD),
        arguments=fields.object("context.arguments", context.arguments),
        inputs=fields.texts("context.inputs", context.inputs, ID),
        trace=fields.text("context.trace", context.trace, TRACE),
        attempt=fields.between("context.attempt", context.attempt or 1, least=1, most=MAX_ATTEMPT),
        claim=fields.between("context.claim", context.claim, least=0, most=MAX_TOKEN),
    )


def _digest(rpc: str, request: Any) -> str:
    """The digest of a request with a key; "" without one, where nobody asks for it."""
    if not request.key:
        return ""
    bare = type(request)()
    bare.CopyFrom(request)
    bare.ClearField("key")
    if "wait" in bare.DESCRIPTOR.fields_by_name:
        bare.ClearField("wait")
    if "context" in bare.DESCRIPTOR.fields_by_name and bare.HasField("context"):
        bare.context.ClearField("attempt")
    return sha256(rpc.encode() + b"\0" + bare.SerializeToString(deterministic=True)).hexdigest()
