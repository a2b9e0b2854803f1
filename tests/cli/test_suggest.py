"""`remit policy suggest` and `remit check --ready`: from observing to enforcing, with a real sidecar and OPA."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fakes.commits import START, Desk
from fakes.store_postgres import DESK, Installation, open_store
from remit.backends.opa_binary import find
from remit.backends.opa_bundle import build
from remit.backends.policy_files import sources
from remit.cli.ready_asking import asked_anew
from remit.cli.suggest_reading import observed
from remit.config.loading import load
from remit.sdk.address import find_target
from remit.sdk.agent import Agent
from ruamel.yaml import YAML

from .conftest import Remit
from .state import write_state
from .test_up import Up

pytestmark = pytest.mark.opa

AGENTS = ("support", "analyst", "clerk")
IDENTITIES = {name: sha256(f"rmt_{name}".encode()).hexdigest() for name in AGENTS}
CATALOGUE = f"""\
currency: EUR
teams: {{cx: {{}}}}
people: {{ana: {{roles: [finance], identity: {{token_hash: "sha256:{"a" * 64}"}}}}}}
agents:
  support: {{team: cx, mode: observe, purposes: [support], identity: {{token_hash: "sha256:{IDENTITIES["support"]}"}}}}
  analyst: {{team: cx, mode: observe, purposes: [support], identity: {{token_hash: "sha256:{IDENTITIES["analyst"]}"}}}}
  clerk: {{team: cx, mode: observe, purposes: [support], identity: {{token_hash: "sha256:{IDENTITIES["clerk"]}"}}}}
services:
  models: {{owner: cx, operations: [chat], variants: {{small: {{}}, gated: {{approval: {{roles: [finance]}}}}}}}}
  vault: {{owner: cx, roles: [boss]}}
prices:
  - {{match: "models/small", unit: call, amount: 0.5, currency: EUR}}
  - {{match: "models/gated", unit: call, amount: 0.5, currency: EUR}}
  - {{match: "vault/*", unit: call, amount: 0.5, currency: EUR}}
datasets: {{crm: {{owner: cx, labels: [pii]}}}}
budgets: {{day: {{when: {{team: cx}}, limit: 100, window: day}}}}
"""
Call = tuple[str, str, str, str, str, str]
"""Agent, action, resource, operation, variant, purpose."""

SUGGESTED: Sequence[Call] = (
    ("support", "api.call", "service:models", "chat", "small", "support"),
    ("support", "api.call", "service:models", "chat", "large", "support"),
    ("support", "api.call", "service:models", "images", "small", "support"),
    ("support", "tool.call", "tool:search", "find", "", "support"),
    ("support", "api.call", "service:models", "chat", "small", "refunds"),
    ("support", "data.read", "dataset:orders", "read", "", "support"),
)
STAYING: Sequence[Call] = (
    ("support", "api.call", "service:models", "chat", "gated", "support"),
    ("clerk", "api.call", "service:vault", "open", "", "support"),
    ("analyst", "data.read", "dataset:crm", "read", "", "support"),
    ("analyst", "api.call", "service:models", "chat", "small", "support"),
)
OFF = {"rules": {f"access.{name}": {"level": "off"} for name in ("service", "dataset", "tool", "agent")}}


async def _asked(address: str, calls: Sequence[Call]) -> list[str]:
    effects = []
    for agent, action, resource, operation, variant, purpose in calls:
        async with Agent(find_target(address, f"rmt_{agent}", tls=None, environment={})) as asking:
            found = await asking.authorize(
                action,
                resource,
                check=False,
                operation=operation,
                variant=variant,
                purpose=purpose,
                usage={"call": 1} if action != "data.read" else {},
            )
            effects.append(found.effect.name)
    return effects


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory in which all of the calls were observed; its sidecar has stopped."""
    place = tmp_path_factory.mktemp("observed")
    (place / "remit.yaml").write_text(CATALOGUE)
    up = Up(place)
    try:
        asyncio.run(_asked(up.said["addresses"][0], [*SUGGESTED, *STAYING]))
    finally:
        up.stop()
    return place


