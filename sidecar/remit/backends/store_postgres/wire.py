"""One statement at a time on a connection, and what is known of it afterwards.

The same steps as psycopg's cursor takes, with its lower layer: a wait that is broken off is over at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg.generators import execute
from psycopg.pq import DiagnosticField, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from remit.backends.database_postgres.connection import Connection, waited


class Unknown(Exception):
    """The connection broke, or there was no answer in time: the transaction may have happened or not."""


class Rejected(Exception):
    """The server refused a call, and nothing of it happened. `code` is the SQLSTATE, `said` the server's words."""

    def __init__(self, code: str, said: str) -> None:
        super().__init__(f"{said} (SQLSTATE {code})")
        self.code = code
        self.said = said


async def ask(connection: Connection, statement: bytes, *values: bytes) -> list[tuple[bytes | None, ...]]:
    """The rows of one statement, which is a transaction. Raises Rejected, Unknown."""
    pgconn = connection.pgconn
    try:
        pgconn.send_query_params(statement, values)
        results: Sequence[PGresult] = await waited(connection, execute(pgconn))
    except psycopg.Error as error:
        raise Unknown(str(error).strip() or "the connection broke") from error
    for result in results:
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            raise _refused(connection, result)
    if pgconn.transaction_status != TransactionStatus.IDLE:  # it is only over when the server says so
        raise Unknown("the connection broke before the end of the answer")
    last = results[-1]
    return [tuple(last.get_value(row, column) for column in range(last.nfields)) for row in range(last.ntuples)]


def _refused(connection: Connection, result: PGresult) -> Unknown | Rejected:
    def part(field: DiagnosticField) -> str:
        return (result.error_field(field) or b"").decode(errors="replace")

    code, said = part(DiagnosticField.SQLSTATE), part(DiagnosticField.MESSAGE_PRIMARY)
    over = connection.pgconn.transaction_status == TransactionStatus.IDLE
    if part(DiagnosticField.SEVERITY_NONLOCALIZED) == "ERROR" and over and code:
        return Rejected(code, said)
    return Unknown(said or "the connection broke")
