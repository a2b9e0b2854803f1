"""Who calls at the egress: the agent's own credential, wherever its client library puts a key.

In this order: the client certificate of the connection; `Remit-Token`; the token in a provider's key header (an
agent's `OPENAI_API_KEY` simply is its Remit token), or at the forward proxy in `Proxy-Authorization`; else, where the
sidecar's catalogue binds exactly one agent to it, that agent. A credential that is nobody's proves nobody, except where
a certificate names an agent or everything here is one agent's anyway: client libraries insist on a key, whatever it
says. One that is another agent's than the certificate is refused, and in a cluster's pod one of another agent or pod.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from remit.core.egress.exchange import HttpRequest
from remit.core.errors import Unauthenticated
from remit.core.evidence import Cause, Evidence, PeerCertificate
from remit.core.model import Subject
from remit.listeners.grpc_peer import read_certificate
from remit.listeners.pipeline import Identities

TOKEN = "remit-token"  # noqa: S105 (a header's name)
KEY_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
PROXY = "proxy-authorization"

_TOKEN = re.compile(r"[!-~]{1,4096}", re.ASCII)
_BEARER = re.compile(r"[Bb]earer ([!-~]{1,4096})", re.ASCII)
# What an AWS client makes of AWS_ACCESS_KEY_ID. Its signature proves nothing here: the id is the token.
_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([!-~]{1,4096})/[0-9]{8}/[a-z0-9-]{1,64}/[a-z0-9-]{1,64}/aws4_request,[ -~]*",
    re.ASCII,
)
_BASIC = re.compile(r"[Bb]asic ([A-Za-z0-9+/=]{1,8192})", re.ASCII)


async def identify(
    request: HttpRequest, identities: Identities, peer: str, *, proxied: bool, certificate: str = ""
) -> Subject:
    """The subject that the request proves; `certificate` is that of its connection: PEM, percent-encoded, "" for none.

    Raises Unauthenticated, and Duplicate for a credential given twice.
    """
    shown = read_certificate(unquote_to_bytes(certificate)) if certificate else None
    own = request.header(TOKEN)
    if own is not None:
        if not _TOKEN.fullmatch(own):
            raise Unauthenticated(Cause.MALFORMED, f"expected a token of printable characters in {TOKEN}")
        return await identities.identify(Evidence(own, shown, peer))
    pod = await identities.pod()
    named = await _by_certificate(identities, shown, peer) if shown is not None else None
    found = {(named.type, named.id): named} if named is not None else {}
    refused: Unauthenticated | None = None
    for token in _tokens(request, proxied=proxied):
        try:
            subject = await identities.identify(Evidence(token, None, peer))
        except Unauthenticated as error:
            if error.cause == Cause.MISMATCH:
                raise
            refused = error
        else:
            found[subject.type, subject.id] = subject
    if len(found) > 1:
        raise Unauthenticated(Cause.AMBIGUOUS, "the request has the credentials of several subjects")
    if found:
        return next(iter(found.values()))
    if pod is not None:
        return pod
    if shown is not None and refused is None:
        raise Unauthenticated(Cause.UNKNOWN, "the client certificate is nobody's, and no token is beside it")
    where = "as the password of the proxy's URL" if proxied else f"in {TOKEN} or as its API key"
    raise refused or Unauthenticated(Cause.MISSING, f"expected the agent's token {where}")


async def _by_certificate(identities: Identities, certificate: PeerCertificate, peer: str) -> Subject | None:
    """Whom it names, None where it is nobody's: then it does no harm."""
    try:
        return await identities.identify(Evidence("", certificate, peer))
    except Unauthenticated as error:
        if error.cause is Cause.UNKNOWN:
            return None
        raise


def _tokens(request: HttpRequest, *, proxied: bool) -> Iterator[str]:
    for name in (PROXY,) if proxied else KEY_HEADERS:
        value = request.header(name)
        if value is not None:
            yield from _token(name, value)


def _token(name: str, value: str) -> Iterator[str]:
    if name in ("authorization", PROXY):
        if bearer := _BEARER.fullmatch(value):
            yield bearer[1]
        elif signed := _SIGNED.fullmatch(value):
            yield signed[1]
        elif basic := _BASIC.fullmatch(value):
            # What HTTP_PROXY=http://NAME:TOKEN@… becomes: the token is the password.
            try:
                text = base64.b64decode(basic[1], validate=True).decode("ascii")
            except (binascii.Error, UnicodeDecodeError):
                return
            password = text.partition(":")[2]
            if _TOKEN.fullmatch(password):
                yield password
    elif _TOKEN.fullmatch(value):
        yield value
