"""A call that leaves through Remit: understood, decided, given its credential, metered, and ended where it must end.

    begin ──▶ Passage   permitted: exactly these bytes go to this endpoint, with this credential
          └─▶ Answer    refused, and recorded
    Passage ──ended──▶  the reservation is settled by what the answer said, or voided where nothing was sent

What is judged is what is sent: the request is mapped first, and its canonical form is what policy sees the arguments
of, what the record has the digest of, and what goes out. The endpoint and the credential are chosen after policy has
permitted and before anything is recorded, so that no ALLOW stands for what could not be sent.

A call that is held may be kept open: as its approvals are answered it is understood and decided anew, from its bytes
on. An approval that binds all of it (`Call.content`) holds for the same bytes and headers alone, what merely differs
from try to try left out.

An idempotency key holds for denials. An ALLOW that is asked for again is a new attempt with a reservation of its own:
it will be sent, and so paid for, once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from remit.core.answer import Answer
from remit.core.call import Call, Claimed, Objection
from remit.core.canonical import digest
from remit.core.catalogue import Catalogue, Credential, Service
from remit.core.decision import Effect
from remit.core.document import input_document
from remit.core.egress.binding import content_of, essence, shown
from remit.core.egress.exchange import HttpRequest, Malformed, Mapped, Unmapped
from remit.core.egress.kinds.mcp import action_of
from remit.core.egress.mapping import map_request
from remit.core.egress.mcp_listing import Allowed, listed_for
from remit.core.egress.reveal import Revealed, reveal
from remit.core.egress.routing import terms_of
from remit.core.egress.signing import FORM, read_key
from remit.core.errors import PolicyFailure
from remit.core.label import exceeding
from remit.core.metering import attributes
from remit.core.model import ActionName, Context, Facts, Mode, Request, Resource, Subject
from remit.core.reason import Reason
from remit.pep import failures
from remit.pep.decide import HOLD_SECONDS, Decided, Permitted, Point, Way, decide, no_way
from remit.pep.facts import gather, in_force
from remit.pep.meter import End, Held, How, prolong, settle
from remit.pep.outwait import Patience, outwait
from remit.pep.world import SECOND, Installation, World
from remit.ports import Endpoints, FactsQuery, Secret, Vault, VaultFailed

CONNECT = "connect"
"""The operation of a tunnel, and of a connection to a service of kind tcp."""

LONGEST_WAIT_SECONDS = 600

KEY_HEADERS: Mapping[str, tuple[str, str]] = {
    "anthropic": ("x-api-key", ""),
    "azure": ("api-key", ""),
    "gemini": ("x-goog-api-key", ""),
}
"""Where each kind of service takes its credential, and what stands before it; all others as a bearer token."""

BEARER = ("authorization", "Bearer ")

COUNTED = frozenset({How.SUCCEEDED, How.FAILED})
"""Ends that tell how well a service does for an agent."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request as it came. `service` is the catalogue's name or what was asked for instead; `tunnel` says that what
    passes cannot be read; `endpoints` are those that the caller may mean (empty: any); `rewrites` says whether the
    enforcement point can send another body; `objection` is what was found wrong with it before; `wait` how long (ns) a
    HOLD may keep it open."""

    service: str
    request: HttpRequest
    claimed: Claimed
    key: str = ""
    tunnel: bool = False
    endpoints: frozenset[str] = frozenset()
    rewrites: bool = True
    objection: Objection | None = None
    wait: int = 0


@dataclass(frozen=True, slots=True)
class Passage:
    """A permitted call: what is sent for it, where to, and what its end is settled by.

    `terms` are what the way to the endpoint rests on. `credential` is (header, value), None where there is none or it
    signs and is not sent; `secrets` must not come back.
    `hold` is how long (ns) its reservation lasts without progress; `exceeding` the
    labels beyond the service's clearance that the session held already.
    """

    answer: Answer
    subject: Subject
    workflow: str
    purpose: str
    service: str
    kind: str
    endpoint: str
    terms: str
    mapped: Mapped
    held: Held
    hold: int
    credential: tuple[str, str] | None = field(repr=False)
    secrets: tuple[bytes, ...] = field(repr=False)
    exceeding: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Chosen:
    """What the gate found, for the decision that was then recorded."""

    endpoint: str = ""
    terms: str = ""
    credential: tuple[str, str] | None = None
    secrets: tuple[bytes, ...] = ()
    facts: Facts | None = None
    catalogue: Catalogue | None = None
    workflow: str = ""
    purpose: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class _Judged:
    """A decision, and what it was made of."""

    service: Service | None
    mapped: Mapped
    chosen: _Chosen
    decided: Decided


class Egress:
    """Begins calls that leave, and says which of those under way must end. `longest` is how long (ns) a HOLD may keep
    one open at the most."""

    def __init__(
        self, world: World, vault: Vault, endpoints: Endpoints, *, longest: int = LONGEST_WAIT_SECONDS * SECOND
    ) -> None:
        self._world, self._vault, self._endpoints = world, vault, endpoints
        self._longest = longest

    def kind(self, service: str) -> str:
        """The kind of a service, http for one that is not listed."""
        listed = self._world.catalogue.services.get(service)
        return listed.kind if listed else "http"

    async def begin(self, subject: Subject, attempt: Attempt, patience: Patience | None = None) -> Passage | Answer:
        """Decide; where the answer is HOLD, the attempt may wait and its caller stays, until it is another or time is
        up. Raises StoreUnavailable, and then nothing goes out."""
        judged = await self._judge(subject, attempt)
        wait = min(attempt.wait, self._longest)
        if patience is not None and wait > 0 and _waits(judged) and await patience.stays(wait):
            judged = await outwait(
                judged,
                lambda: self._judge(subject, attempt),
                lambda each: each.decided.answer,
                world=self._world,
                wait=wait,
                patience=patience,
            )
        return self._outcome(subject, attempt, judged)

    async def _judge(self, subject: Subject, attempt: Attempt) -> _Judged:
        service = self._world.catalogue.services.get(attempt.service)
        mapped, objection = _understood(service, attempt, in_force(self._world.catalogue, subject))
        call = _call(attempt, mapped, objection)
        chosen = _Chosen()

        async def gate(permitted: Permitted) -> Way:
            installation, request, facts = permitted.installation, permitted.request, permitted.facts
            if not _same(service, installation.catalogue.services.get(attempt.service)):
                # What was understood by one catalogue must not be judged by another.
                return no_way(Reason.FACTS_CHANGED, "the catalogue")
            return await self._way(installation, request, facts, attempt=attempt, mapped=mapped, chosen=chosen)

        decided = await decide(self._world, subject, call, point=Point(gate=gate))
        if decided.answer.replayed and decided.answer.permits:
            decided = await decide(self._world, subject, replace(call, key=""), point=Point(gate=gate))
        return _Judged(service, mapped, chosen, decided)

    async def unfit(self, passages: Iterable[Passage]) -> Sequence[tuple[Passage, Reason]]:
        """Those that must end now: halted, or what they go to is not in the catalogue any more, or their session has
        learnt what the service is not cleared for."""
        groups: dict[tuple[str, str, str, str], list[Passage]] = {}
        for each in passages:
            key = (each.subject.id, each.subject.isolation, each.workflow, each.service)
            groups.setdefault(key, []).append(each)
        found: list[tuple[Passage, Reason]] = []
        for key, members in groups.items():
            stored = await self._world.store.facts(FactsQuery(*key, ()))
            service = self._world.catalogue.services.get(key[3])
            clearance = service.clearance if service else ()
            risen = frozenset(exceeding(stored.labels, clearance))
            for each in members:
                gone = _gone(service, each)
                if stored.halts and each.subject.type == "agent":
                    found.append((each, Reason.HALTED))
                elif gone is not None:
                    found.append((each, gone))
                elif each.subject.mode is not Mode.OBSERVE and risen - each.exceeding:
                    found.append((each, Reason.FLOW_LABEL_EXCEEDS_CLEARANCE))
        return found

    async def shown(self, passage: Passage) -> Allowed:
        """Which tools of an MCP server this caller is shown: those of the catalogue that policy, asked without
        arguments, does not deny. Where the catalogue lists none, policy shows when one is called; an agent that is
        observed is shown all."""
        installation = self._world.installation
        service = installation.catalogue.services.get(passage.service)
        if service is None or passage.subject.mode is Mode.OBSERVE:
            return lambda tool: service is not None
        listed = listed_for(service, roles=passage.subject.roles, purposes=(passage.purpose,))
        denied = {tool for tool in service.operations if await self._denied(passage, service, tool)}
        return lambda tool: listed(tool) and tool not in denied

    async def _denied(self, passage: Passage, service: Service, tool: str) -> bool:
        installation = self._world.installation
        resource = Resource("service", passage.service, tool, tool if tool in service.variants else "")
        context = Context(passage.workflow, passage.purpose)
        request = Request(passage.subject, ActionName.TOOL_CALL, resource, context)
        facts = await gather(self._world, installation, request, self._world.clock.now())
        try:
            verdict = await installation.pdp.ask(input_document(request, facts))
        except PolicyFailure:
            return True  # its call would be denied as well
        return verdict.effect is Effect.DENY

    async def ended(self, passage: Passage, end: End) -> None:
        """Settle, once, and answer a failure as policy's data says. Raises StoreUnavailable."""
        await settle(self._world, passage.held, end)
        if end.how in COUNTED:
            await failures.ended(
                self._world,
                subject=passage.held.subject,
                service=passage.service,
                operation=passage.mapped.operation,
                workflow=passage.workflow,
                decision=passage.answer.id,
                failed=end.how is How.FAILED,
            )

    async def prolong(self, passage: Passage) -> bool:
        """Keep the reservation for as long again. Raises StoreUnavailable."""
        return await prolong(self._world, passage.held, passage.hold)

    @property
    def store_failed(self) -> bool:
        """Whether nothing will be recorded any more."""
        return self._world.store.failed

    def _outcome(self, subject: Subject, attempt: Attempt, judged: _Judged) -> Passage | Answer:
        service, mapped, chosen = judged.service, judged.mapped, judged.chosen
        answer = judged.decided.answer
        if not answer.permits or service is None or chosen.facts is None:
            return answer
        held_labels = {*chosen.facts.labels, *chosen.facts.resource.labels}
        return Passage(
            answer=answer,
            subject=in_force(self._world.catalogue, subject),
            workflow=chosen.workflow,
            purpose=chosen.purpose,
            service=attempt.service,
            kind=service.kind,
            endpoint=chosen.endpoint,
            terms=chosen.terms,
            mapped=replace(mapped, body=chosen.body, essence=b""),
            held=Held(
                decision=answer.id,
                subject=subject.id,
                workflow=chosen.workflow,
                service=attempt.service,
                variant=mapped.variant,
                time=chosen.facts.time,
                reserved=answer.reserved,
                units=chosen.facts.estimate.units,
                grows=bool(mapped.properties.get("hosted")),
                catalogue=chosen.catalogue,
            ),
            hold=(service.hold_seconds or HOLD_SECONDS) * SECOND,
            credential=chosen.credential,
            secrets=chosen.secrets,
            exceeding=frozenset(exceeding(held_labels, chosen.facts.resource.clearance)),
        )

    async def _way(
        self,
        installation: Installation,
        request: Request,
        facts: Facts,
        *,
        attempt: Attempt,
        mapped: Mapped,
        chosen: _Chosen,
    ) -> Way:
        service = installation.catalogue.services.get(attempt.service)
        if service is None:
            return no_way(Reason.UNKNOWN_RESOURCE, f"no service {attempt.service!r}")
        if attempt.tunnel and not (service.opaque or service.kind == "tcp"):
            return no_way(Reason.TUNNEL_NOT_ALLOWED, attempt.service)
        selected = attributes(request)
        endpoint = next((name for name, each in service.endpoints.items() if each.when.matches(selected)), "")
        problem = self._endpoints.problem(attempt.service, endpoint) if endpoint else "it has none for this caller"
        if problem or (attempt.endpoints and endpoint not in attempt.endpoints):
            return no_way(Reason.ENDPOINT_UNAVAILABLE, problem or f"this caller's endpoint is {endpoint}")
        # Asked a second time where facts had changed, and the catalogue may have as well.
        chosen.credential, chosen.secrets = None, ()
        selected["region"] = service.endpoints[endpoint].region
        if service.credentials and not attempt.tunnel:
            listed = _listed(service, endpoint, selected)
            wrong = _unbound(listed, endpoint, attempt)
            if listed is None or wrong:
                return no_way(Reason.CREDENTIAL_UNAVAILABLE, wrong)
            try:
                secret = await self._vault.secret(listed)
                chosen.credential, chosen.secrets = _carried(listed, service.kind, secret)
            except VaultFailed as failed:
                return no_way(Reason.CREDENTIAL_UNAVAILABLE, str(failed))
        chosen.endpoint, chosen.terms = endpoint, terms_of(service, endpoint)
        chosen.facts, chosen.catalogue = facts, installation.catalogue
        chosen.workflow, chosen.purpose = request.context.workflow, request.context.purpose
        revealed = self._revealed(service, attempt, mapped)
        chosen.body, chosen.secrets = revealed.body, (*chosen.secrets, *revealed.values)
        return Way(sent=_sent(attempt, revealed, endpoint))

    def _revealed(self, service: Service, attempt: Attempt, mapped: Mapped) -> Revealed:
        """The body as it goes out: with the values of tokens in it, where the service is to have them."""
        tokenizer = self._world.tokenizer
        if not service.reveal or tokenizer is None or not attempt.rewrites or attempt.tunnel:
            return Revealed(mapped.body)
        return reveal(mapped.body, tokenizer.value, service.clearance)


