"""`remit approvals` and `remit unresolved` against the real server, with the pipeline in memory behind it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from listeners.serving import OPERATOR
from listeners.serving import SUPPORT as SUPPORT_TOKEN
from remit.cli.ages import lasting
from remit.cli.approval_text import MOST_TEXT
from remit.cli.approvals import read_offer
from remit.cli.failure import Failure
from remit.core.approval import SECOND, State, Terms, Verdict, Vote
from remit.listeners.grpc_limits import Limits
from remit.ports import Reservation

from .approvals_stage import Stage, staged
from .conftest import Remit

HOUR = 3600 * SECOND


def now() -> int:
    return time.time_ns()


@pytest.fixture
def stage(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with staged() as running:
        monkeypatch.setenv("REMIT_ADDRESS", running.address)
        monkeypatch.setenv("REMIT_TOKEN", OPERATOR)
        yield running


def test_what_waits_is_listed(remit: Remit, stage: Stage) -> None:
    """A row says who wants what, why it was held, who is asked, and how long there is; what has ended is not there."""
    stage.ask("a_1", time=now() - 90 * SECOND, deadline=now() + HOUR)
    stage.ask("a_2", state=State.DENIED, ended=now())

    ended = remit("approvals", "list")

    assert ended.code == 0
    head, row = ended.out.splitlines()
    assert head.split() == ["approval", "state", "asks", "for", "because", "waits", "for", "asked", "answer"]
    for said in (
        "a_1",
        "pending",
        "support",
        "api.call service openai/chat/large",
        "approval_required",
        "lead, or people with approver",
        "1 min",
        "ago",
        "59 min",
        "left",
    ):
        assert said in row, said


def test_a_narrow_terminal_gets_lines_instead_of_a_table(
    remit: Remit, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id alone has forty characters: nothing is broken inside of a word."""
    id = f"a_{'0' * 38}"
    stage.ask(id, time=now() - 90 * SECOND, deadline=now() + HOUR)
    monkeypatch.setenv("COLUMNS", "80")

    first, second, third = remit("approvals", "list").out.splitlines()

    assert first.split()[:2] == [id, "pending"] and first.rstrip().endswith("left")
    assert second.split() == ["support", "api.call", "service", "openai/chat/large", "approval_required"]
    assert third.startswith("  asked  1 min") and third.rstrip().endswith("waits for  lead, or people with approver")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ((), {"a_1"}),
        (("--all",), {"a_1", "a_2", "a_3"}),
        (("--only", "denied"), {"a_2"}),
        (("--only", "denied", "--only", "approved"), {"a_2", "a_3"}),
        (("--only", "revoked"), set()),
    ],
)
def test_any_state_can_be_asked_for(remit: Remit, stage: Stage, options: tuple[str, ...], wanted: set[str]) -> None:
    """Pending ones, unless told otherwise."""
    stage.ask("a_1")
    stage.ask("a_2", state=State.DENIED)
    stage.ask("a_3", state=State.APPROVED, expires=now() + HOUR)

    assert {each["approval"] for each in remit("approvals", "list", *options, "--json").document} == wanted
    assert (remit("approvals", "list", *options).out != "") is True


def test_several_pages_are_one_list(remit: Remit, stage: Stage) -> None:
    """The newest first; what is left out is said."""
    for number in range(250):
        stage.ask(f"a_{number:03d}")

    every = remit("approvals", "list", "--limit", "1000", "--json")
    assert [each["approval"] for each in every.document] == [f"a_{number:03d}" for number in reversed(range(250))]
    assert every.err == ""
    some = remit("approvals", "list", "--limit", "120", "--json")
    assert len(some.document) == 120
    assert "only the newest 120" in some.err


def test_all_that_must_be_known_is_shown(remit: Remit, stage: Stage) -> None:
    """Arguments, cost, labels, bounds and what was said; nobody's text acts on a terminal."""
    hostile = json.dumps({"arguments": {"to\u202e": "an\x1b[2Ja", "n": 9007199254740993}, "usage": {"call": 1}})
    terms = Terms(roles=("finance", "approver"), quorum=2, uses=3, cost=20 * SECOND, ttl=4 * 3600)
    vote = Vote("agent", "lead", Verdict.HOLD, "not mine\x07", now(), "d_9")
    stage.ask("a_1", shown=hostile, terms=terms, votes=(vote,), time=now(), deadline=now() + HOUR)

    ended = remit("approvals", "show", "a_1")

    assert ended.code == 0
    assert all(character.isprintable() or character == "\n" for character in ended.out)
    for said in (
        "a_1  pending  version 1",
        "support (cx)  api.call  service openai/chat/large",
        "said  an order \\x1b[31m\\u202e",
        "because  access.approval: approval_required",
        "labels held  pii",
        "exact, 3 uses of each item; at most 20 EUR in all; for 4 h; once 2 approve",
        "item 1  decision d_1; asked 1 time; at most 0.5 EUR a use; labels pii",
        'arguments.to\\u202e = "an\\u001b[2Ja"',
        "arguments.n = 9007199254740993",
        "agent lead pass: not mine\\x07",
    ):
        assert said in ended.out, said


