"""The catalogue: who the agents are, what they may reach, what it costs, and who answers for it.

Plain frozen values, validated by whoever loaded them; names and shapes are those of `remit.yaml`. Money is
in nanos, time in ns since the epoch, shares are exact fractions. Mappings are never changed after they are
handed in. `describe` and `prices_for` stand on the way of every decision: what they look up is computed
once.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, tzinfo
from fractions import Fraction
from hashlib import sha256
from typing import Any, TypeVar

from remit.core.dataset import Dataset
from remit.core.egress.mcp_message import PLUMBING
from remit.core.kubernetes import ServiceAccount
from remit.core.model import ActionName, Link, Resource, ResourceFacts
from remit.core.money import NANOS
from remit.core.plain import everything, plain
from remit.core.selector import EVERYTHING, Selector, glob_matches

# How a field appears in the document for policy: under another name, as money, or not at all.
_HIDDEN = {"hidden": True}
_MONEY = {"money": True}

UNKNOWN = ResourceFacts(known=False)

Labels = tuple[str, ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Identity:
    """What proves who somebody is; any of them suffices.

    `token_hashes` and `fingerprints` are "sha256:HEX"; `uris` and `dns` are names in a client certificate. `oidc` are a
    person's names at the identity provider, `kubernetes` an agent's accounts in a cluster. `pod` says that everything
    on this sidecar's loopback is this one agent.
    """

    token_hashes: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    fingerprints: tuple[str, ...] = ()
    oidc: tuple[str, ...] = ()
    pod: bool = False
    kubernetes: tuple[ServiceAccount, ...] = ()


@dataclass(frozen=True, slots=True)
class Team:
    """Answers for what it owns."""

    contact: str = ""
    escalation: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may be asked, by role; sees what sessions were asking for whose labels are within `clearance`."""

    roles: tuple[str, ...] = ()
    identity: Identity = field(default=Identity(), metadata=_HIDDEN)
    clearance: Labels = ()


@dataclass(frozen=True, slots=True)
class Actor:
    """A part of an agent (a graph's node); what it has is a subset of its agent's."""

    roles: tuple[str, ...]
    purposes: tuple[str, ...]
    clearance: Labels


