"""`remit query` against a sidecar of the tests."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fakes.sidecar_fake import SidecarFake, sidecar_in_thread
from remit.cli.cells import document, shown
from remit.cli.connection import explained_error
from remit.sdk.address import Credential, Target
from remit.sdk.errors import Unavailable
from remit.v1 import sidecar_pb2 as s

from .conftest import Remit

ASK = ("query", "crm", "SELECT id, name FROM customers")


@pytest.fixture
def sidecar(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SidecarFake]:
    with sidecar_in_thread() as fake:
        monkeypatch.setenv("REMIT_ADDRESS", fake.address)
        monkeypatch.setenv("REMIT_TOKEN", "token-support")
        yield fake


def test_rows_are_a_table_and_all_else_is_on_stderr(remit: Remit, sidecar: SidecarFake) -> None:
    """Decision, labels and masks are told beside the rows; a table asks for a screenful."""
    ended = remit(*ASK)

    assert ended.code == 0
    assert [line.split() for line in ended.out.splitlines()] == [["id", "name"], ["1", "ana"], ["2", "NULL"]]
    assert ended.err.splitlines() == ["decision d1", "labels pii", "masked customers.email (partial)", "2 rows"]
    assert sidecar.queries[0].rows == 100


def test_json_is_an_object_a_line(remit: Remit, sidecar: SidecarFake) -> None:
    """With nothing else on stdout, and as many rows as there are."""
    sidecar.table.batches = 3
    ended = remit(*ASK, "--json")

    assert ended.code == 0
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert lines == [{"id": 1, "name": "ana"}, {"id": 2, "name": None}] * 3
    assert sidecar.queries[0].rows == 0


def test_the_whole_question_arrives(remit: Remit, sidecar: SidecarFake) -> None:
    """Typed parameters, purpose, reason, workflow and the most rows."""
    run = "ctx.w1.signed"
    sidecar.runs["w1"] = type("Run", (), {"state": "open", "purposes": ("support",)})()
    typed = {
        "name=a=b": s.Value(text="a=b"),
        "id:integer=-5": s.Value(integer=-5),
        "share:real=0.5": s.Value(real=0.5),
        "price:decimal=1.10": s.Value(decimal="1.10"),
        "yes:boolean=true": s.Value(boolean=True),
        "raw:bytes=00ff": s.Value(binary=b"\0\xff"),
        "day:date=2026-01-02": s.Value(date="2026-01-02"),
        "at:time=01:02": s.Value(time="01:02:00"),
        "moment:timestamp=2026-01-02T03:04:05Z": s.Value(timestamp="2026-01-02T03:04:05+00:00"),
        "span:interval=1.5": s.Value(interval="1.500000"),
        "nothing:null=": s.Value(),
        "empty=": s.Value(text=""),
    }
    options = [part for each in typed for part in ("--param", each)]
    ended = remit(*ASK, *options, "--purpose", "support", "--reason", "why", "--workflow", run, "--rows", "7")

    assert ended.code == 0, ended.err
    asked = sidecar.queries[0]
    assert dict(asked.parameters) == {name.partition("=")[0].partition(":")[0]: value for name, value in typed.items()}
    assert (asked.context.purpose, asked.context.reason, asked.context.workflow) == ("support", "why", run)
    assert (asked.rows, asked.dataset, asked.statement) == (7, "crm", ASK[2])


def test_a_statement_comes_from_a_file_or_from_stdin(
    remit: Remit, sidecar: SidecarFake, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`@FILE` and `-`."""
    (place / "asked.sql").write_text("SELECT 1 AS é", encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 2"))

    assert [remit("query", "crm", given).code for given in ("@asked.sql", "-")] == [0, 0]
    assert [each.statement for each in sidecar.queries] == ["SELECT 1 AS é", "SELECT 2"]


def test_nothing_in_a_cell_acts_on_a_terminal(remit: Remit, sidecar: SidecarFake) -> None:
    """Control characters, ANSI and bidirectional marks are written out, in names too; NULL is not the text NULL."""
    sidecar.table.columns = (("a\x1b[31m", "text"),)
    sidecar.table.rows = tuple(
        (s.Value(text=text),) for text in ("\x1b[2J", "x\ny", "\u202egro.live", "[bold]b", "NULL")
    )
    ended = remit(*ASK)
    lines = ended.out.splitlines()

    assert [line.strip() for line in lines] == [
        "a\\x1b[31m",
        "\\x1b[2J",
        "x\\ny",
        "\\u202egro.live",
        "[bold]b",
        '"NULL"',
    ]
    assert "\x1b" not in remit(*ASK, "--json").out


def test_denied_is_exit_code_1(remit: Remit, sidecar: SidecarFake) -> None:
    """The reasons are told on stderr, and stdout stays empty."""
    sidecar.deny("dataset:crm", "view_refused")
    ended = remit(*ASK, "--json")

    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines() == ["remit: DENY  d1", "  fake  view_refused  denied: view_refused"]


def test_an_observed_agent_is_let_through_and_told(remit: Remit, sidecar: SidecarFake) -> None:
    """Where decisions do not bind, rows come all the same."""
    sidecar.deny("dataset:crm")
    sidecar.observed.add("support")
    ended = remit(*ASK)

    assert ended.code == 0
    assert "decision d1; DENY, observed only: let through" in ended.err


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_failure_in_the_middle_is_exit_code_1(remit: Remit, sidecar: SidecarFake, options: tuple[str, ...]) -> None:
    """The rows before it are shown, and it is told that they are not all."""
    sidecar.table.failure = s.DATA_FAILURE_BAD_VALUE
    ended = remit(*ASK, *options)

    assert ended.code == 1
    assert "ana" in ended.out
    assert ended.err.splitlines()[-1] == "remit: the database said no, after 2 rows (decision d1)"


def test_a_limit_that_was_reached_is_told(remit: Remit, sidecar: SidecarFake) -> None:
    """Nobody takes a part for the whole, and whose limit it was is said."""
    sidecar.table.truncated = True

    assert remit(*ASK).err.endswith("2 rows; there are more, beyond the dataset's limits\n")
    assert remit(*ASK, "--rows", "2").err.endswith("2 rows; there are more: see --rows\n")


@pytest.mark.parametrize(
    ("why", "told"),
    [
        ("Query: Deadline Exceeded (DEADLINE_EXCEEDED)", "did not answer in time; give it longer with --timeout"),
        ("Query: its log tells more (INTERNAL)", "failed (Query: its log tells more (INTERNAL))"),
        ("Query: store_unavailable: ask again (UNAVAILABLE)", "cannot reach its store, or cannot record in it"),
        ("Query: Connection refused (UNAVAILABLE)", "(connection refused); start one with `remit up`"),
    ],
)
def test_only_a_sidecar_that_is_not_there_is_to_be_started(why: str, told: str) -> None:
    """Nobody starts a second one beside one that is late, or that fails."""
    failure = explained_error(Unavailable(why), Target("127.0.0.1:7450", Credential("")))

    assert failure.exit_code == 3
    assert told in str(failure)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((*ASK, "--param", "x"), "NAME=TEXT"),
        ((*ASK, "--param", "=x"), "NAME=TEXT"),
        ((*ASK, "--param", "x:number=1"), "a type of text, integer"),
        ((*ASK, "--param", "x:integer=1.5"), "a value of type integer for x"),
        ((*ASK, "--param", "x:boolean=yes"), "a value of type boolean for x"),
        ((*ASK, "--param", "x:decimal=many"), "a value of type decimal for x"),
        ((*ASK, "--param", "x:interval=1e400"), "a value of type interval for x"),
        ((*ASK, "--param", "x:date=2026-02-30"), "a value of type date for x"),
        ((*ASK, "--param", "x:null=1"), "a value of type null for x"),
        ((*ASK, "--param", "x=1", "--param", "x=2"), "one value for 'x', found several"),
        ((*ASK, "--rows", "0"), "--rows"),
        (("query", "crm", "@nowhere.sql"), "No such file"),
        (("query", "crm", "@latin.sql"), "not UTF-8"),
        (ASK[:2], "Missing argument"),
    ],
)
def test_what_cannot_be_asked_is_exit_code_2(
    remit: Remit, sidecar: SidecarFake, place: Path, arguments: tuple[str, ...], told: str
) -> None:
    """Nothing is sent."""
    (place / "latin.sql").write_bytes(b"SELECT '\xe9'")
    ended = remit(*arguments)

    assert ended.code == 2
    assert told in ended.err
    assert sidecar.calls == []


