"""What would admit what was observed: entries of the catalogue, and accesses that a rule may allow.

Only what the catalogue lacks is proposed. A denial for a label, a halt, a role, a rule of one's own or anything else
that protects stays, is told, and what a person would have to decide is said. No library rule is ever switched off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from remit.core.catalogue import Catalogue
from remit.core.metering import METERED, SERVICES
from remit.core.model import ActionName
from remit.core.reason import EXPLANATIONS, Reason, known
from remit.core.suggestion.observed import Access, Kind, Seen

ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}", re.ASCII)
PURPOSE = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
"""As the catalogue has them (config/values.py); what is no such name cannot stand in it."""

RULED = SERVICES | {"dataset", "agent"}
"""Types of resources that a rule is written for: the others' names are made anew each time."""

_FLOW = ("flow.clearance", Reason.FLOW_LABEL_EXCEEDS_CLEARANCE.value)
_READING = ("flow.reading", Reason.FLOW_LABEL_EXCEEDS_CLEARANCE.value)
_UNKNOWN = ("access.known", Reason.UNKNOWN_RESOURCE.value)
_OWNER = ("ownership.owner", Reason.NO_OWNER.value)
_VARIANT = ("variants.listed", Reason.VARIANT_NOT_LISTED.value)
_PURPOSE = ("purposes.granted", Reason.PURPOSE_NOT_GRANTED.value)
_PRICE = ("budgets.price", Reason.PRICE_UNKNOWN.value)
_NO_PRICE = ("remit", Reason.PRICE_UNKNOWN.value)
_NOBODY = ("main", Reason.DEFAULT_DENY.value)


@dataclass(slots=True)
class Entry:
    """An entry that the catalogue lacks, with what it is proposed for. `labels` flowed to it: a person decides."""

    section: str
    id: str
    operations: set[str] = field(default_factory=set)
    variants: set[str] = field(default_factory=set)
    purposes: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)
    seen: list[Seen] = field(default_factory=list)


@dataclass(slots=True)
class Edit:
    """An addition to an entry that is there: `add` goes to `at`, such as services.models.variants."""

    at: str
    add: str
    seen: list[Seen] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stays:
    """What would stay denied or held, why, and what would change it."""

    seen: Seen
    reasons: tuple[tuple[str, str], ...]
    changes: tuple[str, ...]


@dataclass(slots=True)
class Proposal:
    """All of it. `edits` are keyed by (where, what); `prices` are "service/variant" without a price; `decide` are
    clearances that would be needed, keyed as edits: nobody but a person gives them. `accesses` may be allowed."""

    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    edits: dict[tuple[str, str], Edit] = field(default_factory=dict)
    prices: dict[str, list[Seen]] = field(default_factory=dict)
    decide: dict[tuple[str, str], Edit] = field(default_factory=dict)
    stays: list[Stays] = field(default_factory=list)
    admitted: list[Seen] = field(default_factory=list)

    @property
    def accesses(self) -> list[Access]:
        """What a rule may allow, each once, in order."""
        return sorted({each.access for each in self.admitted if each.access.type in RULED})


def propose(groups: Iterable[Seen], catalogue: Catalogue) -> Proposal:
    """What would admit these, beside the catalogue as it stands."""
    proposal = Proposal()
    for seen in groups:
        if seen.kind.effect == "ALLOW":
            proposal.admitted.append(seen)
        elif seen.kind.effect == "DENY":
            _deny(seen, catalogue, proposal)
        else:
            proposal.stays.append(Stays(seen, seen.kind.reasons, remedies(seen.kind.reasons)))
    _without_variant(proposal)
    return proposal


def _without_variant(proposal: Proposal) -> None:
    """A service that lists variants is not called without one: who did so has to name one."""
    for entry in proposal.entries.values():
        if entry.section != "services" or not entry.variants - {""}:
            continue
        for seen in [each for each in entry.seen if not each.access.variant]:
            entry.seen.remove(seen)
            proposal.prices.pop(f"{entry.id}/", None)
            if seen in proposal.admitted:
                proposal.admitted.remove(seen)
                proposal.stays.append(Stays(seen, (_VARIANT,), remedies((_VARIANT,))))


