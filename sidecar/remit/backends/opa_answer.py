"""What an answer of OPA means: a result of the expected revision, or which failure. No I/O."""

from __future__ import annotations

from typing import Any

from remit.backends.opa_http import MAX_BODY_BYTES, HttpAnswer
from remit.core.canonical import MalformedJson, parse
from remit.core.errors import PolicyFailure
from remit.core.reason import Reason

MAX_ANSWER_DEPTH = 48
_ANSWER_KEYS = frozenset({"result", "provenance", "decision_id"})
_CANCELLED = "eval_cancel_error"
_EVALUATION = "evaluation_error"


def read_result(answer: HttpAnswer, revision: str) -> object:
    """The result that OPA gave under this bundle revision; PolicyFailure for anything else."""
    body = read_body(answer)
    if answer.code != 200:
        raise refusal(answer.code, body)
    if not isinstance(body, dict) or not body.keys() <= _ANSWER_KEYS:
        raise PolicyFailure(Reason.POLICY_INVALID, "OPA's answer has another shape than an OPA's")
    _check_revision(body.get("provenance"), revision)
    if "result" not in body:
        raise PolicyFailure(Reason.POLICY_UNDEFINED, "OPA answered without a result")
    return body["result"]


def read_body(answer: HttpAnswer) -> Any:
    """The JSON of an answer, whatever its code; PolicyFailure where it is none."""
    try:
        return parse(answer.body, MAX_BODY_BYTES, MAX_ANSWER_DEPTH)
    except MalformedJson as e:
        if answer.code != 200:
            raise refusal(answer.code, None) from e
        raise PolicyFailure(Reason.POLICY_INVALID, f"OPA's answer is not JSON: {e}") from e


def _check_revision(provenance: object, revision: str) -> None:
    bundles = provenance.get("bundles") if isinstance(provenance, dict) else None
    entries = list(bundles.values()) if isinstance(bundles, dict) else []
    found = [entry.get("revision") if isinstance(entry, dict) else None for entry in entries]
    if found != [revision]:
        raise PolicyFailure(
            Reason.PDP_UNAVAILABLE, f"OPA serves the bundle revisions {str(found)[:80]}, expected {revision}"
        )


def refusal(code: int, body: object) -> PolicyFailure:
    """An evaluation that failed is the policy's fault, as is what has no form as a filter; all else is OPA's.

    The Compile API says in the error (seen in OPA 1.22.2) that the evaluation failed, and may not say how.
    """
    errors = body.get("errors") if isinstance(body, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(body, dict) or not isinstance(first, dict):
        return PolicyFailure(Reason.PDP_UNAVAILABLE, f"OPA answered HTTP {code}")
    if (code == 400 and body.get("code") == _EVALUATION) or (code == 500 and first == {}):
        return PolicyFailure(Reason.POLICY_ERROR, _told(first))
    if code == 500 and str(first.get("code", "")).startswith("eval_"):
        if first["code"] == _CANCELLED:
            return PolicyFailure(Reason.PDP_UNAVAILABLE, "OPA gave up the evaluation")
        return PolicyFailure(Reason.POLICY_ERROR, _told(first))
    return PolicyFailure(Reason.PDP_UNAVAILABLE, f"OPA answered HTTP {code}")


def _told(error: dict[str, Any]) -> str:
    location = error.get("location")
    place = f"{location.get('file')}:{location.get('row')}: " if isinstance(location, dict) else ""
    return f"{place}{error.get('code')}: {error.get('message')}"[:400]
