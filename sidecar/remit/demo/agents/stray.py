"""An agent that leaves Remit out: in an agent's environment, it calls the providers at their own addresses.

    python -m remit.demo.agents.stray MODELS MAIL

It shows what it has, its credential for Remit. Prints a line of JSON: what each provider answered.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

import httpx2
from openai import APIStatusError, AsyncOpenAI


async def main(models: str, mail: str) -> None:
    """Try both, and tell."""
    print(json.dumps({"models": await ask(models), "mail": await send(mail)}))


async def ask(models: str) -> str:
    """What the official client raises, or "served"."""
    client = AsyncOpenAI(base_url=f"{models}/v1", max_retries=0)
    async with client:
        try:
            await client.chat.completions.create(model="small", messages=[{"role": "user", "content": "task: score"}])
        except APIStatusError as refused:
            return f"{refused.status_code} {type(refused).__name__}"
    return "served"


async def send(mail: str) -> str:
    """The status that a message is answered with, or "served"."""
    letter = {"to": "anybody@example.com", "subject": "hello", "text": "sent past Remit"}
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}) as client:
        answer = await client.post(f"{mail}/messages", json=letter)
    return f"{answer.status_code} {answer.reason_phrase}" if answer.is_error else "served"


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
