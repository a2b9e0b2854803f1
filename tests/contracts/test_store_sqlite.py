"""What holds of the store on SQLite beyond the port: its file, its lock, its disk, its journal read from outside."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
import uvloop
from counts import COUNTS, SEED, dice
from crash.vfs import watched
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.approvals import asked, is_open
from fakes.commits import EUR, NEVER, START, Desk, row
from fakes.loop import in_loop, until
from fakes.world import FakeClock, FakeIds
from remit.backends.note_file import note_path, read_note_file
from remit.backends.store_sqlite import SqliteStore, open_journal
from remit.backends.store_sqlite import schema as schema_module
from remit.backends.store_sqlite import store as store_module
from remit.backends.store_sqlite.group_commit import GroupCommit
from remit.core.approval import State
from remit.core.checkpoint import VerifierKey
from remit.core.effect import Committed, KeepAnswer, Kept, Refused
from remit.core.errors import StoreUnavailable
from remit.core.journal import JournalRow, Verification, verify
from remit.core.reason import Reason
from remit.ports import ApprovalsQuery, FactsQuery

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def opened(path: Path, store_type: type[SqliteStore] = SqliteStore, **parts: object) -> SqliteStore:
    """A store with a checkpoint every ten records."""
    given = {"clock": FakeClock(START), "ids": FakeIds(), "key": KEY, "checkpoint_records": 10, **parts}
    return store_type(path, **given)  # type: ignore[arg-type]


async def filled(path: Path, records: int = 25) -> VerifierKey:
    """A store that was filled and stopped; with one erased body."""
    store = opened(path)
    desk = Desk(store)
    for _ in range(records // 5):
        await asyncio.gather(*(desk.must() for _ in range(5)))
    await store.erase("d_000003", by="ana", reason="asked")
    await desk.reserve(EUR, row(EUR))
    await store.close()
    return store.verifier


def killed(path: Path) -> Path:
    """What a kill leaves of a store with 25 records, of which a checkpoint covers 20."""
    left = path.with_name("left") / path.name
    left.parent.mkdir()

    async def run() -> None:
        store = opened(path)
        desk = Desk(store)
        for _ in range(25):
            await desk.must()
        for name in ("state.db", "state.db-wal", "state.db.checkpoint"):
            shutil.copy(path.with_name(name), left.with_name(name))
        await store.close()

    asyncio.run(run())
    return left


def read(path: Path, key: VerifierKey | None) -> tuple[list[JournalRow], Verification]:
    """All rows, and what verification says."""
    with open_journal(path) as journal:
        rows = list(journal.rows())
        return rows, verify(rows, journal.checkpoints(), key, notes=journal.notes)


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


# Opening


@in_loop
async def test_a_store_belongs_to_one_sidecar(path: Path) -> None:
    """A second opener is told who has it; when the first is gone, it gets it."""
    store = opened(path)
    with pytest.raises(StoreUnavailable, match=f"running sidecar \\(process {os.getpid()}\\)"):
        opened(path)
    await store.close()

    await opened(path).close()


@in_loop
async def test_a_stop_and_a_start_keep_everything(path: Path) -> None:
    """The log goes on under its name, money and labels are as they were, and all of it is signed."""
    store = opened(path)
    desk = Desk(store)
    id = await desk.reserve(3 * EUR, row(9 * EUR))
    await desk.join("pii")
    await store.close()
    store = desk.store = opened(path)
    committed = await desk.end(id, cost=EUR)

    assert (committed.log, committed.sequence) == (store.log, 3)
    assert await desk.room(row(9 * EUR)) == (9 * EUR, EUR, 0)
    assert await desk.labels() == {"pii"}
    await store.close()
    assert read(path, store.verifier)[1].covered == 3


@in_loop
async def test_a_newer_file_is_refused_and_an_older_one_brought_up_to_date(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways: the next Remit opens this one's file, and this one refuses the next one's."""
    await filled(path)
    longer = (*schema_module.MIGRATIONS, "CREATE TABLE next (id INTEGER PRIMARY KEY) STRICT")
    with monkeypatch.context() as patched:
        patched.setattr(schema_module, "MIGRATIONS", longer)
        store = opened(path)
        await Desk(store, count=1000).must()
        await store.close()

    known = len(schema_module.MIGRATIONS)
    with pytest.raises(StoreUnavailable, match=rf"newer Remit \(schema {known + 1}, this one knows {known}\)"):
        opened(path)
    with pytest.raises(StoreUnavailable, match="newer Remit"), open_journal(path):
        pass


