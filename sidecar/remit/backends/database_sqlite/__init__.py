"""The Database port on an SQLite file, through apsw."""

from remit.backends.database_sqlite.database import SqliteDatabase as SqliteDatabase
