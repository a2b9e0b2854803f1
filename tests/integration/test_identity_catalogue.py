"""Tokens and certificates against the catalogue: one subject or none."""

from __future__ import annotations

import asyncio
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remit.backends.clock_system import SystemClock
from remit.backends.identity_catalogue import CatalogueIdentity
from remit.core.catalogue import Agent, Catalogue, Identity, Person
from remit.core.errors import Unauthenticated
from remit.core.evidence import Evidence, PeerCertificate, Proof, Proved
from remit.core.model import Subject

FOREVER = 2**63 - 1


def hashed(token: str) -> str:
    return f"sha256:{sha256(token.encode()).hexdigest()}"


def identities(operator: str = "", **agents: Identity) -> CatalogueIdentity:
    catalogue = Catalogue("EUR", agents={name: Agent("t", identity=each) for name, each in agents.items()})
    return CatalogueIdentity(catalogue, SystemClock(), operator)


def known(identity: CatalogueIdentity, evidence: Evidence) -> Subject:
    return asyncio.run(identity.identify(evidence))


def cause(identity: CatalogueIdentity, evidence: Evidence) -> str:
    with pytest.raises(Unauthenticated) as caught:
        known(identity, evidence)
    return caught.value.cause


def token(text: str) -> Evidence:
    return Evidence(text, None, "unix")


def certificate(*, uris: tuple[str, ...] = (), dns: tuple[str, ...] = (), token: str = "") -> Evidence:
    return Evidence(token, PeerCertificate(uris, dns, "sha256:" + "0" * 64, 0, FOREVER), "ipv4:127.0.0.1")


def test_a_token_may_be_changed_without_a_gap() -> None:
    """Both of an agent's tokens are good while the catalogue lists both."""
    identity = identities(a=Identity((hashed("old"), hashed("new"))))

    assert {known(identity, token(each)).id for each in ("old", "new")} == {"a"}


def test_a_credential_of_two_proves_nobody() -> None:
    """Whoever let that happen: it fails closed."""
    shared = Identity((hashed("t"),), uris=("spiffe://x",))
    identity = identities(a=shared, b=shared)

    assert cause(identity, token("t")) == "ambiguous"
    assert cause(identity, certificate(uris=("spiffe://x",))) == "ambiguous"


def test_an_agent_and_a_person_of_one_name_are_two() -> None:
    """A token of the person beside a certificate of the agent is refused."""
    catalogue = Catalogue(
        "EUR",
        agents={"ana": Agent("t", identity=Identity(uris=("spiffe://ana",)))},
        people={"ana": Person((), Identity((hashed("t"),)))},
    )
    identity = CatalogueIdentity(catalogue, SystemClock())

    assert cause(identity, certificate(uris=("spiffe://ana",), token="t")) == "ambiguous"


def test_the_operators_token_is_nobody_elses() -> None:
    """A catalogue that gives an agent the operator's token makes it nobody's."""
    identity = identities(hashed("op"), a=Identity((hashed("op"),)))

    assert cause(identity, token("op")) == "ambiguous"


def test_without_an_operator_there_is_none() -> None:
    """No hash, no operator: the empty token is nobody's either."""
    identity = identities()

    assert cause(identity, token("op")) == "unknown"
    assert cause(identity, token("")) == "missing"


def test_a_certificate_with_two_names_of_one_agent_is_that_agent() -> None:
    """They do not contradict each other."""
    identity = identities(a=Identity(uris=("spiffe://a",), dns=("A.example",)))

    assert known(identity, certificate(uris=("spiffe://a",), dns=("a.example",))).id == "a"


def test_a_certificate_that_is_not_yet_good_proves_nobody() -> None:
    """As one that is no longer."""
    identity = identities(a=Identity(uris=("spiffe://a",)))
    future = PeerCertificate(("spiffe://a",), (), "", FOREVER - 1, FOREVER)

    assert cause(identity, Evidence("", future, "")) == "expired"


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60))
def test_only_the_token_itself_is_good(guess: str) -> None:
    """No other text, and never its hash."""
    identity = identities(a=Identity((hashed("the-token"),)))

    if guess != "the-token":
        assert cause(identity, token(guess)) == "unknown"


def test_tokens_whose_hashes_begin_alike_are_told_apart() -> None:
    """The lookup is by a part of the hash, the proof by all of it."""
    good = hashed("t")
    twin = good[:-2] + ("00" if good[-2:] != "00" else "11")
    identity = identities(a=Identity((good,)), b=Identity((twin,)))

    assert known(identity, token("t")).id == "a"


def person_cause(identity: CatalogueIdentity, by: Proved, value: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        identity.person(Proof(by, value))
    return caught.value.cause


def test_what_a_person_proved_is_asked_again_of_the_catalogue_in_force() -> None:
    """By the token's hash or the name at the provider, exactly; roles are those of now; an agent is no person."""
    catalogue = Catalogue(
        "EUR",
        agents={"a": Agent("t", identity=Identity((hashed("agent"),)))},
        people={"ana": Person(("auditor",), Identity((hashed("t"),), oidc=("ana@example.com", "sub-1")))},
    )
    identity = CatalogueIdentity(catalogue, SystemClock(), hashed("op"))

    for by, value in ((Proved.TOKEN, hashed("t")), (Proved.OIDC, "ana@example.com"), (Proved.OIDC, "sub-1")):
        assert identity.person(Proof(by, value)).id == "ana"
    assert identity.person(Proof(Proved.TOKEN, hashed("op"))).id == "operator"
    assert identity.person(Proof(Proved.OIDC, "sub-1")).identity.method == "oidc"
    for name in ("Ana@example.com", "ana@example.com ", "", hashed("t")):
        assert person_cause(identity, Proved.OIDC, name) == "unknown"
    assert person_cause(identity, Proved.TOKEN, hashed("agent")) == "unknown"
    assert person_cause(identity, Proved.TOKEN, hashed("x")) == "unknown"

    identity.use(Catalogue("EUR", people={"ana": Person((), Identity((hashed("t"),)))}))
    assert identity.person(Proof(Proved.TOKEN, hashed("t"))).roles == ()
    assert person_cause(identity, Proved.OIDC, "ana@example.com") == "unknown"


def test_a_name_at_the_provider_that_two_have_is_nobodys() -> None:
    """As with any credential."""
    both = Person(("auditor",), Identity(oidc=("x",)))
    identity = CatalogueIdentity(Catalogue("EUR", people={"ana": both, "bo": both}), SystemClock())

    assert person_cause(identity, Proved.OIDC, "x") == "ambiguous"
