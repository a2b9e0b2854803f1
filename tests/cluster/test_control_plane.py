"""The control plane that tests get is a real one."""

from __future__ import annotations

import pytest
from cluster.cluster import Cluster, Refused

AUDIENCE = "remit"


def test_the_api_server_serves_mutating_admission_policies(control_plane: Cluster) -> None:
    assert control_plane.request("GET", "/version").body["major"] == "1"
    served = control_plane.request("GET", "/apis/admissionregistration.k8s.io/v1").body["resources"]
    assert "mutatingadmissionpolicies" in {each["name"] for each in served}


def test_nobody_reads_without_being_known(control_plane: Cluster) -> None:
    """The planted bug of each test that says what may be read: who has a token may, who has none may not."""
    with control_plane.namespace() as namespace:
        token = control_plane.account_token("default", namespace=namespace, audience="https://kubernetes.default.svc")
        assert control_plane.request_as(token, "GET", "/openid/v1/jwks").status == 200
    assert control_plane.request_as("", "GET", "/openid/v1/jwks").status == 403
    assert control_plane.request_as("made up", "GET", "/openid/v1/jwks").status == 401


def test_a_token_is_good_for_its_audience_only(control_plane: Cluster) -> None:
    token = control_plane.account_token("default", audience=AUDIENCE)

    def reviewed(audience: str) -> bool:
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        answer = control_plane.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
        return bool(answer.body["status"].get("authenticated", False))

    assert reviewed(AUDIENCE)
    assert not reviewed("another")


def test_controllers_make_pods_and_a_server_side_dry_run_makes_none(control_plane: Cluster) -> None:
    pod = {"containers": [{"name": "main", "image": "remit.test/none:1"}]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "one"},
        "spec": {
            "selector": {"matchLabels": {"app": "one"}},
            "template": {"metadata": {"labels": {"app": "one"}}, "spec": pod},
        },
    }
    with control_plane.namespace() as namespace:
        (told,) = control_plane.apply(deployment, namespace=namespace, dry_run=True)
        assert told["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 30
        assert control_plane.get("deployment", "one", namespace=namespace) is None

        control_plane.apply(deployment, namespace=namespace)
        control_plane.kubectl("wait", "pod", "-l", "app=one", "-n", namespace, "--for=create", "--timeout=30s")


def test_what_the_server_does_not_know_is_refused(control_plane: Cluster) -> None:
    wrong = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "wrong"}, "spec": {"containerz": []}}
    with pytest.raises(Refused, match="containerz"):
        control_plane.apply(wrong)
