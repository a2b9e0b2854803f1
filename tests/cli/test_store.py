"""`remit store`: a real PostgreSQL is made a store, and tells who writes to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.postgres_server import OWNER, READER, PostgresDatabase
from psycopg.types.json import Jsonb
from remit.backends.store_postgres.migrate import latest

from .conftest import Remit


@pytest.fixture
def store(place: Path, fresh: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> PostgresDatabase:
    """A database that the settings name, and whose owner's password lies in a file."""
    (place / "password").write_text(f"{fresh.server.passwords[OWNER]}\n")
    monkeypatch.setenv("REMIT_STORE_URL", fresh.server.url(OWNER, fresh.name))
    monkeypatch.setenv("REMIT_STORE_PASSWORD_FILE", "password")
    return fresh


def test_a_database_is_migrated_once_and_then_told_as_it_is(remit: Remit, store: PostgresDatabase) -> None:
    """The first run makes the schema, the second finds it; nobody has joined yet."""
    first, second = remit("store", "migrate"), remit("store", "migrate", "--json")
    status = remit("store", "status", "--json").document

    assert (first.code, second.code) == (0, 0), (first, second)
    assert first.out.splitlines() == [
        f"the schema was not there, and is version {latest()}",
        "next: GRANT remit_sidecar TO the role of the sidecars; GRANT remit_desk TO that of the desk",
    ]
    assert second.document == {"before": latest(), "version": latest()}
    assert status == {"version": latest(), "installation": "", "members": []}
    assert remit("store", "status").out == f"schema version {latest()}; no member has joined yet\n"


def test_members_are_shown_with_their_logs(remit: Remit, store: PostgresDatabase) -> None:
    """Who holds its log's lock runs; the last record's time and the lease are of that log."""
    remit("store", "migrate")
    store.run(
        "INSERT INTO remit.log (name, kind, public_key, created, revision, lease) VALUES"
        " ('a', 'sidecar', '', 1, 'r1', '-infinity'), ('b', 'local', '', 2, '', now() + interval '1h')"
    )
    with store.server.connect(store.name) as connection:
        connection.execute("SELECT pg_advisory_lock(2, number::integer) FROM remit.log WHERE name = 'a'")
        shown = remit("store", "status", "--json").document["members"]
        table = remit("store", "status").out.splitlines()

    assert [(each["log"], each["kind"], each["running"], each["revision"]) for each in shown] == [
        ("a", "sidecar", True, "r1"),
        ("b", "local", False, ""),
    ]
    assert [(each["records"], each["last_ns"]) for each in shown] == [(0, None), (0, None)]
    assert [each["lease_seconds"] > 3500 for each in shown] == [False, True]
    assert table[2].split()[:3] == ["a", "sidecar", "yes"]


def test_what_is_no_store_is_told_with_what_to_run(remit: Remit, store: PostgresDatabase) -> None:
    """A database without the schema, a role that may not make it, an older schema."""
    asked = remit("store", "status")
    (Path("reader")).write_text(store.server.passwords[READER])
    refused = remit("store", "migrate", "--url", store.reader, "--password-file", "reader")
    remit("store", "migrate")
    store.run("INSERT INTO remit.migration VALUES (1000, 0)")
    newer = remit("store", "migrate")

    assert (asked.code, asked.err) == (2, "remit: the database is no store of Remit's yet: run `remit store migrate`\n")
    assert refused.code == 2 and ("CREATE ROLE" in refused.err or "GRANT CREATE" in refused.err)
    assert newer.code == 2 and "migrated by a newer Remit (schema 1000" in newer.err


def test_a_database_that_cannot_be_reached_is_exit_code_3(remit: Remit, store: PostgresDatabase) -> None:
    """A wrong password and a closed port: where, and why; never the password."""
    Path("wrong").write_text("hunter2hunter2")
    wrong = remit("store", "status", "--password-file", "wrong")
    closed = remit("store", "status", "--url", "postgresql://a@127.0.0.1:1/b?sslmode=disable")

    assert (wrong.code, closed.code) == (3, 3)
    assert "password authentication failed" in wrong.err and "hunter2" not in wrong.err
    assert closed.err.startswith("remit: PostgreSQL at 127.0.0.1:1/b cannot be reached: ")
    assert wrong.err.count("\n") == closed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "which store: expected --url, REMIT_STORE_URL or `store.url` in the settings"),
        (("--url", "postgresql://a:hunter2@db/b"), "found a password; expected none in it: --password-file"),
        (("--url", "sqlite:///a.db"), "found the URL of another database; expected postgresql://"),
        (("--url", "postgresql://a@db/b", "--password-file", "nowhere"), "nowhere: No such file or directory"),
    ],
)
def test_what_names_no_store_is_told(remit: Remit, options: tuple[str, ...], told: str) -> None:
    """Exit code 2, and nothing of a password."""
    ended = remit("store", "status", *options)

    assert ended.code == 2
    assert told in ended.err and "hunter2" not in ended.err


def test_who_comes_first_says_which_keys_an_installation_has(remit: Remit, store: PostgresDatabase) -> None:
    """Later ones get its id, and are told which of theirs are others."""
    remit("store", "migrate")

    def join(**given: object) -> object:
        with store.server.connect(store.name) as connection:
            return connection.execute("SELECT remit.join_installation(%s)", [Jsonb(given)]).fetchall()[0][0]

    assert join(id="i1", time=1, keys={"a": "1", "b": "2"}) == {"id": "i1", "differing": []}
    assert join(id="i2", time=2, keys={"a": "1", "b": "2"}) == {"id": "i1", "differing": []}
    assert join(id="i2", time=2, keys={"a": "1", "b": "3", "c": "4"}) == {"id": "i1", "differing": ["b", "c"]}
    assert join(id="i2", time=2, keys={"a": "1"}) == {"id": "i1", "differing": ["b"]}
    assert remit("store", "status", "--json").document["installation"] == "i1"
