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
