"""The file: its tables, how an older one is brought up to date, and how a connection to it is made.

Every table is STRICT. Times are nanoseconds since the epoch, amounts nanos of the ledger's currency.
A migration is never edited after a release: files in the world have run it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw

from remit.backends.store_sqlite.database import Database
from remit.core.errors import StoreUnavailable

APPLICATION_ID = 0x52454D54
"""SQLite's application_id of our files: "REMT"."""

BUSY_MS = 100
"""How long a statement waits for a lock that only a stranger can hold: it may be the event loop that waits."""

DAMAGE = (TypeError, ValueError)
"""How a damaged file shows where SQLite itself sees no error: values of another kind, text that is not UTF-8."""

MIGRATIONS = (
    """
    CREATE TABLE log (
        name TEXT PRIMARY KEY,
        created INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE journal (
        sequence INTEGER PRIMARY KEY,
        time INTEGER NOT NULL,
        kind TEXT NOT NULL,
        id TEXT NOT NULL UNIQUE,
        subject TEXT NOT NULL,
        workflow TEXT NOT NULL,
        parent TEXT NOT NULL,
        ref TEXT NOT NULL,
        previous BLOB NOT NULL,
        hash BLOB NOT NULL,
        body_hash BLOB NOT NULL,
        salt BLOB,      -- NULL, like the body, once it was erased
        body BLOB,
        CHECK ((salt IS NULL) = (body IS NULL))
    ) STRICT;
    CREATE INDEX journal_ref ON journal (ref) WHERE ref <> '';
    CREATE INDEX journal_workflow ON journal (workflow, sequence) WHERE workflow <> '';

    CREATE TABLE checkpoint (
        size INTEGER PRIMARY KEY,
        hash BLOB NOT NULL,
        time INTEGER NOT NULL,
        note TEXT NOT NULL
    ) STRICT;

    CREATE TABLE budget (
        id INTEGER PRIMARY KEY,
        budget TEXT NOT NULL,
        scope TEXT NOT NULL,
        start_ns INTEGER NOT NULL,
        end_ns INTEGER NOT NULL,        -- exclusive; 0: the window never ends
        limit_nanos INTEGER NOT NULL,   -- the catalogue's, as of the last reservation or adjustment
        adjusted INTEGER NOT NULL DEFAULT 0,
        spent INTEGER NOT NULL DEFAULT 0 CHECK (spent >= 0),
        held INTEGER NOT NULL DEFAULT 0 CHECK (held >= 0),
        UNIQUE (budget, scope, start_ns, end_ns)
    ) STRICT;
    CREATE INDEX budget_window ON budget (end_ns);

    CREATE TABLE reservation (
        decision TEXT PRIMARY KEY,
        subject TEXT NOT NULL,
        workflow TEXT NOT NULL,
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        owner TEXT NOT NULL,
        amount INTEGER NOT NULL CHECK (amount >= 0),
        spent INTEGER NOT NULL CHECK (spent >= 0),
        deadline INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('held', 'settled', 'voided', 'lapsed')),
        report_digest TEXT NOT NULL,
        budgets TEXT NOT NULL           -- JSON list of budget.id: the rows in which it was made
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX reservation_due ON reservation (deadline) WHERE state = 'held';

    CREATE TABLE spending (
        subject TEXT NOT NULL,
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        owner TEXT NOT NULL,
        cost INTEGER NOT NULL CHECK (cost >= 0),
        overrun INTEGER NOT NULL CHECK (overrun >= 0),
        PRIMARY KEY (subject, service, variant, owner)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE usage (
        subject TEXT NOT NULL,
        service TEXT NOT NULL,
        variant TEXT NOT NULL,
        owner TEXT NOT NULL,
        unit TEXT NOT NULL,
        quantity INTEGER NOT NULL CHECK (quantity >= 0),
        PRIMARY KEY (subject, service, variant, owner, unit)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE subject (
        id TEXT PRIMARY KEY,
        version INTEGER NOT NULL        -- of its labels
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE workflow (
        id TEXT PRIMARY KEY CHECK (id <> ''),
        opener TEXT NOT NULL,
        purposes TEXT NOT NULL,         -- JSON lists
        agents TEXT NOT NULL,
        expires INTEGER NOT NULL,
        closed_by TEXT NOT NULL DEFAULT '',
        version INTEGER NOT NULL DEFAULT 1
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE share (
        subject TEXT NOT NULL,          -- '': what the workflow started with
        workflow TEXT NOT NULL,         -- '': the standing session
        label TEXT NOT NULL,
        source TEXT NOT NULL,           -- the first decision that brought it
        live INTEGER NOT NULL CHECK (live IN (0, 1)),   -- whether it counts in the subject's session
        PRIMARY KEY (subject, workflow, label)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX share_live ON share (subject, label, source) WHERE live = 1;
    CREATE INDEX share_workflow ON share (workflow, subject) WHERE workflow <> '';
    CREATE TABLE trace (
        subject TEXT NOT NULL,
        trace TEXT NOT NULL,
        workflow TEXT NOT NULL,
        expires INTEGER NOT NULL,
        PRIMARY KEY (subject, trace)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX trace_expires ON trace (expires);
    CREATE TABLE passport (
        id TEXT PRIMARY KEY,
        used_by TEXT NOT NULL,
        expires INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX passport_expires ON passport (expires);

    CREATE TABLE halt (
        id TEXT PRIMARY KEY,
        scope TEXT NOT NULL CHECK (scope IN ('agent', 'workflow', 'service', 'all')),
        value TEXT NOT NULL,
        placed_by TEXT NOT NULL,
        reason TEXT NOT NULL,
        time INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE counter (
        name TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO counter VALUES ('halts', 0);

    CREATE TABLE kept (
        subject TEXT NOT NULL,
        rpc TEXT NOT NULL,
        key TEXT NOT NULL,
        digest TEXT NOT NULL,
        answer BLOB NOT NULL,
        expires INTEGER NOT NULL,
        PRIMARY KEY (subject, rpc, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX kept_expires ON kept (expires);
    """,
    """
    CREATE TABLE seen_table (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE       -- dataset.table
    ) STRICT;
    CREATE TABLE seen_segment (
        id INTEGER PRIMARY KEY,
        rows INTEGER NOT NULL,
        newest INTEGER NOT NULL         -- the greatest `decision` in it
    ) STRICT;
    CREATE TABLE seen (
        segment INTEGER NOT NULL,
        seen_table INTEGER NOT NULL,
        subject BLOB NOT NULL,          -- its keyed hash; empty: of many, which are not told apart
        decision INTEGER NOT NULL,      -- journal.sequence
        sight INTEGER NOT NULL,         -- 0 returned, 1 reached, 2 many
        PRIMARY KEY (segment, seen_table, subject, decision)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE burn (
        budget INTEGER NOT NULL,        -- budget.id
        hour INTEGER NOT NULL,          -- when it began
        spent INTEGER NOT NULL,         -- in that hour; negative where more was corrected than spent
        PRIMARY KEY (budget, hour)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE wider_halt (
        id TEXT PRIMARY KEY,
        scope TEXT NOT NULL CHECK (scope IN ('agent', 'workflow', 'service', 'policy', 'all')),
        value TEXT NOT NULL,
        placed_by TEXT NOT NULL,
        reason TEXT NOT NULL,
        time INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO wider_halt SELECT * FROM halt;
    DROP TABLE halt;
    ALTER TABLE wider_halt RENAME TO halt;
    """,
    """
    CREATE TABLE approval (
        id TEXT NOT NULL UNIQUE,
        alike TEXT NOT NULL,            -- what holds must have in common to join it
        subject TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'expired', 'revoked')),
        version INTEGER NOT NULL CHECK (version > 0),
        until INTEGER NOT NULL,         -- when nobody can answer or use it any more
        document TEXT NOT NULL          -- JSON: all of it but its items, the columns above too
    ) STRICT;
    CREATE UNIQUE INDEX approval_waiting ON approval (alike) WHERE state = 'pending';
    CREATE INDEX approval_asked ON approval (subject) WHERE state = 'pending';
    CREATE INDEX approval_due ON approval (until, id) WHERE state = 'pending';
    CREATE INDEX approval_alike ON approval (alike, id);
    CREATE INDEX approval_subject ON approval (subject, id);
    CREATE INDEX approval_state ON approval (state, id);
    CREATE INDEX approval_over ON approval (until) WHERE state <> 'pending';
    CREATE TABLE approval_item (
        number INTEGER PRIMARY KEY,     -- rises within an approval
        approval TEXT NOT NULL,
        binding TEXT NOT NULL,
        decision TEXT NOT NULL,
        amount INTEGER NOT NULL CHECK (amount >= 0),
        labels TEXT NOT NULL,           -- JSON list
        asked INTEGER NOT NULL,
        used INTEGER NOT NULL CHECK (used >= 0),
        spent INTEGER NOT NULL CHECK (spent >= 0),
        shown TEXT NOT NULL,            -- what was asked for, to be read; '' once it has ended or was erased
        UNIQUE (approval, binding)
    ) STRICT;
    CREATE INDEX approval_item_decision ON approval_item (decision) WHERE shown <> '';
    CREATE INDEX approval_item_binding ON approval_item (binding, approval);
    INSERT INTO counter VALUES ('approvals', 0);

    CREATE TABLE claim (
        key TEXT PRIMARY KEY,
        subject TEXT NOT NULL,          -- '': nobody holds it
        workflow TEXT NOT NULL,
        token INTEGER NOT NULL CHECK (token > 0),
        expires INTEGER NOT NULL,
        time INTEGER NOT NULL           -- when it was taken, or let go of
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX claim_held ON claim (time) WHERE subject <> '';
    CREATE INDEX claim_due ON claim (expires) WHERE subject <> '';
    CREATE INDEX claim_holder ON claim (subject, expires) WHERE subject <> '';
    CREATE INDEX claim_free ON claim (time) WHERE subject = '';
    INSERT INTO counter VALUES ('claim_floor', 0);  -- no token that was forgotten is higher

    CREATE TABLE act (
        workflow TEXT NOT NULL,
        object TEXT NOT NULL,
        subject TEXT NOT NULL,
        operation TEXT NOT NULL,
        decision TEXT NOT NULL,         -- the first
        time INTEGER NOT NULL,          -- of the latest
        expires INTEGER NOT NULL,
        PRIMARY KEY (workflow, object, subject, operation)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX act_expires ON act (expires);

    ALTER TABLE kept ADD COLUMN provisional INTEGER NOT NULL DEFAULT 0 CHECK (provisional IN (0, 1));
    CREATE INDEX reservation_lapsed ON reservation (deadline) WHERE state = 'lapsed';
    """,
)

