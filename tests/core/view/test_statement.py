"""What an agent's statement is taken for: what it uses, what may be recorded of it, and why it is refused."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fakes.statements import DATASET, TABLES, read
from fakes.view_cases import ACCEPTED, REFUSED, text_of
from remit.core.dataset import Table
from remit.core.view.dialects import render
from remit.core.view.model import Condition, Dialect, Statement, Use, ViewRefused
from remit.core.view.statement import parse_statement
from sqlglot import exp


def named(part: Any) -> str:
    return str(part["description"]) if isinstance(part, dict) else str(part)


@pytest.mark.parametrize(("dialect", "case"), REFUSED, ids=named)
def test_what_cannot_be_vouched_for_is_refused_with_what_and_where(dialect: Dialect, case: dict[str, Any]) -> None:
    """The agent is told exactly this."""
    with pytest.raises(ViewRefused) as error:
        read(text_of(case), dialect)
    name = {Dialect.POSTGRES: "PostgreSQL", Dialect.SQLITE: "SQLite"}[dialect]
    assert str(error.value) == case["want"].replace("<database>", name)


def shown(use: Use) -> str:
    """ "customers c (id, name) [id eq]"."""
    conditions = ", ".join(condition(each) for each in use.conditions)
    return f"{use.table} {use.alias} ({', '.join(use.columns)})" + (f" [{conditions}]" if conditions else "")


def condition(each: Condition) -> str:
    return f"{each.column} {each.operator}" + (f" {len(each.operands)}" if each.operator == "in" else "")


@pytest.mark.parametrize(("dialect", "case"), ACCEPTED, ids=named)
def test_a_statement_uses_what_it_can_name(dialect: Dialect, case: dict[str, Any]) -> None:
    """Tables, columns, conditions, plain uses and parameters are as the table says, and each table has its mark."""
    statement = read(case["statement"], dialect)
    assert [shown(use) for use in statement.uses] == case["uses"]
    assert list(statement.plain_uses) == case["plain"]
    assert list(statement.parameters) == case.get("parameters", [])
    assert render(statement.tree, dialect) == case.get("sql", render(statement.tree, dialect))
    marks = {node.meta["use"]: node.name for node in statement.tree.find_all(exp.Table) if "use" in node.meta}
    assert marks == {index: use.table for index, use in enumerate(statement.uses)}


@pytest.mark.parametrize("case", [case for dialect, case in ACCEPTED if dialect is Dialect.POSTGRES], ids=named)
def test_what_is_printed_is_read_as_the_same(case: dict[str, Any]) -> None:
    """A tree, printed and read once more, uses the same and prints the same (in SQLite outputs get names)."""
    once = read(case["statement"], Dialect.POSTGRES)
    again = read(render(once.tree, Dialect.POSTGRES), Dialect.POSTGRES)
    assert (again.uses, again.plain_uses, again.tree) == (once.uses, once.plain_uses, once.tree)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("select 'secret', 42 from customers where id = :id -- 4711", "select ?, ? from customers where id = :id"),
        (
            "SELECT  name\n\tFROM customers /* 'x' */ WHERE id IN (1,-2.5e3);",
            "SELECT name FROM customers WHERE id IN (?,-?)",
        ),
        (
            "select name from customers where name = 'it''s' limit 3",
            "select name from customers where name = ? limit ?",
        ),
    ],
)
def test_what_may_be_recorded_has_no_literal_and_no_comment(text: str, want: str) -> None:
    """Each literal is a question mark; parameters keep their names."""
    assert read(text, Dialect.POSTGRES).normal == want


def test_fields_are_each_column_once_and_a_table_of_which_none_is_named() -> None:
    """`fields` is what the decision is asked for."""
    statement = read(
        "select c.name, d.name from customers c, customers d, (select count(*) from orders) o", Dialect.POSTGRES
    )
    assert statement.fields == ("customers.name", "orders")


def test_a_statement_depends_on_its_arguments_alone() -> None:
    """Read twice it is the same; of another catalogue it is another."""
    text = "select * from customers"
    assert read(text, Dialect.SQLITE).uses == read(text, Dialect.SQLITE).uses
    fewer = parse_statement(text, dataset=DATASET, tables={"customers": Table({"id": ()})}, dialect=Dialect.SQLITE)
    assert fewer.uses == (Use("customers", "customers", ("id",)),)


def test_names_that_a_catalogue_tells_apart_only_by_case_are_told_apart_in_postgresql() -> None:
    """Quoted exactly; without quotes it is the small one."""
    tables = {"t": Table({"a": (), "A": ()})}
    statement = parse_statement('select a, "A", A from t', dataset="d", tables=tables, dialect=Dialect.POSTGRES)
    assert statement.uses[0].columns == ("a", "A")
    assert render(statement.tree, Dialect.POSTGRES) == 'SELECT "a", "A", "a" FROM "t"'


def test_a_deep_statement_can_be_printed_deep_in_a_program() -> None:
    """Whatever is accepted can still be printed and copied with half of Python's frames gone."""
    texts = [
        f"select {'(' * 20}1{')' * 20}",
        f"select {'case when true then ' * 20}1{' end' * 20}",
        f"select {'not ' * 40}true",
        f"select * from {'(select * from ' * 20}customers{') x' * 20}",
    ]

    def deep(statement: Statement, frames: int) -> str:
        if frames:
            return deep(statement, frames - 1)
        return render(statement.tree.copy(), Dialect.POSTGRES)

    for text in texts:
        assert deep(read(text, Dialect.POSTGRES), 500)


def test_a_typical_statement_is_read_in_a_few_milliseconds() -> None:
    """The best of many, so that the machine's other work does not count: 3 ms are meant, 15 are too many anywhere."""
    text = (
        "select c.name, o.placed, o.amount from customers c join orders o on o.customer_id = c.id "
        "where c.region = 'eu' and o.placed >= :since and o.amount > 1000 order by o.amount desc limit 20"
    )
    times = []
    for _ in range(30):
        start = time.perf_counter()
        read(text, Dialect.POSTGRES)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.015


def test_tables_of_the_dataset_are_listed_to_who_names_another() -> None:
    """The nearest first."""
    with pytest.raises(ViewRefused) as error:
        read("select 1 from order", Dialect.SQLITE)
    assert error.value.expected == f"a table of crm: orders, {', '.join(sorted(set(TABLES) - {'orders'}))}"
