"""Which calls and operators search a text, and which make a long one of a short one.

One call is not interrupted: not by a limit of time, not by a cancel. What it may take is therefore bounded before any
database sees the statement. A search takes the length of what is searched, times that of what is searched for
(`instr`, `strpos`, `LIKE`), so the latter is short; and what a statement makes out of little is counted by `weight`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlglot import exp

from remit.core.view.functions import GATHERING, GATHERING_JSON, PADDED
from remit.core.view.model import Cell

UNIT = 50
"""Characters of a literal or parameter that weigh as much as a node."""

LONGEST_SOUGHT = 1_000
"""Characters that a text that is searched for may have."""

MOST_SOUGHT = 5 + LONGEST_SOUGHT // UNIT
"""The most that such a text may weigh: so many characters, and what joins them."""

STORED = 4
"""The most that a column that is searched for may weigh. What is stored is the operator's; a text that is made of it
to be found nowhere and everywhere nearly (`translate` to one letter) weighs more."""

_OPERATORS: Mapping[type[exp.Expr], str] = {
    exp.Like: "expression",
    exp.ILike: "expression",
    exp.Glob: "expression",
    exp.SimilarTo: "expression",
    exp.RegexpLike: "expression",
    exp.RegexpILike: "expression",
    exp.StrPosition: "substr",
    exp.Trim: "expression",
}
# Of calls that search, all of them for their second argument.
_SEARCHING = frozenset(
    ["instr", "strpos", "replace", "split_part", "regexp_replace", "translate", "trim", "ltrim", "rtrim", "btrim"]
)
_REPLACING = frozenset(["replace", "regexp_replace"])
# What may stand around literals, parameters and columns in a text that is searched for: it makes none longer.
_JOINING = (exp.Paren, exp.DPipe, exp.Cast, exp.Collate, exp.Any, exp.All, exp.Array, exp.Neg)
_JOINING_CALLS = frozenset(["lower", "upper", "concat", "coalesce", "nullif"])
# What puts a mark before some characters, or two for one: twice as long with each level.
_DOUBLING = GATHERING_JSON | {
    "hex",
    "quote",
    "quote_literal",
    "to_json",
    "to_jsonb",
    "json_array",
    "json_object",
    "json_build_array",
    "json_build_object",
    "jsonb_build_array",
    "jsonb_build_object",
}
_GATHERED = 500
"""What a text of many rows weighs: its length is not known, so that few can be searched, and for little."""
_LONGEST_FIELD = 10  # characters that one of a format for a date or number becomes


@dataclass(frozen=True, slots=True)
class Work:
    """What a node does with the texts in it: what it searches for, puts in their place, and writes several times."""

    sought: exp.Expr | None = None
    put: exp.Expr | None = None
    repeated: exp.Expr | None = None
    times: int = 1
    weight: int = 0


def work_of(node: exp.Expr) -> Work:
    """Of any node of a tree; `times` is of `repeated`, or of all that stands in the node, and `weight` its own."""
    searched = _OPERATORS.get(type(node))
    if searched:
        return Work(sought=node.args.get(searched))
    if isinstance(node, exp.Array):
        return Work(times=2)
    if not isinstance(node, exp.Anonymous):
        return Work()
    name, values = str(node.this).lower(), node.expressions
    if name in _SEARCHING and len(values) > 1:
        return Work(sought=values[1], put=values[2] if name in _REPLACING and len(values) > 2 else None)
    if name in _DOUBLING or name in GATHERING:
        return Work(times=2 if name in _DOUBLING else 1, weight=_GATHERED if name in GATHERING else 0)
    if name == "concat_ws":
        return Work(repeated=values[0], times=len(values))
    if name in {"lpad", "rpad"}:
        return Work(repeated=values[1], times=PADDED // UNIT)
    if name in {"to_char", "strftime"}:
        return Work(repeated=values[-1] if name == "to_char" else values[0], times=_LONGEST_FIELD)
    return Work()


def length(node: exp.Expr, parameters: Mapping[str, Cell]) -> int | None:
    """Characters of a literal or a parameter; None of anything else. A parameter that is not there counts as short."""
    if isinstance(node, exp.Literal):
        return len(str(node.this))
    if isinstance(node, exp.Placeholder):
        value = parameters.get(str(node.this))
        return len(value) if isinstance(value, str | bytes) else 1
    return None


def growth(node: exp.Expr, work: Work, weight: int, parameters: Mapping[str, Cell]) -> int:
    """How many times longer a text becomes in which `work.put`, of this weight, is put for what is sought."""
    if work.put is None or work.sought is None:
        return 1
    put, sought = length(work.put, parameters), length(work.sought, parameters)
    most = weight * UNIT if put is None else put
    if str(node.this).lower() == "regexp_replace":
        return 1 + most  # it may find nothing, between any two characters
    return max(1, -(-most // max(1, sought or 1)))


def parts_sought(node: exp.Expr) -> Iterator[exp.Expr]:
    """What a text that is searched for is made of, beside literals, parameters and what joins them."""
    stack = [node]
    while stack:
        each = stack.pop()
        joins = isinstance(each, exp.Anonymous) and str(each.this).lower() in _JOINING_CALLS
        if isinstance(each, _JOINING) or joins:
            second = None if isinstance(each, exp.Collate) else each.args.get("expression")
            inner = [each.this, second, *each.expressions]
            stack += [part for part in inner if isinstance(part, exp.Expr)]
        elif not isinstance(each, exp.Literal | exp.Placeholder | exp.Null | exp.Boolean):
            yield each
