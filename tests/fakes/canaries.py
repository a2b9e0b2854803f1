"""Looks for secrets in everything that a test can lay hands on: an oracle that decodes, where the product matches.

It shares nothing with `remit.core.egress.echo`: each sink is decoded in every way known here, again and again to a
depth, and the secrets are looked for in what comes out.
"""

from __future__ import annotations

import base64
import binascii
import html
import quopri
import re
import urllib.parse
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

Sink = bytes | str | Path
DEPTH = 2

_BACKSLASH = re.compile(
    rb"\\(?:u00([0-9a-fA-F]{2})|x([0-9a-fA-F]{2})|u\{([0-9a-fA-F]{2})\}|([0-3][0-7]{2})|([\"'\\/]))"
)
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{11,}")
_HEX = re.compile(rb"[0-9a-fA-F]{2}(?:[:,\-. \n]{0,2}(?:0x)?[0-9a-fA-F]{2}){7,}[0-9a-fA-F]?")
_NUMBERS = re.compile(rb"\d{1,3}(?:[,;\s]{1,9}\d{1,3}){7,}")
_FOLD = re.compile(rb"(?:\\r|\\n|%0[dDaA]|[\r\n\t ])+")


def leaks(secrets: Mapping[str, bytes], sinks: Mapping[str, Sink], depth: int = DEPTH) -> list[str]:
    """Each secret found, as `SINK has NAME (how it was decoded)`. A sink that is a folder is every file below it."""
    found = []
    for name, way, view in views(sinks, depth):
        found += [f"{name} has {secret} ({way})" for secret, value in secrets.items() if value in view]
    return sorted(set(found))


def views(sinks: Mapping[str, Sink], depth: int = DEPTH) -> Iterator[tuple[str, str, bytes]]:
    """(sink, how it was decoded, what came out) for each sink as it is, and decoded up to `depth` times."""
    for name, text in _texts(sinks):
        for way, view in _views(text, depth):
            yield name, way, view


def _texts(sinks: Mapping[str, Sink]) -> Iterator[tuple[str, bytes]]:
    for name, sink in sinks.items():
        match sink:
            case bytes():
                yield name, sink
            case str():
                yield name, sink.encode("utf-8", "surrogateescape")
            case Path():
                for path in [sink] if sink.is_file() else sorted(each for each in sink.rglob("*") if each.is_file()):
                    yield f"{name} {path.name}", path.name.encode() + b"\n" + path.read_bytes()


def _views(text: bytes, depth: int) -> Iterator[tuple[str, bytes]]:
    """The text, and everything that decoding it up to `depth` times brings out, each once."""
    seen = {text}
    pending = [("as it is", text)]
    for _ in range(depth + 1):
        yield from pending
        fresh: list[tuple[str, bytes]] = []
        for way, view in pending:
            for name, decode in _DECODERS.items():
                decoded = decode(view)
                if decoded and decoded not in seen:
                    seen.add(decoded)
                    fresh.append((name if way == "as it is" else f"{way}, {name}", decoded))
        pending = fresh


def _backslash(text: bytes) -> bytes:
    def one(found: re.Match[bytes]) -> bytes:
        code = found[1] or found[2] or found[3]
        return bytes.fromhex(code.decode()) if code else bytes([int(found[4], 8)]) if found[4] else found[5]

    return _BACKSLASH.sub(one, text)


def _html(text: bytes) -> bytes:
    return html.unescape(text.decode("latin-1")).encode("latin-1", "replace")


def _quoted_printable(text: bytes) -> bytes:
    return quopri.decodestring(text)


def _base64(text: bytes) -> bytes:
    """Every run, decoded from each of its four phases; apart, so that none poses as part of another."""
    found = []
    for run in _BASE64.findall(text.translate(bytes.maketrans(b"-_", b"+/"))):
        for phase in range(4):
            part = run[phase:]
            found.append(base64.b64decode(part[: len(part) // 4 * 4]))
            if len(part) % 4 > 1:
                found.append(base64.b64decode(part + b"=" * (4 - len(part) % 4)))
    return b"\xff\n".join(found)


def _base64_lines(text: bytes) -> bytes:
    return _base64(_FOLD.sub(b"", text))


def _hex(text: bytes) -> bytes:
    found = []
    for run in _HEX.findall(text):
        digits = re.sub(rb"0x|[^0-9a-fA-F]", b"", run)
        found += [binascii.unhexlify(part[: len(part) // 2 * 2]) for part in (digits, digits[1:])]
    return b"\xff\n".join(found)


def _numbers(text: bytes) -> bytes:
    runs = (re.findall(rb"\d+", run) for run in _NUMBERS.findall(text))
    return b"\xff\n".join(bytes(int(each) & 0xFF for each in run) for run in runs)


def _inflated(text: bytes) -> bytes:
    """What is compressed in it, by gzip or zlib, wherever it begins; as much of it as is whole."""
    found = []
    for begin in re.finditer(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]", text):
        inflater = zlib.decompressobj(wbits=47)
        try:
            found.append(inflater.decompress(text[begin.start() :], 1 << 24))
        except zlib.error:
            continue  # what only looked like a beginning
    return b"\xff\n".join(found)


_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "percent": urllib.parse.unquote_to_bytes,
    "form": lambda text: urllib.parse.unquote_to_bytes(text.replace(b"+", b" ")),
    "backslash": _backslash,
    "html": _html,
    "quoted-printable": _quoted_printable,
    "base64": _base64,
    "base64 in lines": _base64_lines,
    "hex": _hex,
    "numbers": _numbers,
    "utf-16": lambda text: text.replace(b"\0", b""),
    "reversed": lambda text: text[::-1],
    "compressed": _inflated,
}
