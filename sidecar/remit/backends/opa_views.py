"""Asking OPA for data views: the row filter by its Compile API, the masks by its data API, both of one bundle.

The filter is read by `core.view.ucast`, which also tells whether it is of the bundle that is expected. The Compile API
keeps silent about built-in functions that failed, so what a filter builds on is asked for strictly, with the masks.
Views have connections of their own: a slow one does not hold a decision up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from remit.backends.opa_answer import read_body, read_result, refusal
from remit.backends.opa_http import Channel, Dial, ExchangeFailed, HttpAnswer
from remit.backends.opa_request import encoded, post
from remit.core.canonical import encode_exact
from remit.core.dispatch import view_name
from remit.core.errors import PolicyFailure
from remit.core.reason import Reason
from remit.core.view.masks import read_masks
from remit.core.view.model import TableView, ViewRefused
from remit.core.view.ucast import MARKS, read_filter

UCAST = b"application/vnd.opa.ucast.all+json"
CONNECTIONS = 4
_ANSWER_KEYS = frozenset({"result", "hints"})
# Masks are asked for strictly. Where none are named here, OPA parses every policy again to look for an annotation.
_NO_MASKS = b"data.remit.viewing.nothing"
_SAID_KEYS = frozenset({"masks", "known"})


@dataclass(frozen=True, slots=True)
class DatasetViews:
    """What a bundle says of a dataset's view: its tables' columns, and the mark that its filters carry."""

    tables: Mapping[str, Collection[str]]
    mark: str
    reads_time: bool = True


class OpaViews:
    """Asks one OPA for the views of one bundle."""

    def __init__(self, dial: Dial, revision: str, views: Mapping[str, DatasetViews]) -> None:
        self._dial = dial
        self._revision = revision
        self._views = views
        self._free: list[Channel] = []
        self._busy: set[Channel] = set()
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._closed = False

    def reads_time(self, dataset: str) -> bool:
        """Whether the view of a dataset may depend on the time; so does one that is not known."""
        views = self._views.get(dataset)
        return views is None or views.reads_time

    async def view(self, dataset: str, tables: Sequence[str], document: Mapping[str, Any]) -> list[TableView]:
        """The views of these tables. Raises PolicyFailure, ViewRefused, ViewInvalid, ExchangeFailed."""
        views = self._views.get(dataset)
        if views is None:
            raise ViewRefused(f"no view of {dataset[:80]} is written", expected=f"a package remit.views.{dataset[:80]}")
        for table in tables:
            if table not in views.tables:
                raise ViewRefused(f"the table {table[:80]!r}", where=dataset, expected="a table of the catalogue")
        async with self._turns:
            if self._closed:
                raise ExchangeFailed("the sidecar let go of this OPA")
            channel = self._free.pop() if self._free else Channel(self._dial)
            self._busy.add(channel)
            try:
                return [await self._ask(channel, dataset, table, _of_table(document, table)) for table in tables]
            finally:
                self._busy.discard(channel)
                self._free.append(channel)

    async def _ask(self, channel: Channel, dataset: str, table: str, document: bytes) -> TableView:
        views = self._views[dataset]
        said = await channel.exchange(_said_request(dataset, document))
        masks = _said(read_result(said, self._revision))
        compiled = await channel.exchange(_include_request(dataset, document, views.tables))
        included = read_filter(_query(compiled), table, views.tables[table], views.mark)
        return TableView(table, included, read_masks(masks, dataset, table, views.tables))

    def close(self) -> None:
        """Drop the connections, for good."""
        self._closed = True
        for channel in (*self._free, *self._busy):
            channel.close()


def _of_table(document: Mapping[str, Any], table: str) -> bytes:
    resource = document["resource"]
    asked = {**document, "resource": {**resource, "operation": table, "ref": f"{resource['id']}/{table}"}}
    return encoded(asked)


def _said(result: object) -> object:
    if not isinstance(result, dict) or result.keys() != _SAID_KEYS:
        raise PolicyFailure(Reason.POLICY_INVALID, "what a view says of masks has another shape than it is asked in")
    return result["masks"]


def _query(answer: HttpAnswer) -> object:
    """The query of a compiled filter; PolicyFailure where there is none."""
    body = read_body(answer)
    if answer.code != 200:
        raise refusal(answer.code, body)
    result = body.get("result") if isinstance(body, dict) and body.keys() <= _ANSWER_KEYS else None
    if not isinstance(result, dict) or result.keys() != {"query"}:
        raise PolicyFailure(Reason.PDP_UNAVAILABLE, "OPA gave no filter: it serves another bundle, or is another OPA")
    return result["query"]


def _said_request(dataset: str, document: bytes) -> bytes:
    target = f"/v1/data/remit/viewing/{view_name(dataset)}/said?strict-builtin-errors=true&provenance=true"
    return post(target.encode(), b'{"input":%b}' % document)


def _include_request(dataset: str, document: bytes, tables: Collection[str]) -> bytes:
    unknowns = encode_exact([f'input["{name}"]' for name in (*tables, MARKS)])
    body = b'{"input":%b,"unknowns":%b,"options":{"maskRule":"%b"}}' % (document, unknowns, _NO_MASKS)
    return post(f"/v1/compile/remit/viewing/{view_name(dataset)}/include".encode(), body, accept=UCAST)
