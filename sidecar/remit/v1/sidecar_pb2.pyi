import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from remit.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OpenWorkflowRequest(_message.Message):
    __slots__ = ("purposes", "agents", "ttl", "reason", "trace", "key")
    PURPOSES_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    purposes: _containers.RepeatedScalarFieldContainer[str]
    agents: _containers.RepeatedScalarFieldContainer[str]
    ttl: _duration_pb2.Duration
    reason: str
    trace: str
    key: str
    def __init__(self, purposes: _Optional[_Iterable[str]] = ..., agents: _Optional[_Iterable[str]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[str] = ..., trace: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class OpenWorkflowResponse(_message.Message):
    __slots__ = ("decision", "workflow", "context", "expire_time")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    decision: _resources_pb2.Decision
    workflow: str
    context: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, decision: _Optional[_Union[_resources_pb2.Decision, _Mapping]] = ..., workflow: _Optional[str] = ..., context: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CloseWorkflowRequest(_message.Message):
    __slots__ = ("workflow", "reason")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    reason: str
    def __init__(self, workflow: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CloseWorkflowResponse(_message.Message):
    __slots__ = ("record", "log", "sequence")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    record: str
    log: str
    sequence: int
    def __init__(self, record: _Optional[str] = ..., log: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class AuthorizeRequest(_message.Message):
    __slots__ = ("action", "resource", "context", "usage", "fulfils", "key", "agent")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    FULFILS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    action: str
    resource: _resources_pb2.Resource
    context: _resources_pb2.Context
    usage: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Usage]
    fulfils: _containers.RepeatedScalarFieldContainer[str]
    key: str
    agent: str
    def __init__(self, action: _Optional[str] = ..., resource: _Optional[_Union[_resources_pb2.Resource, _Mapping]] = ..., context: _Optional[_Union[_resources_pb2.Context, _Mapping]] = ..., usage: _Optional[_Iterable[_Union[_resources_pb2.Usage, _Mapping]]] = ..., fulfils: _Optional[_Iterable[str]] = ..., key: _Optional[str] = ..., agent: _Optional[str] = ...) -> None: ...

class AuthorizeResponse(_message.Message):
    __slots__ = ("decision",)
    DECISION_FIELD_NUMBER: _ClassVar[int]
    decision: _resources_pb2.Decision
    def __init__(self, decision: _Optional[_Union[_resources_pb2.Decision, _Mapping]] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("decision", "outcome", "usage", "error")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    decision: str
    outcome: _resources_pb2.Outcome
    usage: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Usage]
    error: str
    def __init__(self, decision: _Optional[str] = ..., outcome: _Optional[_Union[_resources_pb2.Outcome, str]] = ..., usage: _Optional[_Iterable[_Union[_resources_pb2.Usage, _Mapping]]] = ..., error: _Optional[str] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ("record", "state", "cost", "overrun", "replayed", "claimed")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    OVERRUN_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    CLAIMED_FIELD_NUMBER: _ClassVar[int]
    record: str
    state: _resources_pb2.ReservationState
    cost: _resources_pb2.Money
    overrun: _resources_pb2.Money
    replayed: bool
    claimed: bool
    def __init__(self, record: _Optional[str] = ..., state: _Optional[_Union[_resources_pb2.ReservationState, str]] = ..., cost: _Optional[_Union[_resources_pb2.Money, _Mapping]] = ..., overrun: _Optional[_Union[_resources_pb2.Money, _Mapping]] = ..., replayed: _Optional[bool] = ..., claimed: _Optional[bool] = ...) -> None: ...

class HandoffRequest(_message.Message):
    __slots__ = ("agent", "context", "digest", "key")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    agent: str
    context: _resources_pb2.Context
    digest: str
    key: str
    def __init__(self, agent: _Optional[str] = ..., context: _Optional[_Union[_resources_pb2.Context, _Mapping]] = ..., digest: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class HandoffResponse(_message.Message):
    __slots__ = ("decision", "passport")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    PASSPORT_FIELD_NUMBER: _ClassVar[int]
    decision: _resources_pb2.Decision
    passport: str
    def __init__(self, decision: _Optional[_Union[_resources_pb2.Decision, _Mapping]] = ..., passport: _Optional[str] = ...) -> None: ...

class AcceptRequest(_message.Message):
    __slots__ = ("passport", "digest")
    PASSPORT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    passport: str
    digest: str
    def __init__(self, passport: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class AcceptResponse(_message.Message):
    __slots__ = ("decision", "workflow", "labels", "agent")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    decision: _resources_pb2.Decision
    workflow: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    agent: str
    def __init__(self, decision: _Optional[_Union[_resources_pb2.Decision, _Mapping]] = ..., workflow: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ..., agent: _Optional[str] = ...) -> None: ...

class RecordRequest(_message.Message):
    __slots__ = ("summary", "context", "key")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    summary: str
    context: _resources_pb2.Context
    key: str
    def __init__(self, summary: _Optional[str] = ..., context: _Optional[_Union[_resources_pb2.Context, _Mapping]] = ..., key: _Optional[str] = ...) -> None: ...

class RecordResponse(_message.Message):
    __slots__ = ("decision",)
    DECISION_FIELD_NUMBER: _ClassVar[int]
    decision: _resources_pb2.Decision
    def __init__(self, decision: _Optional[_Union[_resources_pb2.Decision, _Mapping]] = ...) -> None: ...
