"""An agent written with Anthropic's client: messages, at once and as a stream. Called as the other one is."""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor

import anthropic


def options(task):
    said = [{"role": "user", "content": "How is everything?"}]
    headers = task.get("headers") or {}
    return {
        "model": task.get("model", "claude-small"),
        "messages": said,
        "max_tokens": task["cap"],
        "extra_headers": headers,
    }


def outcome(task, message):
    return {"cap": task["cap"], "text": message.content[0].text, "used": message.usage.output_tokens}


def failure(task, error):
    return {"cap": task["cap"], "status": error.status_code, "code": error.type, "message": str(error)}


def run(client, task):
    try:
        if not task["stream"]:
            return outcome(task, client.messages.create(**options(task)))
        with client.messages.stream(**options(task)) as stream:
            return outcome(task, stream.get_final_message())
    except anthropic.APIStatusError as error:
        return failure(task, error)


async def run_async(client, task):
    try:
        if not task["stream"]:
            return outcome(task, await client.messages.create(**options(task)))
        async with client.messages.stream(**options(task)) as stream:
            return outcome(task, await stream.get_final_message())
    except anthropic.APIStatusError as error:
        return failure(task, error)


async def all_async(tasks):
    async with anthropic.AsyncAnthropic() as client:
        return await asyncio.gather(*(run_async(client, task) for task in tasks))


def all_sync(tasks):
    with anthropic.Anthropic() as client, ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda task: run(client, task), tasks))


if __name__ == "__main__":
    given = [json.loads(line) for line in sys.stdin]
    done = asyncio.run(all_async(given)) if sys.argv[1] == "async" else all_sync(given)
    for each in done:
        print(json.dumps(each))