def test_what_is_cut_is_said(remit: Remit, stage: Stage) -> None:
    """Nobody approves what they were not shown without knowing it; --json has all."""
    value = "x" * (MOST_TEXT + 100)
    stage.ask("a_1", shown=json.dumps({"arguments": {"letter": value}}))
    stage.ask("a_2", shown="")

    shown = remit("approvals", "show", "a_1").out
    assert value not in shown.replace("\n", "")
    assert f"({len(value) + 2} characters, --json shows all)" in shown.replace("\n", " ")
    whole = remit("approvals", "show", "a_1", "--json").document["items"][0]["shown"]
    assert json.loads(whole)["arguments"]["letter"] == value
    assert "what was asked for is not shown" in remit("approvals", "show", "a_2").out


def test_approving_is_one_command_and_of_what_was_shown(remit: Remit, stage: Stage) -> None:
    """What is approved is shown first, and the version that was shown is named."""
    stage.ask("a_1")
    stage.change("a_1")

    ended = remit("approvals", "approve", "a_1", "--reason", "within the budget")

    assert ended.code == 0, ended
    assert ended.out.index("version 2") < ended.out.index("ALLOW") < ended.out.index("approved until")
    ((subject, resolution),) = stage.pipeline.resolutions
    assert (subject.id, resolution.approval, resolution.verdict) == ("operator", "a_1", Verdict.APPROVE)
    assert (resolution.reason, resolution.version, resolution.alternative) == ("within the budget", 2, {})
    assert stage.pipeline.requests["a_1"].state is State.APPROVED


def test_several_items_are_approved_in_the_version_that_was_read(remit: Remit, stage: Stage) -> None:
    """One may have joined since: exit code 2 with all of them shown, and what to say. Denying needs no version."""
    items = stage.ask("a_1").items
    stage.change("a_1", items=(*items, replace(items[0], binding="cd" * 32, shown='{"arguments":{"to":"eve"}}')))
    for more in ((), ("--json",)):
        ended = remit("approvals", "approve", "a_1", "--reason", "x", *more)
        assert ended.code == 2, ended
        assert "--version 2" in ended.err
    assert not stage.pipeline.resolutions

    assert remit("approvals", "approve", "a_1", "--reason", "x", "--version", "2").code == 0
    stage.ask("a_2", items=items * 2)
    assert remit("approvals", "deny", "a_2", "--reason", "x").code == 0


def test_a_version_that_was_looked_at_is_pinned(remit: Remit, stage: Stage) -> None:
    """What has changed since is not approved: exit code 1, and nothing is."""
    stage.ask("a_1")
    stage.change("a_1")

    ended = remit("approvals", "approve", "a_1", "--reason", "x", "--version", "1", "--json")

    assert ended.code == 1
    assert (ended.document["version"], ended.document["effect"]) == (1, "DENY")
    assert stage.pipeline.requests["a_1"].state is State.PENDING


def test_denying_may_offer_something_else(remit: Remit, stage: Stage, place: Path) -> None:
    """A merge patch, from the command line or a file, exact to the last digit."""
    (place / "offer.json").write_text('{"arguments": {"n": 9007199254740993}}')
    for number, offer in enumerate(('{"resource":{"variant":"small"}}', "@offer.json")):
        stage.ask(f"a_{number}")
        ended = remit("approvals", "deny", f"a_{number}", "--reason", "too dear", "--offer", offer, "--json")
        assert ended.code == 0, ended
        assert ended.document["approval"]["state"] == "denied"

    offered = [resolution.alternative for _, resolution in stage.pipeline.resolutions]
    assert offered == [{"resource": {"variant": "small"}}, {"arguments": {"n": 9007199254740993}}]
    assert stage.pipeline.resolutions[0][1].verdict is Verdict.DENY


