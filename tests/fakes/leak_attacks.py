"""The attacks that somebody thought of: tests/cases/view_attacks.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fakes.leak_grammar import Made
from remit.core.view.model import Dialect
from ruamel.yaml import YAML

_CASES = Path(__file__).parents[1] / "cases" / "view_attacks.yaml"


@dataclass(frozen=True)
class Attack:
    """One; `unfenced`: it tells twins apart where a view is a plain sub-query."""

    made: Made
    unfenced: bool = False


def attacks(dialect: Dialect) -> list[Attack]:
    """Those for one database."""
    loaded = YAML(typ="safe").load(_CASES.read_text())
    return [
        Attack(Made(each["sql"]), each.get("unfenced", False))
        for each in loaded
        if each.get("on", dialect.value) == dialect.value
    ]
