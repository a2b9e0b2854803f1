"""Labels only go up: what a session holds, and what a sink does not accept.

A *share* is what a subject learnt in one workflow ("" is its standing session), as label -> the decisions that
brought it. A session is a join of shares. Which shares count for a subject whose runs share one process:

    the standing session          always
    an open workflow              always, expired or not: what was read is not forgotten by the clock
    a closed workflow             if the subject opened it or closed it itself; only a close by somebody else
                                  (orchestrator, owner) ends a share, because an agent must not wash itself

A workflow starts with the labels that its opener held; they belong to everybody who has a share in it. What is
learnt in a workflow after somebody else closed it belongs to the standing session, so that it is never lost.

A session's version changes exactly when its set of labels does, and is opaque: stores give it, and compare it.
Where runs share a process it is a counter of the subject's, from 0 up. Where they do not, it comes from the
number of the one workflow's labels, which only grows, and is below 0, so that the two cannot be confused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

STANDING = ""
"""The workflow of the standing session: calls without a workflow."""

MAX_SOURCES = 8
"""How many of the decisions that brought a label are told; the journal has them all."""

Session = Mapping[str, tuple[str, ...]]


def join(shares: Iterable[Session]) -> dict[str, tuple[str, ...]]:
    """The least session that holds every share: all labels, each with its first sources in order of their ids."""
    sources: dict[str, set[str]] = {}
    for share in shares:
        for label, decisions in share.items():
            sources.setdefault(label, set()).update(decision for decision in decisions if decision)
    return {label: tuple(sorted(sources[label])[:MAX_SOURCES]) for label in sorted(sources)}


def exceeding(labels: Iterable[str], clearance: Collection[str]) -> tuple[str, ...]:
    """The labels that a sink with this clearance does not accept, sorted; empty where the data may flow."""
    return tuple(sorted(set(labels).difference(clearance)))


def counts(*, subject: str, opener: str, closed_by: str) -> bool:
    """Whether a workflow's share counts in the session of `subject`; `closed_by` is "" while it is open."""
    return closed_by in ("", subject) or opener == subject


def isolated_version(labels: int) -> int:
    """The version of a session of one workflow alone, which has so many labels."""
    return -1 - labels
