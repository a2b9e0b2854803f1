"""The decision agent: approves, refuses or sets aside, says why, and tells the communication agent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from remit.demo.agents.findings import Findings
from remit.demo.seam import Job, Powers, Refused, Result

LOW, HIGH = 40, 70


async def decide(job: Job, powers: Powers) -> Result:
    """Decide on findings."""
    findings = Findings.read(powers.received.values["text"])
    try:
        outcome = await _decided(powers, findings, *_verdict(findings))
    except Refused as refusal:
        outcome = await _decided(powers, findings, "review", f"may not approve: {refusal.codes[0]}")
    told = replace(findings, known={**findings.known, "outcome": outcome}, outcome=outcome)
    return Result(await powers.pass_on("communication", told.text(), why=f"to be told: {outcome}"))


def _verdict(findings: Findings) -> tuple[str, str]:
    if findings.risk is None:
        return "approve", "the file says pre-approved"
    if findings.risk < LOW:
        return "approve", f"risk {findings.risk} is below {LOW}"
    if findings.risk >= HIGH:
        return "refuse", f"risk {findings.risk} is {HIGH} or more"
    return "review", f"risk {findings.risk} is neither low nor high"


async def _decided(powers: Powers, findings: Findings, outcome: str, why: str) -> str:
    details: dict[str, Any] = {"customer": findings.customer, "outcome": outcome, "available": sorted(findings.known)}
    if findings.risk is not None:
        details["risk"] = findings.risk
    knowing = [each for each in (*findings.evidence, powers.received.ref) if each]
    await powers.decide(f"{outcome} {findings.customer}", details, why=why, knowing=knowing)
    return outcome


JOBS = {"decide": decide}
