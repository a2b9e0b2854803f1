"""The Database port on PostgreSQL, through psycopg."""

from remit.backends.database_postgres.database import PostgresDatabase as PostgresDatabase
