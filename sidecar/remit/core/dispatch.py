"""The list of all rules as Rego: main asks each package by name.

Written out, because finding packages at run time (`data.remit.rules[category][rule]`) keeps OPA from indexing them,
and costs several times as much for every decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SETS = ("allow", "deny", "hold", "oblige", "record")
"""What a rule's package may add to."""

_LIBRARY_HEAD = """# METADATA
# title: The rules, by name
# description: Generated; see core/dispatch.py.
package remit.dispatch
"""
# A package's metadata stands in one of its files alone.
_CUSTOM_HEAD = "# Generated; see core/dispatch.py.\npackage remit.dispatch\n"

_LIBRARY = """
{kind} contains {made} if {{
	not data.remit.config.rules["{policy}"].level == "off"
	some said in data.remit.rules.{policy}.{kind}
}}
"""
_CUSTOM = """
{kind} contains {made} if {{
	some said in data.remit.{policy}.{kind}
}}
"""
_MADE = {
    "allow": '{{"policy": "{policy}", "code": said}}',
    "deny": '{{"policy": "{policy}", "code": said}}',
    "hold": '{{"policy": "{policy}", "hold": said}}',
    "oblige": "said",
    "record": "said",
}


def library_dispatch(rules: Mapping[str, Iterable[str]]) -> str:
    """Rego for the library's rules: "flow.clearance" -> the sets that its package adds to.

    A rule that `data.remit.config` sets to "off" is not asked; one that it does not name, is.
    """
    parts = [
        _LIBRARY.format(kind=kind, policy=policy, made=_MADE[kind].format(policy=policy))
        for policy, kinds in sorted(rules.items())
        for kind in SETS
        if kind in kinds
    ]
    # Each set is there, if only to be empty: one that is undefined would take the decision with it.
    empty = [f"\n{kind} contains said if some said in []\n" for kind in SETS]
    return _LIBRARY_HEAD + "".join(empty + parts)


def custom_dispatch(packages: Iterable[str]) -> str:
    """Rego for users' packages, by their names below `remit`: "custom.cx.hours"."""
    parts = [
        _CUSTOM.format(kind=kind, policy=policy, made=_MADE[kind].format(policy=policy))
        for policy in sorted(set(packages))
        for kind in SETS
    ]
    return _CUSTOM_HEAD + "".join(parts)
