"""The few things that a cluster's API server is asked: its keys, who signs its tokens, whether one is still good.

With the sidecar's own token, over TLS by the cluster's authority; both are read anew for each request, because the
kubelet rotates them. Nothing that was shown is ever in a message.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from remit.backends.kubernetes_tokens import MAX_JWKS_BYTES

SECONDS = 3.0
MAX_ANSWER_BYTES = 64 * 1024
MAX_TOKEN_BYTES = 16 * 1024
MAX_CA_BYTES = 1 << 20
KEYS = "/openid/v1/jwks"
CONFIGURATION = "/.well-known/openid-configuration"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"

POD_UID = "authentication.kubernetes.io/pod-uid"


class ApiFailed(Exception):
    """The API server could not be asked, or did not answer with what it was asked for."""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What the API server says of a token: whether it is good for the audience, and whose it is."""

    good: bool
    subject: str = ""
    pod: str = ""


class ApiServer:
    """One API server. `credentials` is the directory of our `token` and of `ca.crt`, who signs its certificate."""

    def __init__(self, url: str, credentials: Path, *, seconds: float = SECONDS) -> None:
        self._url = url.rstrip("/")
        self._credentials = credentials
        self._timeout = aiohttp.ClientTimeout(total=seconds)
        self._tls: tuple[bytes, ssl.SSLContext] | None = None

    async def keys(self) -> bytes:
        """The JWK Set of its signing keys. Raises ApiFailed."""
        return await self._ask("GET", KEYS, most=MAX_JWKS_BYTES)

    async def issuer(self) -> str:
        """Who its tokens are issued by. Its `jwks_uri` is not followed: that may be an address outside. ApiFailed."""
        found = _object(CONFIGURATION, await self._ask("GET", CONFIGURATION)).get("issuer")
        if not isinstance(found, str) or not found:
            raise ApiFailed(f"{CONFIGURATION} names no issuer")
        return found

    async def review(self, token: str, audience: str) -> Reviewed:
        """Whether the cluster vouches for a token now. Raises ApiFailed."""
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        answer = _object(REVIEWS, await self._ask("POST", REVIEWS, body=json.dumps(asked).encode()))
        status = answer.get("status")
        if not isinstance(status, dict):
            raise ApiFailed(f"{REVIEWS} answered no status")
        audiences = status.get("audiences")
        # One that leaves audiences out does not know of them, and so has not looked (KEP-1205).
        if status.get("authenticated") is not True or not isinstance(audiences, list) or audience not in audiences:
            return Reviewed(False)
        user = status.get("user")
        user = user if isinstance(user, dict) else {}
        extra = user.get("extra")
        uids = extra.get(POD_UID) if isinstance(extra, dict) else None
        pod = uids[0] if isinstance(uids, list) and len(uids) == 1 else ""
        return Reviewed(True, str(user.get("username", "")), str(pod))

    async def _ask(self, method: str, path: str, *, body: bytes | None = None, most: int = MAX_ANSWER_BYTES) -> bytes:
        token, tls = await asyncio.to_thread(self._own)
        headers = {
            "Accept": "application/json, application/jwk-set+json",
            "Accept-Encoding": "identity",
            "Authorization": f"Bearer {token}",
            "User-Agent": "remit",
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=self._timeout,
                    trust_env=False,
                    auto_decompress=False,
                    cookie_jar=aiohttp.DummyCookieJar(),
                ) as session,
                session.request(
                    method, self._url + path, data=body, headers=headers, ssl=tls, allow_redirects=False
                ) as answer,
            ):
                if answer.status not in (200, 201):
                    raise ApiFailed(f"{path} answered {answer.status}{_why(answer.status)}")
                return await _body(answer, path, most)
        except TimeoutError:
            raise ApiFailed(f"no answer within {self._timeout.total:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ApiFailed(f"{path} could not be asked ({_brief(error)})") from None

    def _own(self) -> tuple[str, ssl.SSLContext]:
        try:
            token = _read(self._credentials / "token", MAX_TOKEN_BYTES).decode("ascii").strip()
            authority = _read(self._credentials / "ca.crt", MAX_CA_BYTES)
            if self._tls is None or self._tls[0] != authority:
                context = ssl.create_default_context(cadata=authority.decode("ascii"))
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                self._tls = (authority, context)
        except OSError as error:  # an SSLError is one
            raise ApiFailed(f"{self._credentials}: {error.strerror or type(error).__name__}") from None
        except ValueError:
            raise ApiFailed(f"{self._credentials}: expected a token in `token` and PEM in `ca.crt`") from None
        if not token or not token.isprintable():
            raise ApiFailed(f"{self._credentials}: expected a token in `token`")
        return token, self._tls[1]


def _read(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise ValueError(f"{path} has more than {most} bytes")
    return found


async def _body(answer: aiohttp.ClientResponse, path: str, most: int) -> bytes:
    found = bytearray()
    async for part in answer.content.iter_any():
        found += part
        if len(found) > most:
            raise ApiFailed(f"{path} answered more than {most} bytes")
    return bytes(found)


def _object(path: str, raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ApiFailed(f"{path} answered no JSON object")
    return found


def _why(status: int) -> str:
    return {
        401: ": it does not take the sidecar's own token",
        403: ": the sidecar's service account may not ask this",
    }.get(status, "")


def _brief(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not signed by ca.crt, or is for another name"
    return type(error).__name__
