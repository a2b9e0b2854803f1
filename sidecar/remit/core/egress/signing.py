"""The key pair that signs requests to AWS: as it stands in the catalogue's credential, and as Envoy reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

FORM = "ACCESS_KEY_ID:SECRET_ACCESS_KEY or ACCESS_KEY_ID:SECRET_ACCESS_KEY:SESSION_TOKEN"

_KEY = re.compile(rb"([A-Za-z0-9_]{16,128}):([A-Za-z0-9/+=]{16,128})(?::([A-Za-z0-9/+=_-]{16,8192}))?", re.ASCII)

SIGNED_BESIDE = ("x-amz-date", "x-amz-security-token", "x-amz-content-sha256")
"""The headers that a signature brings besides `authorization`: an agent's own never leave."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An AWS key pair; `session` is "" where it is not a temporary one. What is secret is not shown by repr."""

    id: str
    secret: str = field(repr=False)
    session: str = field(default="", repr=False)

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """What no answer may bring back. The id is no secret: AWS itself names it in errors."""
        return tuple(each.encode() for each in (self.secret, self.session) if each)

    @property
    def profile(self) -> str:
        """The text of an AWS credentials file with this key as its default profile."""
        lines = [f"aws_access_key_id={self.id}", f"aws_secret_access_key={self.secret}"]
        if self.session:
            lines.append(f"aws_session_token={self.session}")
        return "\n".join(("[default]", *lines, ""))


def read_key(text: bytes) -> SigningKey | None:
    """The key pair that a credential's text is, None where it is none (see `FORM`)."""
    found = _KEY.fullmatch(text)
    return SigningKey(*((each or b"").decode("ascii") for each in found.groups())) if found else None
