"""The analysis agent: reads a customer, has the model score the risk, tells the decision agent; it also surveys."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine

from remit.demo.agents.findings import Findings, prompt
from remit.demo.seam import Job, Learnt, NoAnswer, Powers, Refused, Result

BASIC = "SELECT name, email, region, product FROM customers WHERE id = :id"
PRIVATE = "SELECT iban, tax_number, income, note FROM customers WHERE id = :id"
SPENT = """
SELECT c.email, c.region, sum(o.amount) AS spent
FROM customers AS c JOIN orders AS o ON o.email = c.email
GROUP BY c.email, c.region ORDER BY spent DESC
"""
PREFERRED = "large"
SHORTCUT = "pre-approved"
AT_ONCE = 64


async def onboard(job: Job, powers: Powers) -> Result:
    """Score one customer. A credit needs the private columns too."""
    named = {"id": job.customer}
    basic = await powers.query(BASIC, named, why="who asks, and for which product")
    known, evidence = dict(basic.first), [basic.ref]
    if known["product"] == "credit":
        private = await powers.query(PRIVATE, named, why="a credit needs account, tax number and income")
        known |= private.first
        evidence.append(private.ref)
    risk = None
    # The agent believes what it reads, as language models do: a note in the data talks it out of its job.
    if SHORTCUT not in known.get("note", ""):
        score = await best(powers, prompt("score", known), why=f"the risk of a {known['product']}")
        risk = int(score.values["text"].split()[0].removeprefix("risk="))
        evidence.append(score.ref)
    findings = Findings(job.customer, known, risk, tuple(evidence))
    return Result(await powers.pass_on("decision", findings.text(), why="scored, for a decision"))


async def best(powers: Powers, words: str, *, why: str) -> Learnt:
    """Ask the model that the agent likes best; where that is refused, the cheaper one that the refusal names."""
    try:
        return await powers.ask(PREFERRED, words, why=why)
    except Refused as refusal:
        if not refusal.cheaper:
            raise
        return await powers.ask(refusal.cheaper, words, why=why)


async def survey(job: Job, powers: Powers) -> Result:
    """See what customers spend, thank the one who spends most, and count the letter."""
    found = await powers.query(SPENT, {}, why="what customers spend")
    spent = {row["email"]: row["spent"] for row in found.rows}
    thanks = await powers.ask("small", prompt("thank", spent), why="words for who spends most")
    address = found.first["email"]
    await powers.send(address, "Thank you", thanks.values["text"], why="spends most")
    # Twice, as whoever did not get the first answer would.
    for _ in range(2):
        await powers.write("count_letter", {"email": address}, key="thank-you", why="one letter more")
    return Result(end={"regions": sorted({row["region"] for row in found.rows}), "customers": len(found.rows)})


async def screen(job: Job, powers: Powers) -> Result:
    """Screen so many payments, all at once: a loop that got out of hand."""
    calls = [
        powers.ask("screen", prompt("screen", {"payment": str(number)}), why=f"payment {number} against the lists")
        for number in range(job.count)
    ]
    return Result(end=_tally(await asyncio.gather(*(_outcome(each) for each in calls))))


async def rescore(job: Job, powers: Powers) -> Result:
    """Score so many old customers again, 64 at a time; once nobody answers, no more is asked."""
    gate, silent = asyncio.Semaphore(AT_ONCE), asyncio.Event()

    async def one(number: int) -> str:
        async with gate:
            if silent.is_set():
                return "not asked"
            words = prompt("rescore", {"name": f"old customer {number}", "product": "account"})
            outcome = await _outcome(powers.ask("small", words, why=f"old customer {number} again"))
            if outcome == "no answer":
                silent.set()
            return outcome

    return Result(end=_tally(await asyncio.gather(*(one(number) for number in range(job.count)))))


async def _outcome(call: Coroutine[None, None, Learnt]) -> str:
    try:
        await call
    except Refused as refusal:
        return refusal.codes[0]
    except NoAnswer:
        return "no answer"
    return "done"


def _tally(outcomes: list[str]) -> dict[str, int]:
    return dict(Counter(outcomes))


JOBS = {"onboard": onboard, "survey": survey, "screen": screen, "rescore": rescore}
