"""A Kubernetes control plane of this test process: etcd, API server, controllers and scheduler, without containers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.cluster import Cluster
from cluster.pki import Authority
from cluster.place import HERE, Place
from cluster.processes import Server
from fakes.ports import free_port

ISSUER = "https://kubernetes.default.svc"
SERVICE_ADDRESS = "10.96.0.1"
"""The `kubernetes` service's: the first of the range."""
_SERVICES = "10.96.0.0/16"
_SECONDS = 90

Start = Callable[..., Server]
"""Takes a name and a command."""


@dataclass(frozen=True)
class Address:
    """Where the API server listens, and as what pods are told of it."""

    bind: str
    dial: str
    port: int


def loopback() -> Address:
    """A free port of this machine's loopback."""
    return Address("127.0.0.1", "127.0.0.1", free_port())


@contextmanager
def control_plane(
    folder: Path, tools: Path, *, place: Place = HERE, address: Address | None = None, flags: tuple[str, ...] = ()
) -> Iterator[Cluster]:
    """A cluster without nodes, ready; ended, with all that it kept in memory, when left.

    `tools` is what `install.sh cluster` printed, `flags` are more ones for the API server.
    """
    address = address or loopback()
    folder.mkdir(parents=True, exist_ok=True)
    authority = Authority(folder)
    clients = {
        "admin": ("admin", "system:masters"),
        "controllers": ("system:kube-controller-manager", ""),
        "scheduler": ("system:kube-scheduler", ""),
        "node": ("system:node:node", "system:nodes"),
    }
    for name, (common_name, group) in clients.items():
        _kubeconfig(folder, name, authority.issue(name, common_name, group=group), address)
    cluster = Cluster(folder, tools, place, address.dial, address.port)
    with ExitStack() as started:

        def start(name: str, *command: str) -> Server:
            server = Server(name, [*place.prefix, *command], folder)
            started.callback(server.end)
            return server

        started.callback(cluster.close)
        store = _start_store(start, folder)
        api = start("api", str(tools / "bin" / "kube-apiserver"), *_api_flags(authority, address, store), *flags)
        api.ready(cluster.ready, _SECONDS)
        binaries = tools / "bin"
        shared = ("--bind-address=127.0.0.1", "--leader-elect=false")
        controllers = start(
            "controllers",
            str(binaries / "kube-controller-manager"),
            *shared,
            f"--kubeconfig={folder / 'controllers.kubeconfig'}",
            f"--secure-port={free_port()}",
            f"--root-ca-file={authority.certificate}",
            f"--service-account-private-key-file={folder / 'accounts.key'}",
            "--use-service-account-credentials",
        )
        start(
            "scheduler",
            str(binaries / "kube-scheduler"),
            *shared,
            f"--kubeconfig={folder / 'scheduler.kubeconfig'}",
            f"--secure-port={free_port()}",
        )
        # A pod is refused as long as its namespace has no service account.
        controllers.ready(lambda: cluster.get("serviceaccount", "default"), _SECONDS)
        yield cluster


def _start_store(start: Start, folder: Path) -> str:
    url, peer = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    start(
        "etcd",
        "etcd",
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    )
    return url


def _api_flags(authority: Authority, address: Address, store: str) -> list[str]:
    hosts = ("127.0.0.1", SERVICE_ADDRESS, address.dial, "localhost", "kubernetes.default.svc", "kubernetes.default")
    certificate, key = authority.issue("api", "kube-apiserver", hosts=tuple(dict.fromkeys(hosts)))
    to_nodes, to_nodes_key = authority.issue("api-to-nodes", "api-to-nodes", group="system:masters")
    accounts_key, accounts = authority.signing_pair("accounts")
    # Loopback cannot be advertised; the documentation's range is nobody's, and without a node nobody dials it.
    advertised = "192.0.2.1" if address.dial == "127.0.0.1" else address.dial
    return [
        f"--etcd-servers={store}",
        f"--bind-address={address.bind}",
        f"--advertise-address={advertised}",
        f"--secure-port={address.port}",
        "--endpoint-reconciler-type=none",
        f"--tls-cert-file={certificate}",
        f"--tls-private-key-file={key}",
        f"--client-ca-file={authority.certificate}",
        f"--service-account-key-file={accounts}",
        f"--service-account-signing-key-file={accounts_key}",
        f"--service-account-issuer={ISSUER}",
        f"--api-audiences={ISSUER}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--kubelet-client-certificate={to_nodes}",
        f"--kubelet-client-key={to_nodes_key}",
        "--kubelet-preferred-address-types=InternalIP",  # nobody resolves a node's name
        f"--service-cluster-ip-range={_SERVICES}",
        "--allow-privileged=true",
    ]


def _kubeconfig(folder: Path, name: str, pair: tuple[Path, Path], address: Address) -> None:
    certificate, key = pair
    server = {"server": f"https://{address.dial}:{address.port}", "certificate-authority": str(folder / "ca.crt")}
    written = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": server}],
        "users": [{"name": name, "user": {"client-certificate": str(certificate), "client-key": str(key)}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
    }
    (folder / f"{name}.kubeconfig").write_text(json.dumps(written))
