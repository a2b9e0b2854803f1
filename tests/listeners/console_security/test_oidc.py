"""Signing in at an identity provider that lies: nobody gets in but who is signed in there, for us, now."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from fakes import oidc_rogue
from fakes.loop import in_loop
from fakes.oidc_rogue import CLIENT, NEW_KEY, OTHER_KEY, SECRET, Rogue, rogue, signed
from fakes.ports import free_port
from listeners.console_security.stage import CATALOGUE, PEOPLE, Answer, Browser, Desk, Time, desk
from remit.core.catalogue import Identity, Person
from remit.listeners.console.oidc import MAX_ANSWER_BYTES, OidcSettings, Provider, ProviderFailed

SESSION = "remit-session"
NAVIGATED = {"Sec-Fetch-Site": "same-origin"}
BACK = {"Sec-Fetch-Site": "cross-site"}


@dataclass(slots=True)
class Site:
    """A desk and its provider."""

    desk: Desk
    provider: Rogue

    async def leave(self, browser: Browser, onward: str = "/") -> str:
        """Press the button; where it leads."""
        answer = await browser.get(f"/sign-in/oidc?next={onward}", NAVIGATED)
        assert answer.status == 303, answer.text
        return answer.header("location")

    async def back(self, browser: Browser, query: str) -> Answer:
        return await browser.get(f"/sign-in/oidc/callback?{query}", BACK)

    async def sign_in(self, browser: Browser) -> Answer:
        return await self.back(browser, self.provider.answer(await self.leave(browser)))

    async def refuses(self, browser: Browser, query: str, cause: str, status: int = 401, *, case: str = "") -> Answer:
        """Coming back with this leads nowhere, and is counted."""
        before = len(self.desk.observed.causes)
        answer = await self.back(browser, query)
        assert answer.status == status, case or answer.text
        assert SESSION not in browser.cookies and SESSION not in answer.cookies
        assert self.desk.observed.causes[before:] == ([cause] if cause else []), case
        return answer


@asynccontextmanager
async def site(**changes: Any) -> AsyncIterator[Site]:
    clock, port = Time(), free_port()
    async with rogue(clock.now) as provider:
        settings = replace(OidcSettings(provider.issuer, CLIENT, SECRET), **changes)
        async with desk(port=port, public_url=f"http://127.0.0.1:{port}", oidc=settings, time=clock) as d:
            yield Site(d, provider)


@in_loop
async def test_who_is_signed_in_there_is_signed_in_here() -> None:
    """With code, PKCE, state and nonce; the way on is kept, and what the provider gave is not."""
    async with site() as s:
        browser = Browser(s.desk)
        form = await browser.get("/sign-in?next=/budgets?x=1")
        assert 'href="/sign-in/oidc?next=%2Fbudgets%3Fx%3D1"' in form.text
        url = await s.leave(browser, "%2Fbudgets%3Fx%3D1")
        asked = dict(parse_qs(urlsplit(url).query))
        verifier_hash = asked.pop("code_challenge")
        assert asked.pop("nonce") != asked.pop("state")
        assert asked == {
            "tenant": ["1"],
            "response_type": ["code"],
            "client_id": [CLIENT],
            "redirect_uri": [f"{s.desk.own}/sign-in/oidc/callback"],
            "scope": ["openid email"],
            "code_challenge_method": ["S256"],
        }
        answer = await s.back(browser, s.provider.answer(url))
        assert (answer.status, "location" in answer.headers) == (200, False)
        assert 'content="0; url=/budgets?x=1"' in answer.text
        verifier = s.provider.sent[0]["code_verifier"]
        assert base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=") == verifier_hash[0]
        assert len(verifier) >= 43
        assert "<b>ana</b>" in (await browser.get("/")).text
        (cookie,) = [each for each in answer.headers["set-cookie"] if each.startswith(SESSION)]
        assert "SameSite=strict" in cookie
        assert set(browser.cookies) == {SESSION}
        assert s.desk.observed.causes == []


@in_loop
async def test_a_subject_may_be_who_somebody_is() -> None:
    """Where the settings say `sub`: then no e-mail address counts, and none is asked for."""
    async with site(claim="sub") as s:
        browser = Browser(s.desk)
        s.provider.claims = {"sub": "sub-of-bo"}
        assert "scope=openid&" in await s.leave(browser) + "&"
        assert (await s.sign_in(browser)).status == 200
        s.provider.claims = {"sub": "x", "email": "ana@example.com", "email_verified": True}
        await s.refuses(other := Browser(s.desk), s.provider.answer(await s.leave(other)), "unknown")


WRONG_CLAIMS = {
    "another nonce": ({"nonce": "0" * 64}, "malformed"),
    "no nonce": ({"nonce": None}, "malformed"),
    "an empty nonce": ({"nonce": ""}, "malformed"),
    "nonces": ({"nonce": ["a", "b"]}, "malformed"),
    "another audience": ({"aud": "another-client"}, "malformed"),
    "another audience, and us as its party": ({"aud": "another-client", "azp": CLIENT}, "malformed"),
    "no audience": ({"aud": None}, "malformed"),
    "other audiences": ({"aud": ["another-client", "third"]}, "malformed"),
    "several audiences and no party": ({"aud": [CLIENT, "another-client"]}, "malformed"),
    "another party": ({"aud": [CLIENT, "another-client"], "azp": "another-client"}, "malformed"),
    "another issuer": ({"iss": "http://127.0.0.1:1"}, "malformed"),
    "the issuer with a slash": ({"iss": "ISSUER/"}, "malformed"),
    "issuers": ({"iss": ["ISSUER", "http://evil.example"]}, "malformed"),
    "no issuer": ({"iss": None}, "malformed"),
    "over": ({"exp": -400}, "expired"),
    "over just now": ({"exp": -61}, "expired"),
    "no end": ({"exp": None}, "malformed"),
    "an end in words": ({"exp": "tomorrow"}, "malformed"),
    "not yet": ({"nbf": 400}, "malformed"),
    "made in the future": ({"iat": 400}, "malformed"),
    "not made": ({"iat": None}, "malformed"),
    "no subject": ({"sub": None}, "malformed"),
    "another access token": ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "malformed"),
    "no address": ({"email": None}, "missing"),
    "addresses": ({"email": ["ana@example.com"]}, "missing"),
    "an address not verified": ({"email_verified": False}, "unknown"),
    "an address of which nothing is said": ({"email_verified": None}, "unknown"),
    "verified in words": ({"email_verified": "true"}, "unknown"),
    "verified as a number": ({"email_verified": 1}, "unknown"),
    "a stranger": ({"email": "eve@example.com"}, "unknown"),
    "in capitals": ({"email": "Ana@example.com"}, "unknown"),
    "with a space": ({"email": "ana@example.com "}, "unknown"),
    "a look-alike": ({"email": "аna@example.com"}, "unknown"),
}


@in_loop
async def test_a_token_that_is_not_in_order_is_nobodys() -> None:
    """However well it is signed."""
    async with site() as s:
        for name, (changes, cause) in WRONG_CLAIMS.items():
            s.desk.time.pass_seconds(600)
            s.provider.changes = {claim: meant(s, claim, value) for claim, value in changes.items()}
            browser = Browser(s.desk)
            await s.refuses(browser, s.provider.answer(await s.leave(browser)), cause, case=name)
            s.provider.changes = {}
            assert (await s.sign_in(browser)).status == 200, name  # all else was right


def meant(s: Site, claim: str, value: Any) -> Any:
    """A claim's value: times count from now, ISSUER is the provider."""
    if claim in ("exp", "nbf", "iat") and isinstance(value, int):
        return s.desk.time.now() // 1_000_000_000 + value
    if isinstance(value, list):
        return [meant(s, claim, each) for each in value]
    return value.replace("ISSUER", s.provider.issuer) if isinstance(value, str) else value


