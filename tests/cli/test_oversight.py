"""`remit halt`, `resume` and `budget` against a sidecar of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.people_fake import OPERATOR, STRANGER, PeopleFake, people_sidecar
from hypothesis import given
from hypothesis import strategies as st
from remit.cli.budget import BAR, bar, read_amount
from remit.cli.failure import Failure
from remit.v1 import resources_pb2 as r

from .conftest import Remit


@pytest.fixture
def sidecar(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PeopleFake]:
    with people_sidecar() as fake:
        monkeypatch.setenv("REMIT_ADDRESS", fake.address)
        monkeypatch.setenv("REMIT_TOKEN", OPERATOR)
        yield fake


@pytest.mark.parametrize(
    ("options", "scope"),
    [
        (("--agent", "support"), (r.SCOPE_AGENT, "support")),
        (("--workflow", "w1"), (r.SCOPE_WORKFLOW, "w1")),
        (("--service", "openai"), (r.SCOPE_SERVICE, "openai")),
        (("--all",), (r.SCOPE_ALL, "")),
    ],
)
def test_what_is_halted_can_be_resumed(
    remit: Remit, sidecar: PeopleFake, options: tuple[str, ...], scope: tuple[int, str]
) -> None:
    """A halt stops the scope that it names, and a resume of the same scope lifts it."""
    halted = remit("halt", *options, "--reason", "it repeats itself")
    assert halted.code == 0
    assert sidecar.halts == {scope: "it repeats itself"}

    resumed = remit("resume", *options, "--reason", "repaired", "--json")
    assert resumed.code == 0
    assert resumed.document["halts"] == ["h_1"]
    assert sidecar.halts == {}


@pytest.mark.parametrize("options", [(), ("--all", "--agent", "a"), ("--agent", "a", "--service", "s")])
def test_a_halt_names_exactly_one_scope(remit: Remit, sidecar: PeopleFake, options: tuple[str, ...]) -> None:
    """None or several scopes are refused before anybody is asked."""
    ended = remit("halt", *options, "--reason", "x")

    assert ended.code == 2
    assert "exactly one of" in ended.err
    assert sidecar.asked == []


def test_who_may_not_halt_is_told_no(remit: Remit, sidecar: PeopleFake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal by policy is exit code 1 with its reason, and nothing is halted."""
    monkeypatch.setenv("REMIT_TOKEN", STRANGER)

    ended = remit("halt", "--all", "--reason", "x")

    assert ended.code == 1
    assert "role_not_granted" in ended.out
    assert sidecar.halts == {}


def test_resuming_what_runs_is_exit_code_2(remit: Remit, sidecar: PeopleFake) -> None:
    """Nothing to resume is bad input, not a refusal."""
    ended = remit("resume", "--agent", "support", "--reason", "x")

    assert ended.code == 2
    assert ended.err == "remit: nothing is halted there\n"