def _understood(service: Service | None, attempt: Attempt, subject: Subject) -> tuple[Mapped, Objection | None]:
    if attempt.tunnel:
        return Mapped(CONNECT), attempt.objection
    bare = Mapped("", body=attempt.request.body)
    if attempt.objection is not None or service is None:
        return bare, attempt.objection
    try:
        known = {"agent": subject.id, "team": subject.team, "service": attempt.service}
        mapped = map_request(service, attempt.request, attributes=known)
        if mapped.body != attempt.request.body and not attempt.rewrites:
            return mapped, Objection(Reason.OBLIGATION_UNSUPPORTED, "send the request with a cap", binding=True)
        return mapped, None
    except Malformed as malformed:
        # Binding, so for observed agents as well: a credential is bound to the method and path that it is sent with.
        return bare, Objection(Reason.REQUEST_MALFORMED, malformed.detail, binding=True)
    except Unmapped as unmapped:
        return bare, Objection(Reason.REQUEST_UNMAPPED, unmapped.detail)


def _waits(judged: _Judged) -> bool:
    answer = judged.decided.answer
    return answer.effect is Effect.HOLD and not answer.permits


def _same(one: Service | None, other: Service | None) -> bool:
    return one is other or one == other


def _call(attempt: Attempt, mapped: Mapped, objection: Objection | None) -> Call:
    return Call(
        rpc="Egress",
        action=action_of(mapped),
        resource=Resource(
            "service",
            attempt.service,
            mapped.operation,
            mapped.variant,
            properties=mapped.properties,
        ),
        claimed=replace(attempt.claimed, arguments=mapped.arguments),
        usage=mapped.usage,
        key=attempt.key,
        digest=digest([attempt.service, attempt.request.method, attempt.request.path, _sha(essence(mapped))]),
        objection=objection,
        content=content_of(attempt.request, mapped, attempt.endpoints),
        shown=shown(attempt.request, mapped),
    )