@in_loop
async def test_what_an_older_remit_kept_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file from before approvals: its answers are final, its reservations are told of, and approvals begin."""
    with monkeypatch.context() as patched:
        patched.setattr(schema_module, "MIGRATIONS", schema_module.MIGRATIONS[:4])
        store = opened(path)
        desk = Desk(store)
        id = await desk.reserve(EUR, row(EUR), deadline=START)
        await desk.end(id, "lapsed")
        store._db.do("INSERT INTO kept VALUES ('ann', 'Authorize', 'k', 'd', x'00', ?)", NEVER)
        await store.close()

    store = desk.store = opened(path)
    assert await store.kept("ann", "Authorize", "k") == Kept("d", b"\x00", provisional=False)
    refused = await desk.commit(KeepAnswer("ann", "Authorize", "k", "d", b"", NEVER))
    assert refused == Refused(Reason.IDEMPOTENCY_MISMATCH, "kept")
    assert [each.decision for each in await store.unresolved(START, 10)] == [id]
    assert await store.approvals_version() == (await store.claim("[]")).token == 0
    await is_open(desk, asked())
    await store.close()


@in_loop
async def test_every_question_about_approvals_and_claims_is_a_walk_through_an_index(path: Path) -> None:
    """However much is kept: none reads a table through, or sorts what it has read."""
    store = opened(path)
    plans: dict[str, list[str]] = {}

    def explain(cursor: apsw.Cursor, statement: str, bindings: tuple[object, ...]) -> bool:
        if statement.lstrip().startswith("SELECT"):
            explaining = store._db.connection.execute(f"EXPLAIN QUERY PLAN {statement}", bindings)
            plans[statement] = [detail for *_, detail in explaining if "SUBQUERY" not in detail]
        return True

    store._read._execute.__self__.exec_trace = explain
    pending, both = (State.PENDING,), (State.PENDING, State.APPROVED)
    for query in (
        ApprovalsQuery(),
        ApprovalsQuery(before="a9"),
        ApprovalsQuery(ids=("a1", "a2"), states=pending),
        ApprovalsQuery(likes=("x", "y"), states=pending, before="a9"),
        ApprovalsQuery(likes=("x",), subject="ann"),
        ApprovalsQuery(bindings=("x", "y")),
        ApprovalsQuery(bindings=("x",), states=pending, before="a9"),
        ApprovalsQuery(subject="ann", states=both, before="a9"),
        ApprovalsQuery(states=pending),
        ApprovalsQuery(states=both, before="a9"),
    ):
        await store.approvals(query)
    await store.facts(FactsQuery("ann", "process", "w1", "model", (), things=("a", "b"), object="o"))
    await store.due_approvals(START, 10)
    await store.claims(START, 10)
    await store.due_claims(START, 10)
    await store.unresolved(START, 10)
    store._read._execute.__self__.exec_trace = None

    walks = ("USING INDEX", "USING COVERING INDEX", "USING PRIMARY KEY")
    asked_of = ("approval", " FROM claim", " FROM act ", " FROM reservation")
    told = {sql: plan for sql, plan in plans.items() if any(each in sql.replace("\n", " ") for each in asked_of)}
    assert len(told) == 17
    slow = {
        sql: plan
        for sql, plan in told.items()
        if not all(any(how in each for how in walks) for each in plan)
        and plan[1:] != ["USE TEMP B-TREE FOR ORDER BY"] * (" FROM act " in sql)  # the few of one object
    }
    assert slow == {}
    await store.close()


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("another program's database", "not one of Remit's"),
        ("no database", "not a database"),
        ("no directory", "No such file or directory"),
        ("a directory", "Is a directory"),
    ],
)
def test_what_is_no_store_is_refused_by_name(path: Path, case: str, told: str) -> None:
    """And left as it was; what stands in the way is told."""
    if case == "another program's database":
        other = apsw.Connection(str(path))
        other.execute("CREATE TABLE t (x)")
        other.close()
    if case == "no database":
        path.write_bytes(b"nothing like a database" * 100)
    if case == "no directory":
        path = path / "nowhere" / "state.db"
    if case == "a directory":
        path.mkdir()
    before = path.read_bytes() if path.is_file() else b""

    for _ in range(2):  # the lock is free again
        with pytest.raises(StoreUnavailable, match=rf"state\.db: .*{told}"):
            opened(path)
    assert (path.read_bytes() if path.is_file() else b"")[100:] == before[100:]


@in_loop
async def test_files_are_their_owner_s_alone(path: Path) -> None:
    """Nobody else may read the ledger, its log, its checkpoint or its lock."""
    store = opened(path)
    await asyncio.gather(*(Desk(store, count=n * 100).must() for n in range(10)))

    names = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert names == dict.fromkeys(
        ["state.db", "state.db-wal", "state.db-shm", "state.db.checkpoint", "state.db.lock"], 0o600
    )
    await store.close()


@pytest.mark.parametrize(
    ("sabotage", "told"),
    [
        ("UPDATE journal SET subject = 'eve' WHERE sequence = 23", "record 23: the header"),
        ("UPDATE journal SET body = x'00' WHERE sequence = 23", "record 23: the body"),
        ("DELETE FROM journal WHERE sequence = 23", "record 24: record 23 was expected"),
        ("DELETE FROM journal WHERE sequence > 19", "record 20 is not the one"),
        ("DELETE FROM checkpoint WHERE size > 10; DELETE FROM journal WHERE sequence > 12", "record 20 is not the one"),
        ("UPDATE log SET name = 'log_other'", "of another log"),
    ],
)
def test_a_journal_that_was_changed_is_not_built_on(path: Path, sabotage: str, told: str) -> None:
    """What we would append and sign would vouch for it: opening refuses, and says what to do."""
    left = killed(path)
    stranger = apsw.Connection(str(left))
    stranger.execute(sabotage)
    stranger.close()

    with pytest.raises(StoreUnavailable, match=f"{told}.*remit audit verify"):
        opened(left)


def test_a_journal_that_was_cut_is_not_built_on_even_without_the_copied_checkpoint(path: Path) -> None:
    """The checkpoints in the file name records as well."""
    left = killed(path)
    note_path(left).unlink()
    stranger = apsw.Connection(str(left))
    stranger.execute("DELETE FROM journal WHERE sequence > 19")
    stranger.close()

    with pytest.raises(StoreUnavailable, match="record 20 is not the one"):
        opened(left)


def test_a_journal_that_was_replaced_is_not_built_on(path: Path) -> None:
    """An older copy, or a new file in the old one's place, is told from the original by the checkpoint beside it."""
    asyncio.run(filled(path, 5))
    older = path.read_bytes()
    store = opened(path)
    asyncio.run(Desk(store, count=100).must())
    asyncio.run(store.close())

    path.write_bytes(older)
    with pytest.raises(StoreUnavailable, match="was changed or replaced"):
        opened(path)
    path.unlink()
    with pytest.raises(StoreUnavailable, match="was changed or replaced"):
        opened(path)


