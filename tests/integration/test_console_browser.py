"""The console in a real browser: what people see, with eyes or without, with a mouse or without, on a desk or a phone.

Each view is kept as a picture in artefacts/console, to be looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.console_browser import Look, chromium, served
from fakes.console_fake import OverviewFake, body, harness, person
from fakes.console_hostile import ATTACKS, everywhere
from fakes.console_story import GRANT, LARGE, LIVE, MAIL, story
from playwright.sync_api import Browser, expect
from remit.backends import htmx_install
from remit.core.approval import State
from remit.core.errors import StoreUnavailable
from remit.core.model import Subject
from remit.ports import WorkflowState

pytestmark = pytest.mark.xdist_group("browser")

PICTURES = Path(__file__).parents[2] / "artefacts" / "console"
PAGES = {
    "home": "/",
    "budgets": "/budgets",
    "budget": "/budget?id=cx-month",
    "workflows": "/workflows",
    "workflow": f"/workflows/{LIVE}",
    "decisions": "/decisions",
    "decision": "/decisions/d_03",
    "refusal": "/decisions/d_05",
    "erased": "/decisions/d_10",
    "approvals": "/approvals",
    "approval": f"/approvals/{LARGE}",
    "mail": f"/approvals/{MAIL}",
    "grant": f"/approvals/{GRANT}",
    "held": "/decisions/d_06",
    "open-ends": "/open-ends",
    "halts": "/halts",
}
HOSTILE = (
    "/",
    "/approvals",
    "/approvals/a_1",
    "/open-ends",
    "/budgets",
    "/workflows",
    "/workflows/w_1",
    "/decisions/d_1",
)
COLOURED = ("home", "budget", "workflow", "refusal", "approvals", "approval", "open-ends", "halts")
"""Pages that have every colour between them."""
PHONE = 360
VIEWS = [
    ("light", 1280, tuple(PAGES)),
    ("dark", 1280, COLOURED),
    ("light", PHONE, tuple(PAGES)),
    ("dark", PHONE, COLOURED),
]


@pytest.fixture(scope="module", name="browser")
def browser_fixture() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module", name="htmx")
def htmx_fixture() -> bytes:
    return htmx_install.obtain(os.environ, lambda doing, share: None)


@contextmanager
def looking(
    browser: Browser, overview: OverviewFake, htmx: bytes | None, *, subject: Subject | None = None, **context: Any
) -> Iterator[Look]:
    """A page on an installation; the context is Playwright's."""
    app = harness(overview, subject=lambda: subject or person(), htmx=htmx)
    with served(app) as base:
        opened = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **context})
        try:
            yield Look(opened, base)
        finally:
            opened.close()


