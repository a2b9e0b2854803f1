"""The APIs that the agents call: a model API, an e-mail API. No question is asked here.

The model API is called with its official client, which finds address and key in its own variables (`OPENAI_BASE_URL`,
`OPENAI_API_KEY`); the e-mail API with plain HTTP (`MAIL_URL`, `MAIL_API_KEY`). Whether these are the providers' own or
Remit's egress, nothing here can tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx2
from openai import AsyncOpenAI

MAX_TOKENS = 256
DECISION = "remit-decision"


@dataclass(frozen=True, slots=True)
class Done:
    """What an API answered (`text`, where it says something), and the decision that the answer names ("" for none)."""

    text: str
    decision: str


class Effects:
    """Each method is one real effect. `http` is what requests leave by; openai's and httpx2's own errors are raised."""

    def __init__(self, http: httpx2.AsyncClient, environment: Mapping[str, str]) -> None:
        self._http = http
        self._models = AsyncOpenAI(http_client=http)
        self._mail = environment["MAIL_URL"]
        key = environment.get("MAIL_API_KEY")
        self._mail_key = {"authorization": f"Bearer {key}"} if key else {}

    async def complete(self, variant: str, prompt: str, headers: Mapping[str, str]) -> Done:
        """One call of the model API, with these headers besides."""
        answer = await self._models.chat.completions.with_raw_response.create(
            model=variant,
            max_tokens=MAX_TOKENS,
            messages=[{"role": "user", "content": prompt}],
            extra_headers=headers,
        )
        said = answer.parse().choices[0].message.content
        return Done(said or "", answer.headers.get(DECISION, ""))

    async def mail(self, to: str, subject: str, text: str, headers: Mapping[str, str]) -> Done:
        """Hand a message to the e-mail API, with these headers besides."""
        answer = await self._http.post(
            f"{self._mail}/messages",
            json={"to": to, "subject": subject, "text": text},
            headers={**self._mail_key, **headers},
        )
        answer.raise_for_status()
        return Done("", answer.headers.get(DECISION, ""))
