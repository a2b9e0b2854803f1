"""A console on a real socket, over a pipeline that remembers and identities of a real catalogue."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from remit.backends.identity_catalogue import CatalogueIdentity
from remit.backends.ids_random import RandomIds
from remit.core.answer import Halted, Shown
from remit.core.approval import State
from remit.core.catalogue import Agent, Catalogue, Identity, Person
from remit.core.claim import Claim
from remit.core.errors import Forbidden, NotFound
from remit.core.model import BudgetRoom, BudgetRow, Halt, Subject
from remit.listeners.console.app import Console
from remit.listeners.console.oidc import OidcSettings
from remit.listeners.console.security import Limits
from remit.listeners.console.server import ConsoleListener, Times
from remit.ports import Burn, JournalRow, Reservation, WorkflowState

ANA, BO, CY, AGENT, OPERATOR = "ana-token", "bo-token", "cy-token", "agent-token", "operator-token"
SECOND = 1_000_000_000


def hashed(token: str) -> str:
    return f"sha256:{sha256(token.encode()).hexdigest()}"


PEOPLE = {
    "ana": Person(("auditor",), Identity((hashed(ANA),), oidc=("ana@example.com",))),
    "bo": Person(("approver",), Identity((hashed(BO),), oidc=("sub-of-bo",))),
    "cy": Person(("operator",), Identity((hashed(CY),))),
}
CATALOGUE = Catalogue("EUR", people=PEOPLE, agents={"support": Agent("cx", identity=Identity((hashed(AGENT),)))})


@dataclass(slots=True)
class Time:
    """A clock that a test moves."""

    time: int = 1_790_000_000 * SECOND

    def now(self) -> int:
        return self.time

    def pass_seconds(self, seconds: float) -> None:
        self.time += int(seconds * SECOND)


@dataclass(slots=True)
class Overviewed:
    """A pipeline with nothing in it: it lets auditors and operators read, and operators halt."""

    currency: str = "EUR"
    refusals: list[tuple[str, str, str]] = field(default_factory=list)
    halted: list[tuple[str, str, str, str]] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    failure: Exception | None = None
    slow: bool = False
    refused: Any = None

    def __post_init__(self) -> None:
        self.refused = self.refused or self._refused

    def _may(self, subject: Subject) -> None:
        if self.failure:
            raise self.failure
        if not {"auditor", "operator"} & set(subject.roles):
            raise Forbidden(f"{subject.id} has neither role")
        self.read.append(subject.id)

    async def budgets(self, subject: Subject, budget: str) -> Sequence[BudgetRoom]:
        self._may(subject)
        if self.slow:
            await asyncio.sleep(60)
        return []

    async def decision(self, subject: Subject, id: str) -> tuple[JournalRow, Sequence[JournalRow]]:
        self._may(subject)
        raise NotFound(f"no decision {id[:64]!r}")

    async def trace(self, subject: Subject, workflow: str, limit: int) -> Sequence[JournalRow]:
        self._may(subject)
        raise NotFound(f"no workflow {workflow[:64]!r}")

    async def workflows(self, subject: Subject, before: str, limit: int) -> Sequence[WorkflowState]:
        self._may(subject)
        return []

    async def latest(self, subject: Subject, before: int, limit: int) -> Sequence[JournalRow]:
        self._may(subject)
        return []

    async def burned(self, subject: Subject, row: BudgetRow) -> Sequence[Burn]:
        self._may(subject)
        return []

    async def halts(self, subject: Subject) -> Sequence[Halt]:
        self._may(subject)
        return []

    async def approvals(
        self, subject: Subject, states: Sequence[State], id: str, before: str, limit: int
    ) -> Sequence[Shown]:
        self._may(subject)
        return []

    async def unresolved(self, subject: Subject, limit: int) -> Sequence[Reservation]:
        self._may(subject)
        return []

    async def claims(self, subject: Subject, limit: int) -> Sequence[Claim]:
        self._may(subject)
        return []

    async def halt(self, subject: Subject, scope: str, value: str, reason: str) -> Halted:
        self.halted.append((subject.id, scope, value, reason))
        raise NotFound("no such scope")

    async def resume(self, subject: Subject, scope: str, value: str, reason: str) -> Halted:
        self.halted.append((subject.id, scope, value, reason))
        raise NotFound("no such scope")

    async def _refused(self, peer: str, kind: str, detail: str) -> None:
        self.refusals.append((peer, kind, detail))


@dataclass(slots=True)
class Observed:
    """Who is told of failures."""

    causes: list[str] = field(default_factory=list)

    def stage(self, name: str, seconds: float) -> None:
        return

    def identity_failed(self, cause: str) -> None:
        self.causes.append(str(cause))


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response; header names in lower case, each with all its values."""

    status: int
    headers: Mapping[str, Sequence[str]]
    body: bytes

    def header(self, name: str) -> str:
        """The one value of a header; "" where it is absent."""
        (value,) = self.headers.get(name, [""])
        return value

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def cookies(self) -> dict[str, str]:
        """What is set, by name; "" for what is taken away."""
        pairs = (line.partition(";")[0].partition("=") for line in self.headers.get("set-cookie", []))
        return {name: value.strip('"') for name, _, value in pairs}

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', self.text)
        return found[1] if found else ""


