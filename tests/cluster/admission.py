"""The chart installed in a real API server, and pods that ask to be let in: dry runs, where nothing has to run."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cluster.api import Answer
from cluster.cluster import Cluster
from ruamel.yaml import YAML

Json = Any
RELEASE, HOME, AGENTS, ELSEWHERE = "remit", "remit", "agents", "elsewhere"
ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "remit"
OWN = Path(__file__).parent / "own_chart"
GROUP = "/apis/admissionregistration.k8s.io/v1"
INJECTION = f"{GROUP}/mutatingadmissionpolicybindings/{RELEASE}-inject"
REQUIREMENT = f"{GROUP}/validatingadmissionpolicies/{RELEASE}-require"
VALUES: Json = {
    "image": {"repository": "remit"},
    "namespaces": [AGENTS],
    "catalogue": {
        "currency": "EUR",
        "teams": {"cx": {}},
        "services": {"openai": {"kind": "openai", "owner": "cx", "endpoints": {"eu": {"url": "https://o.example"}}}},
    },
    "store": {
        "postgres": {"url": "postgresql://pods@db/remit", "deskUrl": "postgresql://desk@db/remit"},
        "migrate": {"enabled": False},
    },
}


def label(spec: Json, value: str = "true") -> Json:
    """The pod's spec, to be labelled as governed."""
    return {"label": value, "spec": spec}


