"""Keys and credentials as Kubernetes mounts them, on real mounts, for a user who owns nothing of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

POD = Path(__file__).parents[1] / "fakes" / "in_a_pod.py"
NAMESPACE = ["unshare", "--mount", "--propagation", "private"]


def may_mount() -> bool:
    tried = [*NAMESPACE, "mount", "-t", "tmpfs", "try", "/mnt"]
    return os.geteuid() == 0 and subprocess.run(tried, capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not may_mount(), reason="mounts are made by root alone")


def came(case: str) -> Mapping[str, Any]:
    ran = subprocess.run([*NAMESPACE, sys.executable, POD, case], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found: Mapping[str, Any] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("case", ["as it is by default", "readable by the pod's group"])
def test_a_mounted_secret_is_used_and_nothing_is_said_of_its_mode(case: str) -> None:
    """Nobody else is in the container. Keys of its own are made in the state, for this user alone."""
    assert came(case) == {"own": "600", "problems": []}


@pytest.mark.parametrize(
    ("case", "keys"),
    [
        ("readable by root alone", "Permission denied"),
        ("writable by the pod's group", "found mode 460"),
        ("a file system that can be written", "found mode 444, expected 600, or a volume that is mounted read-only"),
        ("a directory of the image", "found mode 444"),
        ("not in Kubernetes", "found mode 444, expected 600"),
        ("without one of the keys", "views.key: found none, and none can be made"),
    ],
)
def test_elsewhere_the_mode_counts(case: str, keys: str) -> None:
    """Where others may be, or something can be written, a key that others can read is refused; and none is made in a
    volume that is mounted without it."""
    found = came(case)
    assert keys in found["keys"], found


@pytest.mark.parametrize("case", ["a file system that can be written", "not in Kubernetes", "a directory of the image"])
def test_a_credential_that_others_can_read_is_told_there(case: str) -> None:
    (problem,) = came(case)["problems"]
    assert "which every user can read" in problem


def test_what_fs_group_widens_on_a_volume_of_our_own_is_made_narrow_again() -> None:
    """The kubelet gives a volume's group all files in it, each time that a pod begins."""
    assert came("a state whose group was widened") == {"own": "600", "problems": []}
