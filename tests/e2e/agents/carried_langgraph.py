"""A graph of LangGraph, instrumented."""

from carried import SAID, main
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph


async def act(_, task):
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


if __name__ == "__main__":
    main(act)
