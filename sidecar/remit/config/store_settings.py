"""Where the installation's store is: the embedded file, or a PostgreSQL that all its members share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from remit.config.reading import Cursor, Section, distinct, text, truth
from remit.config.tree import Leaf
from remit.config.values import path
from remit.core.database_url import URLS, PostgresPlace, UrlRefused, parse_url
from remit.core.model import ActionName

POSTGRES_URL = "postgresql://user@host:port/database"
MAY_BE_LOCAL = (ActionName.API_CALL.value, ActionName.DATA_READ.value)
"""What changes nothing that another sidecar must know before the answer."""

_URL = re.compile(r"[^\x00-\x1f\x7f]{1,1024}")


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """`url` is PostgreSQL's, without a password; "" is the embedded file.

    With `allotments` a sidecar takes slices of budgets, and spends them by itself. `local` are the actions that may be
    answered once they are durable on its own disk, before PostgreSQL has them.
    """

    url: str = ""
    password_file: Path | None = None
    allotments: bool = True
    local: tuple[str, ...] = (ActionName.API_CALL.value,)

    @property
    def shared(self) -> bool:
        """Whether other members may have the same store."""
        return bool(self.url)

    @property
    def place(self) -> PostgresPlace:
        """What `url` says; for a shared store alone."""
        place = parse_url(self.url)
        assert isinstance(place, PostgresPlace)
        return place


def store(keys: Section) -> StoreSettings:
    """The section `store`."""
    default = StoreSettings()
    if keys.has("password_file") and not keys.has("url"):
        keys.wrong("password_file", "a password only beside `url`, of the database that it is for")
    return StoreSettings(
        url=keys.read("url", postgres_url, default.url),
        password_file=keys.read("password_file", path, default.password_file),
        allotments=keys.read("allotments", truth, default.allotments),
        local=keys.read("local", distinct(_may_be_local), default.local),
    )


def _may_be_local(at: Cursor) -> str:
    if isinstance(at.node, Leaf) and at.node.text in MAY_BE_LOCAL:
        return at.node.text
    raise at.wrong(f"{' or '.join(MAY_BE_LOCAL)}: PostgreSQL must have everything else before the answer")


def postgres_url(at: Cursor) -> str:
    """A PostgreSQL database's URL. Whatever stands in it may be a password that somebody put there: not repeated."""
    found = text(_URL, POSTGRES_URL)(at)
    try:
        place = parse_url(found)
    except UrlRefused as error:
        raise at.wrong(*_refused(error)) from error
    if not isinstance(place, PostgresPlace):
        raise at.wrong(POSTGRES_URL, "the URL of another database")
    return found


def _refused(error: UrlRefused) -> tuple[str, str]:
    """Expected and found. A store's password has another place than a dataset's."""
    if error.found == "a password":
        return "none in it: `store.password_file` says where it is", error.found
    return error.expected.replace(URLS, POSTGRES_URL), error.found
