"""Row filters as OPA's Compile API gives them (UCAST, application/vnd.opa.ucast.all+json), read strictly.

OPA answers with the disjunction of what is left of a rule's bodies. Two things of it cannot be believed as they come
(seen in OPA 1.22.2): a part that has no form in UCAST can make the whole answer read as "every row", and the answer
does not say which bundle it is of. So the rule that is asked is not the author's own but one that Remit generates
around it (`core.dispatch`), with a table `~` that no catalogue can have:

    include if { input["~"].shown == MARK; data.remit.views.crm.include }
    include if input["~"].hidden == MARK

Each part of an answer that is whole then carries the mark: a filter as `shown` and the filter, every row as `shown`
alone, and no row as `hidden` alone. The mark is a hash of what the bundle was made of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from remit.core.errors import PolicyFailure
from remit.core.reason import Reason
from remit.core.view.model import EVERY_ROW, Compare, Every, FieldRef, Filter, Not, Scalar, Some, ViewInvalid

MARKS = "~"
SHOWN, HIDDEN = f"{MARKS}.shown", f"{MARKS}.hidden"

MAX_PARTS = 1_000
"""Comparisons and connectives of one filter."""
MAX_VALUES = 5_000
"""Values of one list."""
MAX_TEXT = 4_096
"""Characters of one value."""
_MAX_LEVELS = 16
# OPA writes these numbers by way of a double: one beyond may be its neighbour's.
_MAX_INTEGER = 2**53
_MAX_DIGITS = 15

_ORDERED = {"lt": "lt", "lte": "le", "gt": "gt", "gte": "ge"}
_TEXTUAL = frozenset({"startswith", "endswith", "contains"})
_SIMPLE = {"eq": "eq", "ne": "ne", "neq": "ne", "in": "in"} | _ORDERED | {name: name for name in _TEXTUAL}


def read_filter(query: object, table: str, columns: Collection[str], mark: str) -> Filter:
    """The rows of `table` that an answer's query includes, whole parts that are about other tables left out.

    Raises ViewInvalid for what cannot be a filter of this table, PolicyFailure for an answer without the mark.
    """
    reader = _Reader(table, columns)
    kept = [part for part in _parts(query, mark) if reader.concerns(part)]
    filters = tuple(reader.every(part) for part in kept)
    if EVERY_ROW in filters:
        return EVERY_ROW
    return filters[0] if len(filters) == 1 else Some(filters)


def _parts(query: object, mark: str) -> Iterator[list[object]]:
    """What stands beside the mark in each part of the answer."""
    disjuncts = _values(query) if _operator(query) == "or" else [query]
    if len(disjuncts) > MAX_PARTS:
        raise ViewInvalid(f"{len(disjuncts)} alternatives", expected=f"at most {MAX_PARTS}")
    for disjunct in disjuncts:
        conjuncts = _values(disjunct) if _operator(disjunct) == "and" else [disjunct]
        marks = [each for each in conjuncts if _is_mark(each)]
        rest = [each for each in conjuncts if not _is_mark(each)]
        if marks == [_mark(HIDDEN, mark)] and not rest:
            continue
        if marks != [_mark(SHOWN, mark)]:
            raise PolicyFailure(
                Reason.PDP_UNAVAILABLE, "OPA's filter is of another bundle, or has a part that cannot be a filter"
            )
        yield rest


def _mark(field: str, mark: str) -> dict[str, object]:
    return {"type": "field", "operator": "eq", "field": field, "value": mark}


def _is_mark(node: object) -> bool:
    return isinstance(node, dict) and node.get("field") in (SHOWN, HIDDEN)


def _operator(node: object) -> object:
    return node.get("operator") if isinstance(node, dict) and node.get("type") == "compound" else None


def _values(node: Any) -> list[object]:
    if node.keys() != {"type", "operator", "value"} or not isinstance(node["value"], list) or not node["value"]:
        raise ViewInvalid("a connective of another shape than UCAST's")
    found: list[object] = node["value"]
    return found


@dataclass(slots=True)
class _Reader:
    """Reads one answer's parts for one table."""

    table: str
    columns: Collection[str]
    left: int = MAX_PARTS

    def concerns(self, part: Sequence[object]) -> bool:
        """Whether a part is about this table: it names it, or none. One that names others too is no filter."""
        tables = {name for node in part for name in _tables(node, _MAX_LEVELS)}
        if self.table in tables and len(tables) > 1:
            others = ", ".join(sorted(tables - {self.table}))[:200]
            raise ViewInvalid(
                f"a condition on rows of {others} too", where=self.table, expected="conditions on one table's rows"
            )
        return not tables or self.table in tables

    def every(self, part: Sequence[object]) -> Filter:
        """All conditions of one part."""
        filters = tuple(self.filter(node) for node in part)
        return filters[0] if len(filters) == 1 else Every(filters)

    def filter(self, node: object) -> Filter:
        """One condition."""
        self.left -= 1
        if self.left < 0:
            raise ViewInvalid("a filter of too many parts", where=self.table, expected=f"at most {MAX_PARTS}")
        if not isinstance(node, dict):
            raise ViewInvalid(f"a condition that is {type(node).__name__}", where=self.table)
        if node.get("type") == "compound":
            return self.compound(_operator(node), _values(node))
        if node.get("type") != "field" or node.keys() != {"type", "operator", "field", "value"}:
            raise ViewInvalid("a condition of another shape than UCAST's", where=self.table)
        return self.compare(node["operator"], self.column(node["field"]), node["value"])

    def compound(self, operator: object, nodes: Sequence[object]) -> Filter:
        parts = tuple(self.filter(node) for node in nodes)
        if operator == "and":
            return Every(parts)
        if operator == "or":
            return Some(parts)
        if operator == "not" and len(parts) == 1:
            return Not(parts[0])
        raise ViewInvalid("a connective that is not known", where=self.table, expected="and, or, not")

    def column(self, name: object) -> str:
        """The column of a qualified name."""
        table, _, column = name.partition(".") if isinstance(name, str) else ("", "", "")
        if table != self.table or column not in self.columns:
            raise ViewInvalid(f"the column {str(name)[:200]!r}", where=self.table, expected="a column of the catalogue")
        return column

    def compare(self, operator: object, column: str, value: object) -> Filter:
        place = f"{self.table}.{column}"
        simple = _SIMPLE.get(operator) if isinstance(operator, str) else None
        if simple is None:
            raise ViewInvalid(f"the operator {str(operator)[:40]!r}", where=place, expected=", ".join(_SIMPLE))
        if simple == "in":
            return _member(place, column, value)
        if simple in _TEXTUAL and not isinstance(value, str):
            raise ViewInvalid(f"{simple} of what is no text", where=place, expected="a text")
        if isinstance(value, dict):
            if value.keys() != {"field"}:
                raise ViewInvalid("an object to compare with", where=place, expected="a scalar or a column")
            return Compare(column, simple, FieldRef(self.column(value["field"])))
        scalar = read_scalar(value, place)
        if operator in _ORDERED and (scalar is None or isinstance(scalar, bool)):
            raise ViewInvalid(f"an order ({simple}) of {scalar}", where=place, expected="a number or a text")
        return Compare(column, simple, scalar)


