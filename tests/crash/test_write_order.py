"""Durable before the answer: strace sees the record written, the disk's sync succeed, and only then the answer sent.

A kill proves nothing about the disk, since the page cache survives it; the order of system calls does.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from running import METADATA, prepare, question, start, stub, terminate

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]
CALLS = 24
TRACED = "pwrite64,fdatasync,fsync,sendmsg,sendto,write,writev"
_LINE = re.compile(r"^(\d+) +(?:(\w+)\((.*)|<\.\.\. (\w+) resumed>(.*))$")


@dataclass
class _Begun:
    """A system call that was begun in one line and may end in another."""

    name: str
    text: str
    line: int


@dataclass(frozen=True)
class Step:
    """A finished system call: the lines at which it began and ended, and whether it succeeded."""

    name: str
    text: str
    began: int
    ended: int
    well: bool


def steps(trace: str) -> list[Step]:
    """The finished system calls of a trace, joined where strace split them between threads."""
    begun: dict[str, _Begun] = {}
    found: list[Step] = []
    for number, line in enumerate(trace.splitlines()):
        matched = _LINE.match(line)
        if not matched:
            continue
        thread, name, text, resumed, rest = matched.groups()
        if name and text.endswith("<unfinished ...>"):
            begun[thread] = _Begun(name, text, number)
        elif name:
            found.append(Step(name, text, number, number, not re.search(r"\) += -1 ", text)))
        elif thread in begun and begun[thread].name == resumed:
            first = begun.pop(thread)
            found.append(Step(first.name, first.text, first.line, number, not re.search(r"\) += -1 ", rest)))
    return sorted(found, key=lambda step: step.ended)


def out_of_order(trace: str, decisions: set[str]) -> list[str]:
    """Decisions whose answer was sent before a sync that began after their record was written."""
    done = steps(trace)
    wrong = []
    for id in sorted(decisions):
        sent = min((s.began for s in done if s.name.startswith(("send", "write")) and id in s.text), default=None)
        written = min(
            (s.ended for s in done if s.name == "pwrite64" and "state.db" in s.text and id in s.text), default=None
        )
        if sent is None or written is None:
            wrong.append(f"{id}: {'sent' if sent else 'never sent'}, {'written' if written else 'never written'}")
            continue
        synced = any(
            s.name in ("fdatasync", "fsync")
            and "state.db" in s.text
            and s.well
            and written < s.began
            and s.ended < sent
            for s in done
        )
        if not synced:
            wrong.append(f"{id}: written at {written}, sent at {sent}, no sync in between")
    return wrong


async def traced(directory: Path, mutant: str = "") -> tuple[str, set[str]]:
    """The trace of a sidecar that answers some questions, and the decisions that it answered."""
    prepare(directory)
    log = directory / "trace"
    # -D: the sidecar itself is our child, and gets our signals.
    under = ("strace", "-D", "-f", "--seccomp-bpf", "-y", "-s", "70000", "-e", f"trace={TRACED}", "-o", str(log))
    process = await start(directory, mutant, under=under)
    answered: set[str] = set()
    async with stub(directory) as client:
        for width in (1, 4, 8):
            for _ in range(CALLS // 3 // width or 1):
                calls = [client.Authorize(question(), metadata=METADATA, timeout=30) for _ in range(width)]
                answered |= {(await each).decision.id for each in calls}
    await terminate(process)
    return log.read_text(encoding="utf-8", errors="replace"), answered


@pytest.mark.timeout(300)
def test_no_answer_leaves_before_its_record_is_on_the_disk(tmp_path: Path) -> None:
    """For every decision: record written, sync began and succeeded, answer sent, in that order."""
    trace, answered = asyncio.run(traced(tmp_path))

    assert len(answered) >= CALLS // 2
    assert out_of_order(trace, answered) == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", ["AnswersFirst", "NeverSyncs"])
def test_the_oracle_finds_a_planted_bug(tmp_path: Path, mutant: str) -> None:
    """Answering before the commit, and not waiting for the disk, are both seen in the order of calls."""
    trace, answered = asyncio.run(traced(tmp_path, mutant))

    assert any("no sync in between" in each for each in out_of_order(trace, answered))