@dataclass(slots=True)
class Desk:
    """A console that listens."""

    console: Console
    listener: ConsoleListener
    port: int
    time: Time
    overview: Overviewed
    observed: Observed
    identities: CatalogueIdentity

    @property
    def own(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def send(self, raw: bytes, seconds: float = 5, address: str = "127.0.0.1") -> Answer:
        """Send bytes, and read the one response until the connection is closed."""
        reader, writer = await asyncio.open_connection(address, self.port)
        try:
            writer.write(raw)
            async with asyncio.timeout(seconds):
                return parsed(await reader.read())
        finally:
            writer.transport.abort()

    async def ask(
        self, method: str, path: str, *, body: str = "", headers: Mapping[str, str] | None = None, host: str = ""
    ) -> Answer:
        """One request. Only what is named is sent beside Host and what frames the body."""
        named = {"Host": host or f"127.0.0.1:{self.port}", "Connection": "close", **(headers or {})}
        if body or method == "POST":
            named = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body)), **named}
        head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        return await self.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n{body}".encode("latin-1"))


@dataclass(slots=True)
class Browser:
    """As far as a browser goes: it keeps cookies and says where a request was made."""

    desk: Desk
    cookies: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return await self._ask("GET", path, "", headers or {})

    async def post(self, path: str, body: str, headers: Mapping[str, str] | None = None) -> Answer:
        own = {"Origin": self.desk.own, "Sec-Fetch-Site": "same-origin"}
        return await self._ask("POST", path, body, own if headers is None else headers)

    async def _ask(self, method: str, path: str, body: str, headers: Mapping[str, str]) -> Answer:
        kept = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = await self.desk.ask(method, path, body=body, headers={**({"Cookie": kept} if kept else {}), **headers})
        for name, value in answer.cookies.items():
            if value:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        return answer

    async def sign_in(self, token: str, onward: str = "/") -> Answer:
        shown = await self.get("/sign-in")
        return await self.post("/sign-in", f"csrf={shown.csrf}&next={onward}&token={token}")


def parsed(raw: bytes) -> Answer:
    """A response from its bytes."""
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, list[str]] = {}
    for line in lines[1:]:
        name, _, value = line.partition(": ")
        headers.setdefault(name.lower(), []).append(value)
    if headers.get("transfer-encoding") == ["chunked"]:
        body = _unchunked(body)
    return Answer(int(lines[0].split()[1]) if raw else 0, headers, body)


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole, body = whole + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return whole


@asynccontextmanager
async def desk(
    *,
    hosts: Sequence[str] = (),
    public_url: str = "",
    oidc: OidcSettings | None = None,
    limits: Limits | None = None,
    times: Times | None = None,
    connections: int = 128,
    tls: tuple[Path, Path] | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    time: Any = None,
) -> AsyncIterator[Desk]:
    """A console of this catalogue's people, on loopback."""
    clock, overview, observed = time or Time(), Overviewed(), Observed()
    identities = CatalogueIdentity(CATALOGUE, clock, hashed(OPERATOR))
    checks = {"store": ""}

    async def exposition(accept: str) -> tuple[bytes, str]:
        return b"remit_pdp_up 1.0\n", "text/plain"

    console = Console(
        overview,
        identities,
        exposition=exposition,
        checks=lambda: checks,
        observer=observed,
        clock=clock,
        ids=RandomIds(clock),
        hosts=hosts,
        public_url=public_url,
        oidc=oidc,
        limits=limits,
    )
    listener = ConsoleListener(console.app, connections=connections, times=times)
    address = await listener.start(host, port, tls and (lambda context: context.load_cert_chain(*tls)))
    try:
        yield Desk(console, listener, int(address.rpartition(":")[2]), clock, overview, observed, identities)
    finally:
        await listener.stop(0.5)
