"""The console's pages: what they show, to whom, and what they say when something is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from fakes.console_fake import CSRF, EUR, OverviewFake, body, harness, person
from fakes.console_html import Page
from fakes.console_story import GRANT, LARGE, LIVE, MAIL, MINUTE, OLD, story
from remit.core.answer import Resolved
from remit.core.approval import State, Terms
from remit.core.call import Resolution
from remit.core.errors import Forbidden, PolicyFailure, StoreUnavailable
from remit.core.model import Subject
from remit.core.reason import Reason
from remit.ports import Reservation, WorkflowState
from starlette.testclient import TestClient

PAGES = [
    "/",
    "/budgets",
    "/budget?id=cx-month",
    "/budget?id=agent-day&scope=support",
    "/budget?id=pilot",
    "/workflows",
    f"/workflows/{LIVE}",
    f"/workflows/{OLD}",
    "/decisions",
    "/decisions/d_02",
    "/decisions/d_03",
    "/decisions/t_04",
    "/decisions/d_10",
    "/halts",
    "/decisions/d_06",
    "/decisions/d_20",
    "/approvals",
    "/approvals?state=approved",
    f"/approvals/{LARGE}",
    f"/approvals/{MAIL}",
    f"/approvals/{GRANT}",
    "/open-ends",
    "/approvals/none",
    "/decisions/none",
    "/budget?id=none",
]


@pytest.fixture(name="overview")
def overview_fixture() -> OverviewFake:
    return story()


@pytest.fixture(name="client")
def client_fixture(overview: OverviewFake) -> TestClient:
    return TestClient(harness(overview))


def as_somebody(overview: OverviewFake, subject: Subject | None) -> TestClient:
    return TestClient(harness(overview, subject=lambda: subject))


@pytest.mark.parametrize("path", PAGES)
def test_every_page_can_be_read_without_a_mouse_or_eyes(client: TestClient, path: str) -> None:
    """One heading, a language, a way past the navigation, a label for each field, a header for each column."""
    page = Page(client.get(path).text)

    assert len(page.all("h1")) == 1 and page.all("h1")[0].text.strip()
    assert page.all("html")[0].attributes == {"lang": "en"}
    assert page.all("a")[0].attributes == {"class": "skip", "href": "#main"}
    assert page.all("title")[0].text.endswith("Remit desk")
    labelled = {each.attributes["for"] for each in page.all("label")}
    fields = [each for each in page.all("input") + page.all("select") if each.attributes.get("type") != "hidden"]
    assert {each.attributes.get("id") for each in fields} <= labelled
    assert all(each.attributes.get("scope") == "col" for each in page.all("th"))
    ids = [each.attributes["id"] for each in page.elements if "id" in each.attributes]
    assert len(ids) == len(set(ids))
    assert all("aria-hidden" in each.attributes or "role" in each.attributes for each in page.all("svg"))


@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_anything_inline(client: TestClient, path: str) -> None:
    """No script or style in the page, no handler in an attribute, nothing from elsewhere."""
    page = Page(client.get(path).text)

    assert page.all("style") == [] and page.all("script") == []
    for each in page.elements:
        assert not [name for name in each.attributes if name.startswith("on") or name == "style"]
        for name in ("href", "src", "action", "hx-get"):
            assert each.attributes.get(name, "/")[0] in "/#"
            assert not each.attributes.get(name, "/").startswith("//")


def test_every_link_leads_somewhere(client: TestClient) -> None:
    """Whatever is linked to from a page is there."""
    found = {each.attributes["href"] for path in PAGES for each in Page(client.get(path).text).all("a")}
    missing = {each for each in found if each[0] == "/" and client.get(each).status_code != 200}

    assert missing == set()
    assert len(found) > 40


def test_the_first_page_tells_what_needs_eyes(client: TestClient) -> None:
    """Halts with who and why, budgets near their limit, and what was refused before what was allowed."""
    text = Page(client.get("/").text).text

    assert "service mailer is halted by ana since 2026-11-26 14:45:00.000Z: bounces since the release" in text
    assert "agent-day support 100 % used up 0 EUR left of 20 EUR" in text
    assert "cx-month 90 % near its limit 46.75 EUR left of 500 EUR" in text
    assert "ml-month" not in text
    refused, latest = text.index("Refused or held"), text.index("Latest decisions")
    assert "DENY" in text[refused:latest] and "HOLD" in text[refused:latest]
    assert "ALLOW" not in text[refused:latest] and "ALLOW" in text[latest:]


def test_a_calm_installation_says_so(overview: OverviewFake) -> None:
    """Nothing to see is told, not left empty."""
    text = Page(as_somebody(OverviewFake(), person()).get("/").text).text

    for told in (
        "Nothing waits for an approval.",
        "Everything that was allowed was reported.",
        "Nobody holds a claim.",
    ):
        assert told in text
    for told in ("Nothing is halted.", "None of 0 has 80 %", "None of the latest 0", "Nothing has been decided yet."):
        assert told in text


def test_who_may_not_read_decisions_still_sees_budgets_and_halts(overview: OverviewFake) -> None:
    """What is not for somebody leaves the rest of the first page as it is; its own page is a 403 that says why."""
    client = as_somebody(overview, person("cleo", "finance"))
    home, decisions = client.get("/"), client.get("/decisions")

    assert "cx-month" in home.text and "mailer" in home.text and "only people with the role" in home.text
    assert decisions.status_code == 403
    assert "only people with the role auditor or operator see every decision" in Page(decisions.text).text


def test_nobody_sees_nothing(overview: OverviewFake) -> None:
    """Without a person no page shows anything, and no act is done."""
    client = as_somebody(overview, None)
    acts = [client.post(path, data={"scope": "all", "reason": "x"}) for path in ("/halts", "/halts/resume")]

    assert {client.get(path).status_code for path in PAGES} == {401}
    assert [each.status_code for each in acts] == [401, 401]
    assert len(overview.stopped) == 2


def test_budgets_are_told_exactly(client: TestClient) -> None:
    """Limit, spent, held and left as exact decimals, with the window and the bar in words."""
    page = Page(client.get("/budgets").text)

    assert "500 EUR 431.25 EUR 22 EUR 46.75 EUR 2026-11-01 00:00:00Z to 2026-12-01 00:00:00Z 85 % has" in page.text
    assert "80 EUR 12.345 EUR 0 EUR 67.655 EUR never ends" in page.text
    bars = [each.attributes for each in page.all("svg") if each.attributes.get("class", "").startswith("bar")]
    assert [each["aria-label"] for each in bars][:3] == [
        "35 % spent or held",
        "100 % spent or held",
        "90 % spent or held",
    ]


def test_thousands_of_budgets_are_shown_page_by_page(overview: OverviewFake) -> None:
    """A budget per agent has a row for each: a page has a hundred, and the first page the nearest dozen."""
    near = replace(overview.rooms[0], limit=100, spent=90, held=0)
    overview.rooms = [replace(near, row=replace(near.row, scope=f"agent-{n:04d}")) for n in range(1, 1202)]
    client = as_somebody(overview, person())
    first, last, beyond = (Page(client.get(f"/budgets?page={n}").text) for n in (1, 13, 14))

    assert "agent-0001" in first.text and "agent-0100" in first.text and "agent-0101" not in first.text
    assert "page 1 of 13, 1201 rows Later budgets" in first.text and "Earlier" not in first.text
    assert "agent-1201" in last.text and "Earlier budgets page 13 of 13" in last.text and "Later" not in last.text
    assert "There are only 13 pages. Earlier budgets page 14" in beyond.text
    assert 'href="/budgets?page=13"' in client.get("/budgets?page=14").text
    assert "These are the nearest of 1201." in Page(client.get("/").text).text
    assert {client.get(f"/budgets?page={said}").status_code for said in ("0", "-1", "x", "1" * 9)} == {400}


def test_a_burn_down_has_a_picture_and_a_table(client: TestClient) -> None:
    """Spending against the limit and an even pace, and the same hour by hour for who cannot see it."""
    page = Page(client.get("/budget?id=cx-month").text)
    classes = {each.attributes.get("class") for each in page.elements}

    assert {"area", "pace", "limit", "line", "now", "hourly"} <= classes
    assert "by an even pace about 428.29 EUR would be spent by now" in page.text
    assert "At the pace so far the limit is reached on 2026-11-30 19:04:00Z." in page.text
    assert len(page.all("tr")) == 310
    endless = Page(client.get("/budget?id=pilot").text)
    assert "pace" not in {each.attributes.get("class") for each in endless.elements}


def test_workflows_are_paged_by_their_ids() -> None:
    """Fifty a page, the newest first; the older ones are a link away, and each is seen once."""
    overview = OverviewFake()
    overview.flows = [WorkflowState(f"w_{n:04}", "a", (), (), 0, "closed", 1) for n in range(120)]
    client, path, seen = TestClient(harness(overview)), "/workflows", []
    while path:
        links = [each.attributes["href"] for each in Page(client.get(path).text).all("a")]
        seen += [each.removeprefix("/workflows/") for each in links if each.startswith("/workflows/w_")]
        path = next((each for each in links if "before=" in each and each != path), "")

    assert seen == [f"w_{n:04}" for n in reversed(range(120))]


def test_decisions_are_paged_by_their_time() -> None:
    """Fifty a page, each seen once."""
    overview = OverviewFake()
    for n in range(120):
        overview.add(f"d_{n:04}", body())
    client, path, seen = TestClient(harness(overview)), "/decisions", []
    while path:
        links = [each.attributes["href"] for each in Page(client.get(path).text).all("a")]
        seen += [each.removeprefix("/decisions/") for each in links if each.startswith("/decisions/d_")]
        path = next((each for each in links if "before=" in each and each != path), "")

    assert seen == [f"d_{n:04}" for n in reversed(range(120))]


def test_a_workflow_is_a_tree_across_logs(client: TestClient) -> None:
    """Children below their parents whatever their log; reports and lapses with their decision; what was erased."""
    text = Page(client.get(f"/workflows/{LIVE}").text).text

    assert "open · 12 records · decisions: 5 ALLOW, 2 DENY, 1 HOLD, 1 erased; spent 0.0187 EUR" in text
    assert "sidecar-b #1 ✓ ALLOW support api.call service openai/chat/small" in text
    assert "cost 0.0137 EUR settled, of 0.02 EUR reserved sidecar-b #2 report succeeded settled" in text
    assert "sidecar-a #6 lapse lapsed" in text
    assert "labels held pii (from sidecar-a #2), untrusted" in text
    assert "✕ DENY observed only analysis" in text
    assert "erased support decision (body erased)" in text
    assert text.index("sidecar-b #1") < text.index("sidecar-b #3") < text.index("sidecar-a #3")


def test_a_long_workflow_is_paged() -> None:
    """Two hundred records a page; a record whose parent is on another page names and links it."""
    overview = OverviewFake()
    overview.flows = [WorkflowState("w_long", "a", (), (), 0, "open", 1)]
    for n in range(450):
        overview.add(f"d_{n}", body(), workflow="w_long", parent=f"d_{n - 1}" if n else "")
    client = TestClient(harness(overview))
    pages = [Page(client.get(f"/workflows/w_long?page={n}").text) for n in (1, 2, 3)]
    items = [[each for each in page.all("li") if each.attributes.get("id", "").startswith("r-")] for page in pages]

    assert [len(each) for each in items] == [200, 200, 50]
    assert "records 201 to 400" in pages[1].text
    assert "follows d_199" in pages[1].text
    assert "Later records" not in pages[2].text and "Earlier records" in pages[2].text


def test_a_live_tree_comes_only_when_it_has_changed(overview: OverviewFake) -> None:
    """Asked with what was seen, nothing comes until there is more; a failure that was shown is cleared."""
    client = TestClient(harness(overview, htmx=b"//"))
    page = Page(client.get(f"/workflows/{LIVE}").text)
    path = next(each.attributes["hx-get"] for each in page.elements if "hx-get" in each.attributes)
    same, lost = client.get(path), client.get(path + "&lost=1")
    overview.add("d_99", body(), workflow=LIVE)
    more = client.get(path)

    assert (same.status_code, same.content) == (204, b"")
    assert lost.status_code == 200 and 'id="lost" hx-swap-oob="innerHTML"' in lost.text
    assert "r-d_99" in more.text and "13 records" in more.text
    assert "<html" not in more.text


def test_an_erasure_changes_a_live_tree(overview: OverviewFake) -> None:
    """An erased body leaves the chain's hashes as they are, and is seen all the same."""
    client = TestClient(harness(overview, htmx=b"//"))
    page = Page(client.get(f"/workflows/{LIVE}").text)
    path = next(each.attributes["hx-get"] for each in page.elements if "hx-get" in each.attributes)
    overview.erase("d_03")

    assert client.get(path).status_code == 200