def _sent(attempt: Attempt, revealed: Revealed, endpoint: str) -> Mapping[str, Any]:
    """What the record says of the request that goes out; its text stays out, since it may say anything."""
    request, body = attempt.request, revealed.body
    whole = digest([request.method, request.path, _sha(body)])
    sent = {"endpoint": endpoint, "method": request.method, "size": len(body), "digest": whole}
    return sent | {"revealed": revealed.count} if revealed.count else sent


def _listed(service: Service, endpoint: str, selected: Mapping[str, str]) -> Credential | None:
    """The credential for this caller: one for the endpoint before one that only turns out to be for another."""
    found = [each for each in service.credentials if each.when.matches(selected)]
    return next((each for each in found if each.covers(endpoint)), found[0] if found else None)


def _carried(credential: Credential, kind: str, secret: Secret) -> tuple[tuple[str, str] | None, tuple[bytes, ...]]:
    """The header that a credential is sent in (none where it signs), and what of it is secret. Raises VaultFailed."""
    if credential.signing is not None:
        key = read_key(secret.value)
        if key is None:
            raise VaultFailed(secret.origin, found="something else", expected=FORM)
        return None, key.secrets
    header, prefix = KEY_HEADERS.get(kind, BEARER)
    prefix = prefix if credential.prefix is None else credential.prefix
    return (credential.header or header, prefix + secret.value.decode("ascii")), (secret.value,)


