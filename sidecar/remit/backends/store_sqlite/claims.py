"""Claims, and what agents did to objects (`remit.core.claim`). Inside the caller's savepoint.

A thing that nobody holds keeps its row, and so its last token, for a month. When the row goes, the floor rises to that
token, and whatever has no row begins above the floor: no token is given twice, of any thing.
"""

from __future__ import annotations

from remit.backends.store_sqlite.database import Database
from remit.backends.store_sqlite.refusal import Refusal
from remit.core.claim import MOST_CLAIMS, Act, Claim
from remit.core.effect import NoteAct, ReleaseClaim, RespectClaims, TakeClaim
from remit.core.errors import IllegalTransition, NotFound
from remit.core.reason import Reason

CLAIMS = "SELECT key, subject, workflow, token, expires, time FROM claim"
HELD = f"{CLAIMS} WHERE subject <> '' AND expires > ? ORDER BY time, key LIMIT ?"
DUE_CLAIMS = f"{CLAIMS} WHERE subject <> '' AND expires <= ? ORDER BY expires, key LIMIT ?"
ACTS = """
    SELECT subject, operation, decision, time FROM act WHERE workflow = ? AND object = ? AND subject <> ?
    ORDER BY time, subject, operation
"""

_OTHERS = "SELECT count(*) FROM claim WHERE subject = ? AND subject <> '' AND expires > ? AND key <> ?"
_TAKE = """
    INSERT INTO claim VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET subject = excluded.subject, workflow = excluded.workflow, token = excluded.token,
        expires = excluded.expires, time = excluded.time
"""
_RELEASE = "UPDATE claim SET subject = '', workflow = '', expires = 0, time = ? WHERE key = ?"
_SEEN = "SELECT count(*) FROM act WHERE workflow = ? AND object = ? AND subject <> ?"
_NOTE = """
    INSERT INTO act VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET time = excluded.time, expires = max(expires, excluded.expires)
"""
_FREE = "SELECT key, token FROM claim WHERE subject = '' AND time <= ? ORDER BY time LIMIT ?"
_FLOOR = "SELECT value FROM counter WHERE name = 'claim_floor'"
_RAISE = "UPDATE counter SET value = max(value, ?) WHERE name = 'claim_floor'"
_PRUNE_ACTS = """
    DELETE FROM act WHERE (workflow, object, subject, operation) IN
        (SELECT workflow, object, subject, operation FROM act WHERE expires <= ? LIMIT ?)
"""


class Claims:
    """Performs the effects. `now` is the record's time."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def take(self, taken: TakeClaim, now: int) -> None:
        """Take or renew: only what is held now is renewed. Raises Refusal, IllegalTransition."""
        wanted, row = taken.claim, self._db.one(f"{CLAIMS} WHERE key = ?", taken.claim.key)
        there = Claim(*row) if row else None
        if there is not None and there.held_by_another(wanted.subject, wanted.workflow, now):
            raise Refusal(Reason.CLAIM_HELD, wanted.key)
        if not wanted.subject or wanted.expires <= now:
            raise IllegalTransition("a claim is somebody's, for some time")
        if there is not None and there.token != taken.before:
            raise Refusal(Reason.FACTS_CHANGED, "claim")
        last = self._db.value(_FLOOR) if there is None else there.token - there.held(now)
        if wanted.token <= last:
            raise Refusal(Reason.FACTS_CHANGED, "claim")
        if self._db.value(_OTHERS, wanted.subject, now, wanted.key) >= MOST_CLAIMS:
            raise Refusal(Reason.CLAIMS_EXHAUSTED, wanted.subject)
        self._db.do(_TAKE, wanted.key, wanted.subject, wanted.workflow, wanted.token, wanted.expires, wanted.time)

    def release(self, released: ReleaseClaim, now: int) -> None:
        """Let go. Raises NotFound, IllegalTransition."""
        there = claim(self._db, released.key)
        whose = (released.subject, released.workflow, released.token)
        if not there.subject or (there.subject, there.workflow, there.token) != whose:
            raise NotFound(f"{released.subject} does not hold {released.key} by token {released.token}")
        if released.lapsed and there.expires > now:
            raise IllegalTransition(f"the claim on {released.key} was renewed and has not lapsed")
        self._db.do(_RELEASE, now, released.key)

    def respect(self, wanted: RespectClaims, now: int) -> None:
        """Nobody else holds any of it. Raises Refusal."""
        found = [claim(self._db, key) for key in wanted.keys]
        for each in found:
            if each.held_by_another(wanted.subject, wanted.workflow, now):
                raise Refusal(Reason.CLAIM_HELD, each.key)
        # What is held now is held by the subject in this workflow.
        if wanted.token and not any(each.held(now) and each.token == wanted.token for each in found):
            raise Refusal(Reason.CLAIM_LOST, wanted.keys[-1])

    def note(self, noted: NoteAct, now: int) -> None:
        """What an agent does, unless others did more than was seen. Raises Refusal."""
        if self._db.value(_SEEN, noted.workflow, noted.object, noted.subject) != noted.seen:
            raise Refusal(Reason.FACTS_CHANGED, "acts")
        whose = (noted.workflow, noted.object, noted.subject, noted.operation)
        self._db.do(_NOTE, *whose, noted.decision, now, noted.expires)

    def prune(self, before: int, now: int, limit: int) -> int:
        """Forget what is free since, and acts that have expired; how many."""
        free = self._db.all(_FREE, before, limit)
        if free:
            self._db.do(_RAISE, max(token for _, token in free))
        self._db.each("DELETE FROM claim WHERE key = ?", ((key,) for key, _ in free))
        return len(free) + self._db.do(_PRUNE_ACTS, now, limit)


def claim(db: Database, key: str) -> Claim:
    """The claim on a thing; nobody's, with the floor for its token, where there is none."""
    row = db.one(f"{CLAIMS} WHERE key = ?", key)
    if row is not None:
        return Claim(*row)
    return Claim(key, "", "", db.value(_FLOOR), 0)


def known_claims(db: Database, keys: tuple[str, ...]) -> tuple[Claim, ...]:
    """The claims on things that somebody has taken before."""
    rows = (db.one(f"{CLAIMS} WHERE key = ?", key) for key in sorted(keys))
    return tuple(Claim(*row) for row in rows if row is not None)


def acts_of_others(db: Database, workflow: str, thing: str, subject: str) -> tuple[Act, ...]:
    """What other subjects did to an object in a workflow, the oldest first."""
    return tuple(Act(*row) for row in db.all(ACTS, workflow, thing, subject))
