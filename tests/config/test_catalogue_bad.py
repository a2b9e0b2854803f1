"""Every mistake of a catalogue is told by file, line, column, path, what was found and what was expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from remit.config import CatalogueInvalid, load
from ruamel.yaml import YAML

TABLE = Path(__file__).parents[1] / "cases" / "catalogue_bad.yaml"
CASES: list[dict[str, Any]] = YAML(typ="safe", pure=True).load(TABLE.read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["description"])
def test_each_mistake_is_told_where_it_stands(case: dict[str, Any], tmp_path: Path) -> None:
    """A catalogue that must be refused is, with exactly the messages of the table."""
    texts = case["given"] if isinstance(case["given"], dict) else {"remit.yaml": case["given"]}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(CatalogueInvalid) as refused:
        load([tmp_path / name for name in texts], {}, {})
    assert str(refused.value).replace(f"{tmp_path}/", "").splitlines() == case["want"]


def test_the_table_has_no_case_twice() -> None:
    """A description names one case."""
    descriptions = [case["description"] for case in CASES]
    assert len(set(descriptions)) == len(descriptions) >= 60