# The journal, read from outside


@in_loop
async def test_a_journal_is_read_beside_a_running_sidecar(path: Path) -> None:
    """Without its lock, as of the last commit, and again after more of them."""
    store = opened(path)
    desk = Desk(store)
    for size in (15, 30):
        await asyncio.gather(*(desk.must() for _ in range(15)))
        rows, found = read(path, store.verifier)
        assert (len(rows), found.state, found.problems) == (size, "authentic", ())
    await store.close()


@in_loop
async def test_a_stopped_journal_is_read_without_a_trace(path: Path) -> None:
    """Not a byte and not a file is different afterwards, and a directory that cannot be written will do."""
    key = await filled(path)
    before = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    path.parent.chmod(0o500)
    rows, found = read(path, key)
    path.parent.chmod(0o700)

    assert (len(rows), found.state, found.erased) == (27, "authentic", 1)
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == before


def test_a_killed_sidecar_s_journal_is_read_and_goes_on(path: Path) -> None:
    """With what only the write-ahead log holds; and a start finds nothing wrong with it."""
    left = killed(path)
    assert len(read(left, None)[0]) == 25
    asyncio.run(opened(left).close())

    assert read(left, None)[1].covered == 25


def _edits(path: Path) -> Iterator[tuple[str, str, int, object]]:
    """Every byte of every stored value of the journal and its checkpoints: table, column, rowid, new value."""
    connection = apsw.Connection(str(path))
    for table, key in (("journal", "sequence"), ("checkpoint", "size")):
        columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
        for values in connection.execute(f"SELECT * FROM {table}"):
            stored = dict(zip(columns, values, strict=True))
            for column, value in stored.items():
                if isinstance(value, int):
                    yield from ((table, column, stored[key], value ^ (1 << bit)) for bit in range(40))
                elif value is not None:
                    raw = value.encode() if isinstance(value, str) else value
                    for at in range(len(raw)):
                        changed = raw[:at] + bytes([raw[at] ^ 0x81]) + raw[at + 1 :]
                        yield table, column, stored[key], changed
    connection.close()


