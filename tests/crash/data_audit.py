"""What must hold of a sidecar's store and its dataset, by what agents were told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping

import orjson
from data_agents import Answer, Asked, Shown, Told
from data_place import COST, Place
from remit.backends.keys_file import open_keys
from remit.backends.store_sqlite import open_journal
from remit.core.journal import JournalRow, verify
from remit.core.view.subjects import subject_hash
from remit.v1 import sidecar_pb2 as s
from running import select

ENDED = frozenset({"settled", "voided", "lapsed"})
_SEEN = """
    SELECT seen.decision, lower(hex(subject)), sight FROM seen JOIN seen_table ON seen_table.id = seen_table
    WHERE name = 'crm.people'
"""
_FIRST = "SELECT answer FROM kept WHERE rpc = 'Execute'"
_RETURNED, _REACHED, _MANY = range(3)


def violations(place: Place, told: Told) -> list[str]:
    """What does not hold, of a sidecar that has ended and of agents that have been told everything they asked for."""
    with open_journal(place.directory / "state" / "state.db") as journal:
        rows = list(journal.rows())
        found = verify(rows, journal.checkpoints(), None, notes=journal.notes)
    wrong = [f"journal: {each.sequence}: {each.what}" for each in found.problems]
    records = {row.record.id: row for row in rows}
    return [*told.wrong, *wrong, *_wrong_writes(place, told, records), *_wrong_shown(place, told, records)]


def _wrong_writes(place: Place, told: Told, records: Mapping[str, JournalRow]) -> Iterator[str]:
    notes = place.rows("SELECT id, number FROM notes")
    slots = place.rows("SELECT slot, number FROM slots")
    done = Counter(number for _, number in (*notes, *slots))
    yield from (f"write {number} was done {times} times" for number, times in done.items() if times > 1)
    yield from (f"write {number} was never asked for" for number in done.keys() - {each.number for each in told.writes})
    ids = {number: id for id, number in notes}
    for each in told.writes:
        yield from _wrong_write(each, each.number in done, ids.get(each.number), records)
    yield from _wrong_money(place, told, done.keys())


def _wrong_write(asked: Asked, done: bool, id: int | None, records: Mapping[str, JournalRow]) -> Iterator[str]:
    name = f"write {asked.number}"
    if len(set(asked.answers)) > 1:
        yield f"{name} was told of in {len(set(asked.answers))} ways: {asked.answers}"
    for answer in asked.answers[:1]:
        if answer.decision not in records:
            yield f"{name} was answered and is not recorded"
        happened = Answer(answer.decision, 0, (), s.DATA_FAILURE_CONFLICT)
        if done:
            happened = Answer(answer.decision, 1, () if asked.slot else (id or 0,), 0)
        if answer != happened:
            yield f"{name}: told {answer}, and what happened is {happened}"


def _wrong_money(place: Place, told: Told, done: frozenset[int] | set[int]) -> Iterator[str]:
    """Each write that was done is paid once, each that failed costs nothing, what nobody asked for again has lapsed."""
    reserved = {
        decision: (state, spent)
        for decision, state, spent in select(place.directory, "SELECT decision, state, spent FROM reservation")
    }
    executed = dict(_executed(place))
    yield from (f"{decision} is still {state}" for decision, (state, _) in reserved.items() if state not in ENDED)
    for decision in executed:
        if reserved.get(decision, ("", 0))[1] != COST:
            yield f"{decision} was done and is not paid: {reserved.get(decision)}"
    for each in told.writes:
        if each.answers and each.number not in done and reserved[each.answers[0].decision][1]:
            yield f"write {each.number} failed and is paid: {reserved[each.answers[0].decision]}"
    spent = sum(amount for _, amount in reserved.values())
    ((booked, held),) = select(place.directory, "SELECT sum(spent), sum(held) FROM budget") or [(0, 0)]
    ((metered,),) = select(place.directory, "SELECT sum(cost) FROM spending")
    if (booked, held, metered) != (spent, 0, spent):
        yield f"reservations have spent {spent}; booked {booked}, held {held}, metered {metered}"
    for decision, (state, paid) in reserved.items():
        if paid and state != "lapsed" and decision not in executed:
            yield f"{decision} is {state} and paid, and was not done"
    # A second look at a write is a decision of its own, without the key: one that a kill came into has lapsed, paid.
    first = {orjson.loads(answer)["id"] for (answer,) in select(place.directory, _FIRST)}
    looked = sum(paid for decision, (state, paid) in reserved.items() if state == "lapsed" and decision not in first)
    answered = sum(1 for each in told.writes if each.answers and each.number in done)
    given_up = sum(1 for each in told.writes if not each.answers)
    if not answered <= (spent - looked) / COST <= answered + given_up:
        yield f"{(spent - looked) / COST} writes are paid; {answered} were done and {given_up} given up"


def _executed(place: Place) -> Iterator[tuple[str, object]]:
    for id, result in place.rows("SELECT id, result FROM remit_executions"):
        yield id, json.loads(result) if result else None


def _wrong_shown(place: Place, told: Told, records: Mapping[str, JournalRow]) -> Iterator[str]:
    seal = open_keys(place.directory / "state").seal
    seen: dict[int, dict[int, set[str]]] = {}
    for sequence, subject, sight in select(place.directory, _SEEN):
        seen.setdefault(int(str(sequence)), {}).setdefault(int(str(sight)), set()).add(str(subject))
    held = {
        (agent, label): source
        for agent, label, source in select(place.directory, "SELECT subject, label, source FROM share WHERE live = 1")
    }
    hashes: dict[int, str] = {}

    def hashed(person: int) -> str:
        if person not in hashes:
            hashes[person] = subject_hash("crm", "people", str(person), seal)
        return hashes[person]

    for each in told.shown:
        row = records.get(each.decision)
        if row is None:
            yield f"query {each.decision} was answered and is not recorded"
            continue
        sights = seen.get(row.sequence, {})
        known = sights.get(_RETURNED, set())
        unseen = [person for person in each.people if hashed(person) not in known]
        reached = known | sights.get(_REACHED, set())
        unseen += [person for person in each.counted if hashed(person) not in reached]
        if unseen and _MANY not in sights:
            yield f"query {each.decision} of {each.agent} told of {len(unseen)} people who are not recorded"
        yield from _wrong_labels(each, row, held, records)


def _wrong_labels(
    shown: Shown, row: JournalRow, held: Mapping[tuple[object, object], object], records: Mapping[str, JournalRow]
) -> Iterator[str]:
    """They had joined by the decision at the latest."""
    body = orjson.loads(row.record.body)
    if body.get("action") != "data.read" or row.record.subject != shown.agent:
        yield f"{shown.decision} is recorded as {body.get('action')} of {row.record.subject}"
    for label in shown.labels:
        source = records.get(str(held.get((shown.agent, label), "")))
        if source is None or source.sequence > row.sequence:
            yield f"query {shown.decision} carried {label}, which had not joined"
