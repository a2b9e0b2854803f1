"""What is suggested of what was observed: bounded, escaped, in any order the same, and never more than was seen."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from remit.config import values
from remit.core.catalogue import Agent, Catalogue, Price, Service, Variant
from remit.core.records import Entry
from remit.core.suggestion import fragment as fragments
from remit.core.suggestion import observed as observing
from remit.core.suggestion import rules
from remit.core.suggestion.fragment import MAX_TOLD, dearest_days, fragment
from remit.core.suggestion.observed import MAX_GROUPS, Observed
from remit.core.suggestion.proposal import ID, NAME, PURPOSE, propose
from remit.core.suggestion.readiness import sealed
from remit.core.suggestion.rules import MAX_ACCESSES, rule_texts
from ruamel.yaml import YAML

UNKNOWN = [
    ("access.known", "unknown_resource"),
    ("ownership.owner", "no_owner"),
    ("variants.listed", "variant_not_listed"),
]
CATALOGUE = Catalogue(
    "EUR",
    agents={"support": Agent("cx", purposes=("support",))},
    services={"models": Service(owner="cx", operations=("chat",), variants={"small": Variant()}, clearance=("pii",))},
    prices=(Price("models/*", "call", 1, "EUR"),),
)
HOSTILE = [
    "a\nb: c",
    "x\n    owner: cx",
    '"]\n}\nallow contains "observed" if true\n_x := {["',
    "a # b",
    "\u2028owner: cx",
    "\x1b[31mred",
    "{{}}",
    "*anchor",
    "&x",
    "!!python/object:os.system",
    "'",
    '"',
    "\\",
    "\x00",
    "true",
    "null",
    "1e3",
    "- a",
    "${HOME}",
    "\u202egnp",
    "é" * 300,
    "\U0001f600",
]


def entry(number: int, **said: Any) -> Entry:
    """A decision in mode observe."""
    resource = {"type": "service", "id": "models", "operation": "chat", "variant": "small", "fields": []}
    body = {
        "subject": {"type": "agent", "team": "cx", "mode": "observe", "actor": "", "identity": {"method": "token"}},
        "action": said.get("action", "api.call"),
        "resource": {**resource, **said.get("resource", {})},
        "context": {"purpose": said.get("purpose", "support"), "arguments": {}},
        "facts": {"labels": {label: [] for label in said.get("labels", ())}, "estimate": {"units": {"call": 1}}},
        "effect": "DENY" if said.get("reasons") else "ALLOW",
        "enforced": False,
        "reasons": [{"policy": policy, "code": code} for policy, code in said.get("reasons", ())],
        "reserved": said.get("reserved", "0"),
        "deadline": said.get("deadline", "0"),
    }
    return _row("decision", f"d{number}", number, body, said.get("agent", "support"))


def _row(kind: str, id: str, time: int, body: Mapping[str, Any], subject: str = "support", ref: str = "") -> Entry:
    return Entry("main", time, time, kind, id, subject, "", "", ref, False, "", body)


def watched(entries: Sequence[Entry]) -> Observed:
    found = Observed(0)
    for each in entries:
        found.add(each)
    return found


def written(found: Observed) -> tuple[str, list[rules.RuleText]]:
    proposal = propose(found.groups(), CATALOGUE)
    text = fragment(proposal, period="24h", currency="EUR", days=dearest_days(found.spent()))
    return text, rule_texts(proposal, category="suggested", teams={"support": "cx"}, currency="EUR")


def test_names_are_those_of_the_catalogue() -> None:
    """What the core takes for a name is what the configuration takes for one."""
    assert (ID.pattern, NAME.pattern, PURPOSE.pattern) == (
        values._ID.pattern,
        values._NAME.pattern,
        values._PURPOSE.pattern,
    )


def test_a_service_that_is_not_known_is_proposed_as_narrow_as_it_was_used() -> None:
    """Its operations, variants and purposes are those that were seen, and nobody is made its owner."""
    used = {"id": "search", "operation": "find", "variant": ""}
    text, written_rules = written(watched([entry(1, resource=used, reasons=UNKNOWN)]))

    assert YAML(typ="safe").load(text) == {
        "services": {"search": {"owner": "TODO", "operations": ["find"], "purposes": ["support"]}},
        "prices": [{"match": "search/", "unit": "call", "amount": "TODO", "currency": "EUR"}],
    }
    assert [each.id for rule in written_rules for each in rule.accesses] == ["search"]


@pytest.mark.parametrize(
    "reasons",
    [
        [("flow.clearance", "flow_label_exceeds_clearance")],
        [("halts.halted", "halted")],
        [("access.service", "role_not_granted")],
        [("custom.cx.hours", "closed")],
        [("custom.cx.hours", "default_deny")],
        [("remit", "context_invalid")],
        [*UNKNOWN, ("flow.clearance", "flow_label_exceeds_clearance")],
        [*UNKNOWN, ("halts.halted", "halted")],
        [("access.hosted", "hosted_tool_not_listed")],
        [("budgets.room", "budget_exhausted")],
        [("made.up", "no_such_code")],
    ],
)
def test_what_protects_is_never_suggested_away(reasons: list[tuple[str, str]]) -> None:
    """It stays, with what would change it, and no rule allows it."""
    found = watched([entry(1, resource={"id": "search"}, labels=["pii"], reasons=reasons)])
    proposal = propose(found.groups(), CATALOGUE)

    assert proposal.accesses == []
    assert proposal.admitted == []
    assert [each.changes != () for each in proposal.stays] == [True]


def test_the_order_of_the_journal_changes_nothing_but_times() -> None:
    """The same records in another order make the same files."""
    entries = [entry(n, resource={"id": f"s{n % 7}", "variant": ""}, reasons=UNKNOWN) for n in range(1, 50)]
    shuffled = random.Random(1).sample(entries, len(entries))

    assert written(watched(entries)) == written(watched(shuffled))


def test_costs_are_those_that_were_reported_last() -> None:
    """A late settlement replaces a presumption; what never ended counts as reserved."""
    found = watched(
        [
            entry(1, reserved="100", deadline="9"),
            entry(2, reserved="100", deadline="9"),
            _row("lapse", "l1", 3, {"state": "lapsed", "cost": "100"}, ref="d1"),
            _row("report", "r1", 4, {"state": "settled", "cost": "30"}, ref="d1"),
        ]
    )

    assert [each.cost for each in found.groups()] == [130]
    assert dearest_days(found.spent()) == [("support", 130)]


def test_ten_thousand_resources_are_bounded() -> None:
    """Kinds, accesses and lines have an end, and what is left out is counted."""
    found = watched([entry(n, resource={"id": f"s{n}", "variant": ""}, reasons=UNKNOWN) for n in range(1, 10_001)])
    text, made = written(found)

    assert len(found.groups()) == MAX_GROUPS
    assert found.left_out == 10_000 - MAX_GROUPS
    assert not found.whole
    assert [len(rule.accesses) for rule in made] == [MAX_ACCESSES]
    assert [rule.left_out for rule in made] == [MAX_GROUPS - MAX_ACCESSES]
    assert len(YAML(typ="safe").load(text)["services"]) == MAX_GROUPS
    stays = watched([entry(n, resource={"id": f"s {n}"}, reasons=UNKNOWN) for n in range(1, 1000)])
    assert written(stays)[0].count("\n#") < MAX_TOLD + 20


def test_decisions_beyond_the_bound_are_counted() -> None:
    """What is not looked at is told: nobody is ready by it."""
    found = Observed(0, most=3)
    for number in range(1, 6):
        found.add(entry(number))

    assert (found.decisions, found.unread, found.whole) == (3, 2, False)


def intact(hostile: str) -> None:
    """What is written for a hostile name, wherever it stands: YAML with nothing of its own in it, one rule's Rego."""
    entries = [entry(1)]
    for number, key in enumerate(("id", "operation", "variant", "type"), 2):
        entries.append(entry(number, resource={"variant": "", key: hostile}, reasons=UNKNOWN))
        entries.append(entry(number + 10, resource={key: hostile}))
    entries += [
        entry(30, purpose=hostile, reasons=[("purposes.granted", "purpose_not_granted")]),
        entry(31, agent=hostile),
        entry(32, action=hostile),
        entry(33, labels=[hostile], resource={"id": "new", "variant": ""}, reasons=[*UNKNOWN, FLOW]),
        entry(34, reasons=[(hostile, hostile)]),
    ]
    found = watched(entries)
    proposal = propose(found.groups(), CATALOGUE)
    text = fragment(proposal, period="24h", currency="EUR", days=[(hostile, 10)])
    parsed = YAML(typ="safe").load(text)
    assert set(parsed) <= {"services", "datasets", "prices"}
    assert all(each["owner"] == "TODO" for each in parsed["services"].values())
    assert all(set(each) <= {"owner", "operations", "variants", "purposes"} for each in parsed["services"].values())
    assert all(line.isprintable() for line in text.split("\n"))
    for rule in rule_texts(proposal, category="suggested", teams={}, currency="EUR"):
        assert re.fullmatch(r"[a-z][a-z0-9_]*", rule.name)
        for words in (rule.text, rule.test):
            assert all(line.replace("\t", "").isprintable() for line in words.split("\n"))
            bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', re.sub(r"#[^\n]*", "", words))
            assert re.fullmatch(r"[\x20-\x7e\t\n]*", bare)
        assert re.sub(r'"(?:[^"\\]|\\.)*"', '""', re.sub(r"#[^\n]*", "", rule.text)).count("allow contains") == 1
        for access, line in zip(rule.accesses, re.findall(r"^\t(\[.*\]),$", rule.text, re.MULTILINE), strict=True):
            assert json.loads(line) == [
                access.type,
                access.id,
                access.operation,
                access.variant,
                access.purpose,
                access.actor,
            ]


