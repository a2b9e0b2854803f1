"""The demo, whole: it succeeds because of what happens, fails where that does not, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from remit.demo.memory import look
from remit.demo.places import WORLD

pytestmark = [pytest.mark.opa, pytest.mark.timeout(240)]

# An interrupt is told, also to what a shell has started in the background.
PLAY = (
    "import signal, sys; from pathlib import Path; from remit.demo.main import run; "
    "signal.signal(signal.SIGINT, signal.default_int_handler); "
)
PLAYED = f"{PLAY}sys.exit(run(len(sys.argv) > 3, Path(sys.argv[1]), Path(sys.argv[2])))"


def play(state: Path, world: Path, *, keep: bool = False) -> subprocess.CompletedProcess[str]:
    """The demo in `state`, made from `world`, to its end."""
    command = [sys.executable, "-c", PLAYED, str(state), str(world), *(["keep"] if keep else [])]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def running_in(state: Path) -> dict[int, str]:
    """The processes that have to do with `state`, and their command lines."""
    lines = {}
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(state) in line:
            lines[int(entry.parent.name)] = line
    return lines


def left_over(state: Path) -> list[str]:
    """The command lines of processes that have to do with `state`."""
    return list(running_in(state).values())


def soon(holds: Callable[[], bool], seconds: float = 15) -> bool:
    """Whether it comes to hold in time."""
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds()


def marked(output: str, mark: str) -> list[str]:
    """The lines of the last table that bear this mark."""
    table = output.partition("What had to happen")[2]
    return [line.strip() for line in table.splitlines() if line.strip().startswith(mark)]


def replaced(path: Path, old: str, new: str) -> None:
    """Change a file, which must hold what is to be changed."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@dataclass(frozen=True)
class Kept:
    """A demo that was played to its end and left its second act's processes running."""

    state: Path
    played: subprocess.CompletedProcess[str]

    @property
    def pids(self) -> list[int]:
        """The processes that it names."""
        return [int(pid) for pid in re.findall(r"stop it +kill (.*)", self.played.stdout)[0].split()]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """The demo, played once; each test below looks for its own part of it."""
    state = tmp_path_factory.mktemp("kept") / "demo"
    made = Kept(state, play(state, WORLD, keep=True))
    try:
        yield made
    finally:
        for pid in running_in(state):
            os.kill(pid, signal.SIGKILL)


def test_the_demo_meets_every_expectation(kept: Kept) -> None:
    """Exit code 0, the refusals and the equal sums are named, plain text in a pipe, and no key in a log."""
    state, played = kept.state, kept.played

    assert played.returncode == 0, played.stdout + played.stderr
    assert marked(played.stdout, "✗") == []
    assert len(marked(played.stdout, "✓")) >= 46
    for word in (
        "approval_required",
        "flow_label_exceeds_clearance",
        "budget_exhausted",
        "score_missing",
        "40 = EUR 0.12 / EUR 0.003",
        "authentic",
        "PermissionDeniedError: Remit: approval_required",
        "Cheaper:",
        "AuthenticationError",
        "10 of 40 (south)",
        "a statement that is DELETE",
        "remit audit who --subject customers:C-",
        "tok_",
    ):
        assert word in played.stdout
    assert "\x1b" not in played.stdout
    assert (state / "state.db").is_file()
    for log in (state / "logs").glob("*.log"):
        assert not any(key.read_text() in log.read_text() for key in (state / "credentials").glob("*.key")), log


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """The demo, played once from a world in which much is wrong; each test below looks for its own part of it."""
    place = tmp_path_factory.mktemp("broken")
    world = place / "world"
    shutil.copytree(WORLD, world)
    replaced(world / "remit.yaml", "    clearance: [contact]\n", "    clearance: [contact, pii, finance]\n")
    replaced(world / "remit.yaml", "variant: screen}, limit: 0.12}", "variant: screen}, limit: 0.12001}")
    replaced(world / "remit.yaml", "amount: 0.60", "amount: 0.61")
    policy = world / "policies" / "onboarding"
    replaced(policy / "onboarding.rego", 'input.context.arguments.outcome == "approve"', "false")
    for test in policy.glob("*_test.rego"):
        test.unlink()
    views = world / "policies" / "views"
    (views / "crm_test.rego").unlink()
    for table in ("customers", "orders"):
        replaced(views / "crm.rego", f'masks.{table}.email.tokenize := {{"domain": "email"}}', "")
        replaced(views / "crm.rego", f"input.{table}.region in input.subject.roles", f'input.{table}.region != ""')
    replaced(world / "remit.yaml", "parameters: {email: token}", "parameters: {email: text}")
    replaced(world / "remit.yaml", "letters = letters + 1", "letters = letters + 2")

    played = play(place / "demo", world)

    assert played.returncode == 1, played.stdout + played.stderr
    assert "logs:" in played.stdout
    assert left_over(place / "demo") == []
    return played


