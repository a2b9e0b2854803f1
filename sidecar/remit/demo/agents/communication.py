"""The communication agent: has the model write the letter, and sends it by e-mail, or leaves it for a person."""

from __future__ import annotations

from remit.demo.agents.findings import Findings, prompt
from remit.demo.seam import Job, Powers, Refused, Result


async def tell(job: Job, powers: Powers) -> Result:
    """Tell a customer what was decided."""
    findings = Findings.read(powers.received.values["text"])
    end = {"customer": findings.customer, "outcome": findings.outcome}
    draft = await powers.ask("small", prompt("draft", findings.known), why="the letter's words")
    subject = f"Your {findings.known['product']}"
    try:
        await powers.send(findings.known["email"], subject, draft.values["text"], why=f"tell: {findings.outcome}")
    except Refused as refusal:
        details = {"customer": findings.customer, "outcome": "left for a person", "refused": list(refusal.codes)}
        knowing = [each for each in (powers.received.ref, draft.ref) if each]
        await powers.decide(
            f"leave {findings.customer} for a person",
            details,
            why=f"no e-mail: {refusal.codes[0]}",
            knowing=knowing,
        )
        return Result(end={**end, "told": "by a person", "codes": list(refusal.codes)})
    return Result(end={**end, "told": "by e-mail"})


JOBS = {"tell": tell}
