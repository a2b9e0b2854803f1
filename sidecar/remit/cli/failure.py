"""How a command ends when it is not done: one clear line, and an exit code that says whose turn it is.

0  done
1  the answer is no: denied, verification failed, policy differs
2  used wrongly, or bad input
3  could not be reached
"""

from __future__ import annotations

import click

from remit.cli.text import clean

NO, WRONG, UNREACHABLE = 1, 2, 3


class Failure(click.ClickException):
    """Ends the command; `lines` are shown on stderr, what is unprintable in them escaped."""

    exit_code = WRONG

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(clean(line) for line in lines))


class Refused(Failure):
    """The answer is no."""

    exit_code = NO


class Unreachable(Failure):
    """There is no answer: nobody is there, or no answer came in time."""

    exit_code = UNREACHABLE