@pytest.fixture
def seen(watched: Path, place: Path) -> Iterator[Path]:
    """The current directory with the catalogue; the journal is read where it is."""
    (place / "remit.yaml").write_text(CATALOGUE)
    os.environ["REMIT_STATE"] = str(watched / ".remit")
    yield place
    del os.environ["REMIT_STATE"]


def _filled(place: Path, document: Mapping[str, Any]) -> None:
    """What a person does with a suggestion: fill in each TODO, and add to the entries that are there."""
    yaml = YAML()
    catalogue = yaml.load(CATALOGUE)
    for edit in document["edits"]:
        section, id, key = edit["at"].split(".")
        entry = catalogue[section][id]
        if key == "variants":
            entry[key][edit["add"]] = {}
        elif key in ("operations", "purposes"):
            entry[key].append(edit["add"])
    with (place / "remit.yaml").open("w") as file:
        yaml.dump(catalogue, file)
    fragment = (place / "policies/suggested/catalogue.yaml").read_text()
    filled = fragment.replace("owner: TODO", "owner: cx").replace("amount: TODO", "amount: 0.01")
    (place / "more.yaml").write_text(filled.replace("labels: TODO", "labels: []"))


def test_what_is_suggested_admits_exactly_that(remit: Remit, seen: Path) -> None:
    """The TODOs are refused until they are filled in; then a replay of the records allows what was suggested alone."""
    suggested = remit("policy", "suggest", "--json")
    assert suggested.code == 0, suggested.err
    document = suggested.document
    fragment = seen / "policies/suggested/catalogue.yaml"
    refused = remit("check", "--catalogue", "remit.yaml", "--catalogue", fragment, "--policy", "policies")
    assert refused.code == 2
    assert "TODO" in refused.err

    _filled(seen, document)
    checked = remit("check", "--catalogue", "remit.yaml", "--catalogue", "more.yaml", "--policy", "policies")
    assert checked.code == 0, (checked.out, checked.err)

    assert _replayed(seen) == {"ALLOW": {*SUGGESTED}, "DENY": {*STAYING[1:]}, "HOLD": {STAYING[0]}}
    # Nobody is asked to approve what no rule allows: what was held is not suggested.
    (seen / "policies/config.json").write_text(json.dumps(OFF))
    assert _replayed(seen) == {"ALLOW": {*SUGGESTED}, "DENY": {*STAYING}}
    allowed = {tuple(each.values()) for each in document["allowed"]}
    assert {each[:-1] for each in allowed} == {
        (agent, action, *resource.split(":"), operation, variant, purpose)
        for agent, action, resource, operation, variant, purpose in SUGGESTED
    }


def _replayed(place: Path) -> dict[str, set[Call]]:
    """What the records come to under the suggestion."""
    catalogue = load([place / "remit.yaml", place / "more.yaml"], {}, {})[1]
    opa = find(os.environ).path
    bundle = build(sources(catalogue, (place / "policies",)), opa, place)
    state = Path(os.environ["REMIT_STATE"])
    read = observed(lambda what, share: None, since="1h", state=state, store_url=None, store_password_file=None)
    found: dict[str, set[Call]] = {}
    for each in asyncio.run(asked_anew(read.groups(), catalogue, bundle, opa, place / "opa")):
        access = each.seen.access
        resource = f"{access.type}:{access.id}"
        call = (access.agent, access.action, resource, access.operation, access.variant, access.purpose)
        found.setdefault(each.effect, set()).add(call)
    return found


def test_a_sidecar_that_binds_allows_what_was_suggested_alone(remit: Remit, seen: Path) -> None:
    """With the library's own access rules switched off, the suggested ones allow what they say, and nothing else."""
    document = remit("policy", "suggest", "--json").document
    _filled(seen, document)
    for name in ("remit.yaml", "more.yaml"):
        text = (seen / name).read_text().replace("mode: observe", "mode: enforce")
        (seen / name).write_text(text)
    (seen / "policies/config.json").write_text(json.dumps(OFF))
    options = ("--catalogue", "remit.yaml", "--catalogue", "more.yaml", "--policy", "policies", "--state", ".bound")
    up = Up(seen, *options)
    try:
        address = up.said["addresses"][0]
        assert asyncio.run(_asked(address, SUGGESTED)) == ["ALLOW"] * len(SUGGESTED)
        assert asyncio.run(_asked(address, STAYING)) == ["DENY"] * len(STAYING)
        others = [(agent, *call[1:]) for call in SUGGESTED for agent in ("clerk",)]
        assert asyncio.run(_asked(address, others)) == ["DENY"] * len(others)
    finally:
        up.stop(signal.SIGKILL)