def test_every_changed_byte_of_what_is_stored_is_found(path: Path) -> None:
    """Whichever column of whichever row of the journal and its checkpoints: reading says broken, and never raises."""
    key = asyncio.run(filled(path))
    original, edits = path.read_bytes(), list(_edits(path))
    missed = []
    for edit in dice("edits").sample(edits, min(COUNTS.flips, len(edits))):
        if _edit(path, *edit) and read(path, key)[1].state != "broken":
            missed.append(edit)
        path.write_bytes(original)

    assert missed == [], SEED


def _edit(path: Path, table: str, column: str, rowid: int, value: object) -> bool:
    """Whether that edit can be made at all."""
    text = column in ("kind", "id", "subject", "workflow", "parent", "ref", "note")
    given = "CAST(? AS TEXT)" if text else "?"
    connection = apsw.Connection(str(path))
    connection.pragma("synchronous", "off")
    try:
        connection.execute(f"UPDATE {table} SET {column} = {given} WHERE rowid = ?", (value, rowid))
    except apsw.ConstraintError:  # the place is taken
        return False
    finally:
        connection.close()
    return True


def test_no_flipped_byte_of_the_file_changes_a_record_unseen(path: Path) -> None:
    """A flipped byte is found, or the file cannot be read, or what is read is what was written."""
    key = asyncio.run(filled(path))
    original, (rows, _) = path.read_bytes(), read(path, key)
    unseen, random = [], dice("file")
    for _ in range(COUNTS.flips):
        at = random.randrange(len(original))
        path.write_bytes(original[:at] + bytes([original[at] ^ 1 << random.randrange(8)]) + original[at + 1 :])
        try:
            now, found = read(path, key)
        except StoreUnavailable:
            continue
        if found.state != "broken" and now != rows:
            unseen.append(at)

    assert unseen == [], SEED


# The disk


@in_loop
async def test_many_callers_share_one_sync(path: Path) -> None:
    """Who comes while a commit runs goes with the next one: 32 callers at once cost one sync of the log."""
    syncs: list[str] = []

    def watch(what: str, name: str, at: int, content: bytes) -> None:
        if what == "sync" and name.endswith("-wal"):
            syncs.append(name)

    with watched("counting", watch) as connect:
        store = opened(path, connect=connect, checkpoint_records=1000)
        desk = Desk(store)
        await desk.must()
        syncs.clear()
        await asyncio.gather(*(desk.must() for _ in range(32)))
        assert len(syncs) == 1
        for _ in range(3):
            await desk.must()
        assert len(syncs) == 4
        await store.close()


class _Gate(GroupCommit):
    """A disk that hangs until it is told to go on."""

    open = threading.Event()

    def _commit(self) -> Exception | None:
        self.open.wait(30)
        return super()._commit()


class Gated(SqliteStore):
    """The store on it."""

    group_type = _Gate


