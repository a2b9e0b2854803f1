"""A real node of a cluster: containerd, runc, kubelet and a bridge, in namespaces of their own.

The control plane's servers are in its network too, and the `kubernetes` service's address leads to them. Nothing
proxies any other service and no network policy is enforced: pods reach each other by address, or by names that a test
has given (`Node.names`).
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster import leftovers
from cluster.cluster import Cluster
from cluster.control_plane import SERVICE_ADDRESS, Address, control_plane
from cluster.images import PAUSE, write_image
from cluster.leftovers import Namespaces, hierarchies
from cluster.place import Place
from cluster.processes import Server

NAME = "node"
ADDRESS = "192.168.77.1"
PODS = "10.88.0.0/16"
PLUGINS = Path("/usr/lib/cni")
_INSIDE = Path(__file__).parent / "inside.sh"
_SECONDS = 90
_TURNS = itertools.count()
_CONTROLLERS = ("cpu", "memory", "pids")


def why_not() -> str:
    """Why no node can be started here, or nothing."""
    if os.geteuid():
        return "a node needs root"
    programs = ("containerd", "ctr", "runc", "ip", "nsenter", "unshare", "setpriv", "etcd")
    missing = [each for each in programs if shutil.which(each) is None]
    missing += [str(PLUGINS / each) for each in ("bridge", "host-local", "loopback") if not (PLUGINS / each).exists()]
    if missing:
        return f"a node needs {', '.join(missing)}: tests/cluster/packages.sh installs them on Debian"
    writable = [each for each in hierarchies() if os.access(each, os.W_OK)]
    have = {each for top in writable for each in (*top.name.split(","), *_of_version_2(top))}
    lacking = [each for each in _CONTROLLERS if each not in have]
    return f"a node needs control groups it can write to: {', '.join(lacking)}" if lacking else ""


def _of_version_2(top: Path) -> list[str]:
    listed = top / "cgroup.controllers"
    return listed.read_text().split() if listed.exists() else []


@dataclass(frozen=True)
class Node:
    """One node, and the cluster that it is all of."""

    name: str
    folder: Path
    cluster: Cluster
    namespaces: Namespaces
    enter: tuple[str, ...]

    @property
    def place(self) -> Place:
        """The node's network, as a test reaches it: pods by their addresses."""
        return self.cluster.place

    def names(self, addresses: Mapping[str, str]) -> None:
        """What pods resolve from now on, and nothing else: whole names, such as provider.agents.svc.cluster.local."""
        new = self.folder / "names.new"
        new.write_text(json.dumps(dict(addresses)))
        new.replace(self.folder / "names.json")

    def load(self, archive: Path, seconds: float = 120) -> list[str]:
        """Import a `docker save` or OCI archive; the names of all images that the node has then."""
        self._ctr("images", "import", str(archive), seconds=seconds)
        return [name for name in self._ctr("images", "list", "--quiet").split() if not name.startswith("sha256:")]

    def run(self, *command: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """A command inside the node: its processes, files and network."""
        return Place(self.enter).run(command, seconds=seconds)

    def _ctr(self, *arguments: str, seconds: float = 30) -> str:
        ended = self.run("ctr", "--namespace", "k8s.io", *arguments, seconds=seconds)
        assert ended.returncode == 0, f"ctr {' '.join(arguments)}: {ended.stderr}"
        return ended.stdout


@contextmanager
def node(tools: Path, *, flags: Sequence[str] = ()) -> Iterator[Node]:
    """A cluster of one node that is ready for pods; nothing is left of it afterwards, or AssertionError says what.

    `flags` are more ones for the API server.
    """
    leftovers.sweep()
    name = leftovers.name_of(str(next(_TURNS)))
    folder = leftovers.FOLDERS / name
    folder.mkdir(mode=0o700)
    namespaces = leftovers.NONE
    try:
        with ExitStack() as started:
            _make_groups(name)
            first, pid = _first_process(folder)
            started.callback(first.end)
            namespaces = Namespaces(pid)
            enter = ("nsenter", "--target", str(pid), "--mount", "--net", "--pid", "--")
            place = Place(("nsenter", f"--net=/proc/{pid}/ns/net", "--"), pid)
            started.callback(place.close)
            address = Address("0.0.0.0", SERVICE_ADDRESS, 443)
            cluster = started.enter_context(
                control_plane(folder / "cluster", tools, place=place, address=address, flags=tuple(flags))
            )
            made = Node(name, folder, cluster, namespaces, enter)
            started.callback(_start_containerd(made).end)
            archive = write_image(folder / "pause.tar", PAUSE, {"/probe": tools / "bin" / "probe"}, "/probe", "pause")
            made.load(archive)
            started.callback(_start_names(made).end)
            started.callback(_start_kubelet(made).end)
            yield made
    finally:
        leftovers.remove(name, namespaces)
        namespaces.close()


def _make_groups(name: str) -> None:
    for top in hierarchies():
        group = top / name
        group.mkdir(exist_ok=True)
        if (top / "cgroup.controllers").exists():  # version 2: a group has the controllers that the one above passes on
            for each in _of_version_2(top):
                for passing in (top, group):
                    (passing / "cgroup.subtree_control").write_text(f"+{each}")
            continue
        for file in ("cpuset.cpus", "cpuset.mems"):  # version 1: empty they let no process in
            if (group / file).exists():
                (group / file).write_text((top / file).read_text())


def _first_process(folder: Path) -> tuple[Server, int]:
    """In new namespaces, set up; and its number as it is here. When it is killed, all others in there are."""
    unshared = ("unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child=KILL", "--")
    server = Server("first", [*unshared, str(_INSIDE), str(folder), ADDRESS, SERVICE_ADDRESS], folder)
    try:
        server.ready(lambda: "ready" in server.told().split(), 20)
    except AssertionError:
        server.end()
        raise
    (child,) = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return server, int(child)


def _start_containerd(made: Node) -> Server:
    plugins = made.folder / "cni"
    plugins.mkdir()
    network = {
        "cniVersion": "0.4.0",
        "name": made.name,
        "plugins": [
            {
                "type": "bridge",
                "bridge": "pods",
                "isGateway": True,
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": str(made.folder / "addresses"),
                },
            }
        ],
    }
    (plugins / "10-pods.conflist").write_text(json.dumps(network))
    config = made.folder / "containerd.toml"
    config.write_text(
        f"""version = 2
root = "{made.folder}/containerd"
state = "/run/containerd"
oom_score = 0
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true  # a lower one may not be ours to give
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{PLUGINS}"
    conf_dir = "{plugins}"
"""
    )
    server = Server("containerd", [*made.enter, "containerd", "--config", str(config)], made.folder)
    server.ready(lambda: made.run("ctr", "version").returncode == 0, 30)
    return server