def test_what_protects_is_told_and_not_suggested_away(remit: Remit, seen: Path) -> None:
    """Labels, roles and holds are listed with their reason; a clearance stands behind a # alone."""
    document = remit("policy", "suggest", "--json").document

    stays = {(each["agent"], each["id"], each["variant"]): each for each in document["stays"]}
    assert stays[("analyst", "crm", "")]["reasons"] == [
        {"policy": "flow.reading", "code": "flow_label_exceeds_clearance"}
    ]
    assert stays[("clerk", "vault", "")]["reasons"] == [{"policy": "access.service", "code": "role_not_granted"}]
    assert stays[("support", "models", "gated")]["effect"] == "HOLD"
    assert all(each["changes"] for each in document["stays"])
    assert [(each["at"], each["add"]) for each in document["decide"]] == [
        ("agents.analyst.clearance", "pii"),
        ("services.models.clearance", "pii"),
    ]
    text = (seen / "policies/suggested/catalogue.yaml").read_text()
    parsed = YAML(typ="safe").load(text)
    assert "clearance" not in str(parsed)
    assert '#   services.models.clearance: "pii"' in text
    assert parsed["services"]["search"] == {"owner": "TODO", "operations": ["find"], "purposes": ["support"]}


def test_a_rule_that_says_more_than_was_seen_fails_its_own_test(remit: Remit, seen: Path) -> None:
    """A planted bug: without what it compares with, the rule allows the agent anything of that action."""
    assert remit("policy", "suggest").code == 0
    assert remit("policy", "test", "policies").code == 0
    rule = seen / "policies/suggested/support_api_call/support_api_call.rego"
    rule.write_text(rule.read_text().replace("\t_asked in _observed\n", ""))

    ended = remit("policy", "test", "policies")

    assert ended.code == 1
    assert "support_api_call_test.test_nothing_else_is failed" in ended.out


def test_nothing_is_overwritten(remit: Remit, seen: Path) -> None:
    """A second suggestion says where the first one is, and changes nothing; another name is another folder."""
    first = remit("policy", "suggest")
    files = {path: path.read_bytes() for path in (seen / "policies").rglob("*") if path.is_file()}

    assert first.code == 0
    second = remit("policy", "suggest")
    assert second.code == 2
    assert "is there already" in second.err
    assert remit("policy", "suggest", "--name", "again").code == 0
    again = (seen / "policies/again/catalogue.yaml").read_bytes()
    assert again == files[seen / "policies/suggested/catalogue.yaml"]
    assert {path: path.read_bytes() for path in files} == files


def test_an_agent_that_would_be_refused_is_not_ready(remit: Remit, seen: Path) -> None:
    """What would be denied or held is told with its reason, what would change it and who would be asked."""
    (seen / "remit.yaml").write_text(CATALOGUE.replace("limit: 100", "limit: 1"))
    ended = remit("check", "--ready", "support", "--json")

    assert ended.code == 1
    found = {
        (each["resource"]["id"], each["resource"]["variant"], each["purpose"]): each
        for each in ended.document["breaking"]
    }
    assert found[("models", "gated", "support")]["now"] == "HOLD"
    assert found[("models", "gated", "support")]["would_be_asked"] == ["ana"]
    assert {"policy": "variants.listed", "code": "variant_not_listed"} in found[("models", "large", "support")][
        "reasons"
    ]
    assert ("models", "small", "support") not in {
        key for key, each in found.items() if each["resource"]["operation"] == "chat"
    }
    assert all(each["changes"] and each["decision"] and each["how"] == "asked anew" for each in found.values())
    assert [each["budget"] for each in ended.document["budgets"]] == ["day"]
    told = remit("check", "--ready", "support")
    assert told.code == 1
    assert told.out.splitlines()[-1] == "support is not ready: 7 observed decisions in the last 24h"


