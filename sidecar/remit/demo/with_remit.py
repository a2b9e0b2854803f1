"""Act two: the same agents with Remit, from the first customer to the budget's end."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import remit
from remit.demo.children import PATIENCE, ChildFailed, Children, Worker, python
from remit.demo.evidence import (
    Auditor,
    Noted,
    arrived,
    billed,
    calls,
    decisions,
    leaks,
    metered,
)
from remit.demo.intake import Upstreams, onboard, start_agent, start_agents
from remit.demo.memory import look
from remit.demo.page import Page, euros
from remit.demo.places import PROVIDERS, Layout, customers
from remit.demo.seam import Job
from remit.demo.sidecar import Sidecar

PURPOSE = "onboarding"
AT_ONCE = 64
MAIL = "service:mail"
LARGE = "service:models/large"


@dataclass(slots=True)
class Run:
    """The second act's stage: who plays, and what was seen so far. `workflows` are ids by customer."""

    page: Page
    layout: Layout
    upstreams: Upstreams
    sidecar: Sidecar
    auditor: Auditor
    intake: remit.Agent
    workers: Mapping[str, Worker]
    newcomer: Worker
    rows: Sequence[Mapping[str, str]]
    workflows: dict[str, str] = field(default_factory=dict)
    ends: list[Mapping[str, Any]] = field(default_factory=list)

    async def work(self, job: Job, *, why: str, purpose: str = PURPOSE) -> tuple[Mapping[str, Any], str]:
        """Have the analysis agent do a job in a workflow of its own: how it ended, and the workflow's id."""
        async with remit.workflow(self.intake, purposes=[purpose], reason=why) as opened:
            result = await self.workers["analysis"].do(Job(job.kind, workflow=opened.context, count=job.count))
        return result.end, opened.id


async def with_remit(run: Run) -> list[Noted]:
    """Board the same customers; returns what the journal has of it."""
    page = run.page
    page.say(f"The same agents, customers and APIs; every action is asked of Remit first. {len(run.rows)} customers.")
    page.say(
        "Their calls leave through Remit's egress: official client, other base URL. The sidecar alone has the API keys."
    )
    for row in run.rows:
        # Opened and closed by somebody else than those who act in it: what one customer's workflow taught an agent
        # ends with it.
        async with remit.workflow(run.intake, purposes=[PURPOSE], reason=f"board {row['id']}") as opened:
            run.workflows[row["id"]] = opened.id
            run.ends.append(await onboard(run.workers, row["id"], opened.context))
    records = await run.auditor.traces(run.workflows.values())
    await variants(run, records)
    await flow(run, records)
    scoreless(run, records)
    explained(run, records)
    return records


async def variants(run: Run, records: Sequence[Noted]) -> None:
    """The expensive variant waits for an approval that nobody gave."""
    models, _ = await run.upstreams.books()
    refused = decisions(records, effect="HOLD", target=LARGE, code="approval_required")
    run.page.expect(
        "the expensive model refused for want of approval, and never reached",
        f"{len(refused)} × approval_required, {calls(models, 'large')} calls of large",
        bool(refused) and calls(models, "large") == 0,
    )
    parents = {each.parent for each in refused}
    cheaper = [
        each for each in decisions(records, effect="ALLOW", target="service:models/small") if each.parent in parents
    ]
    run.page.expect(
        "the agent took the cheaper variant that the refusal named",
        f"{len(cheaper)} of {len(refused)} times",
        len(cheaper) == len(refused),
    )
    told = [each for each in run.workers["analysis"].told if each.endswith(f" [{refused[0].id}]")] if refused else []
    named = [
        each
        for each in run.workers["analysis"].told
        if each.startswith("PermissionDenied") and "Cheaper: small" in each
    ]
    run.page.expect(
        "how the official client told the agent: openai.PermissionDeniedError, with the cheaper variant named",
        f"{len(named)} of {len(refused)}",
        len(named) == len(refused) > 0,
    )
    run.page.say(*told[:1] or ["(nothing)"])


async def flow(run: Run, records: Sequence[Noted]) -> None:
    """What was read decides where its reader may write to."""
    _, mail = await run.upstreams.books()
    inbox = await run.upstreams.inbox()
    credit = {row["email"] for row in run.rows if row["product"] == "credit"}
    found = leaks(inbox, run.rows)
    refused = decisions(records, effect="DENY", target=MAIL, code="flow_label_exceeds_clearance")
    page = run.page
    page.expect("account and tax numbers that reached the e-mail provider", len(found), not found and bool(inbox))
    page.expect(
        "letters stopped on their way analysis → decision → communication → e-mail, as the labels came along",
        f"{len(refused)} × flow_label_exceeds_clearance, for {len(credit)} credit customers",
        len(refused) == len(credit) > 0 and all("pii" in each.body["facts"]["labels"] for each in refused),
    )
    page.say(f"the way to the e-mail provider: {_chain(refused)}")
    told = {message["to"] for message in inbox}
    others = {row["email"] for row in run.rows} - credit
    page.expect(
        "letters to everybody else went out, one each",
        f"{len(mail)} of {len(others)}",
        told == others and len(mail) == len(others),
    )
    left = [end for end in run.ends if end["told"] == "by a person"]
    page.expect("the others were left for a person, not lost", len(left), len(left) == len(credit))


