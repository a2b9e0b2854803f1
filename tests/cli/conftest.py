"""A command line in a directory of its own, and what it said."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from remit.cli.main import run


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


Remit = Callable[..., Ended]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory: empty, with no REMIT_ variable around."""
    for name in [name for name in os.environ if name.startswith("REMIT_") and name != "REMIT_OPA_BIN"]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def remit(place: Path, capsys: pytest.CaptureFixture[str]) -> Remit:
    """Runs a command in this process: `remit("budget", "list")`."""

    def ran(*arguments: object) -> Ended:
        capsys.readouterr()
        code = run([str(each) for each in arguments])
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    return ran
