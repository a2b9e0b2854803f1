"""Which statements may make a value much larger than those that are stored, and how PostgreSQL is held to a row's size.

`replace`, `string_agg`, `||` and their like make a gigabyte of a statement of some kilobytes. SQLite bounds a value by
itself; PostgreSQL sends it, and its library takes it whole before anybody can look. So a statement whose outputs may
grow is put in brackets, and each row is measured within the database, as it would be sent, before it is. What grows is
told by a closed list of what does not: stored columns, what is no larger than its arguments, numbers, dates, truths.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from remit.core.view.functions import GATHERING
from remit.core.view.model import ROW_BYTES, ROW_TOO_LARGE, ViewRefused

_TABLES = 8
"""Tables that one statement may join before its rows are measured: each may bring a wide column once more."""

# Small whatever they are made of.
_SMALL = (
    exp.EQ,
    exp.NEQ,
    exp.LT,
    exp.LTE,
    exp.GT,
    exp.GTE,
    exp.NullSafeEQ,
    exp.NullSafeNEQ,
    exp.And,
    exp.Or,
    exp.Not,
    exp.Is,
    exp.In,
    exp.Between,
    exp.Exists,
    exp.Like,
    exp.ILike,
    exp.SimilarTo,
    exp.RegexpLike,
    exp.RegexpILike,
    exp.Overlaps,
    exp.Extract,
    exp.StrPosition,
    exp.Interval,
    exp.CurrentDate,
    exp.CurrentTime,
    exp.CurrentTimestamp,
    exp.Localtime,
    exp.Localtimestamp,
    exp.Boolean,
    exp.Null,
)
# Of the size of what they are made of, or of the structure around it.
_KEEPING = (
    exp.Select,
    exp.SetOperation,
    exp.Subquery,
    exp.With,
    exp.CTE,
    exp.From,
    exp.Join,
    exp.Table,
    exp.TableAlias,
    exp.Identifier,
    exp.Alias,
    exp.Column,
    exp.Star,
    exp.Paren,
    exp.Distinct,
    exp.Add,
    exp.Sub,
    exp.Mul,
    exp.Div,
    exp.Mod,
    exp.Neg,
    exp.Case,
    exp.If,
    exp.Collate,
    exp.Var,
    exp.Filter,
    exp.Window,
    exp.Substring,
    exp.Trim,
    exp.AtTimeZone,
)
# What of a query or a call does not reach its outputs.
_ASIDE = frozenset(
    ["where", "having", "group", "order", "windows", "limit", "offset", "on", "using", "partition_by", "spec"]
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SMALL_CALLS = _words(
    """abs ceil ceiling floor sign sqrt cbrt ln log log10 mod div gcd degrees radians sin cos tan asin acos atan atan2
    pi width_bucket num_nulls num_nonnulls length char_length character_length octet_length bit_length strpos
    starts_with ascii chr md5 to_hex to_date to_timestamp now date_trunc date_part age make_date make_time
    make_timestamp justify_days justify_hours justify_interval isfinite json_array_length jsonb_array_length json_typeof
    jsonb_typeof grouping count bool_and bool_or every corr covar_pop covar_samp regr_slope regr_intercept regr_r2
    regr_count regr_avgx regr_avgy row_number rank dense_rank percent_rank cume_dist ntile"""
)
_KEEPING_CALLS = _words(
    """coalesce nullif greatest least lower upper initcap substr ltrim rtrim btrim left right reverse split_part round
    trunc sum avg min max stddev stddev_pop stddev_samp variance var_pop var_samp bit_and bit_or lag lead first_value
    last_value nth_value"""
)
_READING = _words("to_date to_timestamp to_number date_trunc date_part")
_SMALL_TYPES = frozenset(
    [
        exp.DType.BOOLEAN,
        exp.DType.SMALLINT,
        exp.DType.INT,
        exp.DType.BIGINT,
        exp.DType.FLOAT,
        exp.DType.DOUBLE,
        exp.DType.DATE,
        exp.DType.TIME,
        exp.DType.TIMESTAMP,
        exp.DType.TIMESTAMPTZ,
        exp.DType.INTERVAL,
        exp.DType.UUID,
    ]
)
_KEEPING_TYPES = frozenset([exp.DType.TEXT, exp.DType.VARCHAR])


def grows(tree: exp.Expr) -> bool:
    """Whether a row of a statement may be larger than the stored ones that it is of, by more than a few times."""
    if sum(1 for _ in tree.find_all(exp.Table)) > _TABLES:
        return True
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, exp.Select) and _repeats(node):
            return True
        if _is_small(node):
            continue
        if not _keeps(node):
            return True
        stack.extend(_parts(node))
    return False


def check_quoted(tree: exp.Expr) -> None:
    """Raises ViewRefused where a text that is gathered of many rows is read as a number, a date or the like.

    PostgreSQL quotes what it cannot read, whole, in its error, which no measure of rows reaches.
    """
    if not any(_gathers(node) for node in tree.find_all(exp.Anonymous)):
        return
    derived = {each.alias.lower() for each in tree.find_all(exp.CTE, exp.Subquery) if each.alias}
    derived |= {each.alias_or_name.lower() for each in tree.find_all(exp.Table) if "use" not in each.meta}
    for node in tree.find_all(exp.Cast, exp.Anonymous):
        if any(_may_be_gathered(each, derived) for each in _read(node)):
            raise ViewRefused(
                "a text of many rows, or a sub-query's column beside one, that is read as another type",
                expected="the cast within the sub-query, or no string_agg, array_agg or json_agg in the statement",
            )


def _gathers(node: exp.Expr) -> bool:
    # All others are bounded by what they are made of (`texts`).
    return isinstance(node, exp.Anonymous) and str(node.this).lower() in GATHERING


def _read(node: exp.Expr) -> list[exp.Expr]:
    """What a cast or a call reads as another type than text."""
    if isinstance(node, exp.Cast):
        return [] if node.to.this in _KEEPING_TYPES or node.to.this is exp.DType.CHAR else [node.this]
    return list(node.expressions) if str(node.this).lower() in _READING else []


def _may_be_gathered(node: exp.Expr, derived: set[str]) -> bool:
    stack = [node]
    while stack:
        each = stack.pop()
        if _gathers(each):
            return True
        if isinstance(each, exp.Column) and (each.table.lower() in derived if each.table else bool(derived)):
            return True
        if not _is_small(each):
            stack.extend(_parts(each))
    return False


def measured(sql: str, name: str) -> str:
    """A PostgreSQL query that ends in an error, of ROW_TOO_LARGE, at the first row that is larger than ROW_BYTES.

    Its stored size alone would not do: numbers of a hundred thousand digits are stored in a few bytes. The error is
    one of each row, so that it is not met while the statement is planned.
    """
    size = f"pg_column_size({name}.*)"
    fails = f"CAST(concat('{ROW_TOO_LARGE}', nullif({size}, {size})) AS boolean)"
    return (  # no text of the agent's: `sql` is printed from its tree
        f"SELECT {name}.* FROM ({sql}) AS {name} WHERE CASE WHEN {size} > {ROW_BYTES} THEN {fails} "  # noqa: S608
        f"WHEN octet_length(CAST({name}.* AS text)) > {ROW_BYTES} THEN {fails} ELSE TRUE END"
    )


def _parts(node: exp.Expr) -> Iterator[exp.Expr]:
    for part, value in node.args.items():
        if part not in _ASIDE:
            yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, exp.Expr))


def _is_small(node: exp.Expr) -> bool:
    if isinstance(node, exp.Anonymous):
        return str(node.this).lower() in _SMALL_CALLS
    if isinstance(node, exp.Literal):
        return bool(node.is_string) or "e" not in str(node.this).lower()
    if isinstance(node, exp.Cast):
        return node.to.this in _SMALL_TYPES or (node.to.this is exp.DType.DECIMAL and bool(node.to.expressions))
    return isinstance(node, _SMALL)


def _keeps(node: exp.Expr) -> bool:
    if isinstance(node, exp.Anonymous):
        return str(node.this).lower() in _KEEPING_CALLS
    if isinstance(node, exp.Cast):
        return node.to.this in _KEEPING_TYPES
    return isinstance(node, (*_KEEPING, exp.DataType, exp.DataTypeParam))


def _repeats(select: exp.Select) -> bool:
    """Whether the outputs of a SELECT name a column, or all of them, more than once."""
    seen: set[tuple[str, str]] = set()
    stack = list(select.expressions)
    while stack:
        node = stack.pop()
        if isinstance(node, exp.Column | exp.Star):
            key = ("", "*") if isinstance(node, exp.Star) else (node.table, node.name)
            if key in seen:
                return True
            seen.add(key)
        elif not _is_small(node):
            stack.extend(_parts(node))
    return False
