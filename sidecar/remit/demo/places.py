"""Where the demo keeps what it makes: one directory, which is also the state directory of its sidecar."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe

WORLD = Path(__file__).parent / "world"
"""What ships with the package: the customers, the catalogue, a policy of one's own."""

MARK = "demo.json"
PROVIDERS = ("models", "mail")
COLUMNS = ["id", "name", "email", "region", "product", "iban", "tax_number", "income", "note"]


class NotOurs(Exception):
    """The directory holds something that is not a demo's, or a demo that still runs."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths within the demo's directory; `world` is what it is made from."""

    root: Path
    world: Path

    @property
    def customers(self) -> Path:
        """The SQLite database of customers and orders."""
        return self.root / "customers.db"

    @property
    def catalogue(self) -> Path:
        """The catalogue that the sidecar is started with."""
        return self.root / "remit.yaml"

    @property
    def policies(self) -> Path:
        """The demo's own policies."""
        return self.root / "policies"

    @property
    def credentials(self) -> Path:
        """One file for each agent and person, with its token, and one for each provider, with its API key."""
        return self.root / "credentials"

    def key(self, provider: str) -> Path:
        """The file with the API key of a provider (models or mail)."""
        return self.credentials / f"{provider}.key"

    @property
    def books(self) -> Path:
        """What the third parties wrote down."""
        return self.root / "books"

    @property
    def logs(self) -> Path:
        """What the processes had to say."""
        return self.root / "logs"

    @property
    def mark(self) -> Path:
        """Says that the directory is a demo's, and which processes of it were left running."""
        return self.root / MARK


def prepare(root: Path, world: Path) -> Layout:
    """An empty directory with the world laid out in it; a former demo's is removed. Raises NotOurs."""
    layout = Layout(root.absolute(), world)
    _clear(layout)
    layout.root.mkdir(parents=True, mode=0o700, exist_ok=True)
    layout.root.chmod(0o700)
    for each in (layout.credentials, layout.books, layout.logs):
        each.mkdir(mode=0o700)
    for provider in PROVIDERS:
        create(layout.key(provider), f"sk-{provider}-{token_urlsafe(32)}")
    remember(layout, {})
    shutil.copytree(world / "policies", layout.policies)
    build_database(world, layout.customers)
    return layout


def create(path: Path, secret: str) -> None:
    """A file with a secret, for its owner alone."""
    path.touch(mode=0o600)
    path.write_text(secret, encoding="ascii")


def remember(layout: Layout, running: dict[str, int]) -> None:
    """Write down which processes (name → pid) stay."""
    layout.mark.write_text(json.dumps({"running": running}) + "\n", encoding="utf-8")


def build_database(world: Path, database: Path) -> None:
    """The customers' database from its texts."""
    with closing(sqlite3.connect(database)) as made, made:
        made.executescript((world / "crm.sql").read_text(encoding="utf-8"))
        for table in ("customers", "orders"):
            with (world / f"{table}.csv").open(encoding="utf-8", newline="") as file:
                names, *rows = csv.reader(file)
            places = ", ".join("?" * len(names))
            made.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", rows)  # noqa: S608 (ours)


def customers(database: Path) -> list[dict[str, str]]:
    """Every customer, whole: for checking what was let out, not for the agents."""
    with closing(sqlite3.connect(database)) as opened:
        rows = opened.execute(f"SELECT {', '.join(COLUMNS)} FROM customers ORDER BY id")  # noqa: S608 (constants)
        return [{column: str(value) for column, value in zip(COLUMNS, row, strict=True)} for row in rows]


def letters(database: Path) -> dict[str, int]:
    """How many letters were counted, by each customer's address."""
    with closing(sqlite3.connect(database)) as opened:
        return dict(opened.execute("SELECT email, letters FROM customers"))


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody uses now."""
    with ExitStack() as held:
        return [held.enter_context(_bound()).getsockname()[1] for _ in range(count)]


@contextmanager
def _bound() -> Iterator[socket.socket]:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        yield each


def _runs(pid: int, root: Path) -> bool:
    """Whether a process that was left running still does; a number may be somebody else's by now."""
    try:
        os.kill(pid, 0)
        return str(root) in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except ProcessLookupError:
        return False
    except OSError:
        return True


def _clear(layout: Layout) -> None:
    if not layout.root.exists() or not any(layout.root.iterdir()):
        return
    if not layout.mark.is_file():
        raise NotOurs(f"{layout.root} is not empty, and no demo made it; name another directory")
    running = json.loads(layout.mark.read_text(encoding="utf-8"))["running"]
    alive = sorted(pid for pid in running.values() if _runs(pid, layout.root))
    if alive:
        raise NotOurs(f"a demo still runs in {layout.root}; stop it first: kill {' '.join(map(str, alive))}")
    shutil.rmtree(layout.root)
