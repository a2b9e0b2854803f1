"""Whatever text comes: it is read, or refused with a reason, in a moment; and no check can be left out unseen."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest
from fakes.statements import read
from fakes.view_cases import ACCEPTED, REFUSED, text_of
from hypothesis import example, given
from hypothesis import strategies as st
from remit.core.view import dialects, functions, grammar, lexing, tables
from remit.core.view.dialects import render
from remit.core.view.functions import FUNCTIONS, Function, Kind
from remit.core.view.model import Dialect, Statement, ViewRefused
from sqlglot import exp

DIALECTS = st.sampled_from(list(Dialect))
WORDS_TEXT = r"""
select from where ( ) , . ; * + - / % = <> <= < || -> ->> :: : :id [ ] ' " -- /* */ $1 ? @ # ~ & | ^ ` { }
with as and or not in is null exists any all case when then else end cast extract interval date union except
join left using on natural lateral group by order having limit offset fetch window over filter distinct
recursive values into for update of only tablesample table insert delete returning set copy pragma
customers orders c o id name email ctid rowid crm pg_catalog sqlite_master remit_x 1 0x1F 1e9 'x' "id"
lower( count( pg_sleep( date( int( array[ E'x' U&'x' $$ B'1' x'1' u&"x" /*! /*+ \ \!
"""
WORDS = [*WORDS_TEXT.split(), "\0", "\ud800", "\n", "\t", " ", "\u00a0", "\u200b"]
SOUP = st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join)
GLUED = st.lists(st.sampled_from(WORDS), max_size=30).map("".join)
STATEMENTS = st.sampled_from([text_of(case) for _, case in ACCEPTED + REFUSED if "repeat" not in case])


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A statement of the tables with parts cut out, doubled, swapped or put in."""
    text = draw(STATEMENTS)
    for _ in range(draw(st.integers(1, 4))):
        start, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        part = draw(st.sampled_from(["", text[start:end] * 2, draw(st.sampled_from(WORDS)), draw(STATEMENTS)]))
        text = text[:start] + part + text[end:]
    return text


def outcome(text: str, dialect: Dialect) -> Statement | ViewRefused:
    try:
        return read(text, dialect)
    except ViewRefused as refused:
        return refused


@given(st.one_of(SOUP, GLUED, mutated(), st.text(max_size=60), STATEMENTS.map(str.upper)), DIALECTS)
@example("select " + "(" * 5_000, Dialect.POSTGRES)
@example("select " + "not " * 4_990 + "true", Dialect.SQLITE)
@example("select 1" + "/*" * 30_000, Dialect.SQLITE)
@example("'" * 60_001, Dialect.POSTGRES)
@example("select " + "-" * 60_000, Dialect.POSTGRES)
def test_any_text_is_read_or_refused_and_what_is_read_names_the_dataset_alone(text: str, dialect: Dialect) -> None:
    """No other error; and each table of what is read is one of the dataset's or of the statement's own."""
    found = outcome(text, dialect)
    if isinstance(found, ViewRefused):
        assert found.what
        return
    own = {cte.alias.lower() for cte in found.tree.find_all(exp.CTE)}
    for node in found.tree.find_all(exp.Table):
        assert "use" in node.meta or node.name.lower() in own
    for node in found.tree.find_all(exp.Anonymous):
        assert node.this.lower() in FUNCTIONS[dialect]
    assert all(name.args["quoted"] for name in found.tree.find_all(exp.Identifier))
    assert not any(node.comments for node in found.tree.walk())
    assert render(found.tree, dialect)


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize(
    "text",
    [
        "select " + "int(" * 20 + "1" + ")" * 20,
        "select " + "char varying(id, " * 19 + "1" + ")" * 19,
        "select " + "date(" * 20 + "1" + ")" * 20,
        "select 1 from customers" + " join orders" * 400,
        "select " + "join variadic " * 200,
        "select a::" + "struct(" * 20 + "int" + ")" * 20,
        "select " + "array[" * 20 + "1" + "]" * 20,
        "select id from customers where " + " or ".join(["id = 1"] * 1_600),
        "select " + ", ".join(["1"] * 2_400),
        "select 1" + " union select 1" * 1_600,
    ],
)
def test_a_text_made_to_be_slow_is_not(text: str, dialect: Dialect) -> None:
    """sqlglot alone would take minutes for some, twice as long with each word more."""
    start = time.process_time()
    outcome(text, dialect)
    assert time.process_time() - start < 5


def test_nothing_of_a_statement_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """sqlglot warns of commands that it does not know, with their text."""
    with caplog.at_level(logging.DEBUG):
        for dialect, case in REFUSED:
            outcome(text_of(case), dialect)
    assert not caplog.records


# Checks, and what leaves each out: every one must make cases of the table fail.


def _every_function(node: exp.Expr, dialect: Dialect) -> Function:
    return Function(Kind.AGGREGATE, 0, 100)


def _no_check(*_: object) -> None:
    return None


class _Anything(frozenset[str]):
    def __contains__(self, value: object) -> bool:
        return True


def _functions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(grammar, "function_of", _every_function)


def _grammar(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("remit.core.view.statement.check_grammar", _no_check)


def _arguments(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(grammar, "_check_argument", _no_check)


def _types(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(grammar, "TYPES", dict.fromkeys(Dialect, _Anything()))


def _prefixes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lexing._Scan, "_check_prefix", _no_check)


def _first_word(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lexing._Scan, "_first", _no_check)


def _comments(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lexing._Scan, "_blank", lambda self, kind, text, offset: " " * len(text))


def _control(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lexing, "_check_size", _no_check)


def _datasets(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tables.Tables, "is_dataset", lambda self, schema: True)


def _names(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(grammar, "_CHECKS", {**grammar._CHECKS, exp.Identifier: _no_check})


def _padding(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(functions, "PADDED", 10**10)
    patch.setattr(grammar, "PADDED", 10**10)
    patch.setattr(grammar, "_check_padding", _no_check)


LEFT_OUT: list[Callable[[pytest.MonkeyPatch], None]] = [
    _functions,
    _grammar,
    _arguments,
    _types,
    _prefixes,
    _first_word,
    _comments,
    _control,
    _datasets,
    _names,
    _padding,
]


@pytest.mark.parametrize("leave_out", LEFT_OUT, ids=lambda check: check.__name__.strip("_"))
def test_a_check_that_is_left_out_is_missed(
    leave_out: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug: with any of these gone, a statement of the table is taken, or refused for another reason."""
    leave_out(monkeypatch)
    differs = [case["description"] for dialect, case in REFUSED if told(text_of(case), dialect) != case["want"]]
    assert differs


def told(text: str, dialect: Dialect) -> str:
    try:
        read(text, dialect)
    except Exception as error:
        return str(error)
    return "accepted"


def test_the_parser_gives_up_rather_than_to_read_again_for_ever() -> None:
    """The bound that keeps the slow texts fast is what is raised, whatever else the parser tries."""
    with pytest.raises(dialects.TooManyReadings):
        dialects.parse("select 1 from customers" + " join orders" * 60, Dialect.POSTGRES)