def _unbound(credential: Credential | None, endpoint: str, attempt: Attempt) -> str:
    """Why the credential is not for this request, "" where it is."""
    if credential is None:
        return "none is for this caller"
    request, path = attempt.request, attempt.request.path.partition("?")[0]
    if credential.signing is not None and not attempt.rewrites:
        return "it signs, which Remit's own Envoy alone does"
    if not credential.covers(endpoint):
        return f"it is not for endpoint {endpoint}"
    if credential.methods and request.method not in credential.methods:
        return f"it is not for {request.method}"
    if credential.paths and not any(_below(path, prefix) for prefix in credential.paths):
        return "it is not for this path"
    return ""


def _below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix if prefix.endswith("/") else f"{prefix}/")


def _gone(service: Service | None, passage: Passage) -> Reason | None:
    """Why what a call goes to is not there for it any more, None where it is: a new call would be refused the same."""
    if service is None:
        return Reason.UNKNOWN_RESOURCE
    if passage.endpoint not in service.endpoints:
        return Reason.ENDPOINT_UNAVAILABLE
    tunnel = passage.mapped == Mapped(CONNECT) and passage.kind != "tcp"
    return Reason.TUNNEL_NOT_ALLOWED if tunnel and not service.opaque else None


def _sha(body: bytes) -> str:
    return sha256(body).hexdigest()
