"""A stage for budgets: a real sidecar with OPA, Envoy and its store, and an upstream's bill to reckon its books by.

Whatever was asked for arrived, was billed and was booked, or was not; at the end nothing is held, and no budget's sum
is another than that of its calls.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import apsw
from fakes.budget_upstream import CAP, KINDS, PLAIN, Arrival, Upstream
from fakes.ports import free_port
from remit.backends.store_sqlite import open_journal
from remit.cli.records import Entry, from_row

AGENTS = ("support", "second", "novice")
TOKENS = {name: f"rmt_of_{name}_who_has_a_budget" for name in AGENTS}
MUTANT = Path(__file__).with_name("budget_mutant.py")
CLOCK = Path(__file__).with_name("budget_clock.py")
REMIT = [sys.executable, "-c", "from remit.cli.main import main; main()"]
INPUT_NANOS, CACHED_NANOS, OUTPUT_NANOS = 2_000, 1_000, 8_000
FLAT = 10_000_000
SECONDS = 5.0

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer, as far as it came; `whole` where it came to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool

    @property
    def code(self) -> str:
        """The reason of a refusal of Remit's, "" where it is none."""
        text = self.body.decode(errors="replace")
        return text.partition("Remit: ")[2].partition(":")[0] if self.status >= 400 else ""


@dataclass(frozen=True, slots=True)
class Booked:
    """A permitted call in the books: what it has reserved and spent (nanos), and what was said of its end."""

    decision: Entry
    state: str
    reserved: int
    spent: int
    deadline: int
    endings: Sequence[Entry] = ()

    @property
    def presumed(self) -> bool:
        """Whether its cost is not known, but what may have been."""
        return self.state == "lapsed" or any(each.body.get("presumed") for each in self.endings)

    @property
    def crossed(self) -> bool:
        """Whether its caller left while the permission was on its way: nobody can know whether it was sent."""
        return self.presumed and any(each.body.get("error") == "the stream ended" for each in self.endings)


def reservation(body: bytes) -> int:
    """Nanos that a call of a model has reserved: no more tokens than bytes come in, no more than the cap go out."""
    return len(body) * INPUT_NANOS + CAP * OUTPUT_NANOS


def service(*, kind: str, port: int, at: int = 0, **more: Any) -> Json:
    """A service of the catalogue, at the upstream or at another port."""
    endpoint = {"url": f"http://127.0.0.1:{at or port}", "region": "eu"}
    routes = [{"path": "/v1/do", "operation": "do", "variant": "/model", "arguments": {"text": "/text"}}]
    return {
        "owner": "cx",
        "kind": kind,
        "endpoints": {"here": endpoint},
        "credentials": [{"file": "upstream.key"}],
        "variants": {"small": {}, "flat": {}},
        **({"routes": routes} if kind == "http" else {}),
        **more,
    }


