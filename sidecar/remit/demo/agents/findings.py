"""What the agents tell each other about a customer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Findings:
    """What is known of a customer, the risk (0 to 100, None where nobody scored it), the outcome ("" until decided),
    and the refs of the actions that brought it."""

    customer: str
    known: Mapping[str, str]
    risk: int | None
    evidence: tuple[str, ...]
    outcome: str = ""

    def text(self) -> str:
        """As a message."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def read(cls, text: str) -> Self:
        """The inverse of `text`."""
        document = json.loads(text)
        return cls(**{**document, "evidence": tuple(document["evidence"])})


def prompt(task: str, known: Mapping[str, str]) -> str:
    """A prompt: everything that is known, as these agents do."""
    return "\n".join([f"task: {task}", *(f"{name}: {value}" for name, value in known.items())])
