"""Who holds a service account's token: proved by the cluster's keys here, and where that is demanded by the cluster.

Signatures cost time, so what a token proved is kept by its hash until the token ends or the keys change; the token
itself is not kept. In a pod the sidecar has that pod's own token, which says who all in this pod is.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from hashlib import sha256

from remit.backends.kubernetes_keys import ClusterKeys, Known
from remit.backends.kubernetes_pod import TokenFile
from remit.backends.kubernetes_reviews import Reviews
from remit.backends.kubernetes_tokens import key_id, verified
from remit.core.errors import Unauthenticated
from remit.core.evidence import Cause
from remit.core.kubernetes import Claims, expired, read_claims
from remit.ports import Clock

MAX_PROVED = 1024
LOOK_SECONDS = 1.0

_log = logging.getLogger("remit")


class Cluster:
    """One cluster. `own` is the file of this pod's token; None: this sidecar is for many pods, or for none."""

    def __init__(
        self, keys: ClusterKeys, reviews: Reviews, clock: Clock, *, audience: str, own: TokenFile | None = None
    ) -> None:
        self._keys, self._reviews, self._clock, self._audience = keys, reviews, clock, audience
        self._proved: OrderedDict[bytes, Claims] = OrderedDict()
        self._by: Known | None = None
        self._file = own
        self._token = self._next = ""
        self._problem = Unauthenticated(Cause.UNAVAILABLE, "the pod's own token was not read yet")
        self._well = own is None
        self._account = ""

    @property
    def in_pod(self) -> bool:
        """Whether all that can reach this sidecar from its own machine is one pod."""
        return self._file is not None

    async def prove(self, token: str) -> Claims:
        """What a token proves, by itself. Raises Unauthenticated."""
        digest = sha256(token.encode()).digest()
        known = self._keys.known
        if known is not None and known is self._by:
            claims = self._proved.get(digest)
            if claims is not None:
                if self._clock.now() >= claims.until:
                    raise expired()
                self._proved.move_to_end(digest)
                return claims
        issuer, key = await self._keys.named(key_id(token))
        found = verified(token, key)
        claims = read_claims(found, issuer=issuer, audience=self._audience, now=self._clock.now())
        self._keep(digest, claims)
        return claims

    async def check(self, token: str, claims: Claims) -> None:
        """Ask the cluster whether the token is still good. Raises Unauthenticated."""
        await self._reviews.check(sha256(token.encode()).digest(), token, claims)

    async def own(self) -> tuple[str, Claims]:
        """This pod's token and what it proves now. Raises Unauthenticated: then the pod is nobody."""
        if not self._token:
            raise self._problem
        try:
            return self._token, await self.prove(self._token)
        except Unauthenticated as error:
            raise _nobody(error) from error

    @property
    def account(self) -> str:
        """Whose pod this is, as of a moment ago: system:serviceaccount:NAMESPACE:NAME."""
        return self._account

    @property
    def problem(self) -> str:
        """Why this pod proves nobody, as of a moment ago; "" where it does, and where there is no pod."""
        return "" if self._well else str(self._problem)

    async def start(self) -> None:
        """Look at the pod's own token for the first time. What cannot be had is told, and tried again."""
        await self._look()

    async def follow(self) -> None:
        """Keep what was read current, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._keys.keep()
                await self._look()
            except Exception:
                _log.exception("the cluster's keys, or the pod's token, could not be looked at")

    async def _look(self) -> None:
        if self._file is None:
            return
        try:
            await self._take(self._file)
            self._account = (await self.own())[1].subject
        except Unauthenticated as error:
            self._failed(self._file, error)
        else:
            if not self._well:
                _log.info("the pod's own token proves who is in it")
            self._well = True

    async def _take(self, file: TokenFile) -> None:
        """Take another token where the file has one that proves somebody; until then the one before stays."""
        try:
            changed = await asyncio.to_thread(file.changed)
        except OSError as error:
            raise _nobody(Unauthenticated(Cause.MISSING, f"it cannot be read ({error.strerror})")) from error
        self._next = changed or self._next
        if self._next:
            try:
                claims = await self.prove(self._next)
            except Unauthenticated as error:
                raise _nobody(error) from error
            if not claims.pod:
                raise _nobody(Unauthenticated(Cause.MALFORMED, "it is bound to no pod"))
            self._token, self._next = self._next, ""

    def _failed(self, file: TokenFile, error: Unauthenticated) -> None:
        if self._well or str(error) != str(self._problem):
            _log.error("%s: %s", file.path, error)
        self._well, self._problem = False, error

    def _keep(self, digest: bytes, claims: Claims) -> None:
        known = self._keys.known
        if known is not self._by:
            self._proved.clear()
            self._by = known
        self._proved[digest] = claims
        if len(self._proved) > MAX_PROVED:
            self._proved.popitem(last=False)


def _nobody(error: Unauthenticated) -> Unauthenticated:
    return Unauthenticated(error.cause, f"the pod's own token proves nobody: {error}")
