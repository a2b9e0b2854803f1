"""`remit egress config`: what Envoy would be told, whole, valid, and without a secret."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from remit.backends.envoy_binary import find
from remit.backends.envoy_process import validate

from .conftest import Remit

CATALOGUE = """
currency: EUR
teams: {cx: {}}
services:
  models:
    owner: cx
    kind: openai
    endpoints: {eu: {url: "https://models.example/v1"}, near: {url: "http://127.0.0.1:9"}, in: {url: "http://localhost"}}
    credentials: [{environment: MODELS_KEY}]
  redis: {owner: cx, kind: tcp, listen: "127.0.0.1:7460", endpoints: {m: {url: "tcp://10.0.0.9:6379"}}}
"""


@pytest.fixture
def written(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELS_KEY", "sk-secret")
    (place / "remit.yaml").write_text(CATALOGUE)
    return place


@pytest.mark.envoy
def test_it_prints_one_document_that_envoy_accepts(remit: Remit, written: Path) -> None:
    """The document is whole: Envoy needs no other file to judge it."""
    ended = remit("egress", "config", "--catalogue", "remit.yaml")
    assert ended.code == 0
    (written / "envoy.json").write_text(ended.out)
    asyncio.run(validate(find(os.environ).path, written / "envoy.json"))


def test_no_credential_and_no_real_nonce_is_in_it(remit: Remit, written: Path) -> None:
    """It can be shown to anybody."""
    ended = remit("egress", "config")
    assert "secret" not in ended.out
    assert "NONCE/models/eu" in ended.out
    names = {unmarked(each["name"]) for each in ended.document["static_resources"]["clusters"]}
    assert names == {"remit", "tunnels", "models/eu", "models/near", "models/in", "raw/redis/m"}


def test_resolve_shows_what_may_be_dialled_and_why_something_else_may_not(remit: Remit, written: Path) -> None:
    """A literal address needs no name server; a private one that a name leads to must be named."""
    (written / "remit.yaml").write_text(CATALOGUE.replace("https://models.example/v1", "https://9.9.9.9/v1"))
    ended = remit("egress", "config", "--resolve")
    assert ended.code == 0
    found = {
        unmarked(each["name"]): each["load_assignment"]["endpoints"]
        for each in ended.document["static_resources"]["clusters"]
    }
    assert found["models/eu"] and found["models/near"] and found["raw/redis/m"]
    assert found["models/in"] == []
    assert "models/in cannot be reached: localhost: 127.0.0.1 is loopback" in ended.err


def test_a_bad_catalogue_is_told(remit: Remit, place: Path) -> None:
    """With file and line, as everywhere."""
    (place / "remit.yaml").write_text("currency: EUR\nservices: {a: {kind: strange}}\n")
    ended = remit("egress", "config")
    assert ended.code == 2
    assert "remit.yaml" in ended.err


def unmarked(name: str) -> str:
    """A cluster's name without what marks where it leads."""
    return name.rpartition("/")[0] or name
