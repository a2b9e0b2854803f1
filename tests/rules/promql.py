"""What a rule rests on: the metrics that its expression names, with the labels that it wants of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SCRAPED = frozenset({"job", "instance", "installation", "namespace", "pod"})
"""Labels that the scrape adds (docs/metrics.md)."""

PROMETHEUS = {"up": ()}
"""Metrics that Prometheus itself makes."""

_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LISTED = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^()]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\{[^{}]*\})?(?!\s*\()(?![a-zA-Z0-9_:])")
_DURATION = re.compile(r"\[[^\]]*\]|\boffset\s+\w+|(?<![\w:.])\d[\w.]*")
_WORDS = frozenset({"and", "or", "unless", "bool", "by", "on", "without", "ignoring", "group_left", "group_right"})
_REPLACED = re.compile(r'"([a-z_]+)",\s*"[^"]*",\s*"[^"]*",\s*"[^"]*"')


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a group; `name` is that of the alert, or of what it records."""

    file: str
    name: str
    expression: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    alerts: bool


def rules_of(file: str, groups: Sequence[Mapping[str, Any]]) -> Iterator[Rule]:
    """The rules of a rule file."""
    for group in groups:
        for each in group["rules"]:
            name = each.get("alert") or each["record"]
            parts = each.get("labels", {}), each.get("annotations", {})
            yield Rule(file, name, each["expr"], *parts, alerts="alert" in each)


def selectors(expression: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Each metric that is named, with the labels that it is selected by."""
    bare = _DURATION.sub(" ", _LISTED.sub(" ", _STRING.sub('""', expression)))
    for name, braces in _SELECTOR.findall(bare):
        if name not in _WORDS:
            yield name, frozenset(re.findall(r"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)", braces))


def problems(rules: Sequence[Rule], exposed: Mapping[str, Sequence[str]]) -> list[str]:
    """Metrics and labels that a rule wants and nothing tells; recorded ones have the labels of what they rest on."""
    recorded = {each.name: each for each in rules if not each.alerts}
    found = []
    for rule in rules:
        for name, wanted in selectors(rule.expression):
            labels = _labels(name, exposed, recorded)
            if labels is None:
                found.append(f"{rule.name}: nothing tells {name}")
            elif wanted - labels:
                found.append(f"{rule.name}: {name} has no {', '.join(sorted(wanted - labels))}")
        had = _labels_of(rule, exposed, recorded)
        listed = {each for names in _LISTED.findall(rule.expression) for each in _NAME.findall(names)}
        texts = " ".join((*rule.labels.values(), *rule.annotations.values()))
        told = set(re.findall(r"\$labels\.([a-zA-Z_]+)", texts))
        found += [f"{rule.name}: nothing it rests on has {each}" for each in sorted((listed | told) - had)]
    return found


def _labels(name: str, exposed: Mapping[str, Sequence[str]], recorded: Mapping[str, Rule]) -> frozenset[str] | None:
    if name in recorded:
        return _labels_of(recorded[name], exposed, recorded)
    if name.endswith("_bucket"):
        counted = exposed.get(name.removesuffix("_bucket") + "_count")
        return None if counted is None else frozenset(counted) | SCRAPED | {"le"}
    told = exposed.get(name, PROMETHEUS.get(name))
    return None if told is None else frozenset(told) | SCRAPED


def _labels_of(rule: Rule, exposed: Mapping[str, Sequence[str]], recorded: Mapping[str, Rule]) -> frozenset[str]:
    each = (_labels(name, exposed, recorded) or frozenset() for name, _ in selectors(rule.expression))
    return frozenset().union(*each, _REPLACED.findall(rule.expression))