def _start_names(made: Node) -> Server:
    made.names({})
    script = str(Path(__file__).with_name("names.py"))
    server = Server(
        "names", [*made.place.prefix, sys.executable, script, ADDRESS, str(made.folder / "names.json")], made.folder
    )
    server.ready(lambda: "ready" in server.told(), 20)
    return server


def _start_kubelet(made: Node) -> Server:
    cluster, folder = made.cluster, made.folder
    (folder / "resolv.conf").write_text("")
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(cluster.ca)},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [ADDRESS],
        "clusterDomain": "cluster.local",
        "failCgroupV1": False,  # machines with version 1 are still met
        "cgroupRoot": f"/{made.name}",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "evictionHard": {"nodefs.available": "0%", "imagefs.available": "0%", "memory.available": "0%"},
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,  # nothing could be pulled again
        "makeIPTablesUtilChains": False,
        "oomScoreAdj": 0,
        "podLogsDir": f"{folder}/logs",
        "readOnlyPort": 0,
        "resolvConf": f"{folder}/resolv.conf",
        "syncFrequency": "2s",
        "nodeStatusUpdateFrequency": "5s",
        "volumePluginDir": f"{folder}/plugins",
    }
    (folder / "kubelet.json").write_text(json.dumps(config))
    command = [
        str(cluster.tools / "bin" / "kubelet"),
        f"--config={folder}/kubelet.json",
        f"--kubeconfig={cluster.folder}/node.kubeconfig",
        f"--root-dir={folder}/kubelet",
        f"--cert-dir={folder}/kubelet/pki",
        f"--hostname-override={NAME}",
        f"--node-ip={ADDRESS}",
    ]
    server = Server("kubelet", [*made.enter, *command], folder)

    def ready() -> bool:
        seen = cluster.get("node", NAME)
        conditions = seen["status"].get("conditions", []) if seen else []
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    server.ready(ready, _SECONDS)
    return server
