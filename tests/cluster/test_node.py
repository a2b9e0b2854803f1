"""Pods really run on the node that tests get."""

from __future__ import annotations

from typing import Any

import pytest
from cluster.cluster import Refused
from cluster.node import Node
from cluster.processes import wait

PORT = 7450
ADDRESS = f"127.0.0.1:{PORT}"
HARDENED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 7450,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def pod(name: str, *, sidecars: list[Any], containers: list[Any], **more: Any) -> dict[str, Any]:
    spec = {"initContainers": sidecars, "containers": containers, "terminationGracePeriodSeconds": 20, **more}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def sidecar(image: str, address: str = ADDRESS) -> dict[str, Any]:
    return {
        "name": "sidecar",
        "image": image,
        "args": ["sidecar", address],
        "restartPolicy": "Always",
        "startupProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1, "failureThreshold": 30},
        "securityContext": HARDENED,
        "volumeMounts": [{"name": "token", "mountPath": "/var/run/remit"}],
    }


def token_volume(audience: str) -> dict[str, Any]:
    source = {"serviceAccountToken": {"audience": audience, "path": "token"}}
    return {"name": "token", "projected": {"sources": [source]}}


def events(written: str) -> list[tuple[int, str]]:
    """When and what, of each line that the probe wrote."""
    split = (line.split(" ", 1) for line in written.splitlines())
    return [(int(when), what) for when, what in split]


def test_a_native_sidecar_is_there_before_the_agent_starts_and_until_it_has_ended(node: Node, probe: str) -> None:
    cluster = node.cluster
    agent = {"name": "agent", "image": probe, "args": ["agent", ADDRESS]}
    # The startup probe comes from the node: it dials the pod's address.
    first = sidecar(probe, f"0.0.0.0:{PORT}")
    with cluster.namespace() as namespace:
        made = pod("one", sidecars=[first], containers=[agent], volumes=[token_volume("remit")])
        cluster.apply(made, namespace=namespace)
        running = cluster.pod_ready("one", namespace=namespace)
        logs = [cluster.follow("one", each, namespace=namespace) for each in ("sidecar", "agent")]
        node.place.dial(running["status"]["podIP"], PORT).close()

        cluster.kubectl("delete", "pod", "one", "-n", namespace, "--wait=false")
        wait("both logs end", lambda: all("ended" in log.read_text().split() for log in logs), 60)
        cluster.pod_gone("one", namespace=namespace)

    sidecars, agents = (events(log.read_text()) for log in logs)
    assert [what for _, what in sidecars] == ["sidecar started", "sidecar listens", "sidecar ended"]
    reached = "agent reached"
    assert [what for _, what in agents] == ["agent started", reached, "agent told to end", reached, "agent ended"]
    assert sidecars[1] < agents[0]
    assert agents[-1] < sidecars[-1]


def test_beside_a_plain_container_nothing_is_kept_in_order(node: Node, probe: str) -> None:
    """The planted bug: the same two as equals. The agent dials before there is anyone, so the order above is real."""
    cluster = node.cluster
    plain = {"name": "sidecar", "image": probe, "args": ["sidecar", ADDRESS]}
    agent = {"name": "agent", "image": probe, "args": ["agent", ADDRESS]}
    with cluster.namespace() as namespace:
        cluster.apply(pod("equals", sidecars=[], containers=[agent, plain]), namespace=namespace)
        cluster.pod_ready("equals", namespace=namespace)
        wait("it has dialled", lambda: len(cluster.logs("equals", "agent", namespace=namespace).splitlines()) > 1, 20)
        assert "agent refused" in cluster.logs("equals", "agent", namespace=namespace)


def test_the_token_of_a_pod_names_it_and_is_good_for_its_audience_only(node: Node, probe: str) -> None:
    cluster = node.cluster
    with cluster.namespace() as namespace:
        only = {**sidecar(probe, f"0.0.0.0:{PORT}"), "name": "only"}
        del only["restartPolicy"]
        cluster.apply(
            pod("bearer", sidecars=[], containers=[only], volumes=[token_volume("remit")]), namespace=namespace
        )
        cluster.pod_ready("bearer", namespace=namespace)
        told = cluster.execute("bearer", "only", "/probe", "read", "/var/run/remit/token", namespace=namespace)
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": told.strip(), "audiences": ["remit"]},
        }
        status = cluster.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review).body["status"]
        assert status["authenticated"]
        assert status["user"]["username"] == f"system:serviceaccount:{namespace}:default"
        assert status["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["bearer"]
        assert cluster.request_as(told.strip(), "GET", "/openid/v1/jwks").status == 401


def test_memory_is_limited_and_a_read_only_root_is(node: Node, probe: str) -> None:
    cluster = node.cluster
    greedy = {"name": "greedy", "image": probe, "args": ["eat"], "resources": {"limits": {"memory": "64Mi"}}}
    quiet = {"name": "quiet", "image": probe, "args": ["pause"], "securityContext": HARDENED}
    with cluster.namespace() as namespace:
        cluster.apply(pod("greedy", sidecars=[], containers=[greedy], restartPolicy="Never"), namespace=namespace)
        cluster.apply(pod("quiet", sidecars=[], containers=[quiet]), namespace=namespace)
        ended = cluster.pod_phase("greedy", "Failed", namespace=namespace)
        assert ended["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "OOMKilled"
        cluster.pod_ready("quiet", namespace=namespace)
        with pytest.raises(Refused, match="read-only file system"):
            cluster.execute("quiet", "quiet", "/probe", "write", "/there", "text", namespace=namespace)


def test_a_pod_reaches_the_api_server_and_nothing_outside_is_reached(node: Node, probe: str) -> None:
    cluster = node.cluster
    agent = {"name": "agent", "image": probe, "args": ["agent", "$(KUBERNETES_SERVICE_HOST):443"]}
    with cluster.namespace() as namespace:
        cluster.apply(pod("asks", sidecars=[], containers=[agent]), namespace=namespace)
        cluster.pod_ready("asks", namespace=namespace)
        wait("it has dialled", lambda: len(cluster.logs("asks", "agent", namespace=namespace).splitlines()) > 1, 20)
        assert "agent reached" in cluster.logs("asks", "agent", namespace=namespace)
    with pytest.raises(OSError):
        node.place.dial("192.0.2.1", 80, seconds=1)