@dataclass(frozen=True, slots=True)
class Agent:
    """Acts, as its identity proves. `mode` is enforce or observe, `isolation` process or workflow.

    `review` are actions that its supervisor reviews before they are done; of two agents that contradict each other, the
    one with the higher `priority` has its way, where that is the policy.
    """

    team: str
    roles: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    supervisor: str = ""
    clearance: Labels = ()
    identity: Identity = field(default=Identity(), metadata=_HIDDEN)
    mode: str = "enforce"
    isolation: str = "process"
    actors: Mapping[str, Actor] = field(default_factory=dict)
    review: tuple[str, ...] = ()
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place where a service is reached, for the requests that `when` selects.

    `addresses` are the networks (CIDR) that its name may lead to although they are private; `ca` is a PEM file with
    who signs its certificate ("": the system's).
    """

    url: str
    region: str = ""
    when: Selector = EVERYTHING
    addresses: tuple[str, ...] = field(default=(), metadata=_HIDDEN)
    ca: str = field(default="", metadata=_HIDDEN)


@dataclass(frozen=True, slots=True)
class Signing:
    """A request to AWS is signed (Signature Version 4) for this region, instead of carrying its credential."""

    region: str


@dataclass(frozen=True, slots=True)
class Credential:
    """Where a service's own credential lies: in a file or an environment variable (the other is "").

    It is sent in `header` after `prefix` ("" and None: as the kind of service has it), and bound to the endpoints,
    the path prefixes below them and the methods that are named; where none is named, to those of the service.
    With `signing` it is a key pair (`core.egress.signing`) that signs and is never sent.
    """

    file: str = ""
    environment: str = ""
    when: Selector = EVERYTHING
    header: str = ""
    prefix: str | None = None
    endpoints: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    signing: Signing | None = None

    def covers(self, endpoint: str) -> bool:
        """Whether it is for an endpoint."""
        return not self.endpoints or endpoint in self.endpoints


@dataclass(frozen=True, slots=True)
class Approval:
    """What must be approved before a variant is used, and what the grant is then good for.

    `bind` is exact, variant or operation; `cost` in nanos, None for no bound of its own; `ttl` and `wait` in seconds.
    With `supervisor` the requester's supervisors are asked before people with the roles (`core.approval.Terms`).
    """

    roles: tuple[str, ...]
    bind: str = "variant"
    uses: int = 1
    cost: int | None = field(default=None, metadata=_MONEY)
    ttl: int = 3600
    supervisor: bool = False
    quorum: int = 1
    wait: int = 3600


@dataclass(frozen=True, slots=True)
class Variant:
    """A priced way to call a service; `max` bounds one call's usage, per unit; `cheaper` names another.

    A request is of this variant where its model is `model` ("": the variant's own name) and every pointer of `select`
    has one of the values. `inject` are caps that are put in where the caller gave none; `price` is the model whose
    public prices hold ("": `model`).
    """

    approval: Approval | None = None
    max: Mapping[str, int] = field(default_factory=dict)
    cheaper: str = ""
    model: str = field(default="", metadata=_HIDDEN)
    select: Mapping[str, tuple[str, ...]] = field(default_factory=dict, metadata=_HIDDEN)
    inject: Mapping[str, int] = field(default_factory=dict, metadata=_HIDDEN)
    price: str = field(default="", metadata=_HIDDEN)

    def overridden(self, by: Terms) -> Variant:
        """This variant, where the terms replace the properties that they name."""
        return replace(
            self,
            approval=self.approval if by.approval is None else by.approval,
            max=self.max if by.max is None else by.max,
            cheaper=self.cheaper if by.cheaper is None else by.cheaper,
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """What an override puts in the place of a variant's own properties; None leaves them."""

    approval: Approval | None = None
    max: Mapping[str, int] | None = None
    cheaper: str | None = None


@dataclass(frozen=True, slots=True)
class Override:
    """Other terms of some variants, for the requests that `when` selects."""

    variants: Mapping[str, Terms]
    when: Selector = EVERYTHING


@dataclass(frozen=True, slots=True)
class Route:
    """Which requests are which operation: `path` is a template such as /v1/items/{id}.

    A source says where a value stands in the request: "path:id", "query:q", or a JSON pointer into the body.
    `arguments` (what policy sees), `variant` and `usage` (upper bounds, by unit) are read from sources; `returns` are
    pointers into the JSON response, by unit: what was really used.
    """

    path: str
    operation: str
    methods: tuple[str, ...] = ("POST",)
    arguments: Mapping[str, str] = field(default_factory=dict)
    variant: str = ""
    usage: Mapping[str, str] = field(default_factory=dict)
    returns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Conflicts:
    """Which operations of two agents on the same object, in one workflow, contradict each other.

    `object` is a JSON pointer into the arguments ("": all of the resource is one object). `between` are pairs of
    operations; `policy` is first-wins, priority or escalate.
    """

    between: tuple[tuple[str, str], ...]
    object: str = ""
    policy: str = "first-wins"


@dataclass(frozen=True, slots=True)
class Service:
    """Something that agents call. `owner` "" means that nobody answers for it, and so it is denied.

    `returns` are the labels that its answers carry; no `operations` means any; `metering` says whose word on
    usage lowers a charge (sidecar or agent); `reserve` is worst or expected (see `price.estimate`).

    For the egress: `routes` map requests to operations (a kind other than http has its own besides); `opaque` lets
    agents tunnel to it unread; `listen` is where a tcp service is reached locally; `command` starts an MCP server that
    speaks over its standard streams; `body_bytes` and `timeout` (seconds) bound one request; `reveal` turns tokens in
    what it is sent back into what they stand for (`egress.reveal`).

    `compensations` name, for an operation, the one of the same service that undoes it.
    """

    owner: str = ""
    kind: str = "http"
    external: bool = True
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    credentials: tuple[Credential, ...] = field(default=(), metadata=_HIDDEN)
    via: tuple[Link, ...] = ()
    clearance: Labels = ()
    returns: Labels = ()
    roles: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    variants: Mapping[str, Variant] = field(default_factory=dict)
    overrides: tuple[Override, ...] = ()
    metering: str = "sidecar"
    reserve: str = "worst"
    hold_seconds: int = 300
    routes: tuple[Route, ...] = field(default=(), metadata=_HIDDEN)
    opaque: bool = False
    listen: str = field(default="", metadata=_HIDDEN)
    command: tuple[str, ...] = field(default=(), metadata=_HIDDEN)
    body_bytes: int = field(default=1 << 20, metadata=_HIDDEN)
    timeout: int = field(default=600, metadata=_HIDDEN)
    reveal: bool = False
    conflicts: Conflicts | None = None
    compensations: Mapping[str, str] = field(default_factory=dict)

    def signer(self, endpoint: str) -> Credential | None:
        """The credential that signs what goes to an endpoint, None where nothing is signed."""
        return next((each for each in self.credentials if each.signing and each.covers(endpoint)), None)

    def variant(self, name: str, attributes: Mapping[str, str]) -> Variant | None:
        """The variant on one request's terms: each override that selects it, in order. None: not listed."""
        variant = self.variants.get(name)
        if variant is None:
            return None
        for override in self.overrides:
            if name in override.variants and override.when.matches(attributes):
                variant = variant.overridden(override.variants[name])
        return variant


@dataclass(frozen=True, slots=True)
class Price:
    """`amount` nanos of `currency` for `per` of a unit, from a time on, where `match` fits "service/variant".

    With `above`, it holds for calls of more than that many: for the whole call, or for the excess alone. `of` names
    the pool (see `remit.core.price`) whose total must be above ("": the unit's own quantity). `given` is a mark, such
    as batch: it holds for usage that states one of it. `optional` counts none where none is stated. A `public` price
    comes from the price table, and any other for the same unit replaces it.
    """

    match: str
    unit: str
    amount: int = field(metadata=_MONEY)
    currency: str
    per: int = 1
    since: int = field(default=0, metadata={"name": "from", "seconds": True})
    above: int = 0
    applies: str = "whole_call"
    of: str = ""
    given: str = ""
    optional: bool = False
    public: bool = field(default=False, metadata=_HIDDEN)

    @property
    def specificity(self) -> tuple[int, int, str]:
        """Orders patterns: more literal characters win, then fewer wildcards; the text settles the rest."""
        stars = self.match.count("*")
        return (len(self.match) - stars, -stars, self.match)


@dataclass(frozen=True, slots=True)
class Rate:
    """One unit of `source` is `amount` nanos of `target`, from a time on."""

    source: str
    target: str
    amount: int = field(metadata=_MONEY)
    since: int = field(default=0, metadata={"name": "from", "seconds": True})


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `limit` nanos a window, in all (`per: none`) or for each agent or workflow.

    `warn` are shares of the limit; `caps` bounds the share of an agent, or of each ("*").
    """

    limit: int = field(metadata=_MONEY)
    when: Selector = EVERYTHING
    per: str = "none"
    window: str = "none"
    zone: tzinfo = UTC
    warn: tuple[Fraction, ...] = ()
    caps: Mapping[str, Fraction] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All of it. `currency` is the ledger's; everything else is keyed by its id.

    `table` are public prices, each for exactly one "service/variant"; policy does not see them.
    """

    currency: str
    exchange: tuple[Rate, ...] = ()
    teams: Mapping[str, Team] = field(default_factory=dict)
    people: Mapping[str, Person] = field(default_factory=dict)
    agents: Mapping[str, Agent] = field(default_factory=dict)
    services: Mapping[str, Service] = field(default_factory=dict)
    prices: tuple[Price, ...] = ()
    datasets: Mapping[str, Dataset] = field(default_factory=dict)
    budgets: Mapping[str, Budget] = field(default_factory=dict)
    table: tuple[Price, ...] = field(default=(), metadata=_HIDDEN)
    _index: _Index = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", _Index.of(self))

    def describe(self, resource: Resource, attributes: Mapping[str, str], *, action: str = "") -> ResourceFacts:
        """What the catalogue says of a resource, for a request with these attributes (`selector.KEYS`, region unknown).

        A service is unknown with an operation that it does not list, or with no endpoint for the request. Its chain
        begins with itself, at the endpoint's region, and goes on with what lies behind it. Where a dataset's fields
        are named (`table.column` or `table`), it has their labels alone, and one unknown field makes it unknown. Where
        it names statements, a write (`action`) is one of them, with that statement's owner, and brings its labels and
        the dataset's own. What Remit itself keeps (workflows, decisions, scopes) belongs to who asks.

        What is unknown of something that is listed has the labels of all of it: where nobody is stopped, naming it
        wrongly must not read it unlabelled.
        """
        match resource.type:
            case "service" | "tool":
                return self._index.service(resource, attributes)
            case "dataset":
                return self._index.dataset(resource, action)
            case "agent":
                return self._index.agents.get(resource.id, UNKNOWN)
            case "budget" if resource.id in self.budgets:
                return ResourceFacts(known=True, owner=attributes.get("team", ""))
            case "workflow" | "decision" | "scope":
                return ResourceFacts(known=True, owner=attributes.get("team", ""))
        return UNKNOWN

    def prices_for(self, service: str, variant: str) -> tuple[Price, ...]:
        """The prices that match, of whatever date; where two say the same, the later in this order wins.

        Public ones come first.
        """
        listed = self._index.prices.get((service, variant))
        return _matching(self.prices, service, variant) if listed is None else listed

    def derived(self, name: tuple[str, str], key: Hashable, time_ns: int, work: Callable[[], T]) -> T:
        """What follows from prices and rates at a time, worked out once for each key until the next one begins.

        Kept for listed (service, variant) alone, of which there are only so many; what raises is not kept.
        """
        if name not in self._index.prices:
            return work()
        key = (name, key)
        place = bisect_right(self._index.changes, time_ns)
        kept = self._index.derived
        if (key, place) not in kept:
            kept[key, place] = work()
        found: T = kept[key, place]
        return found

    def rate(self, currency: str, time_ns: int) -> Fraction | None:
        """What one unit of a currency was worth in the ledger's at a time; None where no pair is known."""
        if currency == self.currency:
            return Fraction(1)
        pairs = [rate for rate in self.exchange if (rate.source, rate.target) == (currency, self.currency)]
        known = [rate for rate in pairs if rate.since <= time_ns]
        return Fraction(max(known, key=lambda rate: rate.since).amount, NANOS) if known else None

    def identities(self) -> Iterator[tuple[str, str, Identity]]:
        """(type, id, identity) of every agent and person."""
        yield from (("agent", name, agent.identity) for name, agent in self.agents.items())
        yield from (("person", name, person.identity) for name, person in self.people.items())

    def document(self) -> dict[str, Any]:
        """The catalogue for policy (`data.remit.catalogue`), as JSON values, shaped like `remit.yaml`.

        Identities, credentials, public prices and datasets' addresses are left out. Every field is there, with its
        default, but an approval and its cost where there is none, and what an override does not name. Money and
        shares are numbers in whole units, an int or an exact Decimal; durations and times are seconds.
        """
        shown = (each for each in fields(self) if each.init and not each.metadata.get("hidden"))
        return {each.name: plain(getattr(self, each.name)) for each in shown}

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over all of it, what policy does not see included."""
        whole = {each.name: everything(getattr(self, each.name)) for each in fields(self) if each.init}
        return sha256(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Index:
    """What is looked up on every decision."""

    agents: Mapping[str, ResourceFacts]
    operations: Mapping[str, frozenset[str]]
    routes: Mapping[str, tuple[tuple[Selector, ResourceFacts], ...]]
    datasets: Mapping[str, ResourceFacts]
    field_labels: Mapping[str, Mapping[str, frozenset[str]]]
    statements: Mapping[str, Mapping[str, ResourceFacts]]
    prices: Mapping[tuple[str, str], tuple[Price, ...]]
    changes: Sequence[int]
    derived: dict[Hashable, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, catalogue: Catalogue) -> _Index:
        services, datasets = catalogue.services, catalogue.datasets
        labels = {name: _field_labels(dataset) for name, dataset in datasets.items()}
        table = _by_match(catalogue.table)
        prices = (*catalogue.prices, *catalogue.table)
        return cls(
            changes=sorted({*(each.since for each in prices), *(each.since for each in catalogue.exchange)}),
            agents={name: _agent_facts(agent) for name, agent in catalogue.agents.items()},
            operations={name: _operations(service) for name, service in services.items()},
            routes={name: _routes(name, service) for name, service in services.items()},
            datasets={name: _dataset_facts(each, labels[name]) for name, each in datasets.items()},
            field_labels=labels,
            statements={name: _statement_facts(each) for name, each in datasets.items()},
            prices={
                (name, variant): (
                    *table.get(f"{name}/{variant}", ()),
                    *_matching(catalogue.prices, name, variant),
                )
                for name, service in services.items()
                for variant in ("", *service.variants)
            },
        )

    def service(self, resource: Resource, attributes: Mapping[str, str]) -> ResourceFacts:
        operations = self.operations.get(resource.id)
        if operations and resource.operation not in operations:
            return self._unknown(resource)
        routes = self.routes.get(resource.id, ())
        return next((facts for when, facts in routes if when.matches(attributes)), self._unknown(resource))

    def _unknown(self, resource: Resource) -> ResourceFacts:
        routes = self.routes.get(resource.id, ())
        return replace(UNKNOWN, labels=routes[0][1].labels) if routes else UNKNOWN

    def dataset(self, resource: Resource, action: str) -> ResourceFacts:
        facts = self.datasets.get(resource.id, UNKNOWN)
        statements = self.statements.get(resource.id)
        if statements and action == ActionName.DATA_WRITE:
            return statements.get(resource.operation) or replace(UNKNOWN, labels=facts.labels)
        if not facts.known or not resource.fields:
            return facts
        labels = self.field_labels[resource.id]
        if any(name not in labels for name in resource.fields):
            return replace(UNKNOWN, labels=facts.labels)
        read = frozenset[str]().union(*(labels[name] for name in resource.fields))
        return replace(facts, labels=tuple(sorted(read)))


def _operations(service: Service) -> frozenset[str]:
    """What a service lists, and what it has besides as one of its kind; nothing where it takes any operation."""
    listed = frozenset(service.operations)
    return listed | PLUMBING if listed and service.kind == "mcp" else listed


def _agent_facts(agent: Agent) -> ResourceFacts:
    return ResourceFacts(known=True, owner=agent.team, clearance=agent.clearance)


def _routes(name: str, service: Service) -> tuple[tuple[Selector, ResourceFacts], ...]:
    if not service.endpoints:
        return ((EVERYTHING, _service_facts(name, service, "")),)
    return tuple((each.when, _service_facts(name, service, each.region)) for each in service.endpoints.values())


def _service_facts(name: str, service: Service, region: str) -> ResourceFacts:
    # Policy sees the region in the chain, of which the service itself is the first link.
    itself = Link(name, service.owner, region, service.external)
    return ResourceFacts(
        known=True,
        owner=service.owner,
        external=service.external,
        region=region,
        labels=service.returns,
        clearance=service.clearance,
        chain=(itself, *service.via),
    )


def _dataset_facts(dataset: Dataset, labels: Mapping[str, frozenset[str]]) -> ResourceFacts:
    every = frozenset(dataset.labels).union(*labels.values())
    return ResourceFacts(known=True, owner=dataset.owner, labels=tuple(sorted(every)), clearance=dataset.clearance)


def _statement_facts(dataset: Dataset) -> dict[str, ResourceFacts]:
    return {
        name: ResourceFacts(
            known=True,
            owner=each.owner or dataset.owner,
            labels=dataset.returned(each),
            clearance=dataset.clearance,
        )
        for name, each in dataset.statements.items()
    }


def _field_labels(dataset: Dataset) -> dict[str, frozenset[str]]:
    """Labels by `table` and by `table.column`; neither name has a dot of its own."""
    base = frozenset(dataset.labels)
    tables = dataset.tables.items()
    columns = {
        f"{name}.{column}": base | frozenset(labels)
        for name, table in tables
        for column, labels in table.columns.items()
    }
    return {name: base.union(*table.columns.values()) for name, table in tables} | columns


def _matching(prices: tuple[Price, ...], service: str, variant: str) -> tuple[Price, ...]:
    name = f"{service}/{variant}"
    found = [price for price in prices if glob_matches(price.match, name)]
    return tuple(sorted(found, key=lambda price: (price.specificity, price.since)))


def _by_match(table: tuple[Price, ...]) -> Mapping[str, list[Price]]:
    """Public prices by their "service/variant", which is no pattern; of each, the latest last."""
    found: dict[str, list[Price]] = {}
    for price in sorted(table, key=lambda price: price.since):
        found.setdefault(price.match, []).append(price)
    return found
