"""A cluster's API server as far as Remit asks it, and the tokens that such a cluster gives its pods."""

from __future__ import annotations

import base64
import hmac
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from fakes.world import FakeClock
from joserfc import jws
from joserfc.jwk import ECKey, Key, RSAKey
from listeners.certificates import Authority, Pair
from remit.backends.identity_kubernetes import Cluster
from remit.backends.kubernetes_api import ApiServer
from remit.backends.kubernetes_keys import ClusterKeys, FromApi
from remit.backends.kubernetes_pod import TokenFile
from remit.backends.kubernetes_reviews import Reviews

ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIENCE = "remit"
OURS = "the-sidecars-own-token"
HOUR = 3600
SECOND = 1_000_000_000
ALGORITHMS = ["RS256", "ES256", "RS384", "ES384", "PS256", "HS256", "none"]

_RSA = [RSAKey.generate_key(2048) for _ in range(2)]
"""Made once: they take long."""


@dataclass(frozen=True, slots=True)
class Signer:
    """A key of the cluster's, and how it signs."""

    kid: str
    key: Key
    algorithm: str = "RS256"

    @property
    def public(self) -> dict[str, Any]:
        """As a JWK."""
        return {**self.key.as_dict(private=False), "kid": self.kid, "use": "sig", "alg": self.algorithm}

    def sign(self, claims: object, **header: object) -> str:
        """A token. `header` replaces members of its header; None leaves one out."""
        members = {"alg": self.algorithm, "kid": self.kid, **header}
        protected = {name: value for name, value in members.items() if value is not None}
        return jws.serialize_compact(
            protected,
            json.dumps(claims).encode(),
            self.key,
            registry=jws.JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False),
        )


FIRST, SECOND_KEY = Signer("first", _RSA[0]), Signer("second", _RSA[1])
ELLIPTIC = Signer("elliptic", ECKey.generate_key("P-256"), "ES256")


def claims(now: int, account: str = "support", *, pod: str = "uid-of-support-1", **more: object) -> dict[str, object]:
    """What a kubelet's token says; `more` replaces claims, None leaves one out."""
    seconds = now // SECOND
    bound: dict[str, object] = {
        "namespace": "agents",
        "node": {"name": "node-1", "uid": "uid-of-node-1"},
        "serviceaccount": {"name": account, "uid": f"uid-of-{account}"},
    }
    if pod:
        bound["pod"] = {"name": f"{account}-1", "uid": pod}
    made = {
        "aud": [AUDIENCE],
        "exp": seconds + HOUR,
        "iat": seconds,
        "nbf": seconds,
        "iss": ISSUER,
        "jti": "8b1d",
        "sub": f"system:serviceaccount:agents:{account}",
        "kubernetes.io": bound,
        **more,
    }
    return {name: value for name, value in made.items() if value is not None}


def by_hand(header: object, body: object, signature: bytes = b"") -> str:
    """A token that no library would make."""
    return ".".join(map(_text, (json.dumps(header).encode(), json.dumps(body).encode(), signature)))


def hmac_by_public_key(signer: Signer, body: object) -> str:
    """The classic: HS256, where the secret is the public key that everybody has."""
    signed = by_hand({"alg": "HS256", "kid": signer.kid}, body).rpartition(".")[0]
    mac = hmac.digest(signer.key.as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{_text(mac)}"


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass
class FakeApi:
    """An API server over TLS. What it answers with can be replaced; `asked` counts what it was asked for, by path."""

    keys: list[Mapping[str, Any]] = field(default_factory=lambda: [FIRST.public, ELLIPTIC.public])
    issuer: str = ISSUER
    deleted: set[str] = field(default_factory=set)
    """The uids of pods that are gone."""
    may_review: bool = True
    away: bool = False
    answer: bytes | None = None
    """Instead of its keys."""
    asked: dict[str, int] = field(default_factory=dict)
    url: str = ""
    place: Path = Path()

    @web.middleware
    async def _counted(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked[request.path] = self.asked.get(request.path, 0) + 1
        if self.away:
            assert request.transport is not None
            request.transport.abort()
        if request.headers.get("Authorization") != f"Bearer {OURS}":
            raise web.HTTPUnauthorized
        found: web.StreamResponse = await handler(request)
        return found

    async def _configuration(self, request: web.Request) -> web.Response:
        return web.json_response({"issuer": self.issuer, "jwks_uri": "https://192.0.2.1:6443/openid/v1/jwks"})

    async def _jwks(self, request: web.Request) -> web.Response:
        text = json.dumps({"keys": self.keys}).encode() if self.answer is None else self.answer
        return web.Response(body=text, content_type="application/jwk-set+json")

    async def _review(self, request: web.Request) -> web.Response:
        if not self.may_review:
            raise web.HTTPForbidden
        asked = await request.json()
        token, audiences = asked["spec"]["token"], asked["spec"]["audiences"]
        body = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        uid = body["kubernetes.io"].get("pod", {}).get("uid", "")
        if uid in self.deleted or not set(audiences) & set(body["aud"]):
            return web.json_response({"status": {"error": "service account token has been invalidated"}}, status=201)
        extra = {"authentication.kubernetes.io/pod-uid": [uid]} if uid else {}
        user = {"username": body["sub"], "extra": extra}
        status = {"authenticated": True, "user": user, "audiences": [each for each in audiences if each in body["aud"]]}
        return web.json_response({"status": status}, status=201)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FakeApi]:
        """Serve; `place` is then the directory with our token and `ca.crt`."""
        app = web.Application(middlewares=[self._counted])
        app.router.add_get("/.well-known/openid-configuration", self._configuration)
        app.router.add_get("/openid/v1/jwks", self._jwks)
        app.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", self._review)
        authority = Authority("cluster")
        with tempfile.TemporaryDirectory() as directory:
            self.place = Path(directory)
            (self.place / "token").write_text(OURS)
            (self.place / "ca.crt").write_bytes(authority.certificate)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(
                runner, "127.0.0.1", 0, ssl_context=_tls(self.place, authority.sign(addresses=["127.0.0.1"]))
            )
            await site.start()
            self.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
            try:
                yield self
            finally:
                await runner.cleanup()

    def cluster(self, clock: FakeClock, *, own: Path | None = None, issuer: str = "") -> Cluster:
        """As a sidecar knows this cluster."""
        api = ApiServer(self.url, self.place)
        return Cluster(
            ClusterKeys(FromApi(api, issuer), clock),
            Reviews(api, AUDIENCE, clock),
            clock,
            audience=AUDIENCE,
            own=TokenFile(own) if own is not None else None,
        )


def _tls(place: Path, pair: Pair) -> ssl.SSLContext:
    (place / "server.pem").write_bytes(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "server.pem")
    return context