def test_a_closed_workflow_is_not_asked_for_again(overview: OverviewFake) -> None:
    """The last answer of a live tree carries no further question."""
    client = TestClient(harness(overview, htmx=b"//"))
    path = f"/workflows/{LIVE}/live?page=1&seen=old"
    before = client.get(path).text
    overview.flows = [WorkflowState(LIVE, "a", (), (), 0, "closed", 2)]

    assert "hx-get" in before and "hx-get" not in client.get(path).text


def test_without_htmx_pages_work(client: TestClient) -> None:
    """No script is named, nothing polls, and the refresh link is there."""
    text = client.get(f"/workflows/{LIVE}").text

    assert "<script" not in text and "hx-get" not in text and "every 2 seconds" not in text
    assert ">Refresh</a>" in text
    assert client.get("/static/htmx.js").status_code == 404


def test_a_decision_tells_all_that_is_known_of_it(client: TestClient) -> None:
    """Who, what, why, facts, labels, budgets, cost, reports, and the place in the journal."""
    text = Page(client.get("/decisions/d_03").text).text

    for told in (
        "access.service: allowed A rule allowed the action and none denied or held it.",
        "proved as spiffe://example/support",
        "reason given draft an answer for the customer",
        "prompt not kept in clear: string of 1841 bytes",
        "held pii from d_02",
        "obliges to log_prompt_digest",
        "cx-month 500 EUR 431 EUR 22 EUR 47 EUR",
        "0.0137 EUR settled, of 0.02 EUR reserved",
        "report succeeded settled",
        "log sidecar-b sequence 1 record d_03",
        "policy revision r7-4f2c91",
        "follows d_02",
        f"workflow {LIVE}",
        "estimate 0.02 EUR",
    ):
        assert told in text


