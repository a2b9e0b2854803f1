"""`remit k8s`: an installation in a cluster, as the person at this workstation may see it."""

from __future__ import annotations

from remit.cli.lazy import Lazily, LazyGroup

command = LazyGroup(
    "k8s",
    help="Look at a cluster, by the kubectl on PATH.",
    later={
        "check": Lazily("remit.cli.k8s_check", "Say what is wrong with an installation, before or after installing.")
    },
)
