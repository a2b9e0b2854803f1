"""What a new rule and a new view look like: small, working, formatted, with their tests."""

from __future__ import annotations

from remit.core.dataset import Dataset

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

# What is added to `deny` denies, to `allow` allows where nothing denies, to `hold` waits: {{"code": ..., "approval":
# {{"roles": [...]}}}}, with what it needs of supervisor, quorum, bind, uses, cost, ttl, wait and alternative.
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


_VIEW = """\
# METADATA
# title: What agents see of {dataset}
# description: Whose role it is sees every row, but nothing of what is labelled. Change it to what you mean.
# schemas:
#   - input: schema.views.{dataset}
# custom:
#   owner: {owner}
package remit.views.{dataset}

# The rows: a table that no rule includes shows none. `input.resource.operation` is the table that is asked about; of
# its rows the columns can be compared, as in `input.{table}.{column} == input.subject.team`.
include if {{
	input.resource.operation in {tables}
	"{role}" in input.subject.roles
}}
"""
_MASKS = """
# What stands in place of a column: replace.value, hash, partial, bucket, round or tokenize. None: the column itself.
{masks}
"""
_VIEW_TEST = """\
# METADATA
# title: Tests of what agents see of {dataset}
package remit.views.{dataset}_test

import data.remit.views.{dataset}

test_included_for_the_role if {dataset}.include with input as _asking(["{role}"])

test_not_included_for_others if not {dataset}.include with input as _asking([])

# A row of {table} that the role is shown: where rules compare columns, give it the values that they ask for.
_row := {{
{row}
}}

# Who asks, for what; of the input only what rules are likely to read. data.remit.testing.view builds whole ones.
_asking(roles) := {{
	"subject": {{"id": "{agent}", "team": "{team}", "roles": roles}},
	"resource": {{"operation": "{table}"}},
	"context": {{"purpose": "{purpose}"}},
	"{table}": _row,
}}
"""


def view_text(name: str, dataset: Dataset, *, owner: str, role: str) -> str:
    """The file of a dataset's view, for those with the role. The dataset has a table with a column."""
    names = {"dataset": name, "owner": owner, "role": role, **_example(dataset)}
    quoted = ", ".join(f'"{table}"' for table in dataset.tables)
    masks = [
        f"masks.{table}.{column}.hash := {{}}"
        for table, each in dataset.tables.items()
        for column, labels in each.columns.items()
        if labels
    ]
    text = _VIEW.format(tables=f"{{{quoted}}}", **names)
    return text + _MASKS.format(masks="\n\n".join(masks)) if masks else text


def view_test_text(name: str, dataset: Dataset, *, role: str, asker: tuple[str, str, str]) -> str:
    """The file of its test; `asker` is an agent, its team and its purpose."""
    example = _example(dataset)
    row = "\n".join(f'\t"{column}": "",' for column in dataset.tables[example["table"]].columns)
    agent, team, purpose = asker
    return _VIEW_TEST.format(dataset=name, role=role, row=row, agent=agent, team=team, purpose=purpose, **example)


def _example(dataset: Dataset) -> dict[str, str]:
    """A table that has columns, and one of them."""
    table, each = next((name, each) for name, each in dataset.tables.items() if each.columns)
    return {"table": table, "column": next(iter(each.columns))}


def _title(name: str) -> str:
    return name.replace("_", " ").strip().capitalize()
