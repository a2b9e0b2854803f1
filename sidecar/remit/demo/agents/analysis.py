"""The analysis agent: reads a customer, has the model score the risk, tells the decision agent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine

from remit.demo.agents.findings import Findings, prompt
from remit.demo.seam import Job, Learnt, NoAnswer, Powers, Refused, Result

BASIC = ("name", "email", "region", "product")
PRIVATE = ("iban", "tax_number", "income", "note")
PREFERRED = "large"
SHORTCUT = "pre-approved"
AT_ONCE = 64


async def onboard(job: Job, powers: Powers) -> Result:
    """Score one customer. A credit needs the private columns too."""
    basic = await powers.read(job.customer, BASIC, why="who asks, and for which product")
    known, evidence = dict(basic.values), [basic.ref]
    if known["product"] == "credit":
        private = await powers.read(job.customer, PRIVATE, why="a credit needs account, tax number and income")
        known |= private.values
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


JOBS = {"onboard": onboard, "screen": screen, "rescore": rescore}
