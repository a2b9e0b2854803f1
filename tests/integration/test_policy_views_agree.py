"""A filter shows exactly the rows for which its rules hold: random views, each asked both ways of a real OPA."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from counts import COUNTS, dice
from fakes.loop import in_loop
from fakes.views import OPA, built, document, served
from remit.backends.opa_bundle import Bundle
from remit.core.errors import PolicyFailure
from remit.core.reason import Reason
from remit.core.view.model import Compare, Every, FieldRef, Filter, Not, Some

pytestmark = pytest.mark.opa

TEXTS = ("", "a", "ab", "b", "cx", "support")
NUMBERS = (-1, 0, 1, 2.5, 7)
TEXT_COLUMNS, NUMBER_COLUMNS = ("name", "region", "owner"), ("id", "score")
ROWS = 12
HELPERS = """
known if "support" in input.subject.roles
unknown if input.subject.id == "nobody"
team := lower(input.subject.team)
low(n) if n < 2
low(n) if n == 7
near(text) if text in {"a", "b"}
special if {
	input.customers.region == "a"
	input.customers.owner == "cx"
}
special if input.customers.name == "support"
"""

Row = dict[str, Any]


def condition(chance: random.Random) -> str:
    text, number = f"input.customers.{chance.choice(TEXT_COLUMNS)}", f"input.customers.{chance.choice(NUMBER_COLUMNS)}"
    literal, figure = json.dumps(chance.choice(TEXTS)), json.dumps(chance.choice(NUMBERS))
    sign = chance.choice(("==", "!=", "<", "<=", ">", ">="))
    listed = json.dumps(chance.sample(TEXTS, chance.randint(0, 3)))
    negated = chance.choice(("", "not "))
    return chance.choice(
        (
            f"{negated}{text} {sign} {literal}",
            f"{negated}{number} {sign} {figure}",
            f"{negated}2 {sign} {number}",
            f"{negated}{text} in {listed}",
            f"{negated}startswith({text}, {literal})",
            f"{negated}endswith({text}, {literal})",
            f"{negated}contains({text}, {literal})",
            f"{text} {sign} input.customers.{chance.choice(TEXT_COLUMNS)}",
            f"{text} == team",
            f"{text} == input.subject.roles[_]",
            f"{text} != input.subject.roles[_]",
            f"{negated}special",
            f"low({number})",
            f"near({text})",
            f"{negated}known",
            f"{negated}unknown",
        )
    )


def rules(chance: random.Random) -> str:
    bodies = ("\n\t".join(condition(chance) for _ in range(chance.randint(1, 3))) for _ in range(chance.randint(1, 3)))
    return "\n".join(f"include if {{\n\t{body}\n}}\n" for body in bodies) + HELPERS


def row(chance: random.Random) -> Row:
    return {
        **{name: chance.choice(TEXTS) for name in TEXT_COLUMNS},
        **{name: chance.choice(NUMBERS) for name in NUMBER_COLUMNS},
    }


def holds(filter_: Filter, of: Row) -> bool:
    """Whether a filter shows a row that has no NULL."""
    match filter_:
        case Every():
            return all(holds(part, of) for part in filter_.parts)
        case Some():
            return any(holds(part, of) for part in filter_.parts)
        case Not():
            return not holds(filter_.part, of)
    return compared(filter_, of)


def compared(compare: Compare, of: Row) -> bool:
    found: Any = of[compare.column]
    value: Any = of[compare.value.column] if isinstance(compare.value, FieldRef) else compare.value
    return bool(
        {
            "eq": lambda: found == value,
            "ne": lambda: found != value,
            "lt": lambda: found < value,
            "le": lambda: found <= value,
            "gt": lambda: found > value,
            "ge": lambda: found >= value,
            "in": lambda: found in value,
            "startswith": lambda: found.startswith(value),
            "endswith": lambda: found.endswith(value),
            "contains": lambda: value in found,
        }[compare.operator]()
    )


def included(bundle: Bundle, datasets: list[str], rows: list[Row]) -> dict[str, list[bool]]:
    """What each author's rules say of each row, when all of it is known."""
    inputs = [
        {**document(), "resource": {**document()["resource"], "operation": "customers"}, "customers": each}
        for each in rows
    ]
    hit = "count([1 | data.remit.views.NAME.include with input as each]) > 0"
    said = ", ".join(f'"{name}": [hit | some each in input; hit := {hit.replace("NAME", name)}]' for name in datasets)
    command = [str(OPA), "eval", "--bundle", str(bundle.path), "--stdin-input", "--format", "json", f"{{{said}}}"]
    ran = subprocess.run(command, input=json.dumps(inputs), capture_output=True, text=True, check=True)
    answer: dict[str, list[bool]] = json.loads(ran.stdout)["result"][0]["expressions"][0]["value"]
    return answer


async def disagreements(directory: Path, chance: random.Random, *, planted: bool = False) -> list[str]:
    """The views whose filter shows other rows than the rules say; `planted`: the filter's negations are forgotten."""
    views = {f"v{number}": rules(chance) for number in range(min(COUNTS.examples, 400))}
    table = [row(chance) for _ in range(ROWS)]
    bundle = built(directory, views)
    wanted = included(bundle, list(views), table)
    async with served(directory, bundle) as pdp:
        wrong, asked = [], 0
        for name, text in views.items():
            try:
                (view,) = await pdp.view(name, ["customers"], document(name))
            except PolicyFailure as failure:  # OPA cannot translate it, and so nothing is shown
                assert failure.reason is Reason.POLICY_ERROR
                continue
            asked += 1
            shown = forgetful(view.filter) if planted else view.filter
            if [holds(shown, each) for each in table] != wanted[name]:
                wrong.append(text.removesuffix(HELPERS))
        assert asked > len(views) / 2
    return wrong


def forgetful(filter_: Filter) -> Filter:
    match filter_:
        case Not():
            return forgetful(filter_.part)
        case Every():
            return Every(tuple(map(forgetful, filter_.parts)))
        case Some():
            return Some(tuple(map(forgetful, filter_.parts)))
    return filter_


@in_loop
async def test_a_filter_shows_the_rows_for_which_the_rules_hold(tmp_path: Path) -> None:
    assert await disagreements(tmp_path, dice("views agree")) == []


@in_loop
async def test_a_filter_without_its_negations_is_found(tmp_path: Path) -> None:
    """The bug that is planted."""
    assert await disagreements(tmp_path, random.Random(7), planted=True) != []
