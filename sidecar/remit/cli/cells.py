"""Values of rows, for people and for pipes. What is in them is untrusted text."""

from __future__ import annotations

import math
from base64 import b64encode
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from rich.text import Text

from remit.cli.text import clean
from remit.sdk.values import Value

_MICROSECOND = timedelta(microseconds=1)
NULL = "NULL"


def shown(value: Value) -> Text:
    """A value in a table. NULL is not the text NULL, which gets quotes; bytes are hex as PostgreSQL writes them."""
    match value:
        case None:
            return Text(NULL, "dim italic")
        case str():
            return Text(f'"{value}"' if value == NULL else clean(value))
        case bool():
            return Text("true" if value else "false")
        case bytes():
            return Text(f"\\x{value.hex()}")
        case datetime():
            return Text(value.isoformat(" "))
    return Text(str(document(value)))


def document(value: Value) -> Any:
    """A value in JSON, exactly: what JSON has no type or number for is text (bytes as base64, spans as seconds)."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case Decimal():
            return str(value)
        case date() | time():
            return value.isoformat()
        case timedelta():
            return str(Decimal(value // _MICROSECOND).scaleb(-6).normalize() + 0)
        case bytes():
            return b64encode(value).decode()