FLOW = ("flow.clearance", "flow_label_exceeds_clearance")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_names_stay_names(hostile: str) -> None:
    """Newlines, syntax and control characters are quoted or escaped, and what is written parses."""
    intact(hostile)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80))
def test_any_text_stays_a_name(hostile: str) -> None:
    """The same for whatever text."""
    intact(hostile)


@pytest.mark.parametrize(
    ("module", "name", "bug"),
    [
        (rules, "quoted", lambda text: f'"{text}"'),
        (fragments, "_said", lambda words: words),
        (fragments, "clean", lambda words: words),
    ],
)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, bug: Any) -> None:
    """A name that is written out as it came is noticed."""
    monkeypatch.setattr(module, name, bug)

    with pytest.raises(Exception):  # noqa: B017 - a parser's own, or an assertion
        for hostile in HOSTILE:
            intact(hostile)


def test_a_planted_leak_of_memory_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its bound, the kinds grow with what an agent names."""
    monkeypatch.setattr(observing, "MAX_GROUPS", 10**9)

    with pytest.raises(AssertionError):
        test_ten_thousand_resources_are_bounded()


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    ),
    st.sampled_from(["subject", "action", "resource", "context", "facts", "effect", "reasons", "deadline", "enforced"]),
)
def test_a_body_of_any_shape_is_read(value: Any, key: str) -> None:
    """A record that is not shaped as ours raises nothing."""
    whole = entry(1)
    found = watched([_row("decision", "d1", 1, {**whole.body, key: value}), _row("decision", "d2", 2, {key: value})])

    written(found)


def test_what_is_sealed_is_seen_at_any_depth() -> None:
    """Arguments of which a part is sealed are not asked with."""
    seal = {"hmac": "00", "type": "string", "size": 2}

    assert sealed({"context": {"arguments": {"a": [{"b": seal}]}}})
    assert sealed({"context": {"arguments": seal}})
    assert not sealed({"context": {"arguments": {"a": [1, "x"]}}})
