"""Who calls at the egress: by the agent's own credential, wherever a client library puts a key."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace

import pytest
from listeners.serving import CATALOGUE, OPERATOR, SUPPORT, WRITER, hashed
from remit.backends.clock_system import SystemClock
from remit.backends.identity_catalogue import CatalogueIdentity
from remit.core.catalogue import Agent, Identity
from remit.core.egress.exchange import Duplicate, HttpRequest
from remit.core.errors import Unauthenticated
from remit.core.evidence import Cause
from remit.listeners.egress_peer import KEY_HEADERS, identify

POD = replace(CATALOGUE, agents={**CATALOGUE.agents, "pod": Agent("cx", identity=Identity(pod=True))})
SIGV4 = "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu/bedrock/aws4_request, SignedHeaders=host, Signature=" + "a" * 64


def basic(token: str, name: str = "remit") -> str:
    return "Basic " + base64.b64encode(f"{name}:{token}".encode()).decode()


def who(*headers: tuple[str, str], proxied: bool = False, pod: bool = False) -> str:
    """The subject's id, or the cause why nobody was proved."""
    identities = CatalogueIdentity(POD if pod else CATALOGUE, SystemClock(), hashed(OPERATOR))
    try:
        request = HttpRequest("GET", "https", "x", "/", headers)
        return asyncio.run(identify(request, identities, "peer", proxied=proxied)).id
    except Unauthenticated as error:
        return str(error.cause)


@pytest.mark.parametrize("pod", [False, True], ids=["shared", "pod"])
@pytest.mark.parametrize(
    "header",
    [
        ("remit-token", SUPPORT),
        ("authorization", f"Bearer {SUPPORT}"),
        ("authorization", f"bearer {SUPPORT}"),
        ("authorization", basic(SUPPORT)),
        ("x-api-key", SUPPORT),
        ("api-key", SUPPORT),
        ("x-goog-api-key", SUPPORT),
    ],
    ids=lambda header: header[0],
)
def test_an_agent_s_token_proves_it_in_whichever_header_its_client_puts_keys(
    header: tuple[str, str], pod: bool
) -> None:
    assert who(header, pod=pod) == "support"


def test_the_token_header_outweighs_every_key_and_the_pod() -> None:
    """Also where the key is another agent's, or nobody's; and a wrong one is not outweighed by anything."""
    assert who(("authorization", f"Bearer {WRITER}"), ("remit-token", SUPPORT), pod=True) == "support"
    assert who(("x-api-key", "sk-nobody"), ("remit-token", SUPPORT)) == "support"
    for wrong, cause in (("nobody", Cause.UNKNOWN), ("", Cause.MALFORMED), ("a b", Cause.MALFORMED)):
        assert who(("remit-token", wrong), ("authorization", f"Bearer {SUPPORT}"), pod=True) == cause


def test_the_same_agent_twice_is_one_and_two_agents_are_ambiguous() -> None:
    """Official clients send one key in two headers; who sends two agents' is neither, in a pod as well."""
    assert who(("authorization", f"Bearer {SUPPORT}"), ("api-key", SUPPORT)) == "support"
    for pod in (False, True):
        assert who(("authorization", f"Bearer {SUPPORT}"), ("x-api-key", WRITER), pod=pod) == Cause.AMBIGUOUS


@pytest.mark.parametrize("name", ["remit-token", *KEY_HEADERS])
def test_a_credential_given_twice_is_none(name: str) -> None:
    """Which of two would count depends on who reads."""
    identities = CatalogueIdentity(POD, SystemClock(), hashed(OPERATOR))
    twice = ((name, f"Bearer {SUPPORT}"), (name, f"Bearer {SUPPORT}"))
    with pytest.raises(Duplicate):
        asyncio.run(identify(HttpRequest("GET", "https", "x", "/", twice), identities, "peer", proxied=False))


@pytest.mark.parametrize(
    ("header", "cause"),
    [
        (("authorization", "Bearer sk-nobody"), Cause.UNKNOWN),
        (("x-api-key", "sk-nobody"), Cause.UNKNOWN),
        (("authorization", SIGV4), Cause.UNKNOWN),  # AWS clients show their token as the key id
        (("authorization", SUPPORT), Cause.MISSING),
        (("authorization", f"Bearer  {SUPPORT}"), Cause.MISSING),
        (("authorization", "Basic !!!"), Cause.MISSING),
        (("authorization", "Basic " + base64.b64encode(b"\xff\xff:x").decode()), Cause.MISSING),
        (("cookie", SUPPORT), Cause.MISSING),
        (("x-api-key", SUPPORT + "\xe9"), Cause.MISSING),
    ],
    ids=lambda value: value[1][:12] if isinstance(value, tuple) else "",
)
def test_a_credential_that_is_nobody_s_proves_nobody_but_where_all_is_one_agent_s(
    header: tuple[str, str], cause: Cause
) -> None:
    """Client libraries insist on a key, whatever it says; so does a key id of AWS clients."""
    assert who(header) == cause
    assert who(header, pod=True) == "pod"


def test_two_agents_in_one_pod_are_no_pod() -> None:
    two = replace(POD, agents={**POD.agents, "second": Agent("cx", identity=Identity(pod=True))})
    assert asyncio.run(CatalogueIdentity(two, SystemClock()).pod()) is None


def test_at_the_proxy_the_proxy_s_credential_counts_and_the_upstream_s_does_not() -> None:
    """HTTP_PROXY=http://NAME:TOKEN@… is the token as a password; Authorization is meant for the upstream there."""
    for value in (basic(SUPPORT), basic(SUPPORT, "anything"), f"Bearer {SUPPORT}"):
        assert who(("proxy-authorization", value), ("authorization", f"Bearer {WRITER}"), proxied=True) == "support"
    assert who(("authorization", f"Bearer {SUPPORT}"), proxied=True) == Cause.MISSING
    assert who(("proxy-authorization", basic(SUPPORT))) == Cause.MISSING
    assert who(("remit-token", SUPPORT), ("proxy-authorization", basic(WRITER)), proxied=True) == "support"
    assert who(("proxy-authorization", basic("")), proxied=True) == Cause.MISSING
    assert who(("proxy-authorization", basic("nobody")), proxied=True) == Cause.UNKNOWN
