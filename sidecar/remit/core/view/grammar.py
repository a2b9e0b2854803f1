"""The closed grammar: which nodes a statement's tree may have, and what each may say.

sqlglot reads far more than is allowed here, in every database's SQL, and goes on growing. So nothing is looked for to
be forbidden: each node's class must be in `_RULES`, and each argument that is set must be in its class's rule; a part
that is new to sqlglot is refused because nobody listed it. A text that ends up in the SQL as it is (the kind of a
join, a window's frame, a unit of time, a function's name) must be one of a listed few.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sqlglot import exp

from remit.core.view.functions import (
    COLLATIONS,
    PADDED,
    TYPE_NAMES,
    TYPES,
    UNITS,
    Kind,
    function_of,
)
from remit.core.view.model import Dialect, ViewRefused
from remit.core.view.places import where

MAX_NODES = 10_000
MAX_FRAMES = 560
"""The most Python frames (of 1,000, which the caller shares) that reading the printed tree again may nest."""

# What an argument may be: nodes, names alone, a flag, any text (a name or a literal, which are printed within quotes),
# or one of these words.
_NODES, _NAMES, _FLAG, _TEXT = "nodes", "names", "flag", "text"
Rule = Mapping[str, str | frozenset[str]]


def _nodes(*names: str, **others: str | frozenset[str]) -> Rule:
    return {**dict.fromkeys(names, _NODES), **others}


_BINARY = _nodes("this", "expression")
_ONE = _nodes("this")
_MANY = _nodes("expressions")
_NOTHING: Rule = {}
_SET = _nodes("with_", "this", "expression", "order", "limit", "offset", distinct=_FLAG)
_BOTH: dict[type[exp.Expr], Rule] = {
    # Queries.
    exp.Select: _nodes(
        "with_",
        "expressions",
        "distinct",
        "from_",
        "joins",
        "where",
        "group",
        "having",
        "windows",
        "order",
        "limit",
        "offset",
    ),
    exp.Union: _SET,
    exp.Except: _SET,
    exp.Intersect: _SET,
    exp.Subquery: _nodes("this", "alias", "with_", "joins", "order", "limit", "offset"),
    exp.With: _MANY,
    exp.CTE: _nodes("this", "alias", materialized=_FLAG),
    exp.TableAlias: {"this": _NAMES, "columns": _NAMES},
    exp.Table: _nodes("alias", "joins", this=_NAMES, db=_NAMES),
    exp.From: _ONE,
    exp.Join: _nodes(
        "this",
        "on",
        using=_NAMES,
        side=frozenset(["LEFT", "RIGHT", "FULL"]),
        kind=frozenset(["INNER", "CROSS", "OUTER"]),
    ),
    exp.Where: _ONE,
    exp.Group: _MANY,
    exp.Having: _ONE,
    exp.Distinct: _MANY,
    exp.Order: _nodes("this", "expressions"),
    exp.Ordered: _nodes("this", desc=_FLAG, nulls_first=_FLAG),
    exp.Limit: _nodes("expression"),
    exp.Offset: _nodes("expression"),
    # Names and values.
    exp.Identifier: {"this": _TEXT, "quoted": _FLAG},
    exp.Column: _nodes("this", table=_NAMES, db=_NAMES),
    exp.Star: _NOTHING,
    exp.Alias: _nodes("this", alias=_NAMES),
    exp.Literal: {"this": _TEXT, "is_string": _FLAG},
    exp.Boolean: {"this": _FLAG},
    exp.Null: _NOTHING,
    exp.Placeholder: {"this": _TEXT},
    exp.Var: {"this": _TEXT},
    # Expressions.
    exp.Paren: _ONE,
    exp.Tuple: _MANY,
    exp.And: _BINARY,
    exp.Or: _BINARY,
    exp.Not: _ONE,
    exp.EQ: _BINARY,
    exp.NEQ: _BINARY,
    exp.LT: _BINARY,
    exp.LTE: _BINARY,
    exp.GT: _BINARY,
    exp.GTE: _BINARY,
    exp.NullSafeEQ: _BINARY,
    exp.NullSafeNEQ: _BINARY,
    exp.Is: _nodes("this", "expression", negate=_FLAG),
    exp.In: _nodes("this", "expressions", "query"),
    exp.Between: _nodes("this", "low", "high", symmetric=_FLAG),
    exp.Like: _nodes("this", "expression", negate=_FLAG),
    exp.Escape: _BINARY,
    exp.Exists: _ONE,
    exp.Add: _BINARY,
    exp.Sub: _BINARY,
    exp.Mul: _BINARY,
    exp.Div: _nodes("this", "expression", typed=_FLAG, safe=_FLAG),
    exp.Mod: _BINARY,
    exp.Neg: _ONE,
    exp.DPipe: _nodes("this", "expression", safe=_FLAG),
    exp.BitwiseAnd: _BINARY,
    exp.BitwiseOr: _BINARY,
    exp.BitwiseNot: _ONE,
    exp.BitwiseLeftShift: _BINARY,
    exp.BitwiseRightShift: _BINARY,
    exp.Case: _nodes("this", "ifs", "default"),
    exp.If: _nodes("this", "true"),
    exp.Cast: _nodes("this", "to"),
    exp.DataType: {"this": _NODES, "expressions": _NODES},
    exp.DataTypeParam: _ONE,
    exp.Collate: _BINARY,
    exp.JSONExtract: _BINARY,
    exp.JSONExtractScalar: _BINARY,
    exp.Anonymous: {"this": _TEXT, "expressions": _NODES},
    exp.Filter: _BINARY,
    exp.Window: _nodes("this", "partition_by", "order", "spec", alias=_NAMES, over=frozenset(["OVER"])),
    exp.WindowSpec: {
        "kind": frozenset(["ROWS", "RANGE", "GROUPS"]),
        "start": _NODES,
        "start_side": frozenset(["PRECEDING", "FOLLOWING"]),
        "end": _NODES,
        "end_side": frozenset(["PRECEDING", "FOLLOWING"]),
        "exclude": _NODES,
    },
    exp.CurrentDate: _NOTHING,
    exp.CurrentTime: _NOTHING,
    exp.CurrentTimestamp: _NOTHING,
}
_RULES: Mapping[Dialect, Mapping[type[exp.Expr], Rule]] = {
    Dialect.POSTGRES: {
        **_BOTH,
        exp.Distinct: _nodes("expressions", "on"),
        exp.Rollup: _MANY,
        exp.Cube: _MANY,
        exp.GroupingSets: _MANY,
        exp.Fetch: _nodes("count", "limit_options", direction=frozenset(["FIRST", "NEXT"])),
        exp.LimitOptions: {"rows": _FLAG, "with_ties": _FLAG},
        exp.Any: _ONE,
        exp.All: _ONE,
        exp.Array: _MANY,
        exp.ILike: _nodes("this", "expression", negate=_FLAG),
        exp.SimilarTo: _BINARY,
        exp.RegexpLike: _BINARY,
        exp.RegexpILike: _BINARY,
        exp.Pow: _BINARY,
        exp.BitwiseXor: _BINARY,
        exp.Overlaps: _BINARY,
        exp.JSONBExtract: _BINARY,
        exp.JSONBExtractScalar: _BINARY,
        exp.AtTimeZone: _nodes("this", "zone"),
        exp.Extract: _BINARY,
        exp.Interval: _nodes("this", "unit"),
        exp.Substring: _nodes("this", "start", "length"),
        exp.StrPosition: _nodes("this", "substr"),
        exp.Trim: _nodes("this", "expression", position=frozenset(["BOTH", "LEADING", "TRAILING"])),
        exp.WithinGroup: _BINARY,
        exp.Localtime: _NOTHING,
        exp.Localtimestamp: _NOTHING,
    },
    Dialect.SQLITE: {**_BOTH, exp.Glob: _BINARY},
}

# Frames that sqlglot nests to read what stands in a node; of operators in a row, none.
_FRAMES: Mapping[type[exp.Expr], int] = {
    **dict.fromkeys(
        [
            exp.Paren,
            exp.Tuple,
            exp.Anonymous,
            exp.Cast,
            exp.Case,
            exp.Subquery,
            exp.Exists,
            exp.Any,
            exp.All,
            exp.Array,
            exp.Filter,
            exp.WithinGroup,
            exp.Window,
            exp.Extract,
            exp.Substring,
            exp.StrPosition,
            exp.Trim,
            exp.NullSafeEQ,
            exp.NullSafeNEQ,
            exp.CTE,
        ],
        24,
    ),
    exp.In: 15,
    exp.Not: 10,
    exp.Between: 10,
    exp.Escape: 10,
    exp.Neg: 3,
    exp.BitwiseNot: 3,
    exp.AtTimeZone: 3,
}
_INTERVAL = re.compile(r"[A-Za-z0-9+\-.: ]*")
_EXCLUDED = frozenset(["CURRENT ROW", "GROUP", "TIES", "NO OTHERS"])
_FRAME_ENDS = frozenset(["UNBOUNDED", "CURRENT ROW"])

# What a refusal calls a node or an argument, where its class's name does not say.
_CALLED: Mapping[type[exp.Expr], tuple[str, str]] = {
    exp.Values: ("VALUES", "a SELECT"),
    exp.Lateral: ("LATERAL", "a sub-query that reads no table beside it"),
    exp.Dot: ("a call or a field by a path", "a function by its plain name, or alias.column"),
    exp.Concat: ("strings side by side", "one string, or ||"),
    exp.Parameter: ("a parameter of another form", "parameters as :name"),
    exp.SessionParameter: ("a session's setting", "parameters as :name"),
    exp.HexString: ("a hexadecimal string", "a parameter as :name"),
    exp.BitString: ("a bit string", "a parameter as :name"),
    exp.ByteString: ("a string with escapes", "a plain string, or a parameter as :name"),
    exp.RawString: ("a string with a prefix", "a plain string"),
    exp.National: ("a string with a prefix", "a plain string"),
    exp.UnicodeString: ("a string with escapes", "a plain string"),
    exp.Operator: ("OPERATOR()", "the operator itself"),
    exp.Bracket: ("a subscript", "a plain column"),
    exp.TableSample: ("TABLESAMPLE", "the whole table"),
    exp.Pivot: ("PIVOT", "CASE with GROUP BY"),
    exp.Unnest: ("UNNEST", "a table of the dataset"),
    exp.ObjectIdentifier: ("a cast to a type of the system catalogue", "an ordinary type"),
    exp.PseudoType: ("a cast to a type of the system catalogue", "an ordinary type"),
    exp.Lock: ("FOR UPDATE or FOR SHARE", "a SELECT that locks nothing"),
    exp.Into: ("SELECT INTO", "a SELECT that writes nothing"),
}
_ARGUMENTS: Mapping[str, tuple[str, str]] = {
    "recursive": ("WITH RECURSIVE", "a WITH that does not read itself"),
    "into": ("SELECT INTO", "a SELECT that writes nothing"),
    "locks": ("FOR UPDATE or FOR SHARE", "a SELECT that locks nothing"),
    "sample": ("TABLESAMPLE", "the whole table"),
    "method": ("a NATURAL or other special join", "JOIN … ON or JOIN … USING"),
    "laterals": ("LATERAL", "a sub-query that reads no table beside it"),
    "pivots": ("PIVOT", "CASE with GROUP BY"),
    "only": ("ONLY", "the table as it is"),
    "rows_from": ("ROWS FROM", "a table of the dataset"),
    "ordinality": ("WITH ORDINALITY", "a table of the dataset"),
    "indexed": ("INDEXED", "the table without a hint"),
    "hint": ("a hint", "the statement without it"),
    "catalog": ("a name of three parts", "table or dataset.table"),
    "field": ("IN with a table's name", "IN (SELECT …)"),
    "unnest": ("IN UNNEST", "IN (SELECT …)"),
    "qualify": ("QUALIFY", "a sub-query with WHERE"),
}
_ODD: Mapping[tuple[type[exp.Expr], str], tuple[str, str]] = {
    (exp.Table, "this"): ("what is not a name, in the place of a table", "a table of the dataset or a sub-query"),
    (exp.Anonymous, "this"): ("a function's name in quotes", "it without quotes"),
    (exp.Alias, "alias"): ("what is not a name, after AS", "a name"),
}
# Arguments that sqlglot sets to False where a statement says nothing. Of another, False may say something: a table's
# `indexed` is False where NOT INDEXED stands.
_OFF = frozenset(["nested", "percent", "value_constructor"])


def check_grammar(tree: exp.Expr, text: str, dialect: Dialect) -> None:
    """Each node and each of its arguments is one of those listed. Raises ViewRefused with what and where."""
    rules = _RULES[dialect]
    for node, frames, count in _walk(tree):
        if count > MAX_NODES or frames > MAX_FRAMES:
            raise ViewRefused("a statement too large or too deep", expected="a smaller or flatter one")
        rule = rules.get(type(node))
        if rule is None:
            what, expected = _CALLED.get(type(node), (f"{_spelled(node)}, which is not allowed", ""))
            raise ViewRefused(what, where=where(node, text), expected=expected)
        for name, value in node.args.items():
            _check_argument(node, name, value, rule, text)
        check = _CHECKS.get(type(node))
        if check:
            check(node, text, dialect)


def _walk(tree: exp.Expr) -> Iterator[tuple[exp.Expr, int, int]]:
    """Every node with the frames around it and how many nodes there are so far, parents first; without recursion."""
    stack = [(tree, 0)]
    count = 0
    while stack:
        node, around = stack.pop()
        count += 1
        level = around + _FRAMES.get(type(node), 1)
        yield node, level, count
        for value in node.args.values():
            if isinstance(value, exp.Expr):
                stack.append((value, level))
            elif isinstance(value, list):
                stack.extend((each, level) for each in value if isinstance(each, exp.Expr))


def _spelled(node: exp.Expr) -> str:
    """ "CurrentUser" as "current user"."""
    name = type(node).__name__
    spelled = "".join(f" {char.lower()}" if char.isupper() and not name.isupper() else char for char in name)
    return spelled.strip()


def _check_argument(node: exp.Expr, name: str, value: Any, rule: Rule, text: str) -> None:
    allowed = rule.get(name)
    if value is None or value == [] or (value is False and (allowed is not None or name in _OFF)):
        return
    if allowed is None and isinstance(node, exp.DataType):
        raise ViewRefused("a cast to a type that is not allowed", where=where(node, text))
    if allowed is None:
        what, expected = _ARGUMENTS.get(name, (f"{name.strip('_')} in {_spelled(node)}, which is not allowed", ""))
        raise ViewRefused(what, where=where(node, text), expected=expected)
    if not _fits(node, name, value, allowed):
        special = _ODD.get((type(node), name))
        if special:
            raise ViewRefused(special[0], where=where(node, text), expected=special[1])
        raise ViewRefused(f"an odd {name.strip('_')} in {_spelled(node)}", where=where(node, text))


def _fits(node: exp.Expr, name: str, value: Any, allowed: str | frozenset[str]) -> bool:
    if isinstance(allowed, frozenset):
        return isinstance(value, str) and value.upper() in allowed
    if allowed == _FLAG:
        return value is True
    if allowed == _TEXT:
        return isinstance(value, str)
    if isinstance(node, exp.WindowSpec) and isinstance(value, str):
        return value.upper() in _FRAME_ENDS
    if isinstance(node, exp.Anonymous) and name == "this":
        return isinstance(value, str)
    if isinstance(node, exp.DataType) and name == "this":
        return isinstance(value, exp.DType)
    kind = exp.Identifier if allowed == _NAMES else exp.Expr
    if isinstance(value, list):
        return all(isinstance(each, kind) for each in value)
    return isinstance(value, kind)


# What some nodes must also hold.


def _check_call(node: exp.Expr, text: str, dialect: Dialect) -> None:
    """A call: the function is listed, takes so many arguments, and only an aggregate has DISTINCT or ORDER BY."""
    name = str(node.this).lower()
    found = function_of(node, dialect)
    if found is None:
        raise ViewRefused(f"function {name}, which is not allowed", where=where(node, text))
    arguments = _arguments(node)
    if not found.least <= len(arguments) <= found.most:
        wanted = str(found.least) if found.least == found.most else f"{found.least} to {found.most}"
        raise ViewRefused(
            f"{len(arguments)} arguments of {name}", where=where(node, text), expected=f"{wanted} of them"
        )
    if found.kind is not Kind.AGGREGATE and any(
        isinstance(each, exp.Distinct | exp.Order) for each in node.expressions
    ):
        raise ViewRefused(f"DISTINCT or ORDER BY in {name}", where=where(node, text), expected="an aggregate")
    if any(isinstance(each, exp.Star) for each in arguments) and name != "count":
        raise ViewRefused(f"a star in {name}", where=where(node, text), expected="a column")
    if any(isinstance(each, exp.Alias | exp.Select | exp.SetOperation) for each in arguments):
        raise ViewRefused(f"an odd argument of {name}", where=where(node, text), expected="an expression")
    if name in {"lpad", "rpad"}:
        _check_padding(node, name, text)


def _arguments(node: exp.Expr) -> list[exp.Expr]:
    """Of a call, without the DISTINCT around them and the ORDER BY after."""
    found: list[exp.Expr] = []
    for each in node.expressions:
        inner = each.this if isinstance(each, exp.Order) else each
        found.extend(inner.expressions if isinstance(inner, exp.Distinct) else [inner])
    return found


def _check_padding(node: exp.Expr, name: str, text: str) -> None:
    length = node.expressions[1]
    if not isinstance(length, exp.Literal) or not length.this.isdigit() or int(length.this) > PADDED:
        raise ViewRefused(
            f"an unknown or large length in {name}", where=where(node, text), expected=f"a number of at most {PADDED}"
        )


def _check_type(node: exp.Expr, text: str, dialect: Dialect) -> None:
    known = node.this in TYPES[dialect]
    plain = all(
        isinstance(each, exp.DataTypeParam) and isinstance(each.this, exp.Literal) and each.this.this.isdigit()
        for each in node.expressions
    )
    if not known or not plain:
        raise ViewRefused(
            "a cast to a type that is not allowed",
            where=where(node, text),
            expected=TYPE_NAMES[dialect],
        )


def _check_word(node: exp.Expr, text: str, dialect: Dialect) -> None:
    """A bare word is a unit of time, a collation, LIMIT ALL, or what a window's frame leaves out."""
    parent = node.parent
    name = str(node.this)
    unit = isinstance(parent, exp.Extract | exp.Interval) and name.upper() in UNITS
    collation = isinstance(parent, exp.Collate) and name.lower() in COLLATIONS[dialect]
    every = isinstance(parent, exp.Limit) and name.upper() == "ALL" and dialect is Dialect.POSTGRES
    excluded = isinstance(parent, exp.WindowSpec) and node.arg_key == "exclude" and name.upper() in _EXCLUDED
    if not (unit or collation or every or excluded):
        raise ViewRefused("a word that is not allowed here", where=where(node, text))


