"""What people wait for at a desk whose journal has a million records: answers of gRPC, and pages of the console."""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import requests
from fakes.desk_grown import multiply
from fakes.store_postgres import DESK, Installation
from remit.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    oversight_pb2,
    oversight_pb2_grpc,
    resources_pb2,
    sidecar_pb2,
    sidecar_pb2_grpc,
)

from bench.installation import Agent, environment, installation, member
from bench.load import Figures, figures, median
from bench.places import READY_SECONDS, REMIT, TOKEN, free_port, ready, started_up
from bench.rows import Row
from bench.scale import QUESTION, USED

RECORDS = 1_000_000
BUDGETS = 2_000
STEPS = 20
SOME = 1_000
"""Copies of which those that are looked at are chosen: of the last days."""

RPC_MS, PAGE_MS = 50, 200
PERSON = (("authorization", f"Bearer {TOKEN}"),)


def measure(stack: ExitStack, directory: Path, *, rounds: int, calls: int) -> list[Row]:
    """Fill an installation, start a desk at it, and look at it page by page."""
    installed = stack.enter_context(installation())
    workflow, decisions = _story(installed, directory)
    copies = RECORDS // (2 * STEPS + 1)
    records = multiply(installed, workflow, copies=copies, budget="each-agent", rows=BUDGETS)
    looks = stack.enter_context(_desk(installed, directory, workflow, decisions))
    taken: dict[str, list[Figures]] = {name: [] for name in looks}
    for _ in range(rounds):
        for name in random.sample(list(looks), len(looks)):
            taken[name].append(_timed(looks[name], calls))
    note = f"{records} records, {BUDGETS} rows of budgets"
    return [_row(name, median(each), note) for name, each in taken.items()]


def _row(name: str, found: Figures, note: str) -> Row:
    aim = RPC_MS if name.startswith("rpc") else PAGE_MS
    return Row(f"desk_{name}_p50", found.p50, "ms", "the aim", found.p50 / aim, f"p99 {found.p99:.0f} ms; {note}")


def _timed(look: Callable[[], None], calls: int) -> Figures:
    look()
    latencies = []
    for _ in range(calls):
        started = time.perf_counter()
        look()
        latencies.append(time.perf_counter() - started)
    return figures(latencies, sum(latencies))


def _story(installed: Installation, directory: Path) -> tuple[str, list[str]]:
    """One workflow with its decisions and reports, as a sidecar makes them; the ids."""
    agent = Agent(0, 0)
    with member(directory, "first", installed, agents=10) as remit, grpc.insecure_channel(remit.address) as channel:
        client = sidecar_pb2_grpc.SidecarStub(channel)
        opening = sidecar_pb2.OpenWorkflowRequest(purposes=["measure"], agents=["a0-0"])
        opened = client.OpenWorkflow(opening, metadata=agent.credential)
        question = sidecar_pb2.AuthorizeRequest()
        question.CopyFrom(QUESTION)
        question.context.workflow = opened.context
        question.context.purpose = ""
        decisions: list[str] = []
        for _ in range(STEPS):
            question.context.parent = decisions[-1] if decisions else ""
            decision = client.Authorize(question, metadata=agent.credential).decision
            assert decision.effect == resources_pb2.EFFECT_ALLOW, decision
            decisions.append(decision.id)
            report = sidecar_pb2.ReportRequest(
                decision=decision.id, outcome=resources_pb2.OUTCOME_SUCCEEDED, usage=USED
            )
            client.Report(report, metadata=agent.credential)
    return opened.workflow, decisions


@contextmanager
def _desk(
    installed: Installation, directory: Path, workflow: str, decisions: list[str]
) -> Iterator[Mapping[str, Callable[[], None]]]:
    """A desk, and the ways to look at it."""
    web, rpc = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    catalogue = directory / "first" / "remit.yaml"
    command = [REMIT, "desk", "--catalogue", catalogue, "--state", directory / "desk", "--http", web, "--grpc", rpc]
    with (directory / "desk.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, **environment(directory, installed, role=DESK)}
        )
    try:
        started_up(process, lambda: ready(f"http://{web}/readyz"), directory / "desk.log")
        with grpc.insecure_channel(rpc) as channel, requests.Session() as browser:
            _sign_in(browser, f"http://{web}")
            yield {**_rpcs(channel, workflow), **_pages(browser, f"http://{web}", workflow, decisions)}
    finally:
        process.terminate()
        process.wait(READY_SECONDS)


def _sign_in(browser: requests.Session, base: str) -> None:
    (csrf,) = re.findall(r'name="csrf" value="([^"]+)"', browser.get(f"{base}/sign-in", timeout=20).text)
    form = {"csrf": csrf, "next": "/", "token": TOKEN}
    browser.post(f"{base}/sign-in", data=form, headers={"Origin": base}, timeout=20).raise_for_status()


def _rpcs(channel: grpc.Channel, workflow: str) -> Mapping[str, Callable[[], None]]:
    audit, oversight = audit_pb2_grpc.AuditStub(channel), oversight_pb2_grpc.OversightStub(channel)

    def trace() -> None:
        answer = audit.Trace(audit_pb2.TraceRequest(workflow=_one_of(workflow), limit=100), metadata=PERSON)
        assert len(answer.records) > STEPS, answer

    def budgets() -> None:
        answer = oversight.ListBudgets(oversight_pb2.ListBudgetsRequest(), metadata=PERSON)
        assert answer.truncated, len(answer.budgets)  # the first page of them

    return {"rpc_trace": trace, "rpc_budgets": budgets}


def _pages(
    browser: requests.Session, base: str, workflow: str, decisions: list[str]
) -> Mapping[str, Callable[[], None]]:
    paths: Mapping[str, Callable[[], str]] = {
        "overview": lambda: "/",
        "budgets": lambda: "/budgets",
        "budget": lambda: "/budget?id=month&scope=",
        "workflows": lambda: "/workflows",
        "workflow": lambda: f"/workflows/{_one_of(workflow)}",
        "decisions": lambda: "/decisions",
        "decision": lambda: f"/decisions/{_one_of(random.choice(decisions))}",
        "approvals": lambda: "/approvals",
        "open_ends": lambda: "/open-ends",
        "halts": lambda: "/halts",
    }

    def look(path: Callable[[], str]) -> Callable[[], None]:
        def get() -> None:
            answer = browser.get(base + path(), timeout=20, allow_redirects=False)
            assert answer.status_code == 200, (answer.url, answer.status_code, answer.text[:400])

        return get

    return {f"page_{name}": look(path) for name, path in paths.items()}


def _one_of(id: str) -> str:
    return f"{id}{random.randrange(1, SOME):06x}"
