"""What Kubernetes mounts into a container: files that nobody but this container's processes can read.

A volume of a Secret is a file system of its own, mounted read-only; the kubelet owns its files, and gives them a mode
that has to let the container's user read them: 0444, or 0440 with the pod's `fsGroup`. Those bits say who else may
read, and nobody else is in a container.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

IN_KUBERNETES = "KUBERNETES_SERVICE_HOST"
_FOR_READING = stat.S_IRGRP | stat.S_IROTH
_FOR_GROUP = stat.S_IRGRP | stat.S_IWGRP


def in_kubernetes() -> bool:
    """Whether this process is in a container that Kubernetes runs."""
    return bool(os.environ.get(IN_KUBERNETES))


def alone_reads(path: Path, mode: int) -> bool:
    """Whether this container alone can read a file with this mode, though the mode lets others read it."""
    if mode & 0o077 & ~_FOR_READING or not in_kubernetes():
        return False
    volume = path.parent
    try:
        read_only = bool(os.statvfs(path).f_flag & os.ST_RDONLY)
        # A link in the volume does not lead out of it.
        return read_only and volume.is_mount() and path.stat().st_dev == volume.stat().st_dev
    except OSError:
        return False


def widened(found: os.stat_result) -> bool:
    """Whether a file of our own has what `fsGroup` gives the group of a volume, each time that a pod begins."""
    open_to = stat.S_IMODE(found.st_mode) & 0o077
    return in_kubernetes() and found.st_uid == os.geteuid() and bool(open_to) and not open_to & ~_FOR_GROUP


def make_private(directory: Path) -> None:
    """Have the directory there, for this user alone. Where it is a volume that Kubernetes mounts, its root is not ours
    to change, nor is anybody else there to see it."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        directory.chmod(0o700)
    except PermissionError:
        if not in_kubernetes() or not directory.is_mount():
            raise
