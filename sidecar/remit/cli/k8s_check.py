"""`remit k8s check`: the doctor. It reads, asks about pods by dry runs, and changes nothing."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import click

from remit.cli.failure import NO, Failure, Unreachable
from remit.cli.k8s_cluster import (
    after,
    before,
    elsewhere,
    is_release,
    look_at_admission,
    look_at_injection,
    look_at_monitoring,
    look_at_namespace,
    look_at_network,
    look_at_refusal,
    look_at_release,
    look_at_server,
)
from remit.cli.k8s_config import look_at_config, look_at_identity, look_at_secrets, look_at_tokens
from remit.cli.k8s_kubectl import Away, Kubectl, KubectlFailed, Misused, TookTooLong
from remit.cli.k8s_looking import Look
from remit.cli.k8s_members import look_at_desk, look_at_members, look_at_pods
from remit.cli.screen import Told, emit, progress, show
from remit.cli.text import clean, counted
from remit.core.k8s_findings import Finding, Level, is_name, wrong

MAX_SHOWN = 600
_WIDTH = max(len(each) for each in Level)


@click.command("check")
@click.option("--namespace", "-n", help="The release's namespace. Default: that of kubectl's context.")
@click.option("--release", default="remit", show_default=True, help="As helm calls it.")
@click.option("--context", help="kubectl's context. Default: its current one.")
@click.option("--kubeconfig", type=click.Path(), help="kubectl's configuration. Default: as kubectl finds it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(namespace: str | None, release: str, context: str | None, kubeconfig: str | None, as_json: bool) -> None:
    """Say what is wrong with an installation in a cluster, before or after installing, and what to do.

    Asks by the kubectl on PATH, as you; reads, and asks about pods by dry runs. Of secrets it reads the names of
    keys, never a value. What you may not see is said to be not looked at, with the right that it needs.

    Exit code 1: something is wrong. 2: there is no kubectl, or no such context. 3: the cluster cannot be reached.

    Example: remit k8s check --namespace remit
    """
    if namespace is not None and not is_name(namespace):
        raise Failure(f"--namespace: found {namespace!r}; expected a namespace's name")
    if not is_release(release):
        raise Failure(f"--release: found {release!r}; expected a release's name, as helm calls it")
    flags = [
        f"--{name}={value}" for name, value in (("context", context), ("kubeconfig", kubeconfig)) if value is not None
    ]
    program = shutil.which("kubectl")
    if program is None:
        raise Failure("kubectl is not on PATH: expected the program that you look at the cluster with")
    kubectl = Kubectl(program, flags)
    try:
        with progress("asking kubectl") as tell:
            look = Look(kubectl, namespace or _current(kubectl), release)
            _look(look, tell)
    except Away as error:
        raise Unreachable(f"the cluster cannot be reached: {error}") from error
    except Misused as error:
        raise Failure(f"kubectl: {error}") from error
    _tell(look, as_json=as_json)
    if any(each.level is Level.WRONG for each in look.found):
        raise click.exceptions.Exit(NO)


def _current(kubectl: Kubectl) -> str:
    """The namespace of kubectl's context."""
    try:
        found = kubectl.ask("config", "view", "--minify", "--output", "jsonpath={..namespace}").decode(errors="replace")
    except KubectlFailed as error:
        raise Misused(str(error)) from error
    named = found.strip() or "default"
    if not is_name(named):
        raise Misused(f"the context's namespace is {named!r}")
    return named


def _look(look: Look, tell: Told) -> None:
    """All checks, in an order in which each knows what it needs. Raises Away, Misused."""
    tell("the API server", 0.02)
    try:
        look.found += look_at_server(look)
    except TookTooLong as error:
        raise Away(str(error)) from error
    except KubectlFailed as error:
        raise Away(f"it does not say its version: {error}") from error
    tell("the release", 0.1)
    look.take("release", partial(look_at_release, look))
    look.take("admission", partial(look_at_admission, look))
    if (there := elsewhere(look)) and not look.objects:
        found = f"release {look.release} is not in namespace {look.namespace} but in {there}"
        look.found.append(wrong("release", found, f"remit k8s check --namespace {there}"))
        return
    if not look.policies and not look.objects:
        look.take("release", partial(before, look))
        return
    look.take("version", partial(after, look))
    checks = (look_at_namespace, look_at_injection, look_at_refusal, look_at_config, look_at_secrets, look_at_network)
    for number, namespace in enumerate(look.governed):
        tell(f"namespace {namespace}", 0.2 + 0.4 * number / len(look.governed))
        for check in checks:
            name = _NAMES[check.__name__]
            look.take(name, partial(check, look, namespace))
            if any(each.check == "namespaces" and each.found.startswith(f"{namespace} is") for each in look.found):
                break
    tell("accounts and their tokens", 0.6)
    look.take("identity", partial(look_at_identity, look))
    look.take("tokens", partial(look_at_tokens, look))
    tell("pods", 0.7)
    look.take("pods", partial(look_at_pods, look))
    look.take("desk", partial(look_at_desk, look))
    tell(f"{counted(len(look.members), 'member')}", 0.8)
    look.take("members", partial(look_at_members, look))
    tell("monitoring", 0.95)
    look.take("monitoring", partial(look_at_monitoring, look))


_NAMES = {
    "look_at_namespace": "pod security",
    "look_at_injection": "injection",
    "look_at_refusal": "refusal",
    "look_at_config": "config",
    "look_at_secrets": "secrets",
    "look_at_network": "network",
}


def _tell(look: Look, *, as_json: bool) -> None:
    if as_json:
        emit(
            {
                "ok": not any(each.level is Level.WRONG for each in look.found),
                "release": look.release,
                "namespace": look.namespace,
                "findings": [
                    {"check": each.check, "level": each.level.value, "found": each.found, "do": each.do}
                    for each in look.found
                ],
            }
        )
        return
    for line in _lines(look.found):
        show(line)


def _lines(found: Sequence[Finding]) -> Iterator[str]:
    for each in found:
        do = f" Do: {clean(each.do)}" if each.do else ""
        said = clean(each.found)
        short = said if len(said) <= MAX_SHOWN else f"{said[:MAX_SHOWN]}…"
        end = "." if do and not short.endswith(".") else ""
        yield f"{each.level:<{_WIDTH}}  {each.check}: {short}{end}{do}"
    counts: Counter[Any] = Counter(each.level for each in found)
    yield ", ".join(f"{counts[level]} {level}" for level in Level if counts[level])
