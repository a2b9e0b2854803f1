"""What decisions cost beside their time: the server's log and processor, its tables, a sidecar's disk and memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fakes.store_postgres import SIDECAR, Installation

from bench.installation import ALLOTTED, EMBEDDED, Fleet
from bench.processes import cpu_ms, private_mb, resident_mb
from bench.rows import Row

_SIZE = """
SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relnamespace = 'remit'::regnamespace AND relkind = 'r'
"""
_CONNECTIONS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = %s"
_DECISIONS = "SELECT count(*) FROM remit.journal WHERE kind = 'decision'"


@dataclass(frozen=True, slots=True)
class Meter:
    """A server as it stands: bytes of WAL, transactions of one database, milliseconds of processor time."""

    wal: int
    transactions: int
    cpu: float

    @classmethod
    def read(cls, installed: Installation) -> Meter:
        """Now."""
        ((wal, transactions),) = installed.rows(
            "SELECT pg_current_wal_lsn() - '0/0', pg_stat_get_db_xact_commit(oid) FROM pg_database "
            "WHERE datname = current_database()"
        )
        return cls(int(wal), int(transactions), sum(cpu_ms(server_of(installed)).values()))


@dataclass
class Spent:
    """Between readings, for so many decisions with their reports."""

    decisions: int = 0
    wal: int = 0
    transactions: int = 0
    cpu: float = 0.0

    def add(self, before: Meter, after: Meter, decisions: int) -> None:
        """One stretch more."""
        self.decisions += decisions
        self.wal += after.wal - before.wal
        self.transactions += after.transactions - before.transactions
        self.cpu += after.cpu - before.cpu

    def rows(self, kind: str) -> list[Row]:
        """For each decision with its report."""
        note = "a decision and its report, pulses and slices included"
        return [
            Row(f"store_wal_{kind}", self.wal / self.decisions, "bytes", note=note),
            Row(f"store_trips_{kind}", self.transactions / self.decisions, "", note=f"transactions; {note}"),
            Row(f"store_cpu_{kind}", self.cpu / self.decisions, "ms", note=f"of PostgreSQL's processor time; {note}"),
        ]


def server_of(installed: Installation) -> int:
    """The process that all of the server's are children of."""
    ((file,),) = installed.rows("SELECT pg_read_file('postmaster.pid')")
    return int(file.splitlines()[0])


def kept(fleets: Mapping[str, Fleet], installed: Mapping[str, Installation], decisions: int) -> list[Row]:
    """What is left on disks and in memory once they are done. `decisions` of the embedded fleet."""
    rows = []
    for kind, each in installed.items():
        ((size,),), ((number,),) = each.rows(_SIZE), each.rows(_DECISIONS)
        note = f"tables and indexes, {number} decisions with their reports"
        rows.append(Row(f"store_bytes_{kind}", int(size) / number, "bytes", note=note))
    embedded = sum(map(_on_disk, (each.state for each in fleets[EMBEDDED].sidecars))) / decisions
    rows.append(Row("sidecar_bytes_embedded", embedded, "bytes", note="the file, for a decision with its report"))
    allotted = max(map(_on_disk, (each.state for each in fleets[ALLOTTED].sidecars))) / 2**20
    rows.append(Row("sidecar_disk_allotted", allotted, "MB", note="the largest file; what was shipped is dropped"))
    pids = [pid for (pid,) in installed[ALLOTTED].rows(_CONNECTIONS, [SIDECAR])]
    number = len(fleets[ALLOTTED].sidecars)
    note = f"{len(pids) / number:.1f} connections of a sidecar, private memory at the server"
    rows.append(Row("sidecar_connections_mb", sum(map(private_mb, pids)) / number, "MB", note=note))
    for kind, fleet in fleets.items():
        resident = sum(resident_mb(each.pid)["remit"] for each in fleet.sidecars) / number
        rows.append(Row(f"sidecar_rss_{kind}", resident, "MB", note="without its OPA; a catalogue of 2,500 agents"))
    return rows


def _on_disk(state: Path) -> int:
    return sum(each.stat().st_size for each in state.glob("*.db*"))
