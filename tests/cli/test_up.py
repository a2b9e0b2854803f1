"""`remit up`: a real sidecar, from its first word to its last."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from remit.cli.addresses import FILE
from remit.cli.serving import Files
from remit.cli.up import by_hand

from .conftest import Remit

pytestmark = pytest.mark.opa

TOKEN = "rmt_of_the_test"
CATALOGUE = f"""\
currency: EUR
teams: {{cx: {{}}}}
agents:
  support:
    team: cx
    roles: [support]
    purposes: [support]
    identity: {{token_hash: "sha256:{sha256(TOKEN.encode()).hexdigest()}"}}
datasets: {{crm: {{owner: cx, tables: {{customers: {{columns: {{email: [pii]}}}}}}}}}}
budgets: {{month: {{when: {{team: cx}}, limit: 100, window: month}}}}
"""
REMIT = [sys.executable, "-c", "from remit.cli.main import main; main()"]
ALONE = ["--socket", "off", "--grpc", "127.0.0.1:0", "--http", "off"]


class Up:
    """A running `remit up`; `said` is its first line, as JSON."""

    def __init__(self, place: Path, *options: str) -> None:
        self.place = place
        self.process = subprocess.Popen(
            [*REMIT, "up", "--json", *ALONE, *options],
            cwd=place,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.said: Mapping[str, Any] = json.loads(line) if line else {}

    def stop(self, by: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Its exit code, and what it wrote on stderr."""
        if self.process.poll() is None:
            self.process.send_signal(by)
        _, err = self.process.communicate(timeout=30)
        return self.process.returncode, err


@pytest.fixture
def up(place: Path) -> Iterator[Up]:
    (place / "remit.yaml").write_text(CATALOGUE)
    running = Up(place)
    yield running
    running.stop(signal.SIGKILL)


def test_it_says_where_it_listens_and_people_find_it(remit: Remit, up: Up, place: Path) -> None:
    """Ports that the system chose are told, and found by other commands through the state directory."""
    addresses = up.said["addresses"]

    assert re.fullmatch(r"127\.0\.0\.1:[1-9][0-9]*", addresses[0])
    assert up.said["pid"] == up.process.pid
    assert remit("budget", "list", "--json").document[0]["budget"] == "month"
    assert remit("env").out == f"export REMIT_ADDRESS={addresses[0]}\n"
    assert (place / ".remit").stat().st_mode & 0o777 == 0o700


def test_an_agent_asks_and_the_journal_tells(remit: Remit, up: Up, place: Path) -> None:
    """A decision is answered, recorded and verified; the journal can be read beside the running sidecar."""
    (place / "token").write_text(TOKEN)

    asked = remit("authorize", "data.read", "dataset:crm", "--token-file", "token", "--json")

    assert asked.code == (0 if asked.document["permitted"] else 1), asked
    verified = remit("audit", "verify", "--json").document
    assert verified["ok"]
    assert verified["records"] >= asked.document["sequence"] > 0
    assert remit("audit", "verify", "--address", up.said["addresses"][0]).code == 0


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_well(remit: Remit, up: Up, place: Path, by: signal.Signals) -> None:
    """SIGTERM and Ctrl-C end it with exit code 0; its journal is signed to the end, its address forgotten."""
    code, err = up.stop(by)

    assert code == 0, err
    assert "Traceback" not in err
    assert not (place / ".remit" / FILE).exists()
    verified = remit("audit", "verify", "--json").document
    assert verified["covered"] == verified["records"] > 0


def test_a_second_one_on_the_same_state_refuses(remit: Remit, up: Up, place: Path) -> None:
    """The state directory belongs to one sidecar: the second says to whom, and leaves the first alone."""
    second = subprocess.run([*REMIT, "up", *ALONE], cwd=place, capture_output=True, text=True, timeout=30, check=False)

    assert second.returncode == 2
    assert second.stderr.startswith(f"remit: {place}/.remit")
    assert f"belongs to a running sidecar (process {up.process.pid}): stop it, or name another" in second.stderr
    assert second.stderr.count("\n") == 1
    assert remit("budget", "list").code == 0


@pytest.mark.parametrize(
    "there",
    [("--grpc",), ("--grpc", "off", "--egress", "--egress-proxy", "off", "--egress-http")],
    ids=["grpc", "egress"],
)
def test_an_address_that_is_taken_is_told(remit: Remit, up: Up, place: Path, there: tuple[str, ...]) -> None:
    """Who cannot listen says where, and ends with exit code 2."""
    taken = up.said["addresses"][0]
    options = ["--state", "other", "--socket", "off", "--http", "off", *there, taken]

    ended = subprocess.run([*REMIT, "up", *options], cwd=place, capture_output=True, text=True, timeout=30, check=False)

    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False)
    assert f"remit: cannot listen on {taken}" in ended.stderr


def test_a_bad_catalogue_starts_nothing(remit: Remit, place: Path) -> None:
    """All mistakes are told at once, flags and environment included, and no state is made."""
    (place / "remit.yaml").write_text(CATALOGUE.replace("team: cx\n", "team: nobody\n"))

    ended = remit("up", "--grpc", "0.0.0.0:7450", "--watch")

    assert ended.code == 2
    assert "remit.yaml:5:" in ended.err
    assert "command line: --grpc" in ended.err
    assert not (place / ".remit").exists()


def test_a_failing_test_keeps_it_from_starting_and_it_says_so(remit: Remit, place: Path) -> None:
    """Where a test of one's own fails, there is no sidecar: that is said first, then which test."""
    (place / "remit.yaml").write_text(CATALOGUE)
    remit("policy", "new", "cx/hours")
    test = place / "policies/cx/hours/hours_test.rego"
    test.write_text(test.read_text().replace('{"reason_missing"}', "set()"))

    ended = remit("up", *ALONE, "--policy", "policies")

    assert ended.code == 2
    assert ended.err.startswith(
        "remit: the sidecar did not start: the policies do not compile, or a test of theirs fails\n"
        "policies/cx/hours/hours_test.rego:7: "
    )


def test_a_changed_policy_is_seen(place: Path) -> None:
    """The fingerprint changes with the catalogue and with every rule, and with nothing else."""
    (place / "remit.yaml").write_text(CATALOGUE)
    rule = place / "policies" / "cx" / "hours.rego"
    rule.parent.mkdir(parents=True)
    rule.write_text("package remit.custom.cx.hours\n")
    files = Files([place / "remit.yaml"], {"policies": [place / "policies"]})
    files.load()

    seen = [files.fingerprint()]
    (place / "policies" / "notes.txt").write_text("x")
    assert files.fingerprint() == seen[0]
    for path in (rule, place / "policies" / "new.rego", place / "policies" / "config.json", place / "remit.yaml"):
        path.write_text("# changed")
        assert files.fingerprint() not in seen
        seen.append(files.fingerprint())


@pytest.mark.parametrize(
    ("environment", "shell", "told"),
    [
        ({}, "/bin/bash", True),
        ({}, "/usr/sbin/nologin", False),
        ({}, "", False),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "/bin/sh", False),
    ],
)
def test_a_persons_account_is_a_development_set_up(environment: dict[str, str], shell: str, told: bool) -> None:
    """A service's account and a pod have users or mounts of their own; a person's account is told what is missing."""
    assert by_hand(environment, shell) is told
