"""What a new rule looks like: small, working, formatted, with its test."""

from __future__ import annotations

_RULE = """\
# METADATA
# title: {title}
# description: Whoever writes data says why. Change it to what you mean.
# schemas:
#   - input: schema.input
# custom:
#   owner: {owner}
#   codes:
#     reason_missing: "{{subject.id}} did not say why it writes to {{resource.ref}}"
package remit.custom.{category}.{name}

# Every code that is added to `deny` denies; one added to `allow` allows where nothing denies. To have somebody
# approve first, add {{"code": ..., "approval": {{"roles": [...], "ttl": 3600}}}} to `hold`.
deny contains "reason_missing" if {{
	input.action.name == "data.write"
	input.context.reason == ""
}}
"""
_TEST = """\
# METADATA
# title: Tests of {title}
package remit.custom.{category}.{name}_test

import data.remit.custom.{category}.{name}

test_denied_without_a_reason if {{
	{name}.deny == {{"reason_missing"}} with input as _writing("")
}}

test_silent_with_a_reason if {{
	{name}.deny == set() with input as _writing("the customer moved")
}}

# Of the input only what the rule reads; data.remit.testing builds whole ones.
_writing(reason) := {{"action": {{"name": "data.write"}}, "context": {{"reason": reason}}}}
"""


def rule_text(category: str, name: str, *, owner: str) -> str:
    """The rule's file."""
    return _RULE.format(category=category, name=name, owner=owner, title=_title(name))


def test_text(category: str, name: str) -> str:
    """The test's file."""
    return _TEST.format(category=category, name=name, title=_title(name))


def _title(name: str) -> str:
    return name.replace("_", " ").strip().capitalize()
