"""A cluster as a test uses it: kubectl, helm, the API, pods; each wait has a deadline and says what it saw."""

from __future__ import annotations

import json
import ssl
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.api import Answer, Api
from cluster.place import Place
from cluster.processes import NotInTime, wait

Manifest = str | dict[str, Any] | Sequence[dict[str, Any]]
"""YAML, one object, or several."""


class Refused(AssertionError):
    """A command failed; the message is what it wrote to stderr."""


class Cluster:
    """`folder` holds ca.crt, admin.kubeconfig and every server's log; `tools` is what `install.sh cluster` printed."""

    def __init__(self, folder: Path, tools: Path, place: Place, host: str, port: int) -> None:
        self.folder, self.tools, self.place = folder, tools, place
        self.host, self.port = host, port
        self.url = f"https://{host}:{port}"
        self.ca = folder / "ca.crt"
        self.kubeconfig = folder / "admin.kubeconfig"
        self._admin: Api | None = None
        self._followed: list[subprocess.Popen[bytes]] = []

    # Commands

    def command(self, program: str, *arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
        """What a program of the tools or of PATH wrote to stdout, run as the administrator; Refused if it failed."""
        ended = self.attempt(program, *arguments, stdin=stdin, seconds=seconds)
        if ended.returncode:
            raise Refused(f"{program} {' '.join(arguments)}: {ended.stderr.strip() or ended.stdout.strip()}")
        return ended.stdout

    def attempt(
        self, program: str, *arguments: str, stdin: str | None = None, seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """The same, however it ends."""
        binary = self.tools / "bin" / program
        env = {
            "KUBECONFIG": str(self.kubeconfig),
            "HELM_CACHE_HOME": str(self.folder / "helm"),
            "HELM_CONFIG_HOME": str(self.folder / "helm"),
            "HELM_DATA_HOME": str(self.folder / "helm"),
        }
        command = [str(binary) if binary.exists() else program, *arguments]
        return self.place.run(command, stdin=stdin, env=env, seconds=seconds)

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
        """Refused if it fails."""
        return self.command("kubectl", *arguments, stdin=stdin, seconds=seconds)

    def helm(self, *arguments: str, seconds: float = 120) -> str:
        """Refused if it fails."""
        return self.command("helm", *arguments, seconds=seconds)

    def apply(self, manifest: Manifest, *, namespace: str = "default", dry_run: bool = False) -> list[dict[str, Any]]:
        """Apply on the server's side; the objects as it then has them (or, on a dry run, would have)."""
        flags = ["--dry-run=server"] if dry_run else []
        told = self.kubectl(
            *("apply", "--server-side", "--force-conflicts", "-n", namespace, "-o", "json", "-f", "-", *flags),
            stdin=_text(manifest),
        )
        return _objects(told)

    # Objects

    def get(self, kind: str, name: str, *, namespace: str = "default") -> dict[str, Any] | None:
        """One object, or None if there is none."""
        told = self.kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        return json.loads(told) if told.strip() else None

    def all(self, kind: str, *, namespace: str = "default", labels: str = "") -> list[dict[str, Any]]:
        """All of a kind, or those with these labels."""
        return _objects(self.kubectl("get", kind, "-n", namespace, "-o", "json", *(["-l", labels] if labels else [])))

    @contextmanager
    def namespace(self, name: str = "") -> Iterator[str]:
        """A namespace with its default service account, for as long as the block lasts; then it is being deleted."""
        name = name or f"test-{uuid.uuid4().hex[:8]}"
        self.kubectl("create", "namespace", name)
        wait(f"service account of namespace {name}", lambda: self.get("serviceaccount", "default", namespace=name), 30)
        try:
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false")

    # The API

    def request(self, method: str, path: str, body: object = None, *, kind: str = "") -> Answer:
        """Ask as the administrator, over one connection that is kept: quicker than kubectl."""
        if self._admin is None:
            context = ssl.create_default_context(cafile=str(self.ca))
            context.load_cert_chain(self.folder / "admin.crt", self.folder / "admin.key")
            self._admin = Api(self.place, self.host, self.port, context)
        return self._admin.request(method, path, body, kind=kind)

    def request_as(self, token: str, method: str, path: str, body: object = None, *, kind: str = "") -> Answer:
        """Ask with a token, or as nobody with an empty one."""
        api = Api(self.place, self.host, self.port, ssl.create_default_context(cafile=str(self.ca)))
        try:
            return api.request(method, path, body, token=token, kind=kind)
        finally:
            api.close()

    def ready(self) -> bool:
        """Whether the API server says so; no answer is a no."""
        try:
            return self.request("GET", "/readyz").status == 200
        except OSError:
            return False

    def account_token(
        self, account: str, *, namespace: str = "default", audience: str, pod: str = "", seconds: int = 600
    ) -> str:
        """A token of a service account, bound to a pod if one is named."""
        bound = ["--bound-object-kind=Pod", f"--bound-object-name={pod}"] if pod else []
        flags = ["-n", namespace, f"--audience={audience}", f"--duration={seconds}s", *bound]
        return self.kubectl("create", "token", account, *flags).strip()

    # Pods

    def pod_ready(self, name: str, *, namespace: str = "default", seconds: float = 60) -> dict[str, Any]:
        """Wait until it is; NotInTime tells its containers' states and its events."""

        def ready() -> dict[str, Any] | None:
            pod = self.get("pod", name, namespace=namespace)
            conditions = pod["status"].get("conditions", []) if pod else []
            return pod if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions) else None

        return self._waited(f"pod {name} is ready", ready, name, namespace, seconds)

    def pod_phase(self, name: str, *phases: str, namespace: str = "default", seconds: float = 60) -> dict[str, Any]:
        """Wait until it is in one of these, such as Succeeded or Failed."""

        def there() -> dict[str, Any] | None:
            pod = self.get("pod", name, namespace=namespace)
            return pod if pod and pod["status"].get("phase") in phases else None

        return self._waited(f"pod {name} is {' or '.join(phases)}", there, name, namespace, seconds)

    def pod_gone(self, name: str, *, namespace: str = "default", seconds: float = 60) -> None:
        """Wait until there is none of this name."""
        wait(f"pod {name} is gone", lambda: self.get("pod", name, namespace=namespace) is None, seconds)

    def logs(self, pod: str, container: str, *, namespace: str = "default", previous: bool = False) -> str:
        """What a container has written so far; or the one before its last restart."""
        return self.kubectl("logs", pod, "-c", container, "-n", namespace, *(["--previous"] if previous else []))

    def follow(self, pod: str, container: str, *, namespace: str = "default") -> Path:
        """A file that a container's log is written to, from its beginning until it ends: a deleted pod keeps none."""
        written = self.folder / f"{namespace}.{pod}.{container}.{uuid.uuid4().hex[:6]}.log"
        command = [*self.place.prefix, str(self.tools / "bin" / "kubectl"), f"--kubeconfig={self.kubeconfig}"]
        with written.open("wb") as log:
            self._followed.append(
                subprocess.Popen(
                    [*command, "logs", "--follow", pod, "-c", container, "-n", namespace], stdout=log, stderr=log
                )
            )
        return written

    def execute(self, pod: str, container: str, *command: str, namespace: str = "default", seconds: float = 60) -> str:
        """What a command in a container wrote to stdout; Refused if it fails."""
        return self.kubectl("exec", pod, "-c", container, "-n", namespace, "--", *command, seconds=seconds)

    def close(self) -> None:
        """Let go of the API's connection, and of the logs that are followed."""
        if self._admin is not None:
            self._admin.close()
        for each in self._followed:
            each.kill()
            each.wait()

    def _waited(self, what: str, holds: Any, name: str, namespace: str, seconds: float) -> dict[str, Any]:
        try:
            seen = wait(what, holds, seconds)
        except NotInTime as e:
            pod = self.get("pod", name, namespace=namespace) or {"status": "there is none"}
            events = self.attempt("kubectl", "events", "-n", namespace, "--for", f"pod/{name}").stdout
            raise NotInTime(f"{e}\n{json.dumps(pod['status'], indent=1)}\n{events}") from None
        assert isinstance(seen, dict)
        return seen


def _text(manifest: Manifest) -> str:
    if isinstance(manifest, str):
        return manifest
    several = [manifest] if isinstance(manifest, dict) else list(manifest)
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": several})


def _objects(told: str) -> list[dict[str, Any]]:
    """Of a list its items; of several objects one after the other, each."""
    decoder, found, at = json.JSONDecoder(), [], 0
    told = told.strip()
    while at < len(told):
        one, at = decoder.raw_decode(told, at)
        found += one["items"] if one["kind"].endswith("List") else [one]
        while at < len(told) and told[at].isspace():
            at += 1
    return found