def _chain(refused: Sequence[Noted]) -> str:
    links = refused[0].body["facts"]["chain"] if refused else []
    return " → ".join(f"{link['service']} (owner {link['owner']})" for link in links)


def scoreless(run: Run, records: Sequence[Noted]) -> None:
    """A rule of the demo's own: an approval rests on a score."""
    talked = [row["id"] for row in run.rows if "pre-approved" in row["note"]]
    refused = decisions(records, effect="DENY", code="score_missing")
    told = [end["customer"] for end in run.ends if end["outcome"] == "review" and end["customer"] in talked]
    run.page.expect(
        "the customer whose file says pre-approved: refused by the custom rule, and set aside for review",
        f"{len(refused)} × score_missing by {refused[0].body['reasons'][0]['policy'] if refused else 'nobody'}",
        len(refused) == len(talked) > 0 and told == talked,
    )


def explained(run: Run, records: Sequence[Noted]) -> None:
    """Every outcome has its reason, and leads back to what was known."""
    made = [each for each in decisions(records, effect="ALLOW") if each.body["action"] == "decision.make"]
    outcomes = [each for each in made if each.argument("outcome") in ("approve", "refuse", "review")]
    known = {each.id for each in records}
    whole = [
        each
        for each in outcomes
        if isinstance(each.body["context"]["reason"], str)
        and each.body["context"]["inputs"]
        and known.issuperset(each.body["context"]["inputs"])
    ]
    run.page.expect(
        "outcomes with their reason, and the actions whose results were known, in the journal",
        f"{len(whole)} of {len(run.rows)}",
        len(whole) == len(outcomes) == len(run.rows),
    )
    if refused := [each for each in whole if each.argument("outcome") == "refuse"]:
        one = refused[0]
        run.page.say(f"why was {one.argument('customer')} refused? {one.body['context']['reason']};")
        run.page.say(f"known then: {', '.join(one.argument('available'))}")


async def accounts(run: Run) -> None:
    """Every call is one permission, and what was metered is what was billed."""
    models, mail = await run.upstreams.books()
    bill, meter = billed(models, mail), metered(await run.sidecar.metrics())
    run.page.expect(
        "metered by Remit (remit_cost_total) and billed by the providers, by variant, to the nano",
        "; ".join(f"{name} {euros(meter[name])} = {euros(bill[name])}" for name in sorted(meter | bill)),
        bool(bill) and meter == bill,
    )
    records = await run.auditor.traces(run.workflows.values())
    sent = Counter(each.sent for each in decisions(records, effect="ALLOW") if each.sent)
    received = Counter(arrived(entry) for entry in (*models, *mail))
    run.page.expect(
        "requests in the providers' books, each with an ALLOW of its own in the journal for exactly these bytes",
        f"{(sent & received).total()} of {received.total()}",
        sent == received and bool(received),
    )
    settled = [each.body for each in records if each.kind == "report" and each.body.get("metered")]
    whole = [each for each in settled if each["state"] == "settled" and not each["presumed"] and not each["claimed"]]
    run.page.expect(
        "calls settled by what their answers said; an agent's word lowers nothing",
        f"{len(whole)} of {received.total()}",
        len(whole) == len(settled) == received.total(),
    )


async def keyless(run: Run) -> None:
    """The keys are the sidecar's; what an agent has opens nothing but the sidecar's door."""
    keys = {provider: run.layout.key(provider).read_text(encoding="ascii") for provider in PROVIDERS}
    data = {"database": run.layout.customers.name, "address": "@example.com"}
    found = {}
    for name, worker in run.workers.items():
        own = {"own": (run.layout.credentials / name).read_text(encoding="ascii")}
        found[name] = await asyncio.to_thread(look, worker.pid, keys | own | data)
    with_key = [
        name for name, each in found.items() if any(each.environment[key] + each.memory[key] for key in PROVIDERS)
    ]
    controlled = all(each.environment["own"] and each.memory["own"] for each in found.values())
    looked = sum(each.looked for each in found.values()) >> 20
    run.page.expect(
        "agents that hold an API key, in their environment or memory (their own credential for Remit is found there)",
        f"{len(with_key)} of {len(found)}, {looked} MiB looked at",
        not with_key and controlled,
    )
    knowing = [name for name, each in found.items() if any(each.environment[one] + each.memory[one] for one in data)]
    run.page.expect(
        "agents that know where the database is, or that hold any e-mail address, after all that they did",
        f"{len(knowing)} of {len(found)}",
        not knowing and controlled,
    )


