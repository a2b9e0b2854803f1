"""kill -9 of whole sidecars on one PostgreSQL, and of PostgreSQL: nothing answered is lost, nothing overspent."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest
from counts import COUNTS, PROFILE, SEED, dice
from fakes.commits import EUR, SECOND
from fakes.members_stage import durable_installation
from fakes.store_postgres import SIDECAR, Installation, open_store
from race.books import recorded, wrong_books, wrong_end
from running import Answered, ask_until_dead, kill, prepare, start, stub, terminate
from target import CATALOGUE, TOKEN

pytestmark = [pytest.mark.crash, pytest.mark.timeout(0 if PROFILE == "soak" else 300)]
TARGET = Path(__file__).with_name("member_target.py")
NAMES = ("one", "two")
TOKENS = dict(zip(NAMES, (TOKEN, "tok-second"), strict=True))
SECOND_AGENT = f"""
  second: {{team: cx, roles: [worker], purposes: [work], clearance: [pii],
           identity: {{token_hash: "sha256:{sha256(b"tok-second").hexdigest()}"}}}}
services:"""
"""An agent of its own for each sidecar: the session of one that both decide for is at home in neither."""
CALLERS = 8
LIMITS = {"total": 6 * EUR, "each-agent": 5 * EUR}
HOLD_SECONDS = 2
LATE_SECONDS = 8.0
"""Beyond the second that is promised: what a machine with other things to do may need."""
AHEAD = """SELECT count(*) FROM remit.journal j JOIN remit.log l ON l.name = j.log
           WHERE l.kind = 'local' AND j.kind = 'decision'"""


@pytest.fixture(scope="module", name="durable")
def durable_fixture() -> Iterator[Installation]:
    """On a server of this file's own: a sidecar takes none that may lose what was committed."""
    with durable_installation() as made:
        yield made


def made(installation: Installation, place: Path, *names: str) -> list[Path]:
    """A directory for each sidecar."""
    password = place / "password"
    password.write_text(installation.passwords[SIDECAR])
    password.chmod(0o600)
    member = {"url": installation.url(), "password_file": str(password), "keys": str(place / "keys")}
    directories = [place / name for name in names]
    for directory in directories:
        directory.mkdir()
        catalogue = CATALOGUE.replace("limit: 3", "limit: 6").replace("limit: 2.5", "limit: 5")
        prepare(directory, catalogue.replace("\nservices:", SECOND_AGENT))
        (directory / "member.json").write_text(json.dumps(member))
    return directories


async def one_round(
    installation: Installation, directories: list[Path], answered: Answered, random: Random, mutant: str = ""
) -> None:
    """Start all, load, kill each at a moment of its own; sometimes PostgreSQL as well."""
    processes = await asyncio.gather(*(start(each, mutant, target=TARGET) for each in directories))
    blows = [random.uniform(0.3, 1.5) for _ in directories]

    async def story(directory: Path, process: asyncio.subprocess.Process, seconds: float) -> None:
        async with stub(directory) as client:
            proof = (("authorization", f"Bearer {TOKENS[directory.name]}"),)
            asking = [ask_until_dead(client, answered, report_every=2 + n % 3, metadata=proof) for n in range(CALLERS)]
            callers = [asyncio.create_task(each) for each in asking]
            await asyncio.sleep(seconds)  # not waiting for something: this is when the blow falls
            await kill(process)
            await asyncio.gather(*callers)

    stories = [story(*each) for each in zip(directories, processes, blows, strict=True)]
    if PROFILE == "soak" and random.random() < 0.3:
        stories.append(_kill_postgres(installation, random.uniform(0.1, 1.0)))
    await asyncio.gather(*stories)


async def _kill_postgres(installation: Installation, after: float) -> None:
    await asyncio.sleep(after)  # not waiting for something: this is when the blow falls
    await asyncio.to_thread(installation.server.kill)
    await asyncio.to_thread(installation.server.start)


async def violations(installation: Installation, directories: list[Path], answered: Answered) -> list[str]:
    """What does not hold once all have begun again and were given time for every deadline."""
    found = wrong_books(installation.owner, LIMITS)
    processes = await asyncio.gather(*(start(each, target=TARGET) for each in directories))
    found += wrong_books(installation.owner, LIMITS)
    end = time.monotonic() + HOLD_SECONDS + LATE_SECONDS
    held = "SELECT count(*) FROM remit.reservation WHERE state = 'held'"
    while installation.rows(held) != [(0,)] and time.monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    found += wrong_books(installation.owner, LIMITS) + wrong_end(installation, before=time.time_ns() - SECOND)
    assert [await terminate(each) for each in processes] == [0 for _ in processes]
    there = recorded(installation)
    found += [f"answered but not recorded: {id}" for id in answered.effects if id not in there]
    found += wrong_books(installation.owner, LIMITS) + wrong_end(installation, before=0)
    store = await open_store(installation, "auditor")
    found += [f"journal: {each.log}: {each.problems}" for each in await store.verify() if not each.ok]
    await store.close()
    return found


async def attack(installation: Installation, place: Path, random: Random, rounds: int) -> tuple[Answered, list[str]]:
    """So many rounds on one state of each; what was answered, and what was violated."""
    directories, answered = made(installation, place, *NAMES), Answered()
    for _ in range(rounds):
        await one_round(installation, directories, answered, random)
    return answered, await violations(installation, directories, answered)


def test_nothing_answered_is_lost_whenever_sidecars_are_killed(durable: Installation, tmp_path: Path) -> None:
    """Of two that decide ahead: each answered decision is in a verified journal, budgets hold, and holds have ended."""
    random, rounds = dice("kill members"), max(1, COUNTS.member_kills // 5)
    for story in range(0, rounds, 10):
        durable.empty()
        place = tmp_path / str(story)
        place.mkdir()
        answered, found = asyncio.run(attack(durable, place, random, min(10, rounds - story)))
        ahead = durable.rows(AHEAD)[0][0]
        print(f"{len(answered.effects)} answered, {ahead} recorded ahead of PostgreSQL")
        assert answered.effects and ahead, "nothing was answered ahead of PostgreSQL: the harness proves nothing"
        assert found == [], SEED


def test_the_harness_finds_a_sidecar_that_answers_first(durable: Installation, tmp_path: Path) -> None:
    """A planted bug, answering before the commit, loses answered decisions at a kill."""
    random = dice("kill members that answer first")
    for attempt in range(5):
        durable.empty()
        place = tmp_path / str(attempt)
        place.mkdir()
        answered = Answered()
        asyncio.run(one_round(durable, made(durable, place, "one"), answered, random, "answers_first"))
        if set(answered.effects) - recorded(durable):
            return

    pytest.fail(f"every answered decision was recorded, of {len(answered.effects)} in the last attempt")
