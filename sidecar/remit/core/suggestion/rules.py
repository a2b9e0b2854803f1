"""The rules of a suggestion: for each agent and action one that allows what was observed, and nothing beside it.

What the library's `access` rules allow anyway, such a rule allows again; where these are switched off, it is what an
agent has. It only adds to `allow`: every denial and every hold beats it. Names stand in it as JSON writes them, in
ASCII.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from remit.core.suggestion.fragment import evidence
from remit.core.suggestion.observed import Access, Seen
from remit.core.suggestion.proposal import Proposal

MAX_ACCESSES = 500
_MAX_SLUG = 40
_NO_WORD = re.compile(r"[^a-z0-9]+", re.ASCII)
_TEAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_MOST_TESTED = 20

_RULE = """\
# METADATA
# title: What an agent was seen to do ({action})
# description: Suggested from what was observed. Every denial and every hold beats it. Take out what is not meant.
# schemas:
#   - input: schema.input
# custom:
#   owner: {owner}
#   codes:
#     observed: "{{subject.id}} was seen to {{action.name}} {{resource.ref}}"
package remit.custom.{category}.{name}

allow contains "observed" if {{
	input.subject.type == "agent"
	input.subject.id == {agent}
	input.action.name == {quoted}
	_asked in _observed
}}

_asked := [
	input.resource.type,
	input.resource.id,
	input.resource.operation,
	input.resource.variant,
	input.context.purpose,
	input.subject.actor,
]

# Type, id, operation, variant, purpose and actor.
_observed := {{
{accesses}}}
"""
_TEST = """\
# METADATA
# title: Tests of what an agent was seen to do ({action})
package remit.custom.{category}.{name}_test

import data.remit.custom.{category}.{name}

test_what_was_observed_is_allowed if {{
	every access in _observed {{
		{name}.allow == {{"observed"}} with input as _asking({agent}, access)
	}}
}}

test_nothing_else_is if {{
	every access in _observed {{
		every place in numbers.range(0, count(access) - 1) {{
			changed := [value | some index, part in access; value := _changed(index == place, part)]
			{name}.allow == set() with input as _asking({agent}, changed)
		}}
	}}
}}

test_nobody_else_is if {{
	every access in _observed {{
		{name}.allow == set() with input as _asking({other}, access)
	}}
}}

_changed(true, part) := concat("", [part, "?"])

_changed(false, part) := part

_asking(agent, access) := {{
	"subject": {{"type": "agent", "id": agent, "actor": access[5]}},
	"action": {{"name": {quoted}}},
	"resource": {{"type": access[0], "id": access[1], "operation": access[2], "variant": access[3]}},
	"context": {{"purpose": access[4]}},
}}

_observed := [
{accesses}]
"""


@dataclass(frozen=True, slots=True)
class RuleText:
    """A rule's name, its file and its test's; `accesses` are those that it allows, `left_out` how many it has not."""

    name: str
    text: str
    test: str
    accesses: tuple[Access, ...]
    left_out: int


def rule_texts(proposal: Proposal, *, category: str, teams: Mapping[str, str], currency: str) -> list[RuleText]:
    """One for each agent and action, in order; `teams` are those of the agents."""
    seen: dict[Access, list[Seen]] = {}
    for each in proposal.admitted:
        seen.setdefault(each.access, []).append(each)
    accesses: dict[tuple[str, str], list[Access]] = {}
    for access in proposal.accesses:
        accesses.setdefault((access.agent, access.action), []).append(access)
    taken: set[str] = set()
    found = []
    for (agent, action), those in accesses.items():
        name = _free(f"{_slug(agent)}_{_slug(action)}", taken)
        shown = those[:MAX_ACCESSES]
        words = {
            "category": category,
            "name": name,
            "action": _slug(action),
            "quoted": quoted(action),
            "agent": quoted(agent),
        }
        team = teams.get(agent, "")
        rule = _RULE.format(
            owner=team if _TEAM.fullmatch(team) else category,
            accesses="".join(line for each in shown for line in _lines(each, seen[each], currency)),
            **words,
        )
        tested = "".join(f"\t{_array(each)},\n" for each in shown[:_MOST_TESTED])
        test = _TEST.format(other=quoted(f"{agent}?"), accesses=tested, **words)
        found.append(RuleText(name, rule, test, tuple(shown), len(those) - len(shown)))
    return found


def quoted(text: str) -> str:
    """A Rego string: JSON's, in ASCII."""
    return json.dumps(text)


def _lines(access: Access, seen: Sequence[Seen], currency: str) -> Iterator[str]:
    yield f"\t# {evidence(seen, currency)}\n"
    yield f"\t{_array(access)},\n"


def _array(access: Access) -> str:
    parts = (access.type, access.id, access.operation, access.variant, access.purpose, access.actor)
    return f"[{', '.join(map(quoted, parts))}]"


def _slug(text: str) -> str:
    return _NO_WORD.sub("_", text.lower())[:_MAX_SLUG].strip("_") or "unnamed"


def _free(name: str, taken: set[str]) -> str:
    """A package's name that no other rule has; two agents may differ in a dash alone."""
    base = name if name[0].isalpha() else f"agent_{name}"
    free, number = base, 2
    while free in taken:
        free, number = f"{base}_{number}", number + 1
    taken.add(free)
    return free
