"""A stage for attacks on the egress: a real sidecar with OPA and Envoy, upstreams that keep every byte, an attacker's
sockets; and the reckoning of what reached an upstream against what the journal permitted."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path

from fakes.egress_book import Book, Got, Wire, serving
from fakes.ports import free_port
from remit.backends.store_sqlite import open_journal
from remit.cli.records import Entry, from_row
from remit.core.canonical import digest

TOKENS = {name: f"rmt_of_{name}_on_the_stage" for name in ("support", "watched", "ana")}
TOKEN = f"remit-token: {TOKENS['support']}\r\n"
PROXY_TOKEN = f"proxy-authorization: Bearer {TOKENS['support']}\r\n"
AGENTS = ("support", "watched")
KEY = "sk-canary+of/the=stage-0123456789"
CATALOGUE = """\
currency: EUR
teams: {cx: {contact: "#cx"}}
people: {ana: {roles: [operator], identity: {token_hash: "sha256:HASH_ana"}}}
agents:
AGENTS
services:
  api:
    owner: cx
    clearance: [pii]
    endpoints: {here: {url: "http://127.0.0.1:API/base", region: eu}}
    credentials: [{file: api.key}]
    body_bytes: 65536
    timeout: 20
    routes:
      - {path: "/v1/chat", operation: chat, methods: [POST], arguments: {a: /a}}
      - {path: "/v1/items/{id}", operation: item, methods: [GET, HEAD]}
      - {path: "/v1/items", operation: items, methods: [GET]}
      - {path: "/v1/items/", operation: items, methods: [GET]}
      - {path: "/v1/do/{what}", operation: do, methods: [GET]}
  events:
    owner: cx
    endpoints: {here: {url: "http://127.0.0.1:API/base", region: eu}}
    routes: [{path: "/v1/{what}", operation: listen, methods: [GET]}]
  people:
    owner: cx
    clearance: [pii]
    returns: [pii]
    endpoints: {here: {url: "http://127.0.0.1:API/base", region: eu}}
    routes: [{path: "/v1/people", operation: list, methods: [GET]}]
  model:
    owner: cx
    kind: openai
    endpoints: {here: {url: "http://127.0.0.1:API/base", region: eu}}
    credentials: [{file: api.key}]
    variants: {small: {inject: {output_token: 50}}}
  plain:
    owner: cx
    endpoints: {here: {url: "http://localhost:PLAIN/base", region: eu, addresses: [127.0.0.0/8]}}
    routes:
      - {path: "/v1/items/{id}", operation: item, methods: [GET]}
      - {path: "/v1/chat", operation: chat, methods: [POST]}
  tunnel:
    owner: cx
    opaque: true
    clearance: []
    endpoints: {here: {url: "https://localhost:TUNNEL", region: eu, addresses: [127.0.0.0/8]}}
  shut:
    owner: cx
    endpoints: {here: {url: "https://localhost:SHUT", region: eu, addresses: [127.0.0.0/8]}}
  wire:
    owner: cx
    kind: tcp
    clearance: []
    listen: 127.0.0.1:LISTEN
    endpoints: {here: {url: "tcp://127.0.0.1:TUNNEL", region: eu}}
prices:
  - {match: "*/*", unit: call, amount: 0, currency: EUR}
  - {match: "model/*", unit: input_token, per: 1_000_000, amount: 2, currency: EUR}
  - {match: "model/*", unit: cache_read_token, per: 1_000_000, amount: 1, currency: EUR}
  - {match: "model/*", unit: output_token, per: 1_000_000, amount: 8, currency: EUR}
"""
AGENT = "  NAME: {team: cx, roles: [support], purposes: [support], clearance: [pii], identity: IDENTITY}"
REMIT = [sys.executable, "-c", "from remit.cli.main import main; main()"]
READY = 40.0
_PATIENCE = 8.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What a socket heard until it was closed or fell silent."""

    raw: bytes
    closed: bool

    @property
    def status(self) -> int:
        """The first answer's status; 0 where none came."""
        first = self.raw.partition(b"\r\n")[0].split(b" ")
        return int(first[1]) if len(first) > 1 and first[0].startswith(b"HTTP/1.") else 0

    @property
    def statuses(self) -> list[int]:
        """Every answer's status, of bodies that hold none themselves."""
        return [int(part[:3]) for part in self.raw.split(b"HTTP/1.1 ")[1:]]


