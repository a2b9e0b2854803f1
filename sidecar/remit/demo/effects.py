"""The world that the agents act on: a database, a model API, an e-mail API. No question is asked here."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import ClientSession, ClientTimeout, TCPConnector

MAX_TOKENS = 256
SHARED_KEY = "sk-demo-shared"
"""The one key that everybody uses with the third parties, as it so often is."""


class UpstreamFailed(Exception):
    """A third party did not do what it was asked."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the world is: the customers' database, and the base URLs of the model and e-mail APIs."""

    database: Path
    models: str
    mail: str


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model said, and the tokens that it read and wrote."""

    text: str
    read: int
    written: int


class Effects:
    """`async with Effects(places) as effects:`; each method is one real effect."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = ClientSession(
            headers={"authorization": f"Bearer {SHARED_KEY}"},
            timeout=ClientTimeout(total=20),
            connector=TCPConnector(limit=64),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    def read(self, customer: str, columns: Sequence[str]) -> dict[str, str]:
        """Named columns of one customer, as text."""
        names = ", ".join(f'"{column}"' for column in columns)
        query = f"SELECT {names} FROM customers WHERE id = ?"  # noqa: S608 (the columns are the agents' own constants)
        with sqlite3.connect(f"{self._places.database.as_uri()}?mode=ro", uri=True) as database:
            row = database.execute(query, (customer,)).fetchone()
        database.close()
        if row is None:
            raise UpstreamFailed(f"no customer {customer!r}")
        return {column: str(value) for column, value in zip(columns, row, strict=True)}

    async def complete(self, variant: str, prompt: str, request_id: str) -> Completion:
        """One call of the model API. `request_id` is what its own log will show."""
        body = {"model": variant, "max_tokens": MAX_TOKENS, "messages": [{"role": "user", "content": prompt}]}
        answer = await self._post(f"{self._places.models}/v1/chat/completions", body, request_id)
        usage = answer["usage"]
        text = str(answer["choices"][0]["message"]["content"])
        return Completion(text, int(usage["prompt_tokens"]), int(usage["completion_tokens"]))

    async def mail(self, to: str, subject: str, text: str, request_id: str) -> None:
        """Hand a message to the e-mail API."""
        body = {"to": to, "subject": subject, "text": text}
        await self._post(f"{self._places.mail}/messages", body, request_id)

    async def _post(self, url: str, body: Mapping[str, Any], request_id: str) -> Any:
        if self._session is None:
            raise UpstreamFailed("not entered: use `async with`")
        headers = {"x-request-id": request_id} if request_id else {}
        async with self._session.post(url, json=body, headers=headers) as response:
            if response.status >= 300:
                raise UpstreamFailed(f"{url}: {response.status} {await response.text()}")
            return await response.json()
