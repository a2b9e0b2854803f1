"""The scanner for leaked secrets finds one that is planted in any sink, and nothing where none is."""

from __future__ import annotations

import base64
import gzip
import html
import json
import quopri
import sqlite3
import urllib.parse
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from counts import dice
from fakes.canaries import Sink, leaks

SECRETS = {"openai": b"sk-proj/3dhk+QZ<tg=A29xLmA", "agent": b"rmt_7Hc0kPz1xQ9vW3"}
LEAK = SECRETS["openai"]


def clean(folder: Path) -> dict[str, Sink]:
    """Sinks of every kind, without a secret but with much that looks like one."""
    rng = dice("canaries")
    state = folder / "state"
    state.mkdir()
    with closing(sqlite3.connect(state / "state.db")) as database:
        database.execute("CREATE TABLE journal (body TEXT)")
        database.execute("INSERT INTO journal VALUES (?)", [json.dumps({"hmac": rng.randbytes(32).hex()})])
        database.commit()
    return {
        "state": state,
        "journal": b'{"service":"openai","amount":115}\n' + base64.b64encode(rng.randbytes(900)),
        "log": 'INFO started "a\\u00e9b" %2Fv1%2Fchat\n' * 20,
        "metrics": 'remit_decisions_total{service="openai"} 12 1.5e+10\n' * 20,
        "response": b'data: {"error":"Incorrect API key provided: sk-proj*******LmA"}\n\n',
        "traffic": gzip.compress(b"GET /v1/models HTTP/1.1\r\n" * 20),
    }


def test_nothing_is_found_where_nothing_was_planted(tmp_path: Path) -> None:
    """Not in hex, base64 or masked keys either."""
    assert leaks(SECRETS, clean(tmp_path)) == []


@pytest.mark.parametrize("sink", ["state", "journal", "log", "metrics", "response", "traffic"])
def test_a_leak_that_is_planted_in_a_sink_is_found_there_alone(sink: str, tmp_path: Path) -> None:
    """One canary, one place, named with the secret's name and not its value."""
    sinks = clean(tmp_path)
    match sinks[sink]:
        case Path() as folder:
            with closing(sqlite3.connect(folder / "state.db")) as database:
                database.execute("INSERT INTO journal VALUES (?)", [f"authorization: Bearer {LEAK.decode()}"])
                database.commit()
        case str() as text:
            sinks[sink] = f"{text} key={LEAK.decode()}\n"
        case bytes() as text:
            sinks[sink] = gzip.compress(gzip.decompress(text) + LEAK) if sink == "traffic" else text + LEAK
    found = leaks(SECRETS, sinks)

    assert found
    assert all(each.startswith(f"{sink} ") and " has openai (" in each for each in found)
    assert LEAK.decode() not in str(found)


@pytest.mark.parametrize(
    "write",
    [
        lambda secret: urllib.parse.quote_from_bytes(secret, safe="").encode(),
        lambda secret: b"".join(b"%%%02X" % byte for byte in secret),
        lambda secret: b"".join(b"%%25%02x" % byte for byte in secret),
        lambda secret: json.dumps(json.dumps(secret.decode()).replace("/", "\\/")).encode(),
        lambda secret: b"".join(b"\\u%04x" % byte for byte in secret),
        lambda secret: b"".join(b"\\x%02x" % byte for byte in secret),
        lambda secret: b"".join(b"\\%03o" % byte for byte in secret),
        lambda secret: b"".join(b"&#x%x;" % byte for byte in secret),
        lambda secret: html.escape(secret.decode()).encode(),
        quopri.encodestring,
        base64.b64encode,
        lambda secret: base64.b64encode(b"u:" + secret),
        lambda secret: base64.urlsafe_b64encode(b"user:" + secret).rstrip(b"="),
        lambda secret: base64.encodebytes(bytes(70) + secret),
        lambda secret: urllib.parse.quote_from_bytes(base64.b64encode(secret), safe="").encode(),
        lambda secret: base64.b64encode(base64.b64encode(secret)),
        lambda secret: secret.hex().upper().encode(),
        lambda secret: secret.hex(":").encode(),
        lambda secret: b"a" + secret.hex().encode(),
        lambda secret: ", ".join(hex(byte) for byte in secret).encode(),
        lambda secret: json.dumps(list(secret), indent=4).encode(),
        lambda secret: secret.decode().encode("utf-16-le"),
        lambda secret: secret[::-1],
        gzip.compress,
    ],
)
def test_a_leak_is_found_however_it_is_written(write: Callable[[bytes], bytes]) -> None:
    """Also twice encoded, which the product does not promise."""
    text = b'{"message": "' + write(LEAK) + b'"}\n'

    assert LEAK not in text
    assert leaks(SECRETS, {"log": text})
