"""Agents that say for which workflow they call: what they share.

Lines of stdin are their tasks, {"context", "cap", "stream"}; a line answers each.
"""

import asyncio
import json
import sys
from contextlib import nullcontext

import remit

SAID = [{"role": "user", "content": "How is everything?"}]


async def run(act, client, task):
    with remit.workflow(context=task["context"]):
        await asyncio.sleep(0)  # the others have begun as well
        return {"cap": task["cap"], "text": await act(client, task)}


async def every(act, connect, instrumented):
    tasks = [json.loads(line) for line in sys.stdin]
    with remit.instrument() if instrumented else nullcontext():
        async with connect() as client:
            return await asyncio.gather(*(run(act, client, task) for task in tasks))


def main(act, connect=nullcontext, instrumented=True):
    for each in asyncio.run(every(act, connect, instrumented)):
        print(json.dumps(each))
