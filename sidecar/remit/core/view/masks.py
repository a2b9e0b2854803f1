"""Column masks as policy states them: `masks.TABLE.COLUMN` with one form, read strictly.

{}                                       shown as it is, said aloud
{"replace": {"value": scalar}}           a constant, or null
{"hash": {}}                             a keyed hash
{"partial": {"last": n} | {"first": n}}  that many characters, the others as *
{"bucket": {"width": n} | {"unit": "year" | "month" | "week" | "day" | "hour"}}
{"round": {"places": n}}
{"tokenize": {} | {"domain": text}}      reversible; values of one domain can be joined

A rule `masks.customers.email.replace.value := "x" if …` whose condition does not hold leaves `replace` empty: that
is no mask, and the view is refused, as is a column with two forms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from remit.core.view.model import Mask, Scalar, ViewInvalid
from remit.core.view.ucast import read_scalar

MAX_CHARACTERS = 64
MAX_PLACES = 15
UNITS = ("year", "month", "week", "day", "hour")
SETTINGS: Mapping[str, Mapping[str, Scalar]] = {
    "replace": {"value": ""},
    "hash": {},
    "partial": {"last": 1, "first": 1},
    "bucket": {"width": 1, "unit": "day"},
    "round": {"places": 0},
    "tokenize": {"domain": "x"},
}
"""The settings that each kind may have, with a value that would do."""

_DOMAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", re.ASCII)

Settings = Mapping[str, Any]


class MaskInvalid(ViewInvalid):
    """A mask that is none. `column` is what it stands on; "" where the catalogue has no such table or column."""

    def __init__(self, what: str, *, where: str = "", expected: str = "", column: str = "") -> None:
        super().__init__(what, where=where, expected=expected)
        self.column = column


def read_masks(raw: object, dataset: str, table: str, columns: Mapping[str, Collection[str]]) -> dict[str, Mask]:
    """The masks of one table's columns; `columns` are those of each table. Raises ViewInvalid, tables apart too."""
    masks = _object(raw, "masks")
    for name, named in masks.items():
        if name not in columns:
            raise MaskInvalid(f"masks of {name[:80]!r}", expected=f"a table of {dataset}")
        for column in _object(named, f"masks.{name}"):
            if column not in columns[name]:
                raise MaskInvalid(f"a mask of {column[:80]!r}", where=name, expected="a column of the catalogue")
    read = {column: read_mask(dataset, table, column, form) for column, form in masks.get(table, {}).items()}
    return {column: mask for column, mask in read.items() if mask is not None}


def read_mask(dataset: str, table: str, column: str, form: object) -> Mask | None:
    """The mask of one column, None where it is shown as it is. Raises MaskInvalid."""
    try:
        return _mask(f"{table}.{column}", form, f"{dataset}.{table}.{column}")
    except ViewInvalid as e:
        raise MaskInvalid(e.what, where=e.where, expected=e.expected, column=column) from e


def _mask(place: str, raw: object, domain: str) -> Mask | None:
    form = _object(raw, place)
    if not form:
        return None
    if len(form) > 1:
        raise ViewInvalid(f"masks of {len(form)} forms", where=place, expected="one")
    kind, settings = next(iter(form.items()))
    read = _FORMS.get(kind)
    if read is None:
        raise ViewInvalid(f"the mask {kind[:40]!r}", where=place, expected=_one_of(kind))
    given = _object(settings, f"{place}: {kind}")
    if not given and kind in _INCOMPLETE:
        raise ViewInvalid(_INCOMPLETE_SAYS.format(kind=kind, settings=_INCOMPLETE[kind]), where=place)
    mask = read(place, given)
    return Mask(mask.kind, {"domain": domain}) if kind == "tokenize" and not mask.settings else mask


def _replace(place: str, settings: Settings) -> Mask:
    if settings.keys() != {"value"}:
        raise _other(place, "replace", '{"value": scalar}')
    value = read_scalar(settings["value"], place)
    return Mask("null") if value is None else Mask("constant", {"value": value})


def _hash(place: str, settings: Settings) -> Mask:
    if settings:
        raise _other(place, "hash", "{}")
    return Mask("hash")


def _partial(place: str, settings: Settings) -> Mask:
    which = _only(settings, ("first", "last"))
    if which is None or not _whole(settings[which], 1, MAX_CHARACTERS):
        raise _other(place, "partial", f'{{"last": n}} or {{"first": n}}, n from 1 to {MAX_CHARACTERS}')
    return Mask("partial", {which: settings[which]})


def _bucket(place: str, settings: Settings) -> Mask:
    which = _only(settings, ("width", "unit"))
    value: Scalar = settings[which] if which else None
    if which == "unit" and isinstance(value, str) and value in UNITS:
        return Mask("bucket", {"unit": value})
    if which == "width" and isinstance(value, int | Decimal) and not isinstance(value, bool):
        width = read_scalar(value, place)
        if isinstance(width, int | Decimal) and width > 0:
            return Mask("bucket", {"width": width})
    raise _other(place, "bucket", f'{{"width": a number above 0}} or {{"unit": {" | ".join(UNITS)}}}')


def _round(place: str, settings: Settings) -> Mask:
    if settings.keys() != {"places"} or not _whole(settings["places"], 0, MAX_PLACES):
        raise _other(place, "round", f'{{"places": 0 to {MAX_PLACES}}}')
    return Mask("round", {"places": settings["places"]})


def _tokenize(place: str, settings: Settings) -> Mask:
    if not settings:
        return Mask("tokenize")
    domain = settings["domain"] if settings.keys() == {"domain"} else None
    if not isinstance(domain, str) or not _DOMAIN.fullmatch(domain):
        raise _other(place, "tokenize", f'{{}} or {{"domain": text like {_DOMAIN.pattern}}}')
    return Mask("tokenize", {"domain": domain})


_FORMS: Mapping[str, Callable[[str, Settings], Mask]] = {
    "replace": _replace,
    "hash": _hash,
    "partial": _partial,
    "bucket": _bucket,
    "round": _round,
    "tokenize": _tokenize,
}


# The kinds that are nothing without a setting, and how to write them whole.
_INCOMPLETE: Mapping[str, str] = {
    "replace": '"value": …',
    "partial": '"last": …',
    "bucket": '"width": …',
    "round": '"places": …',
}
_INCOMPLETE_SAYS = (
    "{kind} without a setting: probably no rule for the setting holds for who asks; put the condition on the "
    'whole mask, as in {{"{kind}": {{{settings}}}}} if …'
)


def _one_of(kind: str) -> str:
    """The kinds, and which of them was meant."""
    near = get_close_matches(kind, _FORMS, n=1, cutoff=0.75)
    return ", ".join(_FORMS) + (f": did you mean {near[0]}?" if near else "")


def _only(settings: Settings, names: Collection[str]) -> str | None:
    """The one setting that is there, of these."""
    found = list(settings)
    return found[0] if len(found) == 1 and found[0] in names else None


def _whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MaskInvalid(f"{type(value).__name__}", where=where, expected="an object")
    return value


def _other(place: str, kind: str, expected: str) -> ViewInvalid:
    return ViewInvalid(f"{kind} with other settings than it takes", where=place, expected=expected)
