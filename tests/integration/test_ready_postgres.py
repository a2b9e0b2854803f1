"""Readiness of a member while the PostgreSQL that it shares is away."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from fakes.loop import in_loop
from fakes.members_stage import Stage, durable_installation
from remit.app.member import Member
from remit.app.sidecar import App
from remit.core.errors import StoreUnavailable

pytestmark = pytest.mark.opa

SOON = 10.0
"""Seconds within which a store that is away shows."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with durable_installation() as made:
        yield Stage(tmp_path_factory.mktemp("installation"), made)


async def fetch(member: Member, path: str) -> tuple[int, Any]:
    """What it answers: status and JSON."""
    address = next(each for each in member.addresses if each.startswith("http"))

    def get() -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(address + path, timeout=20) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    return await asyncio.to_thread(get)


@in_loop
async def test_a_member_is_unready_while_its_store_is_away_and_alive_all_the_time(stage: Stage) -> None:
    """It is out of its Services then, is not restarted for it, and comes back by itself."""

    async def ready() -> tuple[int, str]:
        status, told = await fetch(member, "/readyz")
        return status, told["checks"]["store"]

    async with stage.running(App, "one") as member:
        assert await ready() == (200, "")
        stage.installation.server.kill()
        began = monotonic()
        while await ready() != (503, "the store does not answer"):
            assert monotonic() - began < SOON
        print(f"unready after {monotonic() - began:.1f} s")
        assert (await fetch(member, "/healthz"))[0] == 200
        stage.installation.server.start()
        began = monotonic()
        while await ready() != (200, ""):
            assert monotonic() - began < 3 * SOON
        print(f"ready again after {monotonic() - began:.1f} s")


@in_loop
async def test_without_its_store_a_member_does_not_become_ready(stage: Stage) -> None:
    """A startup probe on /readyz does not pass before the store is there: nothing listens, and the member ends."""
    member = stage.member(App, stage.flags("two"))
    stage.installation.server.kill()
    try:
        with pytest.raises(StoreUnavailable):
            await member.start()
        assert not member.addresses
    finally:
        stage.installation.server.start()
