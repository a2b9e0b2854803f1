"""Limits of the gRPC server: what one call, one caller and all of them may take."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from remit.listeners.grpc_fields import MAX_WAIT_SECONDS
from remit.listeners.grpc_status import Overloaded

Option = tuple[str, int]

STREAMS_ENDING = 1024
"""Streams of a connection that have ended and are not yet freed, before gRPC resets new ones (a defence against
floods of resets). Its own value is so low that an honest caller's burst on one connection meets it (measured)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of a message in and out and of a call's metadata, calls at once, and seconds.

    `receive_seconds` bounds the time until a request is there whole, `call_seconds` the time until its answer,
    where the caller's own deadline is not sooner. An answer in parts is ended after `stream_seconds`, and before where
    its caller takes none of it for `write_seconds`. A caller gets `per_caller` of the `concurrency` in all. What may
    last gets less: half of either for calls that wait for an approval; a quarter for watches, and few of a caller's.
    """

    message_bytes: int = 512 * 1024
    answer_bytes: int = 4 * 1024 * 1024
    metadata_bytes: int = 8 * 1024
    concurrency: int = 256
    per_caller: int = 64
    connections: int = 512
    receive_seconds: float = 10
    call_seconds: float = 10
    verify_seconds: float = 300
    stream_seconds: float = 300
    write_seconds: float = 30
    idle_seconds: float = 60
    age_seconds: float = 600
    check_seconds: float = 1
    watchers: int = 32

    @property
    def backstop(self) -> int:
        """Calls at once of any kind, health and refusals included, that gRPC itself lets in."""
        return 2 * self.concurrency

    @property
    def waiting(self) -> int:
        """Calls that wait at once, in all."""
        return (self.concurrency + 1) // 2

    @property
    def waiting_per_caller(self) -> int:
        """Those of one caller: whoever waits can still act."""
        return (self.per_caller + 1) // 2

    @property
    def watching(self) -> int:
        """Watches at once, in all; apart from calls that wait, which must not keep those away who are to end them."""
        return (self.concurrency + 3) // 4

    @property
    def watching_per_caller(self) -> int:
        """Those of one caller: nobody needs more, and it takes many to keep others from it."""
        return (self.per_caller + 15) // 16

    def options(self) -> tuple[Option, ...]:
        """As gRPC's channel arguments (grpc/impl/channel_arg_names.h).

        The soft bound of metadata refuses by chance only, so both are one; our own is checked on every call. One
        connection has as many streams as its caller has places: a client then waits instead of being refused.
        """
        return (
            ("grpc.max_receive_message_length", self.message_bytes),
            ("grpc.max_send_message_length", self.answer_bytes),
            ("grpc.max_metadata_size", 2 * self.metadata_bytes),
            ("grpc.absolute_max_metadata_size", 2 * self.metadata_bytes),
            ("grpc.max_concurrent_streams", self.per_caller),
            ("grpc.http2.max_deallocating_streams", STREAMS_ENDING),
            ("grpc.max_allowed_incoming_connections", self.connections),
            ("grpc.max_connection_idle_ms", int(self.idle_seconds * 1000)),
            ("grpc.max_connection_age_ms", int(self.age_seconds * 1000)),
            ("grpc.max_connection_age_grace_ms", int(self._longest * 1000)),
            ("grpc.server_handshake_timeout_ms", 10_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.http2.max_ping_strikes", 2),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.so_reuseport", 0),
        )

    @property
    def _longest(self) -> float:
        return max(self.verify_seconds, self.stream_seconds, MAX_WAIT_SECONDS + self.call_seconds)


class Places:
    """Counts what is being served (`what`, for people), in all and by caller."""

    def __init__(self, most: int, per_caller: int, what: str = "calls") -> None:
        self._most = most
        self._per_caller = per_caller
        self._what = what
        self._taken: Counter[str] = Counter()
        self._total = 0

    def take(self, caller: str, size: int = 1) -> None:
        """Take places, to be given back; raises Overloaded where there are not so many."""
        if self._taken[caller] + size > self._per_caller:
            raise Overloaded(f"at most {self._per_caller} {self._what} of one caller at once")
        if self._total + size > self._most:
            raise Overloaded(f"at most {self._most} {self._what} at once")
        self._taken[caller] += size
        self._total += size

    def give_back(self, caller: str, size: int = 1) -> None:
        """Give places back."""
        self._total -= size
        self._taken[caller] -= size
        if not self._taken[caller]:
            del self._taken[caller]
