"""`remit k8s check`: each fault that is planted in a well cluster is found and named, whatever kubectl says."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from remit.cli import k8s_check, k8s_kubectl
from remit.core.k8s_findings import Reading, apart

from .conftest import Remit
from .k8s_stage import (
    CATALOGUE,
    CONFIG,
    DESK,
    DESK_PODS,
    DRY,
    GROUP,
    PODS,
    SELECTOR,
    SUPPORT,
    TOKEN,
    VALIDATING,
    FakeCluster,
    about,
    binding,
    failing,
    keys,
    pod,
    policies,
    policy,
    secret,
)
from .test_up import Up

Json = Any
Fault = Callable[[FakeCluster], None]


@pytest.fixture
def cluster(place: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """All well, as `kubectl` on PATH tells it."""
    monkeypatch.setenv("PATH", str(place / "bin"))
    return FakeCluster(place / "bin")


@pytest.fixture
def quick(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """The same without a process for each question."""
    cluster.write()
    monkeypatch.setattr(k8s_kubectl, "_run", cluster.run)
    return cluster


def test_a_cluster_that_is_well_is_said_to_be(remit: Remit, cluster: FakeCluster) -> None:
    """Every line is ok; nothing but reading and dry runs was asked for, and no token is shown."""
    cluster.write()
    ended = remit("k8s", "check")

    lines = ended.out.splitlines()
    assert (ended.code, ended.err) == (0, ""), ended
    assert [line for line in lines[:-1] if not line.startswith("ok ")] == []
    assert lines[-1] == f"{len(lines) - 1} ok"
    assert [each for each in cluster.asked if each.split()[0] not in ("get", "version", "config", "create")] == []
    assert [each for each in cluster.asked if each.startswith("create ") and "--dry-run=server" not in each] == [
        TOKEN.format("remit"),
        TOKEN.format("remit-other"),
    ]
    assert cluster.answers[TOKEN.format("remit")]["out"] not in ended.out


def answer(key: str, value: Json) -> Fault:
    """Another answer."""

    def planted(cluster: FakeCluster) -> None:
        assert key in cluster.answers, key
        cluster.answers[key] = value

    return planted


def gone(*parts: str) -> Fault:
    """No such thing."""

    def planted(cluster: FakeCluster) -> None:
        for key in parts:
            del cluster.answers[key]

    return planted


def edited(key: str, edit: Callable[[Json], None]) -> Fault:
    """A part of an answer is another."""

    def planted(cluster: FakeCluster) -> None:
        cluster.answers[key] = deepcopy(cluster.answers[key])
        edit(cluster.answers[key])

    return planted


def put(*path: Any, value: Json) -> Callable[[Json], None]:
    """Something else there."""

    def edit(thing: Json) -> None:
        for step in path[:-1]:
            thing = thing[step]
        thing[path[-1]] = value

    return edit


def catalogue(old: str, new: str) -> Fault:
    """The catalogue says something else."""
    assert old in CATALOGUE
    return edited(CONFIG, put("data", "catalogue.yaml", value=CATALOGUE.replace(old, new)))


def token(issuer: str, audience: str = "remit", asked: str = "remit") -> Fault:
    """The API server gives another token than was asked for."""

    def planted(cluster: FakeCluster) -> None:
        cluster.answers[TOKEN.format(asked)] = {"out": cluster.signer.token(audience, issuer)}

    return planted


def running(edit: Callable[[Json], None]) -> Fault:
    """The governed pod is another."""
    one = pod("support-1")
    edit(one)
    return answer(PODS, {"items": [one]})


SIDECAR = ("status", "initContainerStatuses", 1)
ENFORCE = {"pod-security.kubernetes.io/enforce": "baseline"}
ISSUER = "https://kubernetes.default.svc"
POD_SECURITY = failing('Error from server (Forbidden): pods "x" is forbidden: violates PodSecurity "baseline:latest"')
AHEAD = '{"checks": {"opa": true, "store": true}, "revision": "r1", "time": "@AHEAD"}'
FORBIDDEN = failing(
    'Error from server (Forbidden): secrets "openai" is forbidden: User "ana" cannot get resource "secrets" in API '
    'group "" in the namespace "agents"'
)

FAULTS: dict[str, tuple[Fault, str, str, str]] = {
    "old server": (answer("version -o json", {"serverVersion": {"gitVersion": "v1.29.4"}}), "server", "wrong", "1.30"),
    "no version": (answer("version -o json", {}), "server", "wrong", "expected one such as v1.36.0"),
    "no mutating policies": (
        answer(f"get --raw /apis/{GROUP}/v1", {"resources": [{"name": "validatingadmissionpolicies"}]}),
        "server",
        "warning",
        "serves no MutatingAdmissionPolicy",
    ),
    "no policies at all": (gone(f"get --raw /apis/{GROUP}/v1"), "server", "wrong", "no ValidatingAdmissionPolicy"),
    "no injection": (
        edited(policies("mutating", "ies"), put("items", value=[])),
        "admission",
        "wrong",
        "MutatingAdmissionPolicy remit-inject is not there",
    ),
    "injection unbound": (
        edited(policies("mutating", "ybindings"), put("items", value=[])),
        "admission",
        "wrong",
        "remit-inject has no binding",
    ),
    "requirement unbound": (
        edited(policies("validating", "ybindings"), lambda found: found["items"].pop(0)),
        "admission",
        "wrong",
        "remit-require has no binding",
    ),
    "private gone": (
        edited(policies("validating", "ies"), lambda found: found["items"].pop(1)),
        "admission",
        "wrong",
        "remit-private is not there",
    ),
    "requirement that only warns": (
        edited(policies("validating", "ybindings"), put("items", 0, "spec", "validationActions", value=["Warn"])),
        "admission",
        "wrong",
        "does not refuse",
    ),
    "requirement that is narrowed": (
        edited(
            policies("validating", "ybindings"),
            put("items", 0, value=binding(VALIDATING, "remit-require", matchResources={"x": 1})),
        ),
        "admission",
        "wrong",
        "narrower",
    ),
    "requirement that may fail": (
        edited(policies("validating", "ies"), put("items", 0, "spec", "failurePolicy", value="Ignore")),
        "admission",
        "wrong",
        "failurePolicy: Ignore",
    ),
    "parts of two charts": (
        edited(policies("validating", "ies"), put("items", 1, "metadata", "labels", "helm.sh/chart", value="remit-9")),
        "version",
        "wrong",
        "several charts: remit-0.1.0, remit-9",
    ),
    "namespace gone": (gone("get namespace agents -o json"), "namespaces", "wrong", "governed, and not there"),
    "namespace restricted": (
        edited("get namespace agents -o json", put("metadata", "labels", value=ENFORCE)),
        "pod security",
        "wrong",
        "agents is at level baseline",
    ),
    "pod refused by Pod Security": (answer(DRY, POD_SECURITY), "injection", "wrong", "violates PodSecurity"),
    "pod refused by another": (
        answer(DRY, failing('Error from server: admission webhook "x" denied the request: no')),
        "injection",
        "wrong",
        "denied the request: no",
    ),
    "webhook without dry runs": (
        answer(DRY, failing('Error from server (BadRequest): admission webhook "x" does not support dry run')),
        "injection",
        "not looked at",
        "does not support dry run",
    ),
    "pod not injected": (
        edited(DRY, put("spec", "initContainers", value=[])),
        "injection",
        "wrong",
        "it has no sidecar",
    ),
    "something before Remit": (
        edited(DRY, lambda found: found["spec"]["initContainers"].insert(0, {"name": "first"})),
        "injection",
        "wrong",
        "begin with first",
    ),
    "hostPID let in": (answer(f"{DRY} hostPID", pod("x")), "refusal", "wrong", "with hostPID is let in"),
    "refused by another first": (
        answer(f"{DRY} hostPID", failing("Error from server: denied by another")),
        "refusal",
        "not looked at",
        "denied by another",
    ),
    "config gone": (gone(CONFIG), "config", "wrong", "ConfigMap agents/remit-config is not there"),
    "catalogue broken": (
        catalogue("currency: EUR", "currencies: EUR"),
        "config",
        "wrong",
        "agents/remit-config catalogue.yaml:2:1",
    ),
    "settings broken": (
        edited(CONFIG, put("data", "settings.yaml", value="sidecar: {nothing: 1}")),
        "config",
        "wrong",
        "agents/remit-config settings.yaml:1",
    ),
    "no account": (
        catalogue("kubernetes: {namespace: agents, service_account: support}", f"token_hash: sha256:{'0' * 64}"),
        "identity",
        "warning",
        "no agent of the catalogue has a service account",
    ),
    "account elsewhere": (
        catalogue("namespace: agents", "namespace: other"),
        "identity",
        "wrong",
        "namespace other is not governed",
    ),
    "account gone": (
        answer("get serviceaccounts -n agents -o json", {"items": []}),
        "identity",
        "wrong",
        "agent support is agents/support, and there is no such service account",
    ),
    "account that may not review": (
        catalogue("service_account: support", "service_account: support, fresh: true"),
        "identity",
        "warning",
        "remit-tokenreview has it not",
    ),
    "secret gone": (gone(secret("remit-keys")), "secrets", "wrong", "agents/remit-keys is not there"),
    "key gone": (answer(secret("remit-keys"), keys("hmac.key")), "secrets", "wrong", "no context.key, views.key"),
    "key empty": (answer(secret("openai"), {"out": "secret\nempty key\n"}), "secrets", "wrong", "nothing in key"),
    "authority gone": (
        answer(secret("remit-store"), keys("password")),
        "secrets",
        "wrong",
        "remit-store has no ca.crt",
    ),
    "desk's certificate gone": (gone(secret("remit-desk-tls", "remit")), "secrets", "wrong", "remit/remit-desk-tls"),
    "secret unseen": (
        answer(secret("openai"), FORBIDDEN),
        "secrets",
        "not looked at",
        "get secrets in namespace agents",
    ),
    "network policy gone": (
        gone("get networkpolicy -n agents remit-governed -o json"),
        "network",
        "warning",
        "remit-governed is not there",
    ),
    "another issuer": (token("https://other"), "tokens", "wrong", "of another issuer than this cluster"),
    "another key": (answer("get --raw /openid/v1/jwks", {"keys": []}), "tokens", "wrong", "no JWK Set"),
    "every audience": (token(ISSUER, asked="remit-other"), "tokens", "wrong", "is good for remit too"),
    "another audience": (token(ISSUER, "other"), "tokens", "wrong", "not for the audience remit"),
    "another audience in pods": (
        edited(
            DRY, put("spec", "volumes", 3, "projected", "sources", 0, "serviceAccountToken", "audience", value="other")
        ),
        "tokens",
        "wrong",
        "pods get tokens for 'other'",
    ),
    "no token": (answer(TOKEN.format("remit"), failing("Error: canary")), "tokens", "not looked at", "could be had"),
    "labelled, not injected": (
        running(put("spec", "initContainers", value=[])),
        "pods",
        "wrong",
        "agents/support-1 is labelled, and it has no sidecar",
    ),
    "labelled, not governed": (
        running(put("metadata", "namespace", value="other")),
        "pods",
        "wrong",
        "namespace other is not governed",
    ),
    "older chart": (
        running(put("metadata", "annotations", "remit/injected", value="0.0.9")),
        "pods",
        "warning",
        "the sidecar of chart 0.0.9, the release is 0.1.0",
    ),
    "other image": (
        running(put("spec", "initContainers", 1, "image", value="remit:other")),
        "pods",
        "warning",
        "differs from the chart's by remit's image",
    ),
    "not ready": (
        running(
            put(*SIDECAR, value={"name": "remit", "ready": False, "state": {"waiting": {"reason": "ImagePullBackOff"}}})
        ),
        "pods",
        "wrong",
        "agents/support-1 is not ready: its remit is not (ImagePullBackOff)",
    ),
    "lock-down fails": (
        running(
            lambda one: one["status"].update(
                initContainerStatuses=[
                    {"name": "remit-lockdown", "restartCount": 3, "lastState": {"terminated": {"message": "no nft"}}}
                ]
            )
        ),
        "pods",
        "wrong",
        "remit-lockdown fails (no nft)",
    ),
    "restarted": (running(put(*SIDECAR, "restartCount", value=2)), "pods", "warning", "remit was restarted 2 times"),
    "OPA away": (answer(SUPPORT, about(opa=False)), "members", "wrong", "agents/support-1: OPA not well"),
    "store away": (answer(DESK, about(store=False)), "members", "wrong", "remit/remit-desk-1: the store not well"),
    "Envoy away": (answer(SUPPORT, about(egress=False)), "members", "wrong", "the egress (Envoy) not well"),
    "pod cannot be dialled": (
        answer(SUPPORT, failing("Error from server (ServiceUnavailable): error trying to reach service: dial tcp: x")),
        "members",
        "not looked at",
        "error trying to reach service",
    ),
    "older sidecar": (gone(SUPPORT), "members", "not looked at", "an older sidecar"),
    "something else answers": (answer(SUPPORT, {"out": "<html>"}), "members", "not looked at", "answered nothing"),
    "clock ahead": (answer(SUPPORT, {"out": AHEAD, "ahead": 40}), "clocks", "warning", "agents/support-1 is"),
    "clock far behind": (answer(DESK, {"out": AHEAD, "ahead": -400}), "clocks", "wrong", "s behind the API server"),
    "revisions differ": (answer(DESK, about("r2")), "policies", "warning", "r1: agents/support-1; r2: remit/remit-d"),
    "desk not ready": (
        edited(f"get deployments -n remit -l {SELECTOR} -o json", put("items", 0, "status", value={})),
        "desk",
        "wrong",
        "remit/remit-desk has no pod that is ready",
    ),
    "operator, nothing for it": (
        answer("get --raw /apis/monitoring.coreos.com/v1", {"resources": [{"name": "servicemonitors"}]}),
        "monitoring",
        "warning",
        "nothing of the release is for it",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_and_named(remit: Remit, quick: FakeCluster, name: str) -> None:
    """One fault, its check and its level; exit code 1 where something is wrong. What is bad says what to do."""
    plant, check, level, told = FAULTS[name]
    plant(quick)
    ended = remit("k8s", "check", "--json")

    found = ended.document["findings"]
    named = [each for each in found if (each["check"], each["level"]) == (check, level) and _in(each, told)]
    assert named, [each for each in found if each["level"] != "ok"]
    assert ended.code == (1 if any(each["level"] == "wrong" for each in found) else 0)
    assert [each for each in found if each["level"] in ("wrong", "warning") and not each["do"]] == []
    assert "canary" not in ended.out


def _in(found: Json, told: str) -> bool:
    return told in f"{found['found']}. {found['do']}"


def test_a_fault_hides_no_other(remit: Remit, quick: FakeCluster) -> None:
    """Rights that are missing for one check leave the others as they are."""
    for fault in ("secret unseen", "store away", "account gone", "restarted", "another issuer"):
        FAULTS[fault][0](quick)
    found = remit("k8s", "check", "--json").document["findings"]

    bad = {(each["check"], each["level"]) for each in found if each["level"] != "ok"}
    assert bad == {
        ("secrets", "not looked at"),
        ("members", "wrong"),
        ("identity", "wrong"),
        ("pods", "warning"),
        ("tokens", "wrong"),
    }


def test_before_installing_it_says_whether_the_cluster_could_take_it(remit: Remit, quick: FakeCluster) -> None:
    """Exit code 0 where it could, 1 where it could not."""
    everything = dict(quick.answers)
    quick.answers = {key: everything[key] for key in list(everything)[:3]}
    for key in (f"get {kind} -n remit -l {SELECTOR} -o json" for kind in ("configmaps", "deployments")):
        quick.answers[key] = {"items": []}
    for kind in ("validating", "mutating"):
        for what in ("ies", "ybindings"):
            quick.answers[policies(kind, what)] = {"items": []}
    quick.answers["get namespace remit -o json"] = {"metadata": {"name": "remit", "labels": ENFORCE}}
    could = remit("k8s", "check")
    FAULTS["old server"][0](quick)
    not_so = remit("k8s", "check")

    assert could.code == 0 and "no release remit in namespace remit; this cluster can take one" in could.out
    assert "remit is at level baseline: lockdown.mode init needs privileged" in could.out
    assert not_so.code == 1 and "this cluster cannot take one as it is" in not_so.out


def test_a_release_that_is_elsewhere_is_told_where(remit: Remit, quick: FakeCluster) -> None:
    for kind in ("configmaps", "deployments"):
        quick.answers[f"get {kind} -n default -l {SELECTOR} -o json"] = {"items": []}
    ended = remit("k8s", "check", "--namespace", "default")

    assert ended.code == 1
    assert "release remit is not in namespace default but in remit. Do: remit k8s check --namespace remit" in ended.out


def test_who_may_see_nothing_is_told_which_rights_it_needs(remit: Remit, quick: FakeCluster) -> None:
    """No crash, and no ok for what was not looked at."""
    for key in quick.answers:
        if key.startswith(("get ", "create ")) and "/apis/" not in key:
            verb, kind = key.split()[:2]
            said = f'Error from server (Forbidden): no: User "ana" cannot {verb} resource "{kind}" in API group ""'
            quick.answers[key] = failing(said)
    ended = remit("k8s", "check")

    assert ended.code == 0
    assert [line.split()[1] for line in ended.out.splitlines()[:-1] if line.startswith("ok ")] == ["server:"]
    assert "not looked at  admission: needs the right to get validatingadmissionpolicies" in ended.out


AWAY = {
    "refused": "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?",
    "no name": "Unable to connect to the server: dial tcp: lookup nowhere: no such host",
    "nobody": "error: You must be logged in to the server (Unauthorized)",
    "certificate": "Unable to connect to the server: tls: failed to verify certificate: x509: unknown authority",
}


@pytest.mark.parametrize("name", AWAY)
def test_a_cluster_that_cannot_be_reached_is_exit_code_3(remit: Remit, cluster: FakeCluster, name: str) -> None:
    cluster.answers["version -o json"] = failing(AWAY[name])
    cluster.write()
    ended = remit("k8s", "check")

    assert (ended.code, ended.out) == (3, "")
    assert ended.err.startswith("remit: the cluster cannot be reached: ")


def test_what_is_used_wrongly_is_exit_code_2(
    remit: Remit, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A context that is none, names that are none, no kubectl."""
    cluster.answers["--context=nope config view --minify --output jsonpath={..namespace}"] = failing(
        'error: cannot locate context "nope": context "nope" does not exist'
    )
    cluster.write()
    for arguments in (
        ("--context", "nope"),
        ("--namespace", "../x"),
        ("--namespace", "-A"),
        ("--release", "a b"),
        ("--x",),
    ):
        ended = remit("k8s", "check", *arguments)
        assert (ended.code, ended.out) == (2, ""), (arguments, ended)
    monkeypatch.setenv("PATH", "/nowhere")
    assert remit("k8s", "check").err.startswith("remit: kubectl is not on PATH")