def test_an_agent_of_which_nothing_breaks_is_ready(remit: Remit, seen: Path) -> None:
    """Asked anew under a catalogue that has what is missing, the same records say ready: exit code 0."""
    catalogue = CATALOGUE.replace("roles: [boss]", "roles: []")
    (seen / "remit.yaml").write_text(catalogue)

    ended = remit("check", "--ready", "clerk", "--json")

    assert ended.code == 0, ended.document
    assert ended.document["ready"]
    (seen / "remit.yaml").write_text(CATALOGUE)
    assert remit("check", "--ready", "clerk").code == 1


def test_a_new_rule_of_ones_own_can_break_what_was_allowed(remit: Remit, seen: Path) -> None:
    """What policy denies today is told, though it was allowed when it was recorded."""
    (seen / "remit.yaml").write_text(CATALOGUE.replace("roles: [boss]", "roles: []"))
    folder = seen / "policies/cx/closed"
    folder.mkdir(parents=True)
    (folder / "closed.rego").write_text(
        '# METADATA\n# title: Closed\n# custom:\n#   owner: cx\n#   codes:\n#     closed: "closed"\n'
        'package remit.custom.cx.closed\n\ndeny contains "closed" if input.resource.id == "vault"\n'
    )

    ended = remit("check", "--ready", "clerk", "--policy", "policies", "--json")

    assert ended.code == 1
    assert ended.document["breaking"][0]["reasons"] == [{"policy": "custom.cx.closed", "code": "closed"}]


def test_nothing_observed_is_not_ready(remit: Remit, seen: Path) -> None:
    """An agent that did nothing in the period is not ready, and nothing is suggested for it: exit code 1."""
    (seen / "remit.yaml").write_text(CATALOGUE.replace("  clerk:", "  idle: {team: cx, mode: observe}\n  clerk:"))

    ended = remit("check", "--ready", "idle", "--json")
    assert ended.code == 1
    assert ended.document["blocking"] == [
        "nothing was observed: no decision in mode observe, and nothing observed is not ready"
    ]
    assert remit("policy", "suggest", "--agent", "idle").code == 1
    assert not (seen / "policies").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["policy", "suggest", "--since", "soon"], 2, "--since: found 'soon'; expected a duration such as 30m"),
        (["policy", "suggest", "--agent", "nobody"], 2, "--agent: found 'nobody'"),
        (["policy", "suggest", "--name", "../x"], 2, "--name: found '../x'"),
        (["policy", "suggest", "--state", "nowhere"], 3, "there is no journal here"),
        (["check", "--ready", "suport"], 2, "did you mean support?"),
        (["check", "--ready", "support", "--state", "nowhere"], 3, "there is no journal here"),
        (["check", "--ready", "support", "--since", "0h"], 2, "--since: found '0h'"),
        (["check", "--state", "nowhere"], 2, "which journal --ready reads"),
    ],
)
def test_bad_input_is_told(remit: Remit, seen: Path, arguments: list[str], code: int, said: str) -> None:
    """Each names what was found and what was expected; the exit code says whose turn it is."""
    ended = remit(*arguments)

    assert ended.code == code
    assert said in ended.err


SUBJECT = "ann"  # whose records tests/cli/state.py writes
UNKNOWN = [
    {"policy": "access.known", "code": "unknown_resource"},
    {"policy": "ownership.owner", "code": "no_owner"},
    {"policy": "variants.listed", "code": "variant_not_listed"},
]
HOSTILE = (
    "a\nb: c",
    'x"]\n}\nallow contains "observed" if true\n_y := {["',
    "\u2028owner: cx",
    "\x1b[31mred",
    "{{}} # &a *b !!c",
    "\\",
    "true",
)


def _said(name: str, key: str, **more: Any) -> dict[str, Any]:
    resource = {"type": "service", "id": "models", "operation": "chat", "variant": "small", "fields": [], key: name}
    return {
        "subject": {"type": "agent", "team": "cx", "mode": "observe", "identity": {"method": "token"}},
        "action": "api.call",
        "resource": resource,
        "context": {"purpose": "support", "reason": "", "arguments": {}},
        "facts": {"labels": {}, "estimate": {"units": {}}},
        "effect": "ALLOW",
        "enforced": False,
        "reasons": [],
        **more,
    }