def test_a_refusal_says_what_would_change_it(client: TestClient) -> None:
    """Remit's own codes come with what they mean and their remedy."""
    text = Page(client.get("/decisions/d_05").text).text

    assert "✕ DENY message.send agent mailer-agent/send" in text
    assert "flow.clearance: flow_label_exceeds_clearance The session holds" in text
    assert "Read no column that brings the label" in text


def test_an_erased_body_is_told_as_such(client: TestClient) -> None:
    """What is left is its place in the chain."""
    text = Page(client.get("/decisions/d_10").text).text

    assert "The body of this record was erased by a journalled act" in text
    assert "Place in the journal" in text and "What was asked" not in text


def test_a_halt_is_placed_and_lifted(client: TestClient, overview: OverviewFake) -> None:
    """Policy's answer is shown with its reasons and its record, and what is in force then."""
    asked = {"csrf": CSRF, "scope": "agent", "value": "support", "reason": "it loops"}
    placed = Page(client.post("/halts", data=asked).text).text
    lifted = Page(client.post("/halts/resume", data={**asked, "reason": "repaired"}).text).text

    assert "✓ ALLOW halt agent support" in placed
    assert "access.control: allowed ana may halt agent support" in placed
    assert "placed h_3" in placed and "agent support it loops ana" in placed
    assert "✓ ALLOW resume agent support" in lifted and "lifted h_3" in lifted
    assert len(overview.stopped) == 2