def _check_collation(node: exp.Expr, text: str, dialect: Dialect) -> None:
    name = node.expression
    known = COLLATIONS[dialect]
    if not isinstance(name, exp.Var | exp.Identifier) or name.name not in known | {each.upper() for each in known}:
        raise ViewRefused(
            "a collation that is not allowed", where=where(node, text), expected=" or ".join(sorted(known))
        )


def _check_placeholder(node: exp.Expr, text: str, dialect: Dialect) -> None:
    if not node.this:
        raise ViewRefused("a parameter without a name", where=where(node, text), expected="parameters as :name")


def _check_condition(node: exp.Expr, text: str, dialect: Dialect) -> None:
    """IF(…) is a branch of CASE only; sqlglot has the same node for both."""
    if not isinstance(node.parent, exp.Case):
        raise ViewRefused("IF", where=where(node, text), expected="CASE")


def _check_number(node: exp.Expr, text: str, dialect: Dialect) -> None:
    if not node.is_string and not node.this.replace(".", "").replace("-", "").replace("+", "").isalnum():
        raise ViewRefused("an odd number", where=where(node, text))


def _check_interval(node: exp.Expr, text: str, dialect: Dialect) -> None:
    unit = node.args.get("unit")
    value = node.this
    plain = isinstance(value, exp.Literal) and value.is_string and _INTERVAL.fullmatch(value.this)
    if not plain or not isinstance(unit, exp.Var | None):
        raise ViewRefused("an odd interval", where=where(node, text), expected="one like INTERVAL '90' DAY")


