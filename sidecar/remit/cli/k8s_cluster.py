"""The API server, the release's objects, and what admission makes of pods: server-side dry runs, nothing is made."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from typing import Any

from remit.cli.k8s_kubectl import KubectlFailed, NotAllowed, NotThere, TookTooLong
from remit.cli.k8s_looking import Look
from remit.core.k8s_findings import (
    Finding,
    Level,
    Reading,
    admission,
    at,
    governed,
    injected,
    is_name,
    listed,
    locks_down,
    name_of,
    ok,
    pod_security,
    probe,
    server,
    text,
    unseen,
    versions,
    warning,
    wrong,
)

Json = Any

GROUP = "admissionregistration.k8s.io"
REFUSAL = "remit: a governed pod has namespaces of its own"
OTHER_REFUSAL = "remit: containers of a governed pod share no process namespace"
MONITORING = "/apis/monitoring.coreos.com/v1"


def look_at_server(look: Look) -> Iterator[Finding]:
    """Its version, and what of admission it serves. It is the first that is asked: Away is raised here."""
    found = text(look.kubectl.json("version", "-o", "json"), "serverVersion", "gitVersion")
    kinds = set()
    for each in ("v1", "v1beta1"):
        try:
            resources = look.kubectl.json("get", "--raw", f"/apis/{GROUP}/{each}")
        except NotThere:
            continue
        kinds |= {f"{each}/{text(one, 'name')}" for one in listed(resources, "resources")}
    look.mutating = any("mutatingadmissionpolicies" in each.partition("/")[2] for each in kinds)
    yield from server(found, kinds)


def look_at_release(look: Look) -> Iterator[Finding]:
    """What of the release is there: objects of the namespace, and its policies in the cluster."""
    for kind in ("configmaps", "deployments"):
        look.objects += listed(look.get(kind, look.namespace, "-l", look.selector), "items")
    yield from ()


def look_at_admission(look: Look) -> Iterator[Finding]:
    """The policies and their bindings."""
    bindings: list[Json] = []
    kinds = ["validatingadmissionpolic"] + ["mutatingadmissionpolic"] * look.mutating
    for kind in kinds:
        look.policies += listed(look.get(f"{kind}ies.{GROUP}", "", "-l", look.selector), "items")
        bindings += listed(look.get(f"{kind}ybindings.{GROUP}", "", "-l", look.selector), "items")
    if look.policies or bindings or look.objects:
        yield from admission(look.release, look.policies, bindings, mutating=look.mutating)


def elsewhere(look: Look) -> str:
    """The namespace that the release's policies say it is in, where that is another one."""
    said = {text(each, "metadata", "annotations", "meta.helm.sh/release-namespace") for each in look.policies} - {""}
    return next(iter(sorted(said)), "") if said and look.namespace not in said else ""


def before(look: Look) -> Iterator[Finding]:
    """There is no release: whether the cluster could take one."""
    bad = [each for each in look.found if each.check == "server" and each.level is Level.WRONG]
    could = "this cluster cannot take one as it is" if bad else "this cluster can take one"
    found = f"no release {look.release} in namespace {look.namespace}; {could}"
    do = f"helm install {look.release} helm/remit -n {look.namespace} --values … (docs/kubernetes.md), or --namespace"
    yield warning("release", found, do)
    there = look.maybe("namespace", "", look.namespace)
    if there is None:
        yield warning("namespaces", f"{look.namespace} is not there", f"kubectl create namespace {look.namespace}")
        return
    level = text(there, "metadata", "labels", "pod-security.kubernetes.io/enforce")
    if level in ("baseline", "restricted"):
        do = "label agents' namespaces privileged, or lockdown.mode: none (docs/kubernetes.md, lock-down)"
        yield warning("pod security", f"{look.namespace} is at level {level}: lockdown.mode init needs privileged", do)


def after(look: Look) -> Iterator[Finding]:
    """There is one: its versions, and where it governs."""
    yield from versions([*look.policies, *look.objects], version("remit"))
    look.lockdown = locks_down(look.policies, look.release)
    look.governed = governed(look.policies, look.release)
    if not look.governed:
        look.governed = (look.namespace,)
        do = f"read as {look.namespace} alone; the right to list validatingadmissionpolicies tells"
        yield unseen("namespaces", "which namespaces are governed, no policy says", do)


def look_at_namespace(look: Look, namespace: str) -> Iterator[Finding]:
    """Its level of Pod Security, and the NetworkPolicy."""
    there = look.maybe("namespace", "", namespace)
    if there is None:
        do = f"kubectl create namespace {namespace}, then helm upgrade; or take it from the chart's `namespaces`"
        yield wrong("namespaces", f"{namespace} is governed, and not there", do)
        return
    yield pod_security(namespace, at(there, "metadata", "labels"), lockdown=look.lockdown)


