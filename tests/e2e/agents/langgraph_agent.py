"""A LangGraph agent that looks the weather up with a tool.

Arguments: "sync", "async" or "stream", and how many at once.
"""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"It is sunny in {city}."


def graph():
    model = ChatOpenAI(model="gpt-small", max_tokens=120).bind_tools([weather])

    async def think_async(state):
        return {"messages": [await model.ainvoke(state["messages"])]}

    def think(state):
        return {"messages": [model.invoke(state["messages"])]}

    built = StateGraph(MessagesState)
    built.add_node("think", think_async if sys.argv[1] == "async" else think)
    built.add_node("tools", ToolNode([weather]))
    built.add_edge(START, "think")
    built.add_conditional_edges("think", tools_condition)
    built.add_edge("tools", "think")
    return built.compile()


def outcome(messages):
    last = messages[-1]
    return {
        "text": last.content,
        "steps": [each.type for each in messages],
        "used": (last.usage_metadata or {}).get("output_tokens", 0),
    }


def streamed(agent, asked):
    messages = list(asked["messages"])
    pieces = []
    for mode, part in agent.stream(asked, stream_mode=["updates", "messages"]):
        if mode == "messages":
            pieces.append(part[0].content)
        else:
            messages += [each for update in part.values() for each in update["messages"]]
    return {**outcome([_Asked, *messages[1:]]), "pieces": len(pieces)}


class _Asked:
    type = "human"


async def all_async(agent, asked, number):
    return await asyncio.gather(*(agent.ainvoke(asked) for _ in range(number)))


if __name__ == "__main__":
    how, number = sys.argv[1], int(sys.argv[2])
    agent, asked = graph(), {"messages": [("user", "How is the weather in Paris?")]}
    if how == "async":
        done = [outcome(each["messages"]) for each in asyncio.run(all_async(agent, asked, number))]
    elif how == "stream":
        done = [streamed(agent, asked) for _ in range(number)]
    else:
        with ThreadPoolExecutor(8) as pool:
            done = [outcome(each["messages"]) for each in pool.map(agent.invoke, [asked] * number)]
    for each in done:
        print(json.dumps(each))
