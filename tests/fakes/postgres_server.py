"""A real PostgreSQL for tests: in a container where a Docker daemon has the image, else of the installed binaries.

One server a test process, ended with it. `postgres` is the server, `fresh` a database of its own for one test; both
are fixtures of tests/conftest.py. A machine that has neither container nor binaries skips what needs one, unless
REMIT_REQUIRE_POSTGRES=1 says that it must be there. REMIT_POSTGRES_BIN names a folder of binaries,
REMIT_POSTGRES_IMAGE an image.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import itertools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol

import psycopg
import pytest
from fakes.ports import free_port
from psycopg import sql

IMAGE = os.environ.get("REMIT_POSTGRES_IMAGE", "postgres:15")
READER, WRITER, OWNER = "remit_reader", "remit_writer", "postgres"
SETTINGS: Mapping[str, str] = {
    "fsync": "off",  # a killed server loses nothing: only a machine without power would
    "full_page_writes": "off",
    "autovacuum": "off",  # plans change when a test says so
    "max_connections": "80",
}
# What stands in each new database: whatever the owner creates there, the reader reads and the writer changes.
_GRANTS = f"""
ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO {READER}, {WRITER};
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {READER};
ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {WRITER};
ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO {WRITER};
"""
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_NAMES = itertools.count(1)
# Its one thread lives as long as the process: a server is ended with the thread that started it.
_STARTER = ThreadPoolExecutor(1, "postgres-starter")


class NoPostgres(Exception):
    """Neither a container nor binaries; the message says what was looked for."""


class Runs(Protocol):
    """A server process or container."""

    def start(self) -> None:
        """Start it, again after a kill; ready to be dialled soon after."""
        ...

    def kill(self) -> None:
        """As if by kill -9: no process of it is left."""
        ...

    def revive(self) -> None:
        """Start it again if it has ended by itself: what an older one held may not have been let go of yet."""
        ...

    def told(self) -> str:
        """The end of its log."""
        ...

    def stop(self) -> None:
        """End it cleanly and take away what it kept."""
        ...


@dataclass(frozen=True)
class PostgresServer:
    """A running server on loopback; `socket` is the folder of its Unix socket, "" where there is none."""

    runs: Runs
    port: int
    socket: str = ""
    host: str = "127.0.0.1"
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)

    def url(self, role: str, database: str, *, more: str = "") -> str:
        """A dataset's URL: it carries no password. `more` is appended to its query."""
        return f"postgresql://{role}@{self.host}:{self.port}/{database}?sslmode=disable{more}"

    def connect(self, database: str = "postgres", role: str = OWNER, **settings: Any) -> psycopg.Connection[Any]:
        """A connection that commits by itself."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=role,
            password=self.passwords[role],
            dbname=database,
            autocommit=True,
            **settings,
        )

    def run(self, statements: str, database: str = "postgres") -> None:
        """Run statements as the owner."""
        with self.connect(database) as connection:
            connection.execute(statements.encode())

    def kill(self) -> None:
        """kill -9 of every process of the server."""
        self.runs.kill()

    def start(self) -> None:
        """Start it again, and wait until it answers."""
        self.runs.start()
        self.wait()

    def wait(self, seconds: float = 60) -> None:
        """Wait until it answers."""
        end = time.monotonic() + seconds
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError as error:
                if time.monotonic() > end:
                    raise AssertionError(f"the server does not come up; its log ends: {self.runs.told()}") from error
                time.sleep(0.05)
                self.runs.revive()
            else:
                return


@dataclass(frozen=True)
class PostgresDatabase:
    """A database of a test's own."""

    server: PostgresServer
    name: str

    @property
    def reader(self) -> str:
        """The URL of the least-privileged role that reads every table."""
        return self.server.url(READER, self.name)

    @property
    def writer(self) -> str:
        """The URL of the role that writes."""
        return self.server.url(WRITER, self.name)

    @property
    def reader_password(self) -> str:
        """What goes with `reader`."""
        return self.server.passwords[READER]

    @property
    def writer_password(self) -> str:
        """What goes with `writer`."""
        return self.server.passwords[WRITER]

    def run(self, statements: str) -> None:
        """Run statements as the owner, who is a superuser."""
        self.server.run(statements, self.name)

    def rows(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a statement, as the owner sees them."""
        with self.server.connect(self.name) as connection:
            return connection.execute(statement.encode(), parameters or None).fetchall()


@contextlib.contextmanager
def postgres_server(settings: Mapping[str, str] = SETTINGS) -> Iterator[PostgresServer]:
    """A server with its three roles and the template of `fresh_database`. Raises NoPostgres."""
    server = _containers(settings) or _binaries(settings)
    try:
        server.runs.start()
        server.wait()
        for role in (READER, WRITER):
            server.run(f"CREATE ROLE {role} LOGIN PASSWORD '{server.passwords[role]}'")
        server.run("CREATE DATABASE remit_template")
        server.run(_GRANTS, "remit_template")
        yield server
    finally:
        server.runs.stop()


@contextlib.contextmanager
def fresh_database(server: PostgresServer) -> Iterator[PostgresDatabase]:
    """An empty database; dropped afterwards, whoever is still connected."""
    name = f"t{next(_NAMES)}_{secrets.token_hex(3)}"
    server.run(f"CREATE DATABASE {name} TEMPLATE remit_template")
    try:
        yield PostgresDatabase(server, name)
    finally:
        server.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session", name="postgres")
def postgres_fixture() -> Iterator[PostgresServer]:
    """The test process's server."""
    try:
        with postgres_server() as server:
            yield server
    except NoPostgres as error:
        go_without(error)


def go_without(error: NoPostgres) -> NoReturn:
    """Skip what needs a server, or fail where there must be one."""
    if os.environ.get("REMIT_REQUIRE_POSTGRES") == "1":
        pytest.fail(f"REMIT_REQUIRE_POSTGRES=1, but {error}")
    pytest.skip(str(error))


@pytest.fixture(name="fresh")
def fresh_fixture(postgres: PostgresServer) -> Iterator[PostgresDatabase]:
    """An empty database for one test."""
    with fresh_database(postgres) as database:
        yield database


def literal(value: object) -> str:
    """A value as SQL, for tests that write their tables' rows."""
    return sql.Literal(value).as_string(None)


def _passwords() -> dict[str, str]:
    return {role: secrets.token_urlsafe(18) for role in (OWNER, READER, WRITER)}


def _containers(settings: Mapping[str, str]) -> PostgresServer | None:
    """A server in a container; the libraries for it are loaded only where there is a daemon to ask."""
    if not (os.environ.get("DOCKER_HOST") or Path("/var/run/docker.sock").exists()):
        return None
    container = importlib.import_module("fakes.postgres_container")
    passwords, port = _passwords(), free_port()
    runs = container.container(IMAGE, settings, port=port, password=passwords[OWNER])
    return None if runs is None else PostgresServer(runs, port, passwords=passwords)


def _binaries(settings: Mapping[str, str]) -> PostgresServer:
    binaries = _find_binaries()
    if binaries is None:
        raise NoPostgres(
            f"no PostgreSQL for tests: no Docker daemon with image {IMAGE}, and no initdb and postgres in "
            "REMIT_POSTGRES_BIN, in pg_config's folder, in PATH or in /usr/lib/postgresql (Debian: postgresql)"
        )
    passwords, port = _passwords(), free_port()
    runs = _Process(binaries, settings, port, passwords[OWNER])
    return PostgresServer(runs, port, socket=str(runs.folder), passwords=passwords)


def _find_binaries() -> Path | None:
    """The folder of the newest server that is installed."""
    named = os.environ.get("REMIT_POSTGRES_BIN")
    found = [Path(named)] if named else _installed()
    whole = [each for each in found if (each / "initdb").exists() and (each / "postgres").exists()]
    return whole[-1] if whole else None


def _installed() -> list[Path]:
    """Folders that may hold a server, the newest of Debian's last."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version)
    if shutil.which("pg_config"):
        asked = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True)
        found.insert(0, Path(asked.stdout.strip()))
    on_path = shutil.which("postgres")
    if on_path:
        found.insert(0, Path(on_path).resolve().parent)
    return found


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.parent.name.split(".") if part.isdigit())


class _Process:
    """A server of installed binaries, in a new folder; it refuses to be root, and then runs as nobody."""

    def __init__(self, binaries: Path, settings: Mapping[str, str], port: int, password: str) -> None:
        self._binaries = binaries
        self._settings = settings
        self._port = port
        self._user: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="remit-pg-", dir="/tmp"))  # a socket's path is short
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        self._initialise(password)

    def _initialise(self, password: str) -> None:
        file = self.folder / "password"
        file.write_text(password)
        file.chmod(0o644)  # the folder itself is its owner's alone
        subprocess.run(
            [
                *(self._binaries / "initdb", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"),
                *(
                    f"--username={OWNER}",
                    "--auth=scram-sha-256",
                    f"--pwfile={file}",
                    f"--pgdata={self.folder / 'base'}",
                ),
            ],
            check=True,
            capture_output=True,
            cwd=self.folder,
            **self._user,
        )
        file.unlink()

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": str(self.folder),
            **self._settings,
        }
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = _STARTER.submit(
                subprocess.Popen,
                [self._binaries / "postgres", "-D", self.folder / "base", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=_end_with_parent,
                **self._user,
            ).result()

    def revive(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            self.start()

    def told(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def kill(self) -> None:
        if self._process is None:
            return
        # Stopped first: a child that is made while we look would outlive the rest, and keep a new server from starting.
        self._process.send_signal(signal.SIGSTOP)
        _wait_for(self._process.pid, "TZ")
        children = _children(self._process.pid)
        for pid in (self._process.pid, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(30)
        self._process = None
        for pid in children:  # a new server finds the old one's memory in use as long as one of them is there
            _wait_for(pid, "Z")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # "fast": who is connected is cut off
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _end_with_parent() -> None:
    """A server of a test process that was killed ends as well (Linux)."""
    if hasattr(_LIBC, "prctl"):
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)


def _children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(each) for each in found.stdout.split()]


def _wait_for(pid: int, states: str, seconds: float = 30) -> None:
    """Until a process is gone or in one of these states: T is stopped, Z an entry that nobody has asked for."""
    end = time.monotonic() + seconds
    state = Path(f"/proc/{pid}/stat")
    with contextlib.suppress(OSError):
        while state.read_text().rpartition(")")[2].split()[0] not in states:
            if time.monotonic() > end:
                raise TimeoutError(f"process {pid} is in none of the states {states}")
            time.sleep(0.01)
