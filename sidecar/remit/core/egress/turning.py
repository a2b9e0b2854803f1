"""What a refusal says of the approvals that it turns on, and of what is allowed instead: for people, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from remit.core.answer import Answer, Turning
from remit.core.approval import State
from remit.core.canonical import encode_exact

MOST_NAMED = 3
"""Approvals that the message names; the others are among the JSON, and in the header."""

MESSAGE_BYTES = 1024
BODY_BYTES = 16 * 1024
"""Of an alternative as JSON, in the message and in the body; a longer one is got with its decision."""

_ENDED = {
    State.APPROVED: "has been approved",
    State.DENIED: "was denied",
    State.EXPIRED: "was not answered in time",
    State.REVOKED: "was taken back",
}
_AGAIN = "Send the same request again to use it once it is given."


@dataclass(frozen=True, slots=True)
class Turned:
    """What a decision turns on; nothing, where both are empty."""

    approvals: tuple[Turning, ...] = ()
    alternative: Mapping[str, Any] | None = None

    def __bool__(self) -> bool:
        return bool(self.approvals) or self.alternative is not None

    @property
    def ids(self) -> tuple[str, ...]:
        """The approvals' ids."""
        return tuple(each.id for each in self.approvals)

    @property
    def pending(self) -> bool:
        """Whether any of them waits to be answered."""
        return any(each.state is State.PENDING for each in self.approvals)

    def text(self) -> str:
        """In sentences, "" for nothing."""
        told = [_sentence(each) for each in self.approvals[:MOST_NAMED]]
        if len(self.approvals) > MOST_NAMED:
            told.append(f"{len(self.approvals) - MOST_NAMED} more wait as well.")
        if self.pending:
            told.append(_AGAIN if len(self.approvals) == 1 else _AGAIN.replace("it is", "all are"))
        if self.alternative is not None:
            written = encode_exact(self.alternative)
            shown = written.decode() if len(written) <= MESSAGE_BYTES else "as this decision says"
            told.append(f"Allowed instead: {shown}. Sending that uses its grant.")
        return " ".join(told)

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        found: dict[str, Any] = {"approvals": [_document(each) for each in self.approvals]} if self.approvals else {}
        if self.alternative is not None and len(encode_exact(self.alternative)) <= BODY_BYTES:
            found["alternative"] = self.alternative
        return found


NOTHING = Turned()


def turned(answer: Answer) -> Turned:
    """What an answer turns on."""
    return Turned(answer.approvals, answer.alternative)


def _sentence(each: Turning) -> str:
    if each.state is not State.PENDING:
        return f"Approval {each.id} {_ENDED[each.state]}."
    return f"It waits for approval by {_whom(each)} until {_time(each.deadline)}: approval {each.id}."


def _whom(each: Turning) -> str:
    people = f"people with the role {' or '.join(each.roles)}" if each.roles else ""
    if each.supervisor:
        return f"{each.supervisor} or {people}" if people else each.supervisor
    return people or "whoever may"


def _document(each: Turning) -> dict[str, Any]:
    return {
        "id": each.id,
        "state": each.state.value,
        "policy": each.policy,
        "code": each.code,
        "supervisor": each.supervisor,
        "roles": list(each.roles),
        "expire_time": _time(each.deadline),
    }


def _time(nanoseconds: int) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
