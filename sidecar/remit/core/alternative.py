"""Changed requests: what would be allowed instead of what was asked for, by a JSON merge patch (RFC 7396).

The patch is laid over `resource` and `arguments`. What is acted on stays the same: another resource is another
question, not a changed one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from remit.core.errors import BadRequest, Violation
from remit.core.model import Request

PARTS = frozenset({"resource", "arguments"})
CHANGEABLE = frozenset({"operation", "variant", "fields"})
_TEXT = 128


MEASURED = "measured"
"""Among what is shown of a request: the names of arguments that follow from what is performed (its size, the model of a
variant). A changed request has others, and nobody says which."""


def described(request: Request, measured: Collection[str] = ()) -> dict[str, Any]:
    """The parts of a request that can be changed, and those that say what is acted on; without what is `measured`."""
    resource = request.resource
    return {
        "resource": {
            "type": resource.type,
            "id": resource.id,
            "operation": resource.operation,
            "variant": resource.variant,
            "fields": list(resource.fields),
        },
        "arguments": {key: each for key, each in request.context.arguments.items() if key not in measured},
    }


def check_patch(patch: Mapping[str, Any]) -> None:
    """Raise BadRequest for a patch that changes what it must not, or into what no request can be.

    What it leaves out of a request may be null."""
    if not patch or not patch.keys() <= PARTS:
        raise BadRequest(Violation("alternative", "`resource`, `arguments`, or both"))
    resource, arguments = patch.get("resource", {}), patch.get("arguments", {})
    if not isinstance(resource, Mapping) or not resource.keys() <= CHANGEABLE:
        raise BadRequest(Violation("alternative.resource", f"some of {', '.join(sorted(CHANGEABLE))}"))
    for name in ("operation", "variant"):
        value = resource.get(name) or ""
        if not isinstance(value, str) or len(value) > _TEXT:
            raise BadRequest(Violation(f"alternative.resource.{name}", f"text of at most {_TEXT} characters"))
    fields = resource.get("fields") or []
    if not isinstance(fields, list) or not all(isinstance(each, str) for each in fields):
        raise BadRequest(Violation("alternative.resource.fields", "a list of columns"))
    if not isinstance(arguments, Mapping):
        raise BadRequest(Violation("alternative.arguments", "an object"))


def changed(description: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The described request with the patch laid over it, described. Raises BadRequest."""
    check_patch(patch)
    after = merged(description, patch)
    resource = {"operation": "", "variant": "", "fields": [], **after["resource"]}
    return {"resource": resource, "arguments": after["arguments"]}


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2: null takes away, an object is laid over, anything else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
