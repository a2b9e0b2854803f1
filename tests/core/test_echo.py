"""A credential in a response is recognised however it is written and cut, and ordinary text passes at once."""

from __future__ import annotations

import base64
import html
import json
import quopri
import random
import string
import urllib.parse
from collections.abc import Callable, Iterator

import pytest
from counts import COUNTS, dice
from remit.core.egress import echo as module
from remit.core.egress.echo import SHORTEST, Echoed, Echoes, EchoGuard
from remit.core.egress.writings import Form, forms

Random = random.Random
Writing = Callable[[bytes, Random], bytes]
ALPHABETS = (
    string.ascii_letters + string.digits + "-_",
    string.hexdigits.lower()[:16],
    string.ascii_letters + string.digits + "+/=",
    "".join(map(chr, range(0x20, 0x7F))),
)
PROSE = (
    b'{"id":"chatcmpl-9","choices":[{"delta":{"content":"Caf\\u00e9 \\u4f60\\u597d, \\"it\\" costs 10%"}}]}\n\n'
    b"<p>Tom &amp; Jerry &#39;s</p> a=b&c=%20d%2Fe QUJDREVGR0g= 0x1f, 0x20 ff:ee:dd 115, 107, 45 =C3=A9\r\n"
)


def a_secret(dice: Random) -> bytes:
    return "".join(dice.choices(dice.choice(ALPHABETS), k=dice.choice([SHORTEST, 12, 32, 51, 164]))).encode()


def hex_of(byte: int, dice: Random) -> bytes:
    return dice.choice([b"%02x", b"%02X"]) % byte


def some_percent(secret: bytes, dice: Random) -> bytes:
    return b"".join(dice.choice([bytes([byte]), b"%" + hex_of(byte, dice)]) for byte in secret)


def some_twice_percent(secret: bytes, dice: Random) -> bytes:
    return b"".join(dice.choice([bytes([byte]), b"%25" + hex_of(byte, dice)]) for byte in secret)


def some_unicode(secret: bytes, dice: Random) -> bytes:
    inner = (dice.choice([json.dumps(chr(byte))[1:-1].encode(), b"\\u00" + hex_of(byte, dice)]) for byte in secret)
    return b"".join(inner)


def some_entities(secret: bytes, dice: Random) -> bytes:
    return b"".join(
        dice.choice([html.escape(chr(byte)).replace("&#x27;", "&apos;").encode(), b"&#%d;" % byte, b"&#x%x;" % byte])
        for byte in secret
    )


def code_escapes(secret: bytes, dice: Random) -> bytes:
    return b"".join(dice.choice([b"\\x" + hex_of(byte, dice), b"\\%03o" % byte]) for byte in secret)


def in_base64(secret: bytes, dice: Random) -> bytes:
    before, after = dice.randbytes(dice.randrange(7)), dice.randbytes(dice.randrange(4))
    encode = dice.choice([base64.b64encode, base64.urlsafe_b64encode])
    text = encode(before + secret + after)
    return dice.choice([text, text.rstrip(b"="), urllib.parse.quote_from_bytes(text, safe="").encode()])


def in_base64_lines(secret: bytes, dice: Random) -> bytes:
    return base64.encodebytes(dice.randbytes(dice.randrange(80)) + secret)


def in_base64_json(secret: bytes, dice: Random) -> bytes:
    return base64.b64encode(b"user:" + secret).replace(b"/", b"\\/")


def in_hex(secret: bytes, dice: Random) -> bytes:
    gap = dice.choice(["", ":", " ", "-", ", 0x"])
    text = gap.join(f"{byte:02x}" for byte in secret)
    return dice.choice([text, text.upper().replace("X", "x")]).encode()


