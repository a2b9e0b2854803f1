"""Who saw whom: people who may read everything ask for one subject, and nobody else."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from fakes.commits import START
from fakes.loop import in_loop
from fakes.world import OPERATOR, catalogue, subject
from remit.core.dataset import Dataset, Table
from remit.core.effect import Commit, Record, SeeSubjects
from remit.core.errors import Forbidden, NotFound
from remit.core.model import Subject
from remit.core.view.subjects import subject_hash
from remit.pep.pipeline import Pipeline
from remit.pep.world import World
from remit.ports import Sight

CRM = Dataset(tables={"customers": Table({"id": ()}, subject_key="id"), "orders": Table({"id": ()})})


async def seen(world: World, decision: str, *keys: str) -> None:
    """A decision whose answer told of the customers with these keys."""
    for id, effects in ((decision, ()), (f"rows_{decision}", (_seen(world, decision, keys),))):
        record = Record("decision", id, START, "analysis", "", "", "", b"{}", b"salt" * 4)
        await world.store.commit(Commit(record, effects))


def _seen(world: World, decision: str, keys: tuple[str, ...]) -> SeeSubjects:
    hashes = tuple(subject_hash("crm", "customers", key, world.hmac) for key in keys)
    return SeeSubjects(decision, "crm.customers", Sight.RETURNED, hashes)


def with_crm(world: World) -> None:
    world.installation = replace(world.installation, catalogue=catalogue(datasets={"crm": CRM}))


@in_loop
async def test_who_saw_a_subject_is_found_by_its_key(world: World, pipeline: Pipeline) -> None:
    """The same hash is made of the key as when it was recorded; another key, or table, is another subject."""
    with_crm(world)
    await seen(world, "d_1", "4711", "12")
    await seen(world, "d_2", "4711")

    found = await pipeline.who(OPERATOR, "crm", "customers", "4711", 10)
    assert [(each.decision.record.id, each.decision.record.subject) for each in found] == [
        ("d_2", "analysis"),
        ("d_1", "analysis"),
    ]
    assert len(await pipeline.who(OPERATOR, "crm", "customers", "4711", 1)) == 1
    assert await pipeline.who(OPERATOR, "crm", "customers", "04711", 10) == ()


@pytest.mark.parametrize(
    "who", [subject("analysis"), replace(OPERATOR, roles=("approver",)), replace(OPERATOR, roles=())], ids=str
)
@in_loop
async def test_only_auditors_and_operators_may_ask(world: World, pipeline: Pipeline, who: Subject) -> None:
    """An agent may not even where it is the one that saw them."""
    with_crm(world)
    await seen(world, "d_1", "4711")
    with pytest.raises(Forbidden):
        await pipeline.who(who, "crm", "customers", "4711", 10)

    assert await pipeline.who(replace(OPERATOR, roles=("auditor",)), "crm", "customers", "4711", 10)


@in_loop
async def test_a_table_whose_subjects_are_not_recorded_is_told(world: World, pipeline: Pipeline) -> None:
    """Silence would be taken for nobody; the tables that could have been meant are named, the key is not."""
    with_crm(world)
    for dataset, table, told in (
        ("crm", "orders", "expected one of crm.customers"),
        ("crm", "customer", "did you mean crm.customers?"),
        ("crn", "customers", "did you mean crm.customers?"),
        ("", "customer", "did you mean customers?"),
        ("", "orders", "expected one of customers"),
    ):
        with pytest.raises(NotFound, match=re.escape(told)) as caught:
            await pipeline.who(OPERATOR, dataset, table, "4711", 10)
        assert "4711" not in str(caught.value)


@in_loop
async def test_a_table_of_one_dataset_needs_no_other_name(world: World, pipeline: Pipeline) -> None:
    """Of two datasets with such a table, which of them is asked."""
    with_crm(world)
    await seen(world, "d_1", "4711")
    assert len(await pipeline.who(OPERATOR, "", "customers", "4711", 10)) == 1

    world.installation = replace(world.installation, catalogue=catalogue(datasets={"crm": CRM, "old": CRM}))
    with pytest.raises(NotFound, match="customers is a table of crm, old: name the dataset too"):
        await pipeline.who(OPERATOR, "", "customers", "4711", 10)


@in_loop
async def test_what_was_recorded_outlives_its_table(world: World, pipeline: Pipeline) -> None:
    """A table that has left the catalogue is asked about as before."""
    with_crm(world)
    await seen(world, "d_1", "4711")
    world.installation = replace(world.installation, catalogue=catalogue())

    assert len(await pipeline.who(OPERATOR, "crm", "customers", "4711", 10)) == 1
    with pytest.raises(NotFound, match="expected one of none"):
        await pipeline.who(OPERATOR, "crm", "customers", "12", 10)
