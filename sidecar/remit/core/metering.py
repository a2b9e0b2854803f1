"""What of a request is metered, within which limits, and what a selector sees of it."""

from __future__ import annotations

from collections.abc import Mapping

from remit.core.catalogue import Catalogue
from remit.core.dataset import NamedStatement
from remit.core.model import ActionName, Request

METERED = frozenset({ActionName.API_CALL, ActionName.TOOL_CALL, ActionName.MESSAGE_SEND})
SERVICES = frozenset({"service", "tool"})  # a tool is listed among the services


def is_metered(catalogue: Catalogue, request: Request) -> bool:
    """Whether the action is priced, reserved and settled: it uses a service, or is a write that the catalogue names."""
    if request.resource.type in SERVICES:
        return request.action in METERED
    return named_statement(catalogue, request) is not None


def named_statement(catalogue: Catalogue, request: Request) -> NamedStatement | None:
    """The statement of the catalogue that a write asks for; None where it asks for none."""
    if request.action != ActionName.DATA_WRITE or request.resource.type != "dataset":
        return None
    dataset = catalogue.datasets.get(request.resource.id)
    return dataset.statements.get(request.resource.operation) if dataset else None


def attributes(request: Request, region: str = "") -> dict[str, str]:
    """What a selector (`when`) sees of a request."""
    resource = request.resource
    return {
        "agent": request.subject.id,
        "team": request.subject.team,
        "service": resource.id if resource.type in SERVICES else "",
        "operation": resource.operation,
        "variant": resource.variant,
        "region": region,
        "purpose": request.context.purpose,
    }


def maxima(catalogue: Catalogue, request: Request, selected: dict[str, str]) -> Mapping[str, int]:
    """What the caller may use at most of each unit, where the catalogue says so."""
    service = catalogue.services.get(request.resource.id)
    variant = service.variant(request.resource.variant, selected) if service else None
    return variant.max if variant else {}
