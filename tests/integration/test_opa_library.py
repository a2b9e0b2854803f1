"""The sidecar's documents and the Rego library agree: what one writes the other takes, served by a real OPA."""

from __future__ import annotations

import asyncio
import json
import os
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fakes.loop import in_loop
from hypothesis import given, settings
from hypothesis import strategies as st
from remit.backends.opa_binary import find
from remit.backends.opa_bundle import Sources, build, library_path
from remit.backends.opa_server import OpaServer
from remit.backends.pdp_opa import PdpSettings
from remit.core.decision import PolicyReason
from remit.core.document import input_document
from remit.core.model import (
    BudgetRoom,
    BudgetRow,
    Context,
    Estimate,
    Facts,
    Halt,
    History,
    Identity,
    Link,
    Request,
    Resource,
    ResourceFacts,
    Subject,
)

NANOS = st.integers(-(2**63), 2**63 - 1)
TIME = st.integers(0, 2**62)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
TEXTS = st.lists(TEXT, max_size=2).map(tuple)
FREE = st.dictionaries(TEXT, TEXT | st.integers(-9, 9) | st.just(Decimal("0.1")), max_size=2)

REQUESTS = st.builds(
    Request,
    subject=st.builds(Subject, type=TEXT, id=TEXT, team=TEXT, roles=TEXTS, identity=st.builds(Identity, TEXT, TEXT)),
    action=TEXT,
    resource=st.builds(Resource, type=TEXT, id=TEXT, operation=TEXT, variant=TEXT, properties=FREE),
    context=st.builds(Context, TEXT, TEXT, TEXT, TEXT, arguments=FREE, inputs=TEXTS),
)
ROWS = st.builds(BudgetRow, budget=TEXT, scope=TEXT, start=TIME, end=TIME, limit=NANOS)
FACTS = st.builds(
    Facts,
    time=TIME,
    resource=st.builds(
        ResourceFacts,
        known=st.booleans(),
        owner=TEXT,
        labels=TEXTS,
        clearance=TEXTS,
        chain=st.lists(st.builds(Link, TEXT, TEXT, TEXT, st.booleans()), max_size=2).map(tuple),
    ),
    labels=st.dictionaries(TEXT, TEXTS, max_size=2),
    estimate=st.builds(Estimate, st.none() | NANOS, st.dictionaries(TEXT, st.integers(0, 9), max_size=2)),
    budgets=st.lists(st.builds(BudgetRoom, ROWS, NANOS, NANOS, NANOS), max_size=2).map(tuple),
    claims=st.lists(
        st.fixed_dictionaries(
            {"object": TEXT, "holder": TEXT, "workflow": TEXT, "own": st.booleans(), "expires": st.integers(0, 2**40)}
        ),
        max_size=2,
    ).map(tuple),
    acts=st.lists(
        st.fixed_dictionaries({"agent": TEXT, "operation": TEXT, "decision": TEXT, "time": st.integers(0, 2**40)}),
        max_size=2,
    ).map(tuple),
    history=st.builds(History, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
    halts=st.lists(st.builds(Halt, TEXT, TEXT, TEXT, TEXT, TEXT, TIME), max_size=2).map(tuple),
)
TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, Decimal),
}


def misfits(value: Any, schema: dict[str, Any], path: str = "") -> list[str]:
    """Where a value is not as the schema says, as far as the input's schema says anything."""
    wanted = TYPES[schema["type"]]
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        return [f"{path}: {type(value).__name__}"]
    found = []
    if isinstance(value, list) and "items" in schema:
        found = [each for item in value for each in misfits(item, schema["items"], f"{path}/-")]
    if isinstance(value, dict):
        known = schema.get("properties", {})
        found = [f"{path}/{key}: missing" for key in schema.get("required", []) if key not in value]
        other = schema.get("additionalProperties", True)
        for key, item in value.items():
            if key in known:
                found += misfits(item, known[key], f"{path}/{key}")
            elif isinstance(other, dict):
                found += misfits(item, other, f"{path}/{key}")
            elif not other:
                found.append(f"{path}/{key}: unknown")
    return found


