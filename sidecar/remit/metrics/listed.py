"""What the catalogue says of agents, services and budgets, so that a query finds who answers for what it has found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from remit.core.catalogue import Budget, Catalogue
from remit.core.selector import Selector
from remit.core.window import CAP
from remit.metrics.vocabulary import Vocabulary


class CatalogueMetrics(Collector):
    """The catalogue in force, of whatever has a name that labels may have."""

    def __init__(self, catalogue: Callable[[], Catalogue], words: Vocabulary) -> None:
        self._catalogue, self._words = catalogue, words

    def collect(self) -> Iterator[Any]:
        """Each is 1, and once for each name."""
        catalogue, words = self._catalogue(), self._words
        agents = GaugeMetricFamily("remit_agent_info", "Who answers for an agent.", labels=["agent", "team", "mode"])
        for name, agent in catalogue.agents.items():
            if words.knows("agent", name):
                agents.add_metric([name, agent.team, agent.mode], 1)
        services = GaugeMetricFamily("remit_service_info", "Who answers for a service.", labels=["service", "owner"])
        for name, owner in _owners(catalogue).items():
            if words.knows("service", name):
                services.add_metric([name, owner], 1)
        budgets = GaugeMetricFamily("remit_budget_info", "Whose a budget is.", labels=["budget", "team", "per"])
        for name, budget in catalogue.budgets.items():
            team = team_of(budget, catalogue)
            rows = [(name, budget.per), *([(name + CAP, "agent")] if budget.caps else [])]
            for row, per in rows:
                if words.knows("budget", row):
                    budgets.add_metric([row, team, per], 1)
        yield from (agents, services, budgets)


def team_of(budget: Budget, catalogue: Catalogue) -> str:
    """The one team that a budget's `when` names: as a team, or as that of its agents, or as its services' owner."""
    teams = {name: name for name in catalogue.teams}
    for key, owners in (
        ("team", teams),
        ("agent", {name: agent.team for name, agent in catalogue.agents.items()}),
        ("service", _owners(catalogue)),
    ):
        found = _named(budget.when, key, owners)
        if len(found) == 1:
            return next(iter(found))
    return ""


def _named(when: Selector, key: str, owners: Mapping[str, str]) -> Set[str]:
    """Who owns what a selector names below a key; nobody where it does not name it."""
    term = [each for each in when.terms if each[0] == key]
    return {owner for name, owner in owners.items() if term and Selector(tuple(term)).matches({key: name})}


def _owners(catalogue: Catalogue) -> Mapping[str, str]:
    """Of services, and of datasets: a named write costs something of its dataset."""
    datasets = {name: each.owner for name, each in catalogue.datasets.items()}
    return datasets | {name: each.owner for name, each in catalogue.services.items()}
