"""What an agent sees of a dataset, asked of policy and kept as long as it holds.

One answer serves all statements (`core.view.given`), and is kept by the digest of the whole document and the policy
revision. The time alone is left out of the digest, and a view that reads it is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from remit.core.canonical import encode_exact
from remit.core.model import Facts, Request
from remit.core.view.given import view_document
from remit.core.view.model import TableView
from remit.pep.kept import Kept
from remit.pep.world import Installation

MAX_KEPT = 2048


class Views:
    """Asks policy for views."""

    def __init__(self) -> None:
        self._kept: Kept[tuple[str, str, str, bytes], TableView] = Kept(MAX_KEPT)

    async def of(
        self, installation: Installation, request: Request, facts: Facts, tables: Sequence[str]
    ) -> Mapping[str, TableView]:
        """The view of each table. Raises PolicyFailure, ViewInvalid, ViewRefused."""
        dataset, pdp = request.resource.id, installation.pdp
        document = view_document(installation.catalogue, request, facts)
        mark = b"" if pdp.reads_time(dataset) else _digest(document)
        keys = {table: (pdp.revision, dataset, table, mark) for table in tables}
        found = {table: self._kept.get(key) for table, key in keys.items()} if mark else {}
        missing = [table for table in tables if found.get(table) is None]
        asked = await pdp.view(dataset, missing, document) if missing else ()
        for table, view in zip(missing, asked, strict=True):
            if mark:
                self._kept.put(keys[table], view)
            found[table] = view
        return {table: view for table, view in found.items() if view is not None}


def _digest(document: Mapping[str, Any]) -> bytes:
    timeless = {**document, "context": {**document["context"], "time": 0}}
    return sha256(encode_exact(timeless)).digest()
