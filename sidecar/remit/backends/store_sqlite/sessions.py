"""Workflows, and the labels that subjects hold in them (`remit.core.label`). Inside the caller's savepoint.

A share's rows say for themselves whether they count in the subject's session (`live`), so that reading a
session costs its labels, not the runs behind them. A share begins with what the workflow started with.
"""

from __future__ import annotations

import apsw
import orjson

from remit.backends.store_sqlite.database import Database
from remit.core.effect import BindTrace, CloseWorkflow, JoinLabels, OpenWorkflow
from remit.core.errors import IllegalTransition, NotFound
from remit.core.label import STANDING, counts

_OPEN = "INSERT INTO workflow (id, opener, purposes, agents, expires) VALUES (?, ?, ?, ?, ?)"
_CLOSE = "UPDATE workflow SET closed_by = ?2, version = version + 1 WHERE id = ?1"
_BIND = """
    INSERT INTO trace SELECT ?1, ?2, id, expires FROM workflow WHERE id = ?3
    ON CONFLICT DO UPDATE SET workflow = excluded.workflow, expires = excluded.expires
"""
_STARTED_WITH = "SELECT label, source FROM share WHERE subject = '' AND workflow = ?"
_HELD = "SELECT 1 FROM share WHERE subject = ? AND label = ? AND live = 1 LIMIT 1"
_ADD = "INSERT INTO share VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_CHANGED = "INSERT INTO subject VALUES (?, 1) ON CONFLICT DO UPDATE SET version = version + 1"
_ENDING = "SELECT DISTINCT subject FROM share WHERE workflow = ?1 AND live = 1 AND subject NOT IN (?2, ?3)"
_END_SHARE = "UPDATE share SET live = 0 WHERE subject = ?1 AND workflow = ?2"
_LOST = """
    SELECT 1 FROM share AS ended WHERE ended.subject = ?1 AND ended.workflow = ?2 AND NOT EXISTS (
        SELECT 1 FROM share AS other WHERE other.subject = ?1 AND other.label = ended.label AND other.live = 1
    ) LIMIT 1
"""


class Sessions:
    """Performs the effects on workflows and labels. `now` is the record's time."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def open(self, opened: OpenWorkflow, now: int) -> None:
        """Start a workflow with its opener's labels, which the opener has in it. Raises IllegalTransition."""
        lists = (orjson.dumps(each).decode() for each in (opened.purposes, opened.agents))
        try:
            self._db.do(_OPEN, opened.id, opened.opener, *lists, opened.expires)
        except apsw.ConstraintError as error:
            raise IllegalTransition(f"workflow {opened.id} was opened before") from error
        started = {label: min(sources, default="") for label, sources in opened.labels.items()}
        for label, source in started.items():
            self._db.do(_ADD, "", opened.id, label, source, 0)
        self.join(JoinLabels(opened.opener, opened.id, started), now)
        if opened.trace:
            self.bind(BindTrace(opened.opener, opened.trace, opened.id), now)

    def close(self, closed: CloseWorkflow, now: int) -> None:
        """End a workflow, and the shares in it that neither its opener nor its closer has.

        Raises NotFound, IllegalTransition.
        """
        opener, closed_by = self._find(closed.id)
        if closed_by:
            raise IllegalTransition(f"workflow {closed.id} is closed")
        self._db.do(_CLOSE, closed.id, closed.by)
        for (subject,) in self._db.all(_ENDING, closed.id, opener, closed.by):
            self._db.do(_END_SHARE, subject, closed.id)
            if self._db.one(_LOST, subject, closed.id):
                self._db.do(_CHANGED, subject)

    def join(self, joined: JoinLabels, now: int) -> None:
        """Add labels to a share; the session's version moves only if one is new to it. Raises NotFound."""
        share = self._share(joined)
        started = self._db.all(_STARTED_WITH, share) if share and joined.labels else ()
        labels: dict[str, str] = {**dict(started), **joined.labels}
        new = [self._add(joined.subject, share, *each) for each in labels.items()]
        if any(new):
            self._db.do(_CHANGED, joined.subject)

    def bind(self, bound: BindTrace, now: int) -> None:
        """Let a trace id name a workflow, the latest one. Raises NotFound."""
        if not self._db.do(_BIND, bound.subject, bound.trace, bound.workflow):
            raise NotFound(f"no workflow {bound.workflow}")

    def _share(self, joined: JoinLabels) -> str:
        if joined.workflow == STANDING:
            return STANDING
        opener, closed_by = self._find(joined.workflow)
        return joined.workflow if counts(subject=joined.subject, opener=opener, closed_by=closed_by) else STANDING

    def _add(self, subject: str, share: str, label: str, source: str) -> bool:
        new = self._db.one(_HELD, subject, label) is None
        self._db.do(_ADD, subject, share, label, source, 1)
        return new

    def _find(self, workflow: str) -> tuple[str, str]:
        row = self._db.one("SELECT opener, closed_by FROM workflow WHERE id = ?", workflow)
        if row is None:
            raise NotFound(f"no workflow {workflow}")
        return row[0], row[1]
