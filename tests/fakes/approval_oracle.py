"""What a history of commits may say of approvals, said again from the start: by nothing of `remit.core.approval`.

It reads the commits in the order in which they were done, and finds whatever no order of them may do: a use beyond what
somebody approved who saw it, and an approval by those who may not, too late, or of what is over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from remit.core.approval import Approval
from remit.core.effect import (
    CloseWorkflow,
    Commit,
    JoinApproval,
    KeepAnswer,
    LiftHalt,
    MoveApproval,
    OpenApproval,
    OpenWorkflow,
    PlaceHalt,
    UseGrant,
)

SECOND = 1_000_000_000
MOST_WAITING, MOST_ITEMS = 20, 20
Looked = Mapping[str, tuple[int, frozenset[str]]]
"""What somebody saw of a request before they answered: of each binding the amount and the labels."""


@dataclass(frozen=True)
class Step:
    """A commit that was done; `held` are the labels of its subject's session right before."""

    commit: Commit
    held: frozenset[str]

    @cached_property
    def body(self) -> dict[str, Any]:
        """What its record says."""
        found: dict[str, Any] = json.loads(self.commit.record.body)
        return found

    @property
    def used(self) -> list[UseGrant]:
        """The grants that it uses."""
        return [each for each in self.commit.effects if isinstance(each, UseGrant)]

    @property
    def asks(self) -> dict[str, Any]:
        """What its subject wanted to do."""
        resource = self.body["resource"]
        return {
            "subject": self.body["subject"]["id"],
            "workflow": self.commit.record.workflow,
            "action": self.body["action"],
            "where": [resource["type"], resource["id"], resource["operation"]],
            "variant": resource["variant"],
            "arguments": self.body["context"]["arguments"],
        }


@dataclass
class Thing:
    """What is to be done under an approval, as whoever asked first said it."""

    asks: Mapping[str, Any]
    amount: int
    labels: frozenset[str]
    used: int = 0
    spent: int = 0


@dataclass
class Told:
    """An approval, as the history has it."""

    first: Approval
    things: dict[str, Thing]
    state: str
    deadline: int
    level: int = 0
    version: int = 1
    expires: int = 0
    said: dict[tuple[str, str], tuple[str, Looked]] = field(default_factory=dict)

    def seen(self) -> Looked:
        """What there is to see of it."""
        return {binding: (each.amount, each.labels) for binding, each in self.things.items()}


