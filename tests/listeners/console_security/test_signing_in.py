"""Signing in by token: who gets in, what of it is kept, and how long that lasts."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from fakes.loop import in_loop
from listeners.console_security.stage import (
    AGENT,
    ANA,
    BO,
    CATALOGUE,
    CY,
    OPERATOR,
    PEOPLE,
    Browser,
    Desk,
    desk,
    hashed,
)
from remit.core.catalogue import Identity, Person
from remit.core.errors import StoreUnavailable
from remit.listeners.console.sessions import IDLE_SECONDS, LIFE_SECONDS, PER_PERSON

SESSION = "remit-session"


def session_count(desk: Desk) -> int:
    return len(desk.console._sessions)


@in_loop
async def test_people_get_in_and_on_to_where_they_were_going() -> None:
    """With a token of theirs, or the operator's; the page then says who they are."""
    async with desk() as d:
        for token, name in ((ANA, "ana"), (CY, "cy"), (OPERATOR, "operator")):
            browser = Browser(d)
            first = await browser.get("/budgets?x=1")
            assert (first.status, first.header("location")) == (303, "/sign-in?next=%2Fbudgets%3Fx%3D1")
            assert 'name="next" value="/budgets?x=1"' in (await browser.get(first.header("location"))).text
            answer = await browser.sign_in(token, "/budgets?x=1")
            assert (answer.status, answer.header("location")) == (303, "/budgets?x=1")
            home = await browser.get("/")
            assert home.status == 200
            assert f"<b>{name}</b>" in home.text
        assert d.observed.causes == d.overview.refusals == []


@in_loop
async def test_who_may_not_read_is_signed_in_and_sees_nothing() -> None:
    """An approver alone: the page says so, and that is all."""
    async with desk() as d:
        browser = Browser(d)
        assert (await browser.sign_in(BO)).status == 303
        assert (await browser.get("/budgets")).status == 403
        assert d.overview.read == []


@pytest.mark.parametrize(
    ("token", "cause"),
    [(AGENT, "unknown"), ("wrong", "unknown"), ("", "missing"), ("a%00b", "malformed"), ("%C3%A4", "malformed")],
)
def test_nobody_else_gets_in(token: str, cause: str) -> None:
    """An agent, a stranger, nothing, bytes that are no token: refused, counted, and the token repeated nowhere."""

    @in_loop
    async def run() -> None:
        async with desk() as d:
            browser = Browser(d)
            answer = await browser.sign_in(token)
            assert answer.status == 401
            assert SESSION not in browser.cookies
            assert session_count(d) == 0
            assert d.observed.causes == [cause]
            ((peer, kind, detail),) = d.overview.refusals
            assert (peer, kind) == ("ipv4:127.0.0.1", "identity")
            assert not token or token not in answer.text + detail + str(answer.headers)

    run()


@in_loop
async def test_a_store_that_is_down_makes_nobody_known() -> None:
    """The refusal stands where it cannot be counted."""
    async with desk() as d:

        async def refused(peer: str, kind: str, detail: str) -> None:
            raise StoreUnavailable("gone")

        d.overview.refused = refused
        browser = Browser(d)
        assert (await browser.sign_in("wrong")).status == 401
        assert SESSION not in browser.cookies


@in_loop
async def test_a_token_in_the_url_is_not_read() -> None:
    """It would lie in histories and logs."""
    async with desk() as d:
        browser = Browser(d)
        form = await browser.get(f"/sign-in?token={ANA}")
        assert ANA not in form.text
        answer = await browser.post(f"/sign-in?token={ANA}", f"csrf={form.csrf}&next=/")
        assert (answer.status, d.observed.causes) == (401, ["missing"])


@in_loop
async def test_the_form_is_its_browsers_own() -> None:
    """Nobody signs another's browser in: without the cookie that came with the form it is refused."""
    async with desk() as d:
        browser, other = Browser(d), Browser(d)
        form = await browser.get("/sign-in")
        await other.get("/sign-in")
        for who in (other, Browser(d)):
            assert (await who.post("/sign-in", f"csrf={form.csrf}&token={ANA}")).status == 403
            assert SESSION not in who.cookies
        for csrf in ("", "0" * 64):
            assert (await browser.post("/sign-in", f"csrf={csrf}&token={ANA}")).status == 403
        assert (await browser.post("/sign-in", f"csrf={form.csrf}&token={ANA}")).status == 303
        stale = await other.get("/sign-in")
        d.time.pass_seconds(601)
        assert (await other.post("/sign-in", f"csrf={stale.csrf}&token={ANA}")).status == 403


