"""One node of a workflow's tree, coloured; what it says is said in core/phrases.py."""

from __future__ import annotations

from rich.text import Text

from remit.cli.decisions import COLOURS
from remit.core.phrases import Names as Names
from remit.core.phrases import about_words, resource_words, said, told
from remit.core.records import Entry, Node, mapping, text
from remit.core.text import clean


def root_text(workflow: str, names: Names) -> Text:
    """The workflow, and what holds for all of it."""
    line = Text("workflow ").append(clean(workflow[:64]), "bold")
    shared = [names.day, f"for {names.purpose}" if names.purpose else ""]
    return line.append("".join(f"  {each}" for each in shared if each), "dim")


def node_text(node: Node, names: Names) -> Text:
    """A record in a few lines: what happened, why, what was known, what it cost."""
    entry = node.entry
    line = Text(f"{names.name(entry.id)} ", "bold").append(f"{names.time(entry.time)} ", "dim")
    line.append(clean(entry.subject) or "(unknown)", "cyan").append("  ")
    if entry.kind == "decision" and not entry.erased:
        _decision(line, node, names)
    else:
        line.append(clean(entry.kind) + (" (body erased)" if entry.erased else ""))
    for each in node.about:
        _about(line, each, names)
    return line


def _decision(line: Text, node: Node, names: Names) -> None:
    body = node.entry.body
    effect = text(body.get("effect"))
    line.append(f"{said(body.get('action'))}  {resource_words(mapping(body.get('resource')))}  ")
    line.append(clean(effect), COLOURS.get(effect, ""))
    if body.get("enforced") is False:
        line.append(" observed only", "yellow")
    for label, words in told(node, names):
        line.append(f"\n  {label} ", "dim").append(words)


def _about(line: Text, entry: Entry, names: Names) -> None:
    words, error = about_words(entry)
    line.append(f"\n  {names.name(entry.id)} ", "bold").append(f"{names.time(entry.time)} ", "dim").append(words)
    if error:
        line.append(f": {error}", "red")
