"""Agents without a line of Remit, with the environment of `remit env` alone: governed, metered, in their own workflows.

Their providers are local servers that answer as the real ones do; the first test shows that official clients understand
them without Remit.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import remit
from fakes.governed import AGENTS, TOKEN, Governed, Ran, bare_environment, run_agent, tool_server
from fakes.ports import free_port
from fakes.provider import CACHED, INPUT, KEYS, WORDS, Arrived, Provider, provider
from opentelemetry import context as otel
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from remit.cli.records import Entry

pytestmark = pytest.mark.opa

SAID = "".join(WORDS)
RUNS = 50
CAPS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
UNMODIFIED = ["openai_agent.py", "anthropic_agent.py", "langgraph_agent.py", "agents_sdk_agent.py", "mcp_agent.py"]
CARRIED = [
    "carried_openai.py instrument",
    "carried_openai.py client",
    "carried_anthropic.py",
    "carried_langgraph.py",
    "carried_agents_sdk.py",
]
LOOPS = [(program, how) for program in UNMODIFIED[2:4] for how in ("sync", "async", "stream")]
TALKS = [(program, how) for program in UNMODIFIED[:2] for how in ("sync", "async")]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Provider]:
    with provider() as running:
        yield running


@pytest.fixture(scope="module")
def tools() -> Iterator[str]:
    with tool_server(free_port()) as url:
        yield url


@pytest.fixture(scope="module")
def governed(upstream: Provider, tools: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    running = Governed(tmp_path_factory.mktemp("governed"), provider=upstream.url, tools=tools)
    yield running
    running.stop()


@pytest.fixture
def since(upstream: Provider, governed: Governed) -> Since:
    """What this test alone has caused."""
    return Since(upstream, governed)


class Since:
    """Requests and records from here on."""

    def __init__(self, upstream: Provider, governed: Governed) -> None:
        self._upstream, self._governed = upstream, governed
        self._requests, self._records = len(upstream.requests), len(governed.records())

    def requests(self) -> list[Arrived]:
        return self._upstream.requests[self._requests :]

    def records(self) -> list[Entry]:
        return self._governed.records()[self._records :]

    def calls(self) -> list[Entry]:
        """Decisions on calls that leave."""
        return [each for each in self.records() if each.kind == "decision" and each.body["action"] != "workflow.open"]

    def costs(self, decisions: Sequence[Entry]) -> list[int]:
        """What each decision's call really cost, in nanos. An agent may have its answer before a call is settled."""
        late = time.monotonic() + 15
        reports: list[Entry] = []
        while len(reports) < len(decisions) and time.monotonic() < late:
            time.sleep(0.05)
            reports = [each for each in self.records() if each.kind == "report"]
        found = {each.ref: each.body for each in reports}
        assert len(found) == len(reports), "a call was settled twice"
        settled = [found[each.id] for each in decisions]
        assert not [each for each in settled if each["state"] != "settled" or each["presumed"]], settled
        return [int(each["cost"]) for each in settled]


def cost(cap: int) -> int:
    """Nanos of a call with this cap, by the prices of the catalogue and the provider's rule."""
    return ((INPUT - CACHED) * 2 + CACHED * 1 + (cap - 50) * 8) * 1_000


def talks(program: str, caps: Sequence[int]) -> list[dict[str, Any]]:
    """Tasks of every kind that a client has: both APIs of OpenAI, whole and streamed."""
    apis = ("chat", "responses") if program.startswith("openai") else ("messages",)
    kinds = [(api, stream) for api in apis for stream in (False, True)]
    return [
        {"api": kinds[n % len(kinds)][0], "stream": kinds[n % len(kinds)][1], "cap": cap} for n, cap in enumerate(caps)
    ]


def run_all(environment: Mapping[str, str], program: str, how: str) -> Ran:
    tasks = talks(program, range(100, 104)) if (program, how) in TALKS else []
    ran = run_agent(environment, program, how, *([] if tasks else ["2"]), tasks=tasks)
    assert ran.code == 0, ran.err
    return ran


