"""What was found in a cluster, judged: what it says of itself goes in, findings come out.

Objects are JSON as the API server tells it, which may be anything: nothing here trusts its form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Json = Any

LEAST = (1, 30)
GOVERNED = "remit/governed"
INJECTED = "remit/injected"
OURS = ("remit-lockdown", "remit")
FAR_SECONDS, TOO_FAR_SECONDS = 5.0, 60.0

KEYS = {"keys": ("context.key", "hmac.key", "views.key"), "store": ("password",), "bundle": ("token",)}
"""What the secret must have that is mounted at /etc/remit/NAME."""

DESK_KEYS = {**KEYS, "desk": ("tls.crt", "tls.key"), "oidc": ("secret",), "webhook": ("url", "secret")}

_NUMBERS = re.compile(r"v?(\d{1,4})\.(\d{1,4})", re.ASCII)
_NAMESPACES = re.compile(r"request\.namespace in (\[[^\]]*\])")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9._-]{1,253}", re.ASCII)
_CREDENTIAL = re.compile(r"/etc/remit/credentials/([a-z0-9.-]+)/([A-Za-z0-9._-]+)", re.ASCII)


class Level(StrEnum):
    """How it is."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"
    UNSEEN = "not looked at"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, what was found, and what to do about it ("" where nothing is)."""

    check: str
    level: Level
    found: str
    do: str = ""


def ok(check: str, found: str) -> Finding:
    """All well."""
    return Finding(check, Level.OK, found)


def warning(check: str, found: str, do: str) -> Finding:
    """It works, and is to be looked at."""
    return Finding(check, Level.WARNING, found, do)


def wrong(check: str, found: str, do: str) -> Finding:
    """It does not hold what it should."""
    return Finding(check, Level.WRONG, found, do)


def unseen(check: str, found: str, do: str = "") -> Finding:
    """It may be well or not."""
    return Finding(check, Level.UNSEEN, found, do)


# -- reading what may be anything


def at(thing: Json, *path: str | int) -> Json:
    """What is there, None where nothing is."""
    for step in path:
        if isinstance(thing, dict) and isinstance(step, str):
            thing = thing.get(step)
        elif isinstance(thing, list) and isinstance(step, int) and step < len(thing):
            thing = thing[step]
        else:
            return None
    return thing


def text(thing: Json, *path: str | int) -> str:
    """The text there, "" where none is."""
    found = at(thing, *path)
    return found if isinstance(found, str) else ""


def listed(thing: Json, *path: str | int) -> list[Json]:
    """The objects of the list there."""
    found = at(thing, *path)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def name_of(thing: Json) -> str:
    """The object's name; "" where it is none that an API server would take."""
    found = text(thing, "metadata", "name")
    return found if is_name(found) else ""


def is_name(found: str) -> bool:
    """Whether an object may be called so: then it may stand in a path or an argument."""
    return _NAME.fullmatch(found) is not None


def is_key(found: Json) -> bool:
    """Whether a ConfigMap may have it: then it may be a file's name."""
    return isinstance(found, str) and _KEY.fullmatch(found) is not None and not found.startswith("..") and found != "."


# -- the server and its policies


def server(version: str, kinds: Collection[str]) -> Iterator[Finding]:
    """`kinds` are admission's resources by version, such as v1/validatingadmissionpolicies."""
    numbers = _NUMBERS.match(version)
    if numbers is None:
        yield wrong("server", f"its version is {version!r}", "expected one such as v1.36.0")
        return
    told = f"Kubernetes {version.removeprefix('v')}"
    if (int(numbers[1]), int(numbers[2])) < LEAST:
        yield wrong("server", told, "expected 1.30 or later: native sidecars, ValidatingAdmissionPolicy v1")
        return
    if "v1/validatingadmissionpolicies" not in kinds:
        yield wrong(
            "server", f"{told} serves no ValidatingAdmissionPolicy v1", "nothing would hold pods to their sidecar"
        )
        return
    by = [each for each in ("v1", "v1beta1") if f"{each}/mutatingadmissionpolicies" in kinds]
    if by:
        yield ok("server", f"{told}, with native sidecars and MutatingAdmissionPolicy {by[0]}")
        return
    do = "its feature gate, or injection.policy: none and pods that carry the sidecar themselves (docs/kubernetes.md)"
    yield warning("server", f"{told} serves no MutatingAdmissionPolicy: a label alone injects nothing", do)


