"""The files of a policy directory, of one moment: also where a ConfigMap is mounted.

There, what is seen is links through `..data` (directories too), beside directories whose names begin with `..`; an
update turns that one link.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from remit.backends.policy_problem import BundleInvalid, Problem

TRIES = 5
TURNED = "..data"
MAX_FOUND = 10_000

T = TypeVar("T")
Mark = tuple[tuple[str, tuple[int, ...]], ...]


def files_below(root: Path, suffixes: Collection[str]) -> list[Path]:
    """The files with these suffixes, in order, each real directory once; those below a hidden name are left out."""
    seen: set[tuple[int, int]] = set()
    found: list[Path] = []
    for path in _below(root, seen):
        if path.suffix in suffixes and len(found) < MAX_FOUND:
            found.append(path)
    return sorted(found)


def of_one_moment(roots: Sequence[Path], suffixes: Collection[str], read: Callable[[], T]) -> T:
    """What `read` makes of these directories; where one changes meanwhile, all is read again.

    Raises what `read` raises, and BundleInvalid where they do not stop changing.
    """
    mark = _mark(roots, suffixes)
    for _ in range(TRIES):
        before = mark
        try:
            found = read()
        except (BundleInvalid, OSError):
            mark = _mark(roots, suffixes)
            if mark == before:
                raise
            continue
        mark = _mark(roots, suffixes)
        if mark == before:
            return found
    raise BundleInvalid([Problem(str(roots[0]), 0, "expected files of one moment: they do not stop changing")])


def _below(directory: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    found = directory.stat()
    if (found.st_dev, found.st_ino) in seen:
        return
    seen.add((found.st_dev, found.st_ino))
    for each in sorted(directory.iterdir()):
        if each.name.startswith("."):
            continue
        if each.is_dir():
            yield from _below(each, seen)
        elif each.is_file():
            yield each


def _mark(roots: Sequence[Path], suffixes: Collection[str]) -> Mark:
    """Another one for whatever was changed, also if what is read is the same again."""
    paths = [each for root in roots for each in (root, root / TURNED)]
    for root in roots:
        try:
            paths += files_below(root, suffixes) if root.is_dir() else []
        except OSError:  # what has gone meanwhile shows in the directory's own mark
            continue
    return tuple((str(each), _state(each)) for each in paths)


def _state(path: Path) -> tuple[int, ...]:
    """Of the link itself where it is the one that is turned."""
    try:
        found = os.lstat(path) if path.name == TURNED else path.stat()
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
