"""The chart's examples become objects that Kubernetes, Remit and our own rules take."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart import schemas
from chart.rendering import (
    NAMESPACE,
    USES,
    Document,
    at,
    by_hand,
    merged,
    of_kind,
    parsed,
    rendered,
    template,
    values_of,
)
from chart.tools import CHART, ROOT, folder, helm, opa, run
from chart.values_described import described
from remit.config import load

POLICY = ROOT / "tests" / "chart" / "policy"
CATALOGUE = ROOT / "tests" / "cases" / "catalogue_full.yaml"


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Schemas of what the chart makes."""
    out = tmp_path_factory.mktemp("schemas")
    made = [each for use in USES for each in rendered(use)]
    schemas.make(out, folder(), {(each["apiVersion"], each["kind"]) for each in made} | {("v1", "Namespace")})
    return out


def conform(known: Path, documents: Sequence[Document]) -> dict[str, Any]:
    """What kubeconform says of objects."""
    command = [folder() / "bin" / "kubeconform", "-strict", "-summary", "-output", "json"]
    done = run([*command, "-schema-location", f"{known}/{schemas.FILE}"], yaml.safe_dump_all(documents))
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def denied(documents: Sequence[Document]) -> list[str]:
    """What our own rules say against objects."""
    given = json.dumps({"documents": documents})
    query = "[message | message := data.chart[_].deny[_]]"
    done = opa("eval", "--format", "raw", "--data", POLICY, "--stdin-input", query, given=given)
    assert done.returncode == 0, done.stdout + done.stderr
    told: list[str] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("use", USES)
def test_helm_finds_nothing_to_say_against_an_example(use: str) -> None:
    done = helm("lint", "--strict", CHART, "--values", CHART / f"values-{use}.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("use", USES)
def test_every_object_is_one_that_kubernetes_knows_to_the_last_field(known: Path, use: str) -> None:
    told = conform(known, rendered(use))
    assert told["resources"] == []
    assert told["summary"] == {"valid": len(rendered(use)), "invalid": 0, "errors": 0, "skipped": 0}


@pytest.mark.parametrize("nothing", ["empty", "null"])
def test_it_is_so_too_where_lists_and_mappings_have_nothing_in_them(known: Path, tmp_path: Path, nothing: str) -> None:
    """Also where an example's are taken away again, which helm does with null."""
    values = values_of("team")
    for value in described():
        if value.default in ({}, []) or (isinstance(value.default, list) and nothing == "empty"):
            values = merged(values, at(value.key, None))
            if nothing == "empty":
                values = merged(values, at(value.key, type(value.default)()))
    bare = {"namespaces": ["agents"], "catalogueText": "currency: EUR", "desk": {"certificate": {"enabled": False}}}
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(merged(values, bare)), encoding="utf-8")
    objects = parsed(template(file))
    assert conform(known, objects)["summary"] == {"valid": len(objects), "invalid": 0, "errors": 0, "skipped": 0}
    assert denied(objects) == []


def test_a_misspelt_field_and_a_kind_that_is_not_known_are_found(known: Path) -> None:
    """Planted: what the test above would have to see."""
    objects = rendered("team")
    desk = of_kind(objects, "Deployment")[0]
    spec = desk["spec"]["template"]["spec"]
    container = spec["containers"][0]
    wrong = [
        merged(desk, {"spec": {"stratagy": {}}}),
        merged(desk, {"spec": {"template": {"spec": {"containers": [{**container, "readynessProbe": {}}]}}}}),
        merged(desk, {"spec": {"template": {"spec": {"containers": [{**container, "args": "desk"}]}}}}),
        merged(desk, {"metadata": {"labells": {"a": "b"}}}),
        merged(of_kind(objects, "Certificate")[0], {"spec": {"dnsName": ["a"]}}),
        merged(of_kind(objects, "NetworkPolicy")[0], {"spec": {"policyType": ["Ingress"]}}),
        merged(of_kind(objects, "MutatingAdmissionPolicy")[0], {"spec": {"mutatoins": []}}),
    ]
    for each in wrong:
        assert conform(known, [each])["summary"]["invalid"] == 1, each
    unknown = {"apiVersion": "example.com/v1", "kind": "Unknown", "metadata": {"name": "a"}}
    assert conform(known, [unknown])["summary"] == {"valid": 0, "invalid": 0, "errors": 1, "skipped": 0}


@pytest.mark.parametrize("use", USES)
def test_no_object_breaks_our_own_rules(use: str) -> None:
    assert denied(rendered(use)) == []


