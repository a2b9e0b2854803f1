"""An agent that says for which workflow it calls: the surroundings are carried to its clients.

Argument: how. "instrument" and "client" are OpenAI's client, instrumented or with one of ours inside; "langgraph" and
"agents_sdk" are instrumented frameworks; "baggage" is Anthropic's client, which sends OpenTelemetry's baggage itself.
Lines of stdin are its tasks, {"context", "cap", "stream"}; a line answers each.
"""

import asyncio
import json
import sys
from contextlib import nullcontext

import anthropic
import openai
import remit
from agents import Agent, ModelSettings, Runner
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

SAID = [{"role": "user", "content": "How is everything?"}]


async def with_openai(client, task):
    options = {"model": "gpt-small", "messages": SAID, "max_tokens": task["cap"]}
    if not task["stream"]:
        return (await client.chat.completions.create(**options)).choices[0].message.content
    parts = await client.chat.completions.create(**options, stream=True)
    return "".join([part.choices[0].delta.content or "" async for part in parts if part.choices])


async def with_anthropic(client, task):
    options = {"model": "claude-small", "messages": SAID, "max_tokens": task["cap"]}
    if not task["stream"]:
        return (await client.messages.create(**options)).content[0].text
    async with client.messages.stream(**options) as stream:
        return await stream.get_final_text()


async def with_langgraph(_, task):
    model = ChatOpenAI(model="gpt-small", max_tokens=task["cap"])

    # A node without `async` runs in a thread of the framework's own.
    def think(state):
        if task["stream"]:
            return {"messages": ["".join(part.content for part in model.stream(state["messages"]))]}
        return {"messages": [model.invoke(state["messages"])]}

    built = StateGraph(MessagesState)
    built.add_node("think", think)
    built.add_edge(START, "think")
    return (await built.compile().ainvoke({"messages": SAID}))["messages"][-1].content


async def with_agents_sdk(_, task):
    settings = ModelSettings(max_tokens=task["cap"])
    agent = Agent(name="Answerer", instructions="Answer.", model="gpt-small", model_settings=settings)
    if not task["stream"]:
        return (await Runner.run(agent, SAID[0]["content"])).final_output
    result = Runner.run_streamed(agent, SAID[0]["content"])
    async for _event in result.stream_events():
        pass
    return result.final_output


WAYS = {
    "instrument": (with_openai, openai.AsyncOpenAI),
    "client": (with_openai, lambda: openai.AsyncOpenAI(http_client=remit.async_httpx_client(timeout=60))),
    "langgraph": (with_langgraph, nullcontext),
    "agents_sdk": (with_agents_sdk, nullcontext),
    "baggage": (with_anthropic, anthropic.AsyncAnthropic),
}


async def run(act, client, task):
    with remit.workflow(context=task["context"]):
        await asyncio.sleep(0)  # the others have begun as well
        return {"cap": task["cap"], "text": await act(client, task)}


async def every(tasks, how):
    act, connect = WAYS[how]
    with nullcontext() if how in ("client", "baggage") else remit.instrument():
        async with connect() as client:
            return await asyncio.gather(*(run(act, client, task) for task in tasks))


if __name__ == "__main__":
    given = [json.loads(line) for line in sys.stdin]
    for each in asyncio.run(every(given, sys.argv[1])):
        print(json.dumps(each))
