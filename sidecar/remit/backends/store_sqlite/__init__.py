"""The `Store` port on one SQLite file, through apsw."""

from remit.backends.store_sqlite.journal_file import JournalFile, open_journal
from remit.backends.store_sqlite.store import SqliteStore

__all__ = ["JournalFile", "SqliteStore", "open_journal"]
