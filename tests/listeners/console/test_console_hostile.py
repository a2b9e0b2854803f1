"""Text that agents and others write stays text, wherever it is shown.

A page's shape (its elements and the names of their attributes) is the same with any text in it. So each attack is put
into every field that anybody but us fills, at once, and the shape compared with that of harmless text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any

import pytest
from fakes.console_fake import OverviewFake, harness
from fakes.console_hostile import ATTACKS, HARMLESS, UNPAIRED, everywhere
from fakes.console_html import Page
from jinja2 import Environment, TemplateAssertionError
from remit.core.answer import Halted, Resolved
from remit.core.approval import Terms
from remit.core.call import Resolution
from remit.core.errors import NotFound
from remit.core.model import Subject
from remit.core.text import clean
from remit.listeners.console.pages import site
from starlette.testclient import TestClient

ACTS = [("/halts", {"scope": "service", "reason": "why"}), ("/halts/resume", {"scope": "service", "reason": "why"})]
ACTS += [
    ("/approvals/a_1", {"verdict": "hold", "version": "1"}),
    ("/approvals/a_3approved", {"verdict": "deny", "version": "1"}),
]
PATHS = ["/", "/budgets", "/workflows", "/workflows/w_1", "/decisions", "/halts", "/workflows/w_1/live"]
PATHS += [f"/decisions/{id}" for id in ("d_1", "d_2", "d_3", "t_1", "r_1", "p_1", "x_1", "e_1")]
PATHS += ["/open-ends", "/approvals", "/approvals?state=expired", "/approvals/live", "/approvals/a_1/changed?version=9"]
PATHS += [f"/approvals/a_{id}" for id in ("1", "3approved", "3denied", "3expired", "3revoked", "none")]


def pages(text: str, *, in_bodies: str | None = None) -> dict[str, str]:
    """Every page of it, by its path."""
    told, subject = everywhere(text, in_bodies=in_bodies)
    client = TestClient(harness(told, subject=lambda: subject, htmx=b"//"))
    found = {path: client.get(path) for path in PATHS}
    for at, room in enumerate(told.rooms):
        found[f"budget {at}"] = client.get("/budget", params={"id": room.row.budget, "scope": room.row.scope})
    found["no budget"] = client.get("/budget", params={"id": "none" + text})
    for path, given in ACTS:
        found[path + " answered"] = client.post(path, data={**given, "value": "x", "reason": text[:99]})
        found[path + " refused"] = client.post(path, data={**given, "value": text[:99], "scope": text[:9]})
        found[path + " filled"] = client.post(path, data={"scope": "agent", "value": text[:99], "reason": ""})
    allowed = {200, 400, 404, 409}
    assert {each.status_code for each in found.values()} <= allowed
    for each in found.values():
        assert not {"set-cookie", "location"} & set(each.headers)
    return {path: each.text for path, each in found.items()}


@pytest.fixture(scope="module", name="harmless")
def harmless_fixture() -> dict[str, str]:
    return pages(HARMLESS)


def misled(text: str, harmless: dict[str, str], *, in_bodies: str | None = None) -> list[str]:
    """The pages whose shape a text has changed, or that hold a character that nobody can see."""
    return misled_by(pages(text, in_bodies=in_bodies), harmless)


def misled_by(found: dict[str, str], harmless: dict[str, str]) -> list[str]:
    """Those of these pages."""
    wrong = []
    for path, source in found.items():
        try:
            same = Page(source).shape == Page(harmless[path]).shape
        except AssertionError:
            same = False
        if not same or any(not each.isprintable() and each != "\n" for each in source):
            wrong.append(path)
    return wrong


@pytest.mark.parametrize("text", ATTACKS, ids=range(len(ATTACKS)))
def test_no_text_changes_a_page(text: str, harmless: dict[str, str]) -> None:
    """Nor does one bring a character that moves, hides or reorders what is seen.

    And it is neither dropped nor half shown: whoever looks reads it, with its controls escaped.
    """
    found = pages(text)
    seen = " ".join(clean(text)[:190].split())

    assert misled_by(found, harmless) == []
    assert seen in Page(found["/"]).text
    assert seen in Page(found["/workflows/w_1"]).text


def test_no_unpaired_surrogate_breaks_a_page(harmless: dict[str, str]) -> None:
    """What is no Unicode is shown as its escape."""
    assert misled(HARMLESS, harmless, in_bodies=UNPAIRED) == []


@pytest.mark.parametrize(
    "planted", [{"autoescape": False}, {"finalize": lambda value: value}], ids=["not escaped", "not cleaned"]
)
def test_the_comparison_finds_a_planted_hole(
    planted: dict[str, Any], harmless: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment that does not escape, and one that does not clean, are each found by an attack."""
    holed = site._ENVIRONMENT.overlay(**planted)
    holed.cache = None
    monkeypatch.setattr(site, "_ENVIRONMENT", holed)

    assert any(misled(text, harmless) for text in (ATTACKS[0], ATTACKS[15]))


