"""Views that users write, asked of a real OPA: the filter and the masks that they mean, or a failure, never more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.loop import in_loop
from fakes.views import built, document, served
from remit.backends.pdp_opa import OpaPdp
from remit.core.errors import PolicyFailure
from remit.core.view.model import ViewInvalid
from remit.core.view.shown import filter_text, mask_text
from ruamel.yaml import YAML

pytestmark = pytest.mark.opa

CASES = Path(__file__).parents[1] / "cases" / "view_policies.yaml"


def cases() -> dict[str, dict[str, Any]]:
    """By the name of the dataset that each case is of."""
    loaded = YAML(typ="safe").load(CASES.read_text())
    return {f"case{number}": case for number, case in enumerate(loaded)}


async def found(pdp: OpaPdp, dataset: str, table: str, given: dict[str, Any]) -> dict[str, Any]:
    """What a view comes to, as the cases write it."""
    try:
        (view,) = await pdp.view(dataset, [table], document(dataset, **given))
    except ViewInvalid as invalid:
        return {"invalid": str(invalid).replace(dataset, "DATASET")}
    except PolicyFailure as failure:
        return {"failed": failure.reason.value}
    masks = {column: mask_text(mask).replace(dataset, "DATASET") for column, mask in view.masks.items()}
    return {"filter": filter_text(view.filter)} | ({"masks": masks} if masks else {})


@in_loop
async def test_each_view_has_the_filter_and_masks_that_it_means(tmp_path: Path) -> None:
    bundle = built(tmp_path, {dataset: case["view"] for dataset, case in cases().items()})
    async with served(tmp_path, bundle) as pdp:
        wrong = {}
        for dataset, case in cases().items():
            got = {table: await found(pdp, dataset, table, case.get("given", {})) for table in case["want"]}
            if got != case["want"]:
                wrong[case["description"]] = got
        assert wrong == {}
