"""The files of a catalogue: which they are, what is in them, and the one document that they make together.

They may be a mounted ConfigMap: links through `..data`, which an update turns.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from remit.config.problem import Place, Problems
from remit.config.reading import Cursor, describe
from remit.config.tree import Entries, Items, Node, parse

MAX_BYTES = 1 << 20
MAX_FILES = 256
TRIES = 5
TURNED = "..data"
SUFFIXES = (".yaml", ".yml")
_FILES = "a catalogue file, or a directory of them"


def read_document(paths: Sequence[Path], problems: Problems) -> Cursor:
    """One document of all files; mistakes go to `problems`.

    Sections (`agents`, `prices`, …) are merged, entries are not: the same id in two files is a mistake. Raises
    CatalogueInvalid where a file cannot be read at all: what it lacks would look like further mistakes.
    """
    if not paths:
        problems.add(Place("remit.yaml"), "", found="no path", expected=_FILES)
    trees = [_read(each, problems) for each in _contents(paths, problems)]
    readable = [tree for tree in trees if tree is not None]
    if len(readable) < len(trees) or not readable:
        problems.raise_any()
    return Cursor(_merged(readable, problems), "", problems)


def fingerprint(paths: Sequence[Path]) -> str:
    """SHA-256 (hex) of the files' names and contents: another one means that something was changed.

    What cannot be read counts as such, and raises nothing: it is for whoever loads the files to say so.
    """
    digest = sha256()
    for each in _contents(paths, Problems()):
        digest.update(f"{each.path}\0".encode(errors="surrogateescape"))
        told = b"+" + each.text if each.error is None else b"-" + type(each.error).__name__.encode()
        digest.update(sha256(told).digest())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Content:
    """What is in a file, or why that cannot be read."""

    path: Path
    text: bytes
    error: OSError | None = None


def _contents(paths: Sequence[Path], problems: Problems) -> list[_Content]:
    """All files, as they were at one moment: where something changes meanwhile, all are read again."""
    wrong = Problems()
    for _ in range(TRIES):
        wrong, mark = Problems(), _mark(paths)
        found = [_content(path) for path in _files(paths, wrong)]
        if _mark(paths) == mark:
            problems.take(wrong)
            return found
    problems.take(wrong)
    problems.add(Place(str(paths[0])), "", found="files that do not stop changing", expected="files of one moment")
    return []


def _content(path: Path) -> _Content:
    try:
        return _Content(path, _bounded(path))
    except OSError as error:
        return _Content(path, b"", error)


def _mark(paths: Sequence[Path]) -> tuple[tuple[int, ...], ...]:
    """Another one for whatever was changed, also if what is read is the same again."""
    listed = [file for path in paths for file in (path, path / TURNED, *_listed(path, Problems()))]
    return tuple(_state(path) for path in listed)


def _state(path: Path) -> tuple[int, ...]:
    """Of the link itself where it is the one that is turned."""
    try:
        found = path.lstat() if path.name == TURNED else path.stat()
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _files(paths: Sequence[Path], problems: Problems) -> list[Path]:
    """The files meant: each path, or what a directory holds (not what lies deeper, nor hidden files)."""
    found = [file for path in paths for file in _listed(path, problems)]
    if len(found) > MAX_FILES:
        problems.add(Place(str(paths[0])), "", found=f"{len(found)} files", expected=f"at most {MAX_FILES}")
    return found[:MAX_FILES]


def _listed(path: Path, problems: Problems) -> list[Path]:
    try:
        if not path.is_dir():
            return [path]
        inside = sorted(path.iterdir())
    except OSError as e:
        problems.add(Place(str(path)), "", found=_failure(e), expected="a directory that can be read")
        return []
    files = [file for file in inside if file.suffix in SUFFIXES and not file.name.startswith(".")]
    if not files:
        problems.add(Place(str(path)), "", found="no *.yaml file", expected="a directory of catalogue files")
    return files


def _read(content: _Content, problems: Problems) -> Entries | None:
    path, raw = content.path, content.text
    place = Place(str(path))
    if content.error is not None:
        problems.add(place, "", found=_failure(content.error), expected=_FILES)
        return None
    if len(raw) > MAX_BYTES:
        problems.add(place, "", found=f"more than {MAX_BYTES} bytes", expected="at most 1 MiB a file")
        return None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as e:
        before = raw[: e.start].decode("utf-8")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        found = f"the byte 0x{raw[e.start]:02x}"
        problems.add(Place(str(path), line, column), "", found=found, expected="text in UTF-8")
        return None
    return _mapping(parse(text, str(path), problems), problems)


def _mapping(tree: Node | None, problems: Problems) -> Entries | None:
    if tree is not None and not isinstance(tree, Entries):
        problems.add(tree.place, "", found=describe(tree), expected="a mapping")
    return tree if isinstance(tree, Entries) else None


def _bounded(path: Path) -> bytes:
    """The first MAX_BYTES + 1 bytes of a regular file; a pipe or device would never end, or never begin."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise IsADirectoryError(None, "not a regular file")
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _failure(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def _merged(trees: Sequence[Entries], problems: Problems) -> Entries:
    nodes: dict[str, Node] = {}
    keys: dict[str, Place] = {}
    for tree in trees:
        for key, node in tree.nodes.items():
            there = nodes.get(key)
            if there is None:
                nodes[key], keys[key] = node, tree.keys[key]
            else:
                nodes[key] = _joined(there, node, Cursor(node, key, problems), (keys[key], tree.keys[key]))
    return Entries(trees[0].place, nodes, keys)


def _joined(first: Node, second: Node, at: Cursor, keys: tuple[Place, Place]) -> Node:
    match first, second:
        case Items(), Items():
            return Items(first.place, first.nodes + second.nodes)
        case Entries(), Entries():
            _refuse_twice(
                at, ((name, first.keys[name], second.keys[name]) for name in second.keys if name in first.keys)
            )
            return Entries(first.place, {**second.nodes, **first.nodes}, {**second.keys, **first.keys})
    _refuse_twice(Cursor(at.node, "", at.problems), [(at.path, *keys)])
    return first


def _refuse_twice(at: Cursor, names: Iterable[tuple[str, Place, Place]]) -> None:
    for name, first, second in names:
        path = at.entry(name, at.node).path
        found = f"a second definition (the first: {first})"
        at.problems.add(second, path, found=found, expected="each key once")
