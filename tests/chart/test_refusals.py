"""What cannot be installed is refused before anything is, with what is wrong and what was expected."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart.rendering import Refused, at, merged, template
from chart.tools import CHART, ROOT

CASES = yaml.load((ROOT / "tests" / "cases" / "chart_refusals.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)
OURS = {
    "approvals.webhook": "desk.webhookSecret",
    "bundle": "bundle",
    "desk": "desk",
    "egress.binary": "none",
    "egress.http": "none",
    "egress.on": "sidecar.egress",
    "egress.proxy": "none",
    "grpc": "none",
    "http": "none",
    "keys": "keysSecret",
    "kubernetes": "identity",
    "limits.drain_seconds": "sidecar.drainSeconds",
    "opa.binary": "none",
    "opa.socket": "none",
    "opa.url": "none",
    "ops": "sidecar.opsPort",
    "policies": "policies",
    "socket": "none",
    "state": "none",
    "store.allotments": "store.allotments",
    "store.password_file": "store.postgres.secret",
    "store.url": "store.postgres.url",
}
"""Settings that the chart sets, and the value that is instead."""


def told(change: Any, directory: Path, use: str = "team") -> str:
    """What is said of an example with a change."""
    file = directory / "change.yaml"
    file.write_text(yaml.safe_dump(change), encoding="utf-8")
    with pytest.raises(Refused) as refused:
        template(CHART / f"values-{use}.yaml", file)
    return str(refused.value)


@pytest.mark.parametrize("case", CASES, ids=[case["description"] for case in CASES])
def test_it_is_refused_and_says_so(case: Any, tmp_path: Path) -> None:
    said = told(case["change"], tmp_path, case.get("of", "team"))
    assert case["want"] in said
    assert "geheim" not in said or "additional properties" in said


def test_settings_that_the_chart_sets_are_refused_each(tmp_path: Path) -> None:
    """All at once: everything that is wrong is told."""
    settings: Any = {}
    for key in OURS:
        settings = merged(settings, at(key, {"x": 1}))
    said = told({"settings": settings}, tmp_path)
    for key, instead in OURS.items():
        expected = "none" if instead == "none" else f"it as {instead}"
        assert f"settings.{key}: the chart sets it; expected {expected}" in said
    assert said.count("the chart sets it") == len(OURS)


def test_settings_that_are_free_are_taken(tmp_path: Path) -> None:
    free = {"approvals": {"wait": "1m"}, "opa": {"batch": 8}, "store": {"local": ["data.read"]}, "watch": False}
    file = tmp_path / "free.yaml"
    file.write_text(yaml.safe_dump({"settings": free}), encoding="utf-8")
    made = template(CHART / "values-team.yaml", file)
    for line in ("wait: 1m", "batch: 8", "- data.read", "watch: false", "allotments: false"):
        assert line in made


def test_an_old_cluster_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"injection\.policy: none"):
        template(CHART / "values-team.yaml", options=["--kube-version", "1.35.4"])
    beta = [
        "--kube-version",
        "1.35.4",
        "--api-versions",
        "admissionregistration.k8s.io/v1beta1/MutatingAdmissionPolicy",
    ]
    assert "apiVersion: admissionregistration.k8s.io/v1beta1\nkind: Mutating" in template(
        CHART / "values-team.yaml", options=beta
    )
    none = template(CHART / "values-team.yaml", options=["--kube-version", "1.33.0", "--set", "injection.policy=none"])
    assert "kind: Mutating" not in none and "kind: ValidatingAdmissionPolicy" in none


def test_too_much_for_a_configmap_is_refused(tmp_path: Path) -> None:
    said = told({"policies": {"a.rego": "# " + "x" * 1_000_001}}, tmp_path)
    assert re.search(r"policies: found 10000\d\d bytes; expected at most 1000000", said)
