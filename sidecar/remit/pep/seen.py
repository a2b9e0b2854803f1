"""Who is told of whom: the subjects of an answer, recorded before the rows that tell of them go out.

Only keyed hashes are kept. Of more than `MAX_SUBJECTS` of one table it is recorded that they were many, with the
view's filter standing in the decision's own record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from remit.core.effect import SeeSubjects
from remit.core.redact import Hmac
from remit.core.view.model import MAX_SUBJECTS, Cell
from remit.core.view.subjects import subject_hash, table_name
from remit.ports import Sight


class Seen:
    """The subjects of one answer. `hidden` names the table of each trailing column that is not the agent's."""

    def __init__(self, decision: str, dataset: str, hidden: Sequence[str], hmac: Hmac) -> None:
        self._decision = decision
        self._dataset = dataset
        self._hidden = hidden
        self._hmac = hmac
        self._told: dict[tuple[str, Sight], set[str]] = {}
        self._many: set[tuple[str, Sight]] = set()
        self._unrecorded: dict[tuple[str, Sight], list[str]] = {}

    def reached(self, found: Mapping[str, Sequence[str]]) -> None:
        """What the statement read without its rows saying so."""
        for table, keys in found.items():
            self._add(table, keys, Sight.REACHED)

    def strip(self, rows: Sequence[Sequence[Cell]]) -> Sequence[Sequence[Cell]]:
        """The rows as the agent gets them; whom they are of is noted."""
        if not self._hidden:
            return rows
        width = len(self._hidden)
        for place, table in enumerate(self._hidden):
            keys = (row[place - width] for row in rows)
            self._add(table, (str(key) for key in keys if key is not None), Sight.RETURNED)
        return [row[:-width] for row in rows]

    def effects(self) -> tuple[SeeSubjects, ...]:
        """What is not recorded yet; it counts as recorded from now on."""
        effects = tuple(
            SeeSubjects(self._decision, table_name(self._dataset, table), sight.value, tuple(hashes))
            for (table, sight), hashes in self._unrecorded.items()
        )
        self._unrecorded = {}
        return effects

    @property
    def counts(self) -> dict[str, dict[str, str]]:
        """How many subjects were told of, by table and certainty, for the journal; `many` beyond what is recorded."""
        counts: dict[str, dict[str, str]] = {}
        for (table, sight), told in sorted(self._told.items()):
            many = (table, sight) in self._many
            counts.setdefault(table, {})[sight.value] = Sight.MANY.value if many else str(len(told))
        return counts

    def _add(self, table: str, keys: Iterable[str], sight: Sight) -> None:
        place = (table, sight)
        told = self._told.setdefault(place, set())
        for key in keys:
            if place in self._many:
                return
            if key in told:
                continue
            if len(told) >= MAX_SUBJECTS:
                self._many.add(place)
                self._unrecorded[table, Sight.MANY] = []
                return
            told.add(key)
            self._unrecorded.setdefault(place, []).append(self._hash(table, key))

    def _hash(self, table: str, key: str) -> str:
        return subject_hash(self._dataset, table, key, self._hmac)