Connect = Callable[[Path], apsw.Connection]


def connect(path: Path) -> apsw.Connection:
    """A connection whose commits are on the disk when they return. Raises StoreUnavailable."""
    connection = apsw.Connection(str(path))
    configure(connection, str(path))
    return connection


def configure(connection: apsw.Connection, name: str) -> None:
    """WAL, fsync at every commit, nothing in the schema trusted, deleted content overwritten."""
    connection.set_busy_timeout(BUSY_MS)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    if connection.pragma("journal_mode", "wal") != "wal":
        raise StoreUnavailable(f"{name}: this file system cannot hold a write-ahead log; use a local disk")
    for setting in ("synchronous=full", "cell_size_check=on", "secure_delete=on"):
        connection.execute(f"PRAGMA {setting}").fetchall()


def migrate(db: Database, *, now: int, log: str) -> str:
    """Bring the file up to date, or make it new with `log` as its log's name; gives the log's name.

    Raises StoreUnavailable for a file that is not ours, or is newer than we are.
    """
    db.do("BEGIN IMMEDIATE")
    try:
        name = _migrate(db, now, log)
    except BaseException:
        db.do("ROLLBACK")
        raise
    db.do("COMMIT")
    return name


def check_version(db: Database) -> int:
    """How many migrations the file has seen; 0 for an empty one. Raises StoreUnavailable."""
    if db.value("SELECT count(*) FROM sqlite_schema") == 0:
        return 0
    if db.value("PRAGMA application_id") != APPLICATION_ID:
        raise StoreUnavailable("the file is an SQLite database, but not one of Remit's; name another state directory")
    version = int(db.value("SELECT max(version) FROM migration"))
    if version > len(MIGRATIONS):
        raise StoreUnavailable(
            f"the file was written by a newer Remit (schema {version}, this one knows {len(MIGRATIONS)}): upgrade Remit"
        )
    return version


def _migrate(db: Database, now: int, log: str) -> str:
    version = check_version(db)
    if version == 0:
        db.do(f"PRAGMA application_id = {APPLICATION_ID}")
        db.do("CREATE TABLE migration (version INTEGER PRIMARY KEY, applied INTEGER NOT NULL) STRICT")
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        db.do(script)
        db.do("INSERT INTO migration VALUES (?, ?)", number, now)
    if version == 0:
        db.do("INSERT INTO log VALUES (?, ?)", log, now)
    return str(db.value("SELECT name FROM log"))