async def past(run: Run, children: Children) -> None:
    """An agent in the analysis agent's environment that calls the providers at their own addresses."""
    before = await run.upstreams.books()
    environment = run.sidecar.environment("analysis")
    command = python("remit.demo.agents.stray", run.upstreams.models, run.upstreams.mail)
    answers = await spoken(children, command, environment)
    run.page.expect(
        "an agent that leaves Remit out and calls the providers itself, with all that it has",
        ", ".join(f"{provider}: {answer}" for provider, answer in answers.items()),
        all(answers[provider].startswith("401 ") for provider in PROVIDERS) and await run.upstreams.books() == before,
    )


async def spoken(children: Children, command: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """The line of JSON that a process of `python(…)` ends with; its log is named after its module."""
    name = command[2].rpartition(".")[2]
    process = await children.talk(name, command, environment)
    output, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    if process.returncode != 0:
        raise ChildFailed(f"the {name} agent ended with {process.returncode} (log: {children.log(name)})")
    said: dict[str, Any] = json.loads(output)
    return said


async def budget(run: Run) -> None:
    """64 calls at once, and a budget that has room for fewer."""
    end, workflow = await run.work(Job("screen", count=AT_ONCE), why="screen the day's payments")
    run.workflows["screening"] = workflow
    models, _ = await run.upstreams.books()
    screens = [entry for entry in models if entry["variant"] == "screen"]
    row = next(each for each in await run.auditor.budgets() if each.id == "screening")
    price = screens[0]["nanos"] if screens else 1
    fits = row.limit // price
    run.page.expect(
        f"{AT_ONCE} calls at once against a budget of {euros(row.limit)} at {euros(price)} each: those that went out",
        f"{len(screens)} = {euros(row.limit)} / {euros(price)}",
        len(screens) == fits == end.get("done") and row.limit == fits * price,
    )
    records = await run.auditor.trace(workflow)
    refused = decisions(records, effect="DENY", code="budget_exhausted")
    run.page.expect(
        "the rest refused",
        f"{len(refused)} × budget_exhausted",
        len(refused) == end.get("budget_exhausted") == AT_ONCE - fits,
    )
    run.page.expect(
        "the budget landed exactly at its limit",
        f"spent {euros(row.spent)}, held {euros(row.held)}",
        row.spent == row.limit and row.held == 0,
    )


async def observed(run: Run) -> None:
    """An agent in `mode: observe` does as it likes, and one sees what would have become of it."""
    async with remit.workflow(run.intake, purposes=[PURPOSE], reason="watch a new agent") as opened:
        await run.newcomer.do(Job("onboard", run.rows[0]["id"], opened.context))
    await run.newcomer.leave()
    models, _ = await run.upstreams.books()
    let_through = {each.sent for each in decisions(await run.auditor.trace(opened.id), effect="HOLD", target=LARGE)}
    sent = [entry for entry in models if entry["variant"] == "large" and arrived(entry) in let_through]
    meter = metered(await run.sidecar.metrics())["models/large"]
    billed_large = sum(entry["nanos"] for entry in sent)
    run.page.expect(
        "a new agent in mode observe asks for the expensive model: judged and metered the same, and let through",
        f"{len(let_through)} HOLD, {len(sent)} call, {euros(meter)}",
        len(let_through) == len(sent) == 1 and meter == billed_large,
    )


async def stage(page: Page, layout: Layout, children: Children, upstreams: Upstreams, sidecar: Sidecar) -> Run:
    """Everybody who plays in the second act. The intake is still to be entered."""
    environments = {name: sidecar.environment(name) for name in ("analysis", "decision", "communication")}
    workers, newcomer = await asyncio.gather(
        start_agents(children, "governed", environments),
        start_agent(children, ("newcomer", "analysis", "governed"), sidecar.environment("newcomer")),
    )
    token = (layout.credentials / "olga").read_text(encoding="ascii")
    return Run(
        page=page,
        layout=layout,
        upstreams=upstreams,
        sidecar=sidecar,
        auditor=Auditor(sidecar.grpc, token),
        intake=remit.Agent.connect(
            sidecar.grpc, (layout.credentials / "intake").read_text(encoding="ascii"), name="intake"
        ),
        workers=workers,
        newcomer=newcomer,
        rows=customers(layout.customers),
    )
