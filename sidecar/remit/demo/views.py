"""The second act's survey: an agent that has no access to the database asks in SQL, and sees its view."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from remit.demo.agents.attempts import ATTEMPTS, DESTRUCTIVE, Attempt
from remit.demo.children import Children, python
from remit.demo.evidence import Noted, addresses, decisions, told
from remit.demo.places import letters
from remit.demo.seam import Job
from remit.demo.with_remit import MAIL, Run, spoken

SURVEY, REGION = "survey", "south"
CRM = "dataset:crm"
SAMPLE = "SELECT id, name, email, income FROM customers"
_TOKEN = re.compile(r"^(tok_[A-Za-z0-9_-]+): ([0-9]+)$", re.MULTILINE)
_WHERE = re.compile(r"(line 1, column 1: [^.]*expected one SELECT[^.]*)\.")


async def survey(run: Run, children: Children, boarding: Sequence[Noted]) -> None:
    """What customers spend, and whatever else an agent may try; `boarding` is what the journal has of the boarding."""
    page = run.page
    page.say("Then the survey of what customers spend, by the same SQL. No agent can open the database: it asks Remit,")
    page.say("and sees a view of it. By hand, as the analysis agent:")
    before, asked = letters(run.layout.customers), len(await run.upstreams.prompts())
    command = ("query", "crm", SAMPLE, "--rows", "3", "--purpose", SURVEY)
    (end, workflow), sample, tried = await asyncio.gather(
        run.work(Job(SURVEY), why="survey what customers spend", purpose=SURVEY),
        run.sidecar.command(*command, who="analysis"),
        spoken(children, python("remit.demo.agents.curious"), run.sidecar.environment("analysis")),
    )
    run.workflows[SURVEY] = workflow
    page.show(f'remit query crm "{SAMPLE}" --rows 3 --purpose {SURVEY}', sample.text)
    records, prompts = await asyncio.gather(run.auditor.trace(workflow), run.upstreams.prompts())
    rows(run, end, records)
    joined(run, addresses(prompts, run.rows), prompts[asked:])
    await revealed(run)
    counted(run, before, records)
    probed(run, tried)
    await saw(run, boarding, records)


def rows(run: Run, end: Mapping[str, Any], records: Sequence[Noted]) -> None:
    """How many customers it was told of: by the agent, by the journal, by the database."""
    own = [row for row in run.rows if row["region"] == REGION]
    run.page.expect(
        "customers that the survey saw: those of the agent's own region",
        f"{end['customers']} of {len(run.rows)} ({', '.join(end['regions'])})",
        told(records) == [end["customers"]] == [len(own)] and end["regions"] == [REGION],
    )


def joined(run: Run, found: Sequence[str], prompts: Sequence[str]) -> None:
    """Two tables were joined by addresses that nobody saw: by what the agent told the model."""
    tokens = dict(pair for prompt in prompts for pair in _TOKEN.findall(prompt))
    run.page.expect(
        "e-mail addresses that the model provider was told; it got tokens, by which two tables had been joined",
        f"{len(found)}; {len(tokens)} tokens with the right sums",
        not found and sorted(map(int, tokens.values())) == spent(run.layout.customers),
    )


def spent(database: Path) -> list[int]:
    """What the region's customers spent, each, the least first."""
    statement = """
    SELECT sum(o.amount) AS spent FROM customers AS c JOIN orders AS o ON o.email = c.email
    WHERE c.region = ? GROUP BY c.id ORDER BY spent
    """
    with closing(sqlite3.connect(database)) as opened:
        return [amount for (amount,) in opened.execute(statement, (REGION,))]


async def revealed(run: Run) -> None:
    """A token becomes an address again on the way to the e-mail provider, and nowhere else."""
    inbox = await run.upstreams.inbox()
    sent = [each for each in await run.auditor.traces(run.workflows.values()) if each.sent]
    turned = [each for each in sent if each.body["sent"].get("revealed")]
    known = {row["email"] for row in run.rows}
    run.page.expect(
        "letters whose token the sidecar turned into an address on its way out; other calls where it did",
        f"{len(decisions(turned, target=MAIL))} of {len(inbox)}; {len(turned) - len(decisions(turned, target=MAIL))}",
        len(decisions(turned, target=MAIL)) == len(turned) == len(inbox) > 0
        and known >= {each["to"] for each in inbox},
    )


def counted(run: Run, before: Mapping[str, int], records: Sequence[Noted]) -> None:
    """A named write, asked for twice."""
    more = sorted(count - before[address] for address, count in letters(run.layout.customers).items())
    writes = [each.body["replayed"] for each in records if each.kind == "write"]
    run.page.expect(
        "a letter counted again, by a statement that the catalogue names, under the same key",
        f"{sum(more)} time for 1 letter",
        more[-2:] == [0, 1] and writes == [False, True],
    )


def probed(run: Run, tried: Mapping[str, Any]) -> None:
    """Guesses at what is not shown: no answer may tell a right one from a wrong one; the database's own do."""
    answers, refused = tried["answers"], str(tried["refused"])
    telling = [each for each in ATTEMPTS if len(set(answers[each.what])) > 1]
    bare = [each for each in ATTEMPTS if len({direct(run.layout.customers, each, it) for it in each.guesses}) > 1]
    run.page.expect(
        "guesses at hidden rows and masked columns whose answer told whether they were right",
        f"{len(telling)} of {len(ATTEMPTS)} (asked of the database itself: {len(bare)})",
        not telling and len(bare) == len(ATTEMPTS),
    )
    run.page.say(f"tried: {', '.join(each.what for each in ATTEMPTS)}")
    where = _WHERE.search(refused)
    run.page.expect(f"{DESTRUCTIVE}: refused, with what and where", where[1] if where else refused, met=bool(where))


def direct(database: Path, attempt: Attempt, guess: str | int) -> str:
    """What the database itself answers."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as opened:
        try:
            return json.dumps(opened.execute(attempt.statement, {"guess": guess}).fetchall())
        except sqlite3.Error as error:
            return str(error)


async def saw(run: Run, boarding: Sequence[Noted], records: Sequence[Noted]) -> None:
    """Who was told of, customer by customer, though the journal holds only hashes."""
    boarded, surveyed = ({each.id for each in decisions(those, target=CRM)} for those in (boarding, records))
    answers = await asyncio.gather(*(run.auditor.who("customers", row["id"]) for row in run.rows))
    by = dict(zip((row["id"] for row in run.rows), answers, strict=True))
    regional = {row["id"] for row in run.rows if row["region"] == REGION}
    in_survey = {id for id, seen in by.items() if seen & surveyed}
    run.page.expect(
        "asked of each customer, who saw it: the boarding saw all, the survey its region alone",
        f"{sum(bool(seen & boarded) for seen in by.values())} and {len(in_survey)} of {len(by)}",
        all(seen & boarded for seen in by.values()) and in_survey == regional,
    )
