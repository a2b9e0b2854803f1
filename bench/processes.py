"""What processes use, as /proc tells it; a process stands for those it has started too."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


def cpu_ms(pid: int) -> Counter[str]:
    """Milliseconds of processor time so far, by program."""
    used: Counter[str] = Counter()
    for each in _tree(pid):
        used[_program(each)] += int(sum(_ticks(each)[:2]) * TICK_MS)
    return used


def ended_cpu_ms(pid: int) -> int:
    """Milliseconds of processor time of what the process has started and that has ended since."""
    return int(sum(_ticks(pid)[2:]) * TICK_MS)


def _ticks(pid: int) -> tuple[int, ...]:
    """User's, the kernel's, and the same two of children that have ended (proc(5): 14 to 17)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return tuple(map(int, fields[11:15]))


def resident_mb(pid: int) -> dict[str, float]:
    """Resident memory in MB, by program."""
    resident: Counter[str] = Counter()
    for each in _tree(pid):
        lines = Path(f"/proc/{each}/status").read_text(encoding="ascii").splitlines()
        resident[_program(each)] += int(next(line for line in lines if line.startswith("VmRSS")).split()[1])
    return {name: size / 1024 for name, size in resident.items()}


def proportional_mb(pid: int) -> dict[str, float]:
    """The same, where a page that several processes have counts for each with its share (PSS)."""
    proportional: Counter[str] = Counter()
    for each in _tree(pid):
        lines = Path(f"/proc/{each}/smaps_rollup").read_text(encoding="ascii").splitlines()
        proportional[_program(each)] += int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return {name: size / 1024 for name, size in proportional.items()}


def private_mb(pid: int) -> float:
    """Memory in MB that no other process shares, of this process alone."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def _tree(pid: int) -> list[int]:
    children = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text(encoding="ascii").split()
    ]
    return [pid, *(each for child in children for each in _tree(child))]


def _program(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip().partition("-")[0]
