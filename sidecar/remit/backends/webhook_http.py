"""Events posted over HTTP, signed: whoever takes them knows from whom they are, from when, and that they are whole.

`Remit-Signature` is `v1=` and the HMAC-SHA256 (hex) of `TIMESTAMP.BODY` under the secret that both sides have;
`Remit-Timestamp` are seconds since the epoch, at which the attempt was made. The body is canonical JSON (RFC 8785).
Neither the secret nor the address is told in any message: the path of a chat tool's webhook is a secret of its own.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from remit.core.canonical import canonical
from remit.core.catalogue import Credential
from remit.ports import Vault, VaultFailed, WebhookFailed

LEAST_SECRET_BYTES = 32
MAX_BODY_BYTES = 64 * 1024
SECONDS = 5.0


class WebhookHttp:
    """Posts to one address, each time over a connection of its own."""

    def __init__(
        self, url: str, secret: bytes, *, seconds: float = SECONDS, now: Callable[[], float] = time.time
    ) -> None:
        if len(secret) < LEAST_SECRET_BYTES:
            raise ValueError(f"a secret of {len(secret)} bytes, expected at least {LEAST_SECRET_BYTES}")
        self._url = url
        self._host = urlsplit(url).hostname or ""
        self._secret = secret
        self._timeout = aiohttp.ClientTimeout(total=seconds)
        self._now = now

    async def post(self, event: Mapping[str, object]) -> None:
        """As the port says: taken is what is answered with 2xx. Nothing but the answer's status is read."""
        body = canonical(event)
        if len(body) > MAX_BODY_BYTES:
            raise WebhookFailed(f"the event has {len(body)} bytes, expected at most {MAX_BODY_BYTES}")
        try:
            status = await self._status(body)
        except TimeoutError as error:
            raise WebhookFailed(f"{self._host} did not answer in {self._timeout.total:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            # Its own words may repeat the address.
            raise WebhookFailed(f"{self._host} could not be asked ({type(error).__name__})") from None
        if not 200 <= status < 300:
            redirect = ", and redirects are not followed" if 300 <= status < 400 else ""
            raise WebhookFailed(f"{self._host} answered {status}{redirect}")

    async def _status(self, body: bytes) -> int:
        stamp = str(int(self._now()))
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "remit",
            "Remit-Timestamp": stamp,
            "Remit-Signature": signature(self._secret, stamp, body),
        }
        async with (
            aiohttp.ClientSession(
                timeout=self._timeout, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
            ) as session,
            session.post(self._url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            return response.status


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """What `Remit-Signature` says of a body that was sent at a time."""
    return f"v1={hmac.digest(secret, timestamp.encode() + b'.' + body, 'sha256').hex()}"


async def webhook(url: str, secret_file: Path, vault: Vault) -> WebhookHttp:
    """The webhook of the settings. Raises VaultFailed where the secret cannot be had, or is too short."""
    secret = await vault.secret(Credential(file=str(secret_file)))
    if len(secret.value) < LEAST_SECRET_BYTES:
        expected = f"at least {LEAST_SECRET_BYTES} bytes, such as `openssl rand -hex 32` makes"
        raise VaultFailed(secret.origin, found=f"{len(secret.value)} bytes", expected=expected)
    return WebhookHttp(url, secret.value)
