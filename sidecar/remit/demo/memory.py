"""Whether a process holds a secret: in the environment that it was started with, or anywhere in its memory.

As the kernel shows both to the user that the process runs as (proc(5)). Memory that cannot be read counts as none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """Where each secret was: how often in the environment, how often in memory, and how many bytes of it were read."""

    environment: dict[str, int]
    memory: dict[str, int]
    looked: int


def look(pid: int, secrets: dict[str, str]) -> Found:
    """Look for secrets, given by name, in a running process."""
    wanted = {name: secret.encode() for name, secret in secrets.items()}
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    memory, looked = dict.fromkeys(wanted, 0), 0
    overlap = max(map(len, wanted.values()))
    for region in _regions(pid):
        for piece in _pieces(pid, region, overlap):
            looked += len(piece)
            for name, secret in wanted.items():
                memory[name] += piece.count(secret)
    return Found({name: environment.count(secret) for name, secret in wanted.items()}, memory, looked)


def _regions(pid: int) -> Iterator[tuple[int, int]]:
    """What the process can write to: nothing else can hold what it was given."""
    for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
        place, rights, *_ = line.split()
        if rights.startswith("rw"):
            start, _, end = place.partition("-")
            yield int(start, 16), int(end, 16)


def _pieces(pid: int, region: tuple[int, int], overlap: int) -> Iterator[bytes]:
    """A region's bytes, piece by piece; each begins a little before where the last one ended."""
    start, end = region
    try:
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            while start < end:
                memory.seek(start)
                piece = memory.read(min(PIECE, end - start))
                yield piece
                if len(piece) < PIECE:
                    return
                start += PIECE - overlap
    except OSError:
        return  # not mapped any more, or not to be read by others
