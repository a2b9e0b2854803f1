"""Views that users write, asked of a real OPA: the filter and the masks that they mean, or a failure, never more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.fake_opa import ALLOW, REVISION, Behaviour, Exchange, FakeOpa, answer, http
from fakes.loop import in_loop
from fakes.views import OPA, TABLES, built, document, package, served, sources
from remit.backends.opa_bundle import BundleInvalid, build, check, library_path, run_tests
from remit.backends.opa_http import dial_socket
from remit.backends.opa_server import OpaServer, ServerSettings
from remit.backends.opa_views import CONNECTIONS, DatasetViews
from remit.backends.pdp_opa import OpaPdp, PdpSettings
from remit.core.decision import Effect
from remit.core.errors import PolicyFailure
from remit.core.reason import Reason
from remit.core.view.model import EVERY_ROW, TableView, ViewInvalid, ViewRefused
from remit.core.view.shown import filter_text, mask_text
from ruamel.yaml import YAML

pytestmark = pytest.mark.opa

UNHURRIED = PdpSettings(deadline=10)
CASES = Path(__file__).parents[1] / "cases"


def cases() -> dict[str, dict[str, Any]]:
    """By the name of the dataset that each case is of."""
    loaded = YAML(typ="safe").load((CASES / "view_policies.yaml").read_text())
    return {f"case{number}": case for number, case in enumerate(loaded)}


def faults() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = YAML(typ="safe").load((CASES / "view_faults.yaml").read_text())
    return loaded


async def found(pdp: OpaPdp, dataset: str, table: str, given: dict[str, Any]) -> dict[str, Any]:
    """What a view comes to, as the cases write it."""
    try:
        (view,) = await pdp.view(dataset, [table], document(dataset, **given))
    except ViewInvalid as invalid:
        return {"invalid": str(invalid).replace(dataset, "DATASET")}
    except PolicyFailure as failure:
        return {"failed": failure.reason.value}
    masks = {column: mask_text(mask).replace(dataset, "DATASET") for column, mask in view.masks.items()}
    return {"filter": filter_text(view.filter)} | ({"masks": masks} if masks else {})


@in_loop
async def test_each_view_has_the_filter_and_masks_that_it_means(tmp_path: Path) -> None:
    bundle = built(tmp_path, {dataset: case["view"] for dataset, case in cases().items()})
    async with served(tmp_path, bundle) as pdp:
        wrong = {}
        for dataset, case in cases().items():
            got = {table: await found(pdp, dataset, table, case.get("given", {})) for table in case["want"]}
            if got != case["want"]:
                wrong[case["description"]] = got
        assert wrong == {}


@pytest.mark.parametrize("case", faults(), ids=lambda case: case["description"])
def test_what_no_view_can_be_made_of_is_told_with_its_line(tmp_path: Path, case: dict[str, Any]) -> None:
    head = package("crm", "").count("\n")
    with pytest.raises(BundleInvalid) as refused:
        built(tmp_path, {"crm": case["view"].replace("DATASET", "crm")})
    found = [
        (problem.line - head if problem.line else 0, problem.message.replace("views.crm", "views.DATASET"))
        for problem in refused.value.problems
    ]
    line, _, told = case["want"].partition(": ")
    assert any(at == int(line) and message.startswith(told) for at, message in found), found
    assert {Path(problem.file).name for problem in refused.value.problems} == {"crm.rego"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("package remit.views.cmr\n", "1: found a view of cmr, expected a dataset of the catalogue: did you mean crm?"),
        ("\n# x\npackage remit.views\n", "3: expected a package remit.views.DATASET or one below remit.custom"),
        ("package remit.views.crm.more\n", "1: expected a package remit.views.DATASET or one below remit.custom"),
        ("package remit.viewing\n", "1: expected a package remit.views.DATASET or one below remit.custom"),
        ("package remit.views.crm_test\n", "1: found a view of crm_test, expected a dataset of the catalogue"),
        ("package remit.views.crm\n\ninclude if {\n", "4: rego_parse_error: unexpected eof token"),
    ],
)
def test_a_package_that_may_not_be_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    made = sources(tmp_path, {"crm": package("crm", "include if true\n")}, more=text)
    with pytest.raises(BundleInvalid) as refused:
        build(made, OPA, tmp_path)
    assert f"more.rego:{told}" in str(refused.value)


def test_a_table_called_like_a_part_of_the_input_has_no_view(tmp_path: Path) -> None:
    made = sources(tmp_path, {"crm": package("crm", "include if true\n")})
    tables = {"subject": {"columns": {"id": []}, "subject_key": ""}}
    catalogue = {**made.catalogue, "datasets": {"crm": {**made.catalogue["datasets"]["crm"], "tables": tables}}}
    with pytest.raises(BundleInvalid, match="the table subject of crm is called like a part of the input"):
        build(replace(made, catalogue=catalogue), OPA, tmp_path)


@pytest.mark.parametrize(
    ("rules", "reads"),
    [
        ('include if input.customers.region == "eu"', False),
        ("include if input.context.time > 1", True),
        ("include if true\nmasks.customers.email.hash := {} if input.context.time > 1", True),
        ("include if day == 1\nday := time.clock(input.context.time)[0]", True),
        ("import input.context as now\ninclude if now.time > 1", True),
        ('import input.context as now\ninclude if now.purpose == "support"', False),
        ("include if count(input.context) > 1", True),
        ("include if {\n  some part\n  input.context[part] == 1\n}", True),
        ("include if true\nunused if input.context.time > 1", True),
    ],
)
def test_a_view_that_may_read_the_time_is_known(tmp_path: Path, rules: str, reads: bool) -> None:
    """Whatever is not certain counts as reading it."""
    assert built(tmp_path, {"crm": rules}).views["crm"].reads_time is reads


@in_loop
async def test_a_dataset_without_a_view_shows_nothing_and_may_read_the_time(tmp_path: Path) -> None:
    async with served(tmp_path, built(tmp_path, {"crm": "include if true"})) as pdp:
        assert not pdp.reads_time("crm")
        assert pdp.reads_time("web")
        with pytest.raises(ViewRefused, match=r"no view of web is written, expected a package remit\.views\.web"):
            await pdp.view("web", ["customers"], document("web"))
        with pytest.raises(ViewRefused, match="the table 'nothing', expected a table of the catalogue"):
            await pdp.view("crm", ["nothing"], document())


@in_loop
async def test_tables_are_asked_about_by_their_own_names(tmp_path: Path) -> None:
    """Whatever operation the document had; and the views come in the order of the tables."""
    rules = 'include if {\n  input.resource.ref == "crm/orders"\n  input.resource.operation == "orders"\n}'
    async with served(tmp_path, built(tmp_path, {"crm": rules})) as pdp:
        views = await pdp.view("crm", ["orders", "customers"], document(resource={"operation": "read", "ref": "x"}))
        assert [(view.table, filter_text(view.filter)) for view in views] == [
            ("orders", "every row"),
            ("customers", "no row"),
        ]


@in_loop
async def test_no_view_is_taken_from_an_opa_that_serves_another_bundle(tmp_path: Path) -> None:
    """Neither masks, which say their revision, nor a filter, whose mark is of what the bundle was made of."""
    ours = built(tmp_path / "ours", {"crm": 'include if input.customers.region == "eu"'})
    theirs = built(tmp_path / "theirs", {"crm": "include if true"})
    none = built(tmp_path / "none", {"web": "include if true"})
    for bundle, name in ((theirs, "t"), (none, "n")):
        async with served(tmp_path / name, bundle) as pdp:
            assert pdp.revision != ours.revision
            socket = tmp_path / name / "opa" / "opa-1.sock"
            for revision in (ours.revision, bundle.revision):
                other = OpaPdp(dial_socket(socket), revision, UNHURRIED, ours.views)
                with pytest.raises(PolicyFailure) as failed:
                    await other.view("crm", ["customers"], document())
                assert failed.value.reason in (Reason.PDP_UNAVAILABLE, Reason.POLICY_UNDEFINED)
                await other.close()


@in_loop
async def test_a_reload_changes_views_with_their_revision(tmp_path: Path) -> None:
    first, second = (
        built(tmp_path / name, {"crm": f'include if input.customers.region == "{name}"'}) for name in ("eu", "uk")
    )
    server = OpaServer(OPA, tmp_path / "opa", document(), settings=ServerSettings(linger=0.1))
    await server.start(first)
    try:
        before = server.pdp
        await server.reload(second)
        for pdp, region in ((before, "eu"), (server.pdp, "uk")):
            (view,) = await pdp.view("crm", ["customers"], document())
            assert filter_text(view.filter) == f"region = '{region}'"
    finally:
        await server.stop()


def test_the_revision_changes_with_a_view(tmp_path: Path) -> None:
    first, second = (
        built(tmp_path / name, {"crm": f'include if input.customers.region == "{name}"'}) for name in ("eu", "uk")
    )
    assert first.revision != second.revision
    assert first.views["crm"].mark != second.views["crm"].mark


def test_users_tests_of_views_are_run_with_the_builder(tmp_path: Path) -> None:
    """One that fails is told with its file and line."""
    text = (
        "package remit.views.crm_test\n\nimport data.remit.testing\nimport data.remit.views.crm\n\n"
        'shown(row) := testing.view("crm", "customers", {"customers": row})\n\n'
        'test_own_region if crm.include with input as shown({"region": "cx"})\n\n'
        'test_other_region if not crm.include with input as shown({"region": "uk"})\n\n'
        'test_masks if crm.masks.customers.email == {"hash": {}} with input as shown({})\n'
    )
    rules = "include if input.customers.region == input.subject.team\n\nmasks.customers.email.hash := {}\n"
    good = sources(tmp_path / "good", {"crm": package("crm", rules)}, crm_test=text)
    check(good, OPA)
    assert run_tests(good, OPA) == ()
    wrong = package("crm", rules.replace("input.subject.team", '"uk"'))
    bad = run_tests(sources(tmp_path / "bad", {"crm": wrong}, crm_test=text), OPA)
    assert [problem.line for problem in bad] == [8, 10]


@in_loop
async def test_the_page_s_example_means_what_it_says(tmp_path: Path) -> None:
    """That of rego/README.md, with its test."""
    page = (library_path().parent / "README.md").read_text()
    example, calling, asking = (
        page.split("## Views")[1].split("```rego\n")[each].split("```")[0] for each in (1, 2, 3)
    )
    head = "package remit.views.crm_test\n\nimport data.remit.testing\nimport data.remit.views.crm\n\n"
    made = sources(tmp_path, {"crm": example, "web": package("web", calling)}, crm_test=head + asking)
    check(made, OPA)
    assert run_tests(made, OPA) == ()
    async with served(tmp_path, build(made, OPA, tmp_path)) as pdp:
        (customers,) = await pdp.view("crm", ["customers"], document())
        (orders,) = await pdp.view("crm", ["orders"], document(subject={"roles": ["billing"]}))
        assert filter_text(customers.filter) == "region = 'cx'"
        assert {name: mask_text(mask) for name, mask in customers.masks.items()} == {
            "card": "partial (last 4)",
            "salary": "null",
        }
        assert orders == TableView("orders", EVERY_ROW)
        (owned,) = await pdp.view("web", ["customers"], document("web", subject={"team": "CX"}))
        assert filter_text(owned.filter) == "owner = 'cx'"


def compiled(query: Any, **more: Any) -> bytes:
    return http(json.dumps({"result": {"query": query}, **more}).encode())


SAID: dict[str, Any] = {"masks": {}, "known": []}
SHOWN = {"type": "field", "operator": "eq", "field": "~.shown", "value": "m"}
ERROR = {"code": "evaluation_error", "message": "x", "errors": [{"code": "pe_fragment_error", "message": "no"}]}


@pytest.mark.parametrize(
    ("said", "include", "reason"),
    [
        (answer(SAID), compiled({}), Reason.PDP_UNAVAILABLE),
        (answer(SAID), compiled(None), Reason.PDP_UNAVAILABLE),
        (answer(SAID), http(b"{}"), Reason.PDP_UNAVAILABLE),
        (answer(SAID), http(b'{"result": {}}'), Reason.PDP_UNAVAILABLE),
        (answer(SAID), http(b"[]"), Reason.PDP_UNAVAILABLE),
        (answer(SAID), http(b"not json"), Reason.POLICY_INVALID),
        (answer(SAID), compiled(SHOWN, more=1), Reason.PDP_UNAVAILABLE),
        (answer(SAID), compiled(SHOWN | {"value": "n"}), Reason.PDP_UNAVAILABLE),
        (
            answer(SAID),
            http(json.dumps(ERROR).encode(), line="HTTP/1.1 400 Bad Request"),
            Reason.POLICY_ERROR,
        ),
        (
            answer(SAID),
            http(b'{"code": "internal_error", "errors": [{}]}', line="HTTP/1.1 500 No"),
            Reason.POLICY_ERROR,
        ),
        (answer(SAID), http(b"gone", line="HTTP/1.1 502 No"), Reason.PDP_UNAVAILABLE),
        (answer({"masks": {}}), compiled(SHOWN), Reason.POLICY_INVALID),
        (answer([]), compiled(SHOWN), Reason.POLICY_INVALID),
        (answer(SAID, revision="r2"), compiled(SHOWN), Reason.PDP_UNAVAILABLE),
        (b'{"provenance": {"bundles": {"b": {"revision": "r1"}}}}', compiled(SHOWN), Reason.POLICY_UNDEFINED),
    ],
)
@in_loop
async def test_an_answer_that_is_not_a_view_is_a_failure(
    tmp_path: Path, said: bytes, include: bytes, reason: Reason
) -> None:
    async def behave(exchange: Exchange) -> None:
        await exchange.send(include if exchange.target.startswith("/v1/compile/") else http(said))

    async with faked(tmp_path, behave) as pdp:
        with pytest.raises(PolicyFailure) as failed:
            await pdp.view("crm", ["customers"], document())
        assert failed.value.reason is reason


@in_loop
async def test_a_good_answer_of_that_fake_is_a_view(tmp_path: Path) -> None:
    """So that the failures above are those of what differs; and no table's columns are left known to OPA."""
    asked: list[Exchange] = []

    async def behave(exchange: Exchange) -> None:
        asked.append(exchange)
        good = compiled(SHOWN) if exchange.target.startswith("/v1/compile/") else http(answer(SAID))
        await exchange.send(good)

    async with faked(tmp_path, behave) as pdp:
        assert await pdp.view("crm", ["customers"], document()) == [TableView("customers", EVERY_ROW)]
    assert [each.target for each in asked] == [
        "/v1/data/remit/viewing/of_crm/said?strict-builtin-errors=true&provenance=true",
        "/v1/compile/remit/viewing/of_crm/include",
    ]
    assert asked[1].body["unknowns"] == ['input["customers"]', 'input["orders"]', 'input["~"]']
    assert asked[1].body["input"]["resource"]["operation"] == "customers"


