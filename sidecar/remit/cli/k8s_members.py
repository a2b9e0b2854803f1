"""Those that decide: sidecars in governed pods, and the desk. Each is asked by the API server's proxy how it is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from remit.cli.k8s_kubectl import KubectlFailed, NotAllowed, NotThere
from remit.cli.k8s_looking import Look, secret_keys
from remit.cli.text import counted
from remit.core.k8s_findings import (
    GOVERNED,
    INJECTED,
    Finding,
    Reading,
    at,
    changed,
    clocks,
    desk_secrets,
    injected,
    listed,
    name_of,
    ok,
    revisions,
    sidecar_of,
    states,
    text,
    unseen,
    warning,
    wrong,
)

Json = Any

MOST = 60
"""So many members are asked; of a thousand pods the first tell as much as all."""

AT_ONCE = 6
PROXY_SECONDS = 10.0
MAX_ABOUT = 64 * 1024
OPS = "remit-ops"
SAYS = {"opa": "OPA", "store": "the store", "egress": "the egress (Envoy)", "identity": "the pod's own token"}


def look_at_pods(look: Look) -> Iterator[Finding]:
    """Whether each labelled pod has the chart's sidecar, and how that is."""
    good = 0
    for pod in _labelled(look):
        name, namespace = name_of(pod), text(pod, "metadata", "namespace")
        ended = text(pod, "status", "phase") in ("Succeeded", "Failed") or at(pod, "metadata", "deletionTimestamp")
        if not name or ended:
            continue
        found = list(_pod(look, namespace, name, pod))
        good += not found
        yield from found
    if good:
        yield ok("pods", f"{counted(good, 'governed pod')} with this chart's sidecar, ready")
    elif not any(each.check == "pods" for each in look.found):
        yield ok("pods", 'no pod is labelled remit/governed: "true" yet')


def _labelled(look: Look) -> Iterator[Json]:
    """In all namespaces, or where that may not be asked in the governed ones."""
    label = ("-l", f"{GOVERNED}=true")
    try:
        yield from listed(look.get("pods", "", "--all-namespaces", *label), "items")
    except NotAllowed:
        for namespace in look.governed:
            yield from listed(look.get("pods", namespace, *label), "items")


def _pod(look: Look, namespace: str, name: str, pod: Json) -> Iterator[Finding]:
    where = f"{namespace}/{name}"
    if namespace not in look.governed:
        do = f"take {namespace} into the chart's `namespaces` and roll it out again, or take the label from it"
        yield wrong("pods", f"{where} is labelled, and namespace {namespace} is not governed", do)
        return
    problem = injected(pod, lockdown=False)
    if problem:
        yield wrong("pods", f"{where} is labelled, and {problem}", "roll it out again: it is injected at its creation")
        return
    sidecar = sidecar_of(pod)
    ports = {text(each, "name"): at(each, "containerPort") for each in listed(sidecar, "ports")}
    if isinstance(ports.get(OPS), int):
        look.members[where] = (namespace, name, ports[OPS])
    yield from _current(look, where, pod)
    yield from _running(where, f"-n {namespace} {name}", "remit", pod)


def _current(look: Look, where: str, pod: Json) -> Iterator[Finding]:
    """Whether it is what would be injected now."""
    genuine = look.genuine.get(where.partition("/")[0])
    if genuine is None:
        return
    now, then = (text(each, "metadata", "annotations", INJECTED) for each in (genuine, pod))
    again = "roll it out again, as after each upgrade"
    other = changed(pod, genuine)
    if now != then:
        yield warning("pods", f"{where} has the sidecar of chart {then or 'unknown'}, the release is {now}", again)
    elif other:
        yield warning("pods", f"{where} has a sidecar that differs from the chart's by {other}", again)


def _running(where: str, named: str, container: str, pod: Json) -> Iterator[Finding]:
    ready, restarts, why = states(pod, container)
    told = f" ({why})" if why else ""
    logs = f"kubectl logs {named} -c {container}"
    lockdown, lockdowns, failed = states(pod, "remit-lockdown")
    if not ready and lockdowns and not lockdown:
        yield wrong("pods", f"{where}: remit-lockdown fails ({failed})", f"kubectl logs {named} -c remit-lockdown")
    elif not ready:
        yield wrong("pods", f"{where} is not ready: its {container} is not{told}", f"{logs} (or describe the pod)")
    elif restarts:
        found = f"{where}: {container} was restarted {counted(restarts, 'time')}{told}"
        yield warning("pods", found, f"{logs} --previous")


