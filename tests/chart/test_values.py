"""values.yaml, its schema, its page and the templates say the same of every value."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart.rendering import Refused, at, merged, template
from chart.tools import CHART, ROOT
from chart.values_described import described

PAGE = ROOT / "docs" / "chart.md"

MARKED: dict[str, Any] = {
    "image.pullSecrets": ["mark-pull"],
    "namespaces": ["mark-namespace"],
    "bundle.url": "https://mark-bundle.example.com/b",
    "bundle.key": "mark-key",
    "bundle.ca": "mark-ca",
    "bundle.tokenSecret": "mark-bundle-token",
    "bundle.pollSeconds": 3511,
    "settings": {"approvals": {"wait": "3512s"}},
    "store.postgres.url": "postgresql://pods@mark-url/remit",
    "store.postgres.deskUrl": "postgresql://desk@mark-desk-url/remit",
    "store.postgres.secret": "mark-secret",
    "store.postgres.deskSecret": "mark-desk-secret",
    "store.migrate.url": "postgresql://installer@mark-migrate-url/remit",
    "store.migrate.secret": "mark-migrate-secret",
    "keysSecret": "mark-keys",
    "credentials": {"mark-credential": "mark-credential-secret"},
    "identity.audience": "mark-audience",
    "identity.tokenSeconds": 3513,
    "identity.issuer": "https://mark-issuer",
    "identity.api": "https://mark-api",
    "identity.tokenReview": ["mark-account-namespace/mark-account"],
    "injection.agent.runAsUser": 35141,
    "injection.agent.services": {"mark-service": "gemini"},
    "sidecar.runAsUser": 35142,
    "sidecar.opsPort": 35143,
    "sidecar.resources": {"requests": {"cpu": "3514m", "memory": "3514Mi"}, "limits": {"memory": "3515Mi"}},
    "sidecar.stateSize": "3516Mi",
    "sidecar.drainSeconds": 517,
    "networkPolicy.egress": [{"ports": [{"protocol": "TCP", "port": 35151}]}],
    "networkPolicy.deskEgress": [{"ports": [{"protocol": "TCP", "port": 35152}]}],
    "networkPolicy.dns": {"to": [{"podSelector": {"matchLabels": {"mark": "mark-dns"}}}], "port": 35153},
    "networkPolicy.postgres": {"to": [{"podSelector": {"matchLabels": {"mark": "mark-postgres"}}}], "port": 35154},
    "networkPolicy.api": {"to": [{"podSelector": {"matchLabels": {"mark": "mark-api-peer"}}}], "ports": [35155]},
    "networkPolicy.prometheus": [{"podSelector": {"matchLabels": {"mark": "mark-prometheus"}}}],
    "networkPolicy.people": [{"podSelector": {"matchLabels": {"mark": "mark-people"}}}],
    "networkPolicy.ingress": [{"ports": [{"protocol": "TCP", "port": 35156}]}],
    "desk.tlsSecret": "mark-tls",
    "desk.certificate.issuerRef": {"name": "mark-issuer-ref", "kind": "Issuer", "group": "mark-group"},
    "desk.certificate.dnsNames": ["mark-dns-name"],
    "desk.publicUrl": "https://mark-public",
    "desk.oidc": {
        "issuer": "https://mark-oidc",
        "clientId": "mark-client",
        "clientSecret": "mark-client-secret",
        "claim": "mark-claim",
    },
    "desk.webhookSecret": "mark-webhook",
    "desk.resources": {"requests": {"cpu": "3517m", "memory": "3517Mi"}, "limits": {"memory": "3518Mi"}},
    "desk.service": {"type": "LoadBalancer", "grpcPort": 35171, "httpPort": 35172},
    "desk.nodeSelector": {"mark-node": "mark-node-value"},
    "desk.tolerations": [{"key": "mark-taint", "operator": "Exists"}],
    "monitoring.podMonitor": {"enabled": True, "interval": "3519s", "labels": {"mark-pod-monitor": "a"}},
    "monitoring.rules": {"enabled": True, "labels": {"mark-rules": "a"}},
    "monitoring.runbooks": "https://mark-runbooks",
    "monitoring.dashboards": {"enabled": True, "labels": {"mark-dashboards": "a"}},
}
"""Values that are found again in what is rendered of them, all together."""

TURNED: dict[str, tuple[str, Any]] = {
    "image.repository": ("team", "registry.example.com:5000/mark"),
    "image.tag": ("team", "mark"),
    "image.digest": ("team", "sha256:" + "0" * 64),
    "image.pullPolicy": ("team", "Always"),
    "catalogue": ("team", {"teams": {"mark": {}}}),
    "catalogueText": ("team", "teams: {mark: {}}"),
    "policies": ("team", {"mark.rego": "package mark"}),
    "store.allotments": ("team", True),
    "store.migrate.enabled": ("team", False),
    "store.embedded.enabled": ("dev", False),
    "store.embedded.replicas": ("dev", 2),
    "store.embedded.claim": ("dev", "mark"),
    "store.embedded.size": ("dev", "3Gi"),
    "store.embedded.storageClass": ("dev", "-"),
    "injection.policy": ("team", "none"),
    "injection.required": ("team", True),
    "injection.exec": ("team", True),
    "sidecar.egress": ("team", False),
    "lockdown.mode": ("team", "none"),
    "networkPolicy.enabled": ("team", False),
    "desk.enabled": ("team", False),
    "desk.certificate.enabled": ("team", False),
    "desk.certificate.serviceNames": ("team", False),
}
"""Values by which something else is rendered of an example, each by itself."""

BESIDES = {
    "catalogueText": {"catalogue": None},
    "store.embedded.enabled": {
        "store": {"postgres": {"url": "postgresql://pods@db/remit"}, "migrate": {"enabled": False}}
    },
}
"""What must be another too."""

REFUSED = {"store.embedded.replicas": "found 2; expected 1"}
"""Values that have no other; test_refusals.py has them."""


def test_every_value_is_used(tmp_path: Path) -> None:
    """Each of values.yaml is in one of the two tables, and what it says arrives somewhere."""
    assert sorted([*MARKED, *TURNED]) == sorted(value.key for value in described())

    file = tmp_path / "marked.yaml"
    values: Any = {}
    for key, value in MARKED.items():
        values = merged(values, at(key, value))
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    made = template(CHART / "values-regulated.yaml", file)
    for key, value in MARKED.items():
        for mark in _marks(value):
            assert mark in made, f"{key}: {mark}"


def _marks(value: Any) -> list[str]:
    """Texts and numbers that nothing else has."""
    if isinstance(value, dict):
        return [mark for key, each in value.items() for mark in (*_marks(key), *_marks(each))]
    if isinstance(value, list):
        return [mark for each in value for mark in _marks(each)]
    text = str(value)
    if "/" in text and text.startswith("mark"):
        return text.split("/")
    return [text] if re.search(r"mark-|35\d\d|^517$|LoadBalancer", text) else []


def test_every_switch_turns_something(tmp_path: Path) -> None:
    before = {use: template(CHART / f"values-{use}.yaml") for use in ("dev", "team")}
    for key, (use, value) in TURNED.items():
        if key in REFUSED:
            continue
        file = tmp_path / "turned.yaml"
        file.write_text(yaml.safe_dump(merged(at(key, value), BESIDES.get(key, {}))), encoding="utf-8")
        assert template(CHART / f"values-{use}.yaml", file) != before[use], key


def test_the_schema_knows_every_value_and_no_other() -> None:
    """It has the same words, and what is not free is closed."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    told = {value.key: value.text for value in described()}
    assert dict(_described(schema, "")) == {**told, "global": schema["properties"]["global"]["description"]}
    free = {"catalogue", "settings", "global", "namespaceSelector", "podSelector", "items"}
    assert {name for name in _open(schema, "") if name not in free} == set()


def _described(schema: Any, prefix: str) -> Any:
    for name, each in schema["properties"].items():
        if "description" in each:
            yield f"{prefix}{name}", each["description"]
        else:
            yield from _described(each, f"{prefix}{name}.")


def _open(schema: Any, name: str) -> Any:
    """Names of objects in which anything may stand."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "additionalProperties" not in schema:
            yield name
        for key, each in schema.items():
            inner = each.items() if key in ("properties", "$defs") else [(key, each)]
            for below, value in inner:
                yield from _open(value, below)


def test_the_defaults_are_what_the_schema_takes() -> None:
    """By themselves they are refused for what is wanted and is to be said alone."""
    with pytest.raises(Refused) as refused:
        template()
    lines = [line for line in str(refused.value).splitlines() if line.startswith("  - ")]
    assert [line.split(":")[0] for line in lines] == ["  - store", "  - catalogue", "  - namespaces"]


def test_the_page_has_a_row_for_every_value() -> None:
    """docs/chart.md, in the order of values.yaml; `python tests/chart/values_described.py` prints them."""
    table = PAGE.read_text(encoding="utf-8").partition("\n## Values\n")[2]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert rows == [value.row for value in described()]
