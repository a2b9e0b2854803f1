"""The dispatch names every rule's package for each set that it adds to, and nothing else."""

from __future__ import annotations

from remit.core.dispatch import SETS, custom_dispatch, library_dispatch

EMPTY = "{kind} contains said if some said in []\n"


def rules(text: str) -> list[str]:
    return [part for part in text.split("\n\n")[1:] if part]


def test_a_library_rule_is_heard_unless_it_is_off() -> None:
    assert rules(library_dispatch({"flow.clearance": ["deny"]}))[1] == (
        'deny contains {"policy": "flow.clearance", "code": said} if {\n'
        "\tsome said in data.remit.rules.flow.clearance.deny\n"
        '\tnot data.remit.config.rules["flow.clearance"].level == "off"\n}'
    )


def test_what_a_rule_says_is_named_by_policy_and_what_it_asks_is_passed_on() -> None:
    heads = [part.split(" if ")[0] for part in rules(library_dispatch({"a.b": SETS}))]
    assert heads == [
        'allow contains {"policy": "a.b", "code": said}',
        'deny contains {"policy": "a.b", "code": said}',
        'hold contains {"policy": "a.b", "hold": said}',
        "oblige contains said",
        "record contains said",
    ]


def test_a_set_that_no_rule_adds_to_is_there_and_empty() -> None:
    text = library_dispatch({})
    assert [EMPTY.format(kind=kind) in text for kind in SETS] == [True] * len(SETS)


def test_the_order_of_rules_does_not_matter() -> None:
    first = library_dispatch({"a.b": ["deny", "allow"], "c.d": ["deny"]})
    assert first == library_dispatch({"c.d": ["deny"], "a.b": ["allow", "deny"]})


def test_a_user_s_package_is_asked_once_for_every_set() -> None:
    text = custom_dispatch(["custom.cx.hours", "custom.cx.hours"])
    for kind in SETS:
        assert text.count(f"some said in data.remit.custom.cx.hours.{kind}\n") == 1
    assert '"policy": "custom.cx.hours"' in text
    assert "config" not in text


def test_without_users_packages_there_is_a_module_all_the_same() -> None:
    assert custom_dispatch([]) == "# Generated; see core/dispatch.py.\npackage remit.dispatch\n"
