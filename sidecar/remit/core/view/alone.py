"""A view's files with one of its rules alone, to see what that rule brings; lines keep their numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable

from remit.core.view.rego import Rule

_METADATA = re.compile(r"\s*#")


def alone(text: str, file: str, package: tuple[str, str], *, without: Iterable[Rule]) -> str:
    """The text of a file, its package renamed (from, to), without these rules and what is written right above them."""
    lines = text.splitlines()
    for rule in without:
        if rule.file == file:
            first = rule.line - 1
            while first and _METADATA.match(lines[first - 1]):
                first -= 1
            lines[first : rule.end] = [""] * (rule.end - first)
    before, after = package
    start = next(index for index, line in enumerate(lines) if re.match(rf"package\s+{re.escape(before)}", line))
    lines[start] = lines[start].replace(before, after, 1)
    return "\n".join(lines) + "\n"
