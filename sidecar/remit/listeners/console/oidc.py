"""Signing in at an identity provider: OpenID Connect's authorization code flow, with PKCE, state and nonce.

OpenID Connect Core 1.0 (§3.1), Discovery 1.0, RFC 7636 (S256), RFC 9207 (the issuer in the answer). What the provider
says is believed only where its signature, issuer, audience, times and nonce are right; of all that it says, one claim
is used, and looked up in the catalogue. Its access token is thrown away.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlsplit

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from remit.core.errors import Unauthenticated
from remit.core.evidence import Cause, Proof, Proved
from remit.listeners.ops import LOOPBACK

SECOND = 1_000_000_000
EXCHANGE_SECONDS = 15.0
MAX_ANSWER_BYTES = 256 * 1024
LEEWAY_SECONDS = 60
METADATA_SECONDS = 3600
AGAIN_SECONDS = 30
"""An unknown key has the provider's keys fetched anew, this often at most."""

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
"""Signatures by a key that only the provider has; never a shared secret, never none."""

_CODE = re.compile(r"[a-z_]{1,64}", re.ASCII)
_SPACES = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """A provider. `claim` is who somebody is in the catalogue: `email` only where the provider has verified it.

    `client_secret` "" is for a public client; `ca` a PEM file with who signs the provider's certificate (None: the
    system's authorities).
    """

    issuer: str
    client_id: str
    client_secret: str = ""
    claim: str = "email"
    ca: Path | None = None