@pytest.mark.parametrize("use", USES)
def test_a_pod_with_the_parts_that_are_injected_breaks_none_either(known: Path, use: str, tmp_path: Path) -> None:
    objects = parsed(by_hand(values_of(use), tmp_path / "own"))
    agent = of_kind(objects, "Deployment", "agent")[0]
    assert conform(known, [agent])["resources"] == []
    agent["metadata"]["labels"] = {"app.kubernetes.io/instance": "own"}
    agent["spec"]["template"]["spec"]["securityContext"] = {"runAsNonRoot": True}
    assert denied([agent]) == []


def test_our_own_rules_find_what_is_planted_into_objects() -> None:
    assert opa("fmt", "--fail", "--list", POLICY).stdout == ""
    checked = opa("check", "--strict", POLICY)
    assert checked.returncode == 0, checked.stderr
    done = opa("test", POLICY, "--format", "json")
    results = json.loads(done.stdout)
    assert len(results) == 2 and [each["name"] for each in results if each.get("fail")] == []


@pytest.mark.parametrize("use", USES)
def test_the_same_values_make_the_same_objects(use: str) -> None:
    """An upgrade from this version to itself changes nothing: no time and no chance in it."""
    file = CHART / f"values-{use}.yaml"
    first = template(file, options=["--is-upgrade"])
    assert hashlib.sha256(first.encode()).digest() == hashlib.sha256(template(file).encode()).digest()


def test_what_cannot_be_changed_later_is_the_same_for_all_values() -> None:
    """A Deployment's selector, and labels that others go by, are not of what values say."""
    for use in ("team", "regulated"):
        desk = of_kind(rendered(use), "Deployment")[0]
        selector = desk["spec"]["selector"]["matchLabels"]
        assert selector == {
            "app.kubernetes.io/name": "remit",
            "app.kubernetes.io/instance": "remit",
            "app.kubernetes.io/component": "desk",
        }
        assert desk["spec"]["template"]["metadata"]["labels"] == selector
        assert of_kind(rendered(use), "Service")[0]["spec"]["selector"] == selector


def test_the_first_install_migrates_before_anything_of_the_release_is_there() -> None:
    """The job needs no object that is not a hook before it, or a secret that its users make."""
    objects = rendered("team")
    job = of_kind(objects, "Job")[0]
    hooks = [each for each in objects if "helm.sh/hook" in each["metadata"].get("annotations", {})]
    order = {each["kind"]: int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) for each in hooks}
    assert order == {"ServiceAccount": -20, "NetworkPolicy": -10, "Job": 0}
    for each in hooks:
        noted = each["metadata"]["annotations"]
        assert noted["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert noted["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
    spec = job["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] in [
        each["metadata"]["name"] for each in hooks if each["kind"] == "ServiceAccount"
    ]
    assert [each["name"] for each in spec["volumes"] if "configMap" in each] == []


@pytest.mark.parametrize("use", USES)
def test_the_settings_and_the_catalogue_are_what_remit_reads(use: str, tmp_path: Path) -> None:
    """Of every namespace the same; secrets are files, and each file is where a volume is mounted."""
    configs = of_kind(rendered(use), "ConfigMap", "remit-config")
    assert all(each["data"] == configs[0]["data"] for each in configs)
    for name, text in configs[0]["data"].items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "remit.yaml").write_text("currency: EUR\n", encoding="utf-8")
    settings, catalogue = load([tmp_path], {}, {}, lambda settings: (bundle, None))
    assert settings.kubernetes.audience == "remit"
    if use == "dev":
        assert catalogue.agents["support"].mode == "observe" and not settings.store.shared
    else:
        assert settings.keys == Path("/etc/remit/keys")
        assert settings.store.password_file == Path("/etc/remit/store/password")
        assert not settings.store.allotments
    if use == "regulated":
        assert settings.bundle is not None and settings.bundle.key == Path("/etc/remit/config/bundle.pem")
        assert settings.bundle.token_file == Path("/etc/remit/bundle/token")