def test_without_a_credential_the_operators_is_taken(
    remit: Remit, sidecar: PeopleFake, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who can read the state directory's operator token need not name a credential."""
    monkeypatch.delenv("REMIT_TOKEN")
    (place / "kept" / "keys").mkdir(parents=True)
    (place / "kept" / "keys" / "operator.token").write_text(f"{OPERATOR}\n")

    assert remit("halt", "--all", "--reason", "x").code == 2
    assert remit("halt", "--all", "--reason", "x", "--state", "kept").code == 0


def test_a_broken_catalogue_is_not_in_the_way_of_a_halt(remit: Remit, sidecar: PeopleFake, place: Path) -> None:
    """A remit.yaml that cannot be read is told, and passed over."""
    (place / "remit.yaml").write_text("agents: [")

    ended = remit("halt", "--all", "--reason", "x")

    assert ended.code == 0
    assert "passed over" in ended.err


def test_more_budgets_than_a_page_has_are_all_listed(remit: Remit, sidecar: PeopleFake) -> None:
    """Page by page, without a word of it."""
    sidecar.limits |= {("each", f"agent{n:04d}"): 10**9 for n in range(1200)}
    listed = remit("budget", "list", "each", "--json").document
    assert [each["scope"] for each in listed] == [f"agent{n:04d}" for n in range(1200)]


def test_budgets_are_listed(remit: Remit, sidecar: PeopleFake) -> None:
    """A row shows limit, spent, held and room exactly, and a bar."""
    sidecar.spent["month", ""] = (30_500_000_001, 10 * 10**9)

    ended = remit("budget", "list")

    assert ended.code == 0
    row = ended.out.splitlines()[1].split()
    assert row == ["month", "100", "EUR", "30.500000001", "10", "59.499999999", "######==............", *row[-2:]]
    assert row[-2:] == ["2027-01-15", "08:00:00.000Z"]


def test_budgets_as_json(remit: Remit, sidecar: PeopleFake) -> None:
    """--json prints a list, money as exact decimal text."""
    listed = remit("budget", "list", "month", "--json").document

    assert listed[0]["limit"] == {"amount": "100", "currency": "EUR"}
    assert listed[0]["room"] == {"amount": "100", "currency": "EUR"}


def test_an_unknown_budget_is_exit_code_2(remit: Remit, sidecar: PeopleFake) -> None:
    """The sidecar's own words are told."""
    ended = remit("budget", "list", "nonsense")

    assert (ended.code, ended.err) == (2, "remit: no budget 'nonsense' in the catalogue\n")


@pytest.mark.parametrize(
    ("amount", "limit"), [("+50", 150 * 10**9), ("-10.5", 89_500_000_000), ("0.000000001EUR", 100 * 10**9 + 1)]
)
def test_a_limit_is_adjusted_exactly(remit: Remit, sidecar: PeopleFake, amount: str, limit: int) -> None:
    """What is added arrives to the last nano, and the new limit is shown."""
    ended = remit("budget", "adjust", "month", amount, "--reason", "end of quarter")

    assert ended.code == 0
    assert sidecar.limits["month", ""] == limit
    assert "month" in ended.out


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        ("fifty", "expected an exact amount"),
        ("1e3", "expected an exact amount"),
        ("0", "other than 0"),
        ("0.0000000001", "at most 9 decimals"),
        ("99999999999", "expected an amount between"),
        ("5USD", "expected EUR"),
        ("1.2.3", "expected a decimal number"),
    ],
)
def test_an_amount_that_is_none_changes_nothing(remit: Remit, sidecar: PeopleFake, amount: str, told: str) -> None:
    """What cannot be added exactly, in the ledger's currency, is refused with what was expected."""
    ended = remit("budget", "adjust", "month", amount, "--reason", "x")

    assert ended.code == 2
    assert told in ended.err
    assert sidecar.limits["month", ""] == 100 * 10**9


@given(st.integers(-(2**63), 2**63 - 1).filter(bool))
def test_any_exact_amount_is_read_exactly(nanos: int) -> None:
    """Every amount of the ledger can be written and is read back."""
    units, rest = divmod(abs(nanos), 10**9)

    assert read_amount(f"{'-' if nanos < 0 else '+'}{units}.{rest:09d}EUR") == (nanos, "EUR")


@given(st.text())
def test_any_other_amount_is_a_failure(text: str) -> None:
    """No text makes reading an amount end in another way than a value or a Failure."""
    try:
        nanos, currency = read_amount(text)
    except Failure:
        return
    assert nanos != 0
    assert len(currency) in (0, 3)


@given(st.integers(0, 2**62), st.integers(0, 2**61), st.integers(0, 2**61))
def test_a_bar_has_its_width_and_hides_nothing(limit: int, spent: int, held: int) -> None:
    """Bars are of one width; what is held shows at least once, and only what is full looks full."""
    drawn = bar(limit, spent, held).plain

    assert len(drawn) == BAR
    assert ("=" in drawn) == (held > 0)
    assert ("." in drawn) == (spent + held < limit or not spent + held)