def test_a_refused_halt_says_why_and_keeps_what_was_filled_in(overview: OverviewFake) -> None:
    """DENY is an answer with a reason; nothing is halted."""
    client = as_somebody(overview, person("cleo", "auditor"))
    asked = {"scope": "agent", "value": "support", "reason": "it loops"}
    answer = client.post("/halts", data=asked)
    page = Page(answer.text)

    assert answer.status_code == 403 and len(overview.stopped) == 2
    assert "✕ DENY halt agent support" in page.text and "it takes the role operator" in page.text
    values = {each.attributes.get("name"): each.attributes.get("value") for each in page.all("input")}
    assert (values["value"], values["reason"]) == ("support", "it loops")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"scope": "agent", "value": "support", "reason": " "}, "reason"),
        ({"scope": "agent", "value": "", "reason": "why"}, "value"),
        ({"scope": "agent", "value": "a b", "reason": "why"}, "value"),
        ({"scope": "agent", "value": "nobody", "reason": "why"}, "value"),
        ({"scope": "all", "value": "support", "reason": "why"}, "value"),
        ({"scope": "planet", "value": "support", "reason": "why"}, "scope"),
        ({"scope": "agent", "value": "support", "reason": "x" * 600}, "reason"),
    ],
)
def test_a_wrong_field_is_named_beside_it(client: TestClient, given: dict[str, str], field: str) -> None:
    """What was expected stands at the field, also for who cannot see it; nothing is halted."""
    answer = client.post("/halts", data=given)
    page = Page(answer.text)
    wrong = [each.attributes for each in page.elements if "aria-invalid" in each.attributes]

    assert answer.status_code == 400
    assert [each["name"] for each in wrong] == [field]
    assert any(each.attributes.get("id") == wrong[0]["aria-describedby"] for each in page.elements)


def test_resuming_what_is_not_halted_says_so(client: TestClient) -> None:
    """It may have been resumed by somebody else meanwhile."""
    answer = client.post("/halts/resume", data={"scope": "agent", "value": "gone", "reason": "why"})
    empty = client.post("/halts/resume", data={"scope": "service", "value": "mailer", "reason": ""})

    assert answer.status_code == 404 and "nothing is halted for agent gone" in Page(answer.text).text
    assert empty.status_code == 400 and "reason: expected a reason" in Page(empty.text).text


