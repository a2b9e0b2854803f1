"""What a request must be before anything looks at it, and what each answer carries."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from fakes.loop import in_loop
from listeners.console_security.stage import ANA, CY, Answer, Browser, desk
from remit.listeners.console.security import MAX_BODY_BYTES, Limits

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
FOREIGN = ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::2]", "10.0.0.1", "localhost@evil"]
PAGES = ["/", "/budgets", "/sign-in", "/static/style.css", "/halts", "/nothing"]
SAME = {"Sec-Fetch-Site": "same-origin"}


def is_whole(answer: Answer, *, secure: bool = False) -> None:
    """Each answer carries all of them, once, and tells nothing of what serves it."""
    wanted = {
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
    }
    assert {name: answer.header(name) for name in wanted} == wanted
    assert "camera=()" in answer.header("permissions-policy")
    assert "server" not in answer.headers
    assert bool(answer.header("strict-transport-security")) is secure


@in_loop
async def test_each_answer_carries_what_browsers_must_keep_to() -> None:
    """Pages, refusals, redirects, files, health: whatever it is."""
    async with desk() as d:
        browser = Browser(d)
        await browser.sign_in(ANA)
        for path in (*PAGES, "/metrics", "/healthz", "/readyz"):
            is_whole(await browser.get(path))
            is_whole(await d.ask("GET", path))
            is_whole(await d.ask("GET", path, host="evil.example"))
        is_whole(await d.ask("DELETE", "/"))
        is_whole(await d.ask("POST", "/halts", body="a=b"))
        is_whole(await browser.post("/halts", "a=b"))


@pytest.mark.parametrize("path", [*PAGES, "/metrics", "/healthz", "/readyz"])
def test_under_another_name_nothing_is_shown(path: str) -> None:
    """A page whose name was rebound to us reads nothing, not even with the cookie of who is signed in."""

    @in_loop
    async def run() -> None:
        async with desk(hosts=["desk.internal"]) as d:
            browser = Browser(d)
            await browser.sign_in(ANA)
            for host in FOREIGN:
                answer = await browser.get(path, {"Host": host})
                assert answer.status == 421, host
                assert b"remit_pdp_up" not in answer.body
            assert d.overview.read == []

    run()


@in_loop
async def test_our_own_names_are_answered() -> None:
    """Those of loopback, those that were configured, the public one: any port, any case."""
    async with desk(hosts=["Desk.internal", "10.1.2.3"], public_url="https://people.example.com") as d:
        for host in (
            "localhost",
            "LOCALHOST:9",
            "127.0.0.1:1",
            "[::1]:2",
            "desk.INTERNAL",
            "10.1.2.3",
            "people.example.com",
        ):
            assert (await d.ask("GET", "/sign-in", host=host)).status == 200, host


@in_loop
async def test_a_probe_may_name_the_address_that_it_dialled_and_people_may_not() -> None:
    """Health and metrics answer at a pod's address, which nobody configured; pages do not."""
    async with desk(host="127.0.0.2") as d:
        dialled = "127.0.0.2"
        for path, status in (("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/sign-in", 421), ("/", 421)):
            raw = f"GET {path} HTTP/1.1\r\nHost: {dialled}\r\nConnection: close\r\n\r\n"
            answer = await d.send(raw.encode(), address=dialled)
            assert answer.status == status, path


