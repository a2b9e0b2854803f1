"""What the chart compares a pod with names every field that Kubernetes has there: no new one passes unseen."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from chart.tools import CHART, folder
from ruamel.yaml import YAML

Json = Any
CORE = "io.k8s.api.core.v1."
ROOTS = {"containers": "Container", "volumes": "Volume"}


def _named() -> dict[str, list[str]]:
    text = (CHART / "templates" / "_cel.tpl").read_text()
    (body,) = re.findall(r'define "remit.cel.fields" -}}\n(.*?){{- end }}', text, re.DOTALL)
    return YAML(typ="safe").load(body)


@pytest.mark.parametrize("place", _named())
def test_every_field_of_the_api_is_named(place: str) -> None:
    definitions = json.loads((folder() / "openapi" / "swagger.json").read_text())["definitions"]
    root, *below = place.split(".")
    fields: Json = definitions[CORE + ROOTS[root]]["properties"]
    for each in below:
        schema = fields[each]
        reference = schema.get("$ref") or schema["items"]["$ref"]
        fields = definitions[reference.rsplit("/", 1)[-1]]["properties"]
    assert sorted(fields) == _named()[place]
