"""Workflow contexts and passports as compact JWS (RFC 7515) with Ed25519 as RFC 9864 names it, through joserfc."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import orjson
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from remit.core.errors import BadToken

MAX_TOKEN = 4096  # bytes; a workflow context is at most 1 KiB, a passport carries labels besides
_KNOWN = 1024  # verified tokens remembered, so that a workflow's context costs one signature check, not one a call


class Ed25519Signer:
    """Signs with the installation's key. `issuer` names the installation in every token."""

    def __init__(self, key: OKPKey, issuer: str) -> None:
        self._key = key
        self._issuer = issuer
        self._verified: OrderedDict[tuple[str, str], Mapping[str, object]] = OrderedDict()

    def sign(self, claims: Mapping[str, object]) -> str:
        """`claims` must name their `kind`."""
        header = {"alg": "Ed25519", "typ": f"remit-{claims['kind']}+jws"}
        payload = orjson.dumps({"iss": self._issuer, **claims}, option=orjson.OPT_SORT_KEYS)
        return jws.serialize_compact(header, payload, self._key, algorithms=["Ed25519"])

    def verify(self, token: str, kind: str) -> Mapping[str, object]:
        """Signature, algorithm, type and issuer; raises BadToken."""
        known = self._verified.get((token, kind))
        if known is None:
            known = self._check(token, kind)
            self._verified[(token, kind)] = known
            if len(self._verified) > _KNOWN:
                self._verified.popitem(last=False)
        return known

    def _check(self, token: str, kind: str) -> Mapping[str, object]:
        if len(token) > MAX_TOKEN or not token.isascii():
            raise BadToken("it is not a compact JWS of a sensible size")
        try:
            signed = jws.deserialize_compact(token, self._key, algorithms=["Ed25519"])
            claims = orjson.loads(signed.payload)
        except (JoseError, ValueError) as error:
            raise BadToken("its signature does not verify with this installation's key") from error
        if signed.headers() != {"alg": "Ed25519", "typ": f"remit-{kind}+jws"}:
            raise BadToken(f"it is not a {kind} token")
        if not isinstance(claims, dict) or claims.get("iss") != self._issuer or claims.get("kind") != kind:
            raise BadToken("another installation issued it")
        return claims
