"""Signing in by token, and how long that lasts."""

from __future__ import annotations

from fakes.loop import in_loop

from listeners.console_security.stage import ANA, Browser, desk


@in_loop
async def test_smoke() -> None:
    async with desk() as d:
        browser = Browser(d)
        first = await browser.get("/budgets?x=1")
        assert (first.status, first.header("location")) == (303, "/sign-in?next=%2Fbudgets%3Fx%3D1")
        answer = await browser.sign_in(ANA, "/budgets")
        print(answer)
        assert (answer.status, answer.header("location")) == (303, "/budgets")
        home = await browser.get("/")
        assert home.status == 200, home.text
        print(home.headers)