WRITINGS: dict[str, Writing] = {
    "as it is": lambda secret, dice: secret,
    "with percent signs": some_percent,
    "as a form's field": lambda secret, dice: urllib.parse.quote_plus(secret).encode(),
    "with percent signs twice": some_twice_percent,
    "as JSON": lambda secret, dice: json.dumps(secret.decode()).encode()[1:-1],
    "as JSON within JSON": lambda secret, dice: json.dumps(json.dumps(secret.decode())).encode()[3:-3],
    "as JSON with escapes": some_unicode,
    "as JSON of PHP": lambda secret, dice: json.dumps(secret.decode()).replace("/", "\\/").encode()[1:-1],
    "as HTML": some_entities,
    "as code": code_escapes,
    "quoted-printable": lambda secret, dice: quopri.encodestring(secret, quotetabs=True),
    "in base64": in_base64,
    "in lines of base64": in_base64_lines,
    "in base64 within JSON": in_base64_json,
    "in hex": in_hex,
    "as numbers": lambda secret, dice: json.dumps(list(secret)).encode(),
}


def cut(text: bytes, dice: Random) -> Iterator[bytes]:
    size = dice.choice([1, 2, 7, 50, 10_000])
    while text:
        many = dice.randint(1, size)
        yield text[:many]
        text = text[many:]


def caught(guard: EchoGuard, text: bytes, dice: Random) -> bool:
    """Whether the guard stops the text."""
    try:
        for chunk in cut(text, dice):
            guard.feed(chunk)
        guard.end()
    except Echoed:
        return True
    return False


def misses(make: Callable[[bytes], EchoGuard], name: str, rounds: int, only: str = "") -> list[str]:
    """The writings that a guard did not stop in so many rounds of each (of those with `only` in their name)."""
    found = []
    for writing, write in WRITINGS.items():
        if only not in writing:
            continue
        rng = dice(f"{name} {writing}")
        for _ in range(rounds):
            secret = a_secret(rng)
            around = PROSE[: rng.randrange(len(PROSE))]
            text = around + b'"' + write(secret, rng) + b'"' + around
            if not caught(make(secret), text, rng):
                found.append(f"{writing}: {secret!r} in {text!r}")
                break
    return found


