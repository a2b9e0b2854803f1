"""A lead of the team: answers what its workers are held for, by a rule that each order decides."""

from __future__ import annotations

import asyncio
import json
import sys
from zlib import crc32

import remit


def say(at: str, approval: str) -> None:
    """What it looks at, and what it has answered."""
    print(json.dumps({"at": at, "approval": approval}), flush=True)


def verdict(request: remit.Review) -> str:
    """What it says: mostly yes."""
    if request.action == "control.halt":
        return "approve"
    shown = request.items[0].arguments or {}
    turn = crc32(f"{shown.get('order')} {request.operation}".encode()) % 8
    if turn == 4 and "euros" in shown:
        return "offer"
    return {1: "deny", 2: "pass_on", 3: "pass_on"}.get(turn, "approve")


async def answer(request: remit.Review) -> None:
    """Say it, also where the sidecar is away for a while."""
    said = verdict(request)
    while True:
        try:
            if said == "offer":
                await request.offer({"arguments": {"euros": 5}}, "five will do")
            else:
                await getattr(request, said)(f"I {said}")
            return
        except (remit.Denied, remit.IllegalState, remit.InvalidRequest):
            return  # somebody else was faster, or it is another request by now, which comes again
        except remit.Unavailable:
            await asyncio.sleep(0.1)


async def main(silent: bool) -> None:
    """Without end."""
    async with remit.Agent.connect() as lead:
        say("ready", "")
        async for request in lead.reviews():
            say("sees", request.approval)
            if silent:
                continue
            await asyncio.sleep(0.05)
            await answer(request)
            say("said", request.approval)


if __name__ == "__main__":
    asyncio.run(main("silent" in sys.argv))
