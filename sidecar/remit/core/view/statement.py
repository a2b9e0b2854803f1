"""An agent's SQL, read and resolved, or refused: nothing of its text goes further than this.

In order: the text's form (`lexing`), one statement of sqlglot's tree (`dialects`), the closed grammar (`grammar`,
`functions`), tables and columns (`resolve`), and last the tree printed and read again, which must give the same tree:
where the printer and the parser differ, the database might read what nobody looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError

from remit.core.dataset import Table
from remit.core.view.dialects import TooManyReadings, parse, render
from remit.core.view.functions import is_aggregate
from remit.core.view.grammar import check_grammar
from remit.core.view.lexing import Scanned, scan
from remit.core.view.model import Dialect, Statement, Use, ViewRefused
from remit.core.view.places import where
from remit.core.view.resolve import Resolution
from remit.core.view.scope import Text
from remit.core.view.unread import readable, unread
from remit.core.view.weight import check_weight

_A_SELECT = "one SELECT, with or without WITH"
_TWO_WAYS = "a statement that is read in two ways"
_TOO_DEEP = "a statement nested too deeply to read"


def parse_statement(text: str, *, dataset: str, tables: Mapping[str, Table], dialect: Dialect) -> Statement:
    """Read one SELECT against a dataset's tables. Raises ViewRefused with what, where and what would do.

    It depends on nothing but its arguments: a caller may keep what it gives by them.
    """
    scanned = scan(text, dialect)
    try:
        read = _read(_tree(scanned.text, dialect), text, dataset=dataset, tables=tables, dialect=dialect)
        read = _settled(read, dataset=dataset, tables=tables, dialect=dialect)
    except (RecursionError, TooManyReadings):
        raise ViewRefused(_TOO_DEEP, expected="a flatter one, for example with WITH") from None
    parameters = _parameters(read.tree, scanned)
    return Statement(dataset, dialect, read.tree, read.uses, read.plain, parameters, scanned.normal, read.text)


@dataclass(frozen=True, slots=True)
class _Read:
    """A tree that passed every check, and what it uses."""

    tree: exp.Expr
    uses: tuple[Use, ...]
    plain: tuple[int, ...]
    text: str


def _read(tree: exp.Expr, text: str, *, dataset: str, tables: Mapping[str, Table], dialect: Dialect) -> _Read:
    check_grammar(tree, text, dialect)
    _name_outputs(tree, dialect)
    resolution = Resolution(Text(text, dialect), dataset=dataset, tables=tables)
    uses = resolution.resolve(tree)
    check_weight(tree, text)
    plain = () if resolution.groups_outside else _plain_uses(tree, resolution, dialect)
    return _Read(tree, uses, plain, text)


def _settled(read: _Read, *, dataset: str, tables: Mapping[str, Table], dialect: Dialect) -> _Read:
    """The tree that its own printed text gives, with the same uses.

    Some forms are printed in another way than they were written (a frame without its end gets one): what is printed is
    then read as a statement of its own, through all the checks, and must give itself.
    """
    again = _printed(read.tree, dialect)
    if again == read.tree:
        return read
    if again is None:
        raise ViewRefused(_TWO_WAYS)
    once_more = _read(again, "", dataset=dataset, tables=tables, dialect=dialect)
    names = [(use.table, use.alias, use.columns) for use in read.uses]
    same = names == [(use.table, use.alias, use.columns) for use in once_more.uses] and read.plain == once_more.plain
    if not same or _printed(once_more.tree, dialect) != once_more.tree:
        raise ViewRefused(_TWO_WAYS, expected="a simpler one, with brackets around what belongs together")
    return once_more


def _printed(tree: exp.Expr, dialect: Dialect) -> exp.Expr | None:
    """What a tree's text is read as; None if that is not one statement."""
    try:
        again = parse(render(tree, dialect), dialect)
    except SqlglotError:
        return None
    return again[0] if len(again) == 1 else None


def _tree(text: str, dialect: Dialect) -> exp.Expr:
    try:
        statements = parse(text, dialect)
    except ParseError as error:
        raise unread(error, text, dialect) from None
    except (SqlglotError, ValueError, TypeError, AttributeError, KeyError, IndexError):
        raise ViewRefused("what is not SQL", expected=readable(dialect)) from None
    if len(statements) != 1:
        raise ViewRefused(f"{len(statements)} statements", expected=_A_SELECT)
    tree = statements[0]
    if tree is None:
        raise ViewRefused("an empty statement", expected=_A_SELECT)
    if not isinstance(tree, exp.Select | exp.SetOperation | exp.Subquery):
        raise ViewRefused("a statement that is not a SELECT", where=where(tree, text), expected=_A_SELECT)
    return tree


def _plain_uses(tree: exp.Expr, resolution: Resolution, dialect: Dialect) -> tuple[int, ...]:
    """The uses whose rows the outermost SELECT shows one by one.

    A window function shows in a row something of others, and a group of none in particular; neither is plain.
    """
    while isinstance(tree, exp.Subquery):
        tree = tree.this
    if not isinstance(tree, exp.Select) or any(tree.args.get(part) for part in ("distinct", "group", "having")):
        return ()
    own = [*tree.expressions, tree.args.get("order")]
    if any(_groups(node, dialect) for node in own if node is not None):
        return ()
    return resolution.direct(tree)


def _groups(node: exp.Expr, dialect: Dialect) -> bool:
    """Whether an expression, sub-queries aside, takes several rows."""
    own = node.walk(prune=lambda each: isinstance(each, exp.Select | exp.SetOperation))
    return any(isinstance(each, exp.Window) or is_aggregate(each, dialect) for each in own)


def _name_outputs(tree: exp.Expr, dialect: Dialect) -> None:
    """SQLite calls an output without AS by its text, which quotes would change: keep `count(*)`, not `count("*")`."""
    if dialect is not Dialect.SQLITE:
        return
    for select in list(tree.find_all(exp.Select)):
        for node in list(select.expressions):
            if not isinstance(node, exp.Alias | exp.Column | exp.Star):
                name = exp.Identifier(this=render(node, dialect).replace('"', ""), quoted=True)
                node.replace(exp.Alias(this=node.copy(), alias=name))


def _parameters(tree: exp.Expr, scanned: Scanned) -> tuple[str, ...]:
    """Names of parameters in the tree, which must be those of the text: none lost and none found."""
    names = tuple(sorted({str(node.this) for node in tree.find_all(exp.Placeholder)}))
    if names != scanned.parameters:
        raise ViewRefused("a parameter where none can be", expected="parameters as :name, for values")
    return names
