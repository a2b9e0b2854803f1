"""The values that labels may take: names that an operator wrote, and no caller can make others.

Agents, services, datasets, labels and budgets come from the catalogue, policies and codes from the bundle's rules.
Anything else is `other`, and so is what comes after the 200th value of a label; `remit_label_overflow_total` counts
both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import Counter

from remit.core.catalogue import Catalogue
from remit.core.window import CAP

MAX_VALUES = 200
OTHER = "other"


class Vocabulary:
    """The values that each label may take."""

    def __init__(self, overflow: Counter) -> None:
        self._overflow = overflow
        self._known: dict[str, set[str]] = {}

    def fix(self, label: str, values: Iterable[str]) -> None:
        """These and no others; of too many, the first in order."""
        self._known[label] = set(sorted({*values})[:MAX_VALUES]) | {""}

    def fixed(self, label: str, value: str) -> str:
        """The value if it is known, else `other`."""
        if self.knows(label, value):
            return value
        self._overflow.inc()
        return OTHER

    def knows(self, label: str, value: str) -> bool:
        """Whether the value is told as it is."""
        return value in self._known.get(label, ())

    def learned(self, label: str, value: str) -> str:
        """The value if it is among the first 200 that came: for what only an operator's rules can say."""
        known = self._known.setdefault(label, set())
        if value not in known:
            if len(known) >= MAX_VALUES:
                self._overflow.inc()
                return OTHER
            known.add(value)
        return value


def names_of(catalogue: Catalogue) -> Mapping[str, Iterable[str]]:
    """The values of each label, as a catalogue has them."""
    services, datasets, agents = catalogue.services, catalogue.datasets, catalogue.agents
    approvals = [each.approval for service in services.values() for each in service.variants.values() if each.approval]
    roles = [role for group in (catalogue.people.values(), approvals) for each in group for role in each.roles]
    tables = [table for each in datasets.values() for table in each.tables.values()]
    statements = [statement for each in datasets.values() for statement in each.statements.values()]
    labels = [
        *(each.clearance + each.returns for each in services.values()),
        *(each.clearance + each.labels for each in datasets.values()),
        *(each.clearance for each in agents.values()),
        *(column for table in tables for column in table.columns.values()),
        *(each.labels for each in statements),
    ]
    return {
        "agent": agents,
        "team": (*catalogue.teams, *(each.team for each in agents.values())),
        "queue": (*agents, *roles),
        "service": (*services, *datasets),  # a named write costs something of its dataset
        "variant": [name for each in services.values() for name in each.variants],
        "owner": [
            *(each.owner for each in services.values()),
            *(each.owner for each in datasets.values()),
            *(each.owner for each in statements),
        ],
        "dataset": datasets,
        "column": [
            f"{name}.{column}"
            for each in datasets.values()
            for name, table in each.tables.items()
            for column in table.columns
        ],
        "sink": (*services, *datasets, *agents),
        "label": [label for group in labels for label in group],
        "budget": [name + suffix for name in catalogue.budgets for suffix in ("", CAP)],
        "unit": [each.unit for each in (*catalogue.prices, *catalogue.table)],
    }
