"""A dry run of views: asked of a real OPA for those who will ask; where one would be refused, why and by which rule.

It is asked as the sidecar asks, of the bundle that it would serve, for a session that holds nothing yet.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remit.backends.opa_bundle import Bundle
from remit.backends.opa_server import OpaServer
from remit.backends.pdp_opa import OpaPdp, PdpSettings
from remit.backends.policy_problem import Problem
from remit.backends.view_package import ViewPackage
from remit.core.errors import PolicyFailure
from remit.core.reason import Reason
from remit.core.view.mask_rules import setters
from remit.core.view.masks import MaskInvalid
from remit.core.view.model import ViewRefused
from remit.core.view.rego import Rule


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks for what, and the input of the dataset's view then."""

    agent: str
    dataset: str
    purpose: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is wrong with a dataset's view, where, and for whom (agent, purpose)."""

    dataset: str
    problem: Problem
    askers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What would be refused; `asked` of the askers had their turn before the time was up, or OPA did not answer."""

    refusals: tuple[Refusal, ...]
    asked: int


async def rehearse(
    bundle: Bundle, opa: Path, directory: Path, *, views: Sequence[ViewPackage], askers: Sequence[Asker], seconds: float
) -> Rehearsal:
    """Ask for all tables of each asker's dataset; `views` are those of the bundle. Raises OpaFailed."""
    if not askers:
        return Rehearsal((), 0)
    packages = {view.rules.dataset: view for view in views}
    server = OpaServer(opa, directory, askers[0].document, asking=PdpSettings(deadline=seconds))
    await server.start(bundle)
    found: dict[tuple[str, Problem], list[tuple[str, str]]] = {}
    asked = 0
    ends = time.monotonic() + seconds
    try:
        for asker in askers:
            problems = await _problems(server.pdp, bundle, packages[asker.dataset], asker)
            if problems is None or time.monotonic() > ends:
                break
            for problem in problems:
                found.setdefault((asker.dataset, problem), []).append((asker.agent, asker.purpose))
            asked += 1
    finally:
        await server.stop()
    return Rehearsal(tuple(Refusal(dataset, why, tuple(who)) for (dataset, why), who in found.items()), asked)


async def _problems(pdp: OpaPdp, bundle: Bundle, view: ViewPackage, asker: Asker) -> list[Problem] | None:
    """What is wrong with the view of each table; None where OPA did not answer, which says nothing of a view."""
    found = []
    for table in bundle.views[asker.dataset].tables:
        try:
            await pdp.view(asker.dataset, [table], asker.document)
        except PolicyFailure as failure:
            if failure.reason is Reason.PDP_UNAVAILABLE:
                return None
            found.append(_problem(view, table, failure))
        except ViewRefused as refused:
            found.append(_problem(view, table, refused))
    return list(dict.fromkeys(found))


def _problem(view: ViewPackage, table: str, failure: PolicyFailure | ViewRefused) -> Problem:
    """A failure at the first rule that it may come of; the file alone where no rule is known."""
    rules = places(view, table, failure)
    message = str(failure)
    if not rules:
        return Problem(str(view.files[0]), 0, message)
    also = ", ".join(f"{each.file}:{each.line}" for each in rules[1:])
    return Problem(rules[0].file, rules[0].line, f"{message} (see also {also})" if also else message)


def places(view: ViewPackage, table: str, failure: Exception) -> tuple[Rule, ...]:
    """The rules that a view's failure may come of; none where that is not known."""
    return setters(view.package.rules, table, failure.column) if isinstance(failure, MaskInvalid) else ()