def test_nobody_there_is_exit_code_3(remit: Remit, place: Path) -> None:
    """No answer is no answer."""
    assert remit(*ASK, "--address", "127.0.0.1:1", "--timeout", "2").code == 3


CELLS: list[tuple[Any, Any, str]] = [
    (None, None, "NULL"),
    (True, True, "true"),
    (2**70, 2**70, str(2**70)),
    (0.1, 0.1, "0.1"),
    (float("nan"), "nan", "nan"),
    (Decimal("1.10"), "1.10", "1.10"),
    (b"\0\xff", "AP8=", "\\x00ff"),
    (date(2026, 1, 2), "2026-01-02", "2026-01-02"),
    (time(1, 2), "01:02:00", "01:02:00"),
    (datetime(2026, 1, 2, 3), "2026-01-02T03:00:00", "2026-01-02 03:00:00"),
    (timedelta(days=-1, microseconds=1), "-86399.999999", "-86399.999999"),
]


@pytest.mark.parametrize(("value", "json_", "text"), CELLS, ids=[each[2] for each in CELLS])
def test_every_kind_of_value_is_written_exactly(value: Any, json_: Any, text: str) -> None:
    """For pipes and for people."""
    assert json.loads(json.dumps(document(value))) == json_
    assert shown(value).plain == text
