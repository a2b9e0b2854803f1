"""Records of the journal as the sidecar's answers bring them; see core/records.py."""

from __future__ import annotations

from remit.core.records import DEPTH as DEPTH
from remit.core.records import Entry as Entry
from remit.core.records import Node as Node
from remit.core.records import body_of
from remit.core.records import ending as ending
from remit.core.records import from_row as from_row
from remit.core.records import grow as grow
from remit.core.records import items as items
from remit.core.records import mapping as mapping
from remit.core.records import nanos as nanos
from remit.core.records import summary as summary
from remit.core.records import text as text
from remit.sdk.answers import NANOS
from remit.v1 import resources_pb2


def from_wire(record: resources_pb2.JournalRecord) -> Entry:
    """An entry of the sidecar's answer."""
    return Entry(
        log=record.log,
        sequence=record.sequence,
        time=record.time.seconds * NANOS + record.time.nanos,
        kind=record.kind,
        id=record.id,
        subject=record.subject,
        workflow=record.workflow,
        parent=record.parent,
        ref=record.ref,
        erased=record.erased,
        hash=record.hash,
        body=body_of(record.body),
    )
