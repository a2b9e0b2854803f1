"""What a node may leave on the machine, found by the node's name and namespaces, and taken away.

A node's processes end with the first one in its namespace of processes, and its mounts and network with the last of
them. Control groups and the folder have to be taken away; a test process that was killed cannot, so the next one does.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from cluster.processes import wait

PREFIX = "remit-node-"
FOLDERS = Path("/tmp")  # short, as paths of sockets must be
_KINDS = ("pid", "net")
_SYSCTLS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
_WATCHED = ("/var/lib/cni", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods", "/etc/cni", "/run/netns")


class Namespaces:
    """A node's own, each as the kernel names it: `net:[4026532300]`. Held open: a free number is soon another's."""

    def __init__(self, pid: int | None = None) -> None:
        paths = [] if pid is None else [f"/proc/{pid}/ns/{kind}" for kind in _KINDS]
        self._held = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths]
        self._named = {str(Path(f"/proc/self/fd/{each}").readlink()) for each in self._held}

    @property
    def own(self) -> set[str]:
        """Those that are not ours."""
        return self._named - _namespaces("self")

    def close(self) -> None:
        """Let go of them: from now on they are not looked for."""
        while self._held:
            os.close(self._held.pop())
        self._named = set()


def _namespaces(pid: int | str) -> set[str]:
    return {str(Path("/proc", str(pid), "ns", kind).readlink()) for kind in _KINDS}


NONE = Namespaces()


def name_of(node: str) -> str:
    """What a node of this test process is called on the machine."""
    return f"{PREFIX}{os.getpid()}-{_begun(os.getpid())}-{node}"


def hierarchies() -> list[Path]:
    """Where control groups are mounted: one folder, or with version 1 one a controller."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [Path(mount[1]) for mount in mounts if mount[2] in ("cgroup", "cgroup2")]


def found(name: str, namespaces: Namespaces = NONE) -> list[str]:
    """What is left of a node, a line each."""
    left = [f"process {pid}: {told}" for pid, told in _processes(name, namespaces)]
    left += [f"mount {each}" for each in _mounts(name)]
    left += [f"network namespace {each}" for each in _named_networks(name)]
    left += [f"namespace {each}" for each in sorted(_pinned(namespaces))]
    left += [f"control group {each}" for each in _groups(name)]
    return left + ([f"folder {FOLDERS / name}"] if (FOLDERS / name).exists() else [])


def remove(name: str, namespaces: Namespaces = NONE) -> None:
    """Take all of it away; AssertionError says what did not go."""
    wait(f"the processes of {name} are gone", lambda: _processes_ended(name, namespaces), 20)
    for mount in reversed(_mounts(name)):
        subprocess.run(["umount", "--lazy", mount], check=False)
    for network in _named_networks(name):
        subprocess.run(["ip", "netns", "delete", network.name], check=False)
    wait(f"the control groups of {name} are gone", lambda: _groups_removed(name), 20)
    wait(f"the folder of {name} is gone", lambda: _folder_removed(name), 20)
    left = found(name, namespaces)
    assert not left, f"left of {name}: {left}"


def sweep() -> list[str]:
    """Remove what nodes of test processes that are no more have left; their names."""
    places = [FOLDERS, Path("/run/netns"), *hierarchies()]
    names = {each.name for place in places for each in place.glob(f"{PREFIX}*")}
    ended = sorted(name for name in names if not _lives(name))
    for name in ended:
        remove(name)
    return ended


def machine() -> dict[str, object]:
    """What a node could change of the whole machine without its name on it: the same before and after."""
    state: dict[str, object] = {each: Path("/proc/sys", each).read_text() for each in _SYSCTLS}
    return state | {each: sorted(map(str, Path(each).rglob("*"))) for each in _WATCHED}


def _lives(name: str) -> bool:
    """Whether the test process that a node is named after still runs; what is named otherwise is not ours to judge."""
    matched = re.fullmatch(rf"{PREFIX}(\d+)-(\d+)-.*", name)
    return matched is None or _begun(matched[1]) == matched[2]


def _begun(pid: int | str) -> str:
    """When a process did, in ticks: a number alone may by now be another's. Empty if there is none."""
    with contextlib.suppress(OSError):
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[19]
    return ""


def _processes(name: str, namespaces: Namespaces) -> Iterator[tuple[int, str]]:
    """Processes in the node's control groups or namespaces, and those that its folder is told to."""
    folder, own = str(FOLDERS / name), namespaces.own
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it may just have ended
            told = (entry / "cmdline").read_text(errors="replace").replace("\0", " ").strip()
            groups = {line.split(":", 2)[2] for line in (entry / "cgroup").read_text().splitlines()}
            within = any(group == f"/{name}" or group.startswith(f"/{name}/") for group in groups)
            ours = within or f"{folder}/" in told or own & _namespaces(entry.name)
            if ours and _alive(entry):
                yield int(entry.name), told


def _alive(process: Path) -> bool:
    """Of one that is dead threads may still be at the end of what they did last."""
    for thread in (process / "task").iterdir():
        with contextlib.suppress(OSError):
            if (thread / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                return True
    return False


def _processes_ended(name: str, namespaces: Namespaces) -> bool:
    """Each is killed; whether there was none."""
    seen = [pid for pid, _ in _processes(name, namespaces)]
    for pid in seen:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return not seen


def _folder_removed(name: str) -> bool:
    """What a process that is being killed wrote last may come after the folder was listed: once more, then."""
    shutil.rmtree(FOLDERS / name, ignore_errors=True)
    return not (FOLDERS / name).exists()


def _mounts(name: str) -> list[str]:
    mounts = (line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines())
    folder = str(FOLDERS / name)
    return [mount for mount in mounts if mount == folder or mount.startswith(f"{folder}/")]


def _pinned(namespaces: Namespaces) -> set[str]:
    """The node's namespaces that a mount keeps, with nobody in them."""
    held = {line.split()[3] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    return namespaces.own & held


def _named_networks(name: str) -> list[Path]:
    return sorted(Path("/run/netns").glob(f"{name}*"))


def _groups(name: str) -> list[Path]:
    """The tops only."""
    return [each / name for each in hierarchies() if (each / name).is_dir()]


def _groups_removed(name: str) -> bool:
    """Deepest first; a group whose last process has only just ended refuses for a moment."""
    for top in _groups(name):
        for each, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                Path(each).rmdir()
    return not _groups(name)