def test_it_can_be_left_to_others(remit: Remit, stage: Stage) -> None:
    """`pass` asks whoever is next."""
    stage.ask("a_1")

    ended = remit("approvals", "pass", "a_1", "--reason", "not mine to say")

    assert ended.code == 0
    assert stage.pipeline.resolutions[0][1].verdict is Verdict.HOLD
    assert "waits for people: 0 of 1 approval so far" in ended.out


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("approve", "a_9", "--reason", "x"), 2, "no approval 'a_9' that you may see"),
        (("approve", "a_1"), 2, "--reason"),
        (("approve", "a_1", "--reason", ""), 2, "reason"),
        (("approve", "a_1", "--reason", "x", "--version", "0"), 2, "--version"),
        (("deny", "a_1", "--reason", "x", "--offer", "{"), 2, "--offer"),
        (("deny", "a_1", "--reason", "x", "--offer", "[]"), 2, "--offer"),
        (("deny", "a_1", "--reason", "x", "--offer", '{"action":"x"}'), 2, "--offer"),
        (("deny", "a_1", "--reason", "x", "--offer", '{"resource":{},"resource":{}}'), 2, "--offer"),
        (("deny", "a_1", "--reason", "x", "--offer", "@none.json"), 2, "--offer"),
        (("list", "--all", "--only", "denied"), 2, "not both"),
        (("list", "--only", "maybe"), 2, "maybe"),
    ],
)
def test_used_wrongly_it_changes_nothing(
    remit: Remit, stage: Stage, arguments: tuple[str, ...], code: int, told: str
) -> None:
    """Exit code 2 with what was expected."""
    stage.ask("a_1")

    ended = remit("approvals", *arguments)

    assert ended.code == code, ended
    assert told in ended.err
    assert stage.pipeline.requests["a_1"].state is State.PENDING


