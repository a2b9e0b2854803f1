"""A statement's text, before sqlglot sees it: its size, its depth, and only forms that every reader reads alike.

What is left out here is not only what is dangerous, but what two parsers may read differently: strings with escapes,
dollar quotes, nested comments, numbers with letters at their end, letters beyond ASCII outside quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from remit.core.view.model import MAX_STATEMENT_BYTES, Dialect, ViewRefused

MAX_WORDS = 5_000  # and marks
MAX_DEPTH = 20  # of brackets and CASE; to read a level takes sqlglot up to 24 Python frames, of 1,000
MAX_NAME = 63  # bytes; PostgreSQL cuts a longer name off, and might then read another one

_FORMS = re.compile(
    r"""(?P<space>[ \t\r\n\f]+)
    |(?P<line>--[^\r\n]*)
    |(?P<block>/\*.*?\*/)
    |(?P<string>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")*")
    |(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    |(?P<cast>::)
    |(?P<parameter>:[A-Za-z_][A-Za-z0-9_]*)
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<open>[(\[])
    |(?P<close>[)\]])
    |(?P<mark>->>|\#>>|->|\#>|<=|>=|<>|!=|==|\|\||<<|>>|!~\*|!~|~\*|~|[-+*%<>=^&|\#,.;]|/(?!\*))""",
    re.VERBOSE | re.DOTALL,
)
_STRING_PREFIXES = frozenset(["b", "e", "n", "x", "u", "r", "q", "nq", "br", "rb"])
_NAME_ALSO = frozenset(" _-.,()/#&+*%=<>")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_UNREAD = {
    "'": "a string without its end",
    '"': "a name without its end",
    "/": "a comment without its end",
    "$": "a dollar sign, of a dollar quote or a numbered parameter",
    "?": "a question mark",
    "@": "an at sign",
    "\\": "a backslash",
    "`": "a backtick",
    ":": "a colon with no name after it",
}
_UNREAD_EXPECTED = {
    "$": "strings in single quotes and parameters as :name",
    "?": "parameters as :name",
    "@": "parameters as :name",
    "`": "names in double quotes",
    ":": "parameters as :name",
}


@dataclass(frozen=True, slots=True)
class Scanned:
    """`text` has each comment blanked, place by place, and no last semicolon; `normal` has each literal as `?`."""

    text: str
    normal: str
    parameters: tuple[str, ...]


def place(text: str, offset: int) -> str:
    """ "line 1, column 8", both from 1."""
    before = text[:offset]
    return f"line {before.count(chr(10)) + 1}, column {offset - before.rfind(chr(10))}"


def scan(text: str, dialect: Dialect) -> Scanned:
    """The text's forms, each looked at. Raises ViewRefused."""
    _check_size(text)
    return _Scan(text, dialect).scanned()