def _member(place: str, column: str, value: object) -> Filter:
    """`in`: of no values no row; null in it means rows without a value, as policy understands it and SQL does not."""
    if not isinstance(value, list) or len(value) > MAX_VALUES:
        raise ViewInvalid("in of what is no list", where=place, expected=f"a list of at most {MAX_VALUES} values")
    scalars = [read_scalar(each, place) for each in value]
    known = tuple(each for each in scalars if each is not None)
    if len({_kind(each) for each in known}) > 1:
        raise ViewInvalid("a list of different types", where=place, expected="values of one type")
    parts = [Compare(column, "in", known)] if known else []
    if len(known) < len(scalars):
        parts.append(Compare(column, "eq", None))
    return parts[0] if len(parts) == 1 else Some(tuple(parts))


def _kind(value: Scalar) -> str:
    return type(value).__name__ if isinstance(value, bool | str) else "number"


def read_scalar(value: object, place: str) -> Scalar:
    """A value that policy states, exact; ViewInvalid for a number that OPA may have rounded, and for what is none."""
    match value:
        case None | bool():
            return value
        case str() if len(value) <= MAX_TEXT and "\0" not in value:
            return value
        case int() if abs(value) < _MAX_INTEGER:
            return value
        case Decimal() if value.is_finite() and _digits(value) <= _MAX_DIGITS:
            return value
        case int() | Decimal():
            raise ViewInvalid("a number that may have been rounded", where=place, expected="at most 15 digits")
    raise ViewInvalid(f"a value that is {type(value).__name__}", where=place, expected=f"a scalar, text to {MAX_TEXT}")


def _digits(value: Decimal) -> int:
    """Significant ones, without what an exponent says as well."""
    return len(value.normalize().as_tuple().digits)


def _tables(node: object, levels: int) -> Iterator[str]:
    """The tables that a condition names."""
    if levels == 0:
        raise ViewInvalid("a filter of too many levels", expected=f"at most {_MAX_LEVELS}")
    if not isinstance(node, dict):
        return
    if "field" in node:
        yield str(node["field"]).partition(".")[0]
    value = node.get("value")
    for each in value if isinstance(value, list) and node.get("type") == "compound" else [value]:
        yield from _tables(each, levels - 1)