@in_loop
async def test_two_hosts_or_none_are_no_host() -> None:
    """Whichever of them somebody before us looked at."""
    async with desk() as d:
        both = b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert (await d.send(both)).status == 400
        assert (await d.send(b"GET /sign-in HTTP/1.0\r\n\r\n")).status == 421
        assert (
            await d.send(b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        ).status == 303


ALIEN: list[Mapping[str, str]] = [
    {},
    {"Origin": "http://evil.example"},
    {"Origin": "http://127.0.0.1:1"},  # another service of this machine
    {"Origin": "https://OWN"},
    {"Origin": "http://OWN.evil.example"},
    {"Origin": "http://OWN/path"},
    {"Origin": "http://evil@OWN"},
    {"Origin": "null"},
    {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    {"Origin": ""},
    {"Origin": "http://OWN", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://OWN", "Sec-Fetch-Site": "same-site"},  # another port of this machine
    {"Origin": "http://OWN", "Sec-Fetch-Site": "none"},
    {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
    {"Origin": "http://evil.example", "Referer": "http://OWN/"},
    {"Referer": "http://evil.example/http://OWN/"},
    {"Referer": "http://evil.example/?http://OWN"},
    {"Sec-Fetch-Site": "same-origin"},
]
OWN: list[Mapping[str, str]] = [
    {"Origin": "http://OWN"},
    {"Origin": "http://OWN", "Sec-Fetch-Site": "same-origin"},
    {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
    {"Referer": "http://OWN/halts"},
]


@in_loop
async def test_what_another_sites_page_sends_changes_nothing() -> None:
    """Not even with the session's cookie and its secret: signing in, halting, signing out."""
    async with desk() as d:
        browser = Browser(d)
        await browser.sign_in(CY)
        body = f"csrf={(await browser.get('/halts')).csrf}&scope=all&value=&reason=x"
        for path in ("/halts", "/halts/resume", "/sign-in", "/sign-out"):
            for headers in ALIEN:
                sent = {name: value.replace("OWN", f"127.0.0.1:{d.port}") for name, value in headers.items()}
                assert (await browser.post(path, body, sent)).status == 403, (path, headers)
        assert d.overview.halted == []
        assert (await browser.get("/")).status == 200


@in_loop
async def test_what_our_own_pages_send_is_taken() -> None:
    """As browsers say it, those that send no Sec-Fetch-Site too."""
    async with desk() as d:
        browser = Browser(d)
        await browser.sign_in(CY)
        body = f"csrf={(await browser.get('/halts')).csrf}&scope=all&value=&reason=because"
        for headers in OWN:
            d.overview.halted.clear()
            sent = {name: value.replace("OWN", f"127.0.0.1:{d.port}") for name, value in headers.items()}
            await browser.post("/halts", body, sent)
            assert d.overview.halted == [("cy", "all", "", "because")], headers


@in_loop
async def test_a_form_needs_the_secret_of_its_own_session() -> None:
    """None, another's, twice, in the URL: nothing happens. In the field or the header it does."""
    async with desk() as d:
        browser, other = Browser(d), Browser(d)
        await browser.sign_in(CY)
        await other.sign_in(CY)
        own, alien = (await browser.get("/halts")).csrf, (await other.get("/halts")).csrf
        assert len(own) == 64 and own != alien
        more = "scope=all&value=&reason=x"
        header = {"Origin": d.own, **SAME}
        wrong = ["", "csrf=", f"csrf={alien}", f"csrf={own[:-1]}", f"csrf={own}&csrf={own}", f"csrf={own}x", "csrf=%ff"]
        for field in wrong:
            assert (await browser.post("/halts", f"{field}&{more}".lstrip("&"))).status == 403, field
        assert (await browser.post(f"/halts?csrf={own}", more)).status == 403
        assert (await browser.post("/halts", f"csrf={own}&{more}", {**header, "X-CSRF-Token": alien})).status == 403
        assert d.overview.halted == []
        await browser.post("/halts", more, {**header, "X-CSRF-Token": own})
        await browser.post("/halts", f"csrf={own}&{more}")
        assert len(d.overview.halted) == 2


@in_loop
async def test_only_forms_are_read_and_only_what_pages_ask_with() -> None:
    """No JSON, no multipart, no text (which another site's form can send), and no other methods."""
    async with desk() as d:
        browser = Browser(d)
        await browser.sign_in(CY)
        own = {"Origin": d.own, **SAME}
        for kind in ("application/json", "multipart/form-data; boundary=x", "text/plain", ""):
            assert (await browser.post("/halts", "{}", {**own, "Content-Type": kind})).status == 415, kind
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"):
            answer = await d.ask(method, "/")
            assert (answer.status, answer.header("allow")) == (405, "GET, HEAD, POST"), method
        assert (await d.ask("POST", "/metrics", headers=own)).status == 405
        head = await browser._ask("HEAD", "/", "", {})
        assert (head.status, head.body) == (200, b"")


@in_loop
async def test_too_much_is_refused_before_it_is_read() -> None:
    """Bodies declared or not, bodies where none belongs, headers, targets."""
    async with desk() as d:
        own = {"Origin": d.own, **SAME}
        large = "a" * (MAX_BODY_BYTES + 1)
        assert (await d.ask("POST", "/sign-in", headers={**own, "Content-Length": "999999999"})).status == 413
        assert (await d.ask("POST", "/sign-in", body=large[:-1], headers=own)).status == 403  # read, and no page's
        head = (
            f"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1:{d.port}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        )
        head += f"Origin: {d.own}\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunked = f"{head}{len(large):x}\r\n{large}\r\n0\r\n\r\n"
        assert (await d.send(chunked.encode())).status == 413
        assert (await d.ask("GET", "/sign-in", body="a=b")).status == 413
        assert (await d.ask("GET", "/sign-in", headers={"X": "a" * 17_000})).status in (400, 431)
        assert (await d.ask("GET", "/sign-in", headers={f"X-{n}": "a" for n in range(120)})).status == 431
        assert (await d.ask("GET", "/sign-in?" + "a" * 5000)).status == 414


@in_loop
async def test_what_is_at_work_is_bounded() -> None:
    """More at once than there are places for are told to come again."""
    async with desk(limits=Limits(at_once=0)) as d:
        answer = await d.ask("GET", "/healthz")
        assert (answer.status, answer.header("retry-after")) == (503, "1")


@in_loop
async def test_strangers_who_are_slow_take_no_place_of_health_s() -> None:
    """Whoever supervises the desk would end it as dead."""
    async with desk(limits=Limits(at_once=2)) as d:
        slow = f"Host: 127.0.0.1:{d.port}\r\nTransfer-Encoding: chunked\r\n\r\n"
        opened = [await asyncio.open_connection("127.0.0.1", d.port) for _ in range(4)]
        for path, (_, writer) in zip(("/sign-in", "/", "/healthz", "/healthz"), opened, strict=True):
            writer.write(f"GET {path} HTTP/1.1\r\n{slow}".encode())
            await writer.drain()
        await asyncio.sleep(0.1)
        assert (await d.ask("GET", "/sign-in")).status == 503
        assert (await d.ask("GET", "/healthz")).status == 200
        for _, writer in opened:
            writer.close()


@in_loop
async def test_an_answer_that_takes_too_long_ends() -> None:
    """With an error, not with silence."""
    async with desk(limits=Limits(request_seconds=0.05)) as d:
        browser = Browser(d)
        await browser.sign_in(ANA)
        d.overview.slow = True
        assert (await browser.get("/budgets")).status == 503


@in_loop
async def test_files_and_the_way_in_are_all_that_a_stranger_gets() -> None:
    """Everything else leads to the form, whether it is there or not, and asks nothing of the pipeline."""
    async with desk() as d:
        for path in ("/", "/budgets", "/workflows/x", "/workflows/x/live", "/decisions/x", "/halts", "/nothing", "//x"):
            answer = await d.ask("GET", path)
            assert (answer.status, answer.header("location").partition("?")[0]) == (303, "/sign-in"), path
            live = await d.ask("GET", path, headers={"HX-Request": "true"})
            assert (live.status, live.header("hx-redirect")) == (401, "/sign-in"), path
        own = {"Origin": d.own, **SAME}
        for path in ("/halts", "/halts/resume", "/sign-out", "/nothing"):
            assert (await d.ask("POST", path, body="scope=all", headers=own)).status == 303
        assert (await d.ask("GET", "/static/style.css")).status == 200
        for path in ("/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd"):
            assert (await d.ask("GET", path)).status == 404
        assert d.overview.read == d.overview.halted == []
