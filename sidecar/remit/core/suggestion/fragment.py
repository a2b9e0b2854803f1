"""The catalogue's part of a suggestion, as a file that says for each line what it rests on.

Everything that an agent named stands in quotes, or escaped behind a `#`: the file parses whatever was named.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from remit.core.money import NANOS
from remit.core.suggestion.observed import Seen, Spent
from remit.core.suggestion.proposal import Edit, Entry, Proposal
from remit.core.text import amount, clean, counted, moment

TODO = "TODO"
"""Stands where nobody but a person can say what belongs there; no catalogue takes it."""

MAX_TOLD = 200
_MAX_SHOWN = 160
_DAY = 86_400 * NANOS
_HEADROOM = 3, 2

_HEAD = """\
# From what was observed: {period}.
# Each TODO is a person's to fill in; until then `remit check` refuses this file. Nothing here lowers a rule.
"""
_EDITS = """
# To add to entries that are there already, where they stand: one entry cannot be in two files.
"""
_DECIDE = """
# To decide. These labels were held, or would have been read, and the receiver is not cleared for them. It stays denied
# until somebody who answers for the data says otherwise:
"""
_STAYS = """
# Would stay denied, or held:
"""
_BUDGETS = """
# To decide: what was spent on the dearest day, and half of it more.
# budgets:
"""


def fragment(proposal: Proposal, *, period: str, currency: str, days: Sequence[tuple[str, int]]) -> str:
    """The file. `days` are agents and what each spent on its dearest day, in nanos of the currency."""
    parts = [_HEAD.format(period=_said(period))]
    parts += _entries("services", proposal, currency) or ["services: {}\n"]
    parts += _entries("datasets", proposal, currency)
    if proposal.prices:
        parts.append("prices:\n")
        for name, seen in sorted(proposal.prices.items()):
            parts.append(f"  # {evidence(seen, currency)}\n")
            parts.append(f"  - {{match: {json.dumps(name)}, unit: call, amount: {TODO}, currency: {currency}}}\n")
    parts += _section(_EDITS, (_edit(each, currency) for each in _ordered(proposal.edits.values())))
    parts += _section(_DECIDE, (_edit(each, currency) for each in _ordered(proposal.decide.values())))
    parts += _section(
        _STAYS, (line for each in proposal.stays for line in _stays(each.seen, each.reasons, each.changes))
    )
    parts += _section(_BUDGETS, (_budget(agent, most) for agent, most in days))
    return "".join(parts)


def evidence(seen: Sequence[Seen], currency: str) -> str:
    """How often, from when to when, by whom, at what cost."""
    agents = sorted({each.access.agent for each in seen})
    named = ", ".join(_said(each) for each in agents[:5]) + (f" and {len(agents) - 5} more" if len(agents) > 5 else "")
    first, last = min(each.first for each in seen), max(each.last for each in seen)
    cost = amount(sum(each.cost for each in seen), currency)
    times = counted(sum(each.count for each in seen), "time")
    return f"{times}, {moment(first)} to {moment(last)}, by {named}, {cost}"


def dearest_days(spent: Iterable[Spent]) -> list[tuple[str, int]]:
    """Each agent that spent anything, and what it spent on its dearest day (in UTC)."""
    days: dict[tuple[str, int], int] = {}
    for each in spent:
        key = (each.kind.access.agent, each.time // _DAY)
        days[key] = days.get(key, 0) + each.cost
    agents: dict[str, int] = {}
    for (agent, _), cost in days.items():
        agents[agent] = max(agents.get(agent, 0), cost)
    return sorted((agent, cost) for agent, cost in agents.items() if cost > 0)


def _entries(section: str, proposal: Proposal, currency: str) -> list[str]:
    found = [each for (kind, _), each in sorted(proposal.entries.items()) if kind == section]
    if not found:
        return []
    return [f"{section}:\n", *(line for each in found for line in _entry(each, currency))]


def _entry(entry: Entry, currency: str) -> Iterator[str]:
    yield f"  # {evidence(entry.seen, currency)}\n"
    yield f"  {json.dumps(entry.id)}:\n"
    yield f"    owner: {TODO}    # the team that answers for it\n"
    if entry.section == "datasets":
        yield f"    labels: {TODO}    # a list: what is sensitive in it; [] where nothing is\n"
        yield "    # url and tables: docs/catalogue.md\n"
    else:
        yield "    # kind, endpoints, credentials, returns (the labels of its answers): docs/catalogue.md\n"
        if entry.operations and "" not in entry.operations:
            yield f"    operations: {_list(entry.operations)}\n"
        if named := entry.variants - {""}:
            yield f"    variants: {{{', '.join(f'{json.dumps(each)}: {{}}' for each in sorted(named))}}}\n"
    if entry.purposes and "" not in entry.purposes:
        yield f"    purposes: {_list(entry.purposes)}\n"
    if entry.labels:
        yield f"    # clearance: {_list(entry.labels)}    # TO DECIDE: held when it was called; denied without\n"


def _edit(edit: Edit, currency: str) -> Iterator[str]:
    yield f"#   {_said(edit.at)}: {_quoted(edit.add)}    # {evidence(edit.seen, currency)}\n"


def _stays(seen: Seen, reasons: Sequence[tuple[str, str]], changes: Sequence[str]) -> Iterator[str]:
    why = ", ".join(f"{_said(policy)}: {_said(code)}" for policy, code in reasons)
    yield f"#   {access_words(seen)}: {seen.kind.effect.lower()} {counted(seen.count, 'time')} ({why})\n"
    for change in changes:
        yield f"#     {_said(change)}\n"


def access_words(seen: Seen) -> str:
    """Such as "support api.call service models/chat/small for support"."""
    access = seen.access
    named = "/".join(_said(each) for each in (access.id, access.operation, access.variant) if each)
    words = f"{_said(access.agent)} {_said(access.action)} {_said(access.type)} {named}"
    actor = f" as {_said(access.actor)}" if access.actor else ""
    purpose = f" for {_said(access.purpose)}" if access.purpose else ""
    return words + actor + purpose


def _budget(agent: str, most: int) -> Iterator[str]:
    limit = amount(-(-most * _HEADROOM[0] // _HEADROOM[1]))
    when = f"{{agent: {_quoted(agent)}}}"
    yield f"#   {_said(agent)}-day: {{when: {when}, limit: {limit}, window: day}}    # {amount(most)}\n"


def _section(head: str, found: Iterable[Iterator[str]] | Iterable[str]) -> list[str]:
    lines = [line for each in found for line in ([each] if isinstance(each, str) else each)]
    if not lines:
        return []
    more = len(lines) - MAX_TOLD
    return [head, *lines[:MAX_TOLD], *([f"#   and {counted(more, 'line')} more: see --json\n"] if more > 0 else [])]


def _ordered(edits: Iterable[Edit]) -> list[Edit]:
    return sorted(edits, key=lambda each: (each.at, each.add))


def _list(names: Iterable[str]) -> str:
    return f"[{', '.join(json.dumps(each) for each in sorted(names))}]"


def _quoted(name: str) -> str:
    return json.dumps(name[:_MAX_SHOWN])


def _said(words: str) -> str:
    """Somebody's text on one line of a comment."""
    return clean(words if len(words) <= _MAX_SHOWN else words[:_MAX_SHOWN] + "…")
