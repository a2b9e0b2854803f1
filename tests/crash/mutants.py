"""Stores with a planted bug, which the harnesses must find."""

from __future__ import annotations

import asyncio
from typing import Any

from remit.backends.note_file import note_path, write_note_file
from remit.backends.store_sqlite import SqliteStore
from remit.backends.store_sqlite import group_commit as genuine
from remit.backends.store_sqlite.group_commit import GroupCommit
from remit.core.effect import Commit, Committed


class _EagerGroup(GroupCommit):
    """Answers once the statements ran, and lets the disk follow."""

    def _hand_over(self, batch: Any) -> None:
        for caller in batch:
            genuine._answer(caller)
        asyncio.get_running_loop().call_later(0.001, super()._hand_over, batch)


class AckBeforeCommit(SqliteStore):
    """Believes that what was asked for has happened."""

    group_type = _EagerGroup


class _DeafGroup(GroupCommit):
    """Does not look at what COMMIT said."""

    def _commit(self) -> Exception | None:
        super()._commit()
        return None


class IgnoredError(SqliteStore):
    """Takes a failed fsync for a success."""

    group_type = _DeafGroup


class _StubbornGroup(GroupCommit):
    """Tries again after whatever failure."""

    def _roll_back(self, batch: Any, error: Exception) -> None:
        super()._roll_back(batch, error)
        self.failure = ""


class GoesOnAfterFsync(SqliteStore):
    """Trusts the disk again after a failed fsync."""

    group_type = _StubbornGroup


class TwoTransactions(SqliteStore):
    """Ledger first, journal later."""

    def _perform(self, commit: Commit) -> Committed:
        self._controls.check(commit)
        for effect in commit.effects:
            self._effects[type(effect)](effect, commit.record.time)
        self._db.do("RELEASE caller")
        self._db.do("COMMIT")
        self._db.do("BEGIN IMMEDIATE")
        self._db.do("SAVEPOINT caller")
        return self._chain.append(commit.record)


class NoteBeforeCommit(SqliteStore):
    """Copies a checkpoint beside the file before it is in the file."""

    def _sign_if_due(self) -> None:
        super()._sign_if_due()
        if self._chain.signed is not None:
            write_note_file(note_path(self.path), self._chain.signed.note)


MUTANTS = {
    each.__name__: each for each in (AckBeforeCommit, IgnoredError, GoesOnAfterFsync, TwoTransactions, NoteBeforeCommit)
}
