"""How often somebody may fail."""

from __future__ import annotations

from listeners.console_security.stage import Time
from remit.listeners.console.attempts import AT_ONCE, AT_ONCE_IN_ALL, EACH_SECONDS, SOURCES, Attempts


def tried(attempts: Attempts, address: str, times: int) -> int:
    """How many of so many failures were let through."""
    count = 0
    for _ in range(times):
        if attempts.allowed(address):
            attempts.failed(address)
            count += 1
    return count


def test_a_source_fails_so_often_and_then_slowly() -> None:
    """Others are not concerned, and no more is saved up than at first."""
    time = Time()
    attempts = Attempts(time.now)
    assert tried(attempts, "192.0.2.1", 50) == AT_ONCE
    assert tried(attempts, "192.0.2.2", 1) == 1
    time.pass_seconds(EACH_SECONDS)
    assert tried(attempts, "192.0.2.1", 50) == 1
    time.pass_seconds(EACH_SECONDS * AT_ONCE * 100)
    assert tried(attempts, "192.0.2.1", 50) == AT_ONCE


def test_one_network_of_ipv6_is_one_source() -> None:
    """Whoever has one has 2^64 addresses; an IPv4 address is one in either spelling."""
    attempts = Attempts(Time().now)
    assert sum(tried(attempts, f"2001:db8::{n:x}", 1) for n in range(50)) == AT_ONCE
    assert tried(attempts, "2001:db8:0:1::1", 1) == 1
    assert tried(attempts, "::ffff:192.0.2.1", 50) == AT_ONCE
    assert tried(attempts, "192.0.2.1", 50) == 0


def test_all_sources_together_fail_so_often() -> None:
    """However many there are."""
    time = Time()
    attempts = Attempts(time.now)
    assert sum(tried(attempts, f"192.0.2.{n}", 1) for n in range(250)) == AT_ONCE_IN_ALL
    assert not attempts.allowed("198.51.100.1")
    time.pass_seconds(1)
    assert attempts.allowed("198.51.100.1")


def test_a_flood_of_sources_takes_no_more_memory() -> None:
    """They are then counted as one, which is out of tries like any other; what is long over is forgotten."""
    time = Time()
    attempts = Attempts(time.now)
    for number in range(SOURCES + 200):
        attempts.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(attempts) <= SOURCES + 1
    time.pass_seconds(EACH_SECONDS - 1)
    assert not attempts.allowed("198.51.100.1")
    time.pass_seconds(EACH_SECONDS * AT_ONCE)
    attempts.failed("198.51.100.1")
    assert len(attempts) == 1
