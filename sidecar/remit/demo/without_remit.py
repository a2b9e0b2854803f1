"""Act one: the agents without Remit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from remit.demo.children import Children
from remit.demo.evidence import addresses, billed, calls, leaks
from remit.demo.intake import AGENTS, Upstreams, onboard, start_agents
from remit.demo.memory import look
from remit.demo.page import Page, euros, masked
from remit.demo.places import PROVIDERS, Layout, customers, letters
from remit.demo.seam import Job

AT_ONCE = 64


async def without(page: Page, layout: Layout, children: Children, upstreams: Upstreams) -> None:
    """Board every customer with nothing in between, and look at what became of it."""
    page.heading("1 · Without Remit")
    keys = {provider: layout.key(provider).read_text(encoding="ascii") for provider in PROVIDERS}
    own = {
        "OPENAI_BASE_URL": f"{upstreams.models}/v1",
        "OPENAI_API_KEY": keys["models"],
        "MAIL_URL": upstreams.mail,
        "MAIL_API_KEY": keys["mail"],
        "CRM_DATABASE": str(layout.customers),
    }
    workers = await start_agents(children, "straight", dict.fromkeys(AGENTS, own))
    rows = customers(layout.customers)
    page.say(
        f"{len(AGENTS)} agents board {len(rows)} customers; then one surveys them, and screens {AT_ONCE} payments."
    )
    for row in rows:
        await onboard(workers, row["id"], "")
    before, asked = letters(layout.customers), len(await upstreams.prompts())
    await workers["analysis"].do(Job("survey"))
    prompts = (await upstreams.prompts())[asked:]
    await workers["analysis"].do(Job("screen", count=AT_ONCE))
    models, mail = await upstreams.books()
    inbox = await upstreams.inbox()
    spent(page, models, mail)
    leaked(page, inbox, rows)
    surveyed(page, prompts, rows)
    repeated(page, before, letters(layout.customers))
    unexplained(page, models, mail)
    secrets = keys | {"database": str(layout.customers)}
    await holding(page, [worker.pid for worker in workers.values()], secrets)
    await asyncio.gather(*(worker.leave() for worker in workers.values()))


def spent(page: Page, models: Sequence[Mapping[str, Any]], mail: Sequence[Mapping[str, Any]]) -> None:
    """By the third parties' own bills."""
    bill = billed(models, mail)
    large, screens = calls(models, "large"), calls(models, "screen")
    page.expect("spent, by the providers' own bills", euros(bill.total()), bill.total() > 0)
    page.expect(
        "the analysis agent took the expensive model for every score, and nobody was asked",
        f"{large} calls of large, {euros(bill['models/large'])}",
        large > 0,
    )
    page.expect(
        "a loop that got out of hand was paid in full",
        f"{screens} calls at once, {euros(bill['models/screen'])}",
        screens == AT_ONCE,
    )


def leaked(page: Page, inbox: Sequence[Mapping[str, str]], rows: Sequence[Mapping[str, str]]) -> None:
    """By what lies in the e-mail provider's inbox."""
    found = leaks(inbox, rows)
    page.expect(
        "account and tax numbers that now lie with the e-mail provider",
        f"{len(found)} in {len({to for to, _ in found})} of {len(inbox)} messages",
        len(found) > 0,
    )
    if found:
        to, secret = found[0]
        page.say(f"one of them, to {to}: {masked(secret)}")
    talked = [row for row in rows if "pre-approved" in row["note"]]
    approved = {message["to"] for message in inbox if "glad to approve" in message["text"]}
    page.expect(
        "a sentence in a customer's file talked the agents into a credit that nobody scored",
        ", ".join(row["id"] for row in talked if row["email"] in approved) or "none",
        bool(talked) and all(row["email"] in approved for row in talked),
    )


def surveyed(page: Page, prompts: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    """By what the model provider was sent."""
    found = addresses(prompts, rows)
    page.expect(
        "e-mail addresses that the survey, which opened the database itself, told the model provider",
        f"{len(found)} of {len(rows)}",
        len(found) == len(rows) > 0,
    )


def repeated(page: Page, before: Mapping[str, int], after: Mapping[str, int]) -> None:
    """By what the database says."""
    times = sum(after.values()) - sum(before.values())
    page.expect(
        "a letter counted again, as if the first answer had been lost", f"{times} times for 1 letter", times == 2
    )


def unexplained(page: Page, models: Sequence[Mapping[str, Any]], mail: Sequence[Mapping[str, Any]]) -> None:
    """By what the third parties can say of their callers, which is all that there is."""
    entries = [*models, *mail]
    keys = [{entry["key"] for entry in book} for book in (models, mail)]
    page.expect(
        "nobody can say which agent did what, for whom and why",
        f"{len(entries)} calls; each provider knows {max(map(len, keys))} key, which all agents share",
        bool(entries) and [len(each) for each in keys] == [1, 1],
    )


async def holding(page: Page, pids: Sequence[int], secrets: Mapping[str, str]) -> None:
    """By what the kernel shows of each agent; this is also how it is looked at with Remit."""
    found = [await asyncio.to_thread(look, pid, dict(secrets)) for pid in pids]
    having = sum(all(each.environment.values()) and all(each.memory.values()) for each in found)
    page.expect(
        "agents that hold the providers' API keys and the database's path, in their environment and memory",
        f"{having} of {len(found)}",
        having == len(found) > 0,
    )
