"""Text for people: escaped, exact, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from remit.core.money import decimal_text

_SECOND = 1_000_000_000


def clean(text: str) -> str:
    """Somebody else's text on one line: what could move a cursor, colour, reorder or hide text is escaped.

    That is everything that Unicode does not call printable: control characters (and so ANSI sequences), line
    separators, bidirectional controls, surrogates.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def moment(time_ns: int) -> str:
    """A time in ns since the epoch, such as 2026-11-23 05:48:01.123Z; "never" for what no year can say."""
    try:
        seconds, nanos = divmod(time_ns, _SECOND)
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return "never"
    return f"{text}.{nanos // 1_000_000:03d}Z"


def counted(count: int, name: str) -> str:
    """Such as "1 error" or "2 errors"."""
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def amount(nanos: int, currency: str = "") -> str:
    """Money exactly: 12_500_000_000 of EUR is "12.5 EUR"."""
    return " ".join(filter(None, [decimal_text(nanos), clean(currency)]))
