"""One bundle of library, users' packages, configuration and catalogue; mistakes are told at their source."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fakes.policy import write_library
from remit.backends.opa_binary import find
from remit.backends.opa_bundle import Bundle, BundleInvalid, Sources, build, check, library_path, run_tests

pytestmark = pytest.mark.opa

RULE = 'package remit.custom.quiet\n\ndeny contains "too_loud" if input.kind == "loud"\n'
GOOD_TEST = (
    "package remit.custom.quiet_test\n\nimport data.remit.custom.quiet\n\n"
    'test_loud if quiet.deny == {"too_loud"} with input as {"kind": "loud"}\n'
)
BAD_TEST = GOOD_TEST.replace("test_loud if", "test_wrong if not")


@pytest.fixture(scope="module")
def opa() -> Path:
    return find(os.environ).path


@pytest.fixture
def custom(tmp_path: Path) -> Path:
    directory = tmp_path / "policies" / "quiet"
    directory.mkdir(parents=True)
    (directory / "quiet.rego").write_text(RULE)
    (directory / "quiet_test.rego").write_text(GOOD_TEST)
    return directory.parent


@pytest.fixture
def sources(tmp_path: Path, custom: Path) -> Sources:
    return Sources(
        library=write_library(tmp_path / "library", main_test="package remit_test\n\ntest_ours if true\n"),
        custom=(custom,),
        config={"rules": {"a": {"level": "off"}}},
        catalogue={"limit": Decimal("12.000000001"), "agents": {"support": {"team": "cx"}}},
    )


def contents(bundle: Bundle) -> dict[str, bytes]:
    with tarfile.open(bundle.path) as tar:
        members = ((member, tar.extractfile(member)) for member in tar.getmembers())
        return {member.name.lstrip("/"): file.read() for member, file in members if file}


def loaded(bundle: Bundle) -> Any:
    return json.loads(contents(bundle)["data.json"], parse_float=Decimal)


def test_the_bundle_holds_everything_that_judges_and_no_test(sources: Sources, opa: Path, tmp_path: Path) -> None:
    bundle = build(sources, opa, tmp_path)
    assert set(contents(bundle)) == {
        "data.json",
        ".manifest",
        "remit/main.rego",
        "remit/dispatch/custom.rego",
        "custom/0/quiet/quiet.rego",
    }
    assert b"data.remit.custom.quiet.deny" in contents(bundle)["remit/dispatch/custom.rego"]
    assert b"quiet_test" not in contents(bundle)["remit/dispatch/custom.rego"]
    assert json.loads(contents(bundle)[".manifest"])["revision"] == bundle.revision
    assert loaded(bundle)["remit"]["catalogue"]["limit"] == Decimal("12.000000001")
    assert loaded(bundle)["remit"]["config"] == {"rules": {"a": {"level": "off"}}}


def test_configuration_is_laid_over_the_library_s_defaults(sources: Sources, opa: Path, tmp_path: Path) -> None:
    (sources.library / "config").mkdir()
    (sources.library / "config" / "data.json").write_text(
        '{"rules": {"a": {"level": "on", "x": 1}, "b": {"level": "on"}}}'
    )
    bundle = build(sources, opa, tmp_path)
    assert loaded(bundle)["remit"]["config"] == {
        "rules": {"a": {"level": "off", "x": 1}, "b": {"level": "on"}},
    }


def test_the_same_sources_make_the_same_revision_wherever_they_lie(sources: Sources, opa: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(sources.library, elsewhere / "remit")
    shutil.copytree(sources.custom[0], elsewhere / "custom")
    other = Sources(
        elsewhere / "remit", (elsewhere / "custom",), sources.config, dict(reversed(sources.catalogue.items()))
    )
    first, second = build(sources, opa, tmp_path), build(other, opa, elsewhere)
    assert first.revision == second.revision
    assert first.path.read_bytes() == second.path.read_bytes()


@pytest.mark.parametrize("part", ["rule", "catalogue", "config", "library"])
def test_any_change_of_what_judges_changes_the_revision(sources: Sources, opa: Path, tmp_path: Path, part: str) -> None:
    before = build(sources, opa, tmp_path).revision
    if part == "rule":
        (sources.custom[0] / "quiet" / "quiet.rego").write_text(RULE.replace("loud", "noisy"))
    if part == "library":
        (sources.library / "more.rego").write_text("package remit.more\n\nx := 1\n")
    catalogue = {"limit": 13} if part == "catalogue" else sources.catalogue
    config = {} if part == "config" else sources.config
    changed = Sources(sources.library, sources.custom, config, catalogue)
    assert build(changed, opa, tmp_path).revision != before


def test_a_test_is_not_part_of_the_revision(sources: Sources, opa: Path, tmp_path: Path) -> None:
    before = build(sources, opa, tmp_path).revision
    (sources.custom[0] / "quiet" / "quiet_test.rego").write_text(BAD_TEST)
    assert build(sources, opa, tmp_path).revision == before


@pytest.mark.parametrize(
    "text, line, message",
    [
        ("package remit.custom.x\n\nallow contains c if c == missing\n", 3, "rego_unsafe_var_error"),
        ("package remit.custom.x\n\nx := \n", 4, "rego_parse_error"),
        ("package remit.custom.x\n\nx if count(1) == 1\n", 3, "rego_type_error"),
        ("package remit\n\ndefault decision := 1\n", 1, "below remit.custom, in lower case; found remit"),
        ("package remit.custom.Loud\n", 1, "in lower case"),
        ('package remit.custom.x["y z"]\n', 1, "below remit.custom"),
        ("# a comment\n\npackage remit.rules.access.agent\n", 3, "found remit.rules.access.agent"),
        ("package remit.custom\n", 1, "found remit.custom"),
        ("package remit.customised.x\n", 1, "found remit.customised.x"),
        ('package remit["custom"].x\n', 1, "below remit.custom"),
        ("package # remit.custom.x\n  remit.rules\n", 1, "found none"),
        ("package\n  remit.rules\n", 1, "found none"),
        ("package system.authz\n", 1, "found system.authz"),
        ("x := 1\n", 1, "found none"),
        ("", 1, "found none"),
    ],
)
def test_a_mistake_is_told_with_file_and_line(
    sources: Sources, opa: Path, tmp_path: Path, text: str, line: int, message: str
) -> None:
    wrong = sources.custom[0] / "wrong.rego"
    wrong.write_text(text)
    with pytest.raises(BundleInvalid) as caught:
        build(sources, opa, tmp_path)
    first = caught.value.problems[0]
    assert (first.file, first.line) == (str(wrong), line)
    assert message in first.message
    assert not list(tmp_path.glob("bundle-*"))


def test_a_file_that_is_not_utf_8_is_named(sources: Sources, opa: Path, tmp_path: Path) -> None:
    (sources.custom[0] / "latin.rego").write_bytes(b"package remit.custom.latin\n# \xe9\n")
    with pytest.raises(BundleInvalid, match=r"latin\.rego: expected UTF-8"):
        build(sources, opa, tmp_path)


def test_two_packages_of_users_that_conflict_are_an_error(sources: Sources, opa: Path, tmp_path: Path) -> None:
    for name, value in (("one", 1), ("two", "[]")):
        (sources.custom[0] / f"{name}.rego").write_text(f"package remit.custom.twice\n\nx := {value}\n")
    (sources.custom[0] / "three.rego").write_text("package remit.custom.twice\n\nx contains 1\n")
    with pytest.raises(BundleInvalid, match="rego_type_error"):
        build(sources, opa, tmp_path)


def test_what_a_rule_conflicts_with_is_named_where_its_author_has_it(
    sources: Sources, opa: Path, tmp_path: Path
) -> None:
    """On one line, as a file and line of theirs rather than of the tree that OPA was given."""
    text = "package remit.custom.twice\n\nx.a := {} if input.action.name\n\nx.a.b := 1\n"
    (sources.custom[0] / "twice.rego").write_text(text)

    with pytest.raises(BundleInvalid) as refused:
        build(sources, opa, tmp_path)

    (told,) = map(str, refused.value.problems)
    file = sources.custom[0] / "twice.rego"
    assert told.startswith(f"{file}:3: rego_type_error: ")
    assert told.endswith(f" at {file}:5")
    assert "\n" not in told


@pytest.mark.parametrize(
    "head",
    [
        "deny := input.resource.id",
        "deny if input.action.name",
        'default deny := "all"',
        'deny["all"] := 1',
        "hold = {}",
    ],
)
def test_what_policy_adds_to_is_a_set_or_refused(sources: Sources, opa: Path, tmp_path: Path, head: str) -> None:
    """A denial that turns out at run time to be no collection would be lost without a word."""
    (sources.custom[0] / "lost.rego").write_text(f"package remit.custom.lost\n\n{head}\n")
    with pytest.raises(BundleInvalid, match=r"lost\.rego:3: expected `(deny|hold) contains"):
        build(sources, opa, tmp_path)


def test_a_missing_directory_is_named(sources: Sources, opa: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match="nowhere"):
        build(Sources(sources.library, (tmp_path / "nowhere",)), opa, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleInvalid, match="expected the Rego library"):
        build(Sources(tmp_path / "empty"), opa, tmp_path)


def test_a_single_file_and_a_mounted_volume_are_read_once(sources: Sources, opa: Path, tmp_path: Path) -> None:
    """A mounted configuration volume shows each file twice: through a link, and below a hidden directory."""
    volume = tmp_path / "volume"
    (volume / "..2026").mkdir(parents=True)
    (volume / "..2026" / "quiet.rego").write_text(RULE)
    (volume / "quiet.rego").symlink_to(volume / "..2026" / "quiet.rego")
    single = sources.custom[0] / "quiet" / "quiet.rego"
    bundle = build(Sources(sources.library, (volume, single)), opa, tmp_path)
    assert {name for name in contents(bundle) if name.startswith("custom")} == {
        "custom/0/quiet.rego",
        "custom/1/quiet.rego",
    }


def test_failing_tests_of_users_are_told_at_their_source(sources: Sources, opa: Path) -> None:
    assert run_tests(sources, opa) == ()
    path = sources.custom[0] / "quiet" / "quiet_test.rego"
    path.write_text(BAD_TEST)
    (failure,) = run_tests(sources, opa)
    assert (failure.file, failure.line) == (str(path), 5)
    assert failure.message == "data.remit.custom.quiet_test.test_wrong failed"


def test_the_library_s_own_tests_run_on_demand(sources: Sources, opa: Path) -> None:
    (sources.library / "main_test.rego").write_text("package remit_test\n\ntest_ours if false\n")
    assert run_tests(sources, opa) == ()
    assert len(run_tests(sources, opa, library=True)) == 1


def test_checking_is_stricter_than_building(sources: Sources, opa: Path, tmp_path: Path) -> None:
    check(sources, opa)
    path = sources.custom[0] / "unused.rego"
    path.write_text("package remit.custom.unused\n\nimport data.remit.custom.quiet\n\nx := 1\n")
    build(sources, opa, tmp_path)
    with pytest.raises(BundleInvalid, match="unused"):
        check(sources, opa)


def test_only_capabilities_that_are_granted_can_be_used(sources: Sources, opa: Path, tmp_path: Path) -> None:
    ran = subprocess.run([opa, "capabilities", "--current"], capture_output=True, check=True, env={})
    capabilities = json.loads(ran.stdout)
    capabilities["builtins"] = [each for each in capabilities["builtins"] if each["name"] != "http.send"]
    (sources.library.parent / "capabilities.json").write_text(json.dumps(capabilities))
    build(sources, opa, tmp_path)
    (sources.custom[0] / "send.rego").write_text(
        'package remit.custom.send\n\nallow contains "sent" if http.send({"method": "get", "url": "http://x"})\n'
    )
    with pytest.raises(BundleInvalid, match=r"send\.rego:3: rego_type_error: undefined function http\.send"):
        build(sources, opa, tmp_path)


def test_the_library_is_found_in_a_checkout() -> None:
    assert library_path() == Path(__file__).parents[2] / "rego" / "remit"
