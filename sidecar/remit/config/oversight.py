"""Reading what must be approved and by whom, and which actions of two agents contradict each other."""

from __future__ import annotations

import re

from remit.config.reading import Cursor, Reader, Section, Wrong, choice, distinct, items, nanos, text, truth, whole
from remit.config.tree import Items
from remit.config.values import duration, identifier, name
from remit.core.catalogue import Approval, Conflicts
from remit.core.model import ActionName

REVIEWED = (
    ActionName.DATA_READ,
    ActionName.DATA_WRITE,
    ActionName.API_CALL,
    ActionName.TOOL_CALL,
    ActionName.MESSAGE_SEND,
    ActionName.DECISION_MAKE,
)
"""Actions that a supervisor can review before they are done."""

MOST_PAIRS = 64
MOST_VOTES = 16

_OBJECT = re.compile(r"(/[A-Za-z0-9_.~-]{1,64}){0,8}", re.ASCII)

reviewed: Reader[tuple[str, ...]] = distinct(choice(*REVIEWED))
"""Which actions of an agent are reviewed."""


def approval(keys: Section) -> Approval:
    """What must be approved. People need a role that may; where supervisors are asked, there may be none."""
    keys.require_one("roles", "supervisor")
    supervised = keys.read("supervisor", truth, None)
    roles = distinct(identifier, least=0 if supervised else 1)
    return Approval(
        roles=keys.require("roles", roles, ()) if supervised is False else keys.read("roles", roles, ()),
        bind=keys.read("bind", choice("exact", "variant", "operation"), "variant"),
        uses=keys.read("uses", whole(1, 1_000_000), 1),
        cost=keys.read("cost", nanos, None),
        ttl=keys.read("ttl", duration, 3600),
        supervisor=supervised or False,
        quorum=keys.read("quorum", whole(1, MOST_VOTES), 1),
        wait=keys.read("wait", duration, 3600),
    )


def conflicts(keys: Section) -> Conflicts:
    """A service's `conflicts`."""
    pointer = text(_OBJECT, 'a JSON pointer into the arguments such as /invoice, or "" for all of the resource')
    return Conflicts(
        between=keys.require("between", items(_pair, least=1, most=MOST_PAIRS), ()),
        object=keys.read("object", pointer, ""),
        policy=keys.read("policy", choice("first-wins", "priority", "escalate"), "first-wins"),
    )


def _pair(at: Cursor) -> tuple[str, str]:
    if isinstance(at.node, Items) and len(at.node.nodes) != 2:
        raise at.wrong("a pair of operations, such as [approve, reject]", f"{len(at.node.nodes)} of them")
    found = items(name)(at)
    if len(found) != 2:
        raise Wrong
    return found[0], found[1]
