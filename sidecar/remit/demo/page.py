"""What a person reads: short sections, each claim with the figure that was observed, and a verdict at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from rich.console import Console
from rich.markup import escape
from rich.table import Table

NANOS = 1_000_000_000
WIDTH = 110


@dataclass(frozen=True, slots=True)
class Expectation:
    """Something that had to happen, what was seen of it, and whether that is it."""

    claim: str
    seen: str
    met: bool


class Page:
    """The output. Colours only where a person sits before it."""

    def __init__(self, console: Console | None = None) -> None:
        found = console or Console(highlight=False)
        self._console = found if found.is_terminal else Console(file=found.file, highlight=False, width=WIDTH)
        self._began = monotonic()
        self.expectations: list[Expectation] = []

    @property
    def failed(self) -> list[Expectation]:
        """What did not happen."""
        return [each for each in self.expectations if not each.met]

    def heading(self, text: str) -> None:
        """A new section."""
        self._console.print(f"\n[bold]{escape(text)}[/bold]")

    def say(self, text: str) -> None:
        """A remark."""
        self._row("", f"[dim]{escape(text)}[/dim]")

    def show(self, title: str, text: str) -> None:
        """What a command of `remit` printed, as it is."""
        self._console.print(f"\n  [cyan]$ {escape(title)}[/cyan]")
        for line in text.rstrip().splitlines():
            self._console.print(f"  {escape(line)}", soft_wrap=True)

    def expect(self, claim: str, seen: object, met: bool) -> bool:
        """Check one claim against what was seen."""
        found = Expectation(claim, str(seen), met)
        self.expectations.append(found)
        self._row(_mark(met), f"{escape(claim)}: [bold]{escape(found.seen)}[/bold]")
        return met

    def _row(self, mark: str, text: str) -> None:
        # A table of one row, so that what does not fit in a line stays beside its mark.
        row = Table.grid(padding=(0, 1))
        row.add_column(width=0)
        row.add_column(width=1)
        row.add_column()
        row.add_row("", mark, text)
        self._console.print(row)

    def verdict(self) -> bool:
        """The table of everything that had to happen; true if all of it did."""
        table = Table(box=None, padding=(0, 1), title_justify="left", show_header=False)
        table.add_column(width=1)
        table.add_column(ratio=3)
        table.add_column(ratio=2)
        for each in self.expectations:
            table.add_row(_mark(each.met), escape(each.claim), escape(each.seen))
        self.heading("What had to happen")
        self._console.print(table)
        met = len(self.expectations) - len(self.failed)
        colour = "green" if not self.failed else "red"
        took = monotonic() - self._began
        self._console.print(
            f"\n[bold {colour}]{met} of {len(self.expectations)} expectations met[/bold {colour}] in {took:.1f} s"
        )
        return not self.failed

    def lines(self, lines: Sequence[str]) -> None:
        """Plain lines, not to be broken."""
        for each in lines:
            self._console.print(f"  {escape(each)}", soft_wrap=True)

    def trouble(self, text: str) -> None:
        """Something went wrong."""
        self._console.print(f"\n[bold red]{escape(text)}[/bold red]", soft_wrap=True)


def _mark(met: bool) -> str:
    return "[green]✓[/green]" if met else "[red]✗[/red]"


def euros(nanos: int) -> str:
    """An amount, to the nano."""
    units, rest = divmod(abs(nanos), NANOS)
    return f"{'-' if nanos < 0 else ''}EUR {units}.{f'{rest:09d}'.rstrip('0').ljust(2, '0')}"


def masked(text: str) -> str:
    """All but the first and last two characters of a text, hidden; blanks stay."""
    inside = range(2, len(text) - 2)
    return "".join("•" if place in inside and each != " " else each for place, each in enumerate(text))
