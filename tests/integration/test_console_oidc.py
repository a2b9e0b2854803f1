"""People sign in through the login page of a real identity provider, in a real browser."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from fakes.console_browser import chromium
from fakes.oidc_dex import CLIENT, PASSWORD, SECRET, dex
from fakes.ports import free_port
from listeners.console_security.stage import ANA, Desk, desk
from playwright.sync_api import Browser, Page, expect
from remit.backends.clock_system import SystemClock
from remit.listeners.console.oidc import OidcSettings

pytestmark = pytest.mark.timeout(1800)  # the provider is built first where it is not there


@contextmanager
def running(port: int, issuer: str) -> Iterator[Desk]:
    """A desk in a thread of its own."""
    ready, done = threading.Event(), asyncio.Event()
    found: list[Desk] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        oidc = OidcSettings(issuer, CLIENT, SECRET)
        async with desk(port=port, public_url=f"http://127.0.0.1:{port}", oidc=oidc, time=SystemClock()) as d:
            found.append(d)
            loops.append(asyncio.get_running_loop())
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(20)
        yield found[0]
    finally:
        loops[0].call_soon_threadsafe(done.set)
        thread.join(20)


@dataclass(frozen=True)
class Site:
    """A desk, its provider and a browser."""

    desk: Desk
    issuer: str
    browser: Browser

    @contextmanager
    def look(self) -> Iterator[Page]:
        """A page in a browser that knows nothing yet."""
        context = self.browser.new_context()
        page = context.new_page()
        page.set_default_timeout(20_000)
        try:
            yield page
        finally:
            context.close()

    def log_in(self, page: Page, name: str, path: str = "/") -> None:
        """By the provider's own page."""
        page.goto(f"{self.desk.own}{path}")
        page.get_by_role("link", name="Sign in with your organisation's account").click()
        page.wait_for_url(f"{self.issuer}/**")
        page.get_by_label("email").fill(f"{name}@example.com")
        page.get_by_label("password").fill(PASSWORD)
        page.get_by_role("button", name="login").click()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    port = free_port()
    back = f"http://127.0.0.1:{port}/sign-in/oidc/callback"
    with dex(back) as provider, running(port, provider.issuer) as d, chromium() as browser:
        yield Site(d, provider.issuer, browser)


def test_somebody_signs_in_at_the_provider_and_out_again(site: Site) -> None:
    """From the page that was asked for, by the provider's, to that page; the cookie is out of scripts' reach."""
    with site.look() as page:
        site.log_in(page, "ana", "/budgets?x=1")
        page.wait_for_url(f"{site.desk.own}/budgets?x=1")
        expect(page.locator("form.who b")).to_have_text("ana")
        (cookie,) = page.context.cookies(site.desk.own)
        assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("remit-session", True, "Strict")
        assert page.evaluate("document.cookie") == ""
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{site.desk.own}/sign-in")
        page.goto(f"{site.desk.own}/budgets")
        assert page.url.startswith(f"{site.desk.own}/sign-in?")


@pytest.mark.parametrize(("name", "told"), [("eve", "nobody's"), ("una", "not verified the e-mail address")])
def test_who_is_known_there_and_not_here_stays_out(site: Site, name: str, told: str) -> None:
    """A stranger to the catalogue, and an address that the provider has not verified."""
    with site.look() as page:
        site.log_in(page, name)
        page.wait_for_url(f"{site.desk.own}/sign-in/oidc/callback**")
        expect(page.get_by_role("alert")).to_contain_text(told)
        assert "remit-session" not in {each["name"] for each in page.context.cookies(site.desk.own)}
        page.goto(f"{site.desk.own}/budgets")
        assert page.url.startswith(f"{site.desk.own}/sign-in")


def test_a_browser_signs_in_by_token_and_its_forms_are_taken(site: Site) -> None:
    """With what a real browser sends of Origin and Sec-Fetch-Site, under our own policies."""
    with site.look() as page:
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"{site.desk.own}/halts")
        page.get_by_label("Your Remit token").fill(ANA)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{site.desk.own}/halts")
        with page.expect_request(lambda request: request.method == "POST") as sent:
            page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{site.desk.own}/sign-in")
        headers = sent.value.all_headers()
        assert (headers["sec-fetch-site"], headers["origin"] in ("null", site.desk.own)) == ("same-origin", True)
        assert [each for each in said if "Policy" in each or "Refused" in each] == []


def test_another_site_may_link_to_us_and_no_more(site: Site) -> None:
    """Of who is signed in: its link opens our page, although the session's cookie is strict; its form is refused."""
    with site.look() as page:
        own = site.desk.own
        page.goto(f"{own}/sign-in")
        page.get_by_label("Your Remit token").fill(ANA)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{own}/")
        alien = (
            f'<a href="{own}/budgets">read</a>'
            f'<form method=post action="{own}/sign-out"><input name=csrf value=x><button>act</button></form>'
        )
        page.route("http://elsewhere.test/", lambda route: route.fulfill(content_type="text/html", body=alien))
        page.goto("http://elsewhere.test/")
        with page.expect_response(f"{own}/sign-out") as answered:
            page.get_by_role("button", name="act").click()
        assert answered.value.status == 403
        page.goto("http://elsewhere.test/")
        page.get_by_role("link", name="read").click()
        expect(page.locator("form.who b")).to_have_text("ana")
        assert page.url == f"{own}/budgets"
