"""`remit k8s check` by a real API server: well where it is, and each planted fault found and named."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cluster.admission import AGENTS, GROUP, HOME, INJECTION, Admission, label
from cluster.cluster import Cluster
from remit.listeners.ops import OpsListener

Json = Any
REMIT = Path(sys.executable).with_name("remit")
CATALOGUE: Json = {
    "currency": "EUR",
    "teams": {"cx": {}},
    "agents": {
        "support": {
            "team": "cx",
            "purposes": ["support"],
            "identity": {"kubernetes": {"namespace": AGENTS, "service_account": "support"}},
        }
    },
}
SECRETS = {"remit-keys": ("context.key", "hmac.key", "views.key"), "remit-store": ("password",)}
CANARY = "hunter2-canary"
OPS_PORT = 7459


class Member:
    """A member's port of ops at this machine's own address, which the API server dials as a pod's."""

    def __init__(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))
            self.address: str = probe.getsockname()[0]
        self.checks: dict[str, object] = {"opa": True, "store": True, "egress": True, "identity": True}
        self.ahead = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._listener = OpsListener(_metrics, dict, about=self.about)
        self._call(self._listener.start(self.address, OPS_PORT))

    def about(self) -> dict[str, object]:
        return {"checks": self.checks, "revision": "r1", "time": time.time() + self.ahead, "version": "0.1.0"}

    def close(self) -> None:
        self._call(self._listener.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)


async def _metrics(accept: str) -> tuple[bytes, str]:
    return b"", "text/plain"