class Stage:
    """One sidecar and all around it."""

    def __init__(self, place: Path, *, pod: bool = False, more: Sequence[str] = ()) -> None:
        self.place = place
        self.api, self.plain, self.shut, self.wire = Book(), Book(), Wire(), Wire()
        self.egress, self.proxy, self.grpc, self.listen = (free_port() for _ in range(4))
        self._pod, self._more = pod, more
        self._process: subprocess.Popen[str] | None = None
        self._read = 0

    def prepare(self) -> None:
        """Write the catalogue; the upstreams run already."""
        (self.place / "api.key").write_text(KEY)
        (self.place / "api.key").chmod(0o600)
        # A pod's own agent is the only one there is.
        agents = {"support": "pod"} if self._pod else {name: f'{{token_hash: "sha256:HASH_{name}"}}' for name in AGENTS}
        lines = [AGENT.replace("NAME", name).replace("IDENTITY", known) for name, known in agents.items()]
        text = CATALOGUE.replace("AGENTS", "\n".join(lines))
        for name, token in TOKENS.items():
            text = text.replace(f"HASH_{name}", sha256(token.encode()).hexdigest())
            (self.place / f"{name}.token").write_text(token)
        ports: dict[str, Book | Wire] = {"API": self.api, "PLAIN": self.plain, "TUNNEL": self.wire, "SHUT": self.shut}
        for name, each in ports.items():
            text = text.replace(f":{name}", f":{each.port}")
        (self.place / "remit.yaml").write_text(text.replace(":LISTEN", f":{self.listen}"))

    def up(self) -> None:
        """Start the sidecar; it serves once this returns."""
        if self._process is not None and self._process.stdout is not None:
            self._process.wait(30)
            self._process.stdout.close()
        listen = ["--grpc", f"127.0.0.1:{self.grpc}", "--http", f"127.0.0.1:{free_port()}"]
        listen += ["--egress-http", f"127.0.0.1:{self.egress}", "--egress-proxy", f"127.0.0.1:{self.proxy}"]
        with (self.place / "up.log").open("a") as log:
            self._process = subprocess.Popen(
                [*REMIT, "up", "--egress", "--json", "--socket", str(self.place / "agents.sock"), *listen, *self._more],
                cwd=self.place,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "REMIT_EGRESS_ACCESS_LOG": "true"},
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.log
        self.addresses: list[str] = json.loads(line)["addresses"]

    @property
    def pid(self) -> int:
        """The sidecar's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the sidecar has ended by itself."""
        return self._process is None or self._process.poll() is not None

    def child(self, name: str) -> int:
        """The process of this program that the sidecar runs."""
        found: list[int] = []

        def look() -> bool:
            listed = subprocess.run(["pgrep", "-P", str(self.pid), "-f", f"/{name}-"], capture_output=True, text=True)
            found[:] = [int(each) for each in listed.stdout.split()]
            return len(found) == 1

        assert until(look), (name, found)
        return found[0]

    @property
    def state(self) -> Path:
        """The sidecar's state directory."""
        return self.place / ".remit"

    @property
    def log(self) -> str:
        """What the sidecar wrote on stderr."""
        return (self.place / "up.log").read_text()

    @property
    def metrics(self) -> bytes:
        """What its metrics say."""
        port = int(next(each for each in self.addresses if each.startswith("http://")).rpartition(":")[2])
        return talk(port, b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", rest=2).raw

    def stop(self) -> None:
        """End it."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.communicate(timeout=30)
        finally:
            self._process.kill()

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def remit(self, *arguments: str, who: str = "ana") -> subprocess.CompletedProcess[str]:
        """A command of a person, or of an agent."""
        given = ["--address", f"127.0.0.1:{self.grpc}", "--token-file", f"{who}.token"]
        return subprocess.run(
            [*REMIT, *arguments, *given], cwd=self.place, capture_output=True, text=True, check=False, timeout=60
        )

    def records(self) -> list[Entry]:
        """The journal so far."""
        with open_journal(self.state / "state.db") as journal:
            return [from_row(row) for row in journal.rows()]

    def fresh(self) -> list[Entry]:
        """The records since this was last asked."""
        with open_journal(self.state / "state.db") as journal:
            new = [from_row(row) for row in islice(journal.rows(), self._read, None)]
        self._read += len(new)
        return new

    def page(self) -> None:
        """Begin anew: what was before does not count."""
        self.fresh()
        self.api.clear()
        self.plain.clear()

    def reckon(self) -> list[str]:
        """What is wrong between the upstreams' books and the journal since `page`: [] where each request that arrived
        has its own ALLOW, which says exactly its method, path and body."""
        permitted: Counter[str] = Counter()
        for entry in self.fresh():
            if entry.kind == "decision" and (sent := entry.body.get("sent")):
                permitted[sent["digest"]] += 1
        arrived = Counter(whole(got) for got in (*self.api.got, *self.plain.got))
        wild = [f"bytes that are no request: {each[:80]!r}" for each in (*self.api.wild, *self.plain.wild)]
        return wild + [f"without a decision: {each}" for each in (arrived - permitted)]


def whole(got: Got) -> str:
    """The digest that the journal has of a request like this."""
    return digest([got.method, got.target.removeprefix("/base"), sha256(got.body).hexdigest()])


@contextmanager
def stage(place: Path, *, pod: bool = False, more: Sequence[str] = ()) -> Iterator[Stage]:
    """Everything, until the end of the block."""
    made = Stage(place, pod=pod, more=more)
    with ExitStack() as stack:
        stack.enter_context(serving(made.api, made.plain, made.shut, made.wire))
        made.prepare()
        stack.callback(made.stop)
        made.up()
        yield made


def talk(
    port: int,
    *parts: bytes,
    rest: float = 0.3,
    whole: float = 8.0,
    host: str = "127.0.0.1",
    owed: Callable[[Heard], bool] = lambda heard: False,
) -> Heard:
    """Say this, and hear until the other side closes, or has been silent for `rest` seconds after it said something;
    before it has said anything, until `whole` seconds are over. While an answer is `owed`, be patient for longer."""
    with socket.create_connection((host, port), timeout=whole) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        heard = b""
        try:
            for part in parts:
                sock.sendall(part)
            begun = time.monotonic()
            ends = begun + whole
            while time.monotonic() < ends:
                sock.settimeout(rest if heard else whole)
                try:
                    read = sock.recv(1 << 16)
                except TimeoutError:
                    if not owed(Heard(heard, closed=False)):
                        raise
                    ends = max(ends, begun + _PATIENCE)
                    continue
                if not read:
                    return Heard(heard, closed=True)
                heard += read
        except TimeoutError:
            return Heard(heard, closed=False)
        except ConnectionError:
            return Heard(heard, closed=True)
        return Heard(heard, closed=False)


def request(
    target: str, method: str = "GET", body: bytes = b"", *, host: str = "127.0.0.1", headers: str = "", who: str = TOKEN
) -> bytes:
    """A request of the agent `support`, or of whoever the header `who` says: to put something wrong into."""
    sized = f"content-length: {len(body)}\r\n" if body or method == "POST" else ""
    head = f"{method} {target} HTTP/1.1\r\nhost: {host}\r\n{who}{sized}{headers}connection: close\r\n\r\n"
    return head.encode("utf-8") + body


def until(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether it becomes true within this time."""
    ends = time.monotonic() + seconds
    while not true():
        if time.monotonic() > ends:
            return False
        time.sleep(0.02)
    return True


def stopped(pid: int) -> contextlib.ExitStack:
    """A process that stands still until the end of the block."""
    os.kill(pid, signal.SIGSTOP)
    stack = contextlib.ExitStack()
    stack.callback(os.kill, pid, signal.SIGCONT)
    return stack


def reason(heard: Heard) -> str:
    """The reason of a refusal, as the answer says it; "" for none."""
    found = _REASON.search(heard.raw)
    return found[1].decode() if found else ""


_REASON = re.compile(rb"Remit: ([a-z_]+): ")
