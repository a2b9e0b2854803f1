"""`remit lockdown`: only the sidecar's user may open connections beyond loopback."""

from __future__ import annotations

import os
import pwd

import click

from remit.backends.lockdown_rules import LAST_UID, Lockdown
from remit.backends.lockdown_tables import LockdownFailed, Tables, find_tables
from remit.cli.failure import Failure, Refused
from remit.cli.screen import show


@click.command("lockdown")
@click.option("--sidecar", required=True, metavar="USER", help="Whom the sidecar runs as: a name or a number.")
@click.option(
    "--agent", "agents", multiple=True, metavar="USER", help="Lock in these users alone [all but the sidecar]."
)
@click.option(
    "--port",
    "ports",
    multiple=True,
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="At this TCP port nobody answers but the sidecar.",
)
@click.option("--check", "only_check", is_flag=True, help="Change nothing; exit code 1 where it is not in force.")
@click.option("--remove", is_flag=True, help="Lift it.")
@click.option(
    "--with", "wanted", type=click.Choice(["auto", "nft", "iptables"]), default="auto", show_default=True, help="Tool."
)
def command(
    *, sidecar: str, agents: tuple[str, ...], ports: tuple[int, ...], only_check: bool, remove: bool, wanted: str
) -> None:
    """Let only the sidecar's user open connections beyond loopback, in this network namespace.

    Everyone else's dial fails at once. Needs root or CAP_NET_ADMIN, and nftables or iptables.

    Example: remit lockdown --sidecar 7450
    """
    if only_check and remove:
        raise click.UsageError("--check and --remove exclude each other.")
    lockdown = _lockdown(sidecar, agents, ports)
    try:
        tables = find_tables(wanted, os.environ)
        if remove:
            tables.remove()
            show(f"lifted ({tables.name})")
            return
        if not only_check:
            tables.apply(lockdown)
        _verify(tables, lockdown)
    except LockdownFailed as error:
        raise Failure(*str(error).splitlines()) from error
    who = f"users {', '.join(map(str, lockdown.agents))}" if lockdown.agents else "everyone else"
    show(f"in force ({tables.name}): user {lockdown.sidecar} may dial beyond loopback, {who} may not")


def _verify(tables: Tables, lockdown: Lockdown) -> None:
    if not tables.holds(lockdown):
        raise Refused(f"the lock-down is not in force here ({tables.name}): its rules are missing or other ones")


def _lockdown(sidecar: str, agents: tuple[str, ...], ports: tuple[int, ...]) -> Lockdown:
    """By number. Raises Failure for users who are no boundary."""
    uid = _uid("--sidecar", sidecar)
    if uid == 0:
        raise Failure("--sidecar: root is no user of its own; expected one that nothing but the sidecar runs as")
    locked = tuple(sorted({_uid("--agent", each) for each in agents}))
    if uid in locked:
        raise Failure(f"--agent: {uid} is the sidecar's own user; expected another")
    return Lockdown(uid, locked, tuple(sorted(set(ports))))


def _uid(option: str, user: str) -> int:
    if user.isascii() and user.isdigit():
        if int(user) <= LAST_UID:
            return int(user)
        raise Failure(f"{option}: {user[:32]} is no user's number; expected 1 to {LAST_UID}")
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError as error:
        raise Failure(f"{option}: there is no user {user[:64]!r} here; expected a name or a number") from error