def look_at_desk(look: Look) -> Iterator[Finding]:
    """The desk, its secrets, its pods."""
    name = f"{look.release}-desk"
    desk = next((each for each in look.objects if text(each, "kind") == "Deployment" and name_of(each) == name), None)
    if desk is None:
        desk = look.maybe("deployment", look.namespace, name)
    if desk is None:
        yield ok("desk", f"none in namespace {look.namespace} (desk.enabled: false)")
        return
    template = at(desk, "spec", "template")
    words = "\n".join(look.words.values())
    yield from secret_keys(look, look.namespace, list(desk_secrets(template, words)))
    wanted, ready = at(desk, "spec", "replicas"), at(desk, "status", "readyReplicas")
    selector = f"{look.selector},app.kubernetes.io/component=desk"
    for pod in listed(look.get("pods", look.namespace, "-l", selector), "items"):
        if name_of(pod) and text(pod, "status", "phase") == "Running":
            container = next((each for each in listed(pod, "spec", "containers") if at(each, "name") == "desk"), None)
            ports = {text(each, "name"): at(each, "containerPort") for each in listed(container, "ports")}
            if isinstance(ports.get(OPS), int):
                look.members[f"{look.namespace}/{name_of(pod)}"] = (look.namespace, name_of(pod), ports[OPS])
    if wanted and not ready:
        do = f"kubectl describe -n {look.namespace} deployment/{name}, and its logs"
        yield wrong("desk", f"deployment {look.namespace}/{name} has no pod that is ready", do)
    else:
        yield ok("desk", f"deployment {look.namespace}/{name} is ready")


def look_at_members(look: Look) -> Iterator[Finding]:
    """OPA, store and egress of each, by its own word; then clocks and policies of all."""
    if not look.members:
        return
    asked = dict(list(look.members.items())[:MOST])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        told = dict(zip(asked, pool.map(lambda one: _about(look, *one), asked.values()), strict=True))
    times: dict[str, Reading] = {}
    decide: dict[str, str] = {}
    well = 0
    for where, one in told.items():
        if isinstance(one, KubectlFailed):
            yield unseen("members", f"{where}: {_why(one)}", _PROXY)
            continue
        about, reading = one
        bad = [name for name, holds in (at(about, "checks") or {}).items() if holds is not True]
        if bad:
            namespace, pod, _ = asked[where]
            found = f"{where}: {', '.join(SAYS.get(name, name) for name in bad)} not well"
            yield wrong("members", found, f"kubectl logs -n {namespace} {pod} --all-containers says why")
        well += not bad
        times[where] = reading
        decide[where] = text(about, "revision")
    if well:
        yield ok("members", f"{counted(well, 'member')} with OPA, store and all else well")
    if len(look.members) > MOST:
        yield unseen("members", f"{len(look.members) - MOST} more: the first {MOST} are asked")
    if times and look.clock is None:
        yield unseen("clocks", "the API server's own time is not known: no pod could be asked about")
    elif look.clock is not None:
        yield from clocks(times, look.clock)
    yield from revisions(decide)


_PROXY = "needs the right to get pods/proxy, and that the API server may dial pods (networkPolicy.prometheus)"


def _why(error: KubectlFailed) -> str:
    if isinstance(error, NotAllowed):
        return f"needs {error}"
    if isinstance(error, NotThere):
        return "it has no /about: an older sidecar, or it is gone"
    return str(error)


def _about(look: Look, namespace: str, pod: str, port: int) -> tuple[Json, Reading] | KubectlFailed:
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/about"
    began = time.monotonic()
    try:
        raw = look.kubectl.ask("get", "--raw", path, seconds=PROXY_SECONDS, proxied=True)
        found = json.loads(raw) if len(raw) <= MAX_ABOUT else None
    except KubectlFailed as error:
        return error
    except (ValueError, RecursionError):
        found = None
    said = at(found, "time")
    if not isinstance(at(found, "checks"), dict) or isinstance(said, bool) or not isinstance(said, int | float):
        return KubectlFailed("it answered nothing that a member would")
    return found, Reading(min(max(float(said), 0.0), 1e11), began, time.monotonic())