@pytest.mark.parametrize(("scheme", "width", "names"), VIEWS, ids=["light", "dark", "phone", "dark phone"])
def test_every_page_is_sound(browser: Browser, htmx: bytes, scheme: Any, width: int, names: Sequence[str]) -> None:
    """No complaint of the browser, nothing beyond the edge of the screen, no text too faint to read."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    view = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    with looking(browser, story(), htmx, **view) as look:
        for name in names:
            look.open(PAGES[name])
            look.page.screenshot(path=PICTURES / f"{name}-{scheme}-{width}.png", full_page=True)
            assert look.wrong() == [], name


@pytest.mark.parametrize("width", [1280, PHONE])
def test_every_control_is_reached_by_keyboard(browser: Browser, htmx: bytes, width: int) -> None:
    """Tab visits every link, field and button in the order of the page, and each shows that it has the focus."""
    with looking(browser, story(), htmx, viewport={"width": width, "height": 800}) as look:
        for path in ("/", "/budget?id=cx-month", f"/workflows/{LIVE}", "/approvals", f"/approvals/{LARGE}", "/halts"):
            look.open(path)
            controls, reached, unseen = look.walk()
            assert reached == controls, path
            assert unseen == [], path


def test_the_navigation_is_skipped_and_a_halt_placed_without_a_mouse(browser: Browser, htmx: bytes) -> None:
    """The first Tab offers the way past; a form is filled in and sent by keys, and the answer is shown."""
    overview = story()
    with looking(browser, overview, htmx) as look:
        look.open("/halts")
        keys = look.page.keyboard
        keys.press("Tab")
        expect(look.page.get_by_role("link", name="Skip to content")).to_be_in_viewport()
        keys.press("Enter")
        assert look.page.evaluate("document.activeElement.id") == "main"
        look.page.get_by_label("What is stopped").focus()
        keys.type("service")
        keys.press("Tab")
        keys.type("openai")
        keys.press("Tab")
        keys.type("the provider is down")
        keys.press("Enter")
        expect(look.page.get_by_role("status")).to_contain_text("ALLOW halt service openai")
        look.page.screenshot(path=PICTURES / "halted-light-1280.png", full_page=True)
        assert look.wrong() == []
    assert [each.value for each in overview.stopped][-1] == "openai"


def test_a_refusal_and_a_wrong_field_are_shown(browser: Browser, htmx: bytes) -> None:
    """DENY with its reason, for who may not; a field that is not as it must be, beside it."""
    with looking(browser, story(), htmx, subject=person("cleo", "auditor"), color_scheme="dark") as look:
        look.open("/halts")
        for value, told in (("support", "it takes the role operator"), ("a b", "expected an id of letters")):
            look.page.get_by_label("Which one").fill(value)
            look.page.get_by_label("Why").fill("it loops")
            look.page.get_by_role("button", name="Halt", exact=True).click()
            expect(look.page.get_by_text(told)).to_be_visible()
            look.page.screenshot(path=PICTURES / f"refused-{value[0]}-dark-1280.png", full_page=True)
            # The browser logs a page's own status, 403 and 400, as an error of loading.
            look.complaints = [
                each for each in look.complaints if "the server responded with a status of 4" not in each
            ]
            assert look.wrong() == []


def test_a_live_tree_grows_by_itself(browser: Browser, htmx: bytes) -> None:
    """What is decided appears within seconds, the focus stays, a lost store is told and found again, it ends."""
    overview = story()
    with looking(browser, overview, htmx) as look:
        look.open(f"/workflows/{LIVE}")
        link = look.page.locator("#r-d_02 > .head a")
        link.focus()
        overview.add("d_98", body("DENY"), workflow=LIVE, parent="d_02")
        expect(look.page.locator("#r-d_02 #r-d_98")).to_be_visible(timeout=4000)
        expect(look.page.locator("#live-state")).to_contain_text("13 records")
        assert look.page.evaluate("document.activeElement.textContent") == "sidecar-a #2"

        overview.failing = StoreUnavailable("gone")
        expect(look.page.get_by_role("alert")).to_contain_text("The store cannot be reached", timeout=4000)
        expect(look.page.locator("#r-d_98")).to_be_visible()
        look.page.screenshot(path=PICTURES / "lost-light-1280.png", full_page=True)
        overview.failing = None
        expect(look.page.locator("#lost")).to_be_empty(timeout=4000)

        overview.flows[0] = WorkflowState(LIVE, "support", (), (), 0, "closed", 4)
        expect(look.page.locator("#live-state")).to_contain_text("closed", timeout=4000)
        assert look.page.locator("[hx-get]").count() == 0
        # The browser logs the 503 that it was answered; nothing else may be there.
        assert {each for each in look.wrong() if "status of 503" not in each} == set()


def test_a_new_approval_shows_within_two_seconds_and_is_resolved_without_a_mouse(browser: Browser, htmx: bytes) -> None:
    """It appears by itself, the focus stays; its form is filled in by keys, and the answer is shown."""
    overview = story()
    with looking(browser, overview, htmx) as look:
        look.open("/approvals")
        look.page.locator(f"#go-{LARGE}").focus()
        overview.waiting.append(replace(overview.waiting[1], id="a_07", workflow=LIVE))
        expect(look.page.locator("#go-a_07")).to_be_visible(timeout=2000)
        expect(look.page.locator("#live-state")).to_contain_text("3 wait")
        assert look.page.evaluate("document.activeElement.id") == f"go-{LARGE}"
        look.page.locator("#go-a_07").focus()
        keys = look.page.keyboard
        keys.press("Enter")
        look.page.get_by_label("What you say").focus()
        keys.type("approve")
        keys.press("Tab")
        keys.type("the customer waits for it")
        keys.press("Enter")
        expect(look.page.get_by_role("status").filter(has_text="ALLOW approve")).to_be_visible()
        expect(look.page.get_by_role("heading", level=1)).to_contain_text("approved message.send")
        look.page.screenshot(path=PICTURES / "approved-light-1280.png", full_page=True)
        assert look.wrong() == []
    assert overview.waiting[-1].state is State.APPROVED


def test_what_changes_under_a_form_is_told_and_takes_nothing_away(browser: Browser, htmx: bytes) -> None:
    """Nor is it done when it is sent all the same; and Enter alone, with nothing chosen, says nothing."""
    overview = story()
    with looking(browser, overview, htmx, color_scheme="dark") as look:
        look.open(f"/approvals/{LARGE}")
        reason = look.page.get_by_label("Why")
        reason.fill("it is needed")
        look.page.keyboard.press("Enter")
        assert overview.waiting[0].version == 3
        overview.waiting[0] = replace(overview.waiting[0], version=4)
        expect(look.page.get_by_text("It has changed since you opened this page.")).to_be_visible(timeout=4000)
        expect(reason).to_have_value("it is needed")
        look.page.get_by_label("What you say").select_option("approve")
        look.page.get_by_role("button", name="Record it").click()
        expect(look.page.get_by_role("alert").filter(has_text="nothing was done")).to_be_visible()
        look.page.screenshot(path=PICTURES / "changed-dark-1280.png", full_page=True)
        # The browser logs the page's own status, 409, as an error of loading.
        assert [each for each in look.wrong() if "status of 409" not in each] == []
    assert overview.waiting[0].version == 4


def test_without_javascript_a_link_refreshes(browser: Browser, htmx: bytes) -> None:
    """Everything is there, and what is new comes when it is asked for."""
    overview = story()
    with looking(browser, overview, htmx, java_script_enabled=False) as look:
        look.open(f"/workflows/{LIVE}")
        expect(look.page.locator("#r-d_05")).to_be_visible()
        overview.add("d_98", body("DENY"), workflow=LIVE, parent="d_02")
        look.page.get_by_role("link", name="Refresh").click()
        expect(look.page.locator("#r-d_98")).to_be_visible()


@pytest.mark.parametrize("text", [ATTACKS[1], ATTACKS[15], ATTACKS[20]], ids=["markup", "bidi", "long"])
def test_hostile_text_does_nothing_and_fits(browser: Browser, htmx: bytes, text: str) -> None:
    """In every field at once, on a phone: nothing runs, nothing is loaded, nothing leaves the screen."""
    overview, subject = everywhere(text)
    with looking(browser, overview, htmx, subject=subject, viewport={"width": PHONE, "height": 800}) as look:
        for path in (*HOSTILE, "/halts"):
            look.open(path)
            assert look.wrong() == [], path
        look.open("/")
        look.page.screenshot(path=PICTURES / f"hostile-{ATTACKS.index(text)}-360.png")


def test_the_looking_finds_what_is_planted(browser: Browser, htmx: bytes) -> None:
    """An inline style, a script, a faint word, a wide box and a mouse-only control are each found."""
    with looking(browser, story(), htmx, viewport={"width": PHONE, "height": 800}) as look:
        look.open("/halts")
        look.page.evaluate(
            """() => {
              const p = document.createElement('p');
              p.setAttribute('style', 'top: 0');
              p.innerHTML = '<img src=x onerror="window.ran = 1">';
              p.textContent = 'faint';
              p.className = 'planted';
              document.querySelector('main').append(p);
              p.style.color = '#ddd'; p.style.backgroundColor = '#fff'; p.style.width = '900px';
              document.querySelector('.brand').tabIndex = -1;
            }"""
        )
        wrong = " ".join(look.wrong())
        controls, reached, _ = look.walk()

    assert "violates style-src-attr" in wrong
    assert "too wide: P.planted" in wrong
    assert "too faint: P.planted 1.3" in wrong
    assert reached != controls
