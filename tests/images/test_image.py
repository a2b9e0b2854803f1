"""The image, built and run as a cluster runs it: no writable root, no capability, no privilege to gain, no shell.

Not in `make test`: it needs a Docker daemon, or root to start its own. `make test-cluster` sets REMIT_CLUSTER.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STATE = "/var/lib/remit:uid=7450,gid=7450,mode=0700"
HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none")
AS_SIDECAR = (*HARDENED, "--user=7450:7450", f"--tmpfs={STATE}")
SHELLS = ("/bin/sh", "/bin/dash", "/bin/bash", "/bin/rbash")
READY_SECONDS = 60.0
CATALOGUE = """\
currency: USD
teams: {cx: {contact: "#cx"}}
agents:
  support: {team: cx, roles: [worker], identity: {token_hash: "sha256:%s"}}
services:
  model:
    kind: openai
    owner: cx
    endpoints: {here: {url: "https://model.invalid"}}
    operations: [chat]
    variants: {gpt-5-mini: {}}
budgets: {month: {when: {team: cx}, limit: 10, window: month}}
""" % ("0" * 64)
ASK_READY = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:7459/readyz', timeout=2).read().decode())"
WALK = """
import os, stat
for where, directories, files in os.walk('/'):
    if where == '/':
        directories[:] = [each for each in directories if each not in ('proc', 'sys', 'dev')]
    for path in (os.path.join(where, name) for name in directories + files):
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            continue
        if stat.S_ISREG(found.st_mode) and found.st_mode & (stat.S_ISUID | stat.S_ISGID):
            print('set-id', path)
        if found.st_uid == 7450 or found.st_mode & stat.S_IWOTH:
            print('writable', path)
"""
LISTED = """
import glob, hashlib, json, subprocess, importlib.metadata as m
place = glob.glob('/opt/remit/lib/python3*/site-packages')
asking = ['dpkg-query', '-W', '-f', '${db:Status-Status} ${Package} ${Version}\\n']
packages = subprocess.run(asking, capture_output=True, text=True).stdout
digest = lambda path: hashlib.sha256(open(path, 'rb').read()).hexdigest()
print(json.dumps({
    'python': sorted([each.name, each.version] for each in m.distributions(path=place)),
    'debian': sorted(line.split()[1:] for line in packages.splitlines() if line.startswith('installed ')),
    'opa': digest('/usr/local/bin/opa'), 'envoy': digest('/usr/local/bin/envoy'),
}))
"""
STALE = """
import os, sysconfig, importlib.util as u
for root in ('/opt/remit/lib', sysconfig.get_path('stdlib')):
    for where, _, files in os.walk(root):
        if 'test' in where or 'lib2to3' in where:
            continue
        for name in files:
            path = os.path.join(where, name)
            if name.endswith('.py') and not os.path.exists(u.cache_from_source(path)):
                print(path)
"""

pytestmark = [
    pytest.mark.skipif(os.environ.get("REMIT_CLUSTER") != "1", reason="run by `make test-cluster` (REMIT_CLUSTER=1)"),
    pytest.mark.timeout(900),
]


@dataclass(frozen=True)
class Docker:
    """A daemon that has the image."""

    host: str
    image: str

    def __call__(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run the client; `code` is what it must end with, None for whatever it is."""
        environment = {**os.environ, **({"DOCKER_HOST": self.host} if self.host else {})}
        ran = subprocess.run(["docker", *arguments], env=environment, capture_output=True, text=True, timeout=300)
        assert code is None or ran.returncode == code, f"{arguments}: {ran.returncode}: {ran.stdout}{ran.stderr}"
        return ran

    def run(self, *arguments: str, options: tuple[str, ...] = AS_SIDECAR, code: int | None = 0) -> str:
        """What the image's program prints, both streams."""
        ran = self("run", "--rm", *options, self.image, *arguments, code=code)
        return ran.stdout + ran.stderr

    def python(self, program: str, *options: str) -> list[str]:
        """What a Python program prints in there, read as root, line by line."""
        given = ("run", "--rm", "--network=none", "--user=0", *options, "--entrypoint=python3")
        return self(*given, self.image, "-I", "-c", program).stdout.splitlines()

    @contextmanager
    def up(self, *options: str) -> Iterator[str]:
        """A running sidecar's container."""
        name = self("run", "--detach", *AS_SIDECAR, *options, self.image, *UP).stdout.strip()
        try:
            yield name
        finally:
            self("rm", "--force", name)