class ProviderFailed(Exception):
    """The provider could not be asked, or is not what it should be; the message is for the log, not for a page."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """What ties one sign-in together: all three are secret but for the state, which travels."""

    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class _Metadata:
    authorization: str
    token: str
    keys: str
    says_issuer: bool
    basic: bool
    read: int


class Provider:
    """One provider. `redirect` is where it sends people back to; `now` is the time in ns."""

    def __init__(self, settings: OidcSettings, redirect: str, now: Callable[[], int]) -> None:
        self._settings = settings
        self._redirect = redirect
        self._now = now
        self._near = _is_near(settings.issuer)
        self._tls = ssl.create_default_context(cafile=settings.ca) if settings.ca else ssl.create_default_context()
        self._known: _Metadata | None = None
        self._keys: KeySet | None = None
        self._keys_read = 0
        self._address(settings.issuer, "issuer")

    async def begin(self, crossing: Crossing) -> str:
        """Where to send a browser. Raises ProviderFailed."""
        async with self._asking() as client:
            metadata = await self._metadata(client)
            url, _ = client.create_authorization_url(
                metadata.authorization, state=crossing.state, nonce=crossing.nonce, code_verifier=crossing.verifier
            )
            return str(url)

    async def finish(self, answer: Mapping[str, str], crossing: Crossing) -> Proof:
        """Who came back, by what the browser brought. Raises ProviderFailed, Unauthenticated."""
        async with self._asking() as client:
            metadata = await self._metadata(client)
            self._check_issuer(answer, metadata)
            if "error" in answer:
                # The provider's own words are anybody's who can make a link: no more than a code is repeated.
                known = _CODE.fullmatch(answer["error"])
                code = known[0] if known else "an error that is none of the standard's"
                raise Unauthenticated(Cause.MISSING, f"the identity provider answered {code}")
            if not answer.get("code"):
                raise Unauthenticated(Cause.MISSING, "the identity provider sent no code")
            token = await self._exchange(client, metadata, answer["code"], crossing.verifier)
            claims = await self._claims(client, metadata, token, crossing.nonce)
        return self._proof(claims)

    def _asking(self) -> _Asking:
        client = AsyncOAuth2Client(
            self._settings.client_id,
            self._settings.client_secret or None,
            scope="openid email" if self._settings.claim != "sub" else "openid",
            redirect_uri=self._redirect,
            code_challenge_method="S256",
            transport=_Bounded(verify=self._tls),
            timeout=httpx2.Timeout(EXCHANGE_SECONDS),
            follow_redirects=False,
            headers={"Accept-Encoding": "identity"},
        )
        return _Asking(client)

    async def _metadata(self, client: Any) -> _Metadata:
        now = self._now()
        if self._known is not None and now - self._known.read < METADATA_SECONDS * SECOND:
            return self._known
        found = await _json(client, f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self._settings.issuer:
            raise ProviderFailed(
                f"the provider says that it is {_shown(found.get('issuer'))}, expected {self._settings.issuer}"
            )
        methods = found.get("token_endpoint_auth_methods_supported")
        self._known = _Metadata(
            authorization=self._address(found.get("authorization_endpoint"), "authorization_endpoint"),
            token=self._address(found.get("token_endpoint"), "token_endpoint"),
            keys=self._address(found.get("jwks_uri"), "jwks_uri"),
            says_issuer=found.get("authorization_response_iss_parameter_supported") is True,
            basic=not isinstance(methods, list)
            or "client_secret_basic" in methods
            or "client_secret_post" not in methods,
            read=now,
        )
        return self._known

    def _address(self, url: object, name: str) -> str:
        """A URL over which secrets may go: https, or http on this machine where the issuer itself is there."""
        if isinstance(url, str) and (
            _scheme(url) == "https" or (_scheme(url) == "http" and self._near and _is_near(url))
        ):
            return url
        raise ProviderFailed(
            f"{name} is {_shown(url)}, expected https://… (http:// for a provider on this machine alone)"
        )

    def _check_issuer(self, answer: Mapping[str, str], metadata: _Metadata) -> None:
        issuer = answer.get("iss")
        if issuer is None and not metadata.says_issuer:
            return
        if issuer != self._settings.issuer:
            raise Unauthenticated(Cause.MISMATCH, "the answer is another identity provider's")

    async def _exchange(self, client: Any, metadata: _Metadata, code: str, verifier: str) -> Mapping[str, Any]:
        try:
            token = await client.fetch_token(
                metadata.token,
                grant_type="authorization_code",
                code=code,
                code_verifier=verifier,
                redirect_uri=self._redirect,
                auth=self._client_auth(client, metadata),
            )
        except AuthlibBaseError as error:
            if error.error == "invalid_grant":
                raise Unauthenticated(Cause.UNKNOWN, "the identity provider did not take its own code") from error
            raise ProviderFailed(f"token_endpoint answered {_shown(error)}") from error
        except ValueError as error:
            raise ProviderFailed(f"token_endpoint did not answer with a JSON object: {_shown(error)}") from error
        if not isinstance(token.get("id_token"), str):
            raise ProviderFailed("token_endpoint gave no id_token")
        return dict(token)

    def _client_auth(self, client: Any, metadata: _Metadata) -> Any:
        """How we prove to be the client. Within Basic both words are encoded as in a form (RFC 6749, 2.3.1)."""
        id, secret = self._settings.client_id, self._settings.client_secret
        if secret and metadata.basic:
            return httpx2.BasicAuth(quote_plus(id), quote_plus(secret))
        return client.client_auth("client_secret_post" if secret else "none")

    async def _claims(
        self, client: Any, metadata: _Metadata, token: Mapping[str, Any], nonce: str
    ) -> Mapping[str, Any]:
        """The claims of an id_token that is the provider's own, for us, of now and of this sign-in."""
        try:
            read = await self._verified(client, metadata, token["id_token"])
            claims = CodeIDToken(
                read.claims,
                read.header,
                {
                    "iss": {"essential": True, "value": self._settings.issuer},
                    "aud": {"essential": True, "value": self._settings.client_id},
                    "sub": {"essential": True},
                    "nonce": {"essential": True, "value": nonce},
                },
                {"nonce": nonce, "client_id": self._settings.client_id, "access_token": token.get("access_token")},
            )
            claims.validate(now=self._now() // SECOND, leeway=LEEWAY_SECONDS)
        except ExpiredTokenError as error:
            raise Unauthenticated(Cause.EXPIRED, "the id_token is over") from error
        except (JoseError, ValueError, TypeError, AttributeError) as error:
            raise Unauthenticated(Cause.MALFORMED, f"the id_token is not in order ({_shown(error)})") from error
        return dict(claims)

    async def _verified(self, client: Any, metadata: _Metadata, token: str) -> jwt.Token:
        registry = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
        keys = self._keys or await self._read_keys(client, metadata)
        try:
            return jwt.decode(token, keys, registry=registry)
        except InvalidKeyIdError:
            if self._now() - self._keys_read < AGAIN_SECONDS * SECOND:
                raise
        return jwt.decode(token, await self._read_keys(client, metadata), registry=registry)

    async def _read_keys(self, client: Any, metadata: _Metadata) -> KeySet:
        self._keys_read = self._now()
        found = await _json(client, metadata.keys)
        try:
            self._keys = KeySet.import_key_set({"keys": [each for each in found["keys"] if each.get("kty") != "oct"]})
        except (JoseError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProviderFailed(f"jwks_uri does not answer with keys: {_shown(error)}") from error
        return self._keys

    def _proof(self, claims: Mapping[str, Any]) -> Proof:
        name = claims.get(self._settings.claim)
        if not isinstance(name, str) or not name:
            raise Unauthenticated(Cause.MISSING, f"the id_token has no {self._settings.claim}")
        if self._settings.claim == "email" and claims.get("email_verified") is not True:
            raise Unauthenticated(Cause.UNKNOWN, "the identity provider has not verified the e-mail address")
        return Proof(Proved.OIDC, name)


class _Asking:
    """One sign-in's conversation with the provider, bounded in time; its failures are ProviderFailed."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._time = asyncio.timeout(EXCHANGE_SECONDS)

    async def __aenter__(self) -> Any:
        await self._time.__aenter__()
        return await self._client.__aenter__()

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        await self._client.__aexit__(kind, error, traceback)
        try:
            await self._time.__aexit__(kind, error, traceback)
        except TimeoutError as late:
            raise ProviderFailed(f"no answer within {EXCHANGE_SECONDS:g} s") from late
        if isinstance(error, httpx2.HTTPError | httpx2.InvalidURL):
            raise ProviderFailed(f"{type(error).__name__}: {_shown(error)}") from error


class _Bounded(httpx2.AsyncHTTPTransport):
    """Reads no more of an answer than a provider has to say."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        if "content-encoding" in response.headers:
            await response.aclose()
            raise httpx2.ReadError("a compressed answer, which was not asked for", request=request)
        response.stream = _BoundedStream(response.stream, request)
        return response


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: Any, request: httpx2.Request) -> None:
        self._stream = stream
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                raise httpx2.ReadError(f"an answer of more than {MAX_ANSWER_BYTES} bytes", request=self._request)
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _json(client: Any, url: str) -> Mapping[str, Any]:
    response = await client.request("GET", url, withhold_token=True)
    if response.status_code != 200:
        raise ProviderFailed(f"{url} answered {response.status_code}")
    try:
        found = response.json()
    except ValueError as error:
        raise ProviderFailed(f"{url} answered what is no JSON") from error
    if not isinstance(found, dict):
        raise ProviderFailed(f"{url} answered no JSON object")
    return found


def _scheme(url: str) -> str:
    """ "" for what is no URL with a host."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return parts.scheme.lower() if parts.hostname else ""


def _is_near(url: str) -> bool:
    return bool(_scheme(url)) and (urlsplit(url).hostname or "").lower() in LOOPBACK


def _shown(value: object) -> str:
    """Somebody else's words, for a log: short and on one line."""
    return _SPACES.sub(" ", str(value))[:200]