def look_at_network(look: Look, namespace: str) -> Iterator[Finding]:
    """Whether anything bounds what pods dial."""
    name = f"{look.release}-governed"
    if look.maybe("networkpolicy", namespace, name) is None:
        do = "right only with networkPolicy.enabled: false; otherwise helm upgrade makes it anew"
        yield warning("network", f"NetworkPolicy {namespace}/{name} is not there: nothing bounds what pods dial", do)
    else:
        yield ok("network", f"NetworkPolicy {namespace}/{name} is there (your network plugin enforces it, if it does)")


def look_at_injection(look: Look, namespace: str) -> Iterator[Finding]:
    """A pod with the label, asked about: what would come of it."""
    began = time.monotonic()
    try:
        pod = _asked(look, namespace)
    except (NotAllowed, NotThere, TookTooLong):
        raise
    except KubectlFailed as error:
        yield _refused(namespace, str(error))
        return
    _read_clock(look, pod, began)
    problem = injected(pod, lockdown=look.lockdown)
    if problem:
        do = f"look at admission above; helm upgrade {look.release} makes the policies anew"
        yield wrong("injection", f"a labelled pod in {namespace}: {problem}", do)
        return
    look.genuine[namespace] = pod
    yield ok("injection", f"a labelled pod in {namespace} gets its sidecar, before all else")


def look_at_refusal(look: Look, namespace: str) -> Iterator[Finding]:
    """The same pod with the node's processes in sight: Remit itself must refuse it."""
    said = ""
    for fields, refusal in (({"hostPID": True}, REFUSAL), ({"shareProcessNamespace": True}, OTHER_REFUSAL)):
        try:
            _asked(look, namespace, **fields)
        except (NotAllowed, NotThere, TookTooLong):
            raise
        except KubectlFailed as error:
            said = str(error)
            if refusal in said:
                yield ok("refusal", f"a labelled pod in {namespace} with {next(iter(fields))} is refused by Remit")
                return
            if "PodSecurity" in said:
                continue  # it was quicker; what it lets pass is asked next
            break
        else:
            found = f"a labelled pod in {namespace} with {next(iter(fields))} is let in"
            yield wrong("refusal", found, f"look at admission above: {look.release}-require and its binding")
            return
    yield unseen("refusal", f"a pod in {namespace} was refused before Remit could: {said}")


def _asked(look: Look, namespace: str, **fields: Json) -> Json:
    pod = probe(f"remit-k8s-check-{secrets.token_hex(4)}", **fields)
    return look.kubectl.json("create", "--dry-run=server", "-n", namespace, "-o", "json", "-f", "-", stdin=pod)


def _refused(namespace: str, said: str) -> Finding:
    found = f"a labelled pod in {namespace} is refused: {said}"
    if "PodSecurity" in said:
        do = f"kubectl label namespace {namespace} --overwrite pod-security.kubernetes.io/enforce=privileged"
        return wrong("injection", found, f"{do}, or lockdown.mode: none")
    if "dry run" in said or "dryRun" in said:
        return unseen("injection", found, "another webhook does not take dry runs")
    if "remit: init container number" in said:
        return wrong("injection", found, "nothing injects the sidecar: look at admission above")
    return wrong("injection", found, "another policy, webhook or quota refuses what the chart puts into a pod")


def _read_clock(look: Look, pod: Json, began: float) -> None:
    try:
        made = datetime.fromisoformat(text(pod, "metadata", "creationTimestamp"))
        look.clock = Reading(made.timestamp(), began, time.monotonic(), step=1.0)
    except (ValueError, OverflowError):
        return


def look_at_monitoring(look: Look) -> Iterator[Finding]:
    """Only where the Prometheus operator is there."""
    try:
        kinds = {text(each, "name") for each in listed(look.kubectl.json("get", "--raw", MONITORING), "resources")}
    except NotThere:
        yield ok("monitoring", "no Prometheus operator is here")
        return
    found = []
    for kind in ("podmonitors", "prometheusrules"):
        if kind not in kinds:
            continue
        items = listed(look.get(f"{kind}.monitoring.coreos.com", look.namespace, "-l", look.selector), "items")
        found += [f"{text(each, 'kind')} {name_of(each)}" for each in items]
    if found:
        yield ok("monitoring", ", ".join(found))
    else:
        do = "monitoring.podMonitor.enabled and monitoring.rules.enabled"
        yield warning("monitoring", "a Prometheus operator is here, and nothing of the release is for it", do)


def is_release(name: str) -> bool:
    """Whether helm would call a release so."""
    return is_name(name) and len(name) <= 53
