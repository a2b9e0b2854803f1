"""The variables by which official clients find the egress, and the agent's credential in the key's place.

Each name and each habit (whether a base URL ends in /v1) is that of the client's own source: openai 3.57,
anthropic 2.14, google-genai 3.6, botocore 1.44. Where several services are of one kind, the first one has the names.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

BYPASS = "127.0.0.1,localhost,::1"
"""What is not asked through the proxy: the egress itself, and the rest of this machine."""

PROXY_USER = "remit"

# kind → (variable, what follows the service's URL)
_BASES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "openai": (("OPENAI_BASE_URL", "/v1"),),
    "anthropic": (("ANTHROPIC_BASE_URL", ""),),
    "gemini": (("GOOGLE_GEMINI_BASE_URL", ""),),
    "azure": (("AZURE_OPENAI_ENDPOINT", ""),),
    "bedrock": (("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", ""), ("ANTHROPIC_BEDROCK_BASE_URL", "")),
}
_KEYS: Mapping[str, str] = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "azure": "AZURE_OPENAI_API_KEY",
    "bedrock": "AWS_BEARER_TOKEN_BEDROCK",
}
# botocore sends a bearer token over TLS alone; else its key id is the token, and what it signs with is nothing's.
_SIGNER, _SIGNING = "AWS_ACCESS_KEY_ID", {"AWS_SECRET_ACCESS_KEY": "remit"}
# The Agents SDK sends what an agent does, and OPENAI_API_KEY with it, to a fixed address of OpenAI's.
_BESIDES: Mapping[str, Mapping[str, str]] = {"openai": {"OPENAI_AGENTS_DISABLE_TRACING": "1"}}
ANY_KEY = "remit"
"""Where the sidecar knows an agent without a token, and client libraries insist on a key all the same."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that holds the token: `text` around it. Without `known` a shell reads it from the file when it runs."""

    file: Path
    known: str = ""
    before: str = ""
    after: str = ""

    @property
    def text(self) -> str:
        """The whole value; only where the token is known."""
        inside = quote(self.known, safe="") if self.before else self.known
        return f"{self.before}{inside}{self.after}"


Value = str | Secret


@dataclass(frozen=True, slots=True)
class Variables:
    """The variables by name, and a line for each service that got none because another one has the names."""

    named: Mapping[str, Value]
    others: tuple[str, ...]


def egress_variables(
    services: Iterable[tuple[str, str]],
    *,
    http: str,
    proxy: str,
    token_file: Path | None,
    known: str = "",
    pod: bool = False,
    tls: bool = False,
) -> Variables:
    """For services (id, kind) behind the egress at `http` and its proxy ("" for none), both HOST:PORT.

    Without a token file no key is named, except where the sidecar's one agent needs none (`pod`), or where both speak
    TLS (`tls`), and so an agent may prove itself by its certificate.
    """
    key: Value | None = Secret(token_file, known) if token_file is not None else ANY_KEY if pod or tls else None
    scheme = "https" if tls else "http"
    named: dict[str, Value] = {"REMIT_EGRESS": f"{scheme}://{http}"}
    others = []
    for service, kind in services:
        bases = {variable: f"{scheme}://{http}/{service}{ending}" for variable, ending in _BASES.get(kind, ())}
        if bases.keys() & named.keys():
            others.append(f"{service}: " + " ".join(f"{variable}={url}" for variable, url in bases.items()))
            continue
        named |= bases
        if bases and key is not None:
            signing: dict[str, Value] = {**_SIGNING, _SIGNER: key}
            named |= signing if kind == "bedrock" and not tls else {_KEYS[kind]: key}
        named |= _BESIDES.get(kind, {})
    return Variables(named | (_through_proxy(scheme, proxy, token_file, known=known) if proxy else {}), tuple(others))


def _through_proxy(scheme: str, proxy: str, token_file: Path | None, *, known: str) -> dict[str, Value]:
    # curl reads http_proxy in small letters alone; others read either.
    by: Value = f"{scheme}://{proxy}"
    if token_file is not None:
        by = Secret(token_file, known, before=f"{scheme}://{PROXY_USER}:", after=f"@{proxy}")
    ways = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), by)
    return {**ways, "NO_PROXY": BYPASS, "no_proxy": BYPASS}


def sh(value: Value) -> str:
    """The value as a POSIX shell reads it."""
    if isinstance(value, str) or value.known:
        return shlex.quote(value if isinstance(value, str) else value.text)
    before, after = (shlex.quote(each) if each else "" for each in (value.before, value.after))
    return f'{before}"$(cat {shlex.quote(str(value.file))})"{after}'


def fish(value: Value) -> str:
    """The value as fish reads it."""
    if isinstance(value, str) or value.known:
        return _fish_quoted(value if isinstance(value, str) else value.text)
    before, after = (_fish_quoted(each) if each else "" for each in (value.before, value.after))
    return f"{before}(cat {_fish_quoted(str(value.file))}){after}"


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
