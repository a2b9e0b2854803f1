"""A team in a real cluster: PostgreSQL, the chart with its desk, a provider that bills nobody, agents in pods."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster.cluster import Cluster
from cluster.node import ADDRESS, Node
from cluster.processes import Server, wait
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fakes.members_stage import DURABLE
from fakes.postgres_server import PostgresServer, postgres_server
from integration.test_installation_page import speak_tls
from listeners.certificates import Authority
from ruamel.yaml import YAML

Json = Any
ROOT = Path(__file__).resolve().parents[2]
HOME, AGENTS, RELEASE, IMAGE = "remit", "agents", "remit", "remit:0.1.0"
POSTGRES = f"{ADDRESS}:5432"
PYTHON = "/opt/remit/bin/python"
ROLES = ("installer", "pods", "desk", "auditor")
_SQL = """
CREATE ROLE remit_sidecar NOLOGIN;
CREATE ROLE remit_desk NOLOGIN;
CREATE ROLE installer LOGIN PASSWORD '{installer}';
CREATE ROLE pods LOGIN PASSWORD '{pods}' IN ROLE remit_sidecar;
CREATE ROLE desk LOGIN PASSWORD '{desk}' IN ROLE remit_desk;
CREATE ROLE auditor LOGIN PASSWORD '{auditor}';
CREATE DATABASE remit OWNER installer TEMPLATE template0 ENCODING 'UTF8';
REVOKE ALL ON DATABASE remit FROM PUBLIC;
GRANT CONNECT ON DATABASE remit TO pods, desk, auditor;
"""


def image() -> Path:
    """The image as an archive: REMIT_TEST_IMAGE, or built where none is kept of these sources."""
    if named := os.environ.get("REMIT_TEST_IMAGE"):
        return Path(named)
    told = subprocess.run([ROOT / "images" / "archive.sh"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return Path(told.strip().splitlines()[-1])


class Team:
    """`installed` has the chart in it with these values; agents are deployed by `agent`."""

    def __init__(self, node: Node, database: PostgresServer, provider: str, values: Json, folder: Path) -> None:
        self.node, self.cluster, self.database = node, node.cluster, database
        self.provider, self.values, self._folder = provider, values, folder

    def helm(self, verb: str, **changed: Json) -> None:
        """Install or upgrade with values changed at their top; returns when all of it is ready."""
        file = self._folder / "values.json"
        file.write_text(json.dumps({**self.values, **changed}))
        where = ("--namespace", HOME, "--values", str(file), "--wait", "--timeout", "2m")
        try:
            self.cluster.helm(verb, RELEASE, str(ROOT / "helm" / "remit"), *where, seconds=240)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.home_told()}") from None

    def rendered(self, **changed: Json) -> str:
        """The chart's manifests with values changed at their top."""
        file = self._folder / "rendered.json"
        file.write_text(json.dumps({**self.values, **changed}))
        chart = str(ROOT / "helm" / "remit")
        return self.cluster.helm("template", RELEASE, chart, "--namespace", HOME, "--values", str(file))

    def home_told(self) -> str:
        """What the pods of the release's own namespace say of themselves; for people."""
        lines = [self.cluster.attempt("kubectl", "get", "pods", "-n", HOME, "-o", "wide").stdout]
        lines.append(self.cluster.attempt("kubectl", "events", "-n", HOME).stdout[-3000:])
        for pod in self.cluster.all("pod", namespace=HOME):
            name = str(pod["metadata"]["name"])
            ended = self.cluster.attempt("kubectl", "logs", name, "-n", HOME, "--tail", "30")
            lines.append(f"--- {name}\n{ended.stdout}{ended.stderr}")
        return "\n".join(lines)

    def agent(self, name: str, *, account: str = "support", replicas: int = 1, **environment: str) -> None:
        """Deploy one, by nothing but a label; not waited for."""
        told = [{"name": key, "value": value} for key, value in environment.items()]
        container = {
            "name": "agent",
            "image": IMAGE,
            "command": [PYTHON, "/script/agent.py"],
            "env": told,
            "volumeMounts": [{"name": "script", "mountPath": "/script", "readOnly": True}],
        }
        spec = {
            "serviceAccountName": account,
            "automountServiceAccountToken": False,
            "containers": [container],
            "volumes": [{"name": "script", "configMap": {"name": "script"}}],
        }
        self.cluster.apply(_deployment(name, spec, replicas, {"remit/governed": "true"}), namespace=AGENTS)

    def pods(self, name: str) -> list[Json]:
        """Those of a deployment that are not being deleted."""
        found = self.cluster.all("pod", namespace=AGENTS, labels=f"app={name}")
        return [each for each in found if "deletionTimestamp" not in each["metadata"]]

    def ready(self, name: str, count: int = 1, seconds: float = 120) -> list[Json]:
        """The pods, once so many are ready and no other is there."""

        def there() -> list[Json]:
            pods = self.pods(name)
            good = [each for each in pods if _is_ready(each)]
            return good if len(good) == len(pods) == count else []

        try:
            found = wait(f"{count} pods of {name} are ready", there, seconds, 0.3)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.told(name)}") from None
        assert isinstance(found, list)
        return found

    def told(self, name: str) -> str:
        """What pods of a deployment, and their containers, say of themselves; for people."""
        lines = []
        for pod in self.pods(name):
            pod_name = pod["metadata"]["name"]
            for container in ("remit-lockdown", "remit", "agent"):
                tail = ("logs", pod_name, "-c", container, "-n", AGENTS, "--tail", "15")
                ended = self.cluster.attempt("kubectl", *tail)
                lines.append(f"--- {pod_name} {container}\n{ended.stdout}{ended.stderr}")
            lines.append(self.cluster.attempt("kubectl", "events", "-n", AGENTS, "--for", f"pod/{pod_name}").stdout)
        return "\n".join(lines)

    def lines(self, pod: str, container: str = "agent") -> list[Json]:
        """What an agent has written so far."""
        return said(self.cluster.logs(pod, container, namespace=AGENTS))

    def heard(self, pod: str, what: str, status: int, seconds: float = 60) -> Json:
        """The first line of this kind with this status."""

        def there() -> Json:
            return next((e for e in self.lines(pod) if e["what"] == what and e["status"] == status), None)

        try:
            return wait(f"{pod}: {what} {status}", there, seconds, 0.3)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.lines(pod)[-6:]}") from None

    def delivered(self, addresses: Collection[str]) -> int:
        """How many requests the provider has answered to pods with these addresses."""
        pods = self.cluster.all("pod", namespace=AGENTS, labels="app=provider")
        log = self.cluster.logs(pods[0]["metadata"]["name"], "provider", namespace=AGENTS)
        return sum("POST /v1/chat/completions" in e for e in log.splitlines() if e.split(" ")[0] in addresses)

    def metrics(self, address: str) -> str:
        """What is exposed at HOST:PORT."""
        ended = self.node.place.run(["curl", "-sS", "--max-time", "10", f"http://{address}/metrics"])
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the store, as its superuser."""
        with self.database.connect("remit") as connection:
            return connection.execute(statement.encode()).fetchall()


def said(text: str) -> list[Json]:
    """The lines of an agent's log."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def pod_address(pod: Json, port: int = 7459) -> str:
    """HOST:PORT of a pod."""
    return f"{pod['status']['podIP']}:{port}"


