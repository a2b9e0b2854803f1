"""The scanner for hidden cells finds each kind of canary in every encoding, and nothing where none is."""

from __future__ import annotations

import base64
import gzip
import json
import urllib.parse
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import pytest
from counts import dice
from fakes.leak_scanner import Canaries

MADE = Canaries(dice("leak scanner"))
TEXT = MADE.text("text")
WHOLE = MADE.integer("integer")
LARGE = MADE.bigint("bigint")
EXACT = MADE.decimal("decimal")
REAL = MADE.real("real")
DAY = MADE.day("day")
MOMENT = MADE.moment("moment")
KEY = MADE.uuid("uuid")
BYTES = MADE.blob("bytes")

NOISE = b'{"id":"9f3c","rows":115,"hmac":"%s"}\n' % dice("noise").randbytes(32).hex().encode()

ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "upper case": bytes.upper,
    "hex": lambda raw: raw.hex().encode(),
    "upper hex": lambda raw: raw.hex().upper().encode(),
    "spaced hex": lambda raw: raw.hex(" ").encode(),
    "PostgreSQL's bytes": lambda raw: b"\\x" + raw.hex().encode(),
    "PostgreSQL's escapes": lambda raw: "".join(f"\\{each:03o}" for each in raw).encode(),
    "base64": base64.b64encode,
    "base64 behind one byte": lambda raw: base64.b64encode(b"a" + raw),
    "base64 behind two bytes": lambda raw: base64.b64encode(b"ab" + raw),
    "base64 without its end": lambda raw: base64.b64encode(raw + b"abcd").rstrip(b"="),
    "base64 for URLs": lambda raw: base64.urlsafe_b64encode(b"\xff\xfe" + raw),
    "base64 in lines": base64.encodebytes,
    "URL": lambda raw: "".join(f"%{each:02x}" for each in raw).encode(),
    "URL twice": lambda raw: "".join(f"%25{each:02X}" for each in raw).encode(),
    "URL as Python quotes it": lambda raw: urllib.parse.quote(raw, safe="").encode(),
    "Unicode escapes": lambda raw: "".join(f"\\u{each:04x}" for each in raw).encode(),
    "JSON in JSON": lambda raw: json.dumps(json.dumps(raw.decode())).encode(),
    "reversed": lambda raw: raw[::-1],
    "hex of base64": lambda raw: base64.b64encode(raw).hex().encode(),
    "a list of codes": lambda raw: json.dumps(list(raw)).encode(),
    "compressed": gzip.compress,
    "a character a row": lambda raw: b"\n".join(raw[place : place + 1] for place in range(len(raw))),
    "without its marks": lambda raw: raw.replace(b"~", b""),
    "eight characters of it": lambda raw: raw[5:13],
    "UTF-16": lambda raw: raw.decode().encode("utf-16"),
}

NUMBERS: dict[str, tuple[str, str]] = {
    "plain": ("integer", f"{WHOLE}"),
    "negative": ("integer", f"{-WHOLE}"),
    "with a fraction": ("integer", f"{WHOLE}.0000"),
    "in groups": ("integer", f"{WHOLE:,}"),
    "in groups as in Germany": ("integer", f"{WHOLE:,}".replace(",", ".")),
    "in groups of spaces": ("integer", f"{WHOLE:,}".replace(",", " ")),
    "scientific": ("integer", f"{WHOLE:.12e}"),
    "hexadecimal": ("integer", f"{WHOLE:x}"),
    "hexadecimal with zeros": ("integer", f"0x{WHOLE:016X}"),
    "times a thousand": ("integer", f"{WHOLE * 1000}"),
    "as a double": ("bigint", repr(float(LARGE))),
    "within more digits": ("bigint", f"7{LARGE}3"),
    "exact": ("decimal", f"{EXACT}"),
    "exact, scaled": ("decimal", f"{EXACT * 1000}"),
    "a double": ("real", repr(REAL)),
    "a double, scientific": ("real", f"{REAL:.15e}"),
    "a day": ("day", DAY.isoformat()),
    "a day as in Germany": ("day", f"{DAY:%d.%m.}{DAY.year}"),
    "a day in words": ("day", f"{DAY:%b} {DAY.day:02}, {DAY.year}"),
    "a day in seconds": ("day", str((DAY - datetime(1970, 1, 1).date()).days * 86_400)),
    "a moment": ("moment", MOMENT.isoformat(" ")),
    "a moment in seconds": ("moment", str(MOMENT.timestamp())),
    "a UUID": ("uuid", str(KEY)),
    "a UUID in capitals": ("uuid", f"{{{str(KEY).upper()}}}"),
    "a UUID's digits": ("uuid", KEY.hex),
    "half a UUID": ("uuid", KEY.hex[:14]),
    "a UUID's bytes in base64": ("uuid", base64.b64encode(KEY.bytes).decode()),
}


@pytest.mark.parametrize("how", ENCODINGS)
@pytest.mark.parametrize("what", ["text", "bytes"])
def test_a_text_is_found_in_every_encoding(how: str, what: str) -> None:
    """And is named, without its value."""
    raw = TEXT.encode() if what == "text" else BYTES
    found = MADE.found({"rows": NOISE + ENCODINGS[how](raw) + b"\n" + NOISE})
    assert found and {line.split(" (")[0] for line in found} == {f"rows has {what}"}
    assert raw.decode() not in str(found)


@pytest.mark.parametrize("how", NUMBERS)
def test_numbers_dates_and_uuids_are_found_in_every_format(how: str) -> None:
    """By their digits."""
    name, written = NUMBERS[how]
    assert {line.split(" (")[0] for line in MADE.found({"log": f"12 {written} rows"})} == {f"log has {name}"}
    assert MADE.found({"log": json.dumps({"value": base64.b64encode(written.encode()).decode()})})


def test_nothing_is_found_in_what_looks_alike() -> None:
    """Hashes, times, other numbers and UUIDs, a quarter of a megabyte of them."""
    rng = dice("alike")
    lines = (
        f"{rng.randbytes(32).hex()} {base64.b64encode(rng.randbytes(60)).decode()} {rng.randrange(10**9)} "
        f"{UUID(int=rng.getrandbits(128))} 2026-11-26T13:00:00.{rng.randrange(10**6)}Z 1795698000{rng.randrange(10**9)}"
        for _ in range(1_000)
    )
    assert MADE.found({"noise": "\n".join(lines)}, depth=1) == []


def test_what_is_shown_of_a_masked_text_is_no_leak() -> None:
    """The last characters of a partial mask."""
    made = Canaries(dice("shown"))
    value = made.text("mail", shown="7788")
    assert made.found({"rows": "*" * (len(value) - 4) + value[-4:]}) == []
    assert made.found({"rows": value})
