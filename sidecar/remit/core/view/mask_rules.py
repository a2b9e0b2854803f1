"""What can be known of masks from the rules alone, before anybody is asked: names and values that are written out.

A rule may say all of `masks`, one setting, or anything between: head and value together are one object, cut where
a part is computed. A name that is computed is not known here, and neither is which rules hold for whom: that shows
when the view is asked (`read_masks`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from remit.core.view.masks import SETTINGS, MaskInvalid, read_mask
from remit.core.view.meant import meant
from remit.core.view.rego import DYNAMIC, UNKNOWN, Form, Rule

MASKS = "masks"

Tables = Mapping[str, Collection[str]]
"""Table -> columns."""


def mask_problems(rule: Rule, dataset: str, tables: Tables) -> Iterator[tuple[int, str]]:
    """(line, what is wrong) of a rule of masks that cannot be right, whoever asks."""
    for form in rule.forms:
        for table, column, mask in _masks(form):
            wrong = _problem(dataset, tables, table, column, mask)
            if wrong:
                yield form.line, wrong


def setters(rules: Collection[Rule], table: str, column: str) -> tuple[Rule, ...]:
    """The rules of masks that may say something of a column; with none, of a name that is computed."""
    return tuple(
        rule for rule in rules if rule.name == MASKS and any(_sets(form, table, column) for form in rule.forms)
    )


def _sets(form: Form, table: str, column: str) -> bool:
    names = ((named, inner) for named, inner, _ in _masks(form))
    if not column:
        return any(DYNAMIC in each for each in names)
    return any(named in (table, DYNAMIC) and inner in (column, DYNAMIC) for named, inner in names)


def _masks(form: Form) -> Iterator[tuple[str, str, object]]:
    """Table, column and mask of all that a form says, DYNAMIC or UNKNOWN where it is computed."""
    for table, columns in _entries(_whole(form)):
        for column, mask in _entries(columns):
            yield table, column, mask


def _whole(form: Form) -> object:
    value = form.value
    for part in reversed(form.path):
        value = {part: value}
    return value


def _entries(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from value.items()
    else:
        yield DYNAMIC, UNKNOWN


def _problem(dataset: str, tables: Tables, table: str, column: str, mask: object) -> str:
    if table != DYNAMIC and table not in tables:
        return f"masks.{table} is no table of {dataset}{meant(table, tables)}"
    columns = tables[table] if table != DYNAMIC else {each for columns in tables.values() for each in columns}
    if column != DYNAMIC and column not in columns:
        where = f"masks.{table}" if table != DYNAMIC else "masks[…]"
        return f"{where}.{column} is no column of the catalogue{meant(column, columns)}"
    shown_table, shown_column = ("[…]" if name == DYNAMIC else name for name in (table, column))
    return _wrong(dataset, shown_table, shown_column, mask)


def _wrong(dataset: str, table: str, column: str, mask: object) -> str:
    """Why a mask cannot be, as far as it is written out."""
    known = _known(mask)
    if known is UNKNOWN:
        return ""
    try:
        read_mask(dataset, table, column, known)
    except MaskInvalid as invalid:
        return str(invalid)
    return ""


def _known(mask: object) -> object:
    """The mask, what is computed in it replaced by something that would do; UNKNOWN where that cannot be said."""
    if not isinstance(mask, dict):
        return mask
    if DYNAMIC in mask:
        return UNKNOWN
    known = {}
    for kind, settings in mask.items():
        examples = SETTINGS.get(kind)
        if settings is UNKNOWN:
            settings = dict(list((examples or {}).items())[:1])
        elif examples is not None and isinstance(settings, dict):
            if DYNAMIC in settings:
                return UNKNOWN
            settings = {name: examples.get(name) if _computed(value) else value for name, value in settings.items()}
        known[kind] = settings
    return known


def _computed(value: object) -> bool:
    """Whether a value, or part of it, is not written out."""
    if isinstance(value, dict):
        return DYNAMIC in value or any(map(_computed, value.values()))
    if isinstance(value, list):
        return any(map(_computed, value))
    return value is UNKNOWN
