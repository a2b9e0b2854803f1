"""The one form in which a request's target and a tunnel's authority are accepted.

Whoever reads a target after us (Envoy, the upstream's own proxy, its framework) may normalise it: collapse slashes,
walk dot segments, decode escapes once or twice. A text on which all of them agree is the canonical one of RFC 3986
section 6.2.2, and less: whatever else there is is refused, never repaired.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from remit.core.egress.exchange import Unmapped

MAX_TARGET_BYTES = 8 * 1024
MAX_HOST = 253

_PATH = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*", re.ASCII)
# Without ";" (a separator to some), "?" and "#", and without what RFC 3986 does not know raw.
_QUERY = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,=:@%/]*", re.ASCII)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-F]{2})")
_ESCAPE = re.compile(r"%([0-9A-F]{2})")
_DOTS = re.compile(r"\.{1,2}(;.*)?|;.*", re.DOTALL)
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
# A slash, a backslash or a per cent sign that appears once the path is decoded makes another path of it.
_STRUCTURE = frozenset(b"/\\%")
_CONTROLS = frozenset([*range(0x20), 0x7F])

_OVERRIDING = frozenset(
    {
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-original-method",
        "x-original-url",
        "x-original-uri",
        "x-rewrite-url",
        "x-original-host",
        "x-host",
    }
)

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_MAX_PORT = 65535


def check_target(path: str) -> str:
    """What is wrong with a request's target (path and query), for people; "" where nothing is."""
    if len(path) > MAX_TARGET_BYTES:
        return f"the target is longer than {MAX_TARGET_BYTES} bytes"
    if not path.startswith("/"):
        return "the target does not begin with a slash"
    way, _, query = path.partition("?")
    return _characters(path) or _path(way) or _query(query)


def check_overrides(headers: Iterable[tuple[str, str]]) -> str:
    """What is wrong with headers (names in lower case) that frameworks take a method, path or host from."""
    found = sorted(_OVERRIDING.intersection(name for name, _ in headers))
    return f"the header {found[0]} may make another request of it further on" if found else ""


def segments(path: str) -> tuple[str, ...]:
    """The raw segments of a checked target's path: ("v1", "items") of /v1/items?q=1; a slash at the end adds ""."""
    return tuple(path.partition("?")[0].split("/")[1:])


def query_items(path: str) -> tuple[tuple[str, str], ...]:
    """The decoded pairs of a checked target's query, in order ("+" is a space). Raises Unmapped for what is no pair."""
    query = path.partition("?")[2]
    return tuple(_pair(each) for each in query.split("&")) if query else ()


def query_values(path: str) -> dict[str, str]:
    """The query's pairs as a mapping. Raises Unmapped where a key is there twice."""
    items = query_items(path)
    values = dict(items)
    if len(values) != len(items):
        raise Unmapped("the query has a key twice")
    return values


def decoded(text: str) -> str:
    """A checked part of a target without its escapes."""
    return unquote_to_bytes(text).decode("utf-8")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.replace("+", " ").partition("=")
    if not key or not equals:
        raise Unmapped("the query has a part that is not KEY=VALUE")
    return decoded(key), decoded(value)


def _characters(path: str) -> str:
    if not path.isascii():
        return "the target has characters beyond ASCII"
    if any(ord(each) in _CONTROLS or each == " " for each in path):
        return "the target has white space or control characters"
    if "\\" in path:
        return "the target has a backslash"
    return "the target has a fragment" if "#" in path else ""


def _path(way: str) -> str:
    if not _PATH.fullmatch(way):
        return "the path has a character that must be escaped"
    wrong = _escapes(way)
    if wrong:
        return wrong
    escaped = [int(each, 16) for each in _ESCAPE.findall(way)]
    if any(each in _UNRESERVED for each in escaped):
        return "the path escapes a character that needs no escape"
    if any(each in _STRUCTURE for each in escaped):
        return "the path has an escaped slash, backslash or per cent sign"
    inner = way.split("/")[1:]
    if "" in inner[:-1]:
        return "the path has an empty segment"
    return "the path has a dot segment" if any(_DOTS.fullmatch(each) for each in inner) else ""


def _query(query: str) -> str:
    if not _QUERY.fullmatch(query):
        return "the query has a character that must be escaped"
    return _escapes(query)


def _escapes(text: str) -> str:
    if _BAD_ESCAPE.search(text):
        return "the target has an invalid escape (two hexadecimal digits, in upper case)"
    if any(int(each, 16) in _CONTROLS for each in _ESCAPE.findall(text)):
        return "the target has an escaped control character"
    try:
        unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        return "the target's escapes are not UTF-8"
    return ""


def check_authority(authority: str) -> str:
    """What is wrong with host[:port] as a forward proxy is asked for it, for people; "" where nothing is.

    A name in lower case and ASCII (punycode), or an IP address in its canonical form; no user, no dot at the end.
    """
    if not authority.isascii():
        return "the authority has characters beyond ASCII"
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        return _ipv6(host) if bracket and _is_port(rest) else "the authority is not [ADDRESS]:PORT"
    host, colon, port = authority.partition(":")
    if not _is_port(colon + port):
        return "the authority has no port from 1 to 65535 behind its colon"
    return _host(host)


def _is_port(text: str) -> bool:
    return not text or (text[0] == ":" and bool(_PORT.fullmatch(text[1:])) and int(text[1:]) <= _MAX_PORT)


def _ipv6(host: str) -> str:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return "the authority's IPv6 address is none"
    if str(address) != host or address.scope_id is not None or address.ipv4_mapped is not None:
        return "the authority's IPv6 address is not in its canonical form"
    return ""


def _host(host: str) -> str:
    labels = host.split(".")
    if len(host) > MAX_HOST or not all(_LABEL.fullmatch(each) for each in labels):
        return "the authority's host is not a name in lower case, without a dot at its end"
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(host)
    wrong = next((each for each in labels if each[2:4] == "--" and not _is_punycode(each)), "")
    return "the authority's host has a label that is not punycode" if wrong else ""


def _ipv4(host: str) -> str:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return "the authority's host ends in a number and is no canonical IPv4 address"
    return ""


def _is_punycode(label: str) -> bool:
    """Whether the label is what a name beyond ASCII is encoded as (RFC 3492), in the one way."""
    try:
        text = label[4:].encode().decode("punycode")
        written = text.encode("punycode") == label[4:].encode()
        return label.startswith("xn--") and text.isprintable() and not text.isascii() and written
    except UnicodeError:
        return False
