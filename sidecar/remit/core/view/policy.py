"""What may stand in a package of views, and what follows from what does.

OPA evaluates `include` without the rows, and gives what is left as a filter. It does so without telling of built-in
functions that failed: a rule that is undefined for that reason is silent, and under `not` it opens what it should
close. So what `include` reaches is of two kinds here. Rules that read a row, and functions, may call only what cannot
fail, or what OPA leaves to the database because a column is its first operand. All other rules read no row; they
may call anything, and are evaluated strictly beside each filter (`ViewRules.known`). Masks are asked for without any
row, so that they may not read one.

Every path from `input` is written out and checked: a name that policy is not given would be undefined, silently.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from remit.core.view.given import GIVEN
from remit.core.view.mask_rules import MASKS as MASKS
from remit.core.view.mask_rules import Tables as Tables
from remit.core.view.mask_rules import mask_problems
from remit.core.view.meant import meant
from remit.core.view.rego import DYNAMIC, Call, Package, Path, Reference, Rule

INCLUDE = "include"

# These compare whatever they are given, and never fail.
_TOTAL = frozenset(
    {"eq", "equal", "neq", "lt", "lte", "gt", "gte", "assign", "internal.member_2", "internal.member_3"}
    | {f"is_{name}" for name in ("array", "boolean", "null", "number", "object", "set", "string")}
)
_TRANSLATED = frozenset({"startswith", "endswith", "contains"})
_SHARED = (("data", "remit", "catalogue"), ("data", "remit", "lib", "catalogue"))
_TABLE = ("input", "resource", "operation")
_COMPARING = frozenset({"eq", "equal", "neq", "assign", "internal.member_2"})
_TIME = ("input", "context", "time")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in a package that a view cannot be made of; `line` is 0 where it is about all of it."""

    file: str
    line: int
    message: str


@dataclass(frozen=True, slots=True)
class ViewRules:
    """What is known of a dataset's view before it is asked; `masks`: whether it has any.

    `known` are the rules that `include` builds on and that read no row.
    """

    dataset: str
    masks: bool
    known: tuple[str, ...]
    reads_time: bool


def view_schema(schema: Mapping[str, Any], tables: Tables) -> dict[str, Any]:
    """JSON Schema of what a dataset's view is given: what GIVEN names of the input, and a row of each table."""
    parts = {name: _narrowed(schema["properties"][name], names) for name, names in GIVEN.items()}
    rows = {name: _closed({column: {} for column in columns}) for name, columns in tables.items()}
    return {"$schema": schema.get("$schema", ""), **_closed({**rows, **parts})}


