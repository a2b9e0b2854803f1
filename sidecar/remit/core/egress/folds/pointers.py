"""Any other API: counts at the places in its answer that the catalogue names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from remit.core.egress.folds.counts import Counts, Usage, whole


class PointersFold:
    """Units by JSON pointers; complete where each is stated. Without pointers there is nothing to state."""

    marks = ()

    def __init__(self, returns: Mapping[str, str]) -> None:
        self._returns, self._counts = returns, Counts()

    def read(self, document: Any) -> bool:
        """See Fold."""
        stated = {unit: _at(document, pointer) for unit, pointer in self._returns.items()}
        found = {unit: whole(value) for unit, value in stated.items() if value is not None}
        self._counts.put(found)
        return bool(found)

    def usage(self) -> Usage:
        """See Fold."""
        units = {unit: self._counts[unit] for unit in self._returns if unit in self._counts}
        return Usage(units, complete=len(units) == len(self._returns))


def _at(document: Any, pointer: str) -> Any:
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(document, list) and key.isascii() and key.isdigit() and len(key) < 8:
            document = document[int(key)] if int(key) < len(document) else None
        else:
            document = document.get(key) if isinstance(document, dict) else None
    return document
