"""How long ago, and how long still: for people, who do not count nanoseconds."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from remit.sdk.answers import NANOS

_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def lasting(seconds: int) -> str:
    """Such as "4 h" or "2 d 3 h": the two largest parts."""
    parts = []
    for size, name in _STEPS:
        if seconds >= size:
            parts.append(f"{seconds // size} {name}")
            seconds %= size
    return " ".join(parts[:2]) or "0 s"


def ago(time_ns: int, now_ns: int) -> str:
    """Such as "5 min ago"."""
    return f"{lasting(max(0, now_ns - time_ns) // NANOS)} ago"


def still(time_ns: int, now_ns: int) -> str:
    """Such as "5 min left", or "over"."""
    return f"{lasting((time_ns - now_ns) // NANOS)} left" if time_ns > now_ns else "over"


def nanoseconds(time: Timestamp) -> int:
    """Since the epoch; 0 for none."""
    return int(time.seconds * NANOS + time.nanos)
