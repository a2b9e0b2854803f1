"""Who saw whom: the subjects that answers told of, by keyed hash. Inside the caller's savepoint.

Hashes lie anywhere in an index, and each that is added to a large one costs a page of its own: 10,000 of them into a
million took 130 ms. So the index is kept in segments. Only the last one grows, a megabyte or so; the others are
only looked into, one probe each (microseconds), from the newest on and no further than is asked for.

An answer of many subjects is a row of the empty subject, which every subject of the table may be of.
"""

from __future__ import annotations

from heapq import nlargest

from remit.backends.store_sqlite.database import Database
from remit.core.effect import SeeSubjects
from remit.core.errors import NotFound
from remit.core.view.subjects import in_storing_order
from remit.ports import Sight

SEGMENT_ROWS = 1 << 15
"""How many rows a segment has when the next one begins."""

SIGHTS = (Sight.RETURNED, Sight.REACHED, Sight.MANY)
"""By their number in the file; the more certain is the lower one."""

MANY = b""
"""The subject of an answer that was of many."""

_DECISION = "SELECT sequence FROM journal WHERE id = ?"
_TABLE = "SELECT id FROM seen_table WHERE name = ?"
_LAST = "SELECT id, rows FROM seen_segment ORDER BY id DESC LIMIT 1"
_GROWN = """
    INSERT INTO seen_segment VALUES (?, ?, ?)
    ON CONFLICT DO UPDATE SET rows = rows + excluded.rows, newest = max(newest, excluded.newest)
"""
_SEE = """
    INSERT INTO seen VALUES (?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET sight = excluded.sight WHERE excluded.sight < sight
"""
_SEGMENTS = "SELECT id, newest FROM seen_segment ORDER BY newest DESC"
_SEEN = """
    SELECT decision, sight FROM seen WHERE segment = ? AND seen_table = ? AND subject = ?
    ORDER BY decision DESC LIMIT ?
"""


class Sightings:
    """Performs the effect. `now` is the record's time; `upcoming` (id, sequence) of the commit's own record."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.upcoming = ("", 0)

    def see(self, seen: SeeSubjects, now: int) -> None:
        """Note that an answer told of subjects. Raises NotFound, BadRequest."""
        sight = Sight(seen.sight)
        subjects = [MANY] if sight is Sight.MANY else in_storing_order(seen.subjects)
        id, sequence = self.upcoming
        decision = sequence if seen.decision == id else self._db.value(_DECISION, seen.decision)
        if decision is None:
            raise NotFound(f"no decision {seen.decision}")
        segment, table, number = self._segment(), self._table(seen.table), SIGHTS.index(sight)
        self._db.each(_SEE, ((segment, table, subject, decision, number) for subject in subjects))
        self._db.do(_GROWN, segment, len(subjects), decision)

    def _segment(self) -> int:
        id, rows = self._db.one(_LAST) or (1, 0)
        return int(id) if rows < SEGMENT_ROWS else id + 1

    def _table(self, name: str) -> int:
        self._db.do("INSERT INTO seen_table (name) VALUES (?) ON CONFLICT DO NOTHING", name)
        id: int = self._db.value(_TABLE, name)
        return id


def seen(db: Database, table: str, subject: bytes, limit: int) -> dict[int, int]:
    """Decision (its sequence) -> sight (its number) of the newest decisions that told of a subject.

    At least the newest `limit`. The caller has a snapshot.
    """
    id = db.value(_TABLE, table)
    found: dict[int, int] = {}
    for segment, newest in db.all(_SEGMENTS) if id is not None else ():
        if len(found) >= limit and newest < nlargest(limit, found)[-1]:
            break
        for decision, sight in db.all(_SEEN, segment, id, subject, limit):
            found[decision] = min(sight, found.get(decision, sight))
    return found