def test_every_form_carries_its_token(client: TestClient) -> None:
    """As many tokens as forms that post, on every page."""
    for path in PAGES:
        page = Page(client.get(path).text)
        tokens = [each for each in page.all("input") if each.attributes.get("name") == "csrf"]
        assert len(tokens) == len(page.all("form"))
        assert {each.attributes["value"] for each in tokens} == {CSRF}
        assert {each.attributes["method"] for each in page.all("form")} == {"post"}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (StoreUnavailable("host db.internal:5432 refused"), "The store cannot be reached just now."),
        (PolicyFailure(Reason.PDP_UNAVAILABLE, "socket"), "OPA could not be reached"),
    ],
)
def test_what_cannot_be_reached_is_told_and_the_next_request_works(
    overview: OverviewFake, client: TestClient, error: Any, told: str
) -> None:
    """A 503 with what it is and a way on, without the detail, which may name hosts; an act says that it may repeat."""
    overview.failing = error
    for path in PAGES[:10]:
        answer = client.get(path)
        assert answer.status_code == 503
        assert told in Page(answer.text).text and "Try again" in answer.text
        assert error.detail not in answer.text
    act = client.post("/halts", data={"scope": "agent", "value": "support", "reason": "why"})
    live = client.get(f"/workflows/{LIVE}/live", headers={"HX-Request": "true"})
    overview.failing = None

    assert act.status_code == 503 and "As far as is known, nothing was changed." in act.text
    assert live.status_code == 503 and "<html" not in live.text and 'name="lost"' in live.text
    assert {client.get(path).status_code for path in PAGES[:10]} == {200}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/decisions/%00", 404),
        ("/decisions/a%20b", 404),
        ("/workflows/%E2%80%AEx", 404),
        ("/workflows?before=%00", 400),
        ("/decisions?before=-1", 400),
        ("/decisions?before=99999999999999999999", 400),
        (f"/workflows/{LIVE}?page=0", 400),
        (f"/workflows/{LIVE}?page=9999", 400),
        (f"/workflows/{LIVE}?page=%D9%A1", 400),
        ("/approvals/%00", 404),
        ("/approvals?before=%00", 400),
        ("/approvals?state=%3Cb%3E", 400),
        ("/budget?id=%00&scope=%3Cb%3E", 404),
    ],
)
def test_what_is_asked_for_wrongly_is_never_asked_of_the_store(client: TestClient, path: str, status: int) -> None:
    """An id or a number that cannot be one is told apart before anything is looked up."""
    answer = client.get(path)

    assert answer.status_code == status
    Page(answer.text)


def test_a_budget_without_a_limit_is_full(overview: OverviewFake) -> None:
    """A limit of nothing, or less after an adjustment, leaves nothing, and no share of it is reckoned."""
    room = overview.rooms[0]
    overview.rooms = [type(room)(room.row, limit, 0, 0) for limit in (0, -5 * EUR)]
    text = Page(TestClient(harness(overview)).get("/budgets").text).text

    assert text.count("100 % used up") == 2


def fill(verdict: str = "approve", reason: str = "it is needed", version: int = 3) -> dict[str, str]:
    """The form of an approval."""
    return {"csrf": CSRF, "verdict": verdict, "reason": reason, "version": str(version)}


def test_the_first_page_counts_what_waits(client: TestClient) -> None:
    """For whom, since when; what nobody reported, and what is claimed."""
    text = Page(client.get("/").text).text

    assert "‖ 2 approvals wait, 2 for you; the oldest for 12 min." in text
    assert "▲ 3 allowed and not reported yet, 2 of them late; the oldest by 1 h." in text
    assert "2 claims held; the oldest for 21 min." in text


def test_who_may_not_see_every_approval_sees_those_that_they_may_resolve(overview: OverviewFake) -> None:
    """What others are asked is not there; open ends are for everybody."""
    client = as_somebody(overview, person("cleo", "finance"))
    home, ends, waiting = (Page(client.get(path).text).text for path in ("/", "/open-ends", "/approvals"))

    assert "1 approval waits, 1 for you" in home and "only people with the role" in home
    assert "d_08" in ends and "customer 4711" in ends
    assert "openai/chat/large" in waiting and "mailer-agent" not in waiting


def test_what_is_not_for_somebody_leaves_the_rest_of_the_page(overview: OverviewFake) -> None:
    """Each part says by itself why it is not shown."""

    class Closed(OverviewFake):
        async def unresolved(self, subject: Subject, limit: int, /) -> Sequence[Reservation]:
            raise Forbidden("effects are for others to see")

    closed = Closed(claimed=overview.claimed)
    for path in ("/", "/open-ends"):
        page = as_somebody(closed, person()).get(path)
        assert page.status_code == 200 and "effects are for others to see" in page.text
    assert "customer 4711" in page.text