def admission(release: str, policies: Sequence[Json], bindings: Sequence[Json], *, mutating: bool) -> Iterator[Finding]:
    """Whether the release's policies are there, are bound, and refuse."""
    there = {(text(each, "kind"), name_of(each)): each for each in policies}
    bound = {(text(each, "kind").removesuffix("Binding"), text(each, "spec", "policyName")): each for each in bindings}
    again = f"helm upgrade {release} with its values makes it anew"
    good = []
    for part in ("inject", "require", "private", "exec"):
        kind = "MutatingAdmissionPolicy" if part == "inject" else "ValidatingAdmissionPolicy"
        name = f"{release}-{part}"
        policy, binding = there.get((kind, name)), bound.get((kind, name))
        problem = _unfit(kind, policy, binding)
        if policy is None and binding is None and part in ("inject", "exec"):
            if part == "inject" and mutating:
                do = f"right only with injection.policy: none; otherwise {again}"
                yield warning("admission", f"{kind} {name} is not there: a label alone injects nothing", do)
        elif problem:
            yield wrong("admission", f"{kind} {name} {problem}", again)
        else:
            good.append(part)
    if good:
        yield ok("admission", f"policies of {release} are there and bound: {', '.join(good)}")


def _unfit(kind: str, policy: Json, binding: Json) -> str:
    if policy is None:
        return "is not there"
    if binding is None:
        return "has no binding: it does nothing"
    if text(policy, "spec", "failurePolicy") == "Ignore":
        return "lets through what it cannot look at (failurePolicy: Ignore)"
    if at(binding, "spec", "matchResources"):
        return "has a binding that is narrower than the chart's (matchResources)"
    actions = at(binding, "spec", "validationActions")
    if kind.startswith("Validating") and not (isinstance(actions, list) and "Deny" in actions):
        return "has a binding that does not refuse (validationActions without Deny)"
    return ""


def versions(objects: Sequence[Json], own: str) -> Iterator[Finding]:
    """Of the release's objects and of this program."""
    charts = sorted({text(each, "metadata", "labels", "helm.sh/chart") for each in objects} - {""})
    apps = sorted({text(each, "metadata", "labels", "app.kubernetes.io/version") for each in objects} - {""})
    if len(charts) > 1:
        yield wrong("version", f"parts are of several charts: {', '.join(charts)}", "run helm upgrade to its end")
    elif apps and apps != [own]:
        found = f"the release is of Remit {', '.join(apps)}, this program of {own}"
        yield warning("version", found, "look with the program of the same version, or upgrade the release")
    elif charts:
        yield ok("version", f"chart {charts[0]}, Remit {own}")
    else:
        yield warning("version", "the release's objects name no chart", "was it installed by helm?")


def governed(policies: Sequence[Json], release: str) -> tuple[str, ...]:
    """Where a label governs, by the words of the requirement, or else of the injection; () where neither tells."""
    for each in policies:
        if name_of(each) == f"{release}-require":
            for rule in listed(each, "spec", "validations"):
                found = _NAMESPACES.search(text(rule, "expression"))
                names = _names(found[1]) if found else ()
                if names:
                    return names
    for each in policies:
        if name_of(each) == f"{release}-inject":
            for rule in listed(each, "spec", "matchConstraints", "namespaceSelector", "matchExpressions"):
                values = at(rule, "values")
                if isinstance(values, list):
                    return tuple(value for value in values if isinstance(value, str) and is_name(value))
    return ()


def _names(raw: str) -> tuple[str, ...]:
    try:
        found = json.loads(raw)
    except ValueError:
        return ()
    return tuple(each for each in found if isinstance(each, str) and is_name(each))


def locks_down(policies: Sequence[Json], release: str) -> bool:
    """Whether lockdown.mode is init."""
    rules = [
        text(rule, "message")
        for each in policies
        if name_of(each) == f"{release}-require"
        for rule in listed(each, "spec", "validations")
    ]
    return any("must be remit-lockdown" in each for each in rules)


def pod_security(namespace: str, labels: Json, *, lockdown: bool) -> Finding:
    """Whether the namespace's level takes what the chart puts into a pod."""
    level = text(labels, "pod-security.kubernetes.io/enforce")
    if lockdown and level in ("baseline", "restricted"):
        do = (
            f"kubectl label namespace {namespace} --overwrite pod-security.kubernetes.io/enforce=privileged,"
            " or lockdown.mode: none"
        )
        return wrong("pod security", f"{namespace} is at level {level}, and lockdown.mode init needs privileged", do)
    return ok("pod security", f"{namespace} is at level {level or 'privileged (none is said)'}")


# -- pods


def probe(name: str, **fields: Json) -> Json:
    """A labelled pod that no level of Pod Security refuses by itself, to be asked about and never made."""
    context = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    hold = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "agent", "image": "registry.k8s.io/pause:3.10", "securityContext": hold}
    metadata = {"name": name, "labels": {GOVERNED: "true"}}
    spec = {"securityContext": context, "containers": [container], **fields}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def injected(pod: Json, *, lockdown: bool) -> str:
    """What is wrong with the sidecar in a pod; "" where it is there, before all else. `lockdown`: there must be one."""
    names = [text(each, "name") for each in listed(pod, "spec", "initContainers")]
    expected = [*OURS] if lockdown else ["remit"]
    if "remit" not in names:
        return "it has no sidecar"
    if not lockdown and names[:1] == ["remit-lockdown"]:
        names = names[1:]
    if names[: len(expected)] != expected:
        return f"init containers begin with {', '.join(names[:2])}, expected {', '.join(expected)}"
    return ""