SIGNATURES: dict[str, Callable[[dict[str, Any]], str]] = {
    "none at all": oidc_rogue.unsigned,
    "by the public key as a secret": oidc_rogue.by_public_key,
    "by the client's secret": oidc_rogue.by_client_secret,
    "by another provider's key": lambda claims: signed(claims, OTHER_KEY),
    "by a key of its own header": lambda claims: signed(claims, OTHER_KEY, jwk=OTHER_KEY.as_dict(private=False)),
    "by a key at an address of its own": lambda claims: signed(claims, OTHER_KEY, jku="http://evil.example/keys"),
    "by a key that is not published": lambda claims: signed(claims, NEW_KEY),
    "for other claims": oidc_rogue.tampered,
    "with an extension that must be understood": oidc_rogue.with_extension,
    "cut off": lambda claims: signed(claims).rpartition(".")[0] + ".",
    "no token": lambda claims: "x",
    "five parts": lambda claims: "a.b.c.d.e",
    "nothing": lambda claims: "",
}


@in_loop
async def test_a_token_that_the_provider_did_not_sign_is_nobodys() -> None:
    """Whatever its header says of how to look at it."""
    async with site() as s:
        for name, sign in SIGNATURES.items():
            s.desk.time.pass_seconds(600)
            s.provider.sign = sign
            browser = Browser(s.desk)
            await s.refuses(browser, s.provider.answer(await s.leave(browser)), "malformed", case=name)
            s.provider.sign = signed
            assert (await s.sign_in(browser)).status == 200, name


