"""Which functions and types a statement may name: the closed lists, by database.

All of them depend on nothing but their arguments and the time: none reads a file, a setting, another table, a
sequence, the session or the catalogue, none runs a text as SQL, none waits, none writes. The time is let through
(`now()`, `date('now')`): it tells nothing that the agent's own clock does not. Randomness is not: an answer that is
recorded should be one that can be had again. What makes much out of little (`repeat`, `printf`, `zeroblob`,
`generate_series`) is left out, and so is what makes rows (`unnest`), since a row of an answer should be one of a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlglot import exp

from remit.core.view.model import Dialect

GATHERING_JSON = frozenset(
    ["json_agg", "jsonb_agg", "json_object_agg", "jsonb_object_agg", "json_group_array", "json_group_object"]
)
GATHERING = GATHERING_JSON | {"string_agg", "group_concat", "array_agg"}
"""Aggregates that make one value of any number of rows, as large as these are together; of either database."""


class Kind(StrEnum):
    """What a function works on."""

    SCALAR = "scalar"
    AGGREGATE = "aggregate"
    WINDOW = "window"


@dataclass(frozen=True, slots=True)
class Function:
    """How many arguments it takes, and what it works on."""

    kind: Kind
    least: int
    most: int


def _functions(kind: Kind, text: str) -> dict[str, Function]:
    """Of "abs:1 round:1-2 concat:1+"."""
    found = {}
    for word in text.split():
        name, _, arity = word.partition(":")
        least, dash, most = arity.rstrip("+").partition("-")
        top = 100 if arity.endswith("+") else int(most) if dash else int(least)
        found[name] = Function(kind, int(least), top)
    return found


_POSTGRES = {
    **_functions(
        Kind.SCALAR,
        """abs:1 ceil:1 ceiling:1 floor:1 round:1-2 trunc:1-2 sign:1 sqrt:1 cbrt:1 power:2 exp:1 ln:1 log:1-2 log10:1
        mod:2 div:2 gcd:2 lcm:2 degrees:1 radians:1 sin:1 cos:1 tan:1 asin:1 acos:1 atan:1 atan2:2 pi:0 width_bucket:4
        coalesce:1+ nullif:2 greatest:1+ least:1+ num_nulls:1+ num_nonnulls:1+
        lower:1 upper:1 initcap:1 length:1 char_length:1 character_length:1 octet_length:1 bit_length:1 substr:2-3
        ltrim:1-2 rtrim:1-2 btrim:1-2 lpad:2-3 rpad:2-3 left:2 right:2 reverse:1 replace:3 translate:3 split_part:3
        strpos:2 starts_with:2 concat:1+ concat_ws:2+ ascii:1 chr:1 md5:1 quote_literal:1 to_hex:1
        regexp_replace:3-4 to_char:2 to_date:2 to_timestamp:1-2 to_number:2
        now:0 date_trunc:2-3 date_part:2 age:1-2 make_date:3 make_time:3 make_timestamp:6 justify_days:1 justify_hours:1
        justify_interval:1 isfinite:1
        to_json:1 to_jsonb:1 json_build_object:0+ jsonb_build_object:0+ json_build_array:0+ jsonb_build_array:0+
        json_array_length:1 jsonb_array_length:1 json_typeof:1 jsonb_typeof:1 jsonb_extract_path:2+
        jsonb_extract_path_text:2+ json_extract_path:2+ json_extract_path_text:2+ grouping:1+""",
    ),
    **_functions(
        Kind.AGGREGATE,
        """count:1 sum:1 avg:1 min:1 max:1 bool_and:1 bool_or:1 every:1 stddev:1 stddev_pop:1 stddev_samp:1 variance:1
        var_pop:1 var_samp:1 corr:2 covar_pop:2 covar_samp:2 regr_slope:2 regr_intercept:2 regr_r2:2 regr_count:2
        regr_avgx:2 regr_avgy:2 bit_and:1 bit_or:1 string_agg:2 array_agg:1 json_agg:1 jsonb_agg:1 json_object_agg:2
        jsonb_object_agg:2 percentile_cont:1 percentile_disc:1 mode:0""",
    ),
    **_functions(
        Kind.WINDOW,
        """row_number:0 rank:0 dense_rank:0 percent_rank:0 cume_dist:0 ntile:1 lag:1-3 lead:1-3 first_value:1
        last_value:1 nth_value:2""",
    ),
}

_SQLITE = {
    **_functions(
        Kind.SCALAR,
        """abs:1 ceil:1 ceiling:1 floor:1 round:1-2 trunc:1 sign:1 sqrt:1 power:2 pow:2 exp:1 ln:1 log:1-2 log10:1
        log2:1 mod:2 degrees:1 radians:1 sin:1 cos:1 tan:1 asin:1 acos:1 atan:1 atan2:2 pi:0
        coalesce:2+ ifnull:2 nullif:2 iif:3 lower:1 upper:1 length:1 octet_length:1 substr:2-3 substring:2-3
        trim:1-2 ltrim:1-2 rtrim:1-2 replace:3 instr:2 concat:1+ concat_ws:2+ hex:1 quote:1 unicode:1 char:1+ typeof:1
        date:0+ time:0+ datetime:0+ julianday:0+ unixepoch:0+ strftime:1+ timediff:2
        json:1 json_extract:2+ json_array:0+ json_object:0+ json_array_length:1-2 json_type:1-2 json_valid:1-2""",
    ),
    **_functions(
        Kind.AGGREGATE,
        """count:1 sum:1 total:1 avg:1 min:1+ max:1+ group_concat:1-2 string_agg:2 json_group_array:1
        json_group_object:2""",
    ),
    **_functions(
        Kind.WINDOW,
        """row_number:0 rank:0 dense_rank:0 percent_rank:0 cume_dist:0 ntile:1 lag:1-3 lead:1-3 first_value:1
        last_value:1 nth_value:2""",
    ),
}

FUNCTIONS: Mapping[Dialect, Mapping[str, Function]] = {Dialect.POSTGRES: _POSTGRES, Dialect.SQLITE: _SQLITE}

PADDED = 1_000
"""The longest that `lpad` and `rpad` may make a text: a literal of at most so much."""

TYPES: Mapping[Dialect, frozenset[exp.DType]] = {
    Dialect.POSTGRES: frozenset(
        [
            exp.DType.BOOLEAN,
            exp.DType.SMALLINT,
            exp.DType.INT,
            exp.DType.BIGINT,
            exp.DType.DECIMAL,
            exp.DType.FLOAT,
            exp.DType.DOUBLE,
            exp.DType.TEXT,
            exp.DType.VARCHAR,
            exp.DType.CHAR,
            exp.DType.DATE,
            exp.DType.TIME,
            exp.DType.TIMESTAMP,
            exp.DType.TIMESTAMPTZ,
            exp.DType.INTERVAL,
            exp.DType.UUID,
            exp.DType.JSON,
            exp.DType.JSONB,
        ]
    ),
    # SQLite has five; sqlglot prints NUMERIC as REAL, which is another, and a date's cast means nothing there.
    Dialect.SQLITE: frozenset(
        [
            exp.DType.INT,
            exp.DType.BIGINT,
            exp.DType.DOUBLE,
            exp.DType.TEXT,
            exp.DType.VARCHAR,
            exp.DType.CHAR,
            exp.DType.VARBINARY,
            exp.DType.BLOB,
        ]
    ),
}

TYPE_NAMES: Mapping[Dialect, str] = {
    Dialect.POSTGRES: (
        "boolean, smallint, integer, bigint, numeric, real, double precision, text, varchar, char, date, time, "
        "timestamp, timestamptz, interval, uuid, json or jsonb"
    ),
    Dialect.SQLITE: "integer, real, text or blob",
}

UNITS = frozenset(
    [
        "CENTURY",
        "DAY",
        "DAYS",
        "DECADE",
        "DOW",
        "DOY",
        "EPOCH",
        "HOUR",
        "HOURS",
        "ISODOW",
        "ISOYEAR",
        "MICROSECOND",
        "MICROSECONDS",
        "MILLISECOND",
        "MILLISECONDS",
        "MINUTE",
        "MINUTES",
        "MONTH",
        "MONTHS",
        "QUARTER",
        "SECOND",
        "SECONDS",
        "WEEK",
        "WEEKS",
        "YEAR",
        "YEARS",
    ]
)
"""Of an interval, and for EXTRACT."""

COLLATIONS: Mapping[Dialect, frozenset[str]] = {
    Dialect.POSTGRES: frozenset(["C", "POSIX"]),
    Dialect.SQLITE: frozenset(["nocase", "binary", "rtrim"]),
}


def function_of(node: exp.Expr, dialect: Dialect) -> Function | None:
    """The function that a call names, if it is a known one. SQLite's `max(a, b)` is scalar, `max(a)` is not."""
    if not isinstance(node, exp.Anonymous) or not isinstance(node.this, str):
        return None
    name = node.this.lower()
    found = FUNCTIONS[dialect].get(name)
    if found and dialect is Dialect.SQLITE and name in {"min", "max"} and len(node.expressions) > 1:
        return Function(Kind.SCALAR, found.least, found.most)
    return found


def is_windowed(node: exp.Expr) -> bool:
    """Whether a call is made over a window: it gives a value to each row, and groups none."""
    outer = node.parent
    while isinstance(outer, exp.Filter | exp.WithinGroup):
        outer = outer.parent
    return isinstance(outer, exp.Window)


def is_aggregate(node: exp.Expr, dialect: Dialect) -> bool:
    """Whether a node is a call that makes one value of a group's rows."""
    found = function_of(node, dialect)
    return found is not None and found.kind is Kind.AGGREGATE and not is_windowed(node)
