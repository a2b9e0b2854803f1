"""An agent with OpenAI's client that says for which workflow it calls: its own clients carry the surroundings.

Arguments: "instrument" or "client". Lines of stdin are its tasks, {"context", "cap", "stream"}; a line is its answer.
"""

import asyncio
import json
import sys
from contextlib import nullcontext

import openai
import remit


async def run(client, task):
    with remit.workflow(context=task["context"]):
        await asyncio.sleep(0)  # the others have begun as well
        said = [{"role": "user", "content": "How is everything?"}]
        options = {"model": "gpt-small", "messages": said, "max_tokens": task["cap"]}
        if not task["stream"]:
            answer = await client.chat.completions.create(**options)
            return {"cap": task["cap"], "text": answer.choices[0].message.content}
        parts = await client.chat.completions.create(**options, stream=True)
        text = [part.choices[0].delta.content or "" async for part in parts if part.choices]
        return {"cap": task["cap"], "text": "".join(text)}


async def every(tasks, how):
    http = {"http_client": remit.async_httpx_client(timeout=60)} if how == "client" else {}
    with remit.instrument() if how == "instrument" else nullcontext():
        async with openai.AsyncOpenAI(**http) as client:
            return await asyncio.gather(*(run(client, task) for task in tasks))


if __name__ == "__main__":
    given = [json.loads(line) for line in sys.stdin]
    for each in asyncio.run(every(given, sys.argv[1])):
        print(json.dumps(each))