def test_nobody_approves_their_own(remit: Remit, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is no: exit code 1."""
    stage.ask("a_1")
    monkeypatch.setenv("REMIT_TOKEN", SUPPORT_TOKEN)

    ended = remit("approvals", "approve", "a_1", "--reason", "please")

    assert ended.code == 1
    assert "not for you" in ended.out


def test_where_nobody_is_there_is_no_answer(remit: Remit, stage: Stage) -> None:
    """Exit code 3, from all of them."""
    stage.stop()
    for arguments in (("list",), ("watch",), ("approve", "a_1", "--reason", "x")):
        assert remit("approvals", *arguments).code == 3
    assert remit("unresolved").code == 3


class Watching:
    """`remit approvals watch` in a process of its own."""

    def __init__(self, stage: Stage, *arguments: str) -> None:
        remit = Path(sys.executable).with_name("remit")
        environment = {**os.environ, "REMIT_ADDRESS": stage.address, "REMIT_TOKEN": OPERATOR}
        self.process = subprocess.Popen(
            [remit, "approvals", "watch", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines, self._remarks = Lines(self.process.stdout), Lines(self.process.stderr)

    def line(self, seconds: float = 10) -> str:
        """The next line; raises Empty."""
        return self._lines.next(seconds)

    def remark(self, seconds: float = 10) -> str:
        """The next line on stderr; raises Empty."""
        return self._remarks.next(seconds)

    def seen(self, seconds: float = 10) -> tuple[str, str, int]:
        """The next approval's id, state and version."""
        document = json.loads(self.line(seconds))
        return document["approval"], document["state"], document["version"]

    def end(self) -> list[str]:
        """Ctrl-C; the remarks that were left."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(10) == 130
        self._lines.rest()
        return [each for each in self._remarks.rest() if each.strip()]


class Lines:
    """The lines of a stream as they come."""

    def __init__(self, stream: IO[str] | None) -> None:
        assert stream is not None
        self._stream, self._lines = stream, Queue[str]()
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._stream:
            for line in self._stream:
                self._lines.put(line)

    def next(self, seconds: float) -> str:
        """The next one; raises Empty."""
        return self._lines.get(timeout=seconds)

    def rest(self) -> list[str]:
        """Those that are left, once the stream has ended."""
        self._thread.join(10)
        return [self._lines.get() for _ in range(self._lines.qsize())]


@contextmanager
def watching(stage: Stage, *arguments: str) -> Iterator[Watching]:
    found = Watching(stage, *arguments)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.wait()


def test_watching_shows_what_waits_and_each_change_at_once(stage: Stage) -> None:
    """What was there, then what opens, within a second, and how it ends; each version once."""
    stage.ask("a_1")
    with watching(stage, "--json") as watch:
        assert watch.seen() == ("a_1", "pending", 1)
        begun = time.monotonic()
        stage.ask("a_2")
        assert watch.seen() == ("a_2", "pending", 1)
        assert time.monotonic() - begun < 1
        stage.change("a_1", state=State.DENIED, ended=now())
        assert watch.seen() == ("a_1", "denied", 2)
        assert watch.end() == []


def test_a_watch_goes_on_when_its_stream_ends(stage: Stage) -> None:
    """The server ends streams after a while: nothing is told twice, and nothing that came between is missed."""
    stage.stop()
    stage.start(Limits(stream_seconds=0.3))
    stage.ask("a_1")
    with watching(stage, "--json") as watch:
        assert watch.seen() == ("a_1", "pending", 1)
        for number in range(2, 6):
            stage.ask(f"a_{number}")
            assert watch.seen(5) == (f"a_{number}", "pending", 1)
            with pytest.raises(Empty):
                watch.line(0.4)
        assert watch.end() == []


def test_a_watch_outlives_the_sidecar(stage: Stage) -> None:
    """While nobody answers it says so once; then it tells what opened, and how what it had told has ended."""
    stage.ask("a_1")
    stage.ask("a_2")
    with watching(stage, "--json") as watch:
        assert {watch.seen()[0], watch.seen()[0]} == {"a_1", "a_2"}
        stage.stop()
        stage.change("a_1", state=State.EXPIRED, ended=now())
        stage.ask("a_3")
        assert "nobody answers" in watch.remark()
        stage.start()
        assert [watch.seen(), watch.seen()] == [("a_3", "pending", 1), ("a_1", "expired", 2)]
        with pytest.raises(Empty):
            watch.line(0.3)
        assert watch.end() == []


def test_a_watch_shows_a_block_each(stage: Stage) -> None:
    """For people, with all that must be known."""
    stage.ask("a_1")
    with watching(stage) as watch:
        assert watch.line().startswith("a_1  pending  version 1")
        lines = [watch.line() for _ in range(5)]
        assert any("support (cx)" in line for line in lines)


def test_a_watch_that_may_see_nothing_ends(remit: Remit, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown credential is no reason to go on."""
    monkeypatch.setenv("REMIT_TOKEN", "nobody")

    ended = remit("approvals", "watch")

    assert ended.code == 2
    assert "it knows nobody with this credential" in ended.err


def effect(decision: str, deadline: int, state: str) -> Reservation:
    return Reservation(decision, "support", "w_1", "openai", "large", "cx", 500_000_000, 0, deadline, state, "")


def test_what_nobody_reported_is_listed_with_its_age(remit: Remit, stage: Stage) -> None:
    """What is overdue is told from what has time still."""
    stage.pipeline.effects = [effect("d_1", now() - 2 * HOUR - SECOND, "lapsed"), effect("d_2", now() + HOUR, "held")]

    ended = remit("unresolved")

    assert ended.code == 0
    _, overdue, due, total = ended.out.splitlines()
    assert overdue.split()[:7] == ["d_1", "support", "w_1", "openai/large", "0.5", "EUR", "lapsed"]
    assert "2 h" in overdue and overdue.rstrip().endswith("ago")
    assert "left" in due
    assert total == "2 effects, 1 overdue"
    document = remit("unresolved", "--limit", "1", "--json").document
    assert (document["effects"][0]["decision"], document["truncated"]) == ("d_1", True)
    assert document["effects"][0]["overdue_ns"] > 2 * HOUR


def test_where_all_was_reported_that_is_said(remit: Remit, stage: Stage) -> None:
    """Nothing is left open."""
    assert remit("unresolved").out == "everything that was allowed was reported\n"
    assert remit("approvals", "list").out == "nothing waits for approval\n"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_661, "1 h 1 min"), (190_000, "2 d 4 h")]
)
def test_spans_are_told_in_two_parts(seconds: int, said: str) -> None:
    """The two largest."""
    assert lasting(seconds) == said


@given(st.text())
def test_any_other_offer_is_a_failure(text: str) -> None:
    """No text makes reading an offer end in another way than a JSON object or a Failure."""
    try:
        offer = read_offer(text)
    except Failure:
        return
    assert json.loads(offer).keys() <= {"resource", "arguments"}