def test_hostile_names_are_written_so_that_everything_parses(remit: Remit, place: Path) -> None:
    """OPA compiles, formats and tests what is written, and the catalogue has what was named and nothing beside it."""
    bodies = [_said(name, key) for name in HOSTILE for key in ("id", "operation", "variant")]
    bodies += [_said(name, "id", effect="DENY", reasons=UNKNOWN) for name in HOSTILE]
    bodies += [_said(f"s{number}", "id", effect="DENY", reasons=UNKNOWN) for number in range(600)]
    (place / "remit.yaml").write_text(CATALOGUE.replace("  support:", f"  {SUBJECT}:"))
    write_state(place / ".remit", [(f"d{number}", "", json.dumps(body).encode()) for number, body in enumerate(bodies)])

    ended = remit("policy", "suggest", "--json")

    assert ended.code == 0, ended.err
    assert ended.document["left_out_of_rules"] > 0
    opa = find(os.environ).path
    for command in (["fmt", "--fail", "--list"], ["check", "--strict"], ["test"]):
        ran = subprocess.run([opa, *command, "policies"], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran
    parsed = YAML(typ="safe").load((place / "policies/suggested/catalogue.yaml").read_text())
    # Of the hostile names one can stand in a catalogue.
    assert set(parsed["services"]) == {"true", *(f"s{number}" for number in range(600))}
    told = remit("policy", "suggest", "--name", "other")
    assert told.out.replace("\n", "").isprintable()
    ready = remit("check", "--ready", SUBJECT)
    assert ready.code == 1
    assert ready.out.replace("\n", "").isprintable()


PAGE = (Path(__file__).parents[2] / "docs" / "observe.md").read_text(encoding="utf-8")


def test_the_page_s_examples_work(remit: Remit, watched: Path, place: Path) -> None:
    """Each ends with the exit code that docs/observe.md says, and what is --json is JSON."""
    catalogue = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0]
    catalogue = catalogue.replace("SUPPORT_HASH", f"sha256:{IDENTITIES['support']}")
    (place / "remit.yaml").write_text(catalogue.replace("ANA_HASH", "sha256:" + "a" * 64))
    shutil.copytree(watched / ".remit", place / ".remit")
    examples = [line for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]

    for line in examples:
        command, _, told = line.removeprefix("$ remit ").partition("#")
        ended = remit(*shlex.split(command))
        assert ended.code == int(told.rpartition("exit code ")[2] or 0), (line, ended)
        if "--json" in command:
            json.loads(ended.out)
    assert len(examples) == 5


def test_the_logs_of_all_members_are_read(remit: Remit, place: Path, installation: Installation) -> None:
    """What one member recorded, and another settled, is one decision at its real cost; nothing there: exit code 3."""
    (place / "remit.yaml").write_text(CATALOGUE.replace("  support:", f"  {SUBJECT}:"))
    (place / "password").write_text(installation.passwords[DESK])
    asyncio.run(_two_members(installation))
    where = ["--store-url", installation.url(DESK), "--store-password-file", "password", "--since", "9999d", "--json"]

    suggested = remit("policy", "suggest", *where)

    assert suggested.code == 0, suggested.err
    assert suggested.document["decisions"] == 2
    assert suggested.document["spent"] == [{"agent": SUBJECT, "day": "300000000"}]
    assert remit("check", "--ready", SUBJECT, *where).code == 0
    away = ["--store-url", "postgresql://a@127.0.0.1:1/b?sslmode=disable"]
    assert remit("policy", "suggest", "--name", "away", *away).code == 3


async def _two_members(installation: Installation) -> None:
    """Of log_b's decision, log_a tells the end."""
    second = await open_store(installation, "log_b")
    paid = _said("small", "variant", reserved="500000000", deadline="9")
    await Desk(second, time=START).must(id="d_b", body=json.dumps(paid).encode())
    await second.close()
    first = await open_store(installation, "log_a")
    desk = Desk(first, time=START)
    await desk.must(id="d_a", body=json.dumps(_said("small", "variant")).encode())
    ended = {"outcome": "succeeded", "state": "settled", "cost": "300000000"}
    await desk.must(id="r_a", kind="report", ref="d_b", body=json.dumps(ended).encode())
    await first.close()
