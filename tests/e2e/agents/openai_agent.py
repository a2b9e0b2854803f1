"""An agent written with OpenAI's client: chat and responses, at once and as a stream.

Arguments: "sync" or "async". Lines of stdin are its tasks, {"api", "stream", "cap", "headers"}; a line answers each.
"""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor

import openai

SAID = [{"role": "user", "content": "How is everything?"}]


def outcome(task, text, used):
    return {"cap": task["cap"], "text": text, "used": used}


def failure(task, error):
    return {"cap": task["cap"], "status": error.status_code, "code": error.code, "message": str(error)}


def chat_options(task):
    more = {"stream": True, "stream_options": {"include_usage": True}} if task["stream"] else {}
    headers = task.get("headers") or {}
    return {
        "model": task.get("model", "gpt-small"),
        "messages": SAID,
        "max_tokens": task["cap"],
        "extra_headers": headers,
        **more,
    }


def response_options(task):
    more = {"stream": True} if task["stream"] else {}
    headers = task.get("headers") or {}
    return {
        "model": task.get("model", "gpt-small"),
        "input": "How is everything?",
        "max_output_tokens": task["cap"],
        "extra_headers": headers,
        **more,
    }


def add(kept, part):
    """Keeps the text and the usage of a part of a stream."""
    if getattr(part, "type", "") == "response.output_text.delta":
        kept[0] += part.delta
    elif getattr(part, "type", "") == "response.completed":
        kept[1] = part.response.usage.output_tokens
    elif getattr(part, "choices", None):
        kept[0] += part.choices[0].delta.content or ""
    elif getattr(part, "usage", None):
        kept[1] = part.usage.completion_tokens


def whole(answer):
    if isinstance(answer, openai.types.responses.Response):
        return answer.output_text, answer.usage.output_tokens
    return answer.choices[0].message.content, answer.usage.completion_tokens


def run(client, task):
    create, options = (
        (client.chat.completions.create, chat_options)
        if task["api"] == "chat"
        else (client.responses.create, response_options)
    )
    try:
        answer = create(**options(task))
        if not task["stream"]:
            return outcome(task, *whole(answer))
        kept = ["", 0]
        for part in answer:
            add(kept, part)
        return outcome(task, *kept)
    except openai.APIStatusError as error:
        return failure(task, error)


async def run_async(client, task):
    create, options = (
        (client.chat.completions.create, chat_options)
        if task["api"] == "chat"
        else (client.responses.create, response_options)
    )
    try:
        answer = await create(**options(task))
        if not task["stream"]:
            return outcome(task, *whole(answer))
        kept = ["", 0]
        async for part in answer:
            add(kept, part)
        return outcome(task, *kept)
    except openai.APIStatusError as error:
        return failure(task, error)


async def all_async(tasks):
    async with openai.AsyncOpenAI() as client:
        return await asyncio.gather(*(run_async(client, task) for task in tasks))


def all_sync(tasks):
    with openai.OpenAI() as client, ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda task: run(client, task), tasks))


if __name__ == "__main__":
    given = [json.loads(line) for line in sys.stdin]
    done = asyncio.run(all_async(given)) if sys.argv[1] == "async" else all_sync(given)
    for each in done:
        print(json.dumps(each))