def test_approvals_that_wait_come_first(client: TestClient) -> None:
    """The newest first, with who asks for what, why, under which labels, at what cost, and who may answer how long."""
    page = Page(client.get("/approvals").text)

    assert "2 wait · 2 for you to resolve" in page.text
    assert page.text.index("mailer-agent/send") < page.text.index("openai/chat/large") < page.text.index("book_refund")
    for told in (
        "‖ pending for you api.call service openai/chat/large 7 times, 2 things in " + LIVE,
        "analysis (cx) 2026-11-26 16:33:00Z approval.variant: approval_required “the small model left out half",
        "pii untrusted 20 EUR people with the role finance or operator may answer for 48 min",
        "supervisor lead may answer for 59 min",
        "✓ approved data.write dataset ledger/book_refund support (cx)",
        "27 EUR good until 2026-11-26 17:45:00Z",
        "✕ denied",
        "○ expired",
        "✕ revoked",
    ):
        assert told in page.text


def test_approvals_are_chosen_by_where_they_stand(client: TestClient) -> None:
    """One state and no other."""
    for state in ("pending", "approved", "denied", "expired", "revoked"):
        page = Page(client.get(f"/approvals?state={state}").text)
        shown = [each.text for each in page.all("span") if each.attributes.get("class", "").startswith("effect")]
        assert {each.split()[-1] for each in shown} == {state}
        assert len(shown) == (2 if state == "pending" else 1)


def test_approvals_are_paged_by_their_ids(overview: OverviewFake) -> None:
    """Fifty a page, the newest first; each is seen once, and a page of older ones does not change by itself."""
    (large, *_) = overview.waiting
    overview.waiting = [replace(large, id=f"a_{n:04}") for n in range(120)]
    client, path, seen = TestClient(harness(overview, htmx=b"//")), "/approvals", []
    first = client.get(path).text
    while path:
        page = Page(client.get(path).text)
        links = [each.attributes["href"] for each in page.all("a")]
        seen += [each.removeprefix("/approvals/") for each in links if each.startswith("/approvals/a_")]
        path = next((each for each in links if "before=" in each and each != path), "")

    assert seen == [f"a_{n:04}" for n in reversed(range(120))]
    assert "50 or more wait" in Page(first).text and "hx-get" in first
    assert "hx-get" not in client.get("/approvals?state=pending&before=a_0100").text


def test_a_new_approval_comes_by_itself(overview: OverviewFake) -> None:
    """Asked with what was seen, nothing comes until something is new, has changed, or has a minute less to wait."""
    client = TestClient(harness(overview, htmx=b"//"))

    def path() -> str:
        page = Page(client.get("/approvals").text)
        return next(each.attributes["hx-get"] for each in page.elements if "hx-get" in each.attributes)

    asked = path()
    same, lost = client.get(asked), client.get(asked + "&lost=1")
    overview.waiting.append(replace(overview.waiting[0], id="a_new"))
    new, asked = client.get(asked), path()
    overview.waiting[-1] = replace(overview.waiting[-1], version=4, state=State.DENIED)
    changed, asked = client.get(asked), path()
    overview.time += MINUTE
    later = client.get(asked)

    assert (same.status_code, same.content) == (204, b"")
    assert lost.status_code == 200 and 'id="lost" hx-swap-oob="innerHTML"' in lost.text
    assert "/approvals/a_new" in new.text and "3 wait" in new.text and "<html" not in new.text
    assert "2 wait" in changed.text and "47 min" in later.text


def test_an_approval_tells_all_that_it_is_about(client: TestClient) -> None:
    """What was asked for, what approving it allows, who is asked, what was said; arguments to who is cleared."""
    large, mail = (Page(client.get(f"/approvals/{each}").text).text for each in (LARGE, MAIL))

    for told in (
        "‖ pending api.call service openai/chat/large analysis of team cx asked at 2026-11-26 16:33:00.000Z",
        "reason given the small model left out half of the complaints",
        "Held by approval.variant: approval_required in d_06",
        "good for the same agent, workflow, service, operation and variant, whatever the arguments",
        "uses 50 of each thing all uses together at most 20 EUR lasts 4 h from when it is approved",
        "must approve 2 of those who are asked each is asked for 1 h",
        "is asked now people with the role finance or operator",
        "at most 0.41 EUR a use · asked 5 times · under untrusted",
        "arguments/messages/0/content Summarise the complaints of this week",
        "told by their digest: they take clearance for pii, untrusted. digest 77c077c0",
        "person ben approves: only until the summary is done 2026-11-26 16:40:00.000Z d_20",
    ):
        assert told in large
    assert "is asked now supervisor lead not asked yet supervisor ben not asked yet people with the role" in mail
    assert "What would be allowed instead arguments/attachment (left out)" in mail
    assert "x@example.com" not in mail