def test_the_demo_fails_where_what_it_shows_does_not_happen(broken: subprocess.CompletedProcess[str]) -> None:
    """A provider cleared for all, a rule taken out, a budget that nothing fills, a price that is not the provider's:
    each is found; the exit code is 1."""
    failed = "\n".join(marked(broken.stdout, "✗"))
    for claim in (
        "account and tax numbers that reached",
        "letters stopped on their way",
        "pre-approved",
        "landed exactly at its limit",
        "metered by Remit",
    ):
        assert claim in failed


def test_the_demo_fails_where_agents_see_more_than_their_view(broken: subprocess.CompletedProcess[str]) -> None:
    """Addresses in clear, other regions in the survey, a letter counted twice by one write: each is found."""
    failed = "\n".join(marked(broken.stdout, "✗"))
    for claim in (
        "customers that the survey saw",
        "e-mail addresses that the model provider was",
        "letters whose token the sidecar turned",
        "a letter counted again",
        "guesses at hidden rows",
        "asked of each customer, who saw it",
        "agents that know where the database is",
    ):
        assert claim in failed


def test_a_demo_that_is_kept_runs_on_until_it_is_stopped(kept: Kept) -> None:
    """The addresses that are shown answer, another demo does not take the directory, and the shown `kill` ends all."""
    for address in re.findall(r"http://\S+", kept.played.stdout.partition("Left running")[2]):
        with urllib.request.urlopen(address, timeout=5) as answer:
            assert answer.status == 200
    assert play(kept.state, WORLD).returncode == 2

    for pid in kept.pids:
        os.kill(pid, signal.SIGTERM)

    assert soon(lambda: left_over(kept.state) == [])


def test_an_interrupted_demo_stops_what_it_started(tmp_path: Path) -> None:
    """SIGINT in the middle of the second act: exit code 130, and no process keeps running."""
    state = tmp_path / "demo"
    command = [sys.executable, "-c", PLAYED, str(state), str(WORLD)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "remit up: ready" in line:
                break
        else:
            pytest.fail("the second act never began")
        assert left_over(state) != []
        os.kill(running.pid, signal.SIGINT)
        rest = running.stdout.read()

    assert running.returncode == 130, rest
    assert left_over(state) == []


def test_a_directory_that_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    """Exit code 2, and what was there still is."""
    (tmp_path / "precious.txt").write_text("mine", encoding="utf-8")

    played = play(tmp_path, WORLD)

    assert played.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Exit code 2 and what else to do, not an error of Remit's own."""
    (tmp_path / "file").touch()

    played = play(tmp_path / "file" / "demo", WORLD)

    assert played.returncode == 2
    assert f"Not a directory: '{tmp_path}/file/demo'; --state may name" in played.stdout


def test_a_demo_without_its_client_library_says_what_to_install(tmp_path: Path) -> None:
    """As from a wheel: exit code 2, and the extra is named."""
    program = "import sys; sys.modules['openai'] = None; from remit.cli.main import main; main()"
    command = [sys.executable, "-c", program, "demo", "--state", str(tmp_path / "demo")]

    played = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert played.returncode == 2
    assert "pip install 'remit[server,demo]'" in played.stderr
    assert not (tmp_path / "demo").exists()


def test_a_secret_is_found_in_the_environment_and_in_the_memory_of_a_process() -> None:
    """Where it is, and only there: what a program was given, and what it made itself."""
    program = "import sys; kept = ''.join(reversed('terces-edam')); print(flush=True); sys.stdin.read()"
    environment = {**os.environ, "GIVEN": "given-secret"}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdout.readline()
        found = look(running.pid, {"given": "given-secret", "made": "made-secret", "none": "not" + "-there-at-all"})
        running.stdin.close()

    assert found.environment == {"given": 1, "made": 0, "none": 0}
    assert found.memory["given"] > 0
    assert found.memory["made"] > 0
    assert found.memory["none"] == 0