def test_a_secret_is_caught_in_every_writing_wherever_it_is_cut() -> None:
    """Random secrets of four alphabets, each written by somebody else's encoder, in chunks from 1 byte on."""
    assert misses(lambda secret: EchoGuard([secret]), "echo", max(4, COUNTS.examples // 5)) == []


class Forgetful(EchoGuard):
    """Planted: looks at each chunk by itself."""

    def feed(self, chunk: bytes) -> bytes:
        self._held = b""
        super().feed(chunk)
        return chunk


def test_a_guard_that_forgets_the_borders_of_chunks_is_found() -> None:
    """The planted bug of the test above: what lies across two chunks gets through."""
    assert misses(lambda secret: Forgetful([secret]), "forgetful", 8)


@pytest.mark.parametrize("alignment", range(3))
def test_a_guard_that_forgets_an_alignment_is_found(alignment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: one of the three alignments of base64 is not looked for."""

    def fewer(secret: bytes) -> tuple[Form, ...]:
        every = forms(secret)
        return every[: 1 + alignment] + every[2 + alignment :]

    monkeypatch.setattr(module, "forms", fewer)
    missed = misses(lambda secret: EchoGuard([secret]), "misaligned", 30, only="base64")

    assert missed


def test_ordinary_text_passes_unchanged_and_nothing_is_found_in_it() -> None:
    """No false positive in text full of escapes, hex and base64; what comes out is what went in."""
    rng = dice("ordinary")
    noise = base64.b64encode(rng.randbytes(3000)) + rng.randbytes(3000).hex().encode() + rng.randbytes(3000)
    for _ in range(COUNTS.examples):
        guard = EchoGuard([a_secret(rng)])
        text = PROSE * 3 + noise

        assert b"".join(guard.feed(chunk) for chunk in cut(text, rng)) + guard.end() == text


def test_nothing_of_the_secret_goes_out_before_it_is_recognised() -> None:
    """Byte by byte, all that was released is what stood before it."""
    rng = dice("released")
    for write in (WRITINGS["as it is"], some_percent, some_unicode, code_escapes, in_hex):
        secret = a_secret(rng)
        text = PROSE + b"|" + write(secret, rng)
        guard, released = EchoGuard([secret]), b""
        with pytest.raises(Echoed):
            for index in range(len(text)):
                released += guard.feed(text[index : index + 1])

        assert PROSE.startswith(released.removesuffix(b"|"))


def test_an_event_of_a_stream_passes_at_once() -> None:
    """Its last bytes cannot be the beginning of an echo, so nothing of it waits for the next one."""
    guard = EchoGuard([b"sk-proj-3dhkQZVtgA29xLmA"])
    event = b'data: {"choices":[{"delta":{"content":"sk"}}]}\n\n'

    assert [guard.feed(event) for _ in range(3)] == [event] * 3


def test_what_only_began_like_the_secret_goes_on_with_the_next_bytes() -> None:
    """Held while it may be the beginning; released as soon as it is not."""
    guard = EchoGuard([b"sk-proj-3dhkQZVtgA29xLmA"])

    assert guard.feed(b"the key sk-proj-") == b"the key "
    assert guard.feed(b"Zzz.") == b"sk-proj-Zzz."
    assert guard.feed(b"sk-pr") == b""
    assert guard.end() == b"sk-pr"


def test_never_more_than_six_times_the_secret_is_held() -> None:
    """Also of text that is made to look like the beginning of an echo for ever."""
    secret = b"aaaaaaaaaaaaaa!b"
    guard, given, passed = EchoGuard([secret]), 0, 0
    for chunk in [b"a" * 7, b"\\u0061" * 40, b"%61" * 90, b"97, " * 50, b"YWFh" * 50] * 20:
        given += len(chunk)
        passed += len(guard.feed(chunk))

        assert given - passed <= 6 * len(secret)


def test_once_a_secret_was_seen_nothing_more_goes_out() -> None:
    """A caller that goes on after Echoed gets nothing, not even the end."""
    guard = EchoGuard([b"sk-proj-3dhkQZVtgA29xLmA"])
    for _ in range(2):
        with pytest.raises(Echoed):
            guard.feed(b"sk-proj-3dhkQZVtgA29xLmA" if _ == 0 else b"more")
    with pytest.raises(Echoed):
        guard.end()


def test_any_of_several_secrets_is_caught_also_where_their_beginnings_overlap() -> None:
    """One may begin like another, or within another's beginning."""
    secrets = [b"aaaaaaaaaX", b"aaaaaaaaaYZ", b"aYbbbbbbbb"]
    for secret in secrets:
        with pytest.raises(Echoed):
            EchoGuard(secrets).feed(b"aaaa" + secret)


def test_a_short_secret_is_refused_without_being_shown() -> None:
    """Fewer than 8 bytes are found in ordinary text by chance; the error counts them and no more."""
    with pytest.raises(ValueError, match="found a secret of 7 bytes, expected at least 8") as caught:
        EchoGuard([b"hunter2"])

    assert "hunter2" not in str(caught.value)


def test_without_secrets_everything_passes() -> None:
    """A service without a credential has nothing to echo."""
    guard = EchoGuard([])

    assert guard.feed(PROSE) == PROSE


@pytest.mark.parametrize("writing", WRITINGS)
def test_a_secret_in_a_header_is_caught(writing: str) -> None:
    """Names and values, in any writing."""
    rng = dice("headers")
    secret = b"sk+proj/3dhkQZVtgA29xLmA"
    text = WRITINGS[writing](secret, rng).decode().replace("\n", "")
    echoes = Echoes([secret])
    echoes.scan_headers([("content-type", "text/plain"), ("set-cookie", "a=b")])
    for header in (("set-cookie", f"k={text}; Path=/"), (f"x-{text}", "1")):
        with pytest.raises(Echoed) as caught:
            echoes.scan_headers([header])

        assert caught.value.where == "headers"


def test_the_error_and_the_guard_never_show_the_secret() -> None:
    """They end in logs."""
    secret = b"sk-proj-3dhkQZVtgA29xLmA"
    with pytest.raises(Echoed) as caught:
        EchoGuard([secret]).feed(secret)

    assert secret.decode() not in f"{caught.value!r} {caught.value} {EchoGuard([secret])!r} {Echoes([secret])!r}"
