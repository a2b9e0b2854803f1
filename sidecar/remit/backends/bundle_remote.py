"""The bundle that a member is governed by: fetched, verified, laid out, and never an older one than before.

A member *takes* a bundle before it looks at what is in it, and *accepts* it once that has proved good: only then does
its serial count. Where the server is away, or gives what must not be used, a member that starts takes the one that
it accepted last; a member that runs goes on with what it has.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import RLock

from remit.backends.bundle_archive import BundleRefused
from remit.backends.bundle_contents import Signed, verify
from remit.backends.bundle_fetch import Answer, BundleAway, Origin, fetch
from remit.backends.bundle_kept import KeptBundle
from remit.backends.bundle_signature import KeyUnusable, public_keys

WHOLE_SECONDS = 3600.0
"""After so long a bundle is asked for whole, whatever its ETag: a server is not wrong about that for ever."""

MAX_KEY_FILE = 64 * 1024

Guard = Callable[[Signed], None]
"""Has a shared store accept a bundle. Raises BundleRefused where it knows a newer one."""

_log = logging.getLogger("remit")


@dataclass(frozen=True, slots=True)
class Taken:
    """Where catalogue and policies of a bundle lie now; no policies: None."""

    catalogue: Path
    policies: Path | None


class RemoteBundle:
    """One member's bundle. Called from threads: it blocks. `key` is the file of the public keys."""

    def __init__(
        self,
        origin: Origin,
        key: Path,
        directory: Path,
        *,
        poll_seconds: float,
        get: Callable[[Origin, str], Answer] = fetch,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._origin, self._key = origin, key
        self._kept = KeptBundle(directory)
        self._poll_seconds, self._get, self._now = poll_seconds, get, now
        self._lock = RLock()
        self._body: bytes | None = None
        self._etag = ""
        self._due = self._whole_due = now()
        self._away = ""
        self._taken: tuple[bytes, Signed] | None = None
        self._unsettled, self._tries = False, 0
        self.behind = False
        """Whether what was taken last is an older one, because the newest could not be had or used."""

    def take(self) -> Taken:
        """Fetch, verify, lay out. Raises BundleAway, BundleRefused, KeyUnusable, OSError: then nothing has changed."""
        with self._lock:
            first = self._taken is None
            self._refresh()
            try:
                packed, signed = self._verified(self._body)
            except (BundleAway, BundleRefused) as error:
                kept = self._kept.read() if first else None
                if kept is None:
                    raise
                if isinstance(error, BundleRefused):  # of a server that is away the log knows already
                    _log.error("bundle: %s", error)
                _log.warning("bundle: taking the one that was accepted last")
                packed, signed = self._verified(kept)
                self.behind = True
            else:
                self.behind = False
            taken = self._lay_out(signed)
            self._taken = (packed, signed)
            _log.info(
                "bundle: serial %d, revision %s, %s", signed.serial, signed.revision or "none", signed.digest[:16]
            )
            return taken

    def retreat(self) -> Taken | None:
        """The one that was accepted last, where the one that was taken is another and proved bad; else None."""
        with self._lock:
            kept = self._kept.read()
            if kept is None or self._taken is None:
                return None
            packed, signed = self._verified(kept)
            if signed.digest == self._taken[1].digest:
                return None
            _log.warning("bundle: serial %d is no good; taking the one that was accepted last", self._taken[1].serial)
            self._taken, self.behind = (packed, signed), True
            return self._lay_out(signed)

    def accept(self, guard: Guard | None) -> Mapping[str, object]:
        """What was taken is good, and is about to be in force: what the journal says of it.

        Raises BundleRefused where something newer was accepted meanwhile, here or by other members; what `guard`
        raises; OSError.
        """
        with self._lock:
            assert self._taken is not None
            packed, signed = self._taken
            self._unsettled = True
            self._kept.check(signed)
            if guard is not None:
                guard(signed)
            self._kept.accept(packed, signed)
            self._unsettled = False
        return {"serial": signed.serial, "revision": signed.revision, "digest": signed.digest}

    def fingerprint(self) -> str:
        """Another one means that there is something to take. Asks the server when that is due."""
        with self._lock:
            if self._now() >= self._due:
                # What could not be accepted (the store was away) is tried again as often as the server is asked.
                self._tries += self._unsettled
                self._refresh()
            seen = sha256(self._body or b"").hexdigest()
            return f"{seen}{sha256(_bounded(self._key)).hexdigest()}{self._tries}"

    def _refresh(self) -> None:
        """Ask the server, and remember what it gave; why it gave nothing is told once."""
        now = self._now()
        self._due = now + self._poll_seconds
        etag = self._etag if now < self._whole_due else ""
        try:
            answer = self._get(self._origin, etag)
        except BundleAway as error:
            if str(error) != self._away:
                _log.error("bundle: %s", error)
            self._away = str(error)
            return
        if self._away:
            _log.info("bundle: %s answers again", self._origin.told)
        self._away, self._etag = "", answer.etag
        if answer.body is not None:
            self._body = answer.body
        if not etag:
            self._whole_due = now + WHOLE_SECONDS

    def _verified(self, packed: bytes | None) -> tuple[bytes, Signed]:
        if packed is None:
            raise BundleAway(self._away)
        try:
            keys = public_keys(_bounded(self._key))
        except KeyUnusable as error:
            raise KeyUnusable(f"{self._key}: {error}") from error
        try:
            signed = verify(packed, keys)
            self._kept.check(signed)
        except BundleRefused as error:
            raise BundleRefused(f"the bundle of {self._origin.told} is refused: {error}") from error
        return packed, signed

    def _lay_out(self, signed: Signed) -> Taken:
        tree = self._kept.lay_out(signed.files)
        single, policies = tree / "remit.yaml", tree / "policies"
        return Taken(single if single.exists() else tree / "catalogue", policies if policies.exists() else None)


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_KEY_FILE)
