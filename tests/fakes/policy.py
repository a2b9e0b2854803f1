"""A little policy library of the shape that Remit's has, which does as its input says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

MAIN = """\
package remit

verdict(effect) := {
	"effect": effect,
	"reasons": [{"policy": "fake", "code": "said_so"}],
	"obligations": [],
	"approval": {},
	"record": [],
}

decision := verdict("ALLOW") if input.kind == "good"

decision := verdict("DENY") if input.kind == "bad"

decision := {"effect": "ALLOW"} if input.kind == "strange"

decision := verdict("ALLOW") if {
	input.kind == "failing"
	to_number("no number") > 0
}

decision := verdict("ALLOW") if input.kind == "conflict"

decision := verdict("DENY") if input.kind == "conflict"

decision := verdict("ALLOW") if {
	input.kind == "slow"
	count([1 | some i in numbers.range(1, input.work); some j in numbers.range(1, input.work); i == j]) > 0
}

decision := verdict("ALLOW") if {
	input.kind == "sum"
	input.held + input.spent == data.remit.catalogue.limit
}

decision := object.union(verdict("DENY"), {"reasons": said}) if {
	input.kind == "custom"
	said := [{"policy": "custom", "code": code} | some code in data.remit.custom[_].deny]
}

decision := object.union(verdict("ALLOW"), {"record": padding}) if {
	input.kind == "long"
	padding := [sprintf("/%v/%v", [n, input.n]) | some n in numbers.range(1, 200)]
}

batch[id] := {"digest": asked.digest, "decision": answer} if {
	some id, asked in input.batch
	answer := decision with input as asked.input
}
"""

BAD = {"kind": "bad"}
"""An input that is denied: fit as a probe."""


def write_library(directory: Path, **more: str) -> Path:
    """The library as a directory; `more` are further files by name (`_` for `/`, without `.rego`)."""
    files = {"main": MAIN, **more}
    for name, text in files.items():
        path = directory / "remit" / f"{name}.rego"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory / "remit"


def input_of(kind: str, **more: Any) -> dict[str, Any]:
    """An input that makes the library do `kind`. For "slow", `work` of 1,000 takes about a second."""
    return {"kind": kind, "work": 30_000, **more}
