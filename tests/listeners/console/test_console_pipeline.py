"""The console's pages on the real pipeline: what people do there is judged and recorded like anything else."""

from __future__ import annotations

from dataclasses import dataclass, replace

import httpx
from fakes.approving import CODE, POLICY, Holding
from fakes.console_fake import CSRF, ConsoleFake, served_by
from fakes.console_html import Page
from fakes.loop import in_loop
from fakes.store_memory import MemoryStore
from fakes.world import subject
from fakes.world import world as make_world
from remit.core.answer import Answer
from remit.core.approval import Terms
from remit.core.call import Call, ClaimCall, Claimed
from remit.core.catalogue import Agent, Person
from remit.core.decision import Effect
from remit.core.model import Identity, Resource, Subject
from remit.pep.pipeline import Pipeline
from remit.pep.world import World

ANA = Subject("person", "ana", "", ("operator",), Identity("token", "ana"))
BO = Subject("person", "bo", "", ("approver",), Identity("token", "bo"))
LARGE = Resource("service", "model", "chat", "large")


@dataclass
class Scene:
    """An agent whose calls are held, and the pages as people see them."""

    policy: Holding
    world: World
    pipeline: Pipeline

    @classmethod
    def open(cls) -> Scene:
        store, policy = MemoryStore(), Holding()
        store.activate("r1")
        people = {"ana": Person(("operator",)), "bo": Person(("approver",), clearance=("pii",))}
        agents = {"worker": Agent("cx", ("worker",), ("onboarding",), supervisor="bo")}
        world = make_world(store, policy, people=people, agents=agents)
        return cls(policy, world, Pipeline(world))

    async def ask(self, resource: Resource = LARGE) -> Answer:
        context = Claimed(purpose="onboarding", reason="it is late", arguments={"to": "a customer"})
        return await self.pipeline.authorize(subject("worker"), Call("Authorize", "api.call", resource, context))

    async def get(self, path: str, who: Subject = BO) -> Page:
        async with self._client(who) as client:
            return Page((await client.get(path)).text)

    async def post(self, path: str, who: Subject = BO, **given: str) -> httpx.Response:
        async with self._client(who) as client:
            return await client.post(path, data={"csrf": CSRF, "reason": "it is needed", **given})

    def _client(self, who: Subject) -> httpx.AsyncClient:
        app = served_by(ConsoleFake(self.pipeline, self.world.clock.now), lambda: who)
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")


@in_loop
async def test_what_is_held_is_approved_at_the_desk_and_done() -> None:
    """The page tells it all, arguments to who is cleared; the grant is used, and all of it is told in the records."""
    scene = Scene.open()
    held = await scene.ask()
    id = held.approvals[0].id
    listed, shown, home = [await scene.get(path) for path in ("/approvals", f"/approvals/{id}", "/")]
    answer = await scene.post(f"/approvals/{id}", verdict="approve", version="1")
    allowed = await scene.ask()
    used = await scene.get(f"/approvals/{id}", ANA)
    first, second = [await scene.get(f"/decisions/{each}", ANA) for each in (held.id, allowed.id)]

    assert "1 waits · 1 for you to resolve" in listed.text and "api.call service model/chat/large" in listed.text
    assert f"Held by {POLICY}: {CODE} in {held.id}" in shown.text and "arguments/to a customer" in shown.text
    assert "1 approval waits, 1 for you" in home.text
    assert answer.status_code == 200 and "✓ ALLOW approve" in Page(answer.text).text
    assert allowed.effect is Effect.ALLOW
    assert "✓ approved" in used.text and "done 1 time for 1 EUR" in used.text and "person bo approves" in used.text
    assert "bo approve (it is needed): ALLOW, approved" in first.text
    assert f"waits for {id}" in first.text and f"under grant {id}" in second.text


@in_loop
async def test_what_joined_since_is_not_resolved() -> None:
    """Something else that is alike came in between; what was seen is not what is there."""
    scene = Scene.open()
    scene.policy.terms = Terms(roles=("approver",))
    held = await scene.ask()
    await scene.ask(replace(LARGE, fields=("other",)))
    answer = await scene.post(f"/approvals/{held.approvals[0].id}", verdict="approve", version="1")
    page = Page(answer.text)

    assert answer.status_code == 409 and "nothing was done" in page.text
    assert "The 2 things that would be done" in page.text and "‖ pending" in page.text


@in_loop
async def test_policy_has_the_last_word() -> None:
    """Its denial is shown; somebody else may not even see it; whoever takes a grant back is heard."""
    scene = Scene.open()
    scene.policy.refused = frozenset({"bo"})
    path = f"/approvals/{(await scene.ask()).approvals[0].id}"
    refused = await scene.post(path, verdict="approve", version="1")
    unseen = await scene.post(path, replace(BO, id="cy", roles=()), verdict="approve", version="1")
    scene.policy.refused = frozenset()
    await scene.post(path, verdict="approve", version="1")
    back = await scene.post(path, verdict="deny", version="2")
    again = await scene.ask()

    assert refused.status_code == 403 and "✕ DENY approve" in Page(refused.text).text
    assert unseen.status_code == 404
    assert back.status_code == 200 and "✕ revoked" in Page(back.text).text
    assert again.effect is Effect.DENY
    assert "turns on" in (await scene.get(f"/decisions/{again.id}", ANA)).text


@in_loop
async def test_open_ends_are_the_stores() -> None:
    """A call that nobody reports, and a claim."""
    scene = Scene.open()
    allowed = await scene.ask(replace(LARGE, variant="small"))
    claim = ClaimCall(Resource("dataset", "crm"), "customer 1", 60 * 10**9, Claimed(purpose="onboarding"))
    taken = await scene.pipeline.claim(subject("worker"), claim)
    page = await scene.get("/open-ends", ANA)

    assert allowed.effect is Effect.ALLOW and taken.token
    assert f"{allowed.id} worker model small 1 EUR" in page.text and "under way" in page.text
    assert f"dataset crm customer 1 worker none {taken.token}" in page.text


@in_loop
async def test_what_somebody_who_is_asked_may_not_decide_is_passed_on_and_shown_so() -> None:
    """The denial, and who is asked now; the form is about what is shown."""
    scene = Scene.open()
    scene.policy.terms = Terms(roles=("approver",), supervisor=True)
    scene.policy.refused = frozenset({"bo"})
    path = f"/approvals/{(await scene.ask()).approvals[0].id}"
    answer = await scene.post(path, verdict="approve", version="1")
    page = Page(answer.text)
    values = {each.attributes["name"]: each.attributes["value"] for each in page.all("input")}

    assert answer.status_code == 403 and "✕ DENY approve" in page.text
    assert "was asked before supervisor bo is asked now people with the role approver" in page.text
    assert values["version"] == "2"
