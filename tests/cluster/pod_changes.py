"""Every single change of a part of a pod that the API's own description allows: fields changed, taken away, added."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

Json = Any
CORE = "io.k8s.api.core.v1."

# What the API server takes where any word would not do: else a change is refused before policy looks at it.
_WORDS: Mapping[str, Json] = {
    "appArmorProfile": {"type": "Unconfined"},
    "claims": None,  # needs a claim of the pod's
    "configMap": {"name": "mine"},
    "csi": {"driver": "mine"},
    "env": [{"name": "LD_PRELOAD", "value": "/evil.so"}],
    "envFrom": [{"configMapRef": {"name": "mine"}}],
    "grpc": {"port": 1},
    "lifecycle": {"postStart": {"exec": {"command": ["sh"]}}},
    "mountPropagation": "HostToContainer",
    "postStart": {"exec": {"command": ["sh"]}},
    "procMount": "Default",
    "recursiveReadOnly": "IfPossible",
    "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}],
    "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}],
    "scheme": "HTTPS",
    "seLinuxOptions": {"type": "spc_t"},
    "subPath": "x",
    "subPathExpr": "x",
    "volumeDevices": None,  # needs a block volume
    "windowsOptions": None,  # not for Linux
}
_OTHER = {
    "IfNotPresent": "Never",
    "FallbackToLogsOnError": "File",
    "HTTP": "HTTPS",
    "TCP": "UDP",
    "RuntimeDefault": "Unconfined",
}


def changes(value: Json, type_: str, swagger: Mapping[str, Json], path: str) -> Iterator[tuple[str, Json]]:
    """Each change as (where, the whole value with it). `type_` names its definition, "" for a map or a plain value."""
    if isinstance(value, dict):
        fields = swagger.get(type_, {}).get("properties", {})
        for key, inner in value.items():
            below = _type(fields.get(key, {}))
            for where, changed in changes(inner, below, swagger, f"{path}.{key}"):
                yield where, {**value, key: changed}
            yield f"{path}.{key} gone", {k: v for k, v in value.items() if k != key}
        for key, schema in fields.items():
            if key not in value and (word := _WORDS.get(key, _plausible(schema, swagger))) is not None:
                yield f"{path}.{key} added", {**value, key: word}
        if not fields:
            yield f"{path} one more", {**value, "ephemeral-storage": "1Mi"}
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            for where, changed in changes(inner, type_, swagger, f"{path}[{i}]"):
                yield where, [*value[:i], changed, *value[i + 1 :]]
            yield f"{path}[{i}] gone", [*value[:i], *value[i + 1 :]]
        if value:
            yield f"{path} one more", [*value, _another(value[0])]
    elif isinstance(value, bool):
        yield path, not value
    elif isinstance(value, int):
        yield path, value + 1
    else:
        yield path, _OTHER.get(value, _changed(value))


def _changed(text: str) -> str:
    """Another text of the same form, quantities too."""
    return f"9{text}" if text[:1].isdigit() else f"{text}x"


def _another(item: Json) -> Json:
    if isinstance(item, str):
        return _changed(item)
    other = copy.deepcopy(item)
    for key in ("mountPath", "path", "value"):
        if isinstance(other.get(key), str):
            other[key] += "x"
    if "mountPath" not in other and isinstance(other.get("name"), str):
        other["name"] += "x"
    return other


def _type(schema: Json) -> str:
    found = schema.get("$ref") or schema.get("items", {}).get("$ref") or ""
    return str(found).rsplit("/", 1)[-1]


def _plausible(schema: Json, swagger: Mapping[str, Json], depth: int = 0) -> Json:
    if schema.get("type") == "array":
        return [_plausible(schema["items"], swagger, depth)]
    if name := _type(schema):
        if name.endswith("Quantity"):
            return "1"
        if name.endswith("IntOrString"):
            return 1
        definition = swagger[name]
        fields = definition.get("properties", {})
        wanted = definition.get("required") or list(fields)[:1]
        return {key: _plausible(fields[key], swagger, depth + 1) for key in wanted if depth < 4}
    return {"integer": 1, "boolean": True, "object": {"x": "1"}, "number": 1}.get(schema.get("type"), "x")