ELSEWHERE = [
    "//evil.example",
    "/\\evil.example",
    "https://evil.example",
    "javascript:alert(1)",
    "/%0d%0aSet-Cookie:x=y\r\n",
    "/a\"onload='x",
    "/<script>",
    "evil.example",
    "/a#b",
    "\\\\evil.example",
    "/\t/evil.example",
    "",
    "/sign-out",
    "/sign-in",
]


@pytest.mark.parametrize("onward", ELSEWHERE)
def test_the_way_on_is_a_path_of_ours(onward: str) -> None:
    """Nobody is sent to another site, or made to do something, by a link to the form."""

    @in_loop
    async def run() -> None:
        async with desk() as d:
            browser = Browser(d)
            sent = "".join(f"%{byte:02x}" for byte in onward.encode())
            form = await browser.get(f"/sign-in?next={sent}")
            found = re.search(r'name="next" value="([^"]*)"', form.text)
            assert (found and found[1] == "/") or onward.startswith("/%0d")
            answer = await browser.post("/sign-in", f"csrf={form.csrf}&token={ANA}&next={sent}")
            assert (answer.status, answer.header("location")) in ((303, "/"), (303, "/%0d%0aSet-Cookie:x=y"))
            assert set(answer.cookies) == {SESSION, "remit-sign-in"}

    run()


@in_loop
async def test_the_cookie_is_for_us_alone() -> None:
    """Strict, out of reach of scripts, for the whole site, and 256 bits that are not kept."""
    async with desk() as d:
        browser = Browser(d)
        answer = await browser.sign_in(ANA)
        (line,) = [each for each in answer.headers["set-cookie"] if each.startswith(SESSION)]
        parts = {each.strip().lower() for each in line.split(";")[1:]}
        assert parts == {"httponly", "path=/", "samesite=strict", f"max-age={LIFE_SECONDS}"}
        id = browser.cookies[SESSION]
        assert re.fullmatch(r"[0-9a-f]{64}", id)
        kept = repr(d.console._sessions._sessions)
        assert id not in kept and ANA not in kept


@in_loop
async def test_a_session_that_somebody_else_chose_is_nobodys() -> None:
    """Fixation: what the browser brought is worth nothing before signing in, and another is given by it."""
    async with desk() as d:
        browser = Browser(d, {SESSION: "a" * 64})
        await browser.sign_in(ANA)
        assert browser.cookies[SESSION] != "a" * 64
        assert (await Browser(d, {SESSION: "a" * 64}).get("/budgets")).status == 303
        before = browser.cookies[SESSION]
        shown = await Browser(d).get("/sign-in")
        again = Browser(d, {**shown.cookies, SESSION: before})
        await again.post("/sign-in", f"csrf={shown.csrf}&token={CY}")
        assert again.cookies[SESSION] != before
        assert (await browser.get("/budgets")).status == 303  # the old one ended
        assert session_count(d) == 1


@in_loop
async def test_two_cookies_of_one_name_are_none() -> None:
    """Another host of the domain may have set one of them."""
    async with desk() as d:
        browser = Browser(d)
        await browser.sign_in(ANA)
        id = browser.cookies[SESSION]
        for line in (f"{SESSION}={id}; {SESSION}=x", f"{SESSION}=x; {SESSION}={id}", f"{SESSION}={id}; {SESSION}={id}"):
            assert (await Browser(d).get("/budgets", {"Cookie": line})).status == 303
        assert (await Browser(d).get("/budgets", {"Cookie": f"a=b; {SESSION}={id}"})).status == 200


@in_loop
async def test_signing_out_ends_the_session_where_it_is_kept() -> None:
    """Whoever kept the cookie has nothing."""
    async with desk() as d:
        browser = Browser(d)
        await browser.sign_in(ANA)
        kept = Browser(d, dict(browser.cookies))
        assert (await browser.get("/sign-out")).status == 405
        answer = await browser.post("/sign-out", f"csrf={(await browser.get('/')).csrf}")
        assert (answer.status, answer.header("location")) == (303, "/sign-in")
        assert SESSION not in browser.cookies
        assert (await kept.get("/budgets")).status == 303
        assert session_count(d) == 0


