"""How approvals are waited for, and where chat tools are told of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from remit.config.listening import is_loopback
from remit.config.reading import Cursor, Section, secret_text, section
from remit.config.values import duration, path

LONGEST_WAIT = 3600

_URL = re.compile(r"https?://[!-~]{1,1000}", re.ASCII)
_URL_EXPECTED = "https://HOST[:PORT]/PATH (http:// on loopback alone)"
_OTHER = "another URL (not shown)"


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Where events are posted, and the file of the secret that signs them.

    Whoever knows the URL of a chat tool's webhook can post there: it is not shown.
    """

    url: str = field(repr=False)
    secret_file: Path


@dataclass(frozen=True, slots=True)
class ApprovalSettings:
    """`wait` is the longest, in seconds, that what is held may keep a call open; without `webhook` nobody is told."""

    wait: int = 600
    webhook: WebhookSettings | None = None


def approvals(keys: Section) -> ApprovalSettings:
    """The section `approvals`."""
    return ApprovalSettings(
        wait=keys.read("wait", _wait, ApprovalSettings().wait),
        webhook=keys.read("webhook", section(_webhook), None),
    )


def _webhook(keys: Section) -> WebhookSettings:
    return WebhookSettings(
        url=keys.require("url", _url, ""),
        secret_file=keys.require("secret_file", path, Path()),
    )


def _wait(at: Cursor) -> int:
    found = duration(at)
    if found > LONGEST_WAIT:
        raise at.wrong("a duration such as 30s or 10m, up to 1h")
    return found


def _url(at: Cursor) -> str:
    """The address of a chat tool's webhook ends in what lets anybody post there: it is never repeated."""
    found = secret_text(_URL, _URL_EXPECTED)(at)
    try:
        parts = urlsplit(found)
        usable = parts.port != 0 and bool(parts.hostname) and "@" not in parts.netloc and not parts.fragment
    except ValueError:
        raise at.wrong(_URL_EXPECTED, _OTHER) from None
    if not usable or not (parts.scheme == "https" or is_loopback(parts.hostname or "")):
        raise at.wrong(_URL_EXPECTED, _OTHER)
    return found