@in_loop
async def test_a_shared_secret_among_the_keys_signs_nothing() -> None:
    """Nor does a key for another algorithm."""
    async with site() as s:
        browser = Browser(s.desk)
        shared = base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("=")
        s.provider.keys = [{"kty": "oct", "kid": "one", "k": shared}, NEW_KEY.as_dict(private=False)]
        s.provider.sign = oidc_rogue.by_client_secret
        await s.refuses(browser, s.provider.answer(await s.leave(browser)), "malformed")


@in_loop
async def test_new_keys_are_fetched_and_not_for_each_forger() -> None:
    """A key that is not known has them fetched anew, once in a while."""
    async with site() as s:
        browser = Browser(s.desk)
        assert (await s.sign_in(browser)).status == 200
        s.provider.keys.append(NEW_KEY.as_dict(private=False))
        s.provider.sign = lambda claims: signed(claims, NEW_KEY)
        s.desk.time.pass_seconds(31)
        assert (await s.sign_in(Browser(s.desk))).status == 200
        assert s.provider.asked.count("keys") == 2
        s.provider.sign = lambda claims: signed(claims, OTHER_KEY, kid="three")
        for _ in range(3):
            await s.refuses(other := Browser(s.desk), s.provider.answer(await s.leave(other)), "malformed")
        assert s.provider.asked.count("keys") == 2
        assert s.provider.asked.count("discovery") == 1


@in_loop
async def test_an_answer_is_good_once_and_in_the_browser_that_asked() -> None:
    """A state again, another's state, a made-up one, none; the same with another's code."""
    async with site() as s:
        browser, victim = Browser(s.desk), Browser(s.desk)
        url, other = await s.leave(browser), await s.leave(victim)
        mine, kept, his = s.provider.answer(url), dict(browser.cookies), dict(victim.cookies)
        state = parse_qs(urlsplit(other).query)["state"][0]
        await s.refuses(Browser(s.desk), mine, "mismatch")  # no cookie: a link that somebody sent
        await s.refuses(Browser(s.desk, dict(his)), mine, "mismatch")  # signing somebody in as me
        for wrong in ("0" * 64 + ".Lw", None, "", state):
            await s.refuses(Browser(s.desk, dict(kept)), s.provider.answer(url, state=wrong), "mismatch")
        assert "token" not in s.provider.asked


@in_loop
async def test_an_answer_that_was_used_is_used_up() -> None:
    """With the very same cookie; and the provider's code was used up as well."""
    async with site() as s:
        browser = Browser(s.desk)
        query = s.provider.answer(await s.leave(browser))
        kept = dict(browser.cookies)
        assert (await s.back(browser, query)).status == 200
        await s.refuses(Browser(s.desk, dict(kept)), query, "mismatch")
        assert s.provider.asked.count("token") == 1
        fresh = Browser(s.desk)
        state = parse_qs(urlsplit(await s.leave(fresh)).query)["state"][0]
        code = parse_qs(query)["code"][0]
        await s.refuses(fresh, f"code={code}&state={state}", "unknown")  # the code again, by a new sign-in


@in_loop
async def test_a_code_of_another_sign_in_is_not_taken() -> None:
    """PKCE: a code that was stolen on its way is worth nothing in the thief's own sign-in."""
    async with site() as s:
        victim, thief = Browser(s.desk), Browser(s.desk)
        code = parse_qs(s.provider.answer(await s.leave(victim)))["code"][0]
        state = parse_qs(urlsplit(await s.leave(thief)).query)["state"][0]
        await s.refuses(thief, f"code={code}&state={state}", "unknown")


