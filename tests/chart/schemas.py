"""JSON schemas of Kubernetes' objects for kubeconform, made offline, in which nothing unknown is let be.

Kubernetes' own are from the API server's description (swagger.json of the module k8s.io/kubernetes), those of other
kinds from their CustomResourceDefinitions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]
FILE = "{{.Group}}_{{.ResourceKind}}_{{.ResourceAPIVersion}}.json"
"""As kubeconform is to find them; what has no group has its version for one."""

REF = "#/definitions/"
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"


def make(out: Path, tools: Path, kinds: Iterable[tuple[str, str]]) -> None:
    """Write a schema for each apiVersion and kind that is known."""
    definitions = {
        name: _strict(each)
        for name, each in json.loads((tools / "openapi" / "swagger.json").read_bytes())["definitions"].items()
    }
    definitions[QUANTITY] = {"type": ["string", "number"]}
    definitions[INT_OR_STRING] = {"type": ["string", "integer"]}
    known = {**dict(_own(definitions)), **dict(_custom(tools / "crds"))}
    for api_version, kind in set(kinds):
        if (api_version, kind) in known:
            schema = {**known[api_version, kind]}
            schema["properties"] = {
                **schema["properties"],
                "apiVersion": {"const": api_version},
                "kind": {"const": kind},
                "metadata": {"$ref": REF + OBJECT_META},
            }
            schema["required"] = sorted({*schema.get("required", ()), "apiVersion", "kind", "metadata"})
            schema["definitions"] = _closure(schema, definitions)
            group, _, version = api_version.partition("/")
            (out / f"{group}_{kind.lower()}_{version or group}.json").write_text(json.dumps(schema), encoding="utf-8")


def _own(definitions: dict[str, Schema]) -> Iterator[tuple[tuple[str, str], Schema]]:
    for each in definitions.values():
        for name in each.get("x-kubernetes-group-version-kind", ()):
            if {"apiVersion", "kind", "metadata"} <= each.get("properties", {}).keys():
                group = name["group"] and f"{name['group']}/"
                yield (f"{group}{name['version']}", name["kind"]), each


def _custom(directory: Path) -> Iterator[tuple[tuple[str, str], Schema]]:
    for path in directory.glob("*.yaml"):
        for each in yaml.load_all(path.read_text(encoding="utf-8"), yaml.CSafeLoader):
            spec = each["spec"]
            for version in spec["versions"]:
                name = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
                yield name, _strict(version["schema"]["openAPIV3Schema"])


def _strict(node: Any) -> Any:
    """With no property but those that are listed, unless others are said to be free."""
    if isinstance(node, list):
        return [_strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    # Below `properties` a key is a name, such as a field that is called properties itself.
    result = {
        key: {name: _strict(each) for name, each in value.items()} if key == "properties" else _strict(value)
        for key, value in node.items()
        if key not in ("description", "default", "example")
    }
    if isinstance(node.get("properties"), dict) and not node.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    if node.get("x-kubernetes-int-or-string"):
        result.pop("anyOf", None)
        result["type"] = ["string", "integer"]
    return result


def _closure(schema: Schema, definitions: dict[str, Schema]) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    waiting = list(_references(schema))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = definitions[name]
            waiting.extend(_references(found[name]))
    return found


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(REF)
        for each in node.values():
            yield from _references(each)
    elif isinstance(node, list):
        for each in node:
            yield from _references(each)
