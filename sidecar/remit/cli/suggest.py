"""`remit policy suggest`: catalogue entries and rules, from what was observed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from remit.cli.failure import Failure, Refused
from remit.cli.local import catalogue_paths
from remit.cli.screen import emit, note, progress, show
from remit.cli.suggest_reading import journal_options, observed
from remit.cli.text import clean, counted
from remit.config.loading import load
from remit.config.problem import CatalogueInvalid
from remit.core.catalogue import Catalogue
from remit.core.records import mapping, text
from remit.core.suggestion.fragment import access_words, dearest_days, fragment
from remit.core.suggestion.observed import Access, Observed, Seen
from remit.core.suggestion.proposal import Edit, Proposal, propose
from remit.core.suggestion.rules import RuleText, rule_texts

PATH = click.Path(path_type=Path)
FRAGMENT = "catalogue.yaml"
SHOWN = 20
_CATEGORY = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """All that is suggested, and the files that say it."""

    proposal: Proposal
    rules: Sequence[RuleText]
    files: Mapping[Path, str]
    seen: Observed


@click.command("suggest")
@journal_options
@click.option("--agent", default="", help="This agent alone; default: all that are observed.")
@click.option("--dir", "directory", type=PATH, default=Path("policies"), show_default=True, help="Your policies.")
@click.option("--name", "category", default="suggested", show_default=True, help="The new folder in it.")
@click.option("--catalogue", multiple=True, type=PATH, help="File or directory [REMIT_CATALOGUE, remit.yaml].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def suggest(
    *,
    agent: str,
    directory: Path,
    category: str,
    catalogue: tuple[Path, ...],
    as_json: bool,
    **journal: Any,
) -> None:
    """Write catalogue entries and allow rules for what agents were observed to do, as narrow as it was.

    Reads the journal. What is denied for a label, a halt, a role or a rule of yours is never suggested away: it is
    listed, with what would change it. Nothing is overwritten. Exit code 1: nothing was observed; 3: no journal.

    Example: remit policy suggest --since 24h --agent support
    """
    if not _CATEGORY.fullmatch(category):
        raise Failure(f"--name: found {category[:80]!r}; expected a name of a-z, 0-9 and _, such as suggested")
    read = _catalogue(catalogue)
    if agent and agent not in read.agents:
        raise Failure(f"--agent: found {agent[:80]!r}; expected an agent of the catalogue")
    with progress("reading the journal") as told:
        seen = observed(told, agent=agent, **journal)
    if not seen.decisions:
        raise Refused(f"nothing was observed in the last {journal['since']}: no decision in mode observe, no denial")
    made = _made(seen, read, directory / category, category, journal["since"])
    write_new(made.files)
    emit(_document(made)) if as_json else _tell(made, directory)


def _catalogue(given: tuple[Path, ...]) -> Catalogue:
    try:
        return load(catalogue_paths(given), os.environ, {})[1]
    except CatalogueInvalid as error:
        raise Failure(*str(error).splitlines()) from error


def _made(seen: Observed, catalogue: Catalogue, folder: Path, category: str, since: str) -> Suggestion:
    groups = seen.groups()
    proposal = propose(groups, catalogue)
    currency = catalogue.currency
    teams = {each.access.agent: text(mapping(each.body.get("subject")).get("team")) for each in groups}
    rules = rule_texts(proposal, category=category, teams=teams, currency=currency)
    files = {folder / FRAGMENT: fragment(proposal, period=_period(seen, since), currency=currency, days=_days(seen))}
    for rule in rules:
        files[folder / rule.name / f"{rule.name}.rego"] = rule.text
        files[folder / rule.name / f"{rule.name}_test.rego"] = rule.test
    return Suggestion(proposal, rules, files, seen)


def _days(seen: Observed) -> Sequence[tuple[str, int]]:
    return dearest_days(seen.spent())


def _period(seen: Observed, since: str) -> str:
    left = seen.left_out + seen.unread
    more = f"; {counted(left, 'decision')} beyond the bound left out" if left else ""
    gone = f"; {counted(seen.erased, 'erased record')} left out" if seen.erased else ""
    return f"the last {since}, {counted(seen.decisions, 'decision')}{more}{gone}"


def write_new(texts: Mapping[Path, str]) -> None:
    """Write all of the files, or none where one is there already. Raises Failure."""
    for path in texts:
        if path.exists():
            raise Failure(f"{path} is there already, and is not overwritten: expected a new folder, with --name")
    for path, content in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(content)
        except OSError as error:
            raise Failure(f"{path}: {error.strerror}; expected a place that can be written to") from error


def _tell(made: Suggestion, directory: Path) -> None:
    for path in made.files:
        show(f"wrote {path}")
    stays = made.proposal.stays
    for each in stays[:SHOWN]:
        why = ", ".join(f"{clean(policy)}: {clean(code)}" for policy, code in each.reasons)
        times = counted(each.seen.count, "time")
        show(f"stays: {access_words(each.seen)}: {each.seen.kind.effect} {times} ({why})")
        for change in each.changes:
            show(f"  {clean(change)}")
    if len(stays) > SHOWN:
        show(f"and {len(stays) - SHOWN} more that stay: see --json")
    for edit in sorted(made.proposal.edits.values(), key=lambda each: (each.at, each.add))[:SHOWN]:
        show(f"add to {clean(edit.at)}: {clean(edit.add)}")
    show(f"now: fill in each TODO of {next(iter(made.files))}, and put it beside remit.yaml")
    show(f"then: remit check --policy {directory}", "then: remit check --ready AGENT")
    if not made.seen.whole:
        note("remit: not everything was read: narrow it with --since or --agent")


def _document(made: Suggestion) -> dict[str, Any]:
    proposal = made.proposal
    return {
        "files": [str(path) for path in made.files],
        "decisions": made.seen.decisions,
        "left_out": made.seen.left_out + made.seen.unread + made.seen.erased,
        "entries": [
            {
                "section": each.section,
                "id": each.id,
                "operations": sorted(each.operations),
                "variants": sorted(each.variants),
                "purposes": sorted(each.purposes),
                "labels": sorted(each.labels),
                "evidence": _evidence(each.seen),
            }
            for _, each in sorted(proposal.entries.items())
        ],
        "edits": _edits(proposal.edits.values()),
        "prices": [{"match": name, "evidence": _evidence(seen)} for name, seen in sorted(proposal.prices.items())],
        "decide": _edits(proposal.decide.values()),
        "allowed": [_access(each) for rule in made.rules for each in rule.accesses],
        "left_out_of_rules": sum(rule.left_out for rule in made.rules),
        "stays": [
            {
                **_access(each.seen.access),
                "effect": each.seen.kind.effect,
                "reasons": [{"policy": policy, "code": code} for policy, code in each.reasons],
                "changes": list(each.changes),
                "evidence": _evidence([each.seen]),
            }
            for each in proposal.stays
        ],
        "spent": [{"agent": agent, "day": str(cost)} for agent, cost in _days(made.seen)],
    }


def _edits(edits: Any) -> list[dict[str, Any]]:
    ordered: list[Edit] = sorted(edits, key=lambda each: (each.at, each.add))
    return [{"at": each.at, "add": each.add, "evidence": _evidence(each.seen)} for each in ordered]


def _access(access: Access) -> dict[str, str]:
    return {
        "agent": access.agent,
        "action": access.action,
        "type": access.type,
        "id": access.id,
        "operation": access.operation,
        "variant": access.variant,
        "purpose": access.purpose,
        "actor": access.actor,
    }


def _evidence(seen: Sequence[Seen]) -> dict[str, Any]:
    return {
        "count": sum(each.count for each in seen),
        "first_ns": min(each.first for each in seen),
        "last_ns": max(each.last for each in seen),
        "decision": max(seen, key=lambda each: each.last).example,
    }
