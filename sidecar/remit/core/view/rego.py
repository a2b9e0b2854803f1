"""What a package of views reads and calls, from its syntax tree as `opa parse` gives it; nothing is run.

Names are resolved as Rego does, and where that is not certain (a local variable called like a rule) more is assumed
than is so.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

Node = Mapping[str, Any]
Path = tuple[str, ...]
DYNAMIC = "\0"
"""Stands in a path for a part that is known only when it is evaluated; nothing is said of what follows."""
UNKNOWN: Final = object()
"""Stands for a value that is known only when it is evaluated."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What is read: a path from `input` or `data`; `line` is where."""

    path: Path
    line: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function that is called, by its name or path, and the paths of its operands (() for what is none).

    `values` are those of its operands that are written out, UNKNOWN the others; a set is a list here.
    """

    name: str
    operands: tuple[Path, ...]
    line: int
    values: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """What a head says: the parts after the rule's name, each DYNAMIC that is not written out, and the value there."""

    path: Path
    value: object
    line: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, or one of several of the same name, from its `line` to its `end`. `uses` are names of its package.

    `plain`: that it is true is all that it can say (no other value, set, object, argument, default or else).
    """

    name: str
    file: str
    line: int
    end: int
    title: str
    function: bool
    default: bool
    plain: bool
    reads: tuple[Reference, ...]
    calls: tuple[Call, ...]
    uses: frozenset[str]
    overrides: tuple[int, ...]
    forms: tuple[Form, ...] = ()


@dataclass(slots=True)
class Package:
    """All rules of one package, from all of its files."""

    path: Path
    rules: list[Rule] = field(default_factory=list)

    def named(self, name: str) -> list[Rule]:
        """The rules of a name."""
        return [rule for rule in self.rules if rule.name == name]

    def reachable(self, *names: str) -> frozenset[str]:
        """The rules of these names and all that they use."""
        found: set[str] = set()
        waiting = [name for name in names if self.named(name)]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += [used for rule in self.named(name) for used in rule.uses]
        return frozenset(found)


def read_package(path: Path, modules: Mapping[str, Node]) -> Package:
    """The package whose files (by name) have these syntax trees."""
    names = {_head_name(rule) for tree in modules.values() for rule in tree.get("rules") or ()}
    package = Package(path)
    for file, tree in modules.items():
        reader = _Module(path, frozenset(names), _imports(tree))
        package.rules += [reader.rule(file, rule) for rule in tree.get("rules") or ()]
    return package


def _head_name(rule: Node) -> str:
    head = rule["head"]
    return str(head["ref"][0]["value"] if head.get("ref") else head.get("name", ""))


def _says_true(head: Node) -> bool:
    """Whether a head is a name alone, and its value true."""
    value = head.get("value") or {}
    name_alone = len(head.get("ref") or ()) == 1 and "args" not in head and "key" not in head
    return name_alone and value.get("type") == "boolean" and value.get("value") is True


def _imports(tree: Node) -> dict[str, Path]:
    """What each imported name stands for."""
    found = {}
    for each in tree.get("imports") or ():
        path = _constant(each["path"]["value"])
        found[str(each.get("alias") or path[-1])] = path
    return found


def _constant(ref: Sequence[Node]) -> Path:
    """A ref's path, up to the first part that is not written out."""
    head, *rest = ref
    if head["type"] != "var":
        return ("",)
    path = [str(head["value"])]
    for part in rest:
        if part["type"] != "string":
            return (*path, DYNAMIC)
        path.append(str(part["value"]))
    return tuple(path)


