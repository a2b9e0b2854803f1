"""The dispatch names every rule's package for each set that it adds to, and nothing else."""

from __future__ import annotations

import pytest
from remit.core.dispatch import SETS, actions_of, custom_dispatch, library_dispatch

EMPTY = "{kind} contains said if some said in []\n"


def rules(text: str) -> list[str]:
    return [part for part in text.split("\n\n")[1:] if part]


def test_a_library_rule_is_heard_unless_it_is_off() -> None:
    assert rules(library_dispatch({"flow.clearance": {"deny": []}}))[1] == (
        'deny contains {"policy": "flow.clearance", "code": said} if {\n'
        "\tsome said in data.remit.rules.flow.clearance.deny\n"
        '\tnot data.remit.config.rules["flow.clearance"].level == "off"\n}'
    )


def test_what_a_rule_says_is_named_by_policy_and_what_it_asks_is_passed_on() -> None:
    heads = [part.split(" if ")[0] for part in rules(library_dispatch({"a.b": dict.fromkeys(SETS, ())}))]
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
    first = library_dispatch({"a.b": {"deny": ["x", "y"], "allow": []}, "c.d": {"deny": []}})
    assert first == library_dispatch({"c.d": {"deny": []}, "a.b": {"allow": [], "deny": ["y", "x"]}})


def test_a_rule_that_is_about_some_actions_is_not_asked_about_others() -> None:
    said = {"deny": ["data.write", "api.call"], "hold": ["api.call"]}
    deny, hold = (part for part in rules(library_dispatch({"a.b": said})) if "a.b" in part)
    assert deny.splitlines()[1] == '\tinput.action.name in {"api.call", "data.write"}'
    assert hold.splitlines()[1] == '\tinput.action.name == "api.call"'


def test_a_set_is_about_the_actions_that_all_its_rules_begin_with() -> None:
    text = """\
package remit.rules.a.b

allow contains "allowed" if {
	input.action.name == "api.call"
	input.resource.owner == "cx"
}

allow contains "also" if {
	input.action.name in {"data.read", "data.write"}
	true
}

deny contains "late" if {
	input.action.name in {
		"data.read", "api.call",
		"data.write",
	}
	true
}

deny contains "never" if {
	input.action.name == "tool.call"
	true
}
"""
    reading = {"api.call", "data.read", "data.write"}
    assert actions_of(text) == {"allow": reading, "deny": reading | {"tool.call"}}


@pytest.mark.parametrize(
    "rule",
    [
        'deny contains "x" if not _known\n',
        'deny contains "x" if input.action.name == "api.call"\n',
        'deny contains "x" if {\n\tnot _known\n\tinput.action.name == "api.call"\n}\n',
        'deny contains "x" if {\n\tinput.action.name != "api.call"\n\ttrue\n}\n',
        'deny contains "x" if {\n\tnot input.action.name in {"api.call"}\n\ttrue\n}\n',
        'deny contains "x" if {\n\tinput.action.name in _actions\n\ttrue\n}\n',
        'deny contains "x" if {\n\tinput.action.name in {"api.call", _other}\n\ttrue\n}\n',
        'deny contains "x" if {\n\tinput.action.name in {"api.call"} | _others\n\ttrue\n}\n',
        'deny contains "x" if {\n\tinput.action.name == "api.call" with input as {}\n\ttrue\n}\n',
        'deny contains "x" if {\n\tinput.action.name in {"api.call", other}\n\ttrue\n}\n',
        'deny contains {\n\t"x",\n} if {\n\tinput.action.name == "api.call"\n\ttrue\n}\n',
        'deny contains "x"\n',
    ],
)
def test_a_set_with_a_rule_that_begins_otherwise_is_about_any_action(rule: str) -> None:
    plain = 'deny contains "y" if {\n\tinput.action.name == "api.call"\n\ttrue\n}\n'
    assert actions_of(f"package a\n\n{plain}")["deny"] == {"api.call"}
    assert actions_of(f"package a\n\n{plain}\n{rule}") == {"deny": set()}


def test_a_user_s_package_is_asked_once_for_every_set() -> None:
    text = custom_dispatch(["custom.cx.hours", "custom.cx.hours"])
    for kind in SETS:
        assert text.count(f"some said in data.remit.custom.cx.hours.{kind}\n") == 1
    assert '"policy": "custom.cx.hours"' in text
    assert "config" not in text


def test_without_users_packages_there_is_a_module_all_the_same() -> None:
    assert custom_dispatch([]) == "# Generated; see core/dispatch.py.\npackage remit.dispatch\n"
