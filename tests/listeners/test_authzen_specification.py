"""The examples of AuthZEN 1.0, and the requests of its certification scenario, played over HTTP."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.loop import in_loop
from fakes.pep_fake import FakePipeline
from remit.core.answer import Answer
from remit.core.authzen import CONFIGURATION, EVALUATIONS, write_answer
from remit.core.call import Call
from remit.core.model import Subject
from remit.core.obligation import Obligation
from remit.listeners import authzen_read
from ruamel.yaml import YAML

from .authzen_stage import HELD, Reply, Users, staged

CASES = Path(__file__).parents[1] / "cases" / "authzen"


def read(name: str) -> Any:
    return YAML(typ="safe").load((CASES / name).read_text("utf-8"))


SPECIFICATION, CERTIFICATION = read("specification.yaml"), read("certification.yaml")


class Judge(FakePipeline):
    """Decides by a function of who asks what."""

    def __init__(self, judge: Any) -> None:
        super().__init__()
        self.judge = judge

    async def authorize(self, subject: Subject, call: Call, wait: int = 0) -> Answer:
        self.asked.append((subject, call))
        return self._decide(subject, call.action, allowed=self.judge(subject.id, call))


def by_the_examples(who: str, call: Call) -> bool:
    return (call.resource.type, call.resource.id) != ("document", "2")


def by_the_scenario(who: str, call: Call) -> bool:
    """Its rules 1 to 5, 7 and 8."""
    match who, call.action, call.claimed.arguments:
        case _, "write", {"status": "archived"}:
            return False
        case "alice", "read" | "write", _:
            return True
        case "bob", "read", _:
            return True
        case "alice", "delete", {"soft": bool(soft)}:
            return soft
    return False


def is_decision(value: Any) -> bool:
    """Whether a value has the shape of a decision (5.5)."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("decision"), bool)
        and isinstance(value.get("context", {}), dict)
    )


def check(case: Any, reply: Reply) -> None:
    """That a reply is what a case wants."""
    want = case["want"]
    assert reply.status == want["status"], reply.raw
    if "decision" in want:
        assert is_decision(reply.body)
        assert reply.body["decision"] is want["decision"]
    if "decisions" in want:
        assert reply.body.keys() == {"evaluations"}
        assert all(map(is_decision, reply.body["evaluations"]))
        assert [each["decision"] for each in reply.body["evaluations"]] == want["decisions"]


@pytest.mark.parametrize("case", SPECIFICATION["requests"], ids=lambda case: case["source"])
def test_the_examples_of_the_specification(case: Any) -> None:
    """Each request is answered as the specification says, under the request's id."""

    @in_loop
    async def run() -> None:
        async with staged(Judge(by_the_examples), Users()) as stage:
            id = "bfe9eb29-ab87-4ca3-be83-a1d5d8305716"
            reply = await stage.send(
                case["request"], case["path"], token="token-of-alice@example.com", headers={"X-Request-ID": id}
            )
            check(case, reply)
            if reply.status == 200:
                assert reply.headers["x-request-id"] == id
                wanted = case["want"].get("decisions", [True])
                errors = [each for each in reply.body.get("evaluations", []) if "error" in each["context"]]
                assert len(stage.pipeline.asked) == len(wanted) - len(errors)

    run()


@pytest.mark.parametrize("case", SPECIFICATION["responses"], ids=lambda case: case["source"])
def test_what_is_checked_of_answers_holds_for_the_examples(case: Any) -> None:
    """The shape that our answers are held to is that of the specification's own."""
    response = case["response"]
    assert all(map(is_decision, response.get("evaluations", [response])))


@in_loop
async def test_the_metadata_of_the_specification() -> None:
    """Under the name that it is told, the example's document; what is not served has no endpoint there."""
    example = SPECIFICATION["configuration"]["response"]
    async with staged(base="https://pdp.example.com") as stage:
        reply = await stage.send(b"", CONFIGURATION, method="GET", token="", headers={"Host": "pdp.example.com"})
        assert reply.status == 200
        assert reply.body["policy_decision_point"] == example["policy_decision_point"]
        assert reply.body["access_evaluation_endpoint"] == example["access_evaluation_endpoint"]
        assert reply.body["access_evaluations_endpoint"] == "https://pdp.example.com/access/v1/evaluations"
        assert [name for name in reply.body if "search" in name] == []


@pytest.mark.parametrize("case", CERTIFICATION["requests"], ids=lambda case: case["source"])
def test_the_requests_of_the_certification_scenario(case: Any) -> None:
    """As that page wants it, except where the case says why not."""
    request = case["request"]
    first = [request, *request.get("evaluations", [])]
    asked = next((each["subject"] for each in first if "subject" in each), {})
    name = asked.get("id", "alice") if isinstance(asked, dict) else "alice"

    @in_loop
    async def run() -> None:
        async with staged(Judge(by_the_scenario), Users()) as stage:
            replies = [await stage.send(request, case["path"], token=f"token-of-{name}") for _ in range(2)]
            for reply in replies:
                check(case, reply)
                if reply.status != 200:
                    assert stage.pipeline.asked == []

    run()


PAGE = (Path(__file__).parents[2] / "docs" / "authzen.md").read_text("utf-8")
EXAMPLES = [json.loads(each) for each in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


@in_loop
async def test_the_requests_of_the_page_are_answered() -> None:
    """docs/authzen.md shows requests that are read without a remark."""
    asked = [each for each in EXAMPLES if "subject" in each]
    assert len(asked) == 2
    async with staged() as stage:
        for each in asked:
            reply = await stage.send(each, EVALUATIONS)
            assert [one["decision"] for one in reply.body.get("evaluations", [reply.body])] in ([True], [True, True])
        assert stage.pipeline.asked[0][1].claimed.arguments == {"to": "eu"}


def test_the_answer_of_the_page_is_what_is_written() -> None:
    """The HOLD that the page shows is one to the letter."""
    assert [each for each in EXAMPLES if "decision" in each] == [write_answer(HELD, "EUR")]


def test_the_tables_of_the_page_are_complete() -> None:
    """Every part of a context that is read or written is on the page, and no other one."""
    tables = re.findall(r"\| in (?:the answer's )?`context` \|.*?\n\n", PAGE, re.DOTALL)
    first = [[row.split("|")[1] for row in table.splitlines() if row.startswith("| `")] for table in tables]
    asked, answered = ({name for cell in cells for name in re.findall(r"`(\w+)`", cell)} for cells in first)
    source = inspect.getsource(authzen_read)
    everything = replace(
        HELD,
        enforced=False,
        retryable=True,
        replayed=True,
        alternative={"arguments": {}},
        obligations=(Obligation("log", {}),),
        deadline=1,
    )

    assert asked == set(re.findall(r'context\.get\("(\w+)"', source))
    assert answered == set(write_answer(everything, "EUR")["context"]) | {"error"}