class Stage:
    """The chart in a namespace of its own, with all that its pods need, and a person with kubectl."""

    def __init__(self, cluster: Cluster, admission: Admission) -> None:
        self.cluster, self.admission = cluster, admission

    def check(self, *arguments: str, kubeconfig: Path | None = None) -> tuple[int, list[Json]]:
        """Exit code and findings."""
        ended = self.run("--json", *arguments, kubeconfig=kubeconfig)
        assert ended.stdout, ended.stderr
        return ended.returncode, json.loads(ended.stdout)["findings"]

    def run(self, *arguments: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [REMIT, "k8s", "check", "--namespace", HOME, *arguments],
            env={
                **os.environ,
                "PATH": f"{self.cluster.tools / 'bin'}:{os.environ['PATH']}",
                "KUBECONFIG": str(kubeconfig or self.cluster.kubeconfig),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert CANARY not in ended.stdout + ended.stderr
        return ended

    def bad(self, *arguments: str) -> list[tuple[str, str, str]]:
        """What is not ok: check, level, what was found."""
        _, found = self.check(*arguments)
        return [(each["check"], each["level"], each["found"]) for each in found if each["level"] != "ok"]

    @contextmanager
    def without(self, path: str) -> Iterator[None]:
        """The object is gone meanwhile."""
        kept = self.admission.call("GET", path)[1]
        status, answer = self.admission.call("DELETE", path)
        assert status < 300, answer
        try:
            yield
        finally:
            kept["metadata"] = {
                key: kept["metadata"][key] for key in ("name", "labels", "annotations") if key in kept["metadata"]
            }
            status, answer = self.admission.call("POST", path.rpartition("/")[0], kept)
            assert status < 300, answer

    @contextmanager
    def changed(self, path: str, there: Json, afterwards: Json) -> Iterator[None]:
        """A merge patch, and what takes it back."""
        kind = "application/merge-patch+json"
        try:
            status, answer = self.admission.call("PATCH", path, there, kind)
            assert status < 300, answer
            yield
        finally:
            self.admission.call("PATCH", path, afterwards, kind)

    def account(self, name: str) -> Path:
        """The kubeconfig of a service account, whose rights are what is bound to it alone."""
        config = json.loads(self.cluster.kubeconfig.read_text())
        shown = self.cluster.account_token(name, namespace=HOME, audience="https://kubernetes.default.svc")
        config["users"] = [{"name": "admin", "user": {"token": shown}}]
        path = self.cluster.folder / f"{name}.kubeconfig"
        path.write_text(json.dumps(config))
        return path


@pytest.fixture(scope="module")
def member() -> Iterator[Member]:
    made = Member()
    yield made
    made.close()


@pytest.fixture(scope="module")
def stage(control_plane: Cluster, member: Member, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Healthy: a governed pod, whose sidecar answers."""
    before = Stage(control_plane, None).run()  # type: ignore[arg-type]
    admission = Admission(control_plane, tmp_path_factory.mktemp("admission"))
    admission.before = before  # type: ignore[attr-defined]
    admission.upgrade(catalogue=CATALOGUE, desk={"enabled": False})
    made = Stage(control_plane, admission)
    kubectl = control_plane.kubectl
    for name, keys in SECRETS.items():
        kubectl("create", "secret", "generic", name, "-n", AGENTS, *(f"--from-literal={key}={CANARY}" for key in keys))
    kubectl("create", "serviceaccount", "support", "-n", AGENTS)
    kubectl("create", "serviceaccount", "nobody", "-n", HOME)
    spec = label({"serviceAccountName": "support", "containers": [{"name": "agent", "image": "i"}]})
    with admission.running(spec, "support"):
        path = f"/api/v1/namespaces/{AGENTS}/pods/support/status"
        status = {
            "phase": "Running",
            "podIP": member.address,
            "podIPs": [{"ip": member.address}],
            "initContainerStatuses": [_status("remit-lockdown"), _status("remit")],
        }
        done, answer = admission.call("PATCH", path, {"status": status}, "application/merge-patch+json")
        assert done < 300, answer
        yield made
    admission.uninstall()


def _status(name: str, **more: Json) -> Json:
    return {"name": name, "image": "i", "imageID": "i", "ready": True, "restartCount": 0, **more}


def test_before_installing_it_says_whether_the_cluster_could_take_it(stage: Stage) -> None:
    """Asked before the chart was there."""
    before = stage.admission.before  # type: ignore[attr-defined]
    assert before.returncode == 0, before
    assert "no release remit in namespace remit; this cluster can take one" in before.stdout


def test_an_installation_that_is_well_is_said_to_be(stage: Stage) -> None:
    """Every check says ok, and the member was asked under the API server's own name."""
    code, found = stage.check()
    assert [each for each in found if each["level"] != "ok"] == []
    assert code == 0
    assert {each["check"] for each in found} == {
        *("server", "admission", "version", "pod security", "injection", "refusal", "config", "secrets", "network"),
        *("identity", "tokens", "pods", "desk", "members", "clocks", "policies", "monitoring"),
    }


REQUIREMENT = f"{GROUP}/validatingadmissionpolicybindings/remit-require"
PRESENT = f"/api/v1/namespaces/{AGENTS}"


def test_a_binding_that_was_deleted_is_named(stage: Stage) -> None:
    """Of the requirement: pods are let in that must not be; of the injection: nothing is injected."""
    with stage.without(REQUIREMENT):
        _soon(stage, "refusal", "a labelled pod in agents with hostPID is let in")
        assert ("admission", "wrong", "ValidatingAdmissionPolicy remit-require has no binding: it does nothing") in (
            stage.bad()
        )
    with stage.without(INJECTION):
        _soon(stage, "injection", "a labelled pod in agents is refused: ")
        assert ("admission", "wrong", "MutatingAdmissionPolicy remit-inject has no binding: it does nothing") in (
            stage.bad()
        )
    _well(stage)


@pytest.mark.parametrize(
    ("gone", "check", "told"),
    [
        (f"{PRESENT}/secrets/remit-store", "secrets", "agents/remit-store is not there"),
        (f"{PRESENT}/configmaps/remit-config", "config", "ConfigMap agents/remit-config is not there"),
        (f"{PRESENT}/serviceaccounts/support", "identity", "agent support is agents/support, and there is no such"),
        (
            f"/apis/networking.k8s.io/v1/namespaces/{AGENTS}/networkpolicies/remit-governed",
            "network",
            "NetworkPolicy agents/remit-governed is not there",
        ),
    ],
)
def test_what_is_missing_is_named(stage: Stage, gone: str, check: str, told: str) -> None:
    with stage.without(gone):
        assert [each for each in stage.bad() if each[0] == check and told in each[2]], stage.bad()


def test_a_secret_without_a_key_is_named_and_its_values_are_not_shown(stage: Stage) -> None:
    path = f"{PRESENT}/secrets/remit-keys"
    with stage.changed(path, {"data": {"hmac.key": None, "views.key": ""}}, _data("hmac.key", "views.key")):
        assert stage.bad() == [
            ("secrets", "wrong", "agents/remit-keys has no hmac.key"),
            ("secrets", "wrong", "agents/remit-keys has nothing in views.key"),
        ]


def _data(*keys: str) -> Json:
    return {"stringData": dict.fromkeys(keys, CANARY)}


def test_a_namespace_that_takes_no_lockdown_is_named(stage: Stage) -> None:
    """By its label, and by what comes of a pod."""
    at = "pod-security.kubernetes.io/enforce"
    path = f"/api/v1/namespaces/{AGENTS}"
    with stage.changed(path, {"metadata": {"labels": {at: "restricted"}}}, {"metadata": {"labels": {at: None}}}):
        _soon(stage, "injection", "is refused")
        found = stage.bad()
        assert ("pod security", "wrong", "agents is at level restricted, and lockdown.mode init needs privileged") in (
            found
        )
        assert [each for each in found if each[0] == "injection" and "PodSecurity" in each[2]]


def test_a_catalogue_that_this_remit_would_not_take_is_told_with_its_line(stage: Stage) -> None:
    path = f"{PRESENT}/configmaps/remit-config"
    good = stage.admission.call("GET", path)[1]["data"]
    bad = {**good, "catalogue.yaml": good["catalogue.yaml"] + "\nagentz: {}\n"}
    with stage.changed(path, {"data": bad}, {"data": good}):
        (found,) = [each for each in stage.bad() if each[0] == "config"]
        assert found[1] == "wrong" and "agents/remit-config catalogue.yaml:" in found[2] and "agentz" in found[2]


def test_an_issuer_that_is_not_the_clusters_is_found_by_a_token(stage: Stage) -> None:
    path = f"{PRESENT}/configmaps/remit-config"
    good = stage.admission.call("GET", path)[1]["data"]
    settings = good["settings.yaml"].replace("audience: remit", "audience: remit\n    issuer: https://other.example")
    assert settings != good["settings.yaml"]
    with stage.changed(path, {"data": {**good, "settings.yaml": settings}}, {"data": good}):
        (found,) = [each for each in stage.bad() if each[0] == "tokens"]
        assert found[1] == "wrong" and "of another issuer than this cluster" in found[2]


def test_what_a_member_says_of_itself_is_told(stage: Stage, member: Member) -> None:
    """Its store is away, its clock is wrong, a little and much."""
    member.checks["store"] = False
    try:
        assert ("members", "wrong", "agents/support: the store not well") in stage.bad()
    finally:
        member.checks["store"] = True
    for ahead, level in ((30, "warning"), (600, "wrong"), (-600, "wrong")):
        member.ahead = ahead
        try:
            (found,) = [each for each in stage.bad() if each[0] == "clocks"]
            assert found[1] == level, found
        finally:
            member.ahead = 0.0


def test_a_pod_that_is_labelled_without_a_sidecar_is_named(stage: Stage) -> None:
    """Made while nothing was looked at; and one whose sidecar was restarted."""
    with stage.without(REQUIREMENT), stage.without(INJECTION):
        _soon(stage, "injection", "it has no sidecar")
        stage.cluster.kubectl("run", "bare", "-n", AGENTS, "--image=i", "--labels=remit/governed=true")
    try:
        _soon(stage, "pods", "agents/bare is labelled, and it has no sidecar")
    finally:
        stage.cluster.kubectl("delete", "pod", "bare", "-n", AGENTS, "--grace-period=0", "--force")
    _well(stage)


def test_who_may_see_little_is_told_what_was_not_looked_at(stage: Stage) -> None:
    """Never a crash, never an ok for what was not seen; the right is named."""
    code, found = stage.check(kubeconfig=stage.account("nobody"))
    told = {(each["check"], each["level"]) for each in found}
    assert code == 0 and ("admission", "not looked at") in told, found
    assert {each["level"] for each in found if each["check"] != "server"} <= {"not looked at", "warning"}
    assert [each for each in found if "needs the right to list" in each["found"]]


def test_a_cluster_that_is_not_there_is_exit_code_3_and_a_context_that_is_not_2(stage: Stage) -> None:
    config = json.loads(stage.cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    away = stage.cluster.folder / "away.kubeconfig"
    away.write_text(json.dumps(config))
    ended = stage.run(kubeconfig=away)
    assert (ended.returncode, ended.stdout) == (3, "") and "cannot be reached" in ended.stderr, ended
    ended = stage.run("--context", "other")
    assert (ended.returncode, ended.stdout) == (2, "") and "other" in ended.stderr, ended
    ended = stage.run("--release", "mine")
    assert ended.returncode == 0 and "no release mine" in ended.stdout, ended


def _soon(stage: Stage, check: str, told: str) -> None:
    """The API server takes policies a moment after they are written."""
    end = time.monotonic() + 60
    while not [each for each in stage.bad() if each[0] == check and told in each[2]]:
        assert time.monotonic() < end, (check, told, stage.bad())


def _well(stage: Stage) -> None:
    end = time.monotonic() + 60
    while stage.bad():
        assert time.monotonic() < end, stage.bad()
