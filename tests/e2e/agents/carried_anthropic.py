"""Anthropic's client, which sends OpenTelemetry's baggage by itself: nothing is instrumented."""

import anthropic
from carried import SAID, main


async def act(client, task):
    options = {"model": "claude-small", "messages": SAID, "max_tokens": task["cap"]}
    if not task["stream"]:
        return (await client.messages.create(**options)).content[0].text
    async with client.messages.stream(**options) as stream:
        return await stream.get_final_text()


if __name__ == "__main__":
    main(act, anthropic.AsyncAnthropic, instrumented=False)
