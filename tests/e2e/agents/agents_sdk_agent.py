"""An agent written with the OpenAI Agents SDK, with a tool.

Arguments: "sync", "async" or "stream", and how many at once.
"""

import asyncio
import json
import sys

from agents import Agent, ModelSettings, Runner, function_tool


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"It is sunny in {city}."


AGENT = Agent(
    name="Weather",
    instructions="Look it up.",
    model="gpt-small",
    tools=[weather],
    model_settings=ModelSettings(max_tokens=120),
)
ASKED = "How is the weather in Paris?"


def outcome(result):
    usage = result.context_wrapper.usage
    return {"text": result.final_output, "used": usage.output_tokens, "requests": usage.requests}


async def streamed():
    result = Runner.run_streamed(AGENT, ASKED)
    kinds = [event.type async for event in result.stream_events()]
    return {**outcome(result), "pieces": kinds.count("raw_response_event")}


async def several(number, how):
    if how == "stream":
        return await asyncio.gather(*(streamed() for _ in range(number)))
    return [outcome(each) for each in await asyncio.gather(*(Runner.run(AGENT, ASKED) for _ in range(number)))]


if __name__ == "__main__":
    how, number = sys.argv[1], int(sys.argv[2])
    done = (
        [outcome(Runner.run_sync(AGENT, ASKED)) for _ in range(number)]
        if how == "sync"
        else asyncio.run(several(number, how))
    )
    for each in done:
        print(json.dumps(each))
