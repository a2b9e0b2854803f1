"""Halts, passports' single use, kept answers, and the versions that a commit must still find true.

Inside the caller's savepoint.
"""

from __future__ import annotations

import apsw

from remit.backends.store_sqlite.database import Database
from remit.backends.store_sqlite.refusal import Refusal
from remit.core.effect import Commit, KeepAnswer, LiftHalt, PlaceHalt, UsePassport
from remit.core.errors import IllegalTransition, NotFound
from remit.core.label import isolated_version
from remit.core.model import Versions
from remit.core.reason import Reason

_KEEP = """
    INSERT INTO kept VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET answer = excluded.answer, expires = excluded.expires, provisional = excluded.provisional
    WHERE kept.provisional AND kept.digest = excluded.digest
"""
_USE_PASSPORT = "INSERT INTO passport VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_HALTS_CHANGED = "UPDATE counter SET value = value + 1 WHERE name = 'halts'"
_ISOLATED = "SELECT count(DISTINCT label) FROM share WHERE workflow = ?1 AND subject IN (?2, '')"
_PRUNE = (
    """DELETE FROM kept WHERE (subject, rpc, key) IN
        (SELECT subject, rpc, key FROM kept WHERE expires <= ?1 LIMIT ?2)""",
    "DELETE FROM passport WHERE id IN (SELECT id FROM passport WHERE expires <= ?1 LIMIT ?2)",
    """DELETE FROM trace WHERE (subject, trace) IN
        (SELECT subject, trace FROM trace WHERE expires <= ?1 LIMIT ?2)""",
)


class Controls:
    """Performs what is neither money nor labels. `now` is the record's time."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.revision = ""  # of the policy in force; it lives in the process that serves it

    def check(self, commit: Commit) -> None:
        """Raise Refusal unless what the decision was made on still holds."""
        seen = commit.versions
        if seen is None:
            return
        if commit.workflow:
            self._check_workflow(commit.workflow, seen.workflow, commit.record.time)
        if seen.revision != self.revision:
            raise Refusal(Reason.FACTS_CHANGED, "policy")
        if seen.halts != self._db.value("SELECT value FROM counter WHERE name = 'halts'"):
            raise Refusal(Reason.FACTS_CHANGED, "halts")
        if seen.labels != self._labels_version(seen, commit.subject, commit.workflow):
            raise Refusal(Reason.FACTS_CHANGED, "labels")

    def place(self, placed: PlaceHalt, now: int) -> None:
        """Stop a scope. Raises IllegalTransition."""
        halt = placed.halt
        try:
            self._db.do(
                "INSERT INTO halt VALUES (?, ?, ?, ?, ?, ?)",
                *(halt.id, halt.scope, halt.value, halt.by, halt.reason, halt.time),
            )
        except apsw.ConstraintError as error:
            raise IllegalTransition(f"halt {halt.id} of scope {halt.scope!r} cannot be placed") from error
        self._db.do(_HALTS_CHANGED)

    def lift(self, lifted: LiftHalt, now: int) -> None:
        """Resume. Raises NotFound."""
        if not self._db.do("DELETE FROM halt WHERE id = ?", lifted.id):
            raise NotFound(f"no halt {lifted.id}")
        self._db.do(_HALTS_CHANGED)

    def use(self, passport: UsePassport, now: int) -> None:
        """Once. Raises Refusal."""
        if not self._db.do(_USE_PASSPORT, passport.id, passport.by, passport.expires):
            raise Refusal(Reason.PASSPORT_USED, passport.id)

    def keep(self, kept: KeepAnswer, now: int) -> None:
        """The first answer stays, but for a provisional one. Raises Refusal."""
        answer = (kept.digest, kept.answer, kept.expires, kept.provisional)
        if not self._db.do(_KEEP, kept.subject, kept.rpc, kept.key, *answer):
            raise Refusal(Reason.IDEMPOTENCY_MISMATCH, "kept")

    def prune(self, now: int, limit: int) -> int:
        """Forget what has expired, so many rows of each table; how many."""
        return sum(self._db.do(statement, now, limit) for statement in _PRUNE)

    def _check_workflow(self, id: str, seen: int, now: int) -> None:
        row = self._db.one("SELECT closed_by, expires, version FROM workflow WHERE id = ?", id)
        if row is None or row[0] or row[1] <= now:
            raise Refusal(Reason.WORKFLOW_INVALID, id)
        if row[2] != seen:
            raise Refusal(Reason.FACTS_CHANGED, "workflow")

    def _labels_version(self, seen: Versions, subject: str, workflow: str) -> int:
        if seen.labels < 0:
            return isolated_version(self._db.value(_ISOLATED, workflow, subject))
        version: int = self._db.value("SELECT version FROM subject WHERE id = ?", subject) or 0
        return version
