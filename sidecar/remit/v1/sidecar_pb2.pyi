import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from remit.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DataFailure(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA_FAILURE_UNSPECIFIED: _ClassVar[DataFailure]
    DATA_FAILURE_UNAVAILABLE: _ClassVar[DataFailure]
    DATA_FAILURE_TIMED_OUT: _ClassVar[DataFailure]
    DATA_FAILURE_TOO_COSTLY: _ClassVar[DataFailure]
    DATA_FAILURE_BAD_STATEMENT: _ClassVar[DataFailure]
    DATA_FAILURE_BAD_VALUE: _ClassVar[DataFailure]
    DATA_FAILURE_CONFLICT: _ClassVar[DataFailure]
    DATA_FAILURE_TOO_MANY_TOKENS: _ClassVar[DataFailure]
    DATA_FAILURE_NOT_FIT: _ClassVar[DataFailure]
    DATA_FAILURE_INTERNAL: _ClassVar[DataFailure]
    DATA_FAILURE_HALTED: _ClassVar[DataFailure]
DATA_FAILURE_UNSPECIFIED: DataFailure
DATA_FAILURE_UNAVAILABLE: DataFailure
DATA_FAILURE_TIMED_OUT: DataFailure
DATA_FAILURE_TOO_COSTLY: DataFailure
DATA_FAILURE_BAD_STATEMENT: DataFailure
DATA_FAILURE_BAD_VALUE: DataFailure
DATA_FAILURE_CONFLICT: DataFailure
DATA_FAILURE_TOO_MANY_TOKENS: DataFailure
DATA_FAILURE_NOT_FIT: DataFailure
DATA_FAILURE_INTERNAL: DataFailure
DATA_FAILURE_HALTED: DataFailure

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
    __slots__ = ("action", "resource", "context", "usage", "fulfils", "key", "agent", "wait")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    FULFILS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    action: str
    resource: _resources_pb2.Resource
    context: _resources_pb2.Context
    usage: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Usage]
    fulfils: _containers.RepeatedScalarFieldContainer[str]
    key: str
    agent: str
    wait: _duration_pb2.Duration
    def __init__(self, action: _Optional[str] = ..., resource: _Optional[_Union[_resources_pb2.Resource, _Mapping]] = ..., context: _Optional[_Union[_resources_pb2.Context, _Mapping]] = ..., usage: _Optional[_Iterable[_Union[_resources_pb2.Usage, _Mapping]]] = ..., fulfils: _Optional[_Iterable[str]] = ..., key: _Optional[str] = ..., agent: _Optional[str] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

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
    __slots__ = ("record", "state", "cost", "overrun", "replayed", "claimed", "advice", "compensation")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    OVERRUN_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    CLAIMED_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    COMPENSATION_FIELD_NUMBER: _ClassVar[int]
    record: str
    state: _resources_pb2.ReservationState
    cost: _resources_pb2.Money
    overrun: _resources_pb2.Money
    replayed: bool
    claimed: bool
    advice: str
    compensation: str
    def __init__(self, record: _Optional[str] = ..., state: _Optional[_Union[_resources_pb2.ReservationState, str]] = ..., cost: _Optional[_Union[_resources_pb2.Money, _Mapping]] = ..., overrun: _Optional[_Union[_resources_pb2.Money, _Mapping]] = ..., replayed: _Optional[bool] = ..., claimed: _Optional[bool] = ..., advice: _Optional[str] = ..., compensation: _Optional[str] = ...) -> None: ...

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

class QueryRequest(_message.Message):
    __slots__ = ("dataset", "statement", "parameters", "context", "rows", "agent")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...
    DATASET_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    statement: str
    parameters: _containers.MessageMap[str, Value]
    context: _resources_pb2.Context
    rows: int
    agent: str
    def __init__(self, dataset: _Optional[str] = ..., statement: _Optional[str] = ..., parameters: _Optional[_Mapping[str, Value]] = ..., context: _Optional[_Union[_resources_pb2.Context, _Mapping]] = ..., rows: _Optional[int] = ..., agent: _Optional[str] = ...) -> None: ...

class QueryResponse(_message.Message):
    __slots__ = ("start", "rows", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: QueryStart
    rows: QueryRows
    end: QueryEnd
    def __init__(self, start: _Optional[_Union[QueryStart, _Mapping]] = ..., rows: _Optional[_Union[QueryRows, _Mapping]] = ..., end: _Optional[_Union[QueryEnd, _Mapping]] = ...) -> None: ...

class QueryStart(_message.Message):
    __slots__ = ("decision", "columns", "labels", "masked")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MASKED_FIELD_NUMBER: _ClassVar[int]
    decision: _resources_pb2.Decision
    columns: _containers.RepeatedCompositeFieldContainer[ResultColumn]
    labels: _containers.RepeatedScalarFieldContainer[str]
    masked: _containers.RepeatedCompositeFieldContainer[MaskedColumn]
    def __init__(self, decision: _Optional[_Union[_resources_pb2.Decision, _Mapping]] = ..., columns: _Optional[_Iterable[_Union[ResultColumn, _Mapping]]] = ..., labels: _Optional[_Iterable[str]] = ..., masked: _Optional[_Iterable[_Union[MaskedColumn, _Mapping]]] = ...) -> None: ...

class ResultColumn(_message.Message):
    __slots__ = ("name", "type")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ...) -> None: ...

class MaskedColumn(_message.Message):
    __slots__ = ("table", "column", "mask")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    table: str
    column: str
    mask: str
    def __init__(self, table: _Optional[str] = ..., column: _Optional[str] = ..., mask: _Optional[str] = ...) -> None: ...

class QueryRows(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[Row]
    def __init__(self, rows: _Optional[_Iterable[_Union[Row, _Mapping]]] = ...) -> None: ...

class Row(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedCompositeFieldContainer[Value]
    def __init__(self, values: _Optional[_Iterable[_Union[Value, _Mapping]]] = ...) -> None: ...

class Value(_message.Message):
    __slots__ = ("boolean", "integer", "real", "decimal", "text", "binary", "date", "time", "timestamp", "interval")
    BOOLEAN_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    REAL_FIELD_NUMBER: _ClassVar[int]
    DECIMAL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    BINARY_FIELD_NUMBER: _ClassVar[int]
    DATE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    boolean: bool
    integer: int
    real: float
    decimal: str
    text: str
    binary: bytes
    date: str
    time: str
    timestamp: str
    interval: str
    def __init__(self, boolean: _Optional[bool] = ..., integer: _Optional[int] = ..., real: _Optional[float] = ..., decimal: _Optional[str] = ..., text: _Optional[str] = ..., binary: _Optional[bytes] = ..., date: _Optional[str] = ..., time: _Optional[str] = ..., timestamp: _Optional[str] = ..., interval: _Optional[str] = ...) -> None: ...

class QueryEnd(_message.Message):
    __slots__ = ("rows", "bytes", "truncated", "failure", "message")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    rows: int
    bytes: int
    truncated: bool
    failure: DataFailure
    message: str
    def __init__(self, rows: _Optional[int] = ..., bytes: _Optional[int] = ..., truncated: _Optional[bool] = ..., failure: _Optional[_Union[DataFailure, str]] = ..., message: _Optional[str] = ...) -> None: ...

class ExecuteRequest(_message.Message):
    __slots__ = ("dataset", "statement", "parameters", "context", "key", "agent")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...
    DATASET_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    statement: str
    parameters: _containers.MessageMap[str, Value]
    context: _resources_pb2.Context
    key: str
    agent: str
    def __init__(self, dataset: _Optional[str] = ..., statement: _Optional[str] = ..., parameters: _Optional[_Mapping[str, Value]] = ..., context: _Optional[_Union[_resources_pb2.Context, _Mapping]] = ..., key: _Optional[str] = ..., agent: _Optional[str] = ...) -> None: ...

class ExecuteResponse(_message.Message):
    __slots__ = ("decision", "affected", "columns", "rows", "labels", "replayed", "failure", "message")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    AFFECTED_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    decision: _resources_pb2.Decision
    affected: int
    columns: _containers.RepeatedCompositeFieldContainer[ResultColumn]
    rows: _containers.RepeatedCompositeFieldContainer[Row]
    labels: _containers.RepeatedScalarFieldContainer[str]
    replayed: bool
    failure: DataFailure
    message: str
    def __init__(self, decision: _Optional[_Union[_resources_pb2.Decision, _Mapping]] = ..., affected: _Optional[int] = ..., columns: _Optional[_Iterable[_Union[ResultColumn, _Mapping]]] = ..., rows: _Optional[_Iterable[_Union[Row, _Mapping]]] = ..., labels: _Optional[_Iterable[str]] = ..., replayed: _Optional[bool] = ..., failure: _Optional[_Union[DataFailure, str]] = ..., message: _Optional[str] = ...) -> None: ...

class ClaimRequest(_message.Message):
    __slots__ = ("resource", "object", "ttl", "context", "key")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    resource: _resources_pb2.Resource
    object: str
    ttl: _duration_pb2.Duration
    context: _resources_pb2.Context
    key: str
    def __init__(self, resource: _Optional[_Union[_resources_pb2.Resource, _Mapping]] = ..., object: _Optional[str] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., context: _Optional[_Union[_resources_pb2.Context, _Mapping]] = ..., key: _Optional[str] = ...) -> None: ...

class ClaimResponse(_message.Message):
    __slots__ = ("decision", "token", "expire_time")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    decision: _resources_pb2.Decision
    token: int
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, decision: _Optional[_Union[_resources_pb2.Decision, _Mapping]] = ..., token: _Optional[int] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("resource", "object", "token", "context")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    resource: _resources_pb2.Resource
    object: str
    token: int
    context: _resources_pb2.Context
    def __init__(self, resource: _Optional[_Union[_resources_pb2.Resource, _Mapping]] = ..., object: _Optional[str] = ..., token: _Optional[int] = ..., context: _Optional[_Union[_resources_pb2.Context, _Mapping]] = ...) -> None: ...

class ReleaseResponse(_message.Message):
    __slots__ = ("record",)
    RECORD_FIELD_NUMBER: _ClassVar[int]
    record: str
    def __init__(self, record: _Optional[str] = ...) -> None: ...
