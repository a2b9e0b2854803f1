"""A stage for data views: real OPA, real store, real databases, and the pipeline between them, in one process.

What an agent is told, and every place where something of an answer could be left behind, can be looked at: the journal
and the store's own files, the log, the metrics. One OPA a stage, so make one stage a module.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import orjson
from joserfc.jwk import OKPKey
from remit.app.member import PROBE
from remit.backends.clock_system import SystemClock
from remit.backends.databases import CatalogueDatabases
from remit.backends.ids_random import RandomIds
from remit.backends.keys_file import open_keys
from remit.backends.opa_binary import find
from remit.backends.opa_server import OpaServer
from remit.backends.pdp_opa import PdpSettings
from remit.backends.policy_files import prepare
from remit.backends.signer_ed25519 import Ed25519Signer
from remit.backends.store_sqlite import SqliteStore, open_journal
from remit.backends.tokens_aessiv import AesSivTokenizer
from remit.backends.vault_file import FileVault
from remit.config import load
from remit.core.call import Claimed
from remit.core.catalogue import Catalogue
from remit.core.model import Identity, Mode, Subject
from remit.core.query import Ended, ExecuteCall, Executed, QueryCall, Row, Rows, Started
from remit.core.view.model import Cell
from remit.metrics import MeteredPdp, Metrics, metered_store
from remit.pep.pipeline import Pipeline
from remit.pep.world import Installation, World
from remit.ports import Databases, JournalRow, Sighting

T = TypeVar("T")

Wrap = Callable[[Databases], Databases]
"""What stands between Remit and its databases: a harness plants its bugs there."""

PATIENCE = PdpSettings(deadline=5.0)  # the machine's other work is not the policy's fault


@dataclass(frozen=True, slots=True)
class Answered:
    """One query's answer, whole. `ended` is None where nothing was permitted."""

    started: Started
    rows: Sequence[Row] = ()
    ended: Ended | None = None

    @property
    def allowed(self) -> bool:
        """Whether it was answered, be it with a failure."""
        return self.ended is not None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(name for name, _ in self.started.columns)

    @property
    def failure(self) -> str:
        """How the database failed, "" where it did not."""
        return self.ended.failure if self.ended else ""

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons of a refusal, each with what it says."""
        return tuple(f"{each.code}: {each.message}" for each in self.started.answer.reasons)

    @property
    def told(self) -> str:
        """All that the agent is told besides the rows."""
        return repr((self.started, self.ended))


class Log(logging.Handler):
    """Keeps every line that anybody logs, with its traceback, as a file would have it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@dataclass
class Stage:
    """One installation. Its methods are for its own event loop; `Staged` has them for tests without one."""

    place: Path
    catalogue: Catalogue
    world: World
    pipeline: Pipeline
    metrics: Metrics
    log: Log
    store: SqliteStore
    _keys: list[int] = field(default_factory=lambda: [0])

    async def query(
        self, agent: str, sql: str, /, *, dataset: str = "", purpose: str = "", rows: int = 0, **parameters: Cell
    ) -> Answered:
        """Everything that an agent gets for a SELECT; of the only dataset where none is named."""
        call = QueryCall(self._dataset(dataset), sql, parameters, Claimed(purpose=purpose), rows)
        return await self.ask(self.subject(agent), call)

    async def ask(self, subject: Subject, call: QueryCall) -> Answered:
        """The answer to a call, whole."""
        started, found, ended = None, [], None
        async with aclosing(self.pipeline.query(subject, call)) as parts:
            async for part in parts:
                match part:
                    case Started():
                        assert started is None
                        started = part
                    case Rows(rows):
                        assert started is not None and ended is None
                        found.extend(rows)
                    case Ended():
                        assert ended is None
                        ended = part
        assert started is not None
        return Answered(started, found, ended)

    async def execute(
        self, agent: str, statement: str, /, *, dataset: str = "", purpose: str = "", key: str = "", **parameters: Cell
    ) -> Executed:
        """A named write; each has a key of its own where none is given."""
        self._keys[0] += 1
        key = key or f"key-{self._keys[0]}"
        given = orjson.dumps([statement, {name: repr(value) for name, value in sorted(parameters.items())}])
        call = ExecuteCall(
            self._dataset(dataset), statement, parameters, Claimed(purpose=purpose), key, sha256(given).hexdigest()
        )
        return await self.pipeline.execute(self.subject(agent), call)

    async def who(
        self, person: str, table: str, key: str, *, dataset: str = "", limit: int = 100
    ) -> Sequence[Sighting]:
        """Who saw a subject."""
        return await self.pipeline.who(self.subject(person), self._dataset(dataset), table, key, limit)

    def subject(self, name: str) -> Subject:
        """An agent or a person of the catalogue, proven."""
        identity = Identity("token", name)
        if name in self.catalogue.people:
            return Subject("person", name, "", self.catalogue.people[name].roles, identity)
        agent = self.catalogue.agents[name]
        return Subject("agent", name, agent.team, agent.roles, identity, Mode(agent.mode), agent.isolation)

    def records(self) -> list[JournalRow]:
        """The journal so far."""
        with open_journal(self.store.path) as journal:
            return list(journal.rows())

    async def exposition(self) -> bytes:
        """The metrics as they are scraped."""
        return (await self.metrics.exposition("text/plain"))[0]

    async def sinks(self) -> dict[str, bytes]:
        """Every place where something of an answer could have been left, by name."""
        files = {f"file {each.name}": each.read_bytes() for each in sorted(self.store.path.parent.glob("state.db*"))}
        return {"log": "\n".join(self.log.lines).encode(), "metrics": await self.exposition(), **files}

    def _dataset(self, named: str) -> str:
        return named or next(iter(self.catalogue.datasets))


