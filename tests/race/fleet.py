"""Members of one installation in processes of their own, which are killed, begin again, and lose their disks."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from fakes.commits import SECOND
from fakes.store_postgres import Installation
from race.books import answered, recorded, wrong_books, wrong_end
from race.reaching import Child, start, told

HOLD_SECONDS = 1
MOST = 1_000_003
LOOK_SECONDS = 0.15
SWEPT_SECONDS = 10.0
"""How long a hold may outlive its deadline on a machine that has other things to do; the promise is one second."""

_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


@dataclass
class Member:
    """One that is started again and again. `said` is all that its processes have told so far."""

    name: str
    directory: Path
    subjects: tuple[str, ...]
    allotments: bool = True
    mutant: str = ""
    child: Child | None = None
    said: list[str] = field(default_factory=list)


@dataclass
class Fleet:
    """`limit` is that of every row. `wrong` is what was seen to be wrong while the members were at work."""

    installation: Installation
    place: Path
    limit: int
    seed: int = 0
    pause: float = 0.03
    members: dict[str, Member] = field(default_factory=dict)
    gone: dict[str, tuple[int, str]] = field(default_factory=dict)  # answered, and lost with a disk
    wrong: list[str] = field(default_factory=list)
    looks: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    _names: Iterator[str] = field(default_factory=lambda: (f"m{n}" for n in range(10**6)))

    @property
    def limits(self) -> Mapping[str, int]:
        """By budget."""
        return {"all": self.limit, "each": self.limit}

    def add(self, *subjects: str, allotments: bool = True, mutant: str = "") -> Member:
        """One more, with a disk of its own; not started."""
        name = next(self._names)
        member = Member(name, self.place / name, subjects, allotments, mutant)
        member.directory.mkdir()
        self.members[name] = member
        return member

    async def run(self, *members: Member) -> None:
        """Start those that do not run (all, if none is named), and wait until they spend."""
        for each in members or self.members.values():
            if each.child is None:
                self.seed += 1
                spec = {
                    "name": each.name,
                    "directory": str(each.directory),
                    "subjects": each.subjects,
                    "allotments": each.allotments,
                    "mutant": each.mutant,
                    "limit": self.limit,
                    "most": MOST,
                    "hold": HOLD_SECONDS,
                    "pause": self.pause,
                    "seed": self.seed,
                }
                each.child = await start("spender.py", told(self.installation, **spec))
        await asyncio.gather(*(each.child.ready() for each in members or self.members.values() if each.child))

    async def kill(self, member: Member) -> None:
        """kill -9."""
        assert member.child is not None
        await member.child.kill()
        self.kills["members"] += 1
        self._heard(member)

    async def lose(self, member: Member) -> Member:
        """Kill it, and lose its disk and what it had not shipped; another takes its place, with a new log."""
        await self.kill(member)
        self.kills["disks"] += 1
        there = recorded(self.installation)
        decisions, _ = answered(member.said)
        for id, (amount, log) in decisions.items():
            if id not in there:
                self.gone[id] = (amount, log)
                if log == f"log_{member.name}":
                    self.wrong.append(f"answered by PostgreSQL but not recorded: {id}")
        await asyncio.to_thread(shutil.rmtree, member.directory)
        return self.add(*member.subjects, allotments=member.allotments, mutant=member.mutant)

    async def kill_postgres(self, *, seconds: float) -> None:
        """kill -9 of every process of the server, which is away for so long."""
        self.kills["postgres"] += 1
        await asyncio.to_thread(self.installation.server.kill)
        await asyncio.sleep(seconds)  # not waiting for something: it is away
        await asyncio.to_thread(self.installation.server.start)

    async def terminate(self) -> None:
        """End all in good order."""
        running = [each for each in self.members.values() if each.child is not None]
        await asyncio.gather(*(each.child.terminate() for each in running if each.child))
        for each in running:
            self._heard(each)

    async def watch(self, seconds: float) -> None:
        """Look at the books for so long, whoever is away meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with suppress(psycopg.OperationalError):
                self.wrong += wrong_books(self.installation.owner, self.limits)
                self.looks += 1
            await asyncio.sleep(LOOK_SECONDS)

    async def swept(self) -> None:
        """Wait until no hold is a second past its deadline any more."""
        end = time.monotonic() + SWEPT_SECONDS
        stuck = """SELECT decision, subject, allotted, l.lease > clock_timestamp() FROM remit.reservation r
                   LEFT JOIN remit.log l ON l.name = r.allotted WHERE state = 'held' AND deadline < %s"""
        while found := self.installation.rows(stuck, [time.time_ns() - SECOND]):
            if time.monotonic() > end:
                self.wrong.append(f"stuck past their deadlines: {found}")
                return
            await asyncio.sleep(0.1)

    def findings(self) -> list[str]:
        """Everything that is wrong, when all have ended in good order."""
        wrong = self.wrong + wrong_books(self.installation.owner, self.limits) + wrong_end(self.installation, before=0)
        there = recorded(self.installation)
        # What agents were told they may spend, as far as it was not ended at less; and what was lost with disks.
        asked = "SELECT decision, CASE state WHEN 'held' THEN amount ELSE spent END FROM remit.reservation"
        spent = {id: int(amount) for id, amount in self.installation.rows(asked)}
        for member in self.members.values():
            decisions, ends = answered(member.said)
            wrong += [
                f"answered but not recorded: {id} of {log}"
                for id, (_, log) in decisions.items()
                if id not in there and id not in self.gone
            ]
            spent |= {id: ends.get(id, amount) for id, (amount, _) in decisions.items() if id in self.gone}
        if sum(spent.values()) > self.limit:
            wrong.append(f"overspent: {sum(spent.values())} was granted and not given back, of {self.limit}")
        (deadlocks,) = self.installation.rows(_DEADLOCKS)[0]
        wrong += [f"{deadlocks} deadlocks"] if deadlocks else []
        alive = [each.name for each in self.members.values() if each.child is not None]
        asked = "SELECT log FROM remit.allotment UNION ALL SELECT log FROM remit.home"
        mine = {log for name in alive for _, log in answered(self.members[name].said)[0].values()}
        wrong += [f"{log} has given back not everything" for (log,) in self.installation.rows(asked) if log in mine]
        return wrong

    def _heard(self, member: Member) -> None:
        assert member.child is not None
        member.said += member.child.lines
        member.child.lines.clear()
        if member.child.process.returncode is not None and member.child.process.returncode < 0:
            member.child = None
