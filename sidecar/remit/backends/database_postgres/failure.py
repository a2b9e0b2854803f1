"""What PostgreSQL reports, as one of the classes that are told apart; its own words are for the operator alone.

SQLSTATEs: PostgreSQL's documentation, appendix A.
"""

from __future__ import annotations

import psycopg

from remit.backends.database_postgres.too_large import is_too_large
from remit.ports import DatabaseFailed, Failure

_STATES = {
    "08P01": Failure.INTERNAL,  # we sent what does not fit together
    "21000": Failure.BAD_VALUE,  # a sub-query gave several rows
    "25P03": Failure.TIMED_OUT,  # idle in transaction
    "25P04": Failure.TIMED_OUT,  # transaction_timeout
    "42501": Failure.NOT_FIT,  # a right is missing
    "42P01": Failure.NOT_FIT,  # a table is missing
    "3D000": Failure.NOT_FIT,
    "3F000": Failure.NOT_FIT,
    "53400": Failure.TOO_COSTLY,  # temp_file_limit
    "55P03": Failure.TIMED_OUT,  # a lock
    "57014": Failure.TIMED_OUT,  # statement_timeout
    "P0001": Failure.CONFLICT,  # a trigger's own objection
}
_CLASSES = {
    "08": Failure.UNAVAILABLE,
    "0A": Failure.BAD_STATEMENT,
    "22": Failure.BAD_VALUE,
    "23": Failure.CONFLICT,
    "28": Failure.NOT_FIT,
    "40": Failure.UNAVAILABLE,
    "42": Failure.BAD_STATEMENT,
    "44": Failure.CONFLICT,
    "53": Failure.UNAVAILABLE,
    "54": Failure.BAD_STATEMENT,
    "57": Failure.UNAVAILABLE,
    "58": Failure.UNAVAILABLE,
}
_ABSENT = frozenset(["42703", "42P01"])  # a column, a table
# Where PostgreSQL finds that a FROM has no such alias; it has the code of a missing table.
_NO_TABLES = frozenset(["errorMissingRTE"])
_SAID = 500  # characters that are kept of what it says, which may quote a value of any size


def failed(error: psycopg.Error) -> DatabaseFailed:
    """The failure that an error is of."""
    state = error.sqlstate
    if state is not None:
        failure = _STATES.get(state) or _CLASSES.get(state[:2], Failure.INTERNAL)
        if error.diag.source_function in _NO_TABLES:
            failure = Failure.BAD_STATEMENT
        if is_too_large(error):
            failure = Failure.TOO_COSTLY
    elif isinstance(error, psycopg.OperationalError):  # the connection: libpq's own errors have no state
        failure = Failure.UNAVAILABLE
    elif isinstance(error, psycopg.DataError):  # a value that cannot be sent
        failure = Failure.BAD_VALUE
    else:
        failure = Failure.INTERNAL
    # Not its LINE, which quotes the statement, nor its DETAIL, which quotes rows.
    said = error.diag.message_primary if state is not None else str(error).strip()
    absent = state in _ABSENT and error.diag.source_function not in _NO_TABLES
    return DatabaseFailed(
        failure, f"SQLSTATE {state or 'none'}: {(said or '')[:_SAID]}", code=_code(state), absent=absent
    )


def _code(state: str | None) -> str:
    """An SQLSTATE of PostgreSQL's list; a function of the database's owner may raise any other, made of data."""
    if state is None:
        return ""
    try:
        psycopg.errors.lookup(state)
    except KeyError:
        return "an SQLSTATE of its own"
    return f"SQLSTATE {state}"
