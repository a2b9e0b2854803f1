"""A real Prometheus that finds and scrapes pods as the chart's PodMonitors say, with the chart's own rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.cluster import Cluster
from cluster.processes import Server, wait
from ruamel.yaml import YAML

Json = Any
ADDRESS = "127.0.0.1:9090"


class Prometheus:
    """One that runs in the cluster's network."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def ask(self, path: str) -> Json:
        """The data of an answer of its API."""
        url = f"http://{ADDRESS}/api/v1/{path}"
        ended = self._cluster.place.run(["curl", "-sS", "--globoff", "--max-time", "10", url])
        try:
            return json.loads(ended.stdout)["data"]
        except ValueError:  # it does not answer yet
            return {}

    def firing(self, alert: str, seconds: float) -> Json:
        """The labels that it fires with, once it does."""

        def there() -> Json:
            found = self.ask("alerts").get("alerts", [])
            return next((e for e in found if e["labels"]["alertname"] == alert and e["state"] == "firing"), None)

        try:
            return wait(f"{alert} fires", there, seconds, 0.5)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.ask('alerts')}, {self.targets()}") from None

    def targets(self) -> dict[str, str]:
        """Each target's address and health, with its job."""
        found = self.ask("targets?state=active").get("activeTargets", [])
        return {
            f"{each['labels']['job']} {each['scrapeUrl']}": f"{each['health']} {each['lastError']}" for each in found
        }


@contextmanager
def prometheus(cluster: Cluster, manifests: str, folder: Path) -> Iterator[Prometheus]:
    """By what the rendered chart has of PodMonitors and PrometheusRules."""
    found = [each for each in YAML(typ="safe").load_all(manifests) if each]
    rules = folder / "rules.json"
    groups = [group for each in found if each["kind"] == "PrometheusRule" for group in each["spec"]["groups"]]
    for group in groups:
        group.pop("interval", None)  # a test has no time for it
    rules.write_text(json.dumps({"groups": groups}))
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [_scraped(each, cluster, folder) for each in found if each["kind"] == "PodMonitor"],
    }
    file = folder / "prometheus.json"
    file.write_text(json.dumps(config))
    command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
    server = Server("prometheus", [*cluster.place.prefix, *command, f"--web.listen-address={ADDRESS}"], folder)
    asked = Prometheus(cluster)
    try:
        server.ready(lambda: asked.ask("status/runtimeinfo"), 30)
        yield asked
    finally:
        server.end()


def _scraped(monitor: Json, cluster: Cluster, folder: Path) -> Json:
    """What the Prometheus operator makes of a PodMonitor that names no port.

    Pods are found here, as of now, and told by a file with the labels that Prometheus' own discovery gives them: not
    every build of Prometheus has that.
    """
    spec = monitor["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    file = folder / f"{monitor['metadata']['name']}.json"
    pods = [pod for each in spec["namespaceSelector"]["matchNames"] for pod in cluster.all("pod", namespace=each)]
    file.write_text(json.dumps([target for pod in pods for target in _targets(pod)]))
    selected = [
        {
            "source_labels": [
                f"__meta_kubernetes_pod_label_{_meta(key)}",
                f"__meta_kubernetes_pod_labelpresent_{_meta(key)}",
            ],
            "regex": f"({value});true",
            "action": "keep",
        }
        for key, value in spec["selector"]["matchLabels"].items()
    ]
    alive = {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)", "action": "drop"}
    own = [
        {"sourceLabels": ["__meta_kubernetes_namespace"], "targetLabel": "namespace"},
        {"sourceLabels": ["__meta_kubernetes_pod_container_name"], "targetLabel": "container"},
        {"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "pod"},
    ]
    snake = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    relabelled = [
        {snake.get(key, key): value for key, value in each.items()} for each in [*own, *endpoint["relabelings"]]
    ]
    return {
        "job_name": monitor["metadata"]["name"],
        "metrics_path": endpoint["path"],
        "file_sd_configs": [{"files": [str(file)]}],
        "relabel_configs": [alive, *selected, *relabelled],
    }


def _targets(pod: Json) -> Iterator[Json]:
    """One for each port of each container, or for the container where it names none."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod["status"]
    known = {
        "namespace": metadata["namespace"],
        "pod_name": metadata["name"],
        "pod_ip": status.get("podIP", ""),
        "pod_phase": status["phase"],
    }
    for key, value in metadata.get("labels", {}).items():
        known |= {f"pod_label_{_meta(key)}": value, f"pod_labelpresent_{_meta(key)}": "true"}
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        ports = [each["containerPort"] for each in container.get("ports", [])]
        for address in [f"{known['pod_ip']}:{port}" for port in ports] or [known["pod_ip"]]:
            labels = {**known, "pod_container_name": container["name"]}
            yield {"targets": [address], "labels": {f"__meta_kubernetes_{key}": v for key, v in labels.items()}}


def _meta(label: str) -> str:
    return "".join(each if each.isalnum() else "_" for each in label)