def sidecar_of(pod: Json) -> Json:
    """The container."""
    return _container(pod, "remit")


def _container(pod: Json, name: str) -> dict[str, Json]:
    return next((each for each in listed(pod, "spec", "initContainers") if at(each, "name") == name), {})


def changed(pod: Json, genuine: Json) -> str:
    """Which of Remit's containers is another than would be injected now; "" where none is."""
    for name in OURS:
        ours, theirs = _container(genuine, name), _container(pod, name)
        for key in sorted({*ours, *theirs} - {"resources", "resizePolicy"}):
            if ours.get(key) != theirs.get(key):
                return f"{name}'s {key}"
    return ""


def secrets_of(pod: Json, words: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Secrets that a governed pod mounts for Remit, and the keys that each must have; `words` are its configuration."""
    wanted: dict[str, set[str]] = {}
    for name, key in _CREDENTIAL.findall(words):
        wanted.setdefault(name, set()).add(key)
    for volume in listed(pod, "spec", "volumes"):
        use, secret = text(volume, "name"), text(volume, "secret", "secretName")
        if not use.startswith("remit-") or not is_name(secret):
            continue
        use = use.removeprefix("remit-")
        credential = use.removeprefix("credential-")
        keys = tuple(sorted(wanted.get(credential, ()))) if credential != use else KEYS.get(use, ())
        yield secret, (*keys, *(("ca.crt",) if use == "store" and "/etc/remit/store/ca.crt" in words else ()))


def desk_secrets(template: Json, words: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The same of the desk's pod."""
    for volume in listed(template, "spec", "volumes"):
        use, secret = text(volume, "name"), text(volume, "secret", "secretName")
        if is_name(secret):
            ca = ("ca.crt",) if use == "store" and "/etc/remit/store/ca.crt" in words else ()
            yield secret, (*DESK_KEYS.get(use, ()), *ca)


def states(pod: Json, container: str) -> tuple[bool, int, str]:
    """Whether a container of it is ready, how often it was restarted, and why it is not there or ended last."""
    for kind in ("initContainerStatuses", "containerStatuses"):
        for each in listed(pod, "status", kind):
            if at(each, "name") == container:
                waiting, last = text(each, "state", "waiting", "reason"), at(each, "lastState", "terminated")
                ended = at(each, "state", "terminated") or last
                said = text(ended, "message").strip()[-300:]
                why = ", ".join(filter(None, [waiting, text(ended, "reason"), said]))
                count = at(each, "restartCount")
                return at(each, "ready") is True, count if isinstance(count, int) else 0, why
    return False, 0, "it was not started yet"


# -- clocks


@dataclass(frozen=True, slots=True)
class Reading:
    """A clock's time in seconds since the epoch, cut to `step`, read between two moments of our own stopwatch."""

    time: float
    after: float
    before: float
    step: float = 0.0


def apart(one: Reading, other: Reading) -> float:
    """How far two clocks are apart at least (s), and which is ahead by the sign: 0 where they may be the same."""
    least = (one.time - one.before) - (other.time + other.step - other.after)
    most = (one.time + one.step - one.after) - (other.time - other.before)
    return least if least > 0 else min(most, 0.0)


def clocks(members: Mapping[str, Reading], cluster: Reading) -> Iterator[Finding]:
    """Each member's against the API server's."""
    near = 0
    for name, reading in sorted(members.items()):
        off = apart(reading, cluster)
        found = f"{name} is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the API server"
        if abs(off) > TOO_FAR_SECONDS:
            yield wrong("clocks", found, "set the node's clock (NTP): tokens, leases and windows of budgets go by it")
        elif abs(off) > FAR_SECONDS:
            yield warning("clocks", found, "look at the node's clock (NTP)")
        else:
            near += 1
    if near:
        yield ok("clocks", f"{near} within {FAR_SECONDS:.0f} s of the API server's")


def revisions(members: Mapping[str, str]) -> Iterator[Finding]:
    """Whether all decide by the same policies."""
    by: dict[str, list[str]] = {}
    for name, revision in sorted(members.items()):
        by.setdefault(revision, []).append(name)
    if len(by) > 1:
        told = "; ".join(
            f"{revision}: {', '.join(names[:3])}{' …' * (len(names) > 3)}" for revision, names in by.items()
        )
        do = "a change takes a minute or so; if it stays, docs/runbooks/RemitRevisionsDiffer.md"
        yield warning("policies", f"members decide by several revisions: {told}", do)
    elif by:
        yield ok("policies", f"all decide by revision {next(iter(by))}")
