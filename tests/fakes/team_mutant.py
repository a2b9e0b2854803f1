"""A sidecar in which whoever asks may approve as well, which the team's books must show: `python team_mutant.py up …`.

In four places it is refused: by the library's rule and its count of votes, by the sidecar, and by the store.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from remit.backends import policy_files
from remit.backends.opa_bundle import library_path
from remit.cli.main import main
from remit.core import approval, approval_guard
from remit.core.approval import Approval, Verdict, Vote
from remit.pep import resolving

RULE, VERDICTS = "rules/access/approval/approval.rego", "lib/verdicts/verdicts.rego"
ANYBODY = 'input.action.name == "approval.resolve"'
LAX = (
    (RULE, "_may if _timeout\n", f"_may if {ANYBODY}\n"),
    (RULE, "_of_another if _timeout\n", f"_of_another if {ANYBODY}\n"),
    (VERDICTS, "\tverdict.by != approval.subject\n", ""),
)
"""In a file of the library, what keeps requesters out, and what stands there instead."""


def lax(place: Path) -> Path:
    """The library, with rules that ask nobody who it is."""
    library = Path(shutil.copytree(library_path().parent, place)) / library_path().name
    for name, strict, instead in LAX:
        rule = library / name
        text = rule.read_text()
        assert strict in text
        rule.write_text(text.replace(strict, instead))
    return library


def all_approving(found: Approval) -> frozenset[tuple[str, str]]:
    """Whoever approved, the requester too."""
    return frozenset((each.kind, each.by) for each in found.votes if each.verdict is Verdict.APPROVE)


def new_votes(stored: Approval, wanted: Approval) -> tuple[Vote, ...]:
    """Whatever was said, by whomever."""
    return wanted.votes[len(stored.votes) :]


def no_objection(said: object) -> None:
    """There is none."""


if __name__ == "__main__":
    resolving._Said.objection = no_objection  # type: ignore[assignment, method-assign]
    approval.approving = approval_guard.approving = all_approving  # type: ignore[attr-defined]
    approval_guard._new_votes = new_votes
    library = lax(Path("lax").resolve())
    policy_files.library_path = lambda: library  # type: ignore[attr-defined]
    main()
