"""A client certificate among an agent's other credentials at the egress."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote

import pytest
from listeners.certificates import DAY, Authority, Pair
from listeners.serving import CATALOGUE, SUPPORT, WRITER
from remit.backends.clock_system import SystemClock
from remit.backends.identity_catalogue import CatalogueIdentity
from remit.core.catalogue import Agent, Identity
from remit.core.egress.exchange import Duplicate, HttpRequest
from remit.core.errors import Unauthenticated
from remit.core.evidence import Cause
from remit.listeners.egress_peer import identify

AUTHORITY = Authority()
NAMED, NOBODYS = AUTHORITY.sign(uris=["spiffe://x/analyst"]), AUTHORITY.sign(uris=["spiffe://x/nobody"])
OLD = AUTHORITY.sign(uris=["spiffe://x/analyst"], before=2 * DAY, after=timedelta(seconds=-1))
KNOWN = {**CATALOGUE.agents, "analyst": Agent("cx", identity=Identity(uris=("spiffe://x/analyst",)))}
SHARED = replace(CATALOGUE, agents=KNOWN)
POD = replace(CATALOGUE, agents={**KNOWN, "pod": Agent("cx", identity=Identity(pod=True))})


def who(pair: Pair | str, *headers: tuple[str, str], proxied: bool = False, pod: bool = False) -> str:
    """The subject's id, or the cause why nobody was proved."""
    identities = CatalogueIdentity(POD if pod else SHARED, SystemClock())
    shown = pair if isinstance(pair, str) else quote(pair.certificate.decode(), safe="")
    request = HttpRequest("GET", "https", "x", "/", headers)
    try:
        return asyncio.run(identify(request, identities, "peer", proxied=proxied, certificate=shown)).id
    except Unauthenticated as error:
        return str(error.cause)


def test_a_certificate_outweighs_the_pod_and_one_that_is_nobodys_does_not() -> None:
    assert who(NAMED, pod=True) == "analyst"
    assert who(NOBODYS, pod=True) == "pod"
    assert who(NOBODYS) == Cause.UNKNOWN
    assert who("") == Cause.MISSING


@pytest.mark.parametrize("pod", [False, True], ids=["shared", "pod"])
@pytest.mark.parametrize(
    ("header", "proxied"),
    [
        ("remit-token", False),
        ("remit-token", True),
        ("authorization", False),
        ("x-api-key", False),
        ("api-key", False),
        ("x-goog-api-key", False),
        ("proxy-authorization", True),
    ],
)
def test_a_certificate_and_another_agent_s_token_are_nobody(header: str, proxied: bool, pod: bool) -> None:
    """Wherever the token is; beside one that is nobody's it is that agent's."""
    token = f"Bearer {SUPPORT}" if header.endswith("authorization") else SUPPORT
    assert who(NAMED, (header, token), proxied=proxied, pod=pod) == Cause.AMBIGUOUS
    assert who(NOBODYS, (header, token), proxied=proxied, pod=pod) == "support"


def test_a_key_that_is_nobodys_does_no_harm_beside_a_certificate_and_a_wrong_token_does() -> None:
    """Client libraries insist on a key; the token's own header is nothing that one has by accident."""
    assert who(NAMED, ("x-api-key", "remit")) == "analyst"
    assert who(NAMED, ("x-api-key", "remit"), ("authorization", f"Bearer {WRITER}")) == Cause.AMBIGUOUS
    assert who(NAMED, ("remit-token", "remit")) == Cause.UNKNOWN
    assert who(NAMED, ("remit-token", "")) == Cause.MALFORMED
    with pytest.raises(Duplicate):
        who(NAMED, ("x-api-key", "remit"), ("x-api-key", "remit"))


@pytest.mark.parametrize("pod", [False, True], ids=["shared", "pod"])
@pytest.mark.parametrize("headers", [(), (("remit-token", SUPPORT),), (("x-api-key", SUPPORT),)])
def test_a_certificate_outside_its_time_or_unreadable_is_refused_whatever_is_beside_it(
    headers: tuple[tuple[str, str], ...], pod: bool
) -> None:
    """Neither the token nor the pod makes it good."""
    assert who(OLD, *headers, pod=pod) == Cause.EXPIRED
    for wrong in ("-", "%00", "x" * 9000, quote(NAMED.certificate.decode()[:200]), quote(NAMED.key.decode())):
        assert who(wrong, *headers, pod=pod) == Cause.MALFORMED