def _narrowed(schema: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return _closed({name: schema["properties"][name] for name in names})


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": dict(properties)}


def faults(package: Package, dataset: str, tables: Tables) -> Iterator[Fault]:
    """What is wrong, in the order of the files; nothing if the package is a view of the dataset."""
    for name in sorted(GIVEN.keys() & tables.keys()):
        yield Fault("", 0, f"the table {name} of {dataset} is called like a part of the input: give it another name")
    if not package.named(INCLUDE):
        yield Fault("", 0, f"expected a rule `{INCLUDE}` in the view of {dataset}: without one it has no row")
    for rule in package.rules:
        yield from _rule_faults(rule, tables)
    yield from _include_faults(package, tables)
    yield from _mask_faults(package, tables)
    for rule in package.named(MASKS):
        yield from (Fault(rule.file, line, wrong) for line, wrong in mask_problems(rule, dataset, tables))


def doubts(package: Package, dataset: str, tables: Tables) -> Iterator[Fault]:
    """What compiles and is probably not meant: a comparison of the table that is asked about with what is none."""
    for rule in package.rules:
        for call in rule.calls:
            if call.name in _COMPARING and _TABLE in call.operands:
                for name in _texts(call.values):
                    if name not in tables:
                        wrong = f"input.resource.operation is never {name!r}, which is no table of {dataset}"
                        yield Fault(rule.file, call.line, wrong + meant(name, tables))


def _texts(values: Collection[object]) -> Iterator[str]:
    """The texts that are written out among these, and in lists of these."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from (each for each in value if isinstance(each, str))


def rules_of(package: Package, dataset: str, tables: Tables) -> ViewRules:
    """What follows from a package without faults."""
    side = _row_side(package, tables)
    direct = {used for rule in package.rules if rule.name in side for used in rule.uses} - side
    known = direct if INCLUDE in side else {INCLUDE}
    reads = [read.path for rule in package.rules for read in rule.reads]
    return ViewRules(
        dataset=dataset,
        masks=bool(package.named(MASKS)),
        known=tuple(sorted(known)),
        reads_time=any(path[: len(_TIME)] == _TIME[: len(path)] or _dynamic(path, _TIME) for path in reads),
    )


def _dynamic(path: Path, target: Path) -> bool:
    """Whether a path that is not written out to its end may lead to the target."""
    return DYNAMIC in path and path[: path.index(DYNAMIC)] == target[: path.index(DYNAMIC)]


def _rule_faults(rule: Rule, tables: Tables) -> Iterator[Fault]:
    if rule.name == INCLUDE and not rule.plain:
        yield Fault(rule.file, rule.line, "expected `include if …`: no other value, arguments, default or else")
    for line in rule.overrides:
        yield Fault(rule.file, line, "found `with`, expected none in a view")
    for read in rule.reads:
        wrong = _read_fault(read, tables)
        if wrong:
            yield Fault(rule.file, read.line, wrong)


def _read_fault(read: Reference, tables: Tables) -> str:
    """Why a view may not read a path; "" where it may."""
    root, *rest = read.path
    if root == "data":
        if any(read.path[: len(shared)] == shared for shared in _SHARED):
            return ""
        return f"found {_shown(read.path)}, expected rules of its own package, data.remit.catalogue or lib.catalogue"
    given = {**GIVEN, **tables}
    if not rest or rest[0] == DYNAMIC:
        return "found input as a whole, expected a part of it, written out"
    name, *inner = rest
    if name not in given:
        return f"input.{name} is not given to a view{meant(name, given)}"
    if name in tables and (not inner or inner[0] == DYNAMIC):
        return f"expected a column, written out: input.{name}.COLUMN"
    if inner and inner[0] != DYNAMIC and inner[0] not in given[name]:
        what = "no column of the catalogue" if name in tables else "not given to a view"
        return f"input.{name}.{inner[0]} is {what}{meant(inner[0], given[name])}"
    if name in tables and len(inner) > 1:
        return f"found {_shown(read.path)}, expected a column as a whole"
    return ""


def _include_faults(package: Package, tables: Tables) -> Iterator[Fault]:
    side = _row_side(package, tables)
    for rule in package.rules:
        if rule.name in side:
            for call in rule.calls:
                if not _harmless(call, package, tables):
                    yield Fault(
                        rule.file,
                        call.line,
                        f"`{call.name}` can fail, and a filter would not tell: call it in a rule that reads no row and "
                        "is no function, and use that rule here",
                    )


def _harmless(call: Call, package: Package, tables: Tables) -> bool:
    if call.name in _TOTAL or package.named(call.name):
        return True
    return call.name in _TRANSLATED and bool(call.operands) and _of_row(call.operands[0], tables)


def _mask_faults(package: Package, tables: Tables) -> Iterator[Fault]:
    reached = package.reachable(MASKS)
    for rule in package.rules:
        if rule.name in reached:
            for read in rule.reads:
                if _of_row(read.path, tables):
                    shown = _shown(read.path)
                    yield Fault(rule.file, read.line, f"a mask depends on {shown}: masks hold for all rows of a table")


def _row_side(package: Package, tables: Tables) -> frozenset[str]:
    """The rules that are evaluated without the rows that they read, from `include` on, and functions that they call."""
    read_row = {rule.name for rule in package.rules if any(_of_row(each.path, tables) for each in rule.reads)}
    functions = {rule.name for rule in package.rules if rule.function}
    found: set[str] = set()
    waiting = [INCLUDE] if package.reachable(INCLUDE) & read_row else []
    while waiting:
        name = waiting.pop()
        found.add(name)
        used = frozenset[str]().union(*(rule.uses for rule in package.named(name)))
        waiting += [each for each in used - found if each in functions or package.reachable(each) & read_row]
    return frozenset(found)


def _of_row(path: Path, tables: Tables) -> bool:
    return len(path) > 1 and path[0] == "input" and (path[1] in tables or path[1] == DYNAMIC)


def _shown(path: Path) -> str:
    return ".".join("[…]" if part == DYNAMIC else part for part in path)