HOSTILE: dict[str, Json] = {
    "no JSON": {"out": "nothing of that kind \x1b[2J"},
    "a list": {"out": "[]"},
    "deep": {"out": "[" * 100_000},
    "other types": {"out": '{"items": {"a": 1}, "metadata": [], "spec": "x", "status": 3, "data": [1], "keys": 1}'},
    "odd items": {
        "out": '{"items": [1, null, {"metadata": {"name": ["x"]}}, {"metadata": {"name": "../../x", "namespace": 3}}]}'
    },
    "nothing": {"out": ""},
    "surrogates": {
        "out": '{"data": {"catalogue.yaml": "\\ud800", "../x": "y", "..": "z"}, "metadata": {"name": "\\ud800"}}'
    },
    "control characters": failing("Error from server: \x1b[31m\x07 evil \u202e"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_kubectl_says_is_an_answer_or_none(remit: Remit, quick: FakeCluster, name: str) -> None:
    """Each command line in turn is answered with it: no crash, and nothing that acts on a terminal."""
    keys = [key for key in quick.answers if key.split()[0] != "config"]
    for number, key in enumerate(keys):
        if number % len(HOSTILE) == list(HOSTILE).index(name) or key in (CONFIG, PODS, DRY, DESK_PODS):
            quick.answers[key] = HOSTILE[name]
    ended = remit("k8s", "check")

    assert ended.code in (0, 1, 3), ended
    assert "an error of Remit's own" not in ended.err
    assert (ended.out + ended.err).replace("\n", "").isprintable()


def test_a_kubectl_that_hangs_or_never_stops_is_ended(
    remit: Remit, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is not looked at; the very first is the cluster; several in a row are, too."""
    monkeypatch.setattr(k8s_check, "Kubectl", lambda program, flags: k8s_kubectl.Kubectl(program, flags, seconds=3))
    monkeypatch.setattr(k8s_kubectl, "MAX_BYTES", 1 << 20)
    cluster.answers[PODS] = {"hang": True}
    cluster.answers[CONFIG] = {"flood": True}
    cluster.write()
    one = remit("k8s", "check", "--json")
    cluster.answers["version -o json"] = {"hang": True}
    cluster.write()
    began = time.monotonic()
    first = remit("k8s", "check")

    unseen = {each["check"]: each["found"] for each in one.document["findings"] if each["level"] == "not looked at"}
    assert (
        unseen["pods"] == "kubectl gave no answer within 3 s" and unseen["config"] == "kubectl answered more than 1 MB"
    )
    assert first.code == 3 and time.monotonic() - began < 30


def test_an_old_policy_still_says_where_it_governs(remit: Remit, quick: FakeCluster) -> None:
    """Where the requirement cannot be read, the injection tells; where neither, the release's namespace is taken."""
    quick.answers[policies("validating", "ies")] = {"items": []}
    selector = {"matchExpressions": [{"key": "x", "values": ["agents"]}]}
    quick.answers[policies("mutating", "ies")] = {
        "items": [policy("MutatingAdmissionPolicy", "remit-inject", matchConstraints={"namespaceSelector": selector})]
    }
    found = remit("k8s", "check", "--json").document["findings"]

    assert [each for each in found if each["check"] == "injection" and "agents" in each["found"]]


@pytest.mark.parametrize(
    ("one", "other", "off"),
    [
        (Reading(100, 10, 10), Reading(100, 10, 10), 0),
        (Reading(100.9, 10, 10.1), Reading(100, 10, 10.1, step=1), 0),
        (Reading(130, 10, 11), Reading(100, 10, 11, step=1), 28),
        (Reading(70, 10, 11), Reading(100, 10, 11, step=1), -29),
        (Reading(105, 15, 15), Reading(100, 10, 10), 0),
    ],
)
def test_clocks_are_as_far_apart_as_they_must_be_at_least(one: Reading, other: Reading, off: float) -> None:
    """What the asking took is in nobody's favour."""
    assert apart(one, other) == pytest.approx(off)


@pytest.mark.opa
def test_what_a_real_sidecar_says_of_itself_is_what_is_asked_for(
    remit: Remit, quick: FakeCluster, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own words at /about, asked for by another name, are a member that is well, and whose clock is right."""
    (place / "remit.yaml").write_text("currency: EUR\nteams: {cx: {}}\n")
    monkeypatch.setenv("REMIT_OPS", "127.0.0.1:0")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    up = Up(place)
    try:
        asked = urllib.request.Request(f"{up.said['addresses'][-1]}/about", headers={"Host": "api.example.com"})
        with urllib.request.urlopen(asked, timeout=10) as answered:
            said = answered.read().decode()
    finally:
        up.stop()
    monkeypatch.setenv("PATH", str(place / "bin"))
    quick.answers[SUPPORT] = {"out": said}
    quick.answers[DESK] = about(json.loads(said)["revision"])
    ended = remit("k8s", "check")

    assert (ended.code, ended.out.splitlines()[-1].split(", ")[1:]) == (0, []), ended
    assert json.loads(said)["checks"] == {"opa": True, "store": True}
