"""What leaves, for tests: a catalogue with services that are reached through Remit, and a world with its ways out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import orjson
from fakes.store_memory import MemoryStore
from fakes.vault_memory import MemoryVault
from fakes.world import EUR, FakeClock, Policy, catalogue, clearance_policy
from fakes.world import world as make_world
from remit.core.answer import Answer
from remit.core.call import Claimed
from remit.core.catalogue import Catalogue, Credential, Endpoint, Price, Route, Service, Variant
from remit.core.egress.exchange import HttpRequest
from remit.core.model import Subject
from remit.core.selector import Selector
from remit.pep.egress import Attempt, Egress, Passage
from remit.pep.world import World

T = TypeVar("T")
SECRET = b"sk-of-the-service-itself"
CRM = Credential(file="crm", endpoints=("eu",), paths=("/v1/items", "/v1/open/"), methods=("GET", "POST"))
ROUTES = (
    Route("/v1/items", "put", ("POST",), arguments={"name": "/name"}, usage={"row": "/rows"}),
    Route("/v1/items/{id}", "read", ("GET", "DELETE"), arguments={"id": "path:id"}),
    Route("/v1/itemsall", "all", ("GET",)),
    Route("/v1/open/x", "open", ("GET",)),
)
CHAT = b'{"model":"large","messages":[{"role":"user","content":"hi"}]}'


def leaving_catalogue(**changes: Any) -> Catalogue:
    """A CRM with a bound credential and two endpoints; a model with a cap; a shop without a credential."""
    usual = catalogue()
    services = {
        **usual.services,
        "crm": Service(
            owner="cx",
            clearance=("pii",),
            endpoints={
                "eu": Endpoint("https://crm.example", "eu", Selector((("agent", ("analysis", "watched")),))),
                "us": Endpoint("https://us.crm.example", "us"),
            },
            credentials=(CRM,),
            routes=ROUTES,
            hold_seconds=100,
        ),
        "llm": Service(
            owner="ml",
            kind="openai",
            clearance=("pii",),
            endpoints={"main": Endpoint("https://llm.example")},
            credentials=(Credential(file="llm"),),
            variants={"large": Variant(inject={"output_token": 100})},
        ),
        "shop": Service(owner="cx", endpoints={"main": Endpoint("https://shop.example")}),
        "tunnel": Service(
            owner="cx",
            opaque=True,
            endpoints={"main": Endpoint("https://t.example")},
        ),
    }
    prices = (
        *usual.prices,
        Price("crm/*", "call", EUR // 10, "EUR"),
        Price("crm/*", "row", EUR // 100, "EUR", optional=True),
        Price("llm/*", "input_token", EUR // 1000, "EUR"),
        Price("llm/*", "output_token", EUR // 100, "EUR"),
        Price("shop/*", "call", 0, "EUR"),
        Price("tunnel/*", "call", EUR // 10, "EUR"),
    )
    return replace(usual, **{"services": services, "prices": prices, **changes})


@dataclass
class Ways:
    """Endpoints, each well unless the test says what is wrong with it."""

    wrong: dict[tuple[str, str], str] = field(default_factory=dict)

    def problem(self, service: str, endpoint: str) -> str:
        return self.wrong.get((service, endpoint), "")


@dataclass
class Leaving:
    """A world with its ways out."""

    world: World
    vault: MemoryVault
    ways: Ways
    egress: Egress

    async def body(self, id: str) -> Mapping[str, Any]:
        """A record's body."""
        row = await self.world.store.record(id)
        assert row is not None
        found: Mapping[str, Any] = orjson.loads(row.record.body)
        return found

    async def passage(self, who: Subject, attempt: Attempt) -> Passage:
        """Begin what must be permitted."""
        begun = await self.egress.begin(who, attempt)
        assert isinstance(begun, Passage), begun
        return begun

    async def refused(self, who: Subject, attempt: Attempt) -> Answer:
        """Begin what must be refused; the refusal is on record, binds, reserves nothing and sends nothing."""
        begun = await self.egress.begin(who, attempt)
        assert isinstance(begun, Answer), begun
        assert begun.effect == "DENY" and begun.enforced and not begun.reserved
        body = await self.body(begun.id)
        assert body["effect"] == "DENY" and "sent" not in body
        assert await self.world.store.reservation(begun.id) is None
        return begun

    def pass_seconds(self, seconds: float) -> None:
        """Time goes on."""
        assert isinstance(self.world.clock, FakeClock)
        self.world.clock.pass_seconds(seconds)


def leaving(policy: Policy = clearance_policy, **changes: Any) -> Leaving:
    """A world with a store in memory, whose services are reached."""
    store = MemoryStore()
    store.activate("r1")
    world = make_world(store, policy)
    world.installation = replace(world.installation, catalogue=leaving_catalogue(**changes))
    vault, ways = MemoryVault(), Ways()
    vault.put("crm", SECRET)
    vault.put("llm", SECRET)
    return Leaving(world, vault, ways, Egress(world, vault, ways))


def attempt(
    method: str = "GET", path: str = "/v1/items/7", body: bytes = b"", *, service: str = "crm", **more: Any
) -> Attempt:
    """A request as it came, for the purpose that every agent here has."""
    headers = (("content-type", "application/json"),) if body else ()
    request = HttpRequest(method, "https", "x", path, headers, body)
    return Attempt(service, request, Claimed(purpose="onboarding"), **more)


def chat(body: bytes = CHAT, **more: Any) -> Attempt:
    """A question to the model."""
    return attempt("POST", "/v1/chat/completions", body, service="llm", **more)


def run(work: Coroutine[Any, Any, T]) -> T:
    """In a loop of its own."""
    return asyncio.run(work)
