"""What `remit check` finds by asking for views: those that would be refused to agents that the catalogue admits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from remit.backends.identity_catalogue import subject_of
from remit.backends.opa_bundle import Bundle
from remit.backends.opa_process import OpaFailed
from remit.backends.view_package import ViewPackage
from remit.backends.view_rehearsal import Asker, Refusal, rehearse
from remit.cli.advice import admits
from remit.core.catalogue import Catalogue
from remit.core.model import ActionName, Context, Facts, Identity, Request, Resource
from remit.core.view.given import view_document

MAX_ASKED = 200
MAX_SECONDS = 5.0
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Found:
    """Lines about views that are refused, and about what was not asked."""

    errors: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


def rehearsed(
    catalogue: Catalogue,
    bundle: Bundle,
    opa: Path,
    directory: Path,
    views: Sequence[ViewPackage],
    *,
    most: int = MAX_ASKED,
) -> Found:
    """Ask for each dataset for each agent and purpose that it admits, the first `most` of them within MAX_SECONDS."""
    doubts = tuple(str(doubt) for view in views for doubt in view.doubts)
    combinations = _combinations(catalogue, bundle)
    askers = [
        Asker(agent, dataset, purpose, view_input(catalogue, agent, dataset, purpose))
        for agent, dataset, purpose in combinations[:most]
    ]
    asking = rehearse(bundle, opa, directory / "opa", views=views, askers=askers, seconds=MAX_SECONDS)
    try:
        found = asyncio.run(asking)
    except OpaFailed as error:
        return Found((), (*doubts, f"views: none was asked for: {error}"))
    left = len(combinations) - found.asked
    unasked = f"views: {left} of {len(combinations)} combinations of agent, dataset and purpose were not asked for"
    how = "remit views explain AGENT DATASET asks for one"
    return Found(tuple(map(_line, found.refusals)), (*doubts, *([f"{unasked}: {how}"] if left else [])))


def _combinations(catalogue: Catalogue, bundle: Bundle) -> list[tuple[str, str, str]]:
    """Agent, dataset and purpose; each dataset that has a view in turn, so that none is left to the last."""
    turns = [_askers(catalogue, name) for name in catalogue.datasets if name in bundle.views]
    return [each for turn in zip_longest(*turns) for each in turn if each]


def _askers(catalogue: Catalogue, name: str) -> Iterator[tuple[str, str, str]]:
    dataset = catalogue.datasets[name]
    for agent, entry in catalogue.agents.items():
        if admits(dataset, entry):
            for purpose in entry.purposes or ("",):
                if not dataset.purposes or purpose in dataset.purposes:
                    yield agent, name, purpose


def _line(refusal: Refusal) -> str:
    named = [f"{agent} for {purpose or 'no purpose'}" for agent, purpose in refusal.askers[:_MOST_NAMED]]
    more = len(refusal.askers) - len(named)
    who = ", ".join(named) + (f" and {more} more" if more else "")
    return f"{refusal.problem}; so queries of {refusal.dataset} are denied: {who}"


def view_input(catalogue: Catalogue, agent: str, dataset: str, purpose: str) -> dict[str, Any]:
    """The input as the sidecar makes it for a view, of an agent that holds nothing yet."""
    request = Request(
        subject=subject_of(catalogue, "agent", agent, Identity("token", agent)),
        action=ActionName.DATA_READ,
        resource=Resource("dataset", dataset),
        context=Context(purpose=purpose),
    )
    return view_document(catalogue, request, Facts(time.time_ns(), catalogue.describe(request.resource, {})))