@in_loop
async def test_an_answer_comes_in_time_and_whole() -> None:
    """Not after ten minutes; no parameter twice; the way on that its state has is covered by it."""
    async with site() as s:
        browser = Browser(s.desk)
        query = s.provider.answer(await s.leave(browser))
        kept = dict(browser.cookies)
        await s.refuses(Browser(s.desk, dict(kept)), f"{query}&code=other", "mismatch")
        for elsewhere in (b"//evil", b"/halts"):
            moved = query.replace(".Lw", "." + base64.urlsafe_b64encode(elsewhere).decode().rstrip("="))
            assert moved != query
            await s.refuses(Browser(s.desk, dict(kept)), moved, "mismatch")
        s.desk.time.pass_seconds(599)
        url = await s.leave(late := Browser(s.desk))
        s.desk.time.pass_seconds(1)
        await s.refuses(Browser(s.desk, dict(kept)), query, "mismatch")
        s.desk.time.pass_seconds(598)
        assert (await s.back(late, s.provider.answer(url))).status == 200


@in_loop
async def test_another_providers_answer_is_not_taken() -> None:
    """RFC 9207: where an answer says whose it is, or should."""
    async with site() as s:
        browser = Browser(s.desk)
        await s.refuses(browser, s.provider.answer(await s.leave(browser), iss="http://evil.example"), "mismatch")
        assert (await s.back(browser, s.provider.answer(await s.leave(browser), iss=s.provider.issuer))).status == 200
    async with site() as s:
        s.provider.discovered = {"authorization_response_iss_parameter_supported": True}
        browser = Browser(s.desk)
        await s.refuses(browser, s.provider.answer(await s.leave(browser)), "mismatch")


@in_loop
async def test_what_the_provider_says_went_wrong_is_not_repeated() -> None:
    """A code of the standard's is; nothing else of a link that anybody could have made."""
    async with site() as s:
        browser = Browser(s.desk)
        wild = "<script>evil(1)</script>"
        denied = s.provider.answer(await s.leave(browser), code=None, error="access_denied", error_description=wild)
        answer = await s.refuses(browser, denied, "missing")
        assert "access_denied" in answer.text and "evil" not in answer.text
        answer = await s.refuses(browser, s.provider.answer(await s.leave(browser), code=None, error=wild), "missing")
        assert "evil" not in answer.text
        await s.refuses(browser, s.provider.answer(await s.leave(browser), code=None), "missing")


@in_loop
async def test_another_sites_link_does_not_begin_a_sign_in() -> None:
    """It leads to the form."""
    async with site() as s:
        for where in ("cross-site", "same-site"):
            answer = await s.desk.ask("GET", "/sign-in/oidc", headers={"Sec-Fetch-Site": where})
            assert (answer.status, answer.header("location")) == (303, "/sign-in")
        assert s.provider.asked == []


BROKEN: dict[str, Callable[[], web.Response]] = {
    "an error": lambda: web.Response(status=500, text="<b>"),
    "no JSON": lambda: web.Response(text="<html>"),
    "a list": lambda: web.json_response([]),
    "a redirect": lambda: web.HTTPFound("http://127.0.0.1:1/"),
    "too much": lambda: web.Response(body=b"{" + b" " * MAX_ANSWER_BYTES + b"}"),
    "compressed": lambda: web.Response(body=b"x" * 10, headers={"Content-Encoding": "gzip"}),
    "an error that is none": lambda: web.json_response({}, status=503),
}


@in_loop
async def test_a_provider_that_is_broken_signs_nobody_in() -> None:
    """The page says that it is, and the log why; whether at the start or at the end."""
    async with site() as s:
        for name, broken in BROKEN.items():
            s.desk.time.pass_seconds(3600)  # what it said of itself is forgotten
            browser = Browser(s.desk)
            s.provider.discovery = broken
            answer = await browser.get("/sign-in/oidc", NAVIGATED)
            assert (answer.status, "cannot be asked now" in answer.text) == (502, True), name
            s.provider.discovery = None
            url = await s.leave(browser)
            s.provider.token = broken
            await s.refuses(browser, s.provider.answer(url), "", 502, case=name)


@in_loop
async def test_no_more_of_an_answer_is_read_than_a_provider_has_to_say() -> None:
    """However right it is; a little less is read."""
    async with site() as s:
        for size, status in ((MAX_ANSWER_BYTES + 1, 502), (MAX_ANSWER_BYTES - 2000, 303)):
            s.provider.discovered = {"x": "x" * size}
            assert (await Browser(s.desk).get("/sign-in/oidc", NAVIGATED)).status == status


