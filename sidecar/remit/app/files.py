"""Where one member keeps its things."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from remit.backends.mounted import make_private


@dataclass(frozen=True, slots=True)
class Files:
    """All below the member's state directory."""

    state: Path

    @property
    def store(self) -> Path:
        """The embedded store, or what a member of a shared one has of its own."""
        return self.state / "state.db"

    @property
    def lock(self) -> Path:
        """Held by the member that runs here, where no embedded store is."""
        return self.state / "member.lock"

    @property
    def opa(self) -> Path:
        """What OPA is served from."""
        return self.state / "opa"

    @property
    def egress(self) -> Path:
        """What Envoy is told by."""
        return self.state / "egress"

    @property
    def bundles(self) -> Path:
        """Policy bundles by their revision."""
        return self.state / "bundles"

    @property
    def remote(self) -> Path:
        """The signed bundle that catalogue and policies came from, where they came from one."""
        return self.state / "bundle"

    def make(self) -> None:
        """The directories, for this user alone."""
        make_private(self.state)
        self.bundles.mkdir(exist_ok=True, mode=0o700)