def test_what_has_ended_shows_no_arguments(client: TestClient) -> None:
    """They are not kept; what was done under a grant is counted."""
    text = Page(client.get("/approvals/a_065229000001").text).text

    assert "What was asked for is not kept once it has ended" in text
    assert "person ana approves: as agreed with finance" in text
    assert "person ana takes it back: the account was taken over" in text
    assert "done 2 times for 13 EUR" in text and "<form" not in text


def test_an_approval_is_resolved(client: TestClient, overview: OverviewFake) -> None:
    """Policy's answer is shown with its record, and what it has become; then it can be taken back, once."""
    path = f"/approvals/{LARGE}"
    approved = Page(client.post(path, data=fill()).text)
    back = Page(client.post(path, data=fill("deny", "the week is over", 4)).text)

    assert "✓ ALLOW approve" in approved.text and "access.control: allowed ana says approve" in approved.text
    assert "✓ approved api.call" in approved.text and "Take it back" in approved.text
    assert [each.attributes["value"] for each in approved.all("option")] == ["deny"]
    assert "✓ ALLOW take back" in back.text and "person ana takes it back: the week is over" in back.text
    assert overview.waiting[0].state is State.REVOKED
    assert back.all("select") == []


def test_what_is_not_enough_waits_on(client: TestClient, overview: OverviewFake) -> None:
    """One of two who must approve; passing it on asks the next, and what was said stays."""
    overview.waiting[0] = replace(overview.waiting[0], votes=())
    large = Page(client.post(f"/approvals/{LARGE}", data=fill()).text)
    passed = Page(client.post(f"/approvals/{MAIL}", data=fill("hold", "not mine", 1)).text)

    assert "✓ ALLOW approve" in large.text and "‖ pending api.call" in large.text and "Resolve it" in large.text
    versions = {each.attributes["name"]: each.attributes["value"] for each in large.all("input")}
    assert (versions["version"], versions["reason"]) == ("4", "")
    assert "was asked before supervisor lead is asked now supervisor ben" in passed.text


def test_what_has_changed_since_is_shown_again_and_nothing_is_done(overview: OverviewFake, client: TestClient) -> None:
    """Also where it changes while policy is asked; the verdict must be chosen anew, the reason stays."""
    path = f"/approvals/{LARGE}"
    answers = [client.post(path, data=fill(version=2))]

    class Moving(OverviewFake):
        async def resolve(self, subject: Subject, resolution: Resolution, /) -> Resolved:
            self.waiting[0] = replace(self.waiting[0], version=9)
            return await super().resolve(subject, resolution)

    moving = Moving(waiting=list(overview.waiting), cleared=overview.cleared)
    answers.append(as_somebody(moving, person()).post(path, data=fill()))

    assert overview.waiting[0].version == 3
    for answer, version in zip(answers, ("3", "9"), strict=True):
        page = Page(answer.text)
        values = {each.attributes["name"]: each.attributes["value"] for each in page.all("input")}
        assert answer.status_code == 409 and "It has changed since you looked at it: nothing was done." in page.text
        assert (values["version"], values["reason"]) == (version, "it is needed")
        assert not [each for each in page.all("option") if "selected" in each.attributes]


def test_an_open_page_tells_that_it_has_changed(overview: OverviewFake) -> None:
    """The form stays as it is filled in; a line says that it is about something else by now, and asks no more."""
    client = TestClient(harness(overview, htmx=b"//"))
    page = Page(client.get(f"/approvals/{LARGE}").text)
    path = next(each.attributes["hx-get"] for each in page.elements if "hx-get" in each.attributes)
    same = client.get(path)
    overview.waiting[0] = replace(overview.waiting[0], version=4)
    changed = client.get(path)

    assert (same.status_code, same.content) == (204, b"")
    assert "It has changed since you opened this page." in changed.text and "hx-get" not in changed.text
    assert "hx-get" not in client.get("/approvals/a_06522b000001").text


def test_who_may_not_resolve_has_no_form_and_is_refused(overview: OverviewFake) -> None:
    """An auditor sees; whoever sends the form all the same gets policy's answer, and it waits on."""
    client = as_somebody(overview, person("cleo", "auditor"))
    shown, answer = client.get(f"/approvals/{LARGE}"), client.post(f"/approvals/{LARGE}", data=fill())
    waiting = Page(client.get("/approvals").text).text

    assert Page(shown.text).all("select") == [] and "2 wait · 0 for you to resolve" in waiting
    assert answer.status_code == 403 and "✕ DENY approve" in Page(answer.text).text
    assert overview.waiting[0].version == 3


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (fill(reason=" "), "reason"),
        (fill(reason="x" * 600), "reason"),
        (fill(verdict=""), "verdict"),
        (fill(verdict="revoke"), "verdict"),
    ],
)
def test_a_verdict_without_a_reason_is_none(client: TestClient, given: dict[str, str], field: str) -> None:
    """What was expected stands at the field; nothing is resolved."""
    answer = client.post(f"/approvals/{LARGE}", data=given)
    wrong = [each.attributes for each in Page(answer.text).elements if "aria-invalid" in each.attributes]

    assert answer.status_code == 400
    assert [each["name"] for each in wrong] == [field]