@in_loop
async def test_an_opa_that_does_not_answer_is_unavailable_and_holds_no_decision_up(tmp_path: Path) -> None:
    async def behave(exchange: Exchange) -> None:
        if "/viewing/" in exchange.target:
            await exchange.gone()
        else:
            await exchange.send(http(answer(ALLOW)))

    async with faked(tmp_path, behave, PdpSettings(deadline=0.5)) as pdp:
        views = [asyncio.create_task(pdp.view("crm", ["customers"], document())) for _ in range(2 * CONNECTIONS)]
        assert (await pdp.ask(document())).effect is Effect.ALLOW
        failures = await asyncio.gather(*views, return_exceptions=True)
        reasons = {failure.reason for failure in failures if isinstance(failure, PolicyFailure)}
        assert len(failures) == 2 * CONNECTIONS
        assert reasons == {Reason.PDP_UNAVAILABLE}
        await pdp.drain()


@asynccontextmanager
async def faked(directory: Path, behave: Behaviour, settings: PdpSettings = UNHURRIED) -> AsyncIterator[OpaPdp]:
    """A Pdp that asks a fake OPA, and believes in a view of crm."""
    tables = {table: tuple(columns) for table, columns in TABLES.items()}
    async with FakeOpa(directory / "opa.sock", behave) as fake:
        pdp = OpaPdp(dial_socket(fake.path), REVISION, settings, {"crm": DatasetViews(tables, "m")})
        try:
            yield pdp
        finally:
            await pdp.close()
