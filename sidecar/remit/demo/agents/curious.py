"""An agent that wants to know what it is not shown: in an agent's environment, it asks Remit in ways that would tell.

    python -m remit.demo.agents.curious

Each attempt is asked with a guess that is right and with one that is wrong. Prints a line of JSON: what each was
answered, and what a statement that is no SELECT was.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import remit
from remit.demo.agents.attempts import ATTEMPTS, DESTRUCTIVE

DATASET, PURPOSE = "crm", "survey"


async def main() -> None:
    """Try all, and tell."""
    async with remit.Agent.connect() as agent:
        answers = {
            each.what: [await said(agent, each.statement, {"guess": guess}) for guess in each.guesses]
            for each in ATTEMPTS
        }
        print(json.dumps({"answers": answers, "refused": await said(agent, DESTRUCTIVE, {})}))


async def said(agent: remit.Agent, statement: str, parameters: Mapping[str, str | int]) -> str:
    """The rows, or the error without its decision's id, which is another each time."""
    try:
        rows = await agent.query(statement, dataset=DATASET, parameters=parameters, purpose=PURPOSE)
    except remit.Denied as denied:
        return denied.message
    except remit.DataFailed as failed:
        return failed.message
    return str(list(rows))


if __name__ == "__main__":
    asyncio.run(main())