UP = ("up", "--catalogue", "/etc/remit/config", "--egress", "--ops", "0.0.0.0:7459")


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    """The daemon that answers, else one of our own."""
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    place = Path(tempfile.mkdtemp(prefix="remit-docker-", dir="/tmp"))
    host = ""
    if subprocess.run(["docker", "version"], capture_output=True, check=False).returncode:
        if os.geteuid() or shutil.which("dockerd") is None:
            pytest.skip("no Docker daemon answers, and root or dockerd to start one is missing")
        subprocess.run([ROOT / "images" / "daemon.sh", "start", place], check=True)
        host = f"unix://{place}/docker.sock"
    try:
        environment = {**os.environ, **({"DOCKER_HOST": host} if host else {})}
        made = subprocess.run(
            [ROOT / "images" / "archive.sh"], env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        loaded = Docker(host, "")("load", "--quiet", "--input", made.stdout.strip())
        yield Docker(host, loaded.stdout.split()[-1])
    finally:
        subprocess.run([ROOT / "images" / "daemon.sh", "stop", place], check=True)
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The option that mounts a catalogue as a ConfigMap is."""
    place = tmp_path_factory.mktemp("config")
    place.joinpath("catalogue.yaml").write_text(CATALOGUE, encoding="utf-8")
    for each in (place, *place.parents[:2]):
        each.chmod(0o755)
    place.joinpath("catalogue.yaml").chmod(0o444)
    return f"--volume={place}:/etc/remit/config:ro"


def until_ready(docker: Docker, container: str) -> Mapping[str, Any]:
    """What /readyz says once it is 200."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        asked = docker("exec", container, "python3", "-c", ASK_READY, code=None)
        if asked.returncode == 0:
            told: Mapping[str, Any] = json.loads(asked.stdout)
            return told
        if docker("inspect", "--format={{.State.Running}}", container).stdout.strip() != "true":
            break
    raise AssertionError(f"it did not get ready: {docker('logs', container).stderr}")


def test_a_sidecar_gets_ready_on_a_read_only_root_without_any_capability_and_ends_well(
    docker: Docker, config: str
) -> None:
    """`up` with the egress, as user 7450: its state is the only thing it writes; SIGTERM ends it with 0."""
    with docker.up(config) as container:
        told = until_ready(docker, container)
        docker("stop", "--time=30", container)
        code = docker("inspect", "--format={{.State.ExitCode}}", container).stdout.strip()

    assert told == {"ready": True, "checks": {"opa": "", "store": "", "egress": ""}}
    assert code == "0"


def test_no_shell_is_needed(docker: Docker, config: str) -> None:
    """With every shell replaced by nothing a sidecar gets ready, and rules are checked; a shell would fail there."""
    present = [each for each in SHELLS if docker.python(f"import os; print(os.path.exists({each!r}))") == ["True"]]
    gone = tuple(f"--volume=/dev/null:{each}:ro" for each in present)
    planted = docker("run", "--rm", *AS_SIDECAR, *gone, "--entrypoint=/bin/sh", docker.image, "-c", "true", code=None)

    with docker.up(config, *gone) as container:
        told = until_ready(docker, container)
    checked = docker.run("check", "--catalogue", "/etc/remit/config", options=(*AS_SIDECAR, config, *gone))
    locked = docker.run("lockdown", "--sidecar", "7450", options=(*AS_ROOT, "--cap-add=NET_ADMIN", *gone))

    assert planted.returncode != 0
    assert told["ready"]
    assert "good: policy revision" in checked
    assert "in force" in locked


AS_ROOT = (*HARDENED, "--user=0:0")


def test_the_lock_down_needs_one_capability_and_no_other(docker: Docker, config: str) -> None:
    """As root with NET_ADMIN alone it puts the rules into the namespace it shares; without it says what it needs."""
    with docker.up(config) as container:
        shared = ("--network", f"container:{container}")
        options = tuple(each for each in AS_ROOT if each != "--network=none")
        before = docker.run(
            "lockdown", "--sidecar", "7450", "--check", options=(*options, "--cap-add=NET_ADMIN", *shared), code=1
        )
        refused = docker.run("lockdown", "--sidecar", "7450", options=(*options, *shared), code=2)
        done = docker.run("lockdown", "--sidecar", "7450", options=(*options, "--cap-add=NET_ADMIN", *shared))
        after = docker.run(
            "lockdown", "--sidecar", "7450", "--check", options=(*options, "--cap-add=NET_ADMIN", *shared)
        )

    assert "not in force" in before
    assert "NET_ADMIN" in refused
    assert "in force (nft): user 7450 may dial" in done
    assert "in force (nft)" in after


def test_the_other_commands_run(docker: Docker, config: str) -> None:
    """The desk is the same image."""
    assert "Usage: remit desk" in docker.run("desk", "--help")
    assert re.match(r"remit \d+\.\d+", docker.run("--version"))


def test_nothing_in_it_can_be_changed_by_its_user_or_changes_user(docker: Docker) -> None:
    """Root owns all but the state directory, and there is no set-user-id file; one that is planted is found."""
    found = set(docker.python(WALK))
    planted = set(docker.python(WALK, "--tmpfs=/opt/remit/planted:mode=0777"))

    assert {line for line in found if line.startswith("set-id")} == set()
    assert found <= {f"writable {each}" for each in ("/tmp", "/var/tmp", "/run/lock", "/var/lib/remit")}
    assert planted - found == {"writable /opt/remit/planted"}


def test_all_python_in_it_is_compiled(docker: Docker) -> None:
    """Nothing can be compiled later below a read-only root, and each start would do it again."""
    assert docker.python(STALE) == []


def test_its_list_is_what_is_in_it(docker: Docker) -> None:
    """Every distribution, package and program is in the SBOM with its version, and nothing else; wheels by the lock."""
    described = json.loads("".join(docker.python("print(open('/usr/share/remit/sbom.json').read())")))
    (line,) = docker.python(LISTED)
    found = json.loads(line)
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for each in described["components"]:
        by_kind.setdefault(each["purl"].split(":")[1].split("/")[0], []).append(each)
    named = {kind: sorted([each["name"], each["version"]] for each in every) for kind, every in by_kind.items()}
    hashes = {each["name"]: each["hashes"][0]["content"] for each in described["components"] if "hashes" in each}
    lock = (ROOT / "requirements" / "server.txt").read_text(encoding="utf-8")

    assert (described["bomFormat"], described["specVersion"]) == ("CycloneDX", "1.6")
    assert len({each["bom-ref"] for each in described["components"]}) == len(described["components"])
    assert named["pypi"] == found["python"]
    assert named["deb"] == found["debian"]
    assert (hashes["opa"], hashes["envoy"]) == (found["opa"], found["envoy"])
    assert [name for name, _ in named["pypi"] if name != "remit" and f"sha256:{hashes[name]}" not in lock] == []
    assert all(each.get("licenses") for each in by_kind["pypi"]), by_kind["pypi"]


def test_it_says_what_it_is(docker: Docker) -> None:
    """Labels, user and entry point are those that the chart counts on."""
    (told,) = json.loads(docker("image", "inspect", docker.image).stdout)
    labels = told["Config"]["Labels"]

    assert told["Config"]["User"] == "7450:7450"
    assert told["Config"]["Entrypoint"] == ["/opt/remit/bin/remit"]
    assert re.fullmatch(r"[0-9a-f]{40}", labels["org.opencontainers.image.revision"])
    assert labels["org.opencontainers.image.version"] in docker.run("--version")
