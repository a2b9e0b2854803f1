"""An agent of the OpenAI Agents SDK, instrumented."""

from agents import Agent, ModelSettings, Runner
from carried import SAID, main


async def act(_, task):
    settings = ModelSettings(max_tokens=task["cap"])
    agent = Agent(name="Answerer", instructions="Answer.", model="gpt-small", model_settings=settings)
    if not task["stream"]:
        return (await Runner.run(agent, SAID[0]["content"])).final_output
    result = Runner.run_streamed(agent, SAID[0]["content"])
    async for _event in result.stream_events():
        pass
    return result.final_output


if __name__ == "__main__":
    main(act)