SCHEMA = json.loads((library_path() / "schemas" / "input.json").read_text())


@given(REQUESTS, FACTS)
@settings(deadline=None)
def test_every_document_is_as_the_schema_says(request: Request, facts: Facts) -> None:
    assert misfits(input_document(request, facts), SCHEMA) == []


@pytest.mark.parametrize(
    "path", ["facts.budgets", "facts.chain", "facts.history.repeats", "context.time", "subject.identity.method"]
)
def test_the_check_of_this_file_sees_a_field_that_is_missing_or_ill_typed(path: str) -> None:
    document = input_document(BLANK, NOTHING)
    *above, last = path.split(".")
    holder = document
    for name in above:
        holder = holder[name]
    good = holder.pop(last)
    assert misfits(document, SCHEMA) == [f"/{path.replace('.', '/')}: missing"]
    holder[last] = None
    assert len(misfits(document, SCHEMA)) == 1
    holder[last] = good
    assert misfits(document, SCHEMA) == []


BLANK = Request(Subject("", "", "", (), Identity("", "")), "", Resource("", ""), Context())
NOTHING = Facts(time=0, resource=ResourceFacts(known=False))


@pytest.mark.opa
@in_loop
async def test_no_document_is_incomplete_to_the_library(tmp_path: Path) -> None:
    """`context_invalid` is what the library says of an input in which a field is missing, or one too many."""
    opa = find(os.environ).path
    bundle = build(Sources(library_path()), opa, tmp_path)
    server = OpaServer(opa, tmp_path / "opa", input_document(BLANK, NOTHING), asking=PdpSettings(deadline=30))
    await server.start(bundle)
    incomplete = PolicyReason("main", "context_invalid")
    try:
        documents = [input_document(BLANK, NOTHING), *(input_document(*pair) for pair in FULL)]
        for verdict in await asyncio.gather(*(server.pdp.ask(document) for document in documents)):
            assert incomplete not in verdict.reasons
        for path in (("budgets", 0, "elapsed"), ("claims", 0, "own"), ("acts", 0, "agent"), ("history", "repeats")):
            document = deepcopy(input_document(*FULL[0]))
            holder: Any = document["facts"]
            for name in path[:-1]:
                holder = holder[name]
            del holder[path[-1]]
            assert (await server.pdp.ask(document)).reasons == (incomplete,), path
    finally:
        await server.stop()


SECOND = 1_000_000_000
FULL = [
    (
        Request(
            Subject("agent", "support", "cx", ("support",), Identity("token", "support"), actor="node"),
            action,
            Resource("service", "models", "chat", "small", ("a",), {"x": Decimal("1.5")}),
            Context("w_1", "support", "why", "d_1", 2, {"amount": Decimal("0.1"), "n": 10**18}, ("d_0",)),
            usage={"input_token": 5},
            fulfils=frozenset({"mask"}),
        ),
        Facts(
            time=1_700_000_000 * SECOND,
            resource=ResourceFacts(True, "cx", True, "eu", ("pii",), ("pii",), (Link("a", "b", "eu", True),)),
            labels={"pii": ("d_0",)},
            arguments={"/amount": {"labels": ["pii"], "sources": ["d_0"]}},
            estimate=Estimate(1, {"input_token": 5}),
            budgets=(BudgetRoom(BudgetRow("b", "w_1", 0, 2 * 10**18, 5), 2**63 - 1, 1, 0),),
            claims=({"object": "7", "holder": "support", "workflow": "w_1", "own": True, "expires": 1_700_000_060},),
            acts=({"agent": "lead", "operation": "reject", "decision": "d_0", "time": 1_699_999_000},),
            history=History(1, 2, 3),
            halts=(Halt("h", "agent", "other", "ana", "why", SECOND),),
        ),
    )
    for action in ("api.call", "data.read", "message.send", "tool.call", "claim.take", "control.halt")
]
