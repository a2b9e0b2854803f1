"""The ways in which a secret may be written: forms made of steps, each step a trie of the writings of one piece.

A form is what an encoder makes of the whole secret (itself, base64, hex, a list of numbers); a step is one character of
that, which may in turn be escaped by whatever carries it (a URL, JSON, HTML, quoted-printable). Walking the steps over
a text finds every mix of writings without building any of them.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from itertools import product

# byte → what may follow; END stands in a node where a writing may end.
Trie = dict[int, "Trie"]
END = -1

_ENTITIES = {b"&": b"&amp;", b"<": b"&lt;", b">": b"&gt;", b'"': b"&quot;", b"'": b"&apos;", b"+": b"&plus;"}
# Most frequent first; what is not here (capitals, digits, most signs) is rarer.
_FREQUENT = b' etaoinsrhldcumfpgwybvk"0,1.:2/\\-_n3=4'


@dataclass(frozen=True, slots=True, eq=False)  # compared and hashed as the object that it is
class Step:
    """One piece of a form; an optional one may be left out (a line break, a separator)."""

    trie: Trie
    optional: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """One encoding of a secret. `name` is for people: plain, base64, hex or numbers."""

    name: str
    steps: tuple[Step, ...]


class Fate(Enum):
    """What a text turned out to be from some place on."""

    OTHER = "no writing of the form"
    CUT = "the beginning of one, up to the end of the text"
    WHOLE = "a whole one"


def forms(secret: bytes) -> tuple[Form, ...]:
    """Every form of the secret that is looked for."""
    return (_plain(secret), *(_base64(secret, before) for before in range(3)), _hex(secret), _numbers(secret))


def walk(form: Form, text: bytes, start: int) -> Fate:
    """What stands in `text` from `start` on, whichever way each step is written."""
    places, cut, size = {start}, False, len(text)
    for step in form.steps:
        after = set(places) if step.optional else set()
        for place in places:
            node: Trie | None = step.trie
            while node is not None:
                if END in node:
                    after.add(place)
                if place == size:
                    cut = True
                    break
                node = node.get(text[place])
                place += 1
        if not after:
            return Fate.CUT if cut else Fate.OTHER
        places = after
    return Fate.WHOLE


def heads(all_forms: Iterable[Form], size: int) -> re.Pattern[bytes]:
    """Matches where the first `size` pieces of a form stand, or as much of them as the text still holds."""
    return re.compile(_by_first_byte((_windows(form, size)[0] for form in all_forms), cut=True), re.DOTALL)


def probes(all_forms: Iterable[Form], size: int) -> re.Pattern[bytes]:
    """Matches `size` pieces of each form, those that are rarest in ordinary text: without them there is no echo."""
    return re.compile(_by_first_byte((_rarest(form, size) for form in all_forms), cut=False), re.DOTALL)


# Forms


def _plain(secret: bytes) -> Form:
    # Quoted-printable breaks a line with "=" anywhere.
    return Form("plain", _joined((_escaped(byte) for byte in secret), Step(_SOFT_BREAK, optional=True)))


def _base64(secret: bytes, before: int) -> Form:
    """The characters of base64 that depend on the secret alone, where `before` bytes (mod 3) precede it."""
    first = -(-before * 8 // 6)
    last = (before + len(secret)) * 8 // 6
    characters = b64encode(bytes(before) + secret + bytes(3))[first:last]
    return Form("base64", _joined((_base64_character(each) for each in characters), Step(_BREAK, optional=True)))


def _hex(secret: bytes) -> Form:
    return Form("hex", _joined((_hex_pair(byte) for byte in secret), Step(_HEX_GAP, optional=True)))


def _numbers(secret: bytes) -> Form:
    """As JSON has the bytes of a buffer: 115,107,45."""
    return Form("numbers", _joined((_number(byte) for byte in secret), Step(_COMMA)))


def _joined(tries: Iterable[Trie], between: Step) -> tuple[Step, ...]:
    """Equal pieces are one object, which is what makes a long secret cheap to prepare."""
    steps: list[Step] = []
    pieces: dict[int, Step] = {}
    for trie in tries:
        piece = pieces.setdefault(id(trie), Step(trie))
        steps += [between, piece] if steps else [piece]
    return tuple(steps)


# Writings


@cache
def _escaped(byte: int) -> Trie:
    """One character as it is, and as URLs, JSON and its relatives, HTML, and quoted-printable write it."""
    return _trie(_writings(byte))


@cache
def _base64_character(byte: int) -> Trie:
    """The two that URLs and JSON escape are also those that the URL-safe alphabet replaces."""
    match byte:
        case 0x2B:
            return _trie([b"-", *_writings(byte)])
        case 0x2F:
            return _trie([b"_", *_writings(byte)])
        case _:
            return _trie([bytes([byte])])


@cache
def _hex_pair(byte: int) -> Trie:
    return _trie(_hex_digits(byte))


@cache
def _number(byte: int) -> Trie:
    return _trie([str(byte).encode()])


def _writings(byte: int) -> list[bytes]:
    raw = bytes([byte])
    found = [raw, b"\\%03o" % byte]
    for digits in _hex_digits(byte):
        found += [b"%" + digits, b"%25" + digits, b"=" + digits]
        found += [b"\\x" + digits, b"\\u00" + digits, b"\\u{" + digits + b"}"]
        found += [b"&#" + x + digits + end for x, end in product((b"x", b"X"), (b"", b";"))]
    found += [b"&#" + digits + end for digits, end in product((b"%d" % byte, b"%03d" % byte), (b"", b";"))]
    if raw in b"\"'\\/":
        found += [b"\\" + raw, b"\\\\\\" + raw]
    if raw == b" ":
        found.append(b"+")
    if raw in _ENTITIES:
        found.append(_ENTITIES[raw])
    return found


def _hex_digits(byte: int) -> list[bytes]:
    pairs = ({each.lower(), each.upper()} for each in f"{byte:02x}")
    return ["".join(each).encode() for each in product(*pairs)]


def _trie(writings: Iterable[bytes]) -> Trie:
    root: Trie = {}
    for writing in writings:
        node = root
        for byte in writing:
            node = node.setdefault(byte, {})
        node[END] = {}
    return root


_SOFT_BREAK = _trie([b"=\n", b"=\r\n"])
_BREAK = _trie([b"\n", b"\r\n", b"\n ", b"\r\n ", b"\\n", b"\\r\\n", b"%0A", b"%0D%0A", b"%0a", b"%0d%0a"])
_HEX_GAP = _trie(
    [*(each + x for each, x in product((b":", b"-", b" ", b".", b",", b", ", b"\n"), (b"", b"0x"))), b"0x"]
)
_COMMA = _trie([b",", b", ", b" ", b",\n", b";"])


# Regular expressions of a few steps: what finds the places worth walking, at the speed of C


def _windows(form: Form, size: int) -> list[tuple[Step, ...]]:
    """Every run of `size` pieces, with what stands between them."""
    pieces = [index for index, step in enumerate(form.steps) if not step.optional]
    return [form.steps[first : last + 1] for first, last in zip(pieces, pieces[size - 1 :], strict=False)]


def _rarest(form: Form, size: int) -> tuple[Step, ...]:
    """The run that is least likely in ordinary text; its first piece counts most, being tried most often."""
    rarity = {step: _frequency(step) for step in set(form.steps)}
    return min(_windows(form, size), key=lambda run: 8 * rarity[run[0]] + sum(rarity[each] for each in run))


def _frequency(step: Step) -> int:
    """How frequent in ordinary text the step's plain writings are; more is more."""
    ranks = (_FREQUENT.find(byte) for byte, node in step.trie.items() if END in node or byte != 0x5C)
    return max(len(_FREQUENT) - rank if rank >= 0 else 0 for rank in ranks)


def _by_first_byte(windows: Iterable[Sequence[Step]], *, cut: bool) -> bytes:
    """One branch for each first byte: the engine then skips to these bytes without trying anything between."""
    branches: dict[int, set[bytes]] = {}
    for first, *rest in windows:
        tail = b"".join(_optional(each, cut=cut) if each.optional else _source(each.trie, cut=cut) for each in rest)
        for byte, node in first.trie.items():
            branches.setdefault(byte, set()).add(_source(node, cut=cut) + tail)
    return b"|".join(
        re.escape(bytes([byte])) + b"(?:" + b"|".join(sorted(tails)) + b")" for byte, tails in sorted(branches.items())
    )


def _optional(step: Step, *, cut: bool) -> bytes:
    return b"(?:" + _source(step.trie, cut=cut) + b")?"


def _source(node: Trie, *, cut: bool) -> bytes:
    """What a trie matches; with `cut`, also the beginnings of it that the text's end cuts off."""
    branches = [re.escape(bytes([byte])) + _source(after, cut=cut) for byte, after in node.items() if byte != END]
    if END in node:
        branches.append(b"")
    elif cut:
        branches.append(rb"\Z")
    return b"(?:" + b"|".join(branches) + b")" if branches != [b""] else b""
