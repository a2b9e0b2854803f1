"""`remit check --ready AGENT`: what would break if an observed agent were bound from now on."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from remit.backends.opa_bundle import BundleInvalid, build
from remit.backends.opa_process import OpaFailed
from remit.backends.policy_files import sources
from remit.cli.failure import NO, Failure, Refused, Unreachable
from remit.cli.local import catalogue_paths
from remit.cli.opa import ready
from remit.cli.ready_asking import asked_anew
from remit.cli.screen import Told, emit, progress, show
from remit.cli.suggest_reading import observed
from remit.cli.text import amount, clean, counted, moment
from remit.config.loading import load
from remit.config.problem import CatalogueInvalid
from remit.config.reading import nearest
from remit.core.catalogue import Catalogue
from remit.core.suggestion.fragment import access_words
from remit.core.suggestion.observed import Observed, Spent
from remit.core.suggestion.readiness import RECORDED, Outcome, Tight, tight
from remit.core.window import budget_rows

SHOWN = 50


@dataclass(frozen=True, slots=True)
class Readiness:
    """What was found of an agent. `breaking` would be refused or held, `refused` is already; `blocking` are lines that
    keep it from being ready besides, `remarks` lines that do not."""

    agent: str
    seen: Observed
    breaking: Sequence[Outcome]
    refused: Sequence[Outcome]
    tight: Sequence[Tight]
    blocking: Sequence[str]
    remarks: Sequence[str]

    @property
    def ready(self) -> bool:
        """Whether nothing is known that would break."""
        return not (self.breaking or self.tight or self.blocking)


def check_ready(
    agent: str, catalogue: tuple[Path, ...], policy: tuple[Path, ...], *, as_json: bool, **journal: Any
) -> None:
    """Tell, and end with exit code 1 where it is not ready. Raises Failure, Refused, Unreachable."""
    try:
        settings, read = load(catalogue_paths(catalogue), os.environ, {"policies": [*policy] or None})
    except CatalogueInvalid as error:
        raise Failure(*str(error).splitlines()) from error
    if agent not in read.agents:
        meant = nearest(agent, read.agents)
        expected = f"did you mean {meant}?" if meant else "expected an agent of the catalogue"
        raise Failure(f"--ready: found {agent[:80]!r}; {expected}")
    with progress("reading the journal") as tell:
        seen = observed(tell, agent=agent, **journal)
        found = _found(agent, seen, read, _outcomes(seen, read, settings.policies, settings.opa.binary, tell))
    emit(_document(found)) if as_json else _tell(found, journal["since"])
    if not found.ready:
        raise click.exceptions.Exit(NO)


def _outcomes(
    seen: Observed, catalogue: Catalogue, policies: tuple[Path, ...], configured: Path | None, tell: Told
) -> Sequence[Outcome]:
    if not seen.decisions:
        return ()
    opa = ready(configured, tell).path
    try:
        with tempfile.TemporaryDirectory(prefix="remit-ready-") as directory:
            tell("building the policies", 0.3)
            bundle = build(sources(catalogue, policies), opa, Path(directory))
            tell("asking policy anew", 0.5)
            return asyncio.run(asked_anew(seen.groups(), catalogue, bundle, opa, Path(directory) / "opa"))
    except BundleInvalid as error:
        raise Refused(*map(str, error.problems)) from error
    except OpaFailed as error:
        raise Unreachable(f"OPA: {error}") from error


def _found(agent: str, seen: Observed, catalogue: Catalogue, outcomes: Sequence[Outcome]) -> Readiness:
    blocking = []
    if not seen.observed:
        blocking.append("nothing was observed: no decision in mode observe, and nothing observed is not ready")
    if not seen.whole:
        left = seen.left_out + seen.unread + seen.erased
        blocking.append(f"{counted(left, 'decision')} not looked at (beyond the bound, or erased): narrow --since")
    unreported = sum(each.ended == "presumed" or _overdue(each) for each in seen.spent())
    remarks = []
    if unreported:
        remarks.append(f"{counted(unreported, 'effect')} never reported: each is charged as reserved")
    if shared := seen.methods.get("pod", 0):
        remarks.append(
            f"{counted(shared, 'call')} without a credential of its own: whoever is in the pod is this agent"
        )
    for peer, count in sorted(seen.peers.items()):
        remarks.append(f"{counted(count, 'call')} from {clean(peer)} refused: no known credential, whoever that was")
    return Readiness(
        agent=agent,
        seen=seen,
        breaking=[each for each in outcomes if each.breaks],
        refused=[each for each in outcomes if each.effect != "ALLOW" and not each.breaks],
        tight=tight((each, _rows(each, catalogue)) for each in seen.spent()),
        blocking=blocking,
        remarks=remarks,
    )


def _overdue(spent: Spent) -> bool:
    return not spent.ended and spent.deadline < time.time_ns()


def _rows(spent: Spent, catalogue: Catalogue) -> Any:
    access = spent.kind.access
    agent = catalogue.agents.get(access.agent)
    selected = {
        "agent": access.agent,
        "team": agent.team if agent else "",
        "service": access.id,
        "operation": access.operation,
        "variant": access.variant,
        "region": "",
        "purpose": access.purpose,
    }
    return budget_rows(catalogue.budgets, selected, workflow=spent.workflow, time_ns=spent.time)


def _tell(found: Readiness, since: str) -> None:
    for title, outcomes in (("would break", found.breaking), ("refused already", found.refused)):
        for each in outcomes[:SHOWN]:
            seen = each.seen
            why = ", ".join(f"{clean(policy)}: {clean(code)}" for policy, code in each.reasons)
            times = f"{counted(seen.count, 'time')}, last {moment(seen.last)}, such as {clean(seen.example)}"
            show(f"{title}: {access_words(seen)}: {each.effect} ({why}; {each.how}); {times}")
            for line in (*_asked(each), *each.changes):
                show(f"  {clean(line)}")
        if len(outcomes) > SHOWN:
            show(f"{title}: and {len(outcomes) - SHOWN} more: see --json")
    for row in found.tight:
        show(
            f"would run out: budget {clean(row.budget)}: spent {amount(row.spent)} of {amount(row.limit)} in one window"
        )
    for line in found.blocking:
        show(f"not ready: {line}")
    for line in found.remarks:
        show(f"remark: {line}")
    observed = f"{counted(found.seen.observed, 'observed decision')} in the last {since}"
    show(f"{clean(found.agent)} is {'ready' if found.ready else 'not ready'}: {observed}")


def _asked(outcome: Outcome) -> Sequence[str]:
    if outcome.effect != "HOLD" or outcome.how == RECORDED or not outcome.askable:
        return ()
    return (f"would be asked: {', '.join(outcome.askable)}",)


def _document(found: Readiness) -> dict[str, Any]:
    return {
        "agent": found.agent,
        "ready": found.ready,
        "observed": found.seen.observed,
        "breaking": [_outcome(each) for each in found.breaking],
        "refused_already": [_outcome(each) for each in found.refused],
        "budgets": [
            {
                "budget": each.budget,
                "spent": amount(each.spent),
                "limit": amount(each.limit),
                "window_start_ns": each.start,
            }
            for each in found.tight
        ],
        "blocking": list(found.blocking),
        "remarks": list(found.remarks),
    }


def _outcome(outcome: Outcome) -> Mapping[str, Any]:
    access = outcome.seen.access
    return {
        "action": access.action,
        "resource": {"type": access.type, "id": access.id, "operation": access.operation, "variant": access.variant},
        "purpose": access.purpose,
        "actor": access.actor,
        "labels": list(outcome.seen.kind.labels),
        "then": outcome.seen.kind.effect,
        "now": outcome.effect,
        "how": outcome.how,
        "reasons": [{"policy": policy, "code": code} for policy, code in outcome.reasons],
        "changes": list(outcome.changes),
        "would_be_asked": list(outcome.askable),
        "count": outcome.seen.count,
        "last_ns": outcome.seen.last,
        "decision": outcome.seen.example,
    }
