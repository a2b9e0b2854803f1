"""What lies on this machine: the settings' word on state and listeners, and the operator's credential."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from remit.cli.failure import Failure
from remit.cli.screen import note
from remit.config.files import read_document
from remit.config.problem import CatalogueInvalid, Place, Problems
from remit.config.reading import Cursor
from remit.config.settings import Settings, read_settings
from remit.config.tree import Entries

CATALOGUE = Path("remit.yaml")
DATABASE = "state.db"
OPERATOR = Path("keys") / "operator.token"


def find_settings(state: Path | None, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings as the sidecar that runs here has them: flag, environment, `remit.yaml`, defaults.

    A file that cannot be read is told and passed over: a broken catalogue must not be in the way of a halt.
    """
    flags = {"state": state}
    try:
        return _settings(catalogue_paths((), environment), environment, flags)
    except CatalogueInvalid as error:
        note(f"remit: passed over, for it cannot be read: {error.errors[0]}")
    try:
        return _settings([], environment, flags)
    except CatalogueInvalid as error:
        raise Failure(*map(str, error.errors)) from error


def _settings(paths: Sequence[Path], environment: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    problems = Problems()
    present = [path for path in paths if path.exists()]
    root = read_document(present, problems) if present else Cursor(Entries(Place("settings"), {}), "", problems)
    settings = read_settings(root, environment, flags)
    problems.raise_any()
    return settings


def catalogue_paths(given: tuple[Path, ...], environment: Mapping[str, str] = os.environ) -> list[Path]:
    """The catalogue's files: flags, else REMIT_CATALOGUE, else ./remit.yaml."""
    named = [Path(part) for part in environment.get("REMIT_CATALOGUE", "").split(os.pathsep) if part]
    return [*given] or named or [CATALOGUE]


def operator_token(state: Path) -> str:
    """The operator's credential, where this user may read it; else ""."""
    try:
        return (state / OPERATOR).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
