"""Every rule's package by name, as Rego: what the entry point asks.

Written out, because finding the packages in each decision (`data.remit.rules[category][rule]`) costs half as much
again as the whole library does.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

SETS = ("allow", "deny", "hold", "oblige", "record")
"""What a rule's package may add to."""

_LIBRARY_HEAD = """# METADATA
# title: The rules, by name
# description: Generated; see core/dispatch.py.
package remit.dispatch
"""
# A package's metadata stands in one of its files alone.
_CUSTOM_HEAD = "# Generated; see core/dispatch.py.\npackage remit.dispatch\n"

# The level is looked up last, and so only for a rule that has something to say. One that is not named there is on.
_LIBRARY = """
{kind} contains {made} if {{{about}
	some said in data.remit.rules.{policy}.{kind}
	not data.remit.config.rules["{policy}"].level == "off"
}}
"""
# Those whose every rule is about some actions alone are not even asked about others: OPA indexes such a line.
_ABOUT = "\n\tinput.action.name {actions}"
_CUSTOM = """
{kind} contains {made} if {{
	some said in data.remit.{policy}.{kind}
}}
"""
# A set that nobody adds to is there all the same: were it undefined, it would take the decision with it.
_EMPTY = """
{kind} contains said if some said in []
"""
_MADE = {
    "allow": '{{"policy": "{policy}", "code": said}}',
    "deny": '{{"policy": "{policy}", "code": said}}',
    "hold": '{{"policy": "{policy}", "hold": said}}',
    "oblige": "said",
    "record": "said",
}
_HEAD = re.compile(rf"^({'|'.join(SETS)}) contains [^\n]*", re.MULTILINE)
_FIRST = re.compile(r"\n\tinput\.action\.name (?:== (\"[a-z.]+\")|in (\{(?:\s*\"[a-z.]+\",?)+\s*\}))\n")
_QUOTED = re.compile(r'"([a-z.]+)"')
_VIEW = """# Generated; see core/dispatch.py.
package remit.viewing["{name}"]

include if {{
	input["~"].shown == "{mark}"
	data.remit.views["{dataset}"].include == true
}}

include if input["~"].hidden == "{mark}"

said := {{
	"masks": {masks},
	"known": [{known}],
}}
"""


def library_dispatch(rules: Mapping[str, Mapping[str, Collection[str]]]) -> str:
    """Rego for the library's rules: "flow.clearance" -> the sets that its package adds to, and of each the actions that
    it is about; none where it is about any.

    A rule that `data.remit.config` sets to "off" is not heard; one that it does not name, is.
    """
    parts = [_LIBRARY_HEAD]
    for kind in SETS:
        policies = sorted(policy for policy, kinds in rules.items() if kind in kinds)
        parts += [_heard(kind, policy, rules[policy][kind]) for policy in policies] or [_EMPTY.format(kind=kind)]
    return "".join(parts)


def actions_of(text: str) -> dict[str, frozenset[str]]:
    """The sets that a rule's file, as `opa fmt` writes it, adds to, and of each the actions that it is about.

    It is about some alone where every rule for the set begins by naming them, and else about any: an empty set.
    """
    found: dict[str, list[frozenset[str]]] = {}
    for head in _HEAD.finditer(text):
        first = _FIRST.match(text, head.end())
        named = frozenset(_QUOTED.findall(first[0])) if first else frozenset[str]()
        found.setdefault(head[1], []).append(named)
    return {kind: frozenset().union(*each) if all(each) else frozenset() for kind, each in found.items()}


def custom_dispatch(packages: Iterable[str]) -> str:
    """Rego for users' packages, by their names below `remit`: "custom.cx.hours".

    Each is asked for every set. One that it does not define says nothing; one that is no set does not compile.
    """
    policies = sorted(set(packages))
    return _CUSTOM_HEAD + "".join(_rule(_CUSTOM, kind, policy) for kind in SETS for policy in policies)


def view_name(dataset: str) -> str:
    """The last part of the package that is asked for a dataset's view; never a number: in a path that is none."""
    return f"of_{dataset}"


def view_dispatch(dataset: str, *, mark: str, masks: bool, known: Iterable[str]) -> str:
    """Rego around the view of a dataset, below `remit.viewing`; why it has a mark is told in core/view/ucast.py.

    `include` is what the Compile API is asked for. It does not tell of a built-in function that failed, and so of a
    rule that is undefined for that reason. `said` is asked strictly, and evaluates the masks and every rule of `known`:
    what `include` builds on without reading a row.
    """
    package = f'data.remit.views["{dataset}"]'
    evaluated = ", ".join(f"[true | _ := {package}.{name}]" for name in sorted(set(known)))
    return _VIEW.format(
        name=view_name(dataset),
        mark=mark,
        dataset=dataset,
        masks=f"{package}.masks" if masks else "{}",
        known=evaluated,
    )


def _heard(kind: str, policy: str, actions: Collection[str]) -> str:
    quoted = [f'"{action}"' for action in sorted(actions)]
    about = ""
    if quoted:
        about = _ABOUT.format(actions=f"== {quoted[0]}" if len(quoted) == 1 else f"in {{{', '.join(quoted)}}}")
    return _LIBRARY.format(kind=kind, policy=policy, about=about, made=_MADE[kind].format(policy=policy))


def _rule(template: str, kind: str, policy: str) -> str:
    return template.format(kind=kind, policy=policy, made=_MADE[kind].format(policy=policy))
