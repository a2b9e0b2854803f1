"""The quickstart of docs/kubernetes.md, line by line, from an empty cluster; and its pages' word on what is seen."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.cluster import Refused
from cluster.conftest import skip
from cluster.node import Node, why_not
from cluster.node import node as started_node
from cluster.processes import wait
from cluster.team import ROOT, image

pytestmark = pytest.mark.timeout(900)
PAGE = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
HOME = "remit-demo"
AGENT = ("--namespace", HOME, "deployment/agent", "--container")
_STORAGE = """
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {{name: standard, annotations: {{storageclass.kubernetes.io/is-default-class: "true"}}}}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: v1
kind: PersistentVolume
metadata: {{name: one}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOncePod]
  storageClassName: standard
  persistentVolumeReclaimPolicy: Retain
  local: {{path: "{path}"}}
  nodeAffinity:
    required:
      nodeSelectorTerms: [{{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [node]}}]}}]
"""


def lines(title: str) -> list[str]:
    """The commands of the first block after a heading."""
    found = re.search(rf"^##+ {re.escape(title)}$.*?^```sh\n(.*?)^```$", PAGE, re.M | re.S)
    assert found, f"docs/kubernetes.md has no commands below {title!r}"
    return found[1].splitlines()


class Person:
    """Types the page's commands, with the cluster's own kubectl and helm, in the clone's folder."""

    def __init__(self, node: Node) -> None:
        self.node, self.cluster = node, node.cluster

    def types(self, line: str, *, seconds: float = 180) -> str:
        """What a command wrote to stdout. Refused if it fails."""
        program, *arguments = shlex.split(line, comments=True)
        placed = [str(ROOT / each) if each.startswith("helm/") else each for each in arguments]
        return self.cluster.command(program, *placed, seconds=seconds)

    def follows(self, line: str, *seen: str, seconds: float = 60) -> str:
        """A log that is followed until each pattern matches a line of it."""
        assert line.endswith(" --follow")

        def log() -> str:
            text = self.types(line.removesuffix(" --follow"))
            return text if all(re.search(each, text, re.M) for each in seen) else ""

        try:
            return str(wait(f"a log with {seen}", log, seconds, 0.5))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.types(line.removesuffix(' --follow'))}") from None

    def remit(self, *command: str) -> str:
        """A command in the sidecar's container. Refused if it fails."""
        return self.cluster.kubectl("exec", *AGENT, "remit", "--", "remit", *command)

    def name_provider(self) -> None:
        """What a cluster's DNS and its proxy of services do: the Service's name leads to the pod."""

        def address() -> str:
            pods = self.cluster.all("pod", namespace=HOME, labels="app=provider")
            return str(pods[0]["status"].get("podIP", "")) if pods else ""

        found = str(wait("the provider has an address", address, 60, 0.2))
        self.node.names({f"provider.{HOME}.svc.cluster.local": found})

    def told(self) -> str:
        """What the cluster says of the agent; for people."""
        containers = ("remit-lockdown", "remit", "agent")
        asked = [("logs", *AGENT, each, "--tail=15") for each in containers] + [("events", "-n", HOME)]
        ended = [self.cluster.attempt("kubectl", *each) for each in asked]
        return "\n".join(each.stdout + each.stderr for each in ended)

    def pod(self) -> tuple[str, int]:
        """Name of the agent's one pod, and how often something in it was started again."""
        (one,) = self.cluster.all("pod", namespace=HOME, labels="app=agent")
        statuses = one["status"]["initContainerStatuses"] + one["status"]["containerStatuses"]
        return str(one["metadata"]["name"]), sum(each["restartCount"] for each in statuses)


@pytest.fixture(scope="module", name="person")
def person_fixture(tools: Path) -> Iterator[Person]:
    """In front of a cluster that has nothing but the image and a storage class, as most have one: it binds late."""
    skip(why_not())
    with started_node(tools) as node:
        node.load(image())
        (node.folder / "volume").mkdir()
        node.cluster.kubectl("apply", "-f", "-", stdin=_STORAGE.format(path=node.folder / "volume"))
        yield Person(node)


@pytest.fixture(scope="module", name="suggested")
def suggested_fixture(person: Person) -> str:
    """The five commands are typed; what the last one said."""
    install, apply, status, logs, suggest = lines("From an empty cluster to a governed agent")
    told = person.types(install)
    assert f'governs pods that are labelled remit/governed: "true" in: {HOME}.' in told
    person.types(apply)
    person.name_provider()
    try:
        person.types(status)
    except subprocess.TimeoutExpired as error:
        raise AssertionError(person.told()) from error
    person.follows(logs, "^small: 200 Hello yourself$", "^large: 200 Hello yourself$", "^past Remit: no connection: ")
    return person.types(suggest)


def test_five_commands_lead_to_an_observed_agent(person: Person, suggested: str) -> None:
    said = person.cluster.kubectl("logs", *AGENT, "agent")
    assert not re.search("^past Remit: [0-9]", said, re.M)
    for line in ("large for support: DENY", "variants.limit: limit_exceeded"):
        assert line in suggested
    assert person.pod()[1] == 0


def test_what_is_suggested_can_be_read_where_it_was_written(person: Person, suggested: str) -> None:
    written = re.findall("^wrote (.+)$", suggested, re.M)
    assert written[0] == "policies/suggested/catalogue.yaml"
    shown = person.types(lines("What was suggested")[0])
    assert "services: {}" in shown and "large for support: deny" in shown


def test_people_ask_the_sidecar_as_its_operator(person: Person, suggested: str) -> None:
    assert "everything that was allowed was reported" in person.remit("unresolved")
    assert re.search(r"^cx-month +100 USD ", person.remit("budget", "list"), re.M)
    asked = ("kubectl", "exec", *AGENT, "remit", "--", "remit", "check", "--ready", "support", "--json")
    told = json.loads(person.cluster.attempt(*asked).stdout)
    assert "limit_exceeded" in person.remit("explain", told["breaking"][0]["decision"])


def test_an_agent_is_bound_without_a_restart(person: Person, suggested: str) -> None:
    before = person.pod()
    ready, upgrade, logs = lines("Bind it")
    with pytest.raises(Refused):
        person.types(ready)
    told = person.cluster.attempt("kubectl", *shlex.split(ready)[1:]).stdout
    assert "would break: support api.call service models/chat/large" in told
    assert "support is not ready" in told
    person.types(upgrade)
    log = person.follows(logs, "^large: 403 Remit: limit_exceeded: ", seconds=120)
    after = log.split("large: 403")[-1]
    wait("small goes on", lambda: "small: 200" in person.cluster.kubectl("logs", *AGENT, "agent", "--tail=3"), 30)
    assert "small: 403" not in after
    assert person.pod() == before


def test_all_of_it_is_taken_away(person: Person, suggested: str) -> None:
    for line in lines("Take it away"):
        person.types(line)
    cluster = person.cluster
    wait("the namespace is gone", lambda: cluster.get("namespace", HOME) is None, 120, 0.5)
    policies = [
        f"{each}admission{what}" for each in ("mutating", "validating") for what in ("policies", "policybindings")
    ]
    kinds = ",".join([*policies, "clusterroles"])
    assert "remit" not in cluster.kubectl("get", kinds, "-o", "name")
