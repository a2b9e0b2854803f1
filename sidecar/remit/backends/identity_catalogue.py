"""Who is calling, by the catalogue: a token's hash, a name in a client certificate, an account in a cluster, or a
person's name at the identity provider is bound to one subject.

In a pod of a cluster every agent is the pod's own, by the pod's token: who shows nothing is, and what names another
agent, or is another pod's, is refused.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from remit.backends.identity_kubernetes import Cluster
from remit.backends.kubernetes_tokens import is_token
from remit.core.catalogue import Catalogue
from remit.core.catalogue import Identity as Bound
from remit.core.errors import Unauthenticated
from remit.core.evidence import Cause, Evidence, PeerCertificate, Proof, Proved
from remit.core.kubernetes import Claims, ServiceAccount
from remit.core.model import Identity, Mode, Subject
from remit.ports import Clock

OPERATOR = Subject("person", "operator", "", ("operator", "auditor"), Identity("local", "operator"))
"""Whoever holds the sidecar's own operator token, which lies in its state directory."""

_BUCKET = 8  # bytes of a token's hash that it is looked up by; the whole is then compared in constant time

Name = tuple[str, str]  # (uri, dns or fingerprint; the name)
Tokens = dict[bytes, tuple[tuple[bytes, Subject], ...]]
Names = dict[Name, tuple[Subject, ...]]
Accounts = Mapping[str, tuple[tuple[Subject, ServiceAccount], ...]]


@dataclass(frozen=True, slots=True)
class _Bindings:
    """Who has which credential. One that several subjects have proves nobody."""

    tokens: Tokens
    names: Names
    oidc: Mapping[str, tuple[Subject, ...]]
    accounts: Accounts


class CatalogueIdentity:
    """Proves identities by the catalogue in force; `use` swaps it whole on a reload.

    `operator_hash` is "sha256:HEX" of the operator's token, "" for none. `cluster` proves service accounts; without
    one nobody has any.
    """

    def __init__(
        self, catalogue: Catalogue, clock: Clock, operator_hash: str = "", cluster: Cluster | None = None
    ) -> None:
        self._clock = clock
        self._operator_hash = operator_hash
        self._cluster = cluster
        self.use(catalogue)

    def use(self, catalogue: Catalogue) -> None:
        """Take another catalogue, from the next call on."""
        operator = [(self._operator_hash, OPERATOR)] if self._operator_hash else []
        tokens = _tokens((*operator, *_hashes(catalogue)))
        self._bindings = _Bindings(tokens, _names(catalogue), _oidc(catalogue), _accounts(catalogue))
        self._pod = _pod(catalogue)

    async def pod(self) -> Subject | None:
        """The one agent that everything on this sidecar's loopback is; None where the catalogue binds none, or two.

        Raises Unauthenticated where it is a cluster's pod, and that proves nobody now.
        """
        if self._cluster is not None and self._cluster.in_pod:
            return await self._own(self._cluster)
        return self._pod

    async def identify(self, evidence: Evidence) -> Subject:
        """The one subject that everything shown proves; raises Unauthenticated.

        A certificate that the catalogue does not know proves nobody, but does no harm beside a token: in a mesh
        every connection has one.
        """
        cluster = self._cluster
        if cluster is None or not cluster.in_pod:
            return await self._shown(evidence)
        try:
            subject = await self._shown(evidence)
        except Unauthenticated as error:
            if evidence.token or not evidence.near or error.cause not in (Cause.MISSING, Cause.UNKNOWN):
                raise
            return await self._own(cluster)
        if subject.type == "agent":
            own = await self._own(cluster)
            if own.id != subject.id:
                raise Unauthenticated(Cause.MISMATCH, f"{subject.id} was proved, and this is the pod of {own.id}")
        return subject

    async def _shown(self, evidence: Evidence) -> Subject:
        bindings = self._bindings
        if evidence.certificate is None:
            return await self._by_token(bindings, evidence.token)
        by_certificate = self._by_certificate(bindings.names, evidence.certificate)
        if not evidence.token:
            return by_certificate or _nobody("the client certificate is nobody's in the catalogue")
        by_token = await self._by_token(bindings, evidence.token)
        if by_certificate and _who(by_certificate) != _who(by_token):
            raise Unauthenticated(Cause.AMBIGUOUS, "the token and the client certificate name different subjects")
        return by_token

    async def _by_token(self, bindings: _Bindings, token: str) -> Subject:
        if not token:
            raise Unauthenticated(Cause.MISSING, "expected a token or a client certificate")
        found = _having(bindings.tokens, sha256(token.encode()).digest())
        cluster = self._cluster
        if found or cluster is None or not bindings.accounts or not is_token(token):
            return _only(found, "token")
        claims = await cluster.prove(token)
        if cluster.in_pod and claims.pod != (await cluster.own())[1].pod:
            raise Unauthenticated(Cause.MISMATCH, "the token is another pod's")
        return await _account(cluster, bindings.accounts, token, claims)

    async def _own(self, cluster: Cluster) -> Subject:
        return await _account(cluster, self._bindings.accounts, *await cluster.own())

    @property
    def problem(self) -> str:
        """Why the pod that this sidecar is in is nobody, as of a moment ago; "" where it is somebody, or in none."""
        cluster = self._cluster
        if cluster is None or not cluster.in_pod:
            return ""
        if cluster.problem:
            return cluster.problem
        return "" if cluster.account in self._bindings.accounts else f"{cluster.account} is no agent of the catalogue's"

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


async def _account(cluster: Cluster, accounts: Accounts, token: str, claims: Claims) -> Subject:
    """Whose account a token is of; where that is demanded, only while the cluster vouches for it."""
    found = accounts.get(claims.subject, ())
    subject = _only([each for each, _ in found], f"account {claims.subject}")
    if any(bound.fresh for _, bound in found):
        await cluster.check(token, claims)
    return subject


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


def _accounts(catalogue: Catalogue) -> Accounts:
    found: dict[str, tuple[tuple[Subject, ServiceAccount], ...]] = {}
    for kind, id, identity in catalogue.identities():
        for each in identity.kubernetes:
            subject = subject_of(catalogue, kind, id, Identity("kubernetes", each.subject))
            found[each.subject] = (*found.get(each.subject, ()), (subject, each))
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
