"""Puts the lock-down's rules into the kernel, and tells whether they are there: nftables, else iptables.

Both replace the rules in one transaction, so that there is no moment without them. Whether they are in force is asked
of the kernel: it is given the same rules once more where no packet passes, and must list both alike.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from remit.backends.lockdown_rules import CHAIN, DRAFT, TABLE, Lockdown, iptables_rules, nft_table

_SBIN = ("/usr/sbin", "/sbin", "/usr/local/sbin")
_SIX = Path("/proc/net/if_inet6")
_SECONDS = 10
_CREATE = f"table inet {TABLE}\ndelete table inet {TABLE}\n"
_FORGET = f"table inet {TABLE}{DRAFT}\ndelete table inet {TABLE}{DRAFT}\n"


class LockdownFailed(Exception):
    """The rules cannot be read or written: no such tool, no right to, or not by this kernel."""


class Tables(Protocol):
    """What filters packets here."""

    name: str

    def apply(self, lockdown: Lockdown) -> None:
        """Replace whatever lock-down there is. Raises LockdownFailed."""

    def holds(self, lockdown: Lockdown) -> bool:
        """Whether exactly this one is in force. Raises LockdownFailed."""

    def remove(self) -> None:
        """Lift it, if there is one. Raises LockdownFailed."""


def find_tables(wanted: str, environment: Mapping[str, str]) -> Tables:
    """`wanted` is "nft", "iptables" or "auto": nftables where tool and kernel have it, else iptables."""
    path = os.pathsep.join((environment.get("PATH", os.defpath), *_SBIN))
    problems = []
    for kind in (Nft, Iptables):
        if wanted in ("auto", kind.name):
            try:
                found = kind(path)
                found.probe()
                return found
            except LockdownFailed as error:
                problems.append(str(error))
    raise LockdownFailed("\n".join(problems))


class Nft:
    """One table of its own, of the `inet` family: IPv4 and IPv6."""

    name = "nft"

    def __init__(self, path: str) -> None:
        self._nft = _tool("nft", path, "nftables")

    def probe(self) -> None:
        """Raises LockdownFailed where the kernel does not let us."""
        _run(self._nft, "list", "tables")

    def apply(self, lockdown: Lockdown) -> None:
        _run(self._nft, "-f", "-", given=_CREATE + nft_table(lockdown) + "\n")

    def holds(self, lockdown: Lockdown) -> bool:
        if f"table inet {TABLE}" not in _run(self._nft, "list", "tables").splitlines():
            return False
        live = self._listed(TABLE)
        _run(self._nft, "-f", "-", given=_FORGET + nft_table(lockdown, draft=True) + "\n")
        try:
            expected = self._listed(TABLE + DRAFT)
        finally:
            _run(self._nft, "-f", "-", given=_FORGET)
        hooks = [line for line in live if line.startswith("type ")]
        rules = [line for line in live if line not in hooks]
        return len(hooks) == 1 and hooks[0].startswith("type filter hook output priority ") and rules == expected

    def remove(self) -> None:
        _run(self._nft, "-f", "-", given=_CREATE)

    def _listed(self, table: str) -> list[str]:
        text = _run(self._nft, "list", "table", "inet", table).replace(f"table inet {table} ", "table inet x ")
        return [line for each in text.splitlines() if (line := each.strip())]


class Iptables:
    """A chain of its own that OUTPUT jumps to first, for IPv4 and, where the kernel has it, IPv6."""

    name = "iptables"

    def __init__(self, path: str) -> None:
        families = [False, *([True] if _SIX.exists() else [])]
        names = {six: "ip6tables" if six else "iptables" for six in families}
        self._tools = {
            six: (_tool(name, path, "iptables"), _tool(f"{name}-restore", path, "iptables"))
            for six, name in names.items()
        }

    def probe(self) -> None:
        """Raises LockdownFailed where the kernel does not let us."""
        for tool, _ in self._tools.values():
            _run(tool, "-w", "-S", "OUTPUT")

    def apply(self, lockdown: Lockdown) -> None:
        for six, (tool, restore) in self._tools.items():
            jumps = [f"-D OUTPUT -j {CHAIN}"] * self._output(tool).count(f"-A OUTPUT -j {CHAIN}")
            lines = ["*filter", f":{CHAIN} - [0:0]", *iptables_rules(lockdown, six=six), *jumps]
            text = "\n".join([*lines, f"-I OUTPUT 1 -j {CHAIN}", "COMMIT", ""])
            _run(restore, "-w", "--noflush", given=text)

    def holds(self, lockdown: Lockdown) -> bool:
        return all(self._holds(lockdown, six=six) for six in self._tools)

    def remove(self) -> None:
        for tool, restore in self._tools.values():
            jumps = [f"-D OUTPUT -j {CHAIN}"] * self._output(tool).count(f"-A OUTPUT -j {CHAIN}")
            _run(restore, "-w", "--noflush", given="\n".join(["*filter", f":{CHAIN} - [0:0]", *jumps, "COMMIT", ""]))
            _run(tool, "-w", "-X", CHAIN)

    def _holds(self, lockdown: Lockdown, *, six: bool) -> bool:
        tool, restore = self._tools[six]
        rules = [line for line in self._output(tool) if line.startswith("-A ")]
        if rules[:1] != [f"-A OUTPUT -j {CHAIN}"]:
            return False
        drawn = ["*filter", f":{CHAIN}{DRAFT} - [0:0]", *iptables_rules(lockdown, six=six, draft=True), "COMMIT", ""]
        _run(restore, "-w", "--noflush", given="\n".join(drawn))
        try:
            expected = [line.replace(CHAIN + DRAFT, CHAIN) for line in self._listed(tool, CHAIN + DRAFT)]
        finally:
            _run(tool, "-w", "-F", CHAIN + DRAFT)
            _run(tool, "-w", "-X", CHAIN + DRAFT)
        return self._listed(tool, CHAIN) == expected

    def _output(self, tool: str) -> list[str]:
        return self._listed(tool, "OUTPUT")

    def _listed(self, tool: str, chain: str) -> list[str]:
        return _run(tool, "-w", "-S", chain).splitlines()


def _tool(name: str, path: str, package: str) -> str:
    found = shutil.which(name, path=path)
    if found is None:
        raise LockdownFailed(f"{name} is not installed (Debian's package {package})")
    return found


def _run(tool: str, *arguments: str, given: str = "") -> str:
    """What the tool prints. Raises LockdownFailed with what it complains of."""
    try:
        ended = subprocess.run(  # noqa: S603 - fixed arguments; users are numbers by then
            [tool, *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            env={"LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LockdownFailed(f"{tool}: {error}") from error
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        hint = " (this needs root or CAP_NET_ADMIN)" if _not_permitted(ended.stderr) else ""
        raise LockdownFailed(f"{tool}: {lines[0]}{hint}")
    return ended.stdout


def _not_permitted(text: str) -> bool:
    return any(words in text.lower() for words in ("not permitted", "permission denied", "you must be root"))
