"""The journal on PostgreSQL read by an operator who may only read: every log, and whatever is not as it was written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import psycopg
import pytest
from counts import COUNTS, SEED, dice
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.commits import EUR, Desk, row
from fakes.store_postgres import AUDITOR, Installation, key_of, open_store
from remit.backends.store_postgres.journal_logs import JournalLogs, open_logs, verify_logs
from remit.core.checkpoint import VerifierKey
from remit.core.journal import Verification

LOGS = ("log_a", "log_b")


def pinned(log: str) -> VerifierKey:
    return VerifierKey(log, key_of(log).public_key().public_bytes_raw())


@pytest.fixture(name="filled")
def _filled(installation: Installation) -> Installation:
    """Two logs of 25 records each; the first has an erased body, and both are signed to their ends."""

    async def fill() -> None:
        for turn, log in enumerate(LOGS):
            store = await open_store(installation, log)
            desk = Desk(store, count=1000 * turn)
            for _ in range(4):
                await asyncio.gather(*(desk.must() for _ in range(6)))
            await desk.reserve(EUR, row(99 * EUR))
            if turn == 0:
                await store.erase("d_000003", by="ana", reason="asked")
            await store.close()

    asyncio.run(fill())
    return installation


def read(
    installation: Installation, keys: Sequence[VerifierKey] = tuple(map(pinned, LOGS)), notes: Sequence[str] = ()
) -> dict[str, Verification]:
    """What an auditor finds in each log."""
    with installation.connect(AUDITOR) as connection, open_logs(connection) as journal:
        return {each.log: each for each in verify_logs(journal, keys, notes)}


def test_an_auditor_s_role_reads_all_and_changes_nothing(filled: Installation) -> None:
    """Names, rows and heads of every log; and the role has no right to more."""
    found = read(filled)

    assert {log: (each.state, each.records, each.erased, each.covered) for log, each in found.items()} == {
        "log_a": ("authentic", 26, 1, 26),
        "log_b": ("authentic", 25, 0, 25),
    }
    with filled.connect(AUDITOR) as connection, open_logs(connection) as journal:
        assert [(each.name, each.kind, each.key) for each in journal.logs] == [
            (log, "sidecar", pinned(log)) for log in LOGS
        ]
        assert [each.sequence for each in journal.rows("log_b")] == list(range(1, 26))
        assert next(iter(journal.checkpoints("log_b"))).log == "log_b"
        assert journal.strays == ()
    with filled.connect(AUDITOR) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("DELETE FROM remit.journal")


@pytest.mark.parametrize(
    ("tampering", "told"),
    [
        ("UPDATE remit.journal SET subject = 'eve' WHERE log = 'log_a' AND sequence = 7", "header does not match"),
        ("UPDATE remit.journal SET body = '' WHERE log = 'log_a' AND sequence = 7", "body does not match"),
        ("DELETE FROM remit.journal WHERE log = 'log_a' AND sequence = 7", "record 7 was expected"),
        ("DELETE FROM remit.journal WHERE log = 'log_a' AND sequence > 20", "which is not the last one"),
        ("UPDATE remit.journal SET log = 'log_b' WHERE log = 'log_a' AND sequence = 26", "which is not the last one"),
        ("DELETE FROM remit.checkpoint WHERE log = 'log_a' AND size > 20", "act that no checkpoint covers"),
        ("DELETE FROM remit.checkpoint WHERE log = 'log_a'; DELETE FROM remit.log WHERE name = 'log_a'", "no such log"),
        ("UPDATE remit.log SET sequence = 3 WHERE name = 'log_a'", "left off at record 3"),
    ],
)
def test_what_was_changed_is_told_with_its_log(filled: Installation, tampering: str, told: str) -> None:
    """By whoever may write the tables; the other log is as it was."""
    filled.run(f"SET session_replication_role = replica; {tampering}; RESET session_replication_role")

    found = read(filled)

    assert found["log_a"].state == "broken"
    assert any(told in each.what for each in found["log_a"].problems), found["log_a"].problems
    assert found["log_b"].ok or "log = 'log_b'" in tampering


def test_a_forged_log_with_a_key_of_its_own_is_found_by_the_pinned_one(filled: Installation) -> None:
    """Whoever can write everything can register another key: only a key kept elsewhere tells."""
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    filled.run(f"UPDATE remit.log SET public_key = '\\x{other.hex()}' WHERE name = 'log_a'")

    found = read(filled)["log_a"]

    assert (found.state, found.problem) == ("broken", "the key that is registered for it is not the pinned one")


def test_a_log_that_is_gone_whole_is_missed_by_its_key_and_by_its_note(filled: Installation) -> None:
    """Nothing in the database tells of it any more."""
    ((note,),) = filled.rows("SELECT note FROM remit.checkpoint WHERE log = 'log_a' ORDER BY size DESC LIMIT 1")
    filled.run(
        "SET session_replication_role = replica; DELETE FROM remit.journal WHERE log = 'log_a';"
        "DELETE FROM remit.checkpoint WHERE log = 'log_a'; DELETE FROM remit.log WHERE name = 'log_a';"
        "RESET session_replication_role"
    )

    assert set(read(filled, ())) == {"log_b"}
    for found in (read(filled, [pinned("log_a")]), read(filled, (), [note])):
        assert (found["log_a"].state, found["log_a"].problem) == ("broken", "no such log is registered")
        assert found["log_b"].ok


def test_every_changed_value_of_the_journal_is_found(filled: Installation) -> None:
    """Whichever column of whichever row of a log or of its heads."""
    edits = [
        (table, column, key, at)
        for table, key, columns in (
            ("journal", "sequence", ("kind", "id", "subject", "workflow", "parent", "ref", "time", "sequence")),
            ("journal", "sequence", ("previous", "hash", "body_hash", "salt", "body")),
            ("checkpoint", "size", ("hash", "note", "time", "size")),
        )
        for column in columns
        for (at,) in filled.rows(f"SELECT {key} FROM remit.{table} WHERE log = 'log_b' ORDER BY 1")
    ]
    missed = []
    filled.run("SET session_replication_role = replica")
    for table, column, key, at in dice("postgres edits").sample(edits, min(len(edits), COUNTS.faults)):
        with filled.owner.transaction(force_rollback=True):
            filled.run(f"UPDATE remit.{table} SET {column} = {_edited(column)} WHERE log = 'log_b' AND {key} = {at}")
            found = verify_logs(JournalLogs(filled.owner), [pinned("log_b")])
            if next(each for each in found if each.log == "log_b").ok:
                missed.append((table, column, at))
    filled.run("RESET session_replication_role")

    assert missed == [], SEED


def _edited(column: str) -> str:
    """Another value of a column."""
    if column in ("time", "sequence", "size"):
        return f"{column} + 1000"
    if column in ("kind", "id", "subject", "workflow", "parent", "ref", "note"):
        return f"{column} || 'x'"
    return f"set_byte({column}, 0, 255 - get_byte({column}, 0))"