@asynccontextmanager
async def views_stage(
    place: Path,
    catalogue: str | Catalogue,
    policies: Mapping[str, str],
    *,
    wrap: Wrap = lambda databases: databases,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Stage]:
    """A stage in `place` until the end of the block. `policies` are Rego files by name; `environment` is where the
    catalogue's `credential: {environment: …}` are looked for."""
    read = _read(place, catalogue)
    written = _written(place, policies)
    keys = open_keys(place)
    clock, log = SystemClock(), Log()
    ids, metrics = RandomIds(clock), Metrics("test")
    async with AsyncExitStack() as stack:
        stack.enter_context(_logged(log))
        store = SqliteStore(place / "state.db", clock=clock, ids=ids, key=keys.journal, synced=metrics.fsynced)
        stack.push_async_callback(store.close)
        metrics.know(read)
        opa = find(os.environ).path
        policy = await asyncio.to_thread(prepare, read, written, opa=opa, directory=_folder(place / "bundles"))
        server = OpaServer(opa, place / "opa", PROBE, asking=PATIENCE)
        await server.start(policy.bundle)
        stack.push_async_callback(server.stop)
        tokenizer = AesSivTokenizer(keys.views)
        databases = CatalogueDatabases(FileVault(environment or {}, place), tokenizer)
        stack.push_async_callback(databases.close)
        await databases.use(read)
        world = World(
            store=metered_store(store, metrics),
            clock=clock,
            ids=ids,
            signer=Ed25519Signer(OKPKey.import_key(keys.context), store.log),
            observer=metrics,
            hmac=keys.seal,
            installation=Installation(read, MeteredPdp(server.pdp, metrics), policy.messages),
            databases=wrap(databases),
            tokenizer=tokenizer,
        )
        store.activate(policy.bundle.revision)
        metrics.expose(store, clock)
        yield Stage(place, read, world, Pipeline(world), metrics, log, store)


class Staged:
    """A stage whose loop runs in a thread of its own, for tests without one."""

    def __init__(self, stage: Stage, loop: asyncio.AbstractEventLoop) -> None:
        self.stage = stage
        self._loop = loop

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        """Anything of the stage's."""
        return asyncio.run_coroutine_threadsafe(what, self._loop).result()

    def query(self, agent: str, sql: str, /, **more: Any) -> Answered:
        """See Stage.query."""
        return self.run(self.stage.query(agent, sql, **more))

    def execute(self, agent: str, statement: str, /, **more: Any) -> Executed:
        """See Stage.execute."""
        return self.run(self.stage.execute(agent, statement, **more))

    def sinks(self) -> dict[str, bytes]:
        """See Stage.sinks."""
        return self.run(self.stage.sinks())


@contextmanager
def staged(place: Path, catalogue: str | Catalogue, policies: Mapping[str, str], **more: Any) -> Iterator[Staged]:
    """As `views_stage`, for fixtures of a whole module."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="stage")
    thread.start()
    try:
        stack = AsyncExitStack()

        async def enter() -> Stage:
            return await stack.enter_async_context(views_stage(place, catalogue, policies, **more))

        made = Staged(asyncio.run_coroutine_threadsafe(enter(), loop).result(), loop)
        try:
            yield made
        finally:
            made.run(stack.aclose())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _read(place: Path, catalogue: str | Catalogue) -> Catalogue:
    if isinstance(catalogue, Catalogue):
        return catalogue
    path = place / "remit.yaml"
    path.write_text(catalogue)
    return load([path], {}, {})[1]


def _written(place: Path, policies: Mapping[str, str]) -> tuple[Path, ...]:
    if not policies:
        return ()
    folder = _folder(place / "policies")
    for name, text in policies.items():
        (folder / name).write_text(text)
    return (folder,)


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


@contextmanager
def _logged(log: Log) -> Iterator[None]:
    """Everything that is logged goes there, down to what only a developer would ask for."""
    root = logging.getLogger()
    level = root.level
    root.addHandler(log)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(log)
