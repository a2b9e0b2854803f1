"""The command as a whole: quick to start, clear when it fails."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from remit.cli import main as entry
from remit.cli.lazy import Lazily
from remit.cli.main import COMMANDS

from .conftest import Remit

SLOW = "apsw aiohttp cryptography google.protobuf.json_format orjson prometheus_client pydantic rich ruamel uvloop"


def test_help_imports_no_command() -> None:
    """`remit --help` lists all commands without importing one, nor what the sidecar is made of."""
    code = (
        "import sys; from remit.cli.main import run; run(['--help']);"
        f"print([m for m in sys.modules if m in {SLOW.split()!r} + {[c.module for c in COMMANDS.values()]!r}])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.splitlines()[-1] == "[]"
    assert all(f"  {name} " in ran.stdout for name in COMMANDS)


def test_where_only_the_sdk_is_installed_the_command_says_what_to_install() -> None:
    """One line and exit code 2, no traceback: the package of an agent has the command, but not click."""
    code = "import sys; sys.modules['click'] = None; from remit.cli.entry import main; main()"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert ran.returncode == 2
    assert ran.stderr == "remit: click is not installed; the command line needs: pip install 'remit[server]'\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_each_command_says_of_itself(name: str) -> None:
    """The line in the list and the command's own first sentence do not contradict each other; each has an example."""
    command = import_module(COMMANDS[name].module).command

    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.help
    for each in command.commands.values() if isinstance(command, click.Group) else [command]:
        assert f"Example: remit {name}" in each.help or f"$(remit {name}" in each.help


@pytest.mark.parametrize("arguments", [["nonsense"], ["budget", "nonsense"], ["trace"], ["up", "--nonsense"]])
def test_wrong_use_is_one_line_and_exit_code_2(remit: Remit, arguments: list[str]) -> None:
    """What is used wrongly is told in one line that names the help."""
    ended = remit(*arguments)

    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.count("\n") == 1
    assert "--help" in ended.err


def test_an_error_of_ours_is_no_traceback(remit: Remit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect ends in one clear line and exit code 3, for no answer was obtained."""
    broken = Path(__file__).with_name("broken_command.py")
    monkeypatch.syspath_prepend(str(broken.parent))
    monkeypatch.setitem(entry.root.later, "broken", Lazily("broken_command", "Breaks."))

    ended = remit("broken")

    assert ended.code == 3
    assert ended.err == (
        "remit: an error of Remit's own, please report it: ZeroDivisionError: a\\nb\\x1b (REMIT_DEBUG=1 shows more)\n"
    )


def test_interrupting_is_not_an_answer(remit: Remit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends with 130: not 1, which would mean that the answer is no."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setitem(entry.root.later, "broken", Lazily("broken_command", "Breaks."))

    assert remit("broken", "--interrupted").code == 130