@pytest.mark.parametrize("program", UNMODIFIED)
def test_no_agent_knows_of_remit(program: str) -> None:
    """Else the tests below would show nothing."""
    assert "remit" not in (AGENTS / program).read_text().lower()


@pytest.mark.parametrize(("program", "how"), [*TALKS[::2], *LOOPS[2::3]])
def test_clients_understand_the_provider(upstream: Provider, program: str, how: str) -> None:
    """Without Remit, and with the real keys."""
    keys = {"OPENAI_API_KEY": KEYS["openai"], "ANTHROPIC_API_KEY": KEYS["anthropic"]}
    urls = {"OPENAI_BASE_URL": f"{upstream.url}/v1", "ANTHROPIC_BASE_URL": upstream.url}
    quiet = {"OPENAI_AGENTS_DISABLE_TRACING": "1"}

    said = run_all({**bare_environment(), **keys, **urls, **quiet}, program, how).said

    assert [each["text"] for each in said] == [SAID] * len(said)
    assert len(said) == (4 if (program, how) in TALKS else 2)


@pytest.mark.parametrize(("program", "how"), TALKS + LOOPS)
def test_an_agent_is_governed_and_answered_as_before(governed: Governed, since: Since, program: str, how: str) -> None:
    """Each request that arrives has a decision, the service's key instead of the agent's, and its real cost."""
    said = run_all(governed.environment, program, how).said

    assert [each["text"] for each in said] == [SAID] * len(said)
    requests, calls = since.requests(), since.calls()
    assert len(calls) == len(requests) == len(said) * (1 if (program, how) in TALKS else 2)
    assert {(each.subject, each.body["effect"]) for each in calls} == {("support", "ALLOW")}
    assert_nothing_of_ours(requests)
    caps = [next(request.body[name] for name in CAPS if name in request.body) for request in requests]
    assert sorted(since.costs(calls)) == sorted(cost(cap) for cap in caps)


@pytest.mark.parametrize(("program", "how"), TALKS)
def test_a_denial_is_an_error_that_clients_know_and_do_not_retry(
    governed: Governed, since: Since, program: str, how: str
) -> None:
    """One decision, nothing sent, and a message that says why."""
    tasks = [{**task, "model": "large"} for task in talks(program, range(100, 104))]
    ran = governed.run(program, how, tasks=tasks)

    assert ran.code == 0, ran.err
    assert [each["status"] for each in ran.said] == [403] * 4
    assert all("variant_not_listed" in each["message"] for each in ran.said), ran.said
    assert [each.body["effect"] for each in since.calls()] == ["DENY"] * 4
    assert since.requests() == []


@pytest.mark.parametrize(("program", "how"), TALKS)
def test_fifty_workflows_at_once_stay_apart_by_their_traces(
    governed: Governed, since: Since, program: str, how: str
) -> None:
    """An agent whose requests carry a trace id calls in the workflow that was opened with that trace."""
    tasks = talks(program, range(100, 100 + RUNS))
    for number, task in enumerate(tasks):
        task["headers"] = {"traceparent": f"00-{trace(program, how, number):032x}-{number + 1:016x}-01"}
    workflows = asyncio.run(open_workflows(governed, [trace(program, how, number) for number in range(RUNS)]))

    assert_apart(governed.run(program, how, tasks=tasks), since, workflows)


def test_a_call_in_another_workflow_is_seen(governed: Governed, since: Since) -> None:
    """The planted bug: two runs have each other's trace. The two tests beside this one would find it."""
    tasks = talks("openai_agent.py", range(100, 100 + RUNS))
    traces = [trace("planted", "", number) for number in range(RUNS)]
    for task, found in zip(tasks, [traces[1], traces[0], *traces[2:]], strict=True):
        task["headers"] = {"traceparent": f"00-{found:032x}-{1:016x}-01"}
    workflows = asyncio.run(open_workflows(governed, traces))

    with pytest.raises(AssertionError, match=workflows[0].id):
        assert_apart(governed.run("openai_agent.py", "async", tasks=tasks), since, workflows)