DISCOVERED: dict[str, dict[str, Any]] = {
    "another issuer": {"issuer": "https://evil.example"},
    "the issuer with a slash": {"issuer": "ISSUER/"},
    "no issuer": {"issuer": None},
    "a token endpoint in the clear": {"token_endpoint": "http://provider.example.com/token"},
    "keys in the clear": {"jwks_uri": "http://provider.example.com/keys"},
    "another scheme": {"authorization_endpoint": "javascript:alert(1)"},
    "a number": {"token_endpoint": 1},
    "no keys": {"jwks_uri": None},
}


@in_loop
async def test_a_provider_that_leads_elsewhere_is_not_followed() -> None:
    """Nothing secret goes in the clear, and nobody is sent to a script."""
    async with site() as s:
        for name, said in DISCOVERED.items():
            s.provider.discovered = {key: meant(s, key, value) for key, value in said.items()}
            assert (await Browser(s.desk).get("/sign-in/oidc", NAVIGATED)).status == 502, name


@pytest.mark.parametrize("issuer", ["http://provider.example.com", "http://127.0.0.1.evil.example", "ftp://x", "", "x"])
def test_an_issuer_that_secrets_must_not_go_to_does_not_start(issuer: str) -> None:
    """Plain http is for this machine alone."""
    with pytest.raises(ProviderFailed, match="https"):
        Provider(OidcSettings(issuer, CLIENT, SECRET), "http://localhost/back", time.time_ns)


@in_loop
async def test_a_provider_that_takes_the_secret_in_the_form_gets_it_there() -> None:
    """Where it says that it takes it so alone."""
    async with site() as s:
        s.provider.discovered = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
        assert (await s.sign_in(Browser(s.desk))).status == 200
        assert s.provider.sent[0]["client_secret"] == SECRET
    async with site() as s:
        assert (await s.sign_in(Browser(s.desk))).status == 200
        assert "client_secret" not in s.provider.sent[0]


@in_loop
async def test_a_provider_that_is_away_is_told_and_found_again() -> None:
    """Nothing of its absence stays."""
    async with site() as s:
        port, s.provider.discovered = s.provider.port, {"token_endpoint": "http://127.0.0.1:1/token"}
        browser = Browser(s.desk)
        await s.refuses(browser, s.provider.answer(await s.leave(browser)), "", 502)
        s.provider.discovered = {}
        s.desk.time.pass_seconds(3601)
        assert (await s.sign_in(Browser(s.desk))).status == 200
        assert port == s.provider.port


@in_loop
async def test_who_is_no_longer_listed_under_that_name_is_out() -> None:
    """At the next request; and roles are the catalogue's alone, whatever the provider says."""
    async with site() as s:
        s.provider.claims |= {"roles": ["operator"], "groups": ["operator"]}
        browser = Browser(s.desk)
        await s.sign_in(browser)
        assert (await browser.get("/budgets")).status == 200
        nothing = Person((), PEOPLE["ana"].identity)
        s.desk.identities.use(replace(CATALOGUE, people={**PEOPLE, "ana": nothing}))
        assert (await browser.get("/budgets")).status == 403
        other = Person(("auditor",), Identity(oidc=("ana@example.org",)))
        s.desk.identities.use(replace(CATALOGUE, people={**PEOPLE, "ana": other}))
        assert (await browser.get("/budgets")).status == 303


@in_loop
async def test_a_name_that_two_have_is_nobodys() -> None:
    """Whoever let that happen."""
    async with site() as s:
        eve = Person(("operator",), Identity(oidc=("ana@example.com",)))
        s.desk.identities.use(replace(CATALOGUE, people={**PEOPLE, "eve": eve}))
        browser = Browser(s.desk)
        await s.refuses(browser, s.provider.answer(await s.leave(browser)), "ambiguous")


@in_loop
async def test_failures_at_the_provider_are_limited_too() -> None:
    """Forged answers ask the provider nothing after a while, nor before it."""
    async with site() as s:
        found = [(await s.back(Browser(s.desk), "code=a&state=b")).status for _ in range(12)]
        assert found == [401] * 10 + [429] * 2
        assert s.provider.asked == []


@in_loop
async def test_without_a_provider_there_is_no_way_to_it() -> None:
    """Neither button nor page."""
    async with desk() as d:
        assert "oidc" not in (await d.ask("GET", "/sign-in")).text
        for path in ("/sign-in/oidc", "/sign-in/oidc/callback?code=a&state=b"):
            assert (await d.ask("GET", path)).status == 404