def test_the_desk_is_given_settings_that_it_reads(tmp_path: Path) -> None:
    desk = of_kind(rendered("regulated"), "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    environment = {each["name"]: each["value"] for each in desk["env"]}
    (tmp_path / "remit.yaml").write_text("currency: EUR\n", encoding="utf-8")
    settings, _ = load([tmp_path], environment, {})
    assert settings.desk.oidc is not None and settings.desk.oidc.claim == "sub"
    assert settings.desk.tls is not None and settings.desk.public_url == "https://desk.example.com"
    assert settings.desk.hosts == (
        "desk.example.com",
        "remit-desk",
        f"remit-desk.{NAMESPACE}",
        f"remit-desk.{NAMESPACE}.svc",
    )
    mounted = [each["mountPath"] for each in desk["volumeMounts"]]
    oidc = settings.desk.oidc.client_secret_file
    for file in (settings.desk.tls.cert, settings.desk.tls.key, oidc, settings.state):
        assert any(str(file).startswith(f"{path}/") for path in mounted), file


@pytest.mark.parametrize("use", ["team", "regulated"])
def test_every_file_that_the_settings_name_is_mounted(use: str, tmp_path: Path) -> None:
    """In the desk and in a governed pod, where they are at the same place."""
    values = values_of(use)
    if use == "team":
        values["policies"] = {"a.rego": "package a"}
    objects = parsed(by_hand(values, tmp_path / "own"))
    config = of_kind(objects, "ConfigMap", "remit-config")[0]["data"]
    named = set(re.findall(r"/etc/remit/\S+", config["settings.yaml"] + config.get("catalogue.yaml", "")))
    assert len(named) >= 4
    for workload, container, lacks in (("agent", "remit", ()), ("remit-desk", "desk", ("/etc/remit/credentials/",))):
        spec = of_kind(objects, "Deployment", workload)[0]["spec"]["template"]["spec"]
        ours = next(e for e in spec["containers"] + spec.get("initContainers", []) if e["name"] == container)
        mounts = {each["mountPath"] for each in ours["volumeMounts"]}
        for path in (each.rstrip("]}") for each in named):
            if not path.startswith(lacks):
                assert any(f"{path}/".startswith(f"{mount}/") for mount in mounts), (workload, path)


def test_what_is_read_once_restarts_the_desk_and_what_is_watched_does_not(tmp_path: Path) -> None:
    def desk(change: Document) -> Any:
        file = tmp_path / "change.yaml"
        file.write_text(yaml.safe_dump(change), encoding="utf-8")
        return of_kind(parsed(template(CHART / "values-team.yaml", file)), "Deployment")[0]["spec"]["template"]

    before = desk({})
    assert desk({"catalogue": {"teams": {"another": {}}}}) == before
    assert desk({"policies": {"hours/night.rego": "package remit.custom.hours"}}) != before  # a volume more
    assert desk({"settings": {"approvals": {"wait": "1m"}}}) != before
    assert desk({"sidecar": {"drainSeconds": 20}}) != before


def test_policies_keep_their_paths(tmp_path: Path) -> None:
    texts = {"a/b.rego": "package a\n", "a.b.rego": "package b\n", "hours/night/data.json": '{"a": [1, "x: y"]}\n'}
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump({"policies": texts}), encoding="utf-8")
    objects = parsed(template(CHART / "values-team.yaml", file))
    made = of_kind(objects, "ConfigMap", "remit-policies")
    assert sorted(each["metadata"]["namespace"] for each in made) == ["agents", NAMESPACE]
    desk = of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"]
    items = next(each["configMap"]["items"] for each in desk["volumes"] if each["name"] == "policies")
    assert {item["path"]: made[0]["data"][item["key"]] for item in items} == texts


def test_a_catalogue_of_every_key_comes_through_as_it_was_written(tmp_path: Path) -> None:
    """helm reads YAML into numbers and prints it anew, keys in order: nothing else may be another by that."""
    whole = CATALOGUE.read_text(encoding="utf-8")
    text = whole[whole.index("\ncurrency:") :]
    ordered = yaml.safe_dump(yaml.load(text, yaml.CSafeLoader))
    base = {key: value for key, value in values_of("team").items() if key != "catalogue"}
    files = {name: tmp_path / name for name in ("base", "catalogue", "text")}
    files["base"].write_text(yaml.safe_dump(base), encoding="utf-8")
    files["catalogue"].write_text("catalogue:\n  " + text.replace("\n", "\n  "), encoding="utf-8")
    files["text"].write_text(text, encoding="utf-8")

    def carried(*values: Path, options: Sequence[str] = ()) -> str:
        made = of_kind(parsed(template(files["base"], *values, options=options)), "ConfigMap", "remit-config")
        return read(made[0]["data"]["catalogue.yaml"])

    def read(written: str) -> str:
        (tmp_path / "remit.yaml").write_text(written, encoding="utf-8")
        return load([tmp_path / "remit.yaml"], {}, {})[1].digest

    assert carried(files["catalogue"]) == read(ordered)
    assert carried(options=["--set-file", f"catalogueText={files['text']}"]) == read(text)
    assert read(text) != read(ordered)