def _check_size(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as bad:
        raise ViewRefused("half of a surrogate pair", where=place(text, bad.start)) from None
    if size > MAX_STATEMENT_BYTES:
        raise ViewRefused(f"a statement of {size} bytes", expected=f"at most {MAX_STATEMENT_BYTES}")
    if found := _CONTROL.search(text):
        raise ViewRefused("a control character", where=place(text, found.start()))


class _Scan:
    def __init__(self, text: str, dialect: Dialect) -> None:
        self._text = text
        self._dialect = dialect
        self._clean: list[str] = []
        self._normal: list[str] = []
        self._parameters: set[str] = set()
        self._started = False
        self._depth = 0
        self._cases = 0
        self._last = ""  # the kind of the form just before, with nothing between
        self._word = ""
        self._end = -1  # where a semicolon ended the statement

    def scanned(self) -> Scanned:
        offset = tokens = 0
        while offset < len(self._text):
            found = _FORMS.match(self._text, offset)
            if found is None or found.lastgroup is None:
                raise self._unread(offset)
            blank = found.lastgroup in {"space", "line", "block"}
            tokens += not blank
            if tokens > MAX_WORDS:
                raise ViewRefused(f"more than {MAX_WORDS} words and marks", where=place(self._text, offset))
            if not blank and self._end >= 0:
                raise ViewRefused(
                    "a second statement", where=place(self._text, offset), expected="one statement and nothing after it"
                )
            if not blank and not self._started:
                self._first(found.lastgroup, found.group(), offset)
            self._form(found.lastgroup, found.group(), offset)
            offset = found.end()
        return Scanned("".join(self._clean), "".join(self._normal).strip(), tuple(sorted(self._parameters)))

    def _first(self, kind: str, text: str, offset: int) -> None:
        """sqlglot takes a statement that it does not know as a command of any text; so none such gets there."""
        self._started = True
        if text != "(" and text.lower() not in {"select", "with", ";"}:
            what = f"a statement that is {text.upper()}" if kind == "word" else "what is not a statement"
            raise ViewRefused(what, where=place(self._text, offset), expected="one SELECT, with or without WITH")

    def _form(self, kind: str, text: str, offset: int) -> None:
        clean = normal = text
        match kind:
            case "space" | "line" | "block":
                clean, normal = self._blank(kind, text, offset), " "
            case "string":
                self._check_prefix(offset)
                normal = "?"
            case "number":
                normal = "?"
            case "quoted":
                self._check_name(text, offset)
            case "word":
                self._check_word(text, offset)
            case "parameter":
                self._check_parameter(text, offset)
            case "open" | "close":
                self._bracket(kind, text, offset)
            case "mark" if text == ";":
                self._end, clean, normal = offset, " ", ""
        self._clean.append(clean)
        if not (normal == " " and self._normal[-1:] == [" "]):
            self._normal.append(normal)
        self._last, self._word = kind, text

    def _blank(self, kind: str, text: str, offset: int) -> str:
        if kind == "block" and (text[2:3] in {"!", "+"} or "/*" in text[2:]):
            raise ViewRefused(
                "a comment that some databases run or nest", where=place(self._text, offset), expected="plain comments"
            )
        return "".join(char if char in "\r\n" else " " for char in text)

    def _check_prefix(self, offset: int) -> None:
        unicode_prefix = self._text[max(offset - 2, 0) : offset].lower() == "u&"
        if unicode_prefix or (self._last == "word" and self._word.lower() in _STRING_PREFIXES):
            raise ViewRefused(
                "a string with a prefix",
                where=place(self._text, offset),
                expected="a plain string, or a parameter as :name",
            )
        if self._last in {"word", "number", "string", "quoted", "parameter"}:
            raise ViewRefused(
                "a string that touches what is before it", where=place(self._text, offset), expected="a space between"
            )

    def _check_name(self, text: str, offset: int) -> None:
        if self._last in {"word", "number", "string", "quoted", "parameter"}:
            raise ViewRefused(
                "a name that touches what is before it", where=place(self._text, offset), expected="a space between"
            )
        if self._last == "mark" and self._word == "&":
            raise ViewRefused("a name with a prefix", where=place(self._text, offset), expected="a plain name")
        name = text[1:-1]
        if not name or not all(char.isalnum() or char in _NAME_ALSO for char in name):
            raise ViewRefused(
                "a name that is empty or has odd characters",
                where=place(self._text, offset),
                expected=f"letters, digits and {''.join(sorted(_NAME_ALSO)).strip()}",
            )
        self._check_length(name, offset)

    def _check_word(self, text: str, offset: int) -> None:
        if self._last in {"number", "string", "quoted", "parameter"}:
            raise ViewRefused(
                f"letters right after a {self._last}", where=place(self._text, offset), expected="a space between"
            )
        self._check_length(text, offset)
        match text.lower():
            case "case":
                self._cases += 1
                self._check_depth(offset)
            case "end":
                self._cases = max(0, self._cases - 1)

    def _check_parameter(self, text: str, offset: int) -> None:
        if self._last in {"word", "number", "string", "quoted", "parameter", "cast"}:
            raise ViewRefused(
                "a parameter that touches what is before it",
                where=place(self._text, offset),
                expected="a space between",
            )
        self._check_length(text[1:], offset)
        self._parameters.add(text[1:])

    def _check_length(self, name: str, offset: int) -> None:
        if len(name.encode()) > MAX_NAME:
            raise ViewRefused(
                f"a name of more than {MAX_NAME} bytes", where=place(self._text, offset), expected="a shorter one"
            )

    def _bracket(self, kind: str, text: str, offset: int) -> None:
        if text in "[]" and self._dialect is Dialect.SQLITE:
            raise ViewRefused("a square bracket", where=place(self._text, offset), expected="names in double quotes")
        self._depth += 1 if kind == "open" else -1
        self._check_depth(offset)
        if self._depth < 0:
            raise ViewRefused("a bracket that closes none", where=place(self._text, offset))

    def _check_depth(self, offset: int) -> None:
        if self._depth + self._cases > MAX_DEPTH:
            raise ViewRefused(
                f"brackets or CASE nested more than {MAX_DEPTH} deep",
                where=place(self._text, offset),
                expected="a flatter statement, for example with WITH",
            )

    def _unread(self, offset: int) -> ViewRefused:
        char = self._text[offset]
        what = _UNREAD.get(char, "a character that has no place outside quotes")
        return ViewRefused(what, where=place(self._text, offset), expected=_UNREAD_EXPECTED.get(char, ""))