@in_loop
async def test_a_session_ends_when_nobody_uses_it() -> None:
    """Half an hour; and what a page asks for by itself is no use of it."""
    async with desk() as d:
        browser, polling = Browser(d), Browser(d)
        await browser.sign_in(ANA)
        await polling.sign_in(ANA)
        for _ in range(3):
            d.time.pass_seconds(IDLE_SECONDS - 1)
            assert (await browser.get("/budgets")).status == 200
        await polling.sign_in(ANA)
        d.time.pass_seconds(IDLE_SECONDS / 2)
        assert (await polling.get("/workflows", {"HX-Request": "true"})).status == 200
        d.time.pass_seconds(IDLE_SECONDS / 2)
        assert (await polling.get("/workflows", {"HX-Request": "true"})).status == 401
        assert (await browser.get("/budgets")).status == 303


@in_loop
async def test_a_session_ends_after_a_working_day() -> None:
    """Eight hours, however much it is used."""
    async with desk() as d:
        browser = Browser(d)
        await browser.sign_in(ANA)
        for _ in range(LIFE_SECONDS // 1000):
            d.time.pass_seconds(1000)
            assert (await browser.get("/budgets")).status == 200
        d.time.pass_seconds(LIFE_SECONDS % 1000)
        assert (await browser.get("/budgets")).status == 303


@in_loop
async def test_a_person_has_so_many_sessions_and_the_oldest_goes() -> None:
    """And nobody else's."""
    async with desk() as d:
        other, browsers = Browser(d), [Browser(d) for _ in range(PER_PERSON + 1)]
        await other.sign_in(CY)
        for each in browsers:
            await each.sign_in(ANA)
            d.time.pass_seconds(1)
        found = [(await each.get("/budgets")).status for each in (*browsers, other)]
        assert found == [303, *[200] * PER_PERSON, 200]


@in_loop
async def test_the_catalogue_in_force_says_who_somebody_is() -> None:
    """Another role holds at the next request; who is gone, or has another token, is out, and does not come back in."""
    async with desk() as d:
        people = dict(PEOPLE)
        browser = Browser(d)
        await browser.sign_in(ANA)
        assert (await browser.get("/budgets")).status == 200
        d.identities.use(replace(CATALOGUE, people={**people, "ana": Person((), PEOPLE["ana"].identity)}))
        assert (await browser.get("/budgets")).status == 403
        d.identities.use(CATALOGUE)
        assert (await browser.get("/budgets")).status == 200
        gone = {name: each for name, each in people.items() if name != "ana"}
        changed = {**people, "ana": Person(("auditor",), Identity((hashed("another"),)))}
        swapped = {**gone, "eve": Person(("operator",), Identity((hashed(ANA),)))}
        for other in (gone, changed, swapped):
            d.identities.use(CATALOGUE)
            await browser.sign_in(ANA)
            assert (await browser.get("/budgets")).status == 200
            d.identities.use(replace(CATALOGUE, people=other))
            assert (await browser.get("/budgets")).status == 303
            d.identities.use(CATALOGUE)
            assert (await browser.get("/budgets")).status == 303


@in_loop
async def test_a_link_on_another_site_opens_the_page() -> None:
    """The browser keeps a strict cookie back there: it is made to ask again by itself, and only for a path of ours."""
    async with desk() as d:
        answer = await d.ask("GET", "/budgets?x=1", headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status == 200
        assert 'http-equiv="refresh" content="0; url=/budgets?x=1"' in answer.text
        wild = await d.ask("GET", '//evil.example/"><script>', headers={"Sec-Fetch-Site": "cross-site"})
        assert wild.status == 400 or ('content="0; url=/"' in wild.text and "evil" not in wild.text)
        evil = await d.ask("GET", "//evil.example/x", headers={"Sec-Fetch-Site": "cross-site"})
        assert 'content="0; url=/"' in evil.text and "evil" not in evil.text


@in_loop
async def test_failures_are_counted_and_then_nobody_of_that_source_may_try() -> None:
    """Not even with the right token; after a while again. A browser that is signed in goes on."""
    async with desk() as d:
        known, browser = Browser(d), Browser(d)
        await known.sign_in(ANA)
        found = [(await browser.sign_in("wrong")).status for _ in range(12)]
        assert found == [401] * 10 + [429] * 2
        answer = await browser.sign_in(ANA)
        assert (answer.status, answer.header("retry-after")) == (429, "60")
        assert SESSION not in browser.cookies
        assert (await known.get("/budgets")).status == 200
        assert len(d.observed.causes) == 10
        d.time.pass_seconds(31)
        assert (await browser.sign_in(ANA)).status == 303
