"""What dashboards are made of, in Grafana's classic JSON (schema 39 and later: Grafana 11, 12).

A panel says its queries and how they are to be read; where it stands follows from the order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

SCHEMA = 39
COLUMNS = 24
SOURCE: Mapping[str, str] = {"type": "prometheus", "uid": "${datasource}"}
RUNBOOKS = "docs/runbooks/"
"""Where links to runbooks begin; the chart puts `monitoring.runbooks` there."""

GOOD, CARE, BAD, PLAIN = "green", "orange", "red", "blue"


@dataclass(frozen=True)
class Query:
    """A query, and the legend of its series, such as "{{agent}}"."""

    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """`width` is of 24 columns. `steps` are the least values from which a colour holds, the first of them from any."""

    kind: str
    title: str
    says: str
    queries: Sequence[Query]
    unit: str = "short"
    width: int = 12
    height: int = 8
    decimals: int | None = None
    steps: Sequence[tuple[float | None, str]] = ((None, PLAIN),)
    options: Json = field(default_factory=dict)
    custom: Json = field(default_factory=dict)
    defaults: Json = field(default_factory=dict)
    overrides: Sequence[Json] = ()
    transformations: Sequence[Json] = ()

    @property
    def instant(self) -> bool:
        """Whether it asks for the end of the time range alone."""
        return self.kind != "timeseries"


@dataclass(frozen=True)
class Row:
    """A heading, and the panels below it, from left to right."""

    title: str
    panels: Sequence[Panel]


def lines(title: str, says: str, *queries: Query, **more: Any) -> Panel:
    """Lines over time."""
    legend = {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"], "showLegend": True}
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    custom = {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "spanNulls": False, **more.pop("custom", {})}
    if len(more.get("steps", ())) > 1:
        custom["thresholdsStyle"] = {"mode": "dashed"}
    return Panel("timeseries", title, says, queries, options=options, custom=custom, **more)


def number(title: str, says: str, *queries: Query, **more: Any) -> Panel:
    """One large number for each series."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "textMode": "auto",
        "justifyMode": "auto",
    }
    return Panel("stat", title, says, queries, options=options, **{"width": 4, "height": 4, **more})


def bars(title: str, says: str, *queries: Query, **more: Any) -> Panel:
    """A bar for each series, the longest first where the query sorts."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "orientation": "horizontal",
        "displayMode": "basic",
        "showUnfilled": False,
    }
    return Panel("bargauge", title, says, queries, options=options, **more)


def table(
    title: str,
    says: str,
    columns: Mapping[str, tuple[str, str]],
    *,
    sort: str = "",
    hide: Sequence[str] = (),
    **more: Any,
) -> Panel:
    """A row for each set of labels. `columns` are what their numbers are called: a query, and a unit.

    Sorted by `sort`, else by the first number, the largest first. `hide` are fields as Prometheus names them.
    """
    letters = [chr(ord("A") + at) for at in range(len(columns))]
    values = [f"Value #{letter}" for letter in letters] if len(columns) > 1 else ["Value"]
    named = dict(zip(values, columns, strict=True))
    units = [_override(name, "unit", unit) for name, (_, unit) in columns.items()]
    organize = {"excludeByName": dict.fromkeys(("Time", "__name__", *hide), True), "renameByName": named}
    merge = [{"id": "merge", "options": {}}] if len(columns) > 1 else []
    order = {
        "id": "sortBy",
        "options": {"fields": {}, "sort": [{"field": sort or next(iter(columns)), "desc": not sort}]},
    }
    more["overrides"] = [*units, *more.pop("overrides", ())]
    return Panel(
        "table",
        title,
        says,
        [Query(query) for query, _ in columns.values()],
        options={"showHeader": True, "cellHeight": "sm"},
        transformations=[*merge, {"id": "organize", "options": organize}, order],
        custom={"align": "auto", "filterable": True},
        **more,
    )


def link(column: str, title: str, url: str) -> Json:
    """Where a click on a column leads."""
    return _override(column, "links", [{"title": title, "url": url}])


def _override(column: str, key: str, value: Any) -> Json:
    return {"matcher": {"id": "byName", "options": column}, "properties": [{"id": key, "value": value}]}


@dataclass(frozen=True)
class Variable:
    """Values of a label, of series of the metric; `where` names the variables that narrow them down."""

    name: str
    metrics: Sequence[str]
    where: Sequence[str] = ()
    any: bool = False
    """Whether "All" is also what has no such label."""

    @property
    def query(self) -> str:
        """As Grafana asks Prometheus."""
        chosen = [f'{each}=~"${each}"' for each in self.where]
        if len(self.metrics) == 1:
            return f"label_values({self.metrics[0]}{{{', '.join(chosen)}}}, {self.name})"
        metrics = f'__name__=~"{"|".join(self.metrics)}"'
        return f"label_values({{{', '.join([metrics, *chosen])}}}, {self.name})"


def dashboard(
    name: str, title: str, says: str, variables: Sequence[Variable], rows: Sequence[Row], *, since: str
) -> Json:
    """The whole. `since` is how far back it looks at first, such as 6h."""
    runbooks = {"title": "Runbooks", "type": "link", "url": f"{RUNBOOKS}README.md", "icon": "doc", "targetBlank": True}
    others = {"title": "Remit", "type": "dashboards", "tags": ["remit"], "includeVars": True, "keepTime": True}
    return {
        "uid": f"remit-{name}",
        "title": title,
        "description": says,
        "tags": ["remit"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": f"now-{since}", "to": "now"},
        "refresh": "1m",
        "fiscalYearStartMonth": 0,
        "liveNow": False,
        "annotations": {"list": []},
        "links": [others, runbooks],
        "templating": {"list": [_source(), *map(_variable, variables)]},
        "panels": _placed(rows),
    }


def _source() -> Json:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1}


def _variable(each: Variable) -> Json:
    made: Json = {
        "name": each.name,
        "label": each.name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": each.query, "refId": each.name},
        "definition": each.query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }
    return made | ({"allValue": ".*"} if each.any else {})


def _placed(rows: Sequence[Row]) -> list[Json]:
    """Rows below each other; panels side by side, and in a new line where there is no more room."""
    found: list[Json] = []
    top = 0
    for row in rows:
        found.append(
            {
                "id": len(found) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            }
        )
        top, left, tallest = top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, tallest = top + tallest, 0, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            found.append({"id": len(found) + 1, "gridPos": place, **_panel(panel)})
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest
    return found


def _panel(panel: Panel) -> Json:
    made: Json = {"type": panel.kind, "title": panel.title, "description": panel.says, "options": panel.options}
    steps = [{"value": value, "color": colour} for value, colour in panel.steps]
    defaults: Json = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "custom": panel.custom,
        **panel.defaults,
    }
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    return made | {
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": list(panel.overrides)},
        "targets": [_target(panel, at) for at in range(len(panel.queries))],
        "transformations": list(panel.transformations),
    }


def _target(panel: Panel, at: int) -> Json:
    query = panel.queries[at]
    return {
        "refId": chr(ord("A") + at),
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": query.expression,
        "legendFormat": query.legend or "__auto",
        "instant": panel.instant,
        "range": not panel.instant,
        "format": "table" if panel.kind == "table" else "time_series",
    }
