from remit.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Sight(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SIGHT_UNSPECIFIED: _ClassVar[Sight]
    SIGHT_RETURNED: _ClassVar[Sight]
    SIGHT_REACHED: _ClassVar[Sight]
    SIGHT_MANY: _ClassVar[Sight]
SIGHT_UNSPECIFIED: Sight
SIGHT_RETURNED: Sight
SIGHT_REACHED: Sight
SIGHT_MANY: Sight

class GetDecisionRequest(_message.Message):
    __slots__ = ("decision",)
    DECISION_FIELD_NUMBER: _ClassVar[int]
    decision: str
    def __init__(self, decision: _Optional[str] = ...) -> None: ...

class GetDecisionResponse(_message.Message):
    __slots__ = ("record", "about")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    ABOUT_FIELD_NUMBER: _ClassVar[int]
    record: _resources_pb2.JournalRecord
    about: _containers.RepeatedCompositeFieldContainer[_resources_pb2.JournalRecord]
    def __init__(self, record: _Optional[_Union[_resources_pb2.JournalRecord, _Mapping]] = ..., about: _Optional[_Iterable[_Union[_resources_pb2.JournalRecord, _Mapping]]] = ...) -> None: ...

class TraceRequest(_message.Message):
    __slots__ = ("workflow", "limit")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    limit: int
    def __init__(self, workflow: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class TraceResponse(_message.Message):
    __slots__ = ("records", "truncated")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[_resources_pb2.JournalRecord]
    truncated: bool
    def __init__(self, records: _Optional[_Iterable[_Union[_resources_pb2.JournalRecord, _Mapping]]] = ..., truncated: _Optional[bool] = ...) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VerifyResponse(_message.Message):
    __slots__ = ("ok", "authentic", "records", "erased", "checkpoints", "problem", "sequence")
    OK_FIELD_NUMBER: _ClassVar[int]
    AUTHENTIC_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    ERASED_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    authentic: bool
    records: int
    erased: int
    checkpoints: int
    problem: str
    sequence: int
    def __init__(self, ok: _Optional[bool] = ..., authentic: _Optional[bool] = ..., records: _Optional[int] = ..., erased: _Optional[int] = ..., checkpoints: _Optional[int] = ..., problem: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class WhoRequest(_message.Message):
    __slots__ = ("dataset", "table", "key", "limit")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    table: str
    key: str
    limit: int
    def __init__(self, dataset: _Optional[str] = ..., table: _Optional[str] = ..., key: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class WhoResponse(_message.Message):
    __slots__ = ("sightings", "truncated")
    SIGHTINGS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    sightings: _containers.RepeatedCompositeFieldContainer[Sighting]
    truncated: bool
    def __init__(self, sightings: _Optional[_Iterable[_Union[Sighting, _Mapping]]] = ..., truncated: _Optional[bool] = ...) -> None: ...

class Sighting(_message.Message):
    __slots__ = ("decision", "sight")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    SIGHT_FIELD_NUMBER: _ClassVar[int]
    decision: _resources_pb2.JournalRecord
    sight: Sight
    def __init__(self, decision: _Optional[_Union[_resources_pb2.JournalRecord, _Mapping]] = ..., sight: _Optional[_Union[Sight, str]] = ...) -> None: ...