@dataclass(slots=True)
class _Module:
    """Reads the rules of one file."""

    package: Path
    names: frozenset[str]
    imports: Mapping[str, Path]

    def rule(self, file: str, node: Node) -> Rule:
        head = node["head"]
        # The name itself is no reference.
        parts = [{**head, "ref": (head.get("ref") or [])[1:], "name": ""}, node.get("body"), node.get("else")]
        nodes = [found for part in parts for found in _walk(part)]
        resolved = [(self._resolved(each), _line(each)) for each in nodes if each.get("type") in ("ref", "var")]
        paths = [(path, line) for path, line in resolved if path]
        return Rule(
            name=_head_name(node),
            file=file,
            line=_line(node),
            end=_line(node) + _text(node).count(b"\n"),
            title=next((str(each["title"]) for each in node.get("annotations") or () if "title" in each), ""),
            function="args" in head,
            default=bool(node.get("default")),
            plain=_says_true(head) and "else" not in node and not node.get("default"),
            reads=tuple(Reference(path, line) for path, line in paths if self._own(path) is None),
            calls=tuple(self._call(each) for each in nodes if _operator(each)),
            uses=frozenset(name for path, _ in paths if (name := self._own(path))),
            overrides=tuple(_line(each) for each in nodes if each.get("with")),
            forms=tuple(_forms(node)),
        )

    def _resolved(self, node: Node) -> Path:
        """The path from `input` or `data` that a ref or a variable stands for; () for anything local."""
        path = _constant(node["value"]) if node["type"] == "ref" else (str(node["value"]),)
        head, rest = path[0], path[1:]
        if head in self.imports:
            return self.imports[head] + rest
        if head in self.names:
            return ("data", *self.package, head, *rest)
        return path if head in ("input", "data") else ()

    def _own(self, path: Path) -> str | None:
        """The rule of this package that a path names."""
        depth = 1 + len(self.package)
        own = path[:depth] == ("data", *self.package) and len(path) > depth
        return path[depth] if own and path[depth] != DYNAMIC else None

    def _call(self, node: Node) -> Call:
        operator, *operands = _operator(node)
        path = self._resolved(operator)
        name = ".".join(path) if path else ".".join(_constant(operator["value"]))
        known = tuple(self._resolved(each) if each.get("type") in ("ref", "var") else () for each in operands)
        return Call(self._own(path) or name, known, _line(node), tuple(_value(each) for each in operands))


def _operator(node: Node) -> Sequence[Node]:
    """A call's function and operands, of a term or of an expression; () for what is no call."""
    found = node.get("value") if node.get("type") == "call" else node.get("terms")
    return found if isinstance(found, list) else ()


def _forms(node: Node) -> Iterator[Form]:
    """What a rule and its `else` say."""
    each: Node | None = node
    while each:
        head = each["head"]
        path = tuple(_key(part) for part in (head.get("ref") or [])[1:])
        yield Form(path, _value(head["value"]) if "value" in head else UNKNOWN, _line(each))
        each = each.get("else")


def _key(term: Node) -> str:
    return str(term["value"]) if term["type"] == "string" else DYNAMIC


def _value(term: Node) -> object:
    """The value of a term that is written out; in an object and a list, each part for itself."""
    value = term.get("value")
    match term.get("type"):
        case "null":
            return None
        case "boolean" | "string":
            return value
        case "number":
            return Decimal(repr(value)) if isinstance(value, float) else value
        case "array" | "set" if isinstance(value, list):
            return [_value(each) for each in value]
        case "object" if isinstance(value, list):
            return {_key(key): _value(each) for key, each in value}
    return UNKNOWN


def _line(node: Node) -> int:
    return int((node.get("location") or {}).get("row", 0))


def _text(node: Node) -> bytes:
    """What is written there."""
    return b64decode((node.get("location") or {}).get("text", ""))


def _walk(node: Any) -> Iterator[Node]:
    """Every object of a syntax tree, outermost first; where it stands and what is written above it apart.

    The variable that a ref begins with is part of the ref.
    """
    if isinstance(node, list):
        for each in node:
            yield from _walk(each)
    elif isinstance(node, dict):
        yield node
        begins = node.get("type") == "ref" and node["value"][0]["type"] == "var"
        for key, each in ({"value": node["value"][1:]} if begins else node).items():
            if key not in ("location", "annotations"):
                yield from _walk(each)
