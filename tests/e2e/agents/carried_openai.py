"""OpenAI's client. Argument: "instrument", or "client" for one of ours inside it."""

import sys

import openai
import remit
from carried import SAID, main


async def act(client, task):
    options = {"model": "gpt-small", "messages": SAID, "max_tokens": task["cap"]}
    if not task["stream"]:
        return (await client.chat.completions.create(**options)).choices[0].message.content
    parts = await client.chat.completions.create(**options, stream=True)
    return "".join([part.choices[0].delta.content or "" async for part in parts if part.choices])


def connect():
    if sys.argv[1] == "instrument":
        return openai.AsyncOpenAI()
    return openai.AsyncOpenAI(http_client=remit.async_httpx_client(timeout=60))


if __name__ == "__main__":
    main(act, connect, instrumented=sys.argv[1] == "instrument")
