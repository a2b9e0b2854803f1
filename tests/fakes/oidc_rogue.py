"""An identity provider that does as a test says: by default all is right, and each thing can be made wrong.

It is no provider to learn from: whoever asks is signed in, as whoever the test says.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT, SECRET = "remit-desk", "client:secret with/odd+characters"
Claims = dict[str, Any]
KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
NEW_KEY = RSAKey.generate_key(2048, {"kid": "two", "use": "sig", "alg": "RS256"})


def unsigned(claims: Claims) -> str:
    """A token that nobody signed."""
    return f"{_coded({'alg': 'none', 'kid': 'one'})}.{_coded(claims)}."


def by_public_key(claims: Claims) -> str:
    """A token signed with what everybody knows, as if the public key were a shared secret."""
    head = f"{_coded({'alg': 'HS256', 'kid': 'one'})}.{_coded(claims)}"
    made = hmac.new(KEY.as_pem(private=False), head.encode(), sha256).digest()
    return f"{head}.{base64.urlsafe_b64encode(made).decode().rstrip('=')}"


def by_client_secret(claims: Claims) -> str:
    """A token signed with the secret that the client shares."""
    return jwt.encode({"alg": "HS256", "kid": "one"}, claims, OctKey.import_key(SECRET), algorithms=["HS256"])


def signed(claims: Claims, key: RSAKey = KEY, **header: Any) -> str:
    """A token as it should be."""
    return jwt.encode({"alg": "RS256", "kid": key.kid, **header}, claims, key)


def with_extension(claims: Claims) -> str:
    """A token whose header says that it must be understood, which nobody does (RFC 7515, 4.1.11)."""
    head = f"{_coded({'alg': 'RS256', 'kid': 'one', 'crit': ['x'], 'x': 1})}.{_coded(claims)}"
    made = KEY.private_key.sign(head.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{head}.{base64.urlsafe_b64encode(made).decode().rstrip('=')}"


def tampered(claims: Claims) -> str:
    """A good signature, under other claims."""
    head, _, signature = signed({**claims, "email": "nobody@example.com"}).split(".")
    return f"{head}.{_coded(claims)}.{signature}"


def _coded(value: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@dataclass(slots=True)
class Rogue:
    """`sign` makes a token of claims, `changes` are made to claims (None takes one away), `discovered` to what it says
    of itself, `keys` are published. `token` answers in the place of the token endpoint."""

    now: Callable[[], int]
    port: int = 0
    claims: Claims = field(default_factory=lambda: {"email": "ana@example.com", "email_verified": True, "sub": "sub-1"})
    changes: Claims = field(default_factory=dict)
    discovered: Claims = field(default_factory=dict)
    sign: Callable[[Claims], str] = signed
    keys: list[Mapping[str, Any]] = field(default_factory=lambda: [KEY.as_dict(private=False)])
    token: Callable[[], web.Response] | None = None
    discovery: Callable[[], web.Response] | None = None
    asked: list[str] = field(default_factory=list)
    sent: list[Mapping[str, str]] = field(default_factory=list)
    _codes: dict[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, url: str, **more: str | None) -> str:
        """The query with which a browser comes back from an authorization URL: who was asked for is signed in."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query, strict_parsing=True).items()}
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        query = {"code": code, "state": asked["state"], **more}
        return urlencode({name: value for name, value in query.items() if value is not None})

    async def _discovery(self, request: web.Request) -> web.Response:
        self.asked.append("discovery")
        if self.discovery is not None:
            return self.discovery()
        said = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize?tenant=1",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            **self.discovered,
        }
        return web.json_response({name: value for name, value in said.items() if value is not None})

    async def _keys(self, request: web.Request) -> web.Response:
        self.asked.append("keys")
        return web.json_response({"keys": self.keys})

    async def _token(self, request: web.Request) -> web.Response:
        self.asked.append("token")
        if self.token is not None:
            return self.token()
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.sent.append(form)
        known = self._codes.pop(form.get("code", ""), None)
        posted = f"{form.get('client_id')}:{form['client_secret']}" if "client_secret" in form else ""
        shown = base64.b64decode(request.headers.get("Authorization", "").removeprefix("Basic ")).decode()
        verifier = sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).decode().rstrip("=")
        id, _, secret = shown.partition(":")  # both encoded as in a form (RFC 6749, 2.3.1)
        proved = f"{CLIENT}:{SECRET}" in (posted, f"{unquote_plus(id)}:{unquote_plus(secret)}")
        if known is None or not proved or known.get("code_challenge") != challenge:
            return web.json_response({"error": "invalid_grant", "error_description": "<script>"}, status=400)
        if known["redirect_uri"] != form.get("redirect_uri") or known["code_challenge_method"] != "S256":
            return web.json_response({"error": "invalid_request"}, status=400)
        seconds = self.now() // 1_000_000_000
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "exp": seconds + 300,
            "iat": seconds,
            "nonce": known["nonce"],
            **self.claims,
            **self.changes,
        }
        token = self.sign({name: value for name, value in claims.items() if value is not None})
        return web.json_response({"access_token": "access", "token_type": "bearer", "id_token": token})


@asynccontextmanager
async def rogue(now: Callable[[], int]) -> AsyncIterator[Rogue]:
    """One that listens."""
    found = Rogue(now)
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", found._discovery)
    app.router.add_get("/keys", found._keys)
    app.router.add_post("/token", found._token)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.port = runner.addresses[0][1]
    try:
        yield found
    finally:
        await runner.cleanup()
