"""The tables of statements that are read and refused, a case for each dialect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from remit.core.view.model import Dialect
from ruamel.yaml import YAML

_CASES = Path(__file__).parents[1] / "cases"


def _table(name: str) -> list[tuple[Dialect, dict[str, Any]]]:
    cases = YAML(typ="safe", pure=True).load((_CASES / name).read_text(encoding="utf-8"))
    return [(Dialect(dialect), case) for case in cases for dialect in case["dialect"]]


def text_of(case: dict[str, Any]) -> str:
    """The case's statement; a deep one is written as its parts."""
    if "statement" in case:
        return str(case["statement"])
    before, times, part, middle, end, after = case["repeat"]
    return str(before + part * times + middle + end * times + after)


REFUSED = _table("view_refused.yaml")
ACCEPTED = _table("view_accepted.yaml")
