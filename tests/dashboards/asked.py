"""The dashboards as they are committed, and their queries as Grafana would ask them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from chart.tools import CHART

FOLDER = CHART / "files" / "dashboards"
NAMES = ("money", "denied", "health")
RANGE_SECONDS = 600
OWN = {
    "__range": f"{RANGE_SECONDS}s",
    "__range_s": str(RANGE_SECONDS),
    "__rate_interval": "10s",
    "__interval": "1s",
}
"""Variables that Grafana has by itself, for a range of ten minutes and a scrape every second."""
LABEL_VALUES = re.compile(r"label_values\((.*), (\w+)\)")

Json = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """One query of a panel. `legend` are the labels that its series are named by."""

    dashboard: str
    panel: str
    kind: str
    expression: str
    legend: Sequence[str]

    @property
    def name(self) -> str:
        """Where it is."""
        return f"{self.dashboard}: {self.panel}"


@cache
def dashboard(name: str) -> Json:
    """One of them."""
    read: Json = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return read


def panels(name: str) -> list[Json]:
    """Its panels, without headings."""
    return [each for each in dashboard(name)["panels"] if each["type"] != "row"]


def queries(name: str) -> Iterator[Asked]:
    """All that its panels ask."""
    for panel in panels(name):
        for target in panel.get("targets", []):
            legend = re.findall(r"{{(\w+)}}", target["legendFormat"])
            yield Asked(name, panel["title"], panel["type"], target["expr"], legend)


def variables(name: str) -> list[Json]:
    """Its variables that are asked for, in order."""
    return [each for each in dashboard(name)["templating"]["list"] if each["type"] == "query"]


def parted(variable: Json) -> tuple[str, str]:
    """The series, and the label, whose values a variable has."""
    found = LABEL_VALUES.fullmatch(variable["query"]["query"])
    assert found, variable
    return found[1], found[2]


def filled(expression: str, chosen: Mapping[str, str]) -> str:
    """The expression with the values of variables. AssertionError where one has none."""
    values = {**OWN, **chosen}
    text = re.sub(r"\$(\w+)", lambda found: values.get(found[1], found[0]), expression)
    assert "$" not in text.replace('"${1}xx"', ""), text
    return text


def all_of(values: Sequence[str], variable: Json) -> str:
    """What Grafana puts for "All": what the variable says, or each of its values."""
    told: str = variable.get("allValue") or f"({'|'.join(map(re.escape, values))})"
    return told