@pytest.mark.parametrize("version", ["", "0", "-1", "x", "9" * 30, "٣"])
def test_a_form_without_its_version_does_nothing(overview: OverviewFake, client: TestClient, version: str) -> None:
    """Nobody resolves what they have not looked at."""
    answer = client.post(f"/approvals/{LARGE}", data={**fill(), "version": version})

    assert answer.status_code == 400 and overview.waiting[0].version == 3
    values = {each.attributes["name"]: each.attributes["value"] for each in Page(answer.text).all("input")}
    assert (values["version"], values["reason"]) == ("3", "it is needed")


def test_what_is_over_is_told(overview: OverviewFake, client: TestClient) -> None:
    """Whoever answers too late learns what has become of it."""
    overview.waiting[0] = replace(overview.waiting[0], deadline=overview.time)
    answer = client.post(f"/approvals/{LARGE}", data=fill())

    assert answer.status_code == 409 and "was not answered in time" in Page(answer.text).text


def test_open_ends_are_told_with_their_age(client: TestClient) -> None:
    """What lapsed, what is late, what is under way; what is claimed, by whom, since when and until when."""
    text = Page(client.get("/open-ends").text).text

    for told in (
        f"d_08 in {LIVE} support openai small 0.005 EUR 2026-11-26 15:45:00Z lapsed 1 h ago",
        "d_21 analysis ledger 0 EUR 2026-11-26 16:41:00Z late by 4 min",
        "2026-11-26 16:50:00Z under way",
        f"dataset crm customer 4711 support {LIVE} 17 2026-11-26 16:24:00Z for 21 min 2026-11-26 16:54:00Z",
        "service refunds analysis none 3",
    ):
        assert told in text


def test_a_held_decision_leads_to_its_approval(client: TestClient) -> None:
    """On its page and in its tree: what it waits for, what was offered instead, and what was said to it."""
    held, tree = client.get("/decisions/d_06"), client.get(f"/workflows/{LIVE}")
    used, heard = Page(client.get("/decisions/d_13").text), Page(client.get("/decisions/d_20").text)

    for page in (held, tree):
        assert f'href="/approvals/{LARGE}"' in page.text
        assert "ben approve (only until the summary is done): ALLOW, pending" in Page(page.text).text
    assert f"waits for {LARGE} opened approval.variant: approval_required" in Page(held.text).text
    assert f"instead service openai/chat/small waits for {LARGE} opened" in Page(tree.text).text
    assert f"under grant {GRANT}" in used.text
    assert f"About approval {LARGE}" in heard.text and "What came of it" in heard.text


def test_what_is_asked_of_a_halt_tells_no_bounds(overview: OverviewFake, client: TestClient) -> None:
    """There is nothing to be used: approving it lifts the halt. What nobody answered in time says so."""
    (large, *_) = overview.waiting
    item = replace(large.items[0], shown="", labels=())
    overview.waiting[0] = replace(large, lifts="h_7", items=(item,), terms=Terms(), deadline=overview.time)
    text = Page(client.get(f"/approvals/{LARGE}").text).text

    assert "lifts the halt h_7 must approve 1 of those" in text and "all uses together" not in text
    assert "the time of people with the role approver is over" in text and "longer than" not in text


def test_what_failed_is_told_in_its_workflow(overview: OverviewFake, client: TestClient) -> None:
    """Below the decision that failed, with what was done about it; its record leads to who is asked."""
    said = {
        "failure": "loop",
        "answer": "escalate",
        "scope": "workflow",
        "value": LIVE,
        "halt": "h_7",
        "approval": MAIL,
    }
    overview.add("f_1", said, kind="failure", ref="d_02", workflow=LIVE)
    ended = {"approval": MAIL, "move": "expired"}
    overview.add("x_1", ended, kind="approval", ref="d_06", workflow=LIVE)
    tree = Page(client.get(f"/workflows/{LIVE}").text).text

    assert f"failure loop: escalate workflow {LIVE}, lifted by approval {MAIL}" in tree
    assert f"approval {MAIL} expired" in tree
    assert f"About approval {MAIL}" in Page(client.get("/decisions/f_1").text).text
