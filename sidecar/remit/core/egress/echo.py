"""A credential must not come back: finds a secret, however it is written, in a response that passes in chunks.

Found, also where writings are mixed character by character and wherever the chunks are cut: the secret as it is;
percent-encoded once or twice; escaped as in JSON, JavaScript, C and Python; HTML entities; quoted-printable; base64 of
either alphabet, at any alignment (so within `user:secret` and `Bearer secret` too), with line breaks, `+` and `/`
escaped again; hex of either case, with or without separators; its bytes as a list of decimal numbers.

Not found, since no filter of bytes can know it all: what an upstream encrypts, compresses, hashes or masks, reverses,
changes the case of or cuts in parts (also over events of one stream, or over several responses); UTF-16 and UTF-32,
base32 and base85; two of the encodings above on top of each other, except as said; entities with more leading zeros
than a three-digit number has; writings of more than six times the secret's length. Of base64's first character, up to
four bits of the secret may be gone before it is recognised. An upstream that is given a secret can always tell it to
whoever asks: what holds then is that it is good at that upstream alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from remit.core.egress.writings import END, Fate, Trie, forms, heads, probes, walk

SHORTEST = 8  # bytes; anything shorter is found in ordinary text by chance
_WRITTEN = 6  # bytes at most for each byte of a secret: \u0041
_HEAD, _PROBE = 3, 5  # pieces that make a place worth a closer look: as the beginning, and anywhere


class Echoed(Exception):
    """A secret is in what was to be passed on; `form` says how it was written. Nothing here holds the secret."""

    def __init__(self, form: str, where: str = "body") -> None:
        super().__init__(f"the response's {where} has a credential in it, written as {form}")
        self.form = form
        self.where = where


class Echoes:
    """What to look for: built once for a set of secrets (some milliseconds), then shared by any number of guards.

    Raises ValueError where a secret is shorter than SHORTEST bytes; an empty set finds nothing.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        for secret in secrets:
            if len(secret) < SHORTEST:
                raise ValueError(f"found a secret of {len(secret)} bytes, expected at least {SHORTEST}")
        distinct = sorted(set(secrets))
        self._forms = tuple(form for secret in distinct for form in forms(secret))
        self._probe = probes(self._forms, _PROBE)
        self._head = heads(self._forms, _HEAD)
        self._alphabet = bytes(sorted(_bytes(step.trie for form in self._forms for step in form.steps)))
        self.hold = _WRITTEN * max(map(len, distinct), default=0)

    def __repr__(self) -> str:
        return f"Echoes({len(self._forms)} forms)"

    def find(self, text: bytes) -> str:
        """How a secret is written in `text`, "" where none is."""
        if not self._forms:
            return ""
        done = 0
        while probe := self._probe.search(text, done):
            # An echo with these pieces in it begins at them or before; what is before `done` was looked at.
            found = self._first(text, max(done, probe.start() - self.hold), probe.start())
            if found:
                return found
            done = probe.start() + 1
        return ""

    def begins(self, text: bytes) -> int:
        """Where the longest tail of `text` begins that may be the beginning of an echo; its length where none may."""
        size = len(text)
        if not self._forms:
            return size
        place = max(len(text.rstrip(self._alphabet)), size - self.hold)
        while head := self._head.search(text, place):
            place = head.start()
            if any(walk(form, text, place) is Fate.CUT for form in self._forms):
                return place
            place += 1
        return size

    def scan_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        """Raise Echoed where a response header's name or value has a secret in it."""
        for name, value in headers:
            for text in (name, value):
                if form := self.find(text.encode("utf-8", "surrogateescape")):
                    raise Echoed(form, "headers")

    def _first(self, text: bytes, start: int, last: int) -> str:
        """The form of an echo that begins from `start` to `last`, "" for none."""
        while (head := self._head.search(text, start)) and head.start() <= last:
            for form in self._forms:
                if walk(form, text, head.start()) is Fate.WHOLE:
                    return form.name
            start = head.start() + 1
        return ""


class EchoGuard:
    """One response's body on its way to the agent. Holds back at most six times the longest secret's length."""

    def __init__(self, secrets: Echoes | Sequence[bytes]) -> None:
        self._echoes = secrets if isinstance(secrets, Echoes) else Echoes(secrets)
        self._held = b""
        self._form = ""

    def feed(self, chunk: bytes) -> bytes:
        """The bytes that may go on now. Raises Echoed as soon as a secret is whole, and ever after."""
        text = self._held + chunk
        self._form = self._form or self._echoes.find(text)
        if self._form:
            self._held = b""
            raise Echoed(self._form)
        place = self._echoes.begins(text)
        self._held = text[place:]
        return text[:place]

    def end(self) -> bytes:
        """The bytes that were still held; the body is complete, so they began nothing. Raises Echoed as `feed` does."""
        if self._form:
            raise Echoed(self._form)
        held, self._held = self._held, b""
        return held

    def scan_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        """Raise Echoed where a response header (or trailer) has a secret in it."""
        self._echoes.scan_headers(headers)


def _bytes(tries: Iterable[Trie]) -> set[int]:
    """Every byte that stands in a writing."""
    found: set[int] = set()
    pending = list({id(each): each for each in tries}.values())
    while pending:
        node = pending.pop()
        found |= node.keys()
        pending += node.values()
    return found - {END}
