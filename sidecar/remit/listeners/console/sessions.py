"""Who is signed in: in memory alone, each session found by the hash of an id that only its browser has.

A session keeps what was proved and never a token. It ends after half an hour without a visit, after eight hours in any
case, when its person signs out, and when too many others begin.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from remit.core.evidence import Proof

SECOND = 1_000_000_000
IDLE_SECONDS = 30 * 60
LIFE_SECONDS = 8 * 60 * 60
PER_PERSON = 8
IN_ALL = 1024

_ID_BYTES = 32


@dataclass(slots=True)
class Session:
    """One browser's: `began` and `used` in ns; `csrf` is what its forms must carry."""

    person: str
    proof: Proof
    csrf: str
    began: int
    used: int


class Sessions:
    """The sessions of one process. `now` is the time in ns, `random` gives so many random bytes."""

    def __init__(self, now: Callable[[], int], random: Callable[[int], bytes]) -> None:
        self._now = now
        self._random = random
        # By the hash of the id, the oldest first.
        self._sessions: dict[bytes, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, person: str, proof: Proof) -> str:
        """Begin a session, and give its id. Where there are too many, the oldest of this person, or of all, ends."""
        now = self._now()
        self._expire(now)
        own = [key for key, each in self._sessions.items() if each.person == person]
        self._drop(own[: max(len(own) - PER_PERSON + 1, 0)])
        self._drop(list(self._sessions)[: max(len(self._sessions) - IN_ALL + 1, 0)])
        id = self._random(_ID_BYTES).hex()
        csrf = hmac.new(self._random(_ID_BYTES), b"csrf", sha256).hexdigest()
        self._sessions[_key(id)] = Session(person, proof, csrf, began=now, used=now)
        return id

    def find(self, id: str, *, visit: bool) -> Session | None:
        """The session of an id; `visit` where a person did something, and not a page by itself."""
        session = self._sessions.get(_key(id))
        if session is None:
            return None
        now = self._now()
        if _is_over(session, now):
            del self._sessions[_key(id)]
            return None
        if visit:
            session.used = now
        return session

    def end(self, id: str) -> None:
        """End a session, if it is one."""
        self._sessions.pop(_key(id), None)

    def _expire(self, now: int) -> None:
        self._drop([key for key, each in self._sessions.items() if _is_over(each, now)])

    def _drop(self, keys: list[bytes]) -> None:
        for key in keys:
            del self._sessions[key]


def _key(id: str) -> bytes:
    return sha256(id.encode()).digest()


def _is_over(session: Session, now: int) -> bool:
    return now - session.used >= IDLE_SECONDS * SECOND or now - session.began >= LIFE_SECONDS * SECOND
