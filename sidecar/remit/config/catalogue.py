"""From the tree to the catalogue: what each section may say, and what must hold between them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from remit.config.checks import check
from remit.config.datasets import dataset
from remit.config.oversight import reviewed
from remit.config.reading import (
    Cursor,
    Reader,
    Section,
    choice,
    entries,
    items,
    keys_of,
    known_as,
    nanos,
    one_or_more,
    reference,
    secret_text,
    section,
    text,
    truth,
    whole,
)
from remit.config.services import exchange, price, rates, service
from remit.config.tree import Entries, Items, Leaf, Node
from remit.config.values import (
    Known,
    by_currency,
    by_id,
    currency,
    free_text,
    identifiers,
    purposes,
    selector,
    share,
)
from remit.core.catalogue import Actor, Agent, Budget, Catalogue, Identity, Person, Team
from remit.core.kubernetes import ServiceAccount
from remit.core.selector import EVERYTHING
from remit.core.window import KINDS as WINDOWS

MAX_PRICES = 4096
MAX_PRIORITY = 1000

_HASH = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_HASH_EXPECTED = "sha256: and 64 hex digits (0-9 a-f), the hash of the credential and never itself"
_URI = re.compile(r"[a-z][a-z0-9+.-]{0,31}://[!-~]{1,2000}", re.ASCII)
_OIDC = re.compile(r"[^\x00-\x20\x7f]([^\x00-\x1f\x7f]{0,253}[^\x00-\x20\x7f])?")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_ACCOUNT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII)


def read_catalogue(root: Cursor) -> Catalogue:
    """The catalogue that a document describes. Mistakes go to the cursor's problems; where there are any, what
    is returned is not to be used. The key `sidecar` is left to the settings."""
    known = _known(root.node)
    keys = Section(root)
    keys.read("sidecar", lambda at: None, None)
    catalogue = _catalogue(keys, known)
    keys.close()
    if not root.problems:
        check(catalogue, root)
    return catalogue


def _catalogue(keys: Section, known: Known) -> Catalogue:
    ledger = keys.require("currency", currency, "")
    found = keys.read("exchange", entries(by_currency, exchange(ledger)), {}) if ledger else {}
    return Catalogue(
        currency=ledger,
        exchange=rates(found, ledger),
        teams=keys.read("teams", entries(by_id, section(_team)), {}),
        people=keys.read("people", entries(by_id, section(_person)), {}),
        agents=keys.read("agents", entries(by_id, section(lambda each: _agent(each, known))), {}),
        services=keys.read("services", entries(by_id, service(known)), {}),
        prices=keys.read("prices", items(price(known), most=MAX_PRICES), ()),
        datasets=keys.read("datasets", entries(by_id, dataset(known)), {}),
        budgets=keys.read("budgets", entries(by_id, section(lambda each: _budget(each, known))), {}),
    )


def _team(keys: Section) -> Team:
    return Team(
        contact=keys.read("contact", free_text, ""),
        escalation=keys.read("escalation", free_text, ""),
    )


def _person(keys: Section) -> Person:
    return Person(
        roles=keys.read("roles", identifiers, ()),
        identity=keys.read("identity", section(_person_identity), Identity()),
        clearance=keys.read("clearance", identifiers, ()),
    )


def _agent_identity(at: Cursor) -> Identity:
    if isinstance(at.node, Leaf) and at.node.text == "pod":
        return Identity(pod=True)
    return section(_agents_own)(at)


def _agents_own(keys: Section) -> Identity:
    # People have none: who runs as a service account is a program.
    found = _credentials("token_hash", "mtls", "kubernetes")(keys)
    return replace(found, kubernetes=keys.read("kubernetes", _accounts, ()))


def _accounts(at: Cursor) -> tuple[ServiceAccount, ...]:
    one = section(_account)
    found = items(one, least=1)(at) if isinstance(at.node, Items) else (one(at),)
    names = [each.subject for each in found]
    if twice := sorted({each for each in names if names.count(each) > 1}):
        raise at.wrong("each once", f'"{twice[0]}" twice')
    return found


def _account(keys: Section) -> ServiceAccount:
    namespace = text(_NAMESPACE, "a namespace's name")
    account = text(_ACCOUNT, "a service account's name")
    return ServiceAccount(
        namespace=keys.require("namespace", namespace, ""),
        service_account=keys.require("service_account", account, ""),
        fresh=keys.read("fresh", truth, False),
    )


def _person_identity(keys: Section) -> Identity:
    # Agents have none: they cannot follow an identity provider's page.
    name = text(_OIDC, "a person's name at the identity provider, such as ana@example.com")
    return replace(_credentials("token_hash", "mtls", "oidc")(keys), oidc=keys.read("oidc", one_or_more(name), ()))


def _credentials(*any_of: str) -> Callable[[Section], Identity]:
    def read(keys: Section) -> Identity:
        keys.require_one(*any_of)
        return _identity(keys)

    return read


def _identity(keys: Section) -> Identity:
    uris, dns, fingerprints = keys.read("mtls", section(_certificate), ((), (), ()))
    return Identity(
        token_hashes=keys.read("token_hash", one_or_more(secret_text(_HASH, _HASH_EXPECTED)), ()),
        uris=uris,
        dns=dns,
        fingerprints=fingerprints,
    )


def _certificate(keys: Section) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    keys.require_one("uri", "dns", "fingerprint")
    uri = text(_URI, "a URI such as spiffe://domain/agent")
    host = text(_HOST, "a DNS name")
    fingerprint = text(_HASH, "sha256: and 64 hex digits (0-9 a-f)")
    return (
        keys.read("uri", one_or_more(uri), ()),
        keys.read("dns", one_or_more(host), ()),
        keys.read("fingerprint", one_or_more(fingerprint), ()),
    )


def _agent(keys: Section, known: Known) -> Agent:
    roles = keys.read("roles", identifiers, ())
    purpose = keys.read("purposes", purposes, ())
    clearance = keys.read("clearance", identifiers, ())
    actor = _actor(Actor(roles=roles, purposes=purpose, clearance=clearance))
    supervisors = {*known.agents, *known.people}
    return Agent(
        team=keys.require("team", reference(known.teams, "a declared team"), ""),
        roles=roles,
        purposes=purpose,
        supervisor=keys.read("supervisor", reference(supervisors, "a declared agent or person"), ""),
        clearance=clearance,
        identity=keys.read("identity", _agent_identity, Identity()),
        mode=keys.read("mode", choice("enforce", "observe"), "enforce"),
        isolation=keys.read("isolation", choice("process", "workflow"), "process"),
        actors=keys.read("actors", entries(by_id, section(actor)), {}),
        review=keys.read("review", reviewed, ()),
        priority=keys.read("priority", whole(-MAX_PRIORITY, MAX_PRIORITY), 0),
    )


def _actor(agent: Actor) -> Callable[[Section], Actor]:
    def build(keys: Section) -> Actor:
        return Actor(
            roles=keys.read("roles", _within(agent.roles, identifiers), agent.roles),
            purposes=keys.read("purposes", _within(agent.purposes, purposes), agent.purposes),
            clearance=keys.read("clearance", _within(agent.clearance, identifiers), agent.clearance),
        )

    return build


def _within(allowed: Collection[str], reader: Reader[tuple[str, ...]]) -> Reader[tuple[str, ...]]:
    def read(at: Cursor) -> tuple[str, ...]:
        found = reader(at)
        beyond = [each for each in found if each not in allowed]
        if beyond:
            raise at.wrong("only what its agent has: an actor narrows", f'"{beyond[0]}"')
        return found

    return read


def _budget(keys: Section, known: Known) -> Budget:
    per = keys.read("per", choice("agent", "workflow", "none"), "none")
    if keys.has("caps") and per != "none":
        keys.wrong("caps", "caps only where agents share a budget (per: none)", f"caps and per: {per}")
    keys.read("currency", _ledger(known.currency), "")
    return Budget(
        limit=keys.require("limit", nanos, 0),
        when=keys.read("when", selector(known), EVERYTHING),
        per=per,
        window=keys.read("window", choice(*WINDOWS), "none"),
        zone=keys.read("zone", _zone, UTC),
        warn=keys.read("warn", items(share), ()),
        caps=keys.read("caps", entries(_capped(known), share), {}),
    )


def _capped(known: Known) -> Callable[[str], str]:
    return lambda name: (
        "" if name == "*" or name in known.agents else known_as("* or a declared agent", known.agents, name)
    )


def _ledger(ledger: str) -> Reader[str]:
    def read(at: Cursor) -> str:
        if isinstance(at.node, Leaf) and at.node.text == ledger:
            return ledger
        raise at.wrong(f"{ledger}, the ledger's currency" if ledger else "the ledger's currency")

    return read


def _zone(at: Cursor) -> tzinfo:
    value = at.node.value if isinstance(at.node, Leaf) else None
    try:
        if isinstance(value, str) and value:
            return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # A name that is a directory, or no name at all, fails in other ways than an unknown one.
        pass
    found = value if isinstance(value, str) else ""
    raise at.wrong(known_as("an IANA time zone such as Europe/Berlin", available_timezones(), found))


def _known(root: Node) -> Known:
    def part(node: Node | None, key: str) -> Node | None:
        return node.nodes.get(key) if isinstance(node, Entries) else None

    ledger = part(root, "currency")
    services = part(root, "services")
    each = list(services.nodes.values()) if isinstance(services, Entries) else []
    endpoints = [part(one, "endpoints") for one in each]
    places = [place for one in endpoints if isinstance(one, Entries) for place in one.nodes.values()]
    regions = [part(place, "region") for place in places]
    return Known(
        currency=ledger.text if isinstance(ledger, Leaf) else "",
        teams=keys_of(part(root, "teams")),
        agents=keys_of(part(root, "agents")),
        people=keys_of(part(root, "people")),
        services=keys_of(services),
        variants=frozenset().union(*(keys_of(part(one, "variants")) for one in each)),
        regions=frozenset(region.text for region in regions if isinstance(region, Leaf)),
    )
