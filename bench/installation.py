"""An installation to measure: a PostgreSQL that keeps what it commits, a migrated store, and sidecars on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from fakes.postgres_server import postgres_server
from fakes.store_postgres import SIDECAR, Installation, new_installation

from bench.places import Sidecar, sidecar

HERE = Path(__file__).parent
SETTINGS: Mapping[str, str] = {
    "max_connections": "560",
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "track_commit_timestamp": "on",  # when a record was there, beside when it was made
}
"""PostgreSQL's own otherwise: it waits for its disk, and cleans up by itself."""

MEMBERS = 4
EACH = 2_500
"""Sidecars of a fleet, and agents in the catalogue of each. (A catalogue takes 4,096.)"""

EMBEDDED, ALLOTTED, SYNCHRONOUS = "embedded", "allotted", "synchronous"
FLEETS = (EMBEDDED, ALLOTTED, SYNCHRONOUS)
"""A file of its own for each sidecar; PostgreSQL with allotments; PostgreSQL without."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Sidecars of one kind."""

    kind: str
    sidecars: Sequence[Sidecar]


@dataclass(frozen=True, slots=True)
class Agent:
    """One of many: the number of its sidecar, and its own there."""

    member: int
    number: int

    @property
    def credential(self) -> tuple[tuple[str, str], ...]:
        """What it shows."""
        return (("authorization", f"Bearer {_token(self.member, self.number)}"),)


@contextmanager
def installation(settings: Mapping[str, str] = SETTINGS) -> Iterator[Installation]:
    """A migrated store on a server of its own. Raises NoPostgres."""
    with postgres_server(settings) as server, new_installation(server) as made:
        yield made


def fleets(stack: ExitStack, directory: Path, installed: Mapping[str, Installation]) -> Mapping[str, Fleet]:
    """All sidecars, started side by side; `stack` ends them. An installation for each kind that shares a store."""
    started: dict[tuple[str, int], Sidecar] = {}

    def start(wanted: tuple[str, int]) -> None:
        kind, number = wanted
        found = installed.get(kind)
        one = member(directory / kind, f"{number}", found, number=number, allotments=kind == ALLOTTED)
        started[wanted] = stack.enter_context(one)

    with ThreadPoolExecutor(2) as threads:
        # The first sidecar of an installation makes the keys that the others find.
        list(threads.map(start, [(kind, 0) for kind in FLEETS]))
        list(threads.map(start, [(kind, number) for kind in FLEETS for number in range(1, MEMBERS)]))
    return {kind: Fleet(kind, [started[kind, number] for number in range(MEMBERS)]) for kind in FLEETS}


@contextmanager
def member(
    directory: Path,
    name: str,
    installed: Installation | None,
    *,
    number: int = 0,
    agents: int = EACH,
    allotments: bool = False,
) -> Iterator[Sidecar]:
    """A sidecar of an installation, in a directory of this name; with a file of its own where there is none."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(_line(number, each) for each in range(agents))
    with sidecar(
        directory / name,
        template=HERE / "scale.yaml",
        values={"AGENTS": lines},
        environment=environment(directory, installed, allotments=allotments) if installed else {},
    ) as started:
        yield started


def environment(
    directory: Path, installed: Installation, *, role: str = SIDECAR, allotments: bool = False
) -> Mapping[str, str]:
    """What a member finds its store and keys by. The members of a directory have the same keys."""
    password = directory / f"{role}.password"
    password.write_text(installed.passwords[role], encoding="utf-8")
    return {
        "REMIT_KEYS": str(directory / "keys"),
        "REMIT_STORE_URL": installed.url(role),
        "REMIT_STORE_PASSWORD_FILE": str(password),
        "REMIT_STORE_ALLOTMENTS": "true" if allotments else "false",
    }


def _token(number: int, agent: int) -> str:
    return f"token-of-{number}-{agent}"


def _line(number: int, agent: int) -> str:
    """An agent of that sidecar, as the catalogue has it."""
    hashed = sha256(_token(number, agent).encode()).hexdigest()
    return (
        f"  a{number}-{agent}: {{team: cx, roles: [worker], purposes: [measure], clearance: [pii], "
        f'identity: {{token_hash: "sha256:{hashed}"}}}}'
    )
