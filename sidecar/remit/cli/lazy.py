"""A command group that imports a command's module only when that command is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class Lazily:
    """A command by name: the module whose `command` it is, and its line in the list of commands."""

    module: str
    line: str


class LazyGroup(click.Group):
    """`remit --help` must not wait for the imports of what it only lists."""

    def __init__(self, *args: Any, later: Mapping[str, Lazily], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.later = later

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table, which is the order of a first day."""
        return list(self.later)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        if cmd_name not in self.later:
            return None
        command = import_module(self.later[cmd_name].module).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list from the table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.line) for name, each in self.later.items()])
