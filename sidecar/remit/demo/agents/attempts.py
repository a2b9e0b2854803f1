"""Statements that tell a right guess from a wrong one, to whoever is answered by the database itself.

They guess at C-0005, who lives in the south and whose address and income are masked, and at C-0040, whom a survey of
the south does not show.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attempt:
    """A SELECT with a place `:guess`, a guess that is right, and one that is wrong."""

    what: str
    statement: str
    right: str | int
    wrong: str | int

    @property
    def guesses(self) -> tuple[str | int, str | int]:
        """The right one and the wrong one."""
        return self.right, self.wrong


ADDRESS = "elif.sonnkamp@example.com", "elif.sonnenkamp@example.com"

ATTEMPTS = (
    Attempt(
        "a hidden row", "SELECT count(*) AS n FROM customers WHERE email = :guess", "nora.eschelin@example.com", ""
    ),
    Attempt(
        "its income by 1/(x-77)", "SELECT 1 / (income - :guess) AS n FROM customers WHERE id = 'C-0040'", 29640, 29641
    ),
    Attempt("a masked address by WHERE", "SELECT id FROM customers WHERE email = :guess", *ADDRESS),
    Attempt("by its order", "SELECT id FROM customers WHERE id = 'C-0005' AND email < :guess", "f", "a"),
    Attempt(
        "by an error",
        "SELECT abs(iif(email = :guess, -9223372036854775807 - 1, 1)) AS n FROM customers WHERE id = 'C-0005'",
        *ADDRESS,
    ),
    Attempt(
        "a masked income by 1/(x-77)", "SELECT 1 / (income - :guess) AS n FROM customers WHERE id = 'C-0005'", 35705, 77
    ),
    Attempt("by GROUP BY", "SELECT count(*) AS n FROM customers GROUP BY income = :guess", 35705, 77),
)

DESTRUCTIVE = "DELETE FROM customers"
