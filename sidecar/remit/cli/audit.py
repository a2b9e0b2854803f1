"""`remit audit`: whether the journal is as it was written, and who saw whom."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from remit.backends.store_sqlite import open_journal
from remit.cli.connection import FILE, Connection, connected
from remit.cli.failure import NO, Failure, Unreachable
from remit.cli.local import DATABASE, find_settings
from remit.cli.screen import Told, emit, note, progress, show
from remit.cli.shared_journal import verify_store
from remit.cli.sightings import who
from remit.cli.store import find_place
from remit.cli.text import clean, counted
from remit.core.checkpoint import VerifierKey, read_note, read_verifier_key
from remit.core.database_url import PostgresPlace
from remit.core.errors import BadRequest, StoreUnavailable
from remit.core.journal import JournalRow, Problem, Verification, together, verify
from remit.v1 import audit_pb2

SHOWN = 10
KEY_EXPECTED = "a verifier key (remit/LOG+ID+KEY), an Ed25519 public key in PEM, or its 32 bytes in base64"
_EVERY = 1000
_NOTE_BEGINS = re.compile(r"\n(?=remit/)")  # its origin is its first line; the line of its signature begins otherwise


@dataclass(frozen=True, slots=True)
class Findings:
    """What a verification found; `state` is authentic, consistent or broken. `head` is "" where only asked for.

    `logs` are what was found in each, where there may be several.
    """

    state: str
    records: int
    erased: int
    checkpoints: int
    covered: int | None = None
    head: str = ""
    problems: tuple[Problem, ...] = ()
    unlisted: int = 0
    logs: tuple[Verification, ...] = ()


@click.group("audit")
def command() -> None:
    """Verify the journal; see who saw whom."""


command.add_command(who)


@command.command("verify")
@click.option(
    "--key", "keys", multiple=True, help="The key to pin: a file, or its text. Keep it where the sidecar cannot write."
)
@click.option("--checkpoint", "checkpoints", multiple=True, type=FILE, help="Signed checkpoints kept elsewhere.")
@click.option("--store-url", metavar="URL", help="Read the PostgreSQL that members share instead.")
@click.option("--store-password-file", type=FILE, help="Its password [REMIT_STORE_PASSWORD_FILE].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@connected
def verify_journal(connection: Connection, as_json: bool, **given: Any) -> None:
    """Read the journal from its first record to its last, and name anything that was changed.

    Reads the state directory, beside a running sidecar or without one, and never writes; with --store-url the logs of
    all members in PostgreSQL, as a role that may read them; with --address, asks the sidecar or the desk instead. Says
    "consistent" if all fits together, "authentic" if the pinned key of each log signed it as well.

    Example: remit audit verify --state .remit --key journal.pub
    """
    found = _found(connection, **given)
    emit(_document(found)) if as_json else _tell(found)
    if found.state == "broken":
        raise click.exceptions.Exit(NO)


def _found(
    connection: Connection,
    *,
    keys: tuple[str, ...],
    checkpoints: tuple[Path, ...],
    store_url: str | None,
    store_password_file: Path | None,
) -> Findings:
    if connection.address and (keys or checkpoints or store_url):
        raise click.UsageError("--key, --checkpoint and --store-url are for reading the journal: without --address.")
    if connection.address:
        return _asked(connection)
    notes = [note for path in checkpoints for note in _read_notes(path)]
    if store_url:
        return _shared(*find_place(store_url, store_password_file), [read_key(each) for each in keys], notes)
    if len(keys) > 1:
        raise click.UsageError("--key: one, for a state directory has one log.")
    return _read(connection.state, keys[0] if keys else None, notes)


def _shared(place: PostgresPlace, password: bytes, keys: list[VerifierKey], notes: list[str]) -> Findings:
    with progress("verifying the journal of all members"):
        logs = verify_store(place, password, keys, notes)
    return replace(_findings(together(logs)), logs=tuple(logs))


def _asked(connection: Connection) -> Findings:
    with progress("the sidecar verifies its journal"):
        answer = connection.call("Audit", "Verify", audit_pb2.VerifyRequest())
    state = "broken" if not answer.ok else "authentic" if answer.authentic else "consistent"
    problems = () if answer.ok else (Problem(answer.sequence, answer.problem),)
    return Findings(state, answer.records, answer.erased, answer.checkpoints, problems=problems)


def _read(state: Path | None, key: str | None, notes: list[str]) -> Findings:
    directory = state or find_settings(None).state
    pinned = read_key(key, directory) if key else None
    path = directory / DATABASE
    if not path.is_file():
        raise Unreachable(
            f"{path}: there is no journal here; name the state directory with --state or REMIT_STATE, "
            "or with --store-url the PostgreSQL that members share"
        )
    with progress("verifying the journal") as tell:
        return _findings(_verify(path, pinned, notes, tell))


def _verify(path: Path, key: VerifierKey | None, notes: list[str], tell: Told) -> Verification:
    read = _Counter(tell)
    try:
        with open_journal(path) as journal:
            rows = map(read, journal.rows())
            return verify(rows, journal.checkpoints(), key, notes=[*journal.notes, *notes])
    except StoreUnavailable as error:
        return read.broken(error.detail)


class _Counter:
    """Counts records as they are read, and tells every so often."""

    def __init__(self, tell: Told) -> None:
        self._tell = tell
        self._count = 0

    def __call__(self, row: JournalRow) -> JournalRow:
        self._count += 1
        if self._count % _EVERY == 0:
            self._tell(f"verifying the journal: {self._count} records", 0.0)
        return row

    def broken(self, what: str) -> Verification:
        """The verification that ended after the records read so far."""
        problem = Problem(self._count + 1, what)
        return Verification("broken", "", self._count, 0, 0, 0, b"", (problem,))


def read_key(text: str, state: Path | None = None) -> VerifierKey:
    """The pinned key, from a file or its own text; what vouches for a `state` directory should not lie in it.

    Raises Failure.
    """
    path = Path(text)
    try:
        if not path.is_file():
            return parse_key(text)
        if state is not None and path.resolve().is_relative_to(state.resolve()):
            note("remit: the key lies beside what it vouches for; whoever can change one can change the other")
        return parse_key(path.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"--key: {text[:80]} cannot be read ({error}); expected {KEY_EXPECTED}") from error


def parse_key(text: str) -> VerifierKey:
    """The key in any of its three forms. Raises Failure."""
    text = text.strip()
    try:
        if text.startswith("remit/"):
            return read_verifier_key(text)
        if text.startswith("-----BEGIN"):
            key = load_pem_public_key(text.encode())
            if isinstance(key, Ed25519PublicKey):
                return VerifierKey("", key.public_bytes_raw())
        elif len(raw := base64.b64decode(text, validate=True)) == 32:
            return VerifierKey("", raw)
    except (BadRequest, ValueError, binascii.Error, UnsupportedAlgorithm):
        pass
    raise Failure(f"--key: found {text[:40]!r}; expected {KEY_EXPECTED}")


def _read_notes(path: Path) -> list[str]:
    """One note after the other, as programs print them: with any number of empty lines between and after them."""
    try:
        notes = [f"{note.strip()}\n" for note in _NOTE_BEGINS.split(path.read_text(encoding="utf-8"))]
        for note in notes:
            read_note(note)
    except (OSError, UnicodeDecodeError, BadRequest) as error:
        raise Failure(f"--checkpoint: {path}: {error}; expected signed notes") from error
    return notes


def _findings(found: Verification) -> Findings:
    return Findings(
        state=found.state,
        records=found.records,
        erased=found.erased,
        checkpoints=found.checkpoints,
        covered=found.covered,
        head=found.head.hex(),
        problems=found.problems,
        unlisted=found.unlisted,
    )


def _tell(found: Findings) -> None:
    erased = f"{found.erased} {'body' if found.erased == 1 else 'bodies'} erased"
    show(f"{found.state}: {counted(found.records, 'record')}, {counted(found.checkpoints, 'checkpoint')}, {erased}")
    if found.state == "consistent" and found.checkpoints:
        note("everything fits together; only a pinned key (--key) shows that it was not all made anew")
    if found.state != "broken" and found.covered is not None and found.covered < found.records:
        several = len(found.logs) > 1
        what = counted(found.records - found.covered, "record") if several else f"record {found.covered + 1} and later"
        note(f"not signed yet: {what}")
    for log in found.logs if len(found.logs) > 1 else ():
        show(f"  log {clean(log.log)}: {log.state}, {counted(log.records, 'record')}")
    for problem in found.problems[:SHOWN]:
        show(f"  record {problem.sequence}: {clean(problem.what)}" if problem.sequence else f"  {clean(problem.what)}")
    if (more := len(found.problems) + found.unlisted - SHOWN) > 0:
        show(f"  and {more} more")


def _document(found: Findings) -> dict[str, Any]:
    first = found.problems[0] if found.problems else Problem(0, "")
    return {
        "ok": found.state != "broken",
        "state": found.state,
        "records": found.records,
        "erased": found.erased,
        "checkpoints": found.checkpoints,
        "covered": found.covered,
        "head": found.head,
        "problem": first.what,
        "sequence": first.sequence,
        "problems": [{"sequence": each.sequence, "problem": each.what} for each in found.problems],
        "unlisted": found.unlisted,
        "logs": [{"log": each.log, "state": each.state, "records": each.records} for each in found.logs],
    }