@dataclass
class Stage:
    """One sidecar and its upstream. `services` are kinds by name, or kinds with more; `budgets` a catalogue's."""

    place: Path
    services: Mapping[str, str | Json]
    budgets: Mapping[str, Json] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    program: Path | None = None
    upstream: Upstream = field(default_factory=Upstream)
    port: int = field(default_factory=free_port)
    grpc: int = field(default_factory=free_port)
    ops: int = field(default_factory=free_port)
    _process: subprocess.Popen[str] | None = None

    def write(self, **changes: Any) -> None:
        """The catalogue, with changes to its sections."""
        listed = {
            name: service(port=self.upstream.port, **(each if isinstance(each, dict) else {"kind": each}))
            for name, each in self.services.items()
        }
        tokens = {name: {"token_hash": f"sha256:{sha256(TOKENS[name].encode()).hexdigest()}"} for name in AGENTS}
        units = {"input_token": INPUT_NANOS, "cache_read_token": CACHED_NANOS, "output_token": OUTPUT_NANOS}
        prices = [
            {"match": "*/small", "unit": unit, "per": 10**9, "amount": nanos, "currency": "USD"}
            for unit, nanos in units.items()
        ]
        flat = {"match": "*/flat", "unit": "call", "per": 10**9, "amount": FLAT, "currency": "USD"}
        known = {"roles": ["support"], "purposes": ["support"]}
        catalogue = {
            "currency": "USD",
            "teams": {"cx": {}},
            "agents": {name: {"team": "cx", **known, "identity": tokens[name]} for name in AGENTS},
            "services": listed,
            "prices": [*prices, flat],
            "budgets": {"all": {"limit": 10**6}, **self.budgets},
        }
        (self.place / "upstream.key").write_text("sk-of-the-upstream")
        (self.place / "remit.yaml").write_text(json.dumps({**catalogue, **changes}))

    def up(self) -> None:
        """Start it; it serves once this returns."""
        program = [sys.executable, str(self.program)] if self.program else REMIT
        listen = ["--grpc", f"127.0.0.1:{self.grpc}", "--http", f"127.0.0.1:{self.ops}", "--socket", "off"]
        listen += ["--egress", "--egress-http", f"127.0.0.1:{self.port}", "--egress-proxy", "off"]
        with (self.place / "up.log").open("a") as log:
            self._process = subprocess.Popen(
                [*program, "up", "--json", *listen],
                cwd=self.place,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **self.environment},
            )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), self.log

    @property
    def process(self) -> subprocess.Popen[str]:
        """The sidecar's."""
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        """What it wrote on stderr."""
        return (self.place / "up.log").read_text()

    def envoy(self) -> int:
        """The process of its Envoy; 0 where there is none."""
        asked = ["pgrep", "-n", "-P", str(self.process.pid), "-f", "envoy"]
        return int(subprocess.run(asked, capture_output=True, text=True, check=False).stdout or 0)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it, and wait; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.communicate(timeout=30)
        finally:
            self.process.kill()
        return self.process.returncode

    def select(self, sql: str) -> list[tuple[Any, ...]]:
        """A look into the store."""
        connection = apsw.Connection(str(self.place / ".remit" / "state.db"), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(1000)
        try:
            return list(connection.execute(sql))
        finally:
            connection.close()

    def held(self) -> int:
        """How many reservations are held."""
        return int(self.select("SELECT count(*) FROM reservation WHERE state = 'held'")[0][0])

    def room(self, budget: str, scope: str = "") -> tuple[int, int]:
        """What is spent and held in a budget, in nanos."""
        where = f"budget = '{budget}' AND scope = '{scope}'"
        found = self.select(f"SELECT spent, held FROM budget WHERE {where} ORDER BY start_ns DESC LIMIT 1")
        return (int(found[0][0]), int(found[0][1])) if found else (0, 0)

    def records(self) -> list[Entry]:
        """The journal so far."""
        with open_journal(self.place / ".remit" / "state.db") as journal:
            return [from_row(row) for row in journal.rows()]

    def booked(self) -> list[Booked]:
        """Every call that was permitted, oldest first."""
        records = self.records()
        endings: dict[str, list[Entry]] = {}
        for each in records:
            if each.kind in ("report", "lapse") and each.body.get("outcome") != "progress":
                endings.setdefault(each.ref, []).append(each)
        rows = {
            row[0]: row[1:] for row in self.select("SELECT decision, state, amount, spent, deadline FROM reservation")
        }
        permitted = (each for each in records if each.kind == "decision" and each.body.get("sent"))
        return [Booked(each, *rows[each.id], tuple(endings.get(each.id, ()))) for each in permitted]

    def of(self, name: str) -> list[Booked]:
        """The calls that have arrived under a name, oldest first."""
        digests = {each.digest for each in self.upstream.of(name)}
        return [each for each in self.booked() if each.decision.body["sent"]["digest"] in digests]

    def denials(self, to: str) -> list[Entry]:
        """What was refused of a service."""
        decided = (each for each in self.records() if each.kind == "decision" and each.body["effect"] == "DENY")
        return [each for each in decided if each.body["resource"]["id"] == to]

    def crossings(self) -> int:
        """How many calls are charged that never arrived."""
        arrived = {each.digest for each in self.upstream.arrivals}
        return sum(each.spent > 0 and each.decision.body["sent"]["digest"] not in arrived for each in self.booked())

    def reckon(self) -> list[str]:
        """What is wrong between the upstream's bill and the books, [] where nothing is."""
        booked = self.booked()
        arrived, permitted = dict[str, list[Arrival]](), dict[str, list[Booked]]()
        for arrival in self.upstream.arrivals:
            arrived.setdefault(arrival.digest, []).append(arrival)
        for call in booked:
            permitted.setdefault(call.decision.body["sent"]["digest"], []).append(call)
        wrong = [f"{each[0].name} arrived without a decision" for key, each in arrived.items() if key not in permitted]
        for key, calls in permitted.items():
            wrong += _reckoned(calls, arrived.get(key, []))
        (spent, held) = self.room("all")
        total = sum(each.spent for each in booked)
        wrong += [f"the budget says {spent}, its calls {total}"] if spent != total else []
        return wrong + ([f"the budget still holds {held}"] if held else [])


def _reckoned(calls: Sequence[Booked], arrivals: Sequence[Arrival]) -> Iterator[str]:
    """Of one request, which may have been made more than once: each call against the bill that is nearest to it."""
    names = arrivals[0].name if arrivals else calls[0].decision.id
    if len(arrivals) > len(calls):
        yield f"{names} arrived {len(arrivals)} times with {len(calls)} decisions"
    bills = sorted((each.play.bill for each in arrivals), reverse=True)
    bills += [0] * (len(calls) - len(bills))
    unsent = len(calls) - len(arrivals)
    for call, bill in zip(sorted(calls, key=lambda each: each.spent, reverse=True), bills, strict=False):
        if call.state == "held" or len(call.endings) != 1:
            yield f"{names} is {call.state}, with {len(call.endings)} endings"
        if call.spent < bill:
            yield f"{names} has cost {bill}, {call.spent} is booked"
        if call.spent != bill and not call.presumed:
            yield f"{names} has cost {bill}, and {call.spent} is booked for certain"
        if call.spent > max(call.reserved, bill):
            yield f"{names} has reserved {call.reserved}, and {call.spent} is booked"
    charged = unsent - sum(call.spent == 0 for call in calls)
    if charged > sum(call.crossed for call in calls):
        yield f"{names}: {unsent} of {len(calls)} were never sent, and are charged"


@contextmanager
def stage(
    place: Path,
    services: Mapping[str, str | Json],
    budgets: Mapping[str, Json] | None = None,
    *,
    program: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Stage]:
    """All of it, until the end of the block. `program` is run in the place of `remit`."""
    made = Stage(place, services, budgets or {}, environment or {}, program)
    made.write()
    try:
        made.up()
        yield made
    finally:
        made.end()
        made.upstream.close()


def request(
    name: str,
    kind: str = "openai",
    *,
    stream: bool = False,
    model: str = "small",
    to: str = "",
    who: str = "support",
    **headers: str,
) -> bytes:
    """A whole request for a play. `to` is the service, the kind's own by default; `_` in a header's name is `-`."""
    api = KINDS.get(kind, PLAIN)
    path = f"/{to or SERVICE.get(kind, kind)}{api.path(stream)}".replace("small", model)
    own = {"remit-token": TOKENS[who], **{key.replace("_", "-"): value for key, value in headers.items()}}
    return post(path, question(name, kind, stream=stream, model=model), **own)


SERVICE = {"responses": "openai"}
"""Which service has each kind of API, where it is not named like it."""


def question(name: str, kind: str = "openai", *, stream: bool = False, model: str = "small") -> bytes:
    """The body of a request for a play."""
    body = KINDS.get(kind, PLAIN).body(f"play:{name}", stream)
    return json.dumps({**body, "model": model} if "model" in body else body).encode()


def post(path: str, body: bytes, **headers: str) -> bytes:
    """Any request with a body; an empty header is left out."""
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items() if value)
    head = f"POST {path} HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\nconnection: close\r\n"
    return f"{head}{lines}content-length: {len(body)}\r\n\r\n".encode() + body


async def say(stage: Stage, *parts: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Say this at the egress, and stay."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    return reader, writer


async def call(stage: Stage, sent: bytes, seconds: float = 30.0) -> Heard:
    """A whole call."""
    async with asyncio.timeout(seconds):
        reader, writer = await say(stage, sent)
        heard, whole = await hear(reader)
        writer.close()
    return read(heard, whole)


async def hear(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    """All that comes, and whether it ended well."""
    heard = b""
    try:
        while more := await reader.read(1 << 16):
            heard += more
    except ConnectionError:
        return heard, False
    return heard, True


def read(heard: bytes, whole: bool) -> Heard:
    """An answer from its bytes."""
    head, _, body = heard.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body, ended = _unchunked(body)
        whole = whole and ended
    status = int(first.split(" ")[1]) if first else 0
    return Heard(status, headers, body, whole and len(body) >= int(headers.get("content-length", 0)))


def _unchunked(body: bytes) -> tuple[bytes, bool]:
    """What is in the chunks, and whether there is a last one."""
    found = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        if not int(size or b"0", 16):
            return found, rest == b"\r\n"
        found, body = found + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return found, False