def test_nothing_can_be_marked_safe() -> None:
    """No template can even be compiled that would."""
    environment: Environment = site._ENVIRONMENT

    assert environment.autoescape is True
    assert set(environment.filters) == {"length", "string"}
    for name in ("safe", "tojson", "xmlattr", "urlize"):
        with pytest.raises(TemplateAssertionError):
            environment.from_string("{{ x | %s }}" % name)  # noqa: UP031 - braces


@pytest.mark.parametrize("value", [None, True, 1.5, [], {}, object()])
def test_only_text_and_whole_numbers_are_printed(value: object) -> None:
    """Anything else in a template is a mistake that shows in tests, not on a page."""
    with pytest.raises(TypeError, match="expected text or a whole number"):
        site._ENVIRONMENT.from_string("{{ x }}").render(x=value)


def test_every_text_that_is_shown_was_attacked() -> None:
    """The attack reaches each text field of what an Overview answers with; a new field must be filled too."""
    told, _ = everywhere("<i>")
    approval = told.waiting[-1]
    asked = replace(approval, terms=Terms(), items=approval.items[:2], votes=approval.votes[1:2])
    for each in (told.flows[1], told.stopped[0], told.rooms[0].row, told.claimed[1], asked):
        assert texts(each, lambda value: "<i>" in value)
    assert "<i>" in approval.terms.roles


def texts(value: Any, holds: Callable[[str], bool]) -> bool:
    """Whether every text in a dataclass is one of these."""
    if isinstance(value, str) and not isinstance(value, Enum):
        return holds(value)
    if is_dataclass(value):
        return all(texts(getattr(value, each.name), holds) for each in fields(value))
    return all(texts(each, holds) for each in value) if isinstance(value, tuple) else True


def test_policy_s_words_are_text_too(harmless: dict[str, str]) -> None:
    """Messages of reasons, which a custom rule's author writes from templates with callers' words in them."""

    class Spoken(OverviewFake):
        word = HARMLESS

        async def halt(self, subject: Subject, scope: str, value: str, reason: str, /) -> Halted:
            answer = (await super().halt(subject, scope, value, reason)).answer
            given = replace(answer.reasons[0], policy=self.word, code=self.word, message=self.word)
            return Halted(replace(answer, reasons=(given,), id=self.word), (self.word,))

        async def resolve(self, subject: Subject, resolution: Resolution, /) -> Resolved:
            resolved = await super().resolve(subject, resolution)
            given = replace(resolved.answer.reasons[0], policy=self.word, code=self.word, message=self.word)
            return Resolved(replace(resolved.answer, reasons=(given,), id=self.word), resolved.shown)

        async def resume(self, subject: Subject, scope: str, value: str, reason: str, /) -> Halted:
            raise NotFound(self.word)

    def said(word: str) -> list[list[tuple[str, tuple[str, ...]]]]:
        told = Spoken(waiting=[everywhere(HARMLESS)[0].waiting[0]])
        told.word = word
        client = TestClient(harness(told))
        data = {"scope": "service", "value": "x", "reason": "why", "verdict": "approve", "version": "1"}
        paths = ("/halts", "/halts/resume", "/approvals/a_1")
        return [Page(client.post(path, data=data).text).shape for path in paths]

    assert all(said(text) == said(HARMLESS) for text in ATTACKS)
