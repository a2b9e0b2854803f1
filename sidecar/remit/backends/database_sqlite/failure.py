"""What SQLite reports, as one of the classes that are told apart; its own words are for the operator alone."""

from __future__ import annotations

import apsw

from remit.ports import DatabaseFailed, Failure

_KINDS: tuple[tuple[type[Exception], Failure], ...] = (
    (apsw.ConstraintError, Failure.CONFLICT),
    (apsw.MismatchError, Failure.BAD_VALUE),
    (apsw.TooBigError, Failure.BAD_VALUE),
    (apsw.RangeError, Failure.BAD_VALUE),
    (apsw.BusyError, Failure.TIMED_OUT),
    (apsw.LockedError, Failure.TIMED_OUT),
    (apsw.CantOpenError, Failure.UNAVAILABLE),
    (apsw.IOError, Failure.UNAVAILABLE),
    (apsw.FullError, Failure.UNAVAILABLE),
    (apsw.CorruptError, Failure.UNAVAILABLE),
    (apsw.NotADBError, Failure.NOT_FIT),
    (apsw.BindingsError, Failure.BAD_STATEMENT),
)


def failed(error: Exception, *, running: bool, planned: bool = False) -> DatabaseFailed:
    """The failure that an error is of; `running` once the statement was accepted, so that a value is to blame.

    A plan names the dataset's tables with their schema: a missing one without is a name of the agent's own.
    """
    detail = f"{type(error).__name__}: {error}"
    code = _code(error)
    for kind, failure in _KINDS:
        if isinstance(error, kind):
            return DatabaseFailed(failure, detail, code=code)
    if isinstance(error, apsw.SQLError):
        if "no such table: main." in str(error) or (not planned and "no such table" in str(error)):
            return DatabaseFailed(Failure.NOT_FIT, detail, code=code, absent=True)
        absent = not running and "no such column" in str(error)
        return DatabaseFailed(Failure.BAD_VALUE if running else Failure.BAD_STATEMENT, detail, code=code, absent=absent)
    if isinstance(error, TypeError | ValueError | OverflowError):  # a value that cannot be bound
        return DatabaseFailed(Failure.BAD_VALUE, type(error).__name__)
    return DatabaseFailed(Failure.INTERNAL, detail, code=code)


def _code(error: Exception) -> str:
    """The name of SQLite's own code."""
    names = apsw.mapping_result_codes | apsw.mapping_extended_result_codes
    numbers = [getattr(error, name, None) for name in ("extendedresult", "result")]
    return next((str(names[each]) for each in numbers if each in names), "")
