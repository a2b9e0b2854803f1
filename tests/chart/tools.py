"""The programs that these tests run, and what they say."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from remit.backends.opa_binary import find

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "remit"
INSTALLER = ROOT / "tests" / "cluster" / "tools" / "install.sh"


@cache
def folder() -> Path:
    """Where they are: in the user's cache, from where `make tools` has put them there, or as REMIT_TOOLS says."""
    named = os.environ.get("REMIT_TOOLS")
    told = named or subprocess.run([INSTALLER, "static"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return Path(told.strip())


def run(command: Sequence[str | Path], given: str = "") -> subprocess.CompletedProcess[str]:
    """What a program says, whatever it ends with. No cluster and no registry is known to it."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "HELM_PLUGINS": "/nonexistent"}
    return subprocess.run(command, input=given, capture_output=True, text=True, env=environment, timeout=60)


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run helm."""
    return run([folder() / "bin" / "helm", *arguments])


def opa(*arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run the OPA that Remit runs."""
    return run([find(os.environ).path, *arguments], given)
