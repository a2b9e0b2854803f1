"""The journal tells of any change, and of nothing else."""

from __future__ import annotations

import tracemalloc
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import fields, replace

import pytest
import rfc8785
from counts import COUNTS, SEED, dice
from fakes.journals import ACT_AT, ERASED_AT, KEY, OTHER_KEY, Journal, journal, record
from hypothesis import given
from hypothesis import strategies as st
from remit.core.canonical import MalformedJson
from remit.core.checkpoint import CheckpointRow, VerifierKey, read_note, read_verifier_key, signed_by
from remit.core.effect import Record
from remit.core.errors import BadRequest
from remit.core.journal import (
    GENESIS,
    MAX_PROBLEMS,
    JournalRow,
    Verification,
    body_hash,
    header_bytes,
    link,
    together,
    verify,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def test_an_untouched_journal_is_authentic_with_the_pinned_key_and_consistent_without() -> None:
    """Everything is counted, nothing is complained about."""
    made = journal()

    pinned, unpinned = made.verify(), made.verify(pinned=False)

    assert pinned == Verification(
        state="authentic", log="log_1", records=12, erased=1, checkpoints=3, covered=12, head=made.rows[-1].hash
    )
    assert unpinned == replace(pinned, state="consistent")


def test_an_unsigned_journal_is_nobody_s_word() -> None:
    """Without a checkpoint, a pinned key has nothing to vouch for; an empty journal is no exception."""
    made = journal()
    made.heads.clear()
    made.rows = made.rows[: ERASED_AT - 1]

    assert made.verify().state == "consistent"
    assert Journal().verify().state == "consistent"


@given(st.dictionaries(st.sampled_from(["kind", "id", "subject", "workflow", "parent", "ref"]), TEXT), st.integers(0))
def test_a_header_is_canonical_json(parts: dict[str, str], time: int) -> None:
    """Its bytes are those of RFC 8785, with numbers as strings."""
    made = replace(record(1), time=time, **parts)
    header = header_bytes(log="l", sequence=2**63, record=made, previous=GENESIS, body=b"\x01" * 32)

    assert header == rfc8785.dumps(
        {
            "log": "l",
            "sequence": str(2**63),
            "time": str(time),
            "kind": made.kind,
            "id": made.id,
            "subject": made.subject,
            "workflow": made.workflow,
            "parent": made.parent,
            "ref": made.ref,
            "previous": "00" * 32,
            "body_hash": "01" * 32,
        }
    )


def test_the_chain_has_a_known_answer() -> None:
    """The format is fixed: what was written by an older version verifies for ever."""
    made = Record("decision", "d_1", 7, "ann", "w", "p", "r", b"{}", bytes(16))
    row = link(log="log_1", sequence=1, record=made, previous=GENESIS)

    assert row.body_hash.hex() == "333b13ff02f57ae18049b82ca66f37592c5a3d8fd54e44e23ae5c7085c24fd2a"
    assert row.hash.hex() == "041d495f2330f4a059b1959276ebf9acc1d0138d6263809c9fca4ff3a504b7cb"


def test_text_that_is_not_unicode_has_no_header() -> None:
    """Half a surrogate pair is refused by the writer, and found by the reader."""
    with pytest.raises(MalformedJson):
        link(log="l", sequence=1, record=record(1, subject="\udcff"), previous=GENESIS)
    made = journal()
    made.rows[2] = replace(made.rows[2], record=replace(made.rows[2].record, subject="\udcff"))

    assert (made.verify().state, made.verify().problems[0].sequence) == ("broken", 3)


# Every single change is found, wherever it is

Change = Callable[[Journal], None]


def _changed_bytes(value: object) -> Iterator[object]:
    """The value with each of its bytes changed, and a little more or less of it."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value ^ (1 << bit) for bit in range(62))
    elif isinstance(value, bytes):
        yield from (value[:at] + bytes([value[at] ^ 0x10]) + value[at + 1 :] for at in range(len(value)))
        yield from (value + b"\0", value[:-1] if value else b"\1")
    elif isinstance(value, str):
        yield from (value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :] for at in range(len(value)))
        yield from (value + "x", value[:-1] if value else "y")


def _edited_records() -> Iterator[tuple[str, Change]]:
    made = journal()
    for at, row in enumerate(made.rows):
        for each in fields(Record):
            for value in _changed_bytes(getattr(row.record, each.name)):
                changed = replace(row, record=replace(row.record, **{each.name: value}))
                yield f"record {at + 1} {each.name}", _replacing_row(at, changed)
        for each in fields(JournalRow):
            if each.name != "record":
                for value in _changed_bytes(getattr(row, each.name)):
                    yield f"record {at + 1} {each.name}", _replacing_row(at, replace(row, **{each.name: value}))


def _edited_heads() -> Iterator[tuple[str, Change]]:
    made = journal()
    for at, head in enumerate(made.heads):
        for each in fields(CheckpointRow):
            for value in _changed_bytes(getattr(head, each.name)):
                yield f"checkpoint {at + 1} {each.name}", _replacing_head(at, replace(head, **{each.name: value}))


def _replacing_row(at: int, row: JournalRow) -> Change:
    def change(made: Journal) -> None:
        made.rows[at] = row

    return change


def _replacing_head(at: int, head: CheckpointRow) -> Change:
    def change(made: Journal) -> None:
        made.heads[at] = head

    return change


def _structural() -> Iterator[tuple[str, Change]]:
    """Every record removed, doubled, swapped; every truncation; every splice from another log."""
    size = len(journal().rows)
    other = journal(log="log_2")
    for at in range(size):
        yield f"record {at + 1} removed", lambda made, at=at: made.rows.pop(at)
        yield f"record {at + 1} twice", lambda made, at=at: made.rows.insert(at, made.rows[at])
        yield f"record {at + 1} again at the end", lambda made, at=at: made.rows.append(made.rows[at])
        yield f"cut after {at}", lambda made, at=at: made.rows.__delitem__(slice(at, None))
        yield f"record {at + 1} from another log", _replacing_row(at, other.rows[at])
        yield f"record {at + 1} invented", _replacing_row(at, replace(journal().rows[at], record=record(77)))
        for to in range(at + 1, size):
            yield f"records {at + 1} and {to + 1} swapped", lambda made, at=at, to=to: _swap(made, at, to)
    for at, head in enumerate(other.heads):
        yield f"checkpoint {at + 1} from another log", _replacing_head(at, head)
        yield f"checkpoint {at + 1} twice", lambda made, at=at: made.heads.insert(at, made.heads[at])
    yield "checkpoints in another order", lambda made: made.heads.reverse()


def _swap(made: Journal, at: int, to: int) -> None:
    made.rows[at], made.rows[to] = made.rows[to], made.rows[at]


def _missed(changes: list[tuple[str, Change]], read: Callable[[Journal], Verification]) -> list[str]:
    """The changes that a reader did not see."""
    missed = []
    for name, change in changes:
        made = journal()
        change(made)
        if read(made).state != "broken":
            missed.append(name)
    return missed


def _pinned(made: Journal) -> Verification:
    return made.verify()


def test_every_changed_byte_of_a_record_is_found() -> None:
    """In every stored field of every record, without the key too."""
    changes = list(_edited_records())
    chosen = dice("records").sample(changes, min(len(changes), 2 * COUNTS.flips))

    assert _missed(chosen, _pinned) == [], SEED
    assert _missed(chosen[: COUNTS.flips], lambda made: made.verify(pinned=False)) == [], SEED


def test_every_changed_byte_of_a_checkpoint_is_found() -> None:
    """In every stored field, and in the signed note."""
    changes = list(_edited_heads())

    assert _missed(dice("heads").sample(changes, min(len(changes), 2 * COUNTS.flips)), _pinned) == [], SEED


def test_every_removal_repetition_swap_cut_and_splice_is_found() -> None:
    """Without the key too, as long as the checkpoints are there."""
    changes = list(_structural())

    assert _missed(changes, _pinned) == []
    assert _missed(changes, lambda made: made.verify(pinned=False)) == []


def test_a_reader_that_trusts_the_stretch_between_checkpoints_misses_forks() -> None:
    """The harness finds the planted mistake of checking the signed ends alone."""

    def ends_only(made: Journal) -> Verification:
        heads = {head.size: head.hash for head in made.heads}
        ends = {row.sequence: row.hash for row in made.rows if row.sequence in heads}
        fits = ends == heads
        return replace(made.verify(), state="authentic" if fits else "broken")

    assert len(_missed(list(_structural()), ends_only)) > 10


@pytest.mark.parametrize("pinned", [True, False])
def test_a_journal_made_anew_with_another_key_is_not_authentic(pinned: bool) -> None:
    """Whoever can write the whole file can make it consistent, and is found by the pinned key alone."""
    made = journal()
    made.rows[0] = replace(made.rows[0], record=record(1, subject="bob"))
    made.rechain(OTHER_KEY)

    assert made.verify(pinned=pinned).state == ("broken" if pinned else "consistent")


def test_another_log_of_the_same_key_does_not_pass_for_this_one() -> None:
    """The pinned text names the log; a key pinned for any log accepts it."""
    other = journal(log="log_2")
    found = verify(other.rows, other.heads, journal().verifier)

    assert found.state == "broken"
    assert verify(other.rows, other.heads, VerifierKey("", KEY.public_key().public_bytes_raw())).state == "authentic"


# Cut together, and notes kept elsewhere


def _cut_together(made: Journal, size: int) -> None:
    del made.rows[size:]
    made.heads = [head for head in made.heads if head.size <= size]


@pytest.mark.parametrize("size", [0, 5, 7, 11])
def test_a_note_kept_elsewhere_finds_journal_and_checkpoints_cut_together(size: int) -> None:
    """What the file alone cannot tell, an outside copy of a later checkpoint does."""
    made = journal(12)
    note = made.heads[-1].note
    _cut_together(made, size)
    if size < ACT_AT and size >= ERASED_AT:
        made.rows[ERASED_AT - 1] = replace(journal(3).rows[0], sequence=ERASED_AT)

    assert made.verify(notes=[note]).state == "broken"


def test_a_cut_at_a_checkpoint_is_invisible_from_inside() -> None:
    """This is what the promise does not cover without an outside copy."""
    made = journal(20)
    _cut_together(made, 10)

    assert made.verify().state == "authentic"
    assert made.verify(notes=[journal(20).heads[-1].note]).state == "broken"


def test_older_notes_are_fine_and_removed_checkpoints_are_not() -> None:
    """A note of the past agrees with an honest journal; one that is newer than its own checkpoints does not."""
    made = journal(20)
    notes = [head.note for head in made.heads]
    assert made.verify(notes=notes).state == "authentic"

    made.heads.pop()
    assert [each.sequence for each in made.verify(notes=notes).problems] == [20]


def test_a_rewritten_tail_is_found_by_a_note_alone() -> None:
    """An outside copy fixes all before it, even where every signature inside was made anew with the right key."""
    made, note = journal(), journal().heads[-1].note
    made.rows[0] = replace(made.rows[0], record=record(1, subject="bob"))
    made.rechain(KEY)

    assert made.verify().state == "authentic"
    assert made.verify(notes=[note]).state == "broken"


@pytest.mark.parametrize("note", ["", "remit/log_1\n3\n", "\udcff", "x" * 5000])
def test_a_note_that_is_none_is_a_problem_not_an_exception(note: str) -> None:
    """Whatever lies beside the file."""
    assert journal().verify(notes=[note]).state == "broken"


# Erasing


def test_a_body_that_is_gone_without_an_act_is_a_failure() -> None:
    """Named by its sequence."""
    made = journal()
    made.erase(7)

    assert [(each.sequence, "no journalled act" in each.what) for each in made.verify().problems] == [(7, True)]


def test_an_act_after_the_last_checkpoint_erases_nothing() -> None:
    """Else whoever can write the file could append the act that excuses the erasure."""
    made = journal()
    made.erase(7)
    made.append(record(13, kind="erased", ref="d_007"))

    assert [each.sequence for each in made.verify().problems] == [13]
    made.sign()
    assert made.verify().state == "authentic"


def test_an_act_whose_body_is_still_there_is_a_failure() -> None:
    """A body that came back, or was never erased, is told."""
    made = journal()
    made.rows[ERASED_AT - 1] = link(
        log="log_1", sequence=ERASED_AT, record=record(ERASED_AT), previous=made.rows[ERASED_AT - 2].hash
    )

    assert [each.sequence for each in made.verify().problems] == [ACT_AT]


@pytest.mark.parametrize("left", [{"body": b"{}"}, {"salt": bytes(16)}])
def test_an_erased_body_that_is_there_in_part_is_a_failure(left: dict[str, bytes]) -> None:
    """The salt alone would let a guess be tested."""
    made = journal()
    row = made.rows[ERASED_AT - 1]
    made.rows[ERASED_AT - 1] = replace(row, record=replace(row.record, **left))

    assert [each.sequence for each in made.verify().problems] == [ERASED_AT]


def test_an_erased_body_leaves_nothing_to_guess_with() -> None:
    """Without its salt, even a guessed body cannot be tested against the hash; with it, it could."""
    row = journal().rows[ERASED_AT - 1]

    assert row.record.salt == b""
    assert body_hash(b"", b'{"n":"4"}') != row.body_hash


# Reading


def test_one_change_is_told_once_and_at_its_place() -> None:
    """The reader goes on from what is stored, and names the record."""
    made = journal(40)
    made.rows[20] = replace(made.rows[20], record=replace(made.rows[20].record, body=b"x"))

    assert [each.sequence for each in made.verify().problems] == [21]


def test_many_problems_are_kept_in_part_and_counted() -> None:
    """A wrecked journal does not fill memory with complaints."""
    made = journal(300)
    made.rows = [replace(row, previous=b"") for row in made.rows]
    found = made.verify()

    assert len(found.problems) == MAX_PROBLEMS
    assert found.unlisted > 300


def test_reading_takes_no_more_memory_for_a_longer_journal() -> None:
    """Rows and checkpoints are read as they come."""

    def peak(size: int) -> int:
        tracemalloc.start()
        checked = verify(_growing(size), iter(()))
        assert checked.records == size
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(4000) < 2 * peak(400)


def _growing(size: int) -> Iterator[JournalRow]:
    previous = GENESIS
    for number in range(1, size + 1):
        row = link(log="log_1", sequence=number, record=record(number), previous=previous)
        yield row
        previous = row.hash


def test_reading_can_start_from_a_checked_head() -> None:
    """Only the rest is read, and its links are checked from there."""
    made = journal(20)
    start = made.heads[1]
    assert verify(made.rows[start.size :], (), after=start).problems == ()

    made.rows[15] = replace(made.rows[15], previous=GENESIS)
    assert {each.sequence for each in verify(made.rows[start.size :], (), after=start).problems} == {16}
    assert verify(made.rows[start.size + 1 :], (), after=start).state == "broken"


# Notes


def test_a_note_says_what_was_signed() -> None:
    """It is a C2SP signed note: origin, size, head, time, a blank line, a signature line."""
    head = journal().heads[-1]
    lines = head.note.split("\n")

    assert read_note(head.note) == head
    assert lines[:2] == ["remit/log_1", "12"]
    assert lines[3] == f"time {head.time}"
    assert lines[4] == ""
    assert lines[5].startswith("— remit/log_1 ")


def test_a_note_of_another_log_is_found_without_a_key() -> None:
    """Whatever head it names."""
    made = journal()
    note = made.heads[-1].note.replace("remit/log_1", "remit/log_2")

    assert made.verify(pinned=False, notes=[note]).state == "broken"


def test_there_is_one_way_to_write_a_note() -> None:
    """A cut signature, and another spelling of the same bytes in base64, are no notes, with or without a key."""
    note = journal().heads[-1].note
    head, signature = note.split("\n")[2], note.split(" ")[-1].rstrip("\n")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

    def respelt(text: str) -> str:
        body = text.rstrip("=")
        return body[:-1] + alphabet[alphabet.index(body[-1]) ^ 1] + "=" * (len(text) - len(body))

    assert b64decode(respelt(head)) == b64decode(head)
    for other in (note.replace(signature, signature[:-4]), note.replace(head, respelt(head))):
        with pytest.raises(BadRequest):
            read_note(other)


def test_a_pinned_key_is_one_line_of_text() -> None:
    """What is printed reads back; a wrong key id, another form or a cut key does not."""
    key = journal().verifier
    assert read_verifier_key(f" {key}\n") == key

    name, id, public = str(key).split("+", 2)
    wrong = "00000000" if id != "00000000" else "11111111"
    for text in ("", "remit/log_1", f"{name}+{wrong}+{public}", f"{name}+{id}+{public[:-4]}", f"evil/{key}"):
        with pytest.raises(BadRequest):
            read_verifier_key(text)


def test_a_signature_is_the_pinned_key_s_or_none() -> None:
    """Another key, another log's name, or another text under the same signature does not pass."""
    head = journal().heads[0]
    key = journal().verifier
    assert signed_by(head.note, key)

    assert not signed_by(head.note, replace(key, log="log_2"))
    assert not signed_by(head.note, VerifierKey("log_1", OTHER_KEY.public_key().public_bytes_raw()))
    assert not signed_by(head.note.replace("\n5\n", "\n6\n"), key)


@given(st.text(max_size=300))
def test_any_text_is_a_note_or_a_bad_request(text: str) -> None:
    """Nothing else ever comes out of reading one."""
    with pytest.raises(BadRequest):
        read_note(text)


@pytest.mark.parametrize(
    ("found", "state"),
    [
        ([("authentic", 3), ("authentic", 2)], "authentic"),
        ([("authentic", 3), ("consistent", 2)], "consistent"),
        ([("authentic", 3), ("consistent", 0)], "authentic"),
        ([("authentic", 3), ("broken", 0)], "broken"),
        ([("consistent", 0), ("consistent", 0)], "consistent"),
    ],
)
def test_several_logs_are_as_bad_as_the_worst(found: list[tuple[str, int]], state: str) -> None:
    """A log in which nothing was recorded has nothing to vouch for; one that should not be empty is broken."""
    each = [Verification(state, f"log{n}", records, 0, 0, 0, b"") for n, (state, records) in enumerate(found)]

    assert together(each).state == state
