"""What policy is given where it is asked what somebody sees of a dataset.

A view depends on who asks, for what, in which workflow and session, and never on the statement: so one answer serves
all statements. What is named here is what rules of views may read, and all that their input has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from remit.core.catalogue import Catalogue
from remit.core.document import input_document
from remit.core.model import Facts, Request

GIVEN: Mapping[str, Collection[str]] = {
    "subject": ("type", "id", "team", "roles", "actor", "mode", "isolation", "identity"),
    "action": ("name",),
    "resource": ("type", "id", "operation", "variant", "ref", "owner", "external", "labels", "clearance"),
    "context": ("workflow", "purpose", "time"),
    "facts": ("labels", "halts", "chain"),
}
"""The parts of the input, and what of each: not what a call is about."""


def view_document(catalogue: Catalogue, request: Request, facts: Facts) -> dict[str, Any]:
    """The input of a request's view: the dataset as the catalogue has the whole of it, and nothing that is not GIVEN.

    Labels that the session holds are there without the decisions that brought them, which change with every call.
    """
    whole = replace(request.resource, fields=())
    held: dict[str, tuple[str, ...]] = dict.fromkeys(facts.labels, ())
    known = replace(facts, resource=catalogue.describe(whole, {}), labels=held)
    document = input_document(replace(request, resource=whole), known)
    return {part: {name: document[part][name] for name in names} for part, names in GIVEN.items()}