@pytest.mark.parametrize("program", CARRIED)
def test_fifty_workflows_at_once_stay_apart_by_their_headers(governed: Governed, since: Since, program: str) -> None:
    """An agent that says `with remit.workflow(…)`: its clients are instrumented, or one of ours, or send baggage."""
    workflows = asyncio.run(open_workflows(governed, [0] * RUNS))
    tasks = [
        {"context": workflow.context, "cap": 100 + number, "stream": number % 2 == 1}
        for number, workflow in enumerate(workflows)
    ]

    assert_apart(governed.run(*program.split(), tasks=tasks), since, workflows)


def assert_nothing_of_ours(requests: Sequence[Arrived]) -> None:
    """No provider learns a workflow's context, by header or baggage, nor an agent's credential."""
    for each in requests:
        text = json.dumps([each.path, dict(each.headers), each.body]).lower()
        assert "remit" not in text and TOKEN.lower() not in text, text


def assert_apart(ran: Ran, since: Since, workflows: Sequence[remit.Workflow]) -> None:
    """Each workflow has exactly its own call: the cost tells the cap, and the cap whose it is."""
    assert ran.code == 0, ran.err
    assert [each.get("text") for each in ran.said] == [SAID] * RUNS, ran.said
    calls = since.calls()
    found = dict(zip([each.workflow for each in calls], since.costs(calls), strict=True))
    assert_nothing_of_ours(since.requests())
    assert found == {workflow.id: cost(100 + number) for number, workflow in enumerate(workflows)}
    assert len(calls) == RUNS


def test_tools_of_an_mcp_server_are_governed(governed: Governed, since: Since) -> None:
    """The official client sees the tools that it may call, and an error for another one."""
    environment = {**governed.environment, "MCP_TOKEN": TOKEN}
    url = f"{governed.environment['REMIT_EGRESS']}/mcp/clock"

    ran = run_agent(environment, "mcp_agent.py", url, "add", '{"a": 1, "b": 2}')
    assert ran.code == 0, ran.err
    assert ran.said == [{"tools": ["add"]}, {"error": False, "text": ["3"]}]
    denied = run_agent(environment, "mcp_agent.py", url, "erase", '{"what": "all"}')
    assert denied.code == 0, denied.err
    assert denied.said[1]["error"] and "unknown_resource" in denied.said[1]["text"][0], denied.said
    calls = [(each.body["action"], each.body["resource"]["operation"], each.body["effect"]) for each in since.calls()]
    assert [each for each in calls if each[0] == "tool.call"] == [
        ("tool.call", "add", "ALLOW"),
        ("tool.call", "erase", "DENY"),
    ]


def trace(program: str, how: str, number: int) -> int:
    """A trace id of its own for each run."""
    return int.from_bytes(f"{program[:6]}{how[:4]}".encode().ljust(12, b"-")) << 32 | (number + 1)


async def open_workflows(governed: Governed, traces: Sequence[int]) -> list[remit.Workflow]:
    """As whoever starts runs of the agent does; a trace id of 0 is none."""
    async with remit.Agent.connect(governed.address, TOKEN) as agent:
        return [await _open(agent, trace_id) for trace_id in traces]


async def _open(agent: remit.Agent, trace_id: int) -> remit.Workflow:
    if not trace_id:
        return await agent.open_workflow(["support"])
    span = NonRecordingSpan(SpanContext(trace_id, 1, is_remote=True, trace_flags=TraceFlags(1)))
    token = otel.attach(set_span_in_context(span))
    try:
        return await agent.open_workflow(["support"])
    finally:
        otel.detach(token)
