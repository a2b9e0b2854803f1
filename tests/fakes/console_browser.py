"""A real, headless Chromium looking at the console, and what it is asked about a page.

It is the installed one, driven by Playwright's client. Without it the tests are skipped; REMIT_REQUIRE_BROWSER=1 says
that it must be there.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright
from starlette.types import ASGIApp

CHROMIUM = Path("/usr/bin/chromium")

_WATCH = """
window.found = [];
document.addEventListener('securitypolicyviolation', e => window.found.push(e.violatedDirective + ' ' + e.blockedURI));
"""

_WIDER = """() => [...document.querySelectorAll('body *')]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, .cards thead'))
  .map(e => e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 40))"""

# Relative luminance and contrast as WCAG 2.2 defines them; what is behind a text is mixed from its ancestors' grounds.
_FAINT = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const parse = text => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const ground = e => {
    if (!e) return parse(matchMedia('(prefers-color-scheme: dark)').matches ? '#000' : '#fff');
    const own = parse(getComputedStyle(e).backgroundColor);
    return own[3] === 1 ? own : over(own, ground(e.parentElement));
  };
  const light = c => [0.2126, 0.7152, 0.0722].map((w, i) => {
    const v = c[i] / 255; return w * (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  }).reduce((x, y) => x + y);
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const text = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.textContent.trim()).join('');
    const field = ['INPUT', 'SELECT'].includes(e.tagName) && e.type !== 'hidden';
    if (!(text || field) || e.closest('svg') || !e.getClientRects().length) continue;
    const style = getComputedStyle(e), behind = ground(e);
    const [a, b] = [light(over(parse(style.color), behind)), light(behind)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5)) found.push(`${e.tagName}.${e.className} ${ratio.toFixed(2)} ${text.slice(0, 30)}`);
  }
  return found;
}"""

_FOCUS = """() => {
  const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
  return {
    name: e.tagName + ' ' + (e.getAttribute('href') || e.name || e.textContent.trim()).slice(0, 80),
    seen: s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2 && r.width > 0 && r.top >= 0 && r.left >= 0,
    index: [...document.querySelectorAll('*')].indexOf(e),
  };
}"""

_CONTROLS = """() => [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')]
  .filter(e => e.type !== 'hidden' && (!e.closest('details:not([open])') || e.tagName === 'SUMMARY'))
  .map(e => [...document.querySelectorAll('*')].indexOf(e))"""


class Look:
    """One page in one context; everything that the browser complains of is kept."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        context.add_init_script(_WATCH)
        self.page: Page = context.new_page()
        self.page.set_default_timeout(10_000)
        self.base = base
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}") or dialog.dismiss())
        self.page.on("requestfailed", self._failed)
        self.page.on("request", self._own)

    def _failed(self, request: Request) -> None:
        # What a page itself asks for while it is left (what is new, its icon) the browser drops; that fails nobody.
        its_own = request.resource_type in {"fetch", "xhr"} or request.url == f"{self.base}/static/icon.svg"
        if not (its_own and request.failure == "net::ERR_ABORTED"):
            self.complaints.append(f"failed: {request.url}: {request.failure}")

    def _own(self, request: object) -> None:
        url = str(getattr(request, "url", ""))
        if not url.startswith(self.base):
            self.complaints.append(f"asked elsewhere: {url}")

    def open(self, path: str) -> None:
        """Go there."""
        self.page.goto(self.base + path)

    def wrong(self) -> list[str]:
        """What is wrong with the page as it stands: complaints, violations, what is too wide, what is too faint."""
        violations = [f"violates {each}" for each in self.page.evaluate("window.found")]
        wide = [f"too wide: {each}" for each in self.page.evaluate(_WIDER)]
        faint = [f"too faint: {each}" for each in self.page.evaluate(_FAINT)]
        return [*self.complaints, *violations, *wide, *faint]

    def walk(self) -> tuple[list[int], list[int], list[str]]:
        """Tab through the page: the controls' places, those that were reached, and those whose focus is not seen."""
        controls: list[int] = self.page.evaluate(_CONTROLS)
        reached: list[int] = []
        unseen: list[str] = []
        for _ in controls:
            self.page.keyboard.press("Tab")
            focus = self.page.evaluate(_FOCUS)
            reached.append(focus["index"])
            if not focus["seen"]:
                unseen.append(focus["name"])
        return controls, reached, unseen


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; skips the test where there is none."""
    if not CHROMIUM.exists():
        if os.environ.get("REMIT_REQUIRE_BROWSER") == "1":
            pytest.fail(f"REMIT_REQUIRE_BROWSER=1, but there is no {CHROMIUM}")
        pytest.skip(f"no browser: there is no {CHROMIUM}")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """The app on a port of loopback, in a thread of its own; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
        thread = Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