@in_loop
async def test_a_hanging_disk_stops_neither_the_loop_nor_questions(path: Path) -> None:
    """Facts are answered as of the last commit, a caller can give up, and what it asked for is done whole later."""
    _Gate.open.set()
    store = opened(path, Gated)
    desk = Desk(store)
    await desk.reserve(EUR, row(9 * EUR))
    _Gate.open.clear()
    _, reserve = desk.reserving(EUR, row(9 * EUR))
    waiting = asyncio.create_task(desk.commit(reserve, id="d_late"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await asyncio.shield(waiting)
    assert await desk.room(row(9 * EUR)) == (9 * EUR, 0, EUR)
    waiting.cancel()
    _Gate.open.set()
    await desk.must()

    assert await store.record("d_late") is not None
    assert await desk.room(row(9 * EUR)) == (9 * EUR, 0, 2 * EUR)
    await store.close()


class _Failing(GroupCommit):
    """A disk that hangs until it is told to fail."""

    fail = threading.Event()

    def _commit(self) -> Exception | None:
        self.fail.wait(30)
        return apsw.IOError("planted")


class Failing(SqliteStore):
    """The store on it."""

    group_type = _Failing


@in_loop
async def test_who_waits_while_the_disk_fails_is_turned_away(path: Path) -> None:
    """Those of the failed commit, those who came meanwhile, and those who come later: none is recorded."""
    _Failing.fail.clear()
    store = opened(path, Failing)
    desk = Desk(store)
    first = asyncio.create_task(desk.commit())
    await asyncio.sleep(0.01)  # its commit is under way
    others = [asyncio.create_task(desk.commit()) for _ in range(5)]
    await asyncio.sleep(0)
    _Failing.fail.set()

    outcomes = await asyncio.gather(first, *others, return_exceptions=True)
    assert [type(each) for each in outcomes] == [StoreUnavailable] * 6
    with pytest.raises(StoreUnavailable, match="must be started anew"):
        await desk.commit()
    assert (store.failed, await store.journal(0, 10)) == (True, ())
    await store.close()


def test_a_loop_that_is_never_idle_does_not_starve_commits(path: Path) -> None:
    """Under uvloop, work that is always ready would keep the committing thread out for as long as it lasts."""

    async def run() -> None:
        store = opened(path)
        desk = Desk(store)
        stop = asyncio.Event()
        spinning = asyncio.create_task(_spin(stop))
        async with asyncio.timeout(10):
            for _ in range(20):
                await desk.must()
        stop.set()
        await spinning
        await store.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


async def _spin(stop: asyncio.Event) -> None:
    while not stop.is_set():
        until_then = time.perf_counter() + 0.0005
        while time.perf_counter() < until_then:
            pass
        await asyncio.sleep(0)


@pytest.mark.parametrize(("error", "goes_on"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)])
@in_loop
async def test_a_checkpoint_that_cannot_be_copied(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: int, goes_on: bool
) -> None:
    """What was committed is answered; a full disk is tried again at the next one, a failing disk ends the store."""
    store = opened(path, checkpoint_records=1)
    desk = Desk(store)
    before = read_note_file(note_path(path))

    def fail(path: Path, note: str) -> None:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patched:
        patched.setattr(store_module, "write_note_file", fail)
        assert isinstance(await desk.commit(), Committed)
    assert store.failed != goes_on
    assert read_note_file(note_path(path)) == before
    if goes_on:
        await desk.must()
        assert store.checkpoint is not None and read_note_file(note_path(path)) == store.checkpoint.note
    else:
        with pytest.raises(StoreUnavailable, match="disk failed"):
            await desk.commit()
    await store.close()


@in_loop
async def test_a_checkpoint_comes_in_time(path: Path) -> None:
    """Records do not wait for others to be signed."""
    store = opened(path, checkpoint_seconds=0.01)
    await Desk(store).must()
    await until(lambda: bool(read_note_file(note_path(path))))
    (head,) = await store.checkpoints()
    assert head == store.checkpoint
    assert head.note == read_note_file(note_path(path))

    await store.close()


@pytest.mark.parametrize("size", [50, 50_000])
@in_loop
async def test_an_erased_body_is_nowhere_on_the_disk(path: Path, size: int) -> None:
    """Not in the file, not in its free pages, not in the write-ahead log."""
    secret = b'{"secret":"' + b"canary" * (size // 6) + b'"}'
    store = opened(path)
    desk = Desk(store)
    await desk.must(id="d_private", body=secret)
    assert any(b"canarycanary" in each.read_bytes() for each in path.parent.iterdir())
    await store.erase("d_private", by="ana", reason="asked")

    assert [each.name for each in path.parent.iterdir() if b"canarycanary" in each.read_bytes()] == []
    await store.close()


def test_a_checkpoint_beside_the_file_can_be_kept_elsewhere(path: Path) -> None:
    """Whoever keeps a copy finds journal, checkpoints and the copy beside them cut together; the file alone cannot."""
    key = asyncio.run(filled(path))
    kept = read_note_file(note_path(path))
    stranger = apsw.Connection(str(path))
    stranger.execute("UPDATE journal SET body = x'', salt = x'' WHERE body IS NULL")  # its act is cut away too
    stranger.execute("DELETE FROM journal WHERE sequence > 20; DELETE FROM checkpoint WHERE size > 20")
    ((last,),) = stranger.execute("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1").fetchall()
    stranger.close()
    note_path(path).write_text(last)

    with open_journal(path) as journal:
        inside = verify(journal.rows(), journal.checkpoints(), key, notes=journal.notes)
    with open_journal(path) as journal:
        outside = verify(journal.rows(), journal.checkpoints(), key, notes=[*journal.notes, kept])
    assert [each.sequence for each in inside.problems] == [3]
    assert [each.sequence for each in outside.problems] == [3, 21]
