"""Tokens that a real API server issues, as a sidecar looks at them, and what that server says of them later."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster.cluster import Cluster
from cluster.control_plane import ISSUER
from cluster.processes import wait
from remit.app.cluster import find_cluster
from remit.backends.clock_system import SystemClock
from remit.backends.identity_catalogue import CatalogueIdentity
from remit.config.kubernetes_settings import KubernetesSettings
from remit.core.catalogue import Agent, Catalogue, Identity
from remit.core.errors import Unauthenticated
from remit.core.evidence import Evidence
from remit.core.kubernetes import SECOND, ServiceAccount

AUDIENCE = "remit"


class Clock(SystemClock):
    """The time of day, and as much later as is said: what is kept for ten seconds is waited for by nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    def now(self) -> int:
        return super().now() + int(self.ahead * SECOND)


@dataclass
class Place:
    """A namespace with the accounts `support` and `payments`, of which the latter must be fresh."""

    cluster: Cluster
    namespace: str
    folder: Path
    clock: Clock

    def pod(self, name: str, account: str) -> None:
        """One that never runs: there is no node."""
        spec = {"serviceAccountName": account, "containers": [{"name": "main", "image": "remit.test/none:1"}]}
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}, namespace=self.namespace
        )

    def token(self, account: str, *, audience: str = AUDIENCE, pod: str = "") -> str:
        return self.cluster.account_token(account, namespace=self.namespace, audience=audience, pod=pod)

    def identity(self, own: str = "") -> CatalogueIdentity:
        """As a sidecar makes it; `own` is its pod's token."""
        token_file = self.folder / "own" if own else None
        if token_file is not None:
            token_file.write_text(own)
        settings = KubernetesSettings(api=self.cluster.url, credentials=self.folder, token_file=token_file)
        cluster = find_cluster(settings, {}, self.clock)
        assert cluster is not None
        asyncio.run(cluster.start())
        agents = {
            name: Agent("cx", identity=Identity(kubernetes=(ServiceAccount(self.namespace, name, fresh),)))
            for name, fresh in (("support", False), ("payments", True))
        }
        return CatalogueIdentity(Catalogue("EUR", agents=agents), self.clock, cluster=cluster)


def who(identity: CatalogueIdentity, token: str = "") -> str:
    """The agent, or the cause why it is nobody."""
    try:
        return asyncio.run(identity.identify(Evidence(token, None, "unix", near=True))).id
    except Unauthenticated as error:
        return str(error.cause)


@pytest.fixture
def place(control_plane: Cluster, tmp_path: Path) -> Iterator[Place]:
    with control_plane.namespace() as namespace:
        for account in ("support", "payments", "stranger"):
            control_plane.kubectl("create", "serviceaccount", account, "-n", namespace)
        made = Place(control_plane, namespace, tmp_path, Clock())
        (tmp_path / "token").write_text(made.token("support", audience=ISSUER))
        (tmp_path / "ca.crt").write_bytes(control_plane.ca.read_bytes())
        yield made


def test_a_token_for_remit_proves_its_account_and_the_api_server_s_own_does_not(place: Place) -> None:
    """Keys and issuer are those that the server tells of itself."""
    identity = place.identity()
    assert who(identity, place.token("support")) == "support"
    assert who(identity, place.token("support", audience=ISSUER)) == "unknown"
    assert who(identity, place.token("stranger")) == "unknown"
    token = place.token("support")
    assert who(identity, token[:-8] + "AAAAAAAA") == "unknown"


def test_in_a_pod_only_its_own_tokens_are_taken(place: Place) -> None:
    """Also not those of a pod of the same account."""
    for name in ("one", "two"):
        place.pod(name, "support")
    identity = place.identity(own=place.token("support", pod="one"))
    assert who(identity) == "support"
    assert who(identity, place.token("support", pod="one")) == "support"
    assert who(identity, place.token("support", pod="two")) == "mismatch"
    assert who(identity, place.token("support")) == "mismatch"


def test_a_deleted_pod_s_token_is_refused_where_it_must_be_fresh(place: Place) -> None:
    """First the sidecar may not ask, and so nobody is proved; then the pod is there, and at last it is not."""
    for account in ("support", "payments"):
        place.pod(account, account)
    support, payments = (place.token(each, pod=each) for each in ("support", "payments"))
    identity = place.identity()
    assert who(identity, payments) == "unavailable"

    review = ["--verb=create", "--resource=tokenreviews.authentication.k8s.io"]
    role = f"reviews-{place.namespace}"
    place.cluster.kubectl("create", "clusterrole", role, *review)
    try:
        bound = [f"--clusterrole={role}", f"--serviceaccount={place.namespace}:support"]
        place.cluster.kubectl("create", "clusterrolebinding", role, *bound)

        def later(token: str, found: str) -> bool:
            place.clock.ahead += 10
            return who(identity, token) == found

        wait("the pod's token is taken", lambda: later(payments, "payments"), 10, pause=1)
        for account in ("support", "payments"):
            place.cluster.kubectl("delete", "pod", account, "-n", place.namespace, "--grace-period=0", "--force")
        # The server itself remembers for ten seconds that a token was good.
        wait("the deleted pod's token is refused", lambda: later(payments, "revoked"), 30, pause=1)
        assert who(identity, support) == "support", "by its signature alone it is good until it ends"
    finally:
        place.cluster.kubectl("delete", "clusterrole", role)
        place.cluster.kubectl("delete", "clusterrolebinding", role, "--ignore-not-found")