@contextmanager
def team(node: Node, folder: Path, values: Json) -> Iterator[Team]:
    """All of it; `values` are laid over the chart's."""
    with ExitStack() as stack:
        authority = Authority()
        database = stack.enter_context(_database(authority))
        passwords = {role: secrets.token_urlsafe(18) for role in ROLES}
        with database.connect() as connection:
            for statement in filter(str.strip, _SQL.format(**passwords).split(";\n")):
                connection.execute(statement.encode())
        for server in _lead(folder, database.port, node):
            stack.callback(server.end)
        node.load(image())
        cluster = node.cluster
        for name in (HOME, AGENTS):
            stack.enter_context(cluster.namespace(name))
        _secrets(cluster, authority, passwords)
        provider = _provider(cluster)
        made = Team(node, database, provider, _values(provider) | values, folder)
        made.helm("install")
        yield made


def _values(provider: str) -> Json:
    def url(role: str) -> str:
        return f"postgresql://{role}@{POSTGRES}/remit?sslrootcert=/etc/remit/store/ca.crt"

    bound = {"kubernetes": {"namespace": AGENTS, "service_account": "support"}}
    spender = {"kubernetes": {"namespace": AGENTS, "service_account": "spender"}}
    catalogue = {
        "currency": "EUR",
        "teams": {"cx": {"contact": "#cx"}, "ml": {}},
        "people": {"ana": {"roles": ["operator", "auditor"], "identity": {"token_hash": "sha256:" + "0" * 64}}},
        "agents": {
            "support": {"team": "cx", "purposes": ["support"], "identity": bound},
            "spender": {"team": "ml", "purposes": ["spending"], "identity": spender},
        },
        "services": {
            "models": {
                "owner": "ml",
                "kind": "openai",
                "endpoints": {"in": {"url": f"http://{provider}:8080"}},
                "variants": {"small": {}},
            }
        },
        "prices": [
            {"match": "models/*", "unit": "call", "amount": 1, "currency": "EUR"},
            {"match": "models/*", "unit": "input_token", "per": 1000000, "amount": 0, "currency": "EUR"},
            {"match": "models/*", "unit": "output_token", "per": 1000000, "amount": 0, "currency": "EUR"},
        ],
        "budgets": {
            "cx-month": {"when": {"team": "cx"}, "limit": 100000, "window": "month"},
            "ml-month": {"when": {"team": "ml"}, "limit": 60, "window": "month"},
        },
    }
    return {
        "namespaces": [AGENTS],
        "catalogue": catalogue,
        "store": {
            "postgres": {"url": url("pods"), "deskUrl": url("desk")},
            "migrate": {"url": url("installer")},
        },
    }


