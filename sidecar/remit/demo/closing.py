"""The end: the tree of decisions, the budgets, the journal verified, and a flipped byte found."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from remit.demo.evidence import decisions
from remit.demo.page import Page
from remit.demo.sidecar import Answered, Sidecar
from remit.demo.with_remit import Run

STORE = "state.db"
_SCORE = re.compile(rb'"risk":([0-9])')


class NothingToFlip(Exception):
    """No record is fit for the experiment."""


@dataclass(frozen=True, slots=True)
class Flipped:
    """Which record was changed, and what in it."""

    sequence: int
    before: str
    after: str


async def shown(run: Run) -> None:
    """What a person sees who asks the running sidecar."""
    page, sidecar = run.page, run.sidecar
    customer = next((end["customer"] for end in run.ends if end["told"] == "by a person"), run.rows[0]["id"])
    subject = f"customers:{customer}"
    tree, who, budgets, records = await asyncio.gather(
        sidecar.command("trace", run.workflows[customer]),
        sidecar.command("audit", "who", "--subject", subject),
        sidecar.command("budget", "list"),
        run.auditor.trace(run.workflows[customer]),
    )
    page.heading(f"4 · What happened with {customer}, and why")
    page.show(f"remit trace {run.workflows[customer]}", tree.text)
    parts = ("analysis", "decision", "communication", "approval_required", "flow_label_exceeds_clearance")
    named = [part for part in parts if part in tree.output]
    page.expect(
        "the tree names the three agents, the refused variant and the stopped letter",
        f"{len(named)} of {len(parts)}",
        tree.code == 0 and len(named) == len(parts),
    )
    page.show(f"remit audit who --subject {subject}", who.text)
    answers = [each.id for each in decisions(records, target="dataset:crm")]
    page.expect(
        f"who saw {customer}: the answers that the tree shows, and no other",
        f"{who.output.count(' d_')} of {len(answers)}",
        bool(answers) and who.output.count(" d_") == len(answers) and all(id in who.output for id in answers),
    )
    page.show("remit budget list", budgets.text)
    rows = {each.id for each in await run.auditor.budgets()}
    missing = sorted(name for name in rows if name not in budgets.output)
    page.expect(
        "budgets listed", f"{len(rows) - len(missing)} of {len(rows)}", budgets.code == 0 and bool(rows) and not missing
    )


async def verified(page: Page, sidecar: Sidecar, root: Path, key: str) -> None:
    """The journal as it is, and a copy with one byte changed; `key` was pinned at the start. The sidecar has ended."""
    page.heading("5 · The journal tells of any change")
    copy = copied(root)
    flipped = flip(copy / STORE)
    sound, broken = await asyncio.gather(verify(sidecar, root, key), verify(sidecar, copy, key))
    page.show("remit audit verify", sound.text)
    page.expect(
        "the journal, checked with the pinned key",
        "authentic" if "authentic" in sound.output else f"exit code {sound.code}",
        sound.code == 0 and "authentic" in sound.output,
    )
    page.say(f"in a copy, a score in record {flipped.sequence}: one byte, {flipped.before} → {flipped.after}")
    page.show(f"remit audit verify --state {copy.name}", broken.text)
    found = re.search(rf"\b{flipped.sequence}\b", broken.text) is not None
    page.expect(
        "the flipped byte found, and the record named",
        f"exit code {broken.code}, record {flipped.sequence if found else 'not named'}",
        broken.code == 1 and found,
    )


async def verify(sidecar: Sidecar, state: Path, key: str) -> Answered:
    """`remit audit verify` on a state directory, with the pinned key."""
    return await sidecar.command("audit", "verify", "--state", str(state), "--key", key)


def copied(root: Path) -> Path:
    """A directory with a copy of the store."""
    copy = root / "tampered"
    copy.mkdir(mode=0o700)
    for path in root.glob(f"{STORE}*"):
        shutil.copy2(path, copy / path.name)
    return copy


def flip(store: Path) -> Flipped:
    """Change one bit of a recorded score, in the file itself. Raises NothingToFlip."""
    content = bytearray(store.read_bytes())
    for sequence, body in _bodies(store):
        score = _SCORE.search(body)
        if score is None or content.count(body) != 1:
            continue
        place = content.index(body) + score.start(1)
        before = chr(content[place])
        content[place] ^= 1
        store.write_bytes(content)
        return Flipped(sequence, before, chr(content[place]))
    raise NothingToFlip(f"{store}: no record with a score lies in one piece in the file")


def _bodies(store: Path) -> list[tuple[int, bytes]]:
    with closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)) as opened:
        return opened.execute("SELECT sequence, body FROM journal WHERE body IS NOT NULL ORDER BY sequence").fetchall()
