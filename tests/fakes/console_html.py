"""Reading the console's pages as a browser's parser would, strictly: what is open must be closed, in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

BLOCKS = frozenset(["td", "th", "tr", "dt", "dd", "div", "li", "p", "h1", "h2", "option", "section", "nav", "a", "br"])
"""Words do not run together at their edges."""
VOID = frozenset(["meta", "link", "input", "br", "rect", "line", "polyline", "polygon", "path"])


@dataclass
class Element:
    """An element and its attributes; `words` are the page's, its own those between `first` and `last`."""

    tag: str
    attributes: dict[str, str]
    words: list[str] = field(repr=False)
    first: int = 0
    last: int = 0

    @property
    def text(self) -> str:
        """All the text in it."""
        return "".join(self.words[self.first : self.last])


@dataclass
class Page(HTMLParser):
    """All of a page's elements in order. Raises AssertionError where they are not well nested."""

    source: str
    elements: list[Element] = field(default_factory=list)
    stack: list[Element] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.source)
        self.close()
        assert [each.tag for each in self.stack] == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice: {names}"
        self._edge(tag)
        element = Element(tag, {name: value or "" for name, value in attributes}, self.words, len(self.words))
        self.elements.append(element)
        if tag not in VOID:
            self.stack.append(element)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attributes}, self.words))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack[-1].tag == tag, f"</{tag}> closes <{self.stack[-1].tag}>"
        self.stack.pop().last = len(self.words)
        self._edge(tag)

    def _edge(self, tag: str) -> None:
        if tag in BLOCKS:
            self.words.append(" ")

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a page has a comment: {data!r}")

    @property
    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        """Tags and the names of their attributes: what no text may change."""
        return [(each.tag, tuple(each.attributes)) for each in self.elements]

    @property
    def text(self) -> str:
        """All that is read."""
        return " ".join(next(each.text for each in self.elements if each.tag == "body").split())

    def all(self, tag: str) -> list[Element]:
        """The elements of a tag."""
        return [each for each in self.elements if each.tag == tag]