@contextmanager
def _database(authority: Authority) -> Iterator[PostgresServer]:
    with postgres_server(DURABLE) as server:
        speak_tls(server, authority.sign(dns=["localhost"], addresses=["127.0.0.1", ADDRESS]))
        yield replace(server, passwords=dict(server.passwords))


def _lead(folder: Path, port: int, node: Node) -> list[Server]:
    """From the node's address to the database on this machine's loopback."""
    between = f"{folder}/database.sock"
    script = str(Path(__file__).with_name("relay.py"))
    here = Server("relay-here", [sys.executable, script, between, f"127.0.0.1:{port}"], folder)
    there = Server("relay-there", [*node.place.prefix, sys.executable, script, POSTGRES, between], folder)
    for each in (here, there):
        each.ready(lambda each=each: "ready" in each.told(), 20)
    return [here, there]


def _secrets(cluster: Cluster, authority: Authority, passwords: Mapping[str, str]) -> None:
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    keys = {"context.key": key, "hmac.key": secrets.token_bytes(32), "views.key": secrets.token_bytes(64)}
    pair = authority.sign(dns=["remit-desk.remit.svc", "localhost"], addresses=["127.0.0.1"])
    wanted: list[tuple[str, str, Mapping[str, bytes]]] = [
        *((namespace, "remit-keys", keys) for namespace in (HOME, AGENTS)),
        (HOME, "remit-desk-tls", {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authority.certificate}),
    ]
    for namespace, name, role in (
        (AGENTS, "remit-store", "pods"),
        (HOME, "remit-store-desk", "desk"),
        (HOME, "remit-store-installer", "installer"),
    ):
        wanted.append((namespace, name, {"password": passwords[role].encode(), "ca.crt": authority.certificate}))
    for namespace, name, files in wanted:
        cluster.apply(_secret(name, files), namespace=namespace)
    for account in ("support", "spender"):
        cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}}, namespace=AGENTS)
    script = Path(__file__).with_name("agent_script.py").read_text()
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "script"}, "data": {"agent.py": script}}
    cluster.apply(config, namespace=AGENTS)


def _secret(name: str, files: Mapping[str, bytes]) -> Json:
    data = {key: base64.b64encode(value).decode() for key, value in files.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


def _provider(cluster: Cluster) -> str:
    """Deploy the one of helm/examples, which no label governs; its address."""
    documents = list(YAML(typ="safe").load_all((ROOT / "helm" / "examples" / "quickstart.yaml").read_text()))
    wanted = [each for each in documents if each["metadata"]["name"] in ("provider", "example")]
    cluster.apply([each for each in wanted if each["kind"] != "Service"], namespace=AGENTS)

    def there() -> str:
        pods = cluster.all("pod", namespace=AGENTS, labels="app=provider")
        return pods[0]["status"]["podIP"] if pods and _is_ready(pods[0]) else ""

    return str(wait("the provider is ready", there, 90, 0.3))


def _deployment(name: str, spec: Json, replicas: int, labels: Mapping[str, str]) -> Json:
    template = {"metadata": {"labels": {"app": name, **labels}}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template},
    }


def _is_ready(pod: Json) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