def remedies(reasons: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """What would change these, each said once; a rule of one's own is named."""
    found = []
    for policy, code in reasons:
        reason = known(code)
        own = policy.startswith("custom.")
        found.append(f"Look at your rule {policy}." if own or reason is None else EXPLANATIONS[reason].remedy)
    return tuple(dict.fromkeys(found))


def _deny(seen: Seen, catalogue: Catalogue, proposal: Proposal) -> None:
    access, reasons = seen.access, frozenset(seen.kind.reasons)
    fresh = _fresh(access, reasons, catalogue)
    left = tuple(each for each in seen.kind.reasons if not _mended(each, seen.kind, fresh, catalogue))
    if left and not {*left} <= {_FLOW, _READING}:
        proposal.stays.append(Stays(seen, left, remedies(left)))
        return
    if left:
        proposal.stays.append(Stays(seen, left, remedies(left)))
        _clearance(seen, left, fresh, proposal)
    if not left or fresh:
        _mend(seen, fresh, catalogue, proposal, admitted=not left)
    if not left:
        proposal.admitted.append(seen)


def _fresh(access: Access, reasons: frozenset[tuple[str, str]], catalogue: Catalogue) -> str:
    """The section that lacks an entry for it and could have one; else ""."""
    if _UNKNOWN not in reasons or not ID.fullmatch(access.id):
        return ""
    if access.purpose and not PURPOSE.fullmatch(access.purpose):
        return ""
    if access.type in SERVICES and access.id not in catalogue.services:
        named = all(not each or NAME.fullmatch(each) for each in (access.operation, access.variant))
        return "services" if named else ""
    return "datasets" if access.type == "dataset" and access.id not in catalogue.datasets else ""


def _mended(reason: tuple[str, str], kind: Kind, fresh: str, catalogue: Catalogue) -> bool:
    """Whether an addition to the catalogue, or a rule, would take the denial away."""
    access = kind.access
    service = catalogue.services.get(access.id) if access.type in SERVICES else None
    match reason:
        case pair if pair == _NOBODY:
            return access.type in RULED
        case pair if pair == _UNKNOWN:
            return bool(fresh or _listed_then(kind, catalogue))
        case pair if pair == _OWNER:
            # Of a known service only its own owner can be told: of a link behind it, it is the link's. An operation
            # that it does not list has none either.
            owned = service if service is not None else catalogue.datasets.get(access.id)
            return bool(fresh or (owned is not None and (not owned.owner or _listed_then(kind, catalogue))))
        case pair if pair == _FLOW:
            return _listed_then(kind, catalogue) and {*kind.labels} <= {*catalogue.services[access.id].clearance}
        case pair if pair == _VARIANT:
            listed = service is not None and NAME.fullmatch(access.variant)
            return bool(fresh or (listed and access.variant not in service.variants))  # type: ignore[union-attr]
        case pair if pair in (_PRICE, _NO_PRICE):
            return access.type in SERVICES and bool(fresh or not catalogue.prices_for(access.id, access.variant))
        case pair if pair == _PURPOSE:
            agent = catalogue.agents.get(access.agent)
            own = agent is not None and access.actor not in agent.actors and not kind.in_workflow
            return bool(own and PURPOSE.fullmatch(access.purpose) and access.action != ActionName.WORKFLOW_OPEN)
    return False


def _listed_then(kind: Kind, catalogue: Catalogue) -> bool:
    """Whether the service would know it if it listed the operation; one that is listed has no endpoint for it."""
    access = kind.access
    service = catalogue.services.get(access.id) if access.type in SERVICES else None
    if service is None or _UNKNOWN not in kind.reasons or not NAME.fullmatch(access.operation):
        return False
    return (
        bool(service.operations)
        and access.operation not in service.operations
        and all(link.owner for link in service.via)
    )


def _mend(seen: Seen, fresh: str, catalogue: Catalogue, proposal: Proposal, *, admitted: bool) -> None:
    access, reasons = seen.access, {*seen.kind.reasons}
    if fresh:
        entry = proposal.entries.setdefault((fresh, access.id), Entry(fresh, access.id))
        entry.seen.append(seen)
        entry.operations.add(access.operation)
        entry.variants.add(access.variant)
        entry.purposes.add(access.purpose)
        entry.labels.update(seen.kind.labels)
    else:
        section = "datasets" if access.type == "dataset" else "services"
        place = f"{section}.{access.id}"
        for reason, at, add in (
            (_UNKNOWN, f"{place}.operations", access.operation),
            (_VARIANT, f"{place}.variants", access.variant),
            (_OWNER, f"{place}.owner", "TODO"),
        ):
            if reason in reasons and (reason != _OWNER or not _owner(access, catalogue)):
                _add(proposal.edits, at, add, seen)
    if _PURPOSE in reasons and admitted:
        _add(proposal.edits, f"agents.{access.agent}.purposes", access.purpose, seen)
    if access.type in SERVICES and access.action in METERED and not catalogue.prices_for(access.id, access.variant):
        proposal.prices.setdefault(f"{access.id}/{access.variant}", []).append(seen)


def _owner(access: Access, catalogue: Catalogue) -> str:
    listed = catalogue.datasets.get(access.id) if access.type == "dataset" else catalogue.services.get(access.id)
    return listed.owner if listed is not None else ""


def _clearance(seen: Seen, left: Sequence[tuple[str, str]], fresh: str, proposal: Proposal) -> None:
    """What labels would need to be cleared for: for a person to decide, never done."""
    access = seen.access
    sections = {"service": "services", "tool": "services", "dataset": "datasets", "agent": "agents"}
    if _FLOW in left and not fresh and access.type in sections and ID.fullmatch(access.id):
        for label in seen.kind.labels:
            _add(proposal.decide, f"{sections[access.type]}.{access.id}.clearance", label, seen)
    if _READING in left:
        for label in _read(seen.body):
            _add(proposal.decide, f"agents.{access.agent}.clearance", label, seen)


def _read(body: Mapping[str, object]) -> list[str]:
    facts = body.get("facts")
    labels = facts.get("resource_labels") if isinstance(facts, dict) else None
    return [each for each in labels if isinstance(each, str)] if isinstance(labels, list) else []


def _add(edits: dict[tuple[str, str], Edit], at: str, add: str, seen: Seen) -> None:
    edits.setdefault((at, add), Edit(at, add)).seen.append(seen)
