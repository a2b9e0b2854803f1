import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from remit.v1 import reason_pb2 as _reason_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Effect(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EFFECT_UNSPECIFIED: _ClassVar[Effect]
    EFFECT_ALLOW: _ClassVar[Effect]
    EFFECT_DENY: _ClassVar[Effect]
    EFFECT_HOLD: _ClassVar[Effect]

class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODE_UNSPECIFIED: _ClassVar[Mode]
    MODE_ENFORCE: _ClassVar[Mode]
    MODE_OBSERVE: _ClassVar[Mode]

class ApprovalState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    APPROVAL_STATE_UNSPECIFIED: _ClassVar[ApprovalState]
    APPROVAL_STATE_PENDING: _ClassVar[ApprovalState]
    APPROVAL_STATE_APPROVED: _ClassVar[ApprovalState]
    APPROVAL_STATE_DENIED: _ClassVar[ApprovalState]
    APPROVAL_STATE_EXPIRED: _ClassVar[ApprovalState]
    APPROVAL_STATE_REVOKED: _ClassVar[ApprovalState]

class ApprovalVerdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    APPROVAL_VERDICT_UNSPECIFIED: _ClassVar[ApprovalVerdict]
    APPROVAL_VERDICT_APPROVE: _ClassVar[ApprovalVerdict]
    APPROVAL_VERDICT_DENY: _ClassVar[ApprovalVerdict]
    APPROVAL_VERDICT_HOLD: _ClassVar[ApprovalVerdict]

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_SUCCEEDED: _ClassVar[Outcome]
    OUTCOME_FAILED: _ClassVar[Outcome]
    OUTCOME_NOT_SENT: _ClassVar[Outcome]
    OUTCOME_PROGRESS: _ClassVar[Outcome]

class ReservationState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESERVATION_STATE_UNSPECIFIED: _ClassVar[ReservationState]
    RESERVATION_STATE_HELD: _ClassVar[ReservationState]
    RESERVATION_STATE_SETTLED: _ClassVar[ReservationState]
    RESERVATION_STATE_VOIDED: _ClassVar[ReservationState]
    RESERVATION_STATE_LAPSED: _ClassVar[ReservationState]

class Scope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCOPE_UNSPECIFIED: _ClassVar[Scope]
    SCOPE_AGENT: _ClassVar[Scope]
    SCOPE_WORKFLOW: _ClassVar[Scope]
    SCOPE_SERVICE: _ClassVar[Scope]
    SCOPE_ALL: _ClassVar[Scope]
    SCOPE_POLICY: _ClassVar[Scope]
EFFECT_UNSPECIFIED: Effect
EFFECT_ALLOW: Effect
EFFECT_DENY: Effect
EFFECT_HOLD: Effect
MODE_UNSPECIFIED: Mode
MODE_ENFORCE: Mode
MODE_OBSERVE: Mode
APPROVAL_STATE_UNSPECIFIED: ApprovalState
APPROVAL_STATE_PENDING: ApprovalState
APPROVAL_STATE_APPROVED: ApprovalState
APPROVAL_STATE_DENIED: ApprovalState
APPROVAL_STATE_EXPIRED: ApprovalState
APPROVAL_STATE_REVOKED: ApprovalState
APPROVAL_VERDICT_UNSPECIFIED: ApprovalVerdict
APPROVAL_VERDICT_APPROVE: ApprovalVerdict
APPROVAL_VERDICT_DENY: ApprovalVerdict
APPROVAL_VERDICT_HOLD: ApprovalVerdict
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_SUCCEEDED: Outcome
OUTCOME_FAILED: Outcome
OUTCOME_NOT_SENT: Outcome
OUTCOME_PROGRESS: Outcome
RESERVATION_STATE_UNSPECIFIED: ReservationState
RESERVATION_STATE_HELD: ReservationState
RESERVATION_STATE_SETTLED: ReservationState
RESERVATION_STATE_VOIDED: ReservationState
RESERVATION_STATE_LAPSED: ReservationState
SCOPE_UNSPECIFIED: Scope
SCOPE_AGENT: Scope
SCOPE_WORKFLOW: Scope
SCOPE_SERVICE: Scope
SCOPE_ALL: Scope
SCOPE_POLICY: Scope

class Money(_message.Message):
    __slots__ = ("currency", "units", "nanos")
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    NANOS_FIELD_NUMBER: _ClassVar[int]
    currency: str
    units: int
    nanos: int
    def __init__(self, currency: _Optional[str] = ..., units: _Optional[int] = ..., nanos: _Optional[int] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("unit", "quantity")
    UNIT_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    unit: str
    quantity: int
    def __init__(self, unit: _Optional[str] = ..., quantity: _Optional[int] = ...) -> None: ...

class Resource(_message.Message):
    __slots__ = ("type", "id", "operation", "variant", "fields")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    type: str
    id: str
    operation: str
    variant: str
    fields: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, type: _Optional[str] = ..., id: _Optional[str] = ..., operation: _Optional[str] = ..., variant: _Optional[str] = ..., fields: _Optional[_Iterable[str]] = ...) -> None: ...

class Context(_message.Message):
    __slots__ = ("workflow", "purpose", "reason", "parent", "actor", "arguments", "inputs", "trace", "attempt", "claim")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    purpose: str
    reason: str
    parent: str
    actor: str
    arguments: bytes
    inputs: _containers.RepeatedScalarFieldContainer[str]
    trace: str
    attempt: int
    claim: int
    def __init__(self, workflow: _Optional[str] = ..., purpose: _Optional[str] = ..., reason: _Optional[str] = ..., parent: _Optional[str] = ..., actor: _Optional[str] = ..., arguments: _Optional[bytes] = ..., inputs: _Optional[_Iterable[str]] = ..., trace: _Optional[str] = ..., attempt: _Optional[int] = ..., claim: _Optional[int] = ...) -> None: ...

class PolicyReason(_message.Message):
    __slots__ = ("policy", "code", "reason", "message", "changes")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    policy: str
    code: str
    reason: _reason_pb2.Reason
    message: str
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    def __init__(self, policy: _Optional[str] = ..., code: _Optional[str] = ..., reason: _Optional[_Union[_reason_pb2.Reason, str]] = ..., message: _Optional[str] = ..., changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("kind", "name", "left", "time")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    left: Money
    time: _timestamp_pb2.Timestamp
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., left: _Optional[_Union[Money, _Mapping]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Obligation(_message.Message):
    __slots__ = ("id", "properties")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    id: str
    properties: bytes
    def __init__(self, id: _Optional[str] = ..., properties: _Optional[bytes] = ...) -> None: ...

class Reservation(_message.Message):
    __slots__ = ("amount", "expire_time")
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    amount: Money
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, amount: _Optional[_Union[Money, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("id", "effect", "reasons", "obligations", "enforced", "retryable", "replayed", "reservation", "policy_revision", "log", "sequence", "message", "cheaper", "approvals", "alternative")
    ID_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    OBLIGATIONS_FIELD_NUMBER: _ClassVar[int]
    ENFORCED_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_FIELD_NUMBER: _ClassVar[int]
    POLICY_REVISION_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CHEAPER_FIELD_NUMBER: _ClassVar[int]
    APPROVALS_FIELD_NUMBER: _ClassVar[int]
    ALTERNATIVE_FIELD_NUMBER: _ClassVar[int]
    id: str
    effect: Effect
    reasons: _containers.RepeatedCompositeFieldContainer[PolicyReason]
    obligations: _containers.RepeatedCompositeFieldContainer[Obligation]
    enforced: bool
    retryable: bool
    replayed: bool
    reservation: Reservation
    policy_revision: str
    log: str
    sequence: int
    message: str
    cheaper: str
    approvals: _containers.RepeatedCompositeFieldContainer[PendingApproval]
    alternative: bytes
    def __init__(self, id: _Optional[str] = ..., effect: _Optional[_Union[Effect, str]] = ..., reasons: _Optional[_Iterable[_Union[PolicyReason, _Mapping]]] = ..., obligations: _Optional[_Iterable[_Union[Obligation, _Mapping]]] = ..., enforced: _Optional[bool] = ..., retryable: _Optional[bool] = ..., replayed: _Optional[bool] = ..., reservation: _Optional[_Union[Reservation, _Mapping]] = ..., policy_revision: _Optional[str] = ..., log: _Optional[str] = ..., sequence: _Optional[int] = ..., message: _Optional[str] = ..., cheaper: _Optional[str] = ..., approvals: _Optional[_Iterable[_Union[PendingApproval, _Mapping]]] = ..., alternative: _Optional[bytes] = ...) -> None: ...

class PendingApproval(_message.Message):
    __slots__ = ("id", "policy", "code", "state", "supervisor", "roles", "expire_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SUPERVISOR_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    policy: str
    code: str
    state: ApprovalState
    supervisor: str
    roles: _containers.RepeatedScalarFieldContainer[str]
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., policy: _Optional[str] = ..., code: _Optional[str] = ..., state: _Optional[_Union[ApprovalState, str]] = ..., supervisor: _Optional[str] = ..., roles: _Optional[_Iterable[str]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class JournalRecord(_message.Message):
    __slots__ = ("log", "sequence", "time", "kind", "id", "subject", "workflow", "parent", "ref", "body", "erased", "hash")
    LOG_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    ERASED_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    log: str
    sequence: int
    time: _timestamp_pb2.Timestamp
    kind: str
    id: str
    subject: str
    workflow: str
    parent: str
    ref: str
    body: bytes
    erased: bool
    hash: str
    def __init__(self, log: _Optional[str] = ..., sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., kind: _Optional[str] = ..., id: _Optional[str] = ..., subject: _Optional[str] = ..., workflow: _Optional[str] = ..., parent: _Optional[str] = ..., ref: _Optional[str] = ..., body: _Optional[bytes] = ..., erased: _Optional[bool] = ..., hash: _Optional[str] = ...) -> None: ...