class Admission:
    """One API server with the chart in it; `swagger` are its own definitions."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self._cluster, self._directory = cluster, directory
        self.swagger: Json = self.call("GET", "/openapi/v2")[1]["definitions"]
        self.image = "remit:0.1.0"
        for name in (HOME, AGENTS, ELSEWHERE):
            self._must("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
            self._must("POST", f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "default"}})
        self.install()

    def call(self, method: str, path: str, body: Json = None, kind: str = "application/json") -> tuple[int, Json]:
        """Status and answer."""
        answer = self._cluster.request(method, path, body, kind=kind)
        return answer.status, answer.body if isinstance(answer.body, dict) else {"message": str(answer.body)}

    def _must(self, method: str, path: str, body: Json = None) -> Json:
        status, answer = self.call(method, path, body)
        assert status < 300 or answer.get("reason") == "AlreadyExists", answer
        return answer

    # -- the chart

    def install(self) -> None:
        """As a release; until pods are injected."""
        self._helm("install")

    def upgrade(self, image: str = "remit", **values: Json) -> None:
        """To other values; until pods are made by them."""
        self._helm("upgrade", {**values, "image": {"repository": image}})

    def uninstall(self) -> None:
        """Until pods are no longer injected."""
        self._cluster.helm("uninstall", RELEASE, "--namespace", HOME)
        self._until(lambda spec: "initContainers" not in spec)

    def _helm(self, verb: str, values: Json = None) -> None:
        file = self._directory / "values.json"
        file.write_text(json.dumps({**VALUES, **(values or {})}))
        self._cluster.helm(verb, RELEASE, str(CHART), "--namespace", HOME, "--values", str(file), "--no-hooks")
        image = f"{(values or VALUES)['image']['repository']}:0.1.0"
        required = bool((values or {}).get("injection", {}).get("required"))

        def there(spec: Json) -> bool:
            made = [each["image"] for each in spec.get("initContainers", [])] == [image, image]
            refused = self.ask(self.pod({"containers": [{"name": "a", "image": "i"}]}))[0] != 201
            foreign = self.ask(self.pod(label({"containers": [{"name": "a", "image": "i"}]}), ELSEWHERE))[0] != 201
            return made and refused == required and foreign

        self._until(there)

    def _until(self, holds: Any) -> None:
        """The API server takes policies a moment after they are written."""
        end = time.monotonic() + 30
        while True:
            status, answer = self.ask(self.pod(label({"containers": [{"name": "a", "image": "i"}]})))
            if status == 201 and holds(answer["spec"]):
                return
            assert time.monotonic() < end, answer
            time.sleep(0.1)

    def left(self) -> list[str]:
        """Names of what is there of the release."""
        kinds = [
            *(f"{GROUP}/{kind}" for kind in ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings")),
            *(f"{GROUP}/{kind}" for kind in ("validatingadmissionpolicies", "validatingadmissionpolicybindings")),
            *(f"/apis/rbac.authorization.k8s.io/v1/{kind}" for kind in ("clusterroles", "clusterrolebindings")),
            *(f"/api/v1/{kind}" for kind in ("configmaps", "services", "secrets", "serviceaccounts")),
            *(f"/apis/apps/v1/{kind}" for kind in ("deployments", "statefulsets")),
            *(f"/apis/{kind}" for kind in ("policy/v1/poddisruptionbudgets", "networking.k8s.io/v1/networkpolicies")),
        ]
        found = []
        for kind in kinds:
            items = self.call("GET", kind)[1]["items"]
            found += [f"{kind} {each['metadata']['name']}" for each in items if "remit" in each["metadata"]["name"]]
        return found

    def included(self) -> Json:
        """The spec of a pod whose own chart has Remit's parts in it."""
        chart = self._directory / "own"
        shutil.rmtree(chart, ignore_errors=True)
        shutil.copytree(OWN, chart)
        shutil.copytree(CHART, chart / "charts" / "remit")
        file = self._directory / "own.json"
        file.write_text(json.dumps({"remit": VALUES}))
        text = self._cluster.helm(
            "template", "own", str(chart), "--namespace", HOME, "--values", str(file),
            "--show-only", "templates/deployment.yaml",
        )  # fmt: skip
        return YAML(typ="safe").load(text)["spec"]["template"]["spec"]

    @contextlib.contextmanager
    def without_injection(self) -> Iterator[None]:
        """Pods come as their author wrote them."""
        binding = _clean(self._must("GET", INJECTION))
        self._must("DELETE", INJECTION)
        spec = label({"containers": [{"name": "a", "image": "i"}]})
        self._wait_for(lambda: self.ask(self.pod(spec))[0] != 201)
        try:
            yield
        finally:
            self._must("POST", INJECTION.rsplit("/", 1)[0], binding)
            self._wait_for(lambda: self.ask(self.pod(spec))[0] == 201)

    @contextlib.contextmanager
    def forgetting(self, field: str, by: Json) -> Iterator[None]:
        """A planted bug: no rule looks at this field, so that the pod `by` is let in."""
        policy = self._must("GET", REQUIREMENT)
        changed = copy.deepcopy(policy)
        rules = changed["spec"]["validations"]
        kept = [each for each in rules if field not in each["expression"]]
        assert len(kept) < len(rules)
        for each in rules:
            parts = [part for part in each["expression"].split(" && ") if field not in part]
            each["expression"] = " && ".join(parts)
        self._write(REQUIREMENT, changed)
        self._wait_for(lambda: self.ask(by)[0] == 201)
        try:
            yield
        finally:
            self._write(REQUIREMENT, policy)
            self._wait_for(lambda: self.ask(by)[0] != 201)

    def _write(self, path: str, thing: Json) -> None:
        """As Helm does, that the release stays whole."""
        whole = {**_clean(thing), "apiVersion": "admissionregistration.k8s.io/v1"}
        query = "fieldManager=helm&force=true"
        status, answer = self.call("PATCH", f"{path}?{query}", whole, "application/apply-patch+yaml")
        assert status < 300, answer

    def _wait_for(self, holds: Any) -> None:
        end = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.1)

    # -- pods

    def pod(self, spec: Json, namespace: str = AGENTS, name: str = "a") -> Json:
        """A whole pod; a spec of `label` is labelled."""
        if spec.get("kind") == "Pod":
            return spec
        labels = {"remit/governed": spec["label"]} if "label" in spec else {}
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec.get("spec", spec)}

    def ask(self, pod: Json) -> tuple[int, Json]:
        """What the API server says to it; nothing is made."""
        namespace = pod["metadata"]["namespace"]
        return self.call("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)

    def create(self, spec: Json, namespace: str = AGENTS) -> Json:
        """The pod as it is let in, fit to be asked again."""
        status, answer = self.ask(self.pod(spec, namespace))
        assert status == 201, answer.get("message")
        return _clean(answer)

    def refused(self, spec: Json, namespace: str = AGENTS) -> str:
        """Why it is not let in."""
        status, answer = self.ask(self.pod(spec, namespace))
        assert status != 201, "it was let in"
        return str(answer["message"])

    @contextlib.contextmanager
    def running(self, spec: Json, name: str, namespace: str = AGENTS) -> Iterator[str]:
        """A pod that is really made (no node takes it up)."""
        self._must("POST", f"/api/v1/namespaces/{namespace}/pods", self.pod(spec, namespace, name))
        try:
            yield name
        finally:
            self.call("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}?gracePeriodSeconds=0")

    def patch(self, name: str, change: Json) -> tuple[int, Json]:
        """Change a pod for good: a merge patch, or a list of JSON patches."""
        kind = "application/json-patch+json" if isinstance(change, list) else "application/merge-patch+json"
        return self.call("PATCH", f"/api/v1/namespaces/{AGENTS}/pods/{name}", change, kind)

    def bind(self, name: str, labels: Json) -> tuple[int, Json]:
        """Send a pod to a node, as a scheduler does."""
        body = {"metadata": {"name": name, "labels": labels}, "target": {"kind": "Node", "name": "nowhere"}}
        return self.call("POST", f"/api/v1/namespaces/{AGENTS}/pods/{name}/binding", body)

    # -- somebody who may write beside agents

    @contextlib.contextmanager
    def author(self) -> Iterator[Callable[..., Answer]]:
        """Who has every right over ConfigMaps and Secrets beside agents, and none over admission."""
        core, rbac = f"/api/v1/namespaces/{AGENTS}", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{AGENTS}"
        self._must("POST", f"{core}/serviceaccounts", {"metadata": {"name": "author"}})
        rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
        self._must("POST", f"{rbac}/roles", {"metadata": {"name": "author"}, "rules": rules})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "author"}
        self._must(
            "POST", f"{rbac}/rolebindings", {"metadata": {"name": "author"}, "roleRef": role, "subjects": [_AUTHOR]}
        )
        token = self._must("POST", f"{core}/serviceaccounts/author/token", {"spec": {}})["status"]["token"]

        def ask(method: str, path: str, body: Json = None) -> Answer:
            kind = "application/merge-patch+json" if method == "PATCH" else ""
            return self._cluster.request_as(token, method, f"{core}/{path}", body, kind=kind)

        self._wait_for(lambda: ask("GET", "secrets").status == 200)
        try:
            yield ask
        finally:
            for path in (f"{rbac}/rolebindings", f"{rbac}/roles", f"{core}/serviceaccounts"):
                self.call("DELETE", f"{path}/author")

    @contextlib.contextmanager
    def allowed_parts(self) -> Iterator[None]:
        """The author may change Remit's parts, by the right that the chart made up for it."""
        rbac = "/apis/rbac.authorization.k8s.io/v1"
        rules = [{"apiGroups": ["remit"], "resources": ["parts"], "verbs": ["update"]}]
        self._must("POST", f"{rbac}/clusterroles", {"metadata": {"name": "parts"}, "rules": rules})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "parts"}
        binding = {"metadata": {"name": "parts"}, "roleRef": role, "subjects": [_AUTHOR]}
        self._must("POST", f"{rbac}/clusterrolebindings", binding)
        time.sleep(0.5)  # the authorizer hears of it
        try:
            yield
        finally:
            for path in ("clusterrolebindings", "clusterroles"):
                self.call("DELETE", f"{rbac}/{path}/parts")

    @contextlib.contextmanager
    def there(self, kind: str, name: str) -> Iterator[None]:
        """A ConfigMap or Secret beside agents, made if it is not there."""
        path = f"/api/v1/namespaces/{AGENTS}/{kind}"
        made = self.call("POST", path, {"metadata": {"name": name}})[0] == 201
        try:
            yield
        finally:
            if made:
                self.call("DELETE", f"{path}/{name}")

    def debug(self, container: Json) -> tuple[int, Json]:
        """Ask for an ephemeral container in a governed pod."""
        with self.running(label({"containers": [{"name": "agent", "image": "i"}]}), "debugged") as name:
            path = f"/api/v1/namespaces/{AGENTS}/pods/{name}"
            while True:
                pod = self._must("GET", path)
                pod["spec"]["ephemeralContainers"] = [container]
                status, answer = self.call("PUT", f"{path}/ephemeralcontainers", pod)
                if status != 409:  # the scheduler wrote to it meanwhile
                    return status, answer

    def refused_debugging(self, container: Json) -> str:
        """Why it is not let in."""
        status, answer = self.debug(container)
        assert status != 200, "it was let in"
        return str(answer["message"])

    def connect(self, name: str, way: str, container: str) -> str:
        """What is answered to `kubectl exec` or `attach`."""
        query = f"container={container}&stdout=true" + ("&command=true" if way == "exec" else "")
        return str(self.call("POST", f"/api/v1/namespaces/{AGENTS}/pods/{name}/{way}?{query}")[1].get("message", ""))


_AUTHOR = {"kind": "ServiceAccount", "name": "author", "namespace": AGENTS}
_KEPT = ("name", "namespace", "labels", "annotations")


def _clean(thing: Json) -> Json:
    metadata = {key: thing["metadata"][key] for key in _KEPT if key in thing["metadata"]}
    return {**{key: value for key, value in thing.items() if key != "status"}, "metadata": metadata}
