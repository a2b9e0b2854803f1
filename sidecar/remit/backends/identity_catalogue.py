"""Who is calling, by the catalogue: a token's hash, a name in a client certificate, or a person's name at the identity
provider is bound to one subject."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from remit.core.catalogue import Catalogue
from remit.core.catalogue import Identity as Bound
from remit.core.errors import Unauthenticated
from remit.core.evidence import Cause, Evidence, PeerCertificate, Proof, Proved
from remit.core.model import Identity, Mode, Subject
from remit.ports import Clock

OPERATOR = Subject("person", "operator", "", ("operator", "auditor"), Identity("local", "operator"))
"""Whoever holds the sidecar's own operator token, which lies in its state directory."""

_BUCKET = 8  # bytes of a token's hash that it is looked up by; the whole is then compared in constant time

Name = tuple[str, str]  # (uri, dns or fingerprint; the name)
Tokens = dict[bytes, tuple[tuple[bytes, Subject], ...]]
Names = dict[Name, tuple[Subject, ...]]


@dataclass(frozen=True, slots=True)
class _Bindings:
    """Who has which credential. One that several subjects have proves nobody."""

    tokens: Tokens
    names: Names
    oidc: Mapping[str, tuple[Subject, ...]]


class CatalogueIdentity:
    """Proves identities by the catalogue in force; `use` swaps it whole on a reload.

    `operator_hash` is "sha256:HEX" of the operator's token, "" for none.
    """

    def __init__(self, catalogue: Catalogue, clock: Clock, operator_hash: str = "") -> None:
        self._clock = clock
        self._operator_hash = operator_hash
        self.use(catalogue)

    def use(self, catalogue: Catalogue) -> None:
        """Take another catalogue, from the next call on."""
        operator = [(self._operator_hash, OPERATOR)] if self._operator_hash else []
        self._bindings = _Bindings(_tokens((*operator, *_hashes(catalogue))), _names(catalogue), _oidc(catalogue))
        self._pod = _pod(catalogue)

    def pod(self) -> Subject | None:
        """The one agent that everything on this sidecar's loopback is; None where the catalogue binds none, or two."""
        return self._pod

    def identify(self, evidence: Evidence) -> Subject:
        """The one subject that everything shown proves; raises Unauthenticated.

        A certificate that the catalogue does not know proves nobody, but does no harm beside a token: in a mesh
        every connection has one.
        """
        bindings = self._bindings
        if evidence.certificate is None:
            return _by_token(bindings.tokens, evidence.token)
        by_certificate = self._by_certificate(bindings.names, evidence.certificate)
        if not evidence.token:
            return by_certificate or _nobody("the client certificate is nobody's in the catalogue")
        by_token = _by_token(bindings.tokens, evidence.token)
        if by_certificate and _who(by_certificate) != _who(by_token):
            raise Unauthenticated(Cause.AMBIGUOUS, "the token and the client certificate name different subjects")
        return by_token

    def person(self, proof: Proof) -> Subject:
        """Whom the catalogue in force knows by what was proved at a sign-in; raises Unauthenticated.

        Asked anew at each request, so that who is no longer listed, or listed with another credential, is out.
        """
        if proof.by == Proved.OIDC:
            found: Sequence[Subject] = self._bindings.oidc.get(proof.value, ())
        else:
            found = _having(self._bindings.tokens, bytes.fromhex(proof.value.removeprefix("sha256:")))
        subject = _only(found, f"{proof.by} that was proved")
        return subject if subject.type == "person" else _nobody("the token is an agent's, and people alone sign in")

    def _by_certificate(self, names: Names, certificate: PeerCertificate) -> Subject | None:
        # TLS looked at the times when the connection began, which may be long ago.
        if not certificate.since <= self._clock.now() < certificate.until:
            raise Unauthenticated(Cause.EXPIRED, "the client certificate is outside its time")
        found = [subject for name in _shown(certificate) for subject in names.get(name, ())]
        if len({_who(each) for each in found}) > 1:
            raise Unauthenticated(Cause.AMBIGUOUS, "the client certificate names several subjects")
        return found[0] if found else None


def _by_token(tokens: Tokens, token: str) -> Subject:
    if not token:
        raise Unauthenticated(Cause.MISSING, "expected a token or a client certificate")
    return _only(_having(tokens, sha256(token.encode()).digest()), "token")


def _having(tokens: Tokens, shown: bytes) -> Sequence[Subject]:
    return [who for digest, who in tokens.get(shown[:_BUCKET], ()) if hmac.compare_digest(digest, shown)]


def _only(found: Sequence[Subject], what: str) -> Subject:
    if len(found) > 1:
        raise Unauthenticated(Cause.AMBIGUOUS, f"the {what} is that of several subjects")
    return found[0] if found else _nobody(f"the {what} is nobody's in the catalogue")


def _nobody(message: str) -> Subject:
    raise Unauthenticated(Cause.UNKNOWN, message)


def _who(subject: Subject) -> tuple[str, str]:
    return subject.type, subject.id


def _shown(certificate: PeerCertificate) -> Iterator[Name]:
    yield from (("uri", each) for each in certificate.uris)
    yield from (("dns", each) for each in certificate.dns)
    yield "fingerprint", certificate.fingerprint


def _hashes(catalogue: Catalogue) -> Iterator[tuple[str, Subject]]:
    for kind, id, bound in catalogue.identities():
        subject = subject_of(catalogue, kind, id, Identity("token", id))
        yield from ((each, subject) for each in bound.token_hashes)


def _tokens(hashes: Iterable[tuple[str, Subject]]) -> Tokens:
    found: Tokens = {}
    for text, subject in hashes:
        digest = bytes.fromhex(text.removeprefix("sha256:"))
        found[digest[:_BUCKET]] = (*found.get(digest[:_BUCKET], ()), (digest, subject))
    return found


def _names(catalogue: Catalogue) -> Names:
    found: Names = {}
    for kind, id, bound in catalogue.identities():
        for name in _listed(bound):
            subject = subject_of(catalogue, kind, id, Identity("mtls", name[1]))
            found[name] = (*found.get(name, ()), subject)
    return found


def _oidc(catalogue: Catalogue) -> Mapping[str, tuple[Subject, ...]]:
    found: dict[str, tuple[Subject, ...]] = {}
    for kind, id, bound in catalogue.identities():
        for name in bound.oidc:
            found[name] = (*found.get(name, ()), subject_of(catalogue, kind, id, Identity("oidc", name)))
    return found


def _listed(bound: Bound) -> Iterator[Name]:
    yield from (("uri", each) for each in bound.uris)
    yield from (("dns", each.lower()) for each in bound.dns)
    yield from (("fingerprint", each) for each in bound.fingerprints)


def _pod(catalogue: Catalogue) -> Subject | None:
    found = [id for kind, id, bound in catalogue.identities() if kind == "agent" and bound.pod]
    return subject_of(catalogue, "agent", found[0], Identity("pod", found[0])) if len(found) == 1 else None


def subject_of(catalogue: Catalogue, kind: str, id: str, identity: Identity) -> Subject:
    """A listed agent or person (`kind`) who proved to be it."""
    if kind == "person":
        return Subject("person", id, "", catalogue.people[id].roles, identity)
    agent = catalogue.agents[id]
    return Subject("agent", id, agent.team, agent.roles, identity, Mode(agent.mode), agent.isolation)
