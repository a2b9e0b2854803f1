"""One look at a cluster: what each check asks, and what all of them know by then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from remit.cli.k8s_kubectl import Kubectl, KubectlFailed, NotAllowed, NotThere
from remit.config.settings import Settings
from remit.core.catalogue import Catalogue
from remit.core.k8s_findings import Finding, Reading, ok, unseen, wrong
from remit.core.kubernetes import SECOND

Json = Any
Check = Callable[[], Iterable[Finding]]


@dataclass
class Look:
    """What is known so far; checks fill it in, in their order.

    `genuine` is the pod that would be made in a namespace now, `words` its settings and catalogue as text.
    """

    kubectl: Kubectl
    namespace: str
    release: str
    found: list[Finding] = field(default_factory=list)
    mutating: bool = False
    objects: list[Json] = field(default_factory=list)
    policies: list[Json] = field(default_factory=list)
    governed: tuple[str, ...] = ()
    lockdown: bool = False
    genuine: dict[str, Json] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Settings] = field(default_factory=dict)
    catalogue: Catalogue | None = None
    clock: Reading | None = None
    members: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    """Each by what it is called here: namespace, pod, port of ops."""

    @property
    def selector(self) -> str:
        """What the release's objects are labelled with."""
        return f"app.kubernetes.io/name=remit,app.kubernetes.io/instance={self.release}"

    def take(self, check: str, look: Check) -> None:
        """Run a check. What it may not ask, or gets no answer to, is not looked at; that is not well."""
        try:
            for each in look():
                self.found.append(each)
        except NotAllowed as error:
            self.found.append(unseen(check, f"needs {error}"))
        except KubectlFailed as error:
            self.found.append(unseen(check, str(error)))

    def get(self, kind: str, namespace: str, *more: str) -> Json:
        """Objects of a kind. Raises KubectlFailed."""
        return self.kubectl.json("get", kind, *(("-n", namespace) if namespace else ()), *more, "-o", "json")

    def maybe(self, kind: str, namespace: str, name: str) -> Json:
        """One object, None where there is none. Raises KubectlFailed for another reason."""
        try:
            return self.get(kind, namespace, name)
        except NotThere:
            return None

    def now(self, otherwise: int, stopwatch: float) -> int:
        """The API server's time (ns) at a moment of our stopwatch; `otherwise` where it is not known."""
        if self.clock is None:
            return otherwise
        return int((self.clock.time + stopwatch - self.clock.after) * SECOND)


def secret_keys(look: Look, namespace: str, wanted: Sequence[tuple[str, tuple[str, ...]]]) -> Iterator[Finding]:
    """Whether secrets have the keys that they must have. Values are never looked at."""
    good = []
    for name, keys in wanted:
        where = f"{namespace}/{name}"
        there = _keys(look, namespace, name)
        if there is None:
            yield wrong("secrets", f"{where} is not there", f"make it with {_named(keys)} (docs/kubernetes.md)")
            continue
        missing, blank = (
            [key for key in keys if there.get(key) is None],
            [key for key in keys if there.get(key) is False],
        )
        if missing:
            yield wrong("secrets", f"{where} has no {_named(missing)}", "add what is missing (docs/kubernetes.md)")
        if blank:
            yield wrong("secrets", f"{where} has nothing in {_named(blank)}", "fill it in")
        if not missing and not blank:
            good.append(name)
    if good:
        yield ok("secrets", f"{namespace}: {', '.join(good)} with the keys that they must have")


def _keys(look: Look, namespace: str, name: str) -> dict[str, bool] | None:
    """Whether there is something in each key; None where there is no such secret."""
    raw = look.kubectl.ask("get", "secret", name, "-n", namespace, "--ignore-not-found", "-o", _KEYS)
    lines = [line.partition(" ") for line in raw.decode(errors="replace").splitlines()]
    if not any(word == "secret" for word, _, _ in lines):
        return None
    return {key: word == "key" for word, _, key in lines if key}


def _named(keys: Iterable[str]) -> str:
    return ", ".join(keys) or "its keys"


_KEYS = (
    r'go-template={{"secret\n"}}{{range $key, $value := .data}}'
    r'{{if $value}}{{"key "}}{{else}}{{"empty "}}{{end}}{{$key}}{{"\n"}}{{end}}'
)
"""Names alone leave kubectl: values stay in it."""