class Oracle:
    """Reads step after step; `wrong` is what it found. `looked` is what was seen by whom, by their answer's record."""

    def __init__(self, looked: Mapping[str, Looked]) -> None:
        self.wrong: list[str] = []
        self._looked = looked
        self._approvals: dict[str, Told] = {}
        self._open: set[str] = set()
        self._halts: dict[str, tuple[str, str]] = {}
        self._answered: set[tuple[str, str]] = set()

    def read(self, step: Step) -> None:
        """One commit more."""
        now = step.commit.record.time
        self._judge(step)
        for effect in step.commit.effects:
            match effect:
                case OpenApproval():
                    self._opened(effect.approval, step, now)
                case JoinApproval(same=False):
                    self._joined(effect, step, now)
                case JoinApproval():
                    self._again(effect, step, now)
                case MoveApproval():
                    self._moved(effect.approval, step, now)
                case UseGrant():
                    self._used(effect, step, now)
                case OpenWorkflow():
                    self._open.add(effect.id)
                case CloseWorkflow():
                    self._open.discard(effect.id)
                case PlaceHalt():
                    self._halts[effect.halt.id] = (effect.halt.scope, effect.halt.value)
                case LiftHalt():
                    self._halts.pop(effect.id)
                case KeepAnswer(provisional=False):
                    self._keep(effect, step)

    def compare(self, stored: Sequence[Approval]) -> None:
        """With what is stored at the end."""
        for each in stored:
            told = self._told(each.id)
            if (each.state.value, each.version) != (told.state, told.version):
                self.wrong.append(f"{each.id} is {each.state} at {each.version}, not {told.state} at {told.version}")
            counted = {item.binding: (item.used, item.spent) for item in each.items}
            if counted != {binding: (thing.used, thing.spent) for binding, thing in told.things.items()}:
                self.wrong.append(f"{each.id}: not every use is counted: {counted}")

    def _told(self, id: str) -> Told:
        return self._approvals[id]

    def _find(self, step: Step, what: str) -> None:
        self.wrong.append(f"{step.commit.record.id}: {what}")

    def _judge(self, step: Step) -> None:
        """What is held is never let through without a grant, nor against a halt or in a workflow that is over."""
        body = step.body
        if step.commit.record.kind != "decision" or body["effect"] != "ALLOW" or body["action"] != "api.call":
            return
        if not step.used:
            self._find(step, "it is allowed without a grant")
        flow = step.commit.record.workflow
        if flow and flow not in self._open:
            self._find(step, "its workflow is over")
        if ("agent", body["subject"]["id"]) in self._halts.values():
            self._find(step, "its agent is halted")
        if sorted(each.id for each in step.used) != sorted(body.get("grants", ())):
            self._find(step, "its record does not name what it uses")

    def _opened(self, opened: Approval, step: Step, now: int) -> None:
        if opened.state == "approved":
            self._offered(opened, step, now)
            return
        waiting = [each for each in self._approvals.values() if each.state == "pending"]
        if any(each.first.like == opened.like for each in waiting):
            self._find(step, f"{opened.id}: what is alike waits already")
        if sum(each.first.subject == opened.subject for each in waiting) >= MOST_WAITING:
            self._find(step, f"{opened.id}: too much waits")
        if opened.state != "pending" or opened.deadline != now + opened.terms.wait * SECOND:
            self._find(step, f"{opened.id} does not begin as what waits")
        (item,) = opened.items
        thing = Thing(step.asks, item.amount, frozenset(item.labels))
        if not step.held <= thing.labels:
            self._find(step, f"{opened.id} does not show all labels")
        self._approvals[opened.id] = Told(opened, {item.binding: thing}, "pending", opened.deadline)

    def _offered(self, grant: Approval, step: Step, now: int) -> None:
        """Somebody who could have approved it alone denies a request, and offers a changed one in its place: once."""
        moved = [each.approval for each in step.commit.effects if isinstance(each, MoveApproval)]
        (instead,) = moved
        told, (item,) = self._told(instead.id), grant.items
        (first,) = told.things.values()
        if instead.state != "denied" or instead.terms.quorum != 1:
            self._find(step, f"{grant.id} is offered for what is not one's to deny")
        if (grant.terms.bind.value, grant.terms.uses) != ("exact", 1) or grant.version != 1:
            self._find(step, f"{grant.id} is offered for more than one use")
        if step.body["subject"]["id"] == grant.subject or grant.expires != now + grant.terms.ttl * SECOND:
            self._find(step, f"{grant.id} is offered by whoever asks, or for another time")
        what = instead.alternative["resource"]
        asks = {**first.asks, "where": [what["type"], what["id"], what["operation"]], "variant": what["variant"]}
        asks["arguments"] = instead.alternative["arguments"]
        thing = Thing(asks, item.amount, frozenset(item.labels))
        if thing.amount > first.amount or not thing.labels <= first.labels:
            self._find(step, f"{grant.id} is offered for more than was asked for")
        self._approvals[grant.id] = Told(grant, {item.binding: thing}, "approved", 0, expires=grant.expires)

    def _joined(self, joined: JoinApproval, step: Step, now: int) -> None:
        told, item = self._told(joined.id), joined.item
        if told.state != "pending" or told.deadline <= now or told.version != joined.version:
            self._find(step, f"{joined.id} is over, or another, and is joined")
        there = told.things.get(item.binding)
        thing = Thing(there.asks if there else step.asks, item.amount, frozenset(item.labels))
        if not step.held <= thing.labels or (
            there and not (there.labels <= thing.labels and there.amount <= thing.amount)
        ):
            self._find(step, f"{joined.id} shows less than is asked for")
        told.things[item.binding] = thing
        told.version += 1
        if len(told.things) > MOST_ITEMS:
            self._find(step, f"{joined.id} has too many items")

    def _again(self, joined: JoinApproval, step: Step, now: int) -> None:
        """The same waits already: nobody needs to look again."""
        told = self._told(joined.id)
        thing = told.things.get(joined.item.binding)
        if told.state != "pending" or told.deadline <= now or thing is None or not step.held <= thing.labels:
            self._find(step, f"{joined.id} is said to wait for what it does not")

    def _moved(self, after: Approval, step: Step, now: int) -> None:
        told, id = self._told(after.id), after.id
        known = told.first.votes
        new = after.votes[len(known) :]
        if after.votes[: len(known)] != known:
            self._find(step, f"{id} forgets what was said")
        if after.version != told.version + 1:
            self._find(step, f"{id} is changed by what is not its version")
        if told.state not in ("pending", "approved") or (told.state == "approved" and after.state != "revoked"):
            self._find(step, f"{id} is {told.state}, and becomes {after.state}")
        if told.state == "pending" and (told.deadline <= now) is bool(new):
            self._find(step, f"{id}: an answer after, or the clock before, its time")
        for vote in new:
            if vote.by == told.first.subject:
                self._find(step, f"{id} is answered by whoever asks")
            told.said[vote.kind, vote.by] = (vote.verdict.value, self._looked.get(vote.decision, told.seen()))
        told.first = after
        told.state, told.version = after.state.value, told.version + 1
        told.level, told.deadline, told.expires = after.level, after.deadline, after.expires
        if after.state == "approved":
            self._approved(told, step, now, bool(new))

    def _approved(self, told: Told, step: Step, now: int, answered: bool) -> None:
        """As many as are asked for have said so, of all that is there."""
        id, terms = told.first.id, told.first.terms
        there = told.seen()
        agree = [seen for verdict, seen in told.said.values() if verdict == "approve"]
        if not answered or len(agree) < terms.quorum:
            self._find(step, f"{id} is approved by {len(agree)} of {terms.quorum}")
        for seen in agree:
            unseen = {binding: what for binding, what in there.items() if seen.get(binding) != what}
            if unseen:
                self._find(
                    step, f"{id} is approved by somebody who has not seen {len(unseen)} of its items as they are"
                )
        if any(verdict == "deny" for verdict, _ in told.said.values()):
            self._find(step, f"{id} is approved, and somebody denied it")
        if told.expires != now + terms.ttl * SECOND:
            self._find(step, f"{id} does not end when it is to")

    def _used(self, use: UseGrant, step: Step, now: int) -> None:
        told = self._told(use.id)
        terms, thing = told.first.terms, told.things.get(use.binding)
        if told.state != "approved" or now >= told.expires:
            self._find(step, f"{use.id} is {told.state}, or over, and is used")
        if thing is None:
            self._find(step, f"{use.id} is used for what it is not for")
            return
        parts = {"exact": ("variant", "arguments"), "variant": ("variant",), "operation": ()}[terms.bind.value]
        alike = ("subject", "workflow", "action", "where", *parts)
        if any(thing.asks[part] != step.asks[part] for part in alike):
            self._find(step, f"{use.id} is used for something else")
        thing.used += 1
        thing.spent += use.amount
        if thing.used > terms.uses:
            self._find(step, f"{use.id} is used {thing.used} times, not {terms.uses}")
        if terms.cost is not None and sum(each.spent for each in told.things.values()) > terms.cost:
            self._find(step, f"{use.id} is used beyond its cost")
        if terms.bind.value == "exact" and use.amount > thing.amount:
            self._find(step, f"{use.id} is used for more than was approved")
        if use.amount != int(step.body["reserved"]):
            self._find(step, f"{use.id} is used for another amount than is reserved")
        if not step.held <= thing.labels:
            self._find(step, f"{use.id} is used under labels that nobody approved")

    def _keep(self, kept: KeepAnswer, step: Step) -> None:
        key = (kept.subject, f"{kept.rpc} {kept.key}")
        if key in self._answered:
            self._find(step, f"{key} was answered before")
        self._answered.add(key)