def _check_column(node: exp.Expr, text: str, dialect: Dialect) -> None:
    if not isinstance(node.this, exp.Identifier | exp.Star):
        raise ViewRefused("an odd column", where=where(node, text), expected="a name")


def _check_name(node: exp.Expr, text: str, dialect: Dialect) -> None:
    if node.this.lower().startswith(("remit_", "__remit")) and not isinstance(node.parent, exp.Column):
        raise ViewRefused("a name that begins with remit_", where=where(node, text), expected="another name")


def _check_with(node: exp.Expr, text: str, dialect: Dialect) -> None:
    for cte in node.expressions:
        if isinstance(cte, exp.CTE) and not isinstance(cte.this, exp.Select | exp.SetOperation | exp.Subquery):
            raise ViewRefused("a WITH that writes", where=where(cte, text), expected="WITH … AS (SELECT …)")


def _check_alias(node: exp.Expr, text: str, dialect: Dialect) -> None:
    if not isinstance(node.parent, exp.Select) or node.arg_key != "expressions":
        raise ViewRefused("AS in the middle of an expression", where=where(node, text), expected="it after a whole one")


_CHECKS: Mapping[type[exp.Expr], Any] = {
    exp.Anonymous: _check_call,
    exp.DataType: _check_type,
    exp.Var: _check_word,
    exp.Collate: _check_collation,
    exp.Placeholder: _check_placeholder,
    exp.If: _check_condition,
    exp.Literal: _check_number,
    exp.Interval: _check_interval,
    exp.Column: _check_column,
    exp.Identifier: _check_name,
    exp.With: _check_with,
    exp.Alias: _check_alias,
}
