import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from remit.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HaltRequest(_message.Message):
    __slots__ = ("scope", "value", "reason")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    scope: _resources_pb2.Scope
    value: str
    reason: str
    def __init__(self, scope: _Optional[_Union[_resources_pb2.Scope, str]] = ..., value: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class HaltResponse(_message.Message):
    __slots__ = ("decision", "halt")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    HALT_FIELD_NUMBER: _ClassVar[int]
    decision: _resources_pb2.Decision
    halt: str
    def __init__(self, decision: _Optional[_Union[_resources_pb2.Decision, _Mapping]] = ..., halt: _Optional[str] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ("scope", "value", "reason")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    scope: _resources_pb2.Scope
    value: str
    reason: str
    def __init__(self, scope: _Optional[_Union[_resources_pb2.Scope, str]] = ..., value: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ResumeResponse(_message.Message):
    __slots__ = ("decision", "halts")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    HALTS_FIELD_NUMBER: _ClassVar[int]
    decision: _resources_pb2.Decision
    halts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, decision: _Optional[_Union[_resources_pb2.Decision, _Mapping]] = ..., halts: _Optional[_Iterable[str]] = ...) -> None: ...

class ListBudgetsRequest(_message.Message):
    __slots__ = ("budget", "limit", "after")
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    budget: str
    limit: int
    after: BudgetKey
    def __init__(self, budget: _Optional[str] = ..., limit: _Optional[int] = ..., after: _Optional[_Union[BudgetKey, _Mapping]] = ...) -> None: ...

class BudgetKey(_message.Message):
    __slots__ = ("id", "scope")
    ID_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    id: str
    scope: str
    def __init__(self, id: _Optional[str] = ..., scope: _Optional[str] = ...) -> None: ...

class Budget(_message.Message):
    __slots__ = ("id", "scope", "limit", "spent", "held", "window_start", "window_end")
    ID_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    SPENT_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    WINDOW_START_FIELD_NUMBER: _ClassVar[int]
    WINDOW_END_FIELD_NUMBER: _ClassVar[int]
    id: str
    scope: str
    limit: _resources_pb2.Money
    spent: _resources_pb2.Money
    held: _resources_pb2.Money
    window_start: _timestamp_pb2.Timestamp
    window_end: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., scope: _Optional[str] = ..., limit: _Optional[_Union[_resources_pb2.Money, _Mapping]] = ..., spent: _Optional[_Union[_resources_pb2.Money, _Mapping]] = ..., held: _Optional[_Union[_resources_pb2.Money, _Mapping]] = ..., window_start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., window_end: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListBudgetsResponse(_message.Message):
    __slots__ = ("budgets", "truncated")
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    budgets: _containers.RepeatedCompositeFieldContainer[Budget]
    truncated: bool
    def __init__(self, budgets: _Optional[_Iterable[_Union[Budget, _Mapping]]] = ..., truncated: _Optional[bool] = ...) -> None: ...

class AdjustBudgetRequest(_message.Message):
    __slots__ = ("budget", "scope", "delta", "reason")
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    budget: str
    scope: str
    delta: _resources_pb2.Money
    reason: str
    def __init__(self, budget: _Optional[str] = ..., scope: _Optional[str] = ..., delta: _Optional[_Union[_resources_pb2.Money, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class AdjustBudgetResponse(_message.Message):
    __slots__ = ("decision", "budget")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    decision: _resources_pb2.Decision
    budget: Budget
    def __init__(self, decision: _Optional[_Union[_resources_pb2.Decision, _Mapping]] = ..., budget: _Optional[_Union[Budget, _Mapping]] = ...) -> None: ...

class ListApprovalsRequest(_message.Message):
    __slots__ = ("states", "id", "limit", "before")
    STATES_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedScalarFieldContainer[_resources_pb2.ApprovalState]
    id: str
    limit: int
    before: str
    def __init__(self, states: _Optional[_Iterable[_Union[_resources_pb2.ApprovalState, str]]] = ..., id: _Optional[str] = ..., limit: _Optional[int] = ..., before: _Optional[str] = ...) -> None: ...

class ListApprovalsResponse(_message.Message):
    __slots__ = ("approvals", "truncated")
    APPROVALS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    approvals: _containers.RepeatedCompositeFieldContainer[Approval]
    truncated: bool
    def __init__(self, approvals: _Optional[_Iterable[_Union[Approval, _Mapping]]] = ..., truncated: _Optional[bool] = ...) -> None: ...

class WatchApprovalsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchApprovalsResponse(_message.Message):
    __slots__ = ("approval",)
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    approval: Approval
    def __init__(self, approval: _Optional[_Union[Approval, _Mapping]] = ...) -> None: ...

class Approval(_message.Message):
    __slots__ = ("id", "state", "version", "subject", "team", "workflow", "purpose", "why", "action", "resource", "reason", "items", "bind", "uses", "cost", "ttl", "quorum", "roles", "chain", "supervisor", "create_time", "expire_time", "grant_expire_time", "votes", "labels", "alternative", "resolvable")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    TEAM_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    BIND_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    QUORUM_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    SUPERVISOR_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    GRANT_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ALTERNATIVE_FIELD_NUMBER: _ClassVar[int]
    RESOLVABLE_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: _resources_pb2.ApprovalState
    version: int
    subject: str
    team: str
    workflow: str
    purpose: str
    why: _resources_pb2.PolicyReason
    action: str
    resource: _resources_pb2.Resource
    reason: str
    items: _containers.RepeatedCompositeFieldContainer[ApprovalItem]
    bind: str
    uses: int
    cost: _resources_pb2.Money
    ttl: int
    quorum: int
    roles: _containers.RepeatedScalarFieldContainer[str]
    chain: _containers.RepeatedScalarFieldContainer[str]
    supervisor: str
    create_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    grant_expire_time: _timestamp_pb2.Timestamp
    votes: _containers.RepeatedCompositeFieldContainer[ApprovalVote]
    labels: _containers.RepeatedScalarFieldContainer[str]
    alternative: bytes
    resolvable: bool
    def __init__(self, id: _Optional[str] = ..., state: _Optional[_Union[_resources_pb2.ApprovalState, str]] = ..., version: _Optional[int] = ..., subject: _Optional[str] = ..., team: _Optional[str] = ..., workflow: _Optional[str] = ..., purpose: _Optional[str] = ..., why: _Optional[_Union[_resources_pb2.PolicyReason, _Mapping]] = ..., action: _Optional[str] = ..., resource: _Optional[_Union[_resources_pb2.Resource, _Mapping]] = ..., reason: _Optional[str] = ..., items: _Optional[_Iterable[_Union[ApprovalItem, _Mapping]]] = ..., bind: _Optional[str] = ..., uses: _Optional[int] = ..., cost: _Optional[_Union[_resources_pb2.Money, _Mapping]] = ..., ttl: _Optional[int] = ..., quorum: _Optional[int] = ..., roles: _Optional[_Iterable[str]] = ..., chain: _Optional[_Iterable[str]] = ..., supervisor: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., grant_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., votes: _Optional[_Iterable[_Union[ApprovalVote, _Mapping]]] = ..., labels: _Optional[_Iterable[str]] = ..., alternative: _Optional[bytes] = ..., resolvable: _Optional[bool] = ...) -> None: ...

class ApprovalItem(_message.Message):
    __slots__ = ("binding", "decision", "amount", "shown", "asked", "used", "spent", "labels")
    BINDING_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    SHOWN_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    SPENT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    binding: str
    decision: str
    amount: _resources_pb2.Money
    shown: bytes
    asked: int
    used: int
    spent: _resources_pb2.Money
    labels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, binding: _Optional[str] = ..., decision: _Optional[str] = ..., amount: _Optional[_Union[_resources_pb2.Money, _Mapping]] = ..., shown: _Optional[bytes] = ..., asked: _Optional[int] = ..., used: _Optional[int] = ..., spent: _Optional[_Union[_resources_pb2.Money, _Mapping]] = ..., labels: _Optional[_Iterable[str]] = ...) -> None: ...

class ApprovalVote(_message.Message):
    __slots__ = ("kind", "by", "verdict", "reason", "time", "decision")
    KIND_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    kind: str
    by: str
    verdict: _resources_pb2.ApprovalVerdict
    reason: str
    time: _timestamp_pb2.Timestamp
    decision: str
    def __init__(self, kind: _Optional[str] = ..., by: _Optional[str] = ..., verdict: _Optional[_Union[_resources_pb2.ApprovalVerdict, str]] = ..., reason: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., decision: _Optional[str] = ...) -> None: ...

class ResolveApprovalRequest(_message.Message):
    __slots__ = ("approval", "verdict", "reason", "version", "alternative")
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ALTERNATIVE_FIELD_NUMBER: _ClassVar[int]
    approval: str
    verdict: _resources_pb2.ApprovalVerdict
    reason: str
    version: int
    alternative: bytes
    def __init__(self, approval: _Optional[str] = ..., verdict: _Optional[_Union[_resources_pb2.ApprovalVerdict, str]] = ..., reason: _Optional[str] = ..., version: _Optional[int] = ..., alternative: _Optional[bytes] = ...) -> None: ...

class ResolveApprovalResponse(_message.Message):
    __slots__ = ("decision", "approval")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    decision: _resources_pb2.Decision
    approval: Approval
    def __init__(self, decision: _Optional[_Union[_resources_pb2.Decision, _Mapping]] = ..., approval: _Optional[_Union[Approval, _Mapping]] = ...) -> None: ...

class ListUnresolvedRequest(_message.Message):
    __slots__ = ("limit",)
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    limit: int
    def __init__(self, limit: _Optional[int] = ...) -> None: ...

class ListUnresolvedResponse(_message.Message):
    __slots__ = ("effects", "truncated")
    EFFECTS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    effects: _containers.RepeatedCompositeFieldContainer[Unresolved]
    truncated: bool
    def __init__(self, effects: _Optional[_Iterable[_Union[Unresolved, _Mapping]]] = ..., truncated: _Optional[bool] = ...) -> None: ...

class Unresolved(_message.Message):
    __slots__ = ("decision", "agent", "workflow", "service", "variant", "amount", "state", "expire_time")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    decision: str
    agent: str
    workflow: str
    service: str
    variant: str
    amount: _resources_pb2.Money
    state: _resources_pb2.ReservationState
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, decision: _Optional[str] = ..., agent: _Optional[str] = ..., workflow: _Optional[str] = ..., service: _Optional[str] = ..., variant: _Optional[str] = ..., amount: _Optional[_Union[_resources_pb2.Money, _Mapping]] = ..., state: _Optional[_Union[_resources_pb2.ReservationState, str]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
