"""A reload under streams: what has not changed is never cut; what is gone is denied at once, and ends in a second."""

from __future__ import annotations

import asyncio
import os
import socket
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic

import aiohttp
import pytest
from fakes.egress_up import TOKEN, EgressUp, egress_up
from fakes.envoy_upstream import Upstream, upstream
from fakes.loop import in_loop, until
from fakes.ports import free_port
from remit.backends.opa_binary import find

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

OLD, NEW = "sk-the-old-key-of-the-api", "sk-the-new-key-of-the-api"
SECONDS = 1.0
SLACK = 0.7
"""What a busy machine takes besides."""

KEPT = """\
kept:
  owner: cx
  endpoints: {{here: {{url: "http://127.0.0.1:{port}/v1", region: eu}}}}
  credentials: [{{file: api.key}}]
  routes: [{{path: "/{{what}}", operation: get, methods: [GET]}}]
"""
CHANGED = (
    KEPT.replace("kept:", "changed:").replace("{port}/v1", "{changed}/v1")
    + "  timeout: {timeout}\n  returns: {returns}\n"
)
GONE = KEPT.replace("kept:", "gone:")
TUNNEL = """\
{name}:
  owner: cx
  opaque: {opaque}
  clearance: []
  endpoints: {{here: {{url: "https://127.0.0.1:{raw}", region: eu}}}}
"""
WIRE = """\
wire:
  owner: cx
  kind: tcp
  listen: 127.0.0.1:{listen}
  endpoints: {{here: {{url: "tcp://127.0.0.1:{raw}"}}}}
"""


class Scene:
    """One sidecar, its upstream, and a client."""

    def __init__(self, up: EgressUp, there: Upstream, client: aiohttp.ClientSession) -> None:
        self.up, self.there, self._client = up, there, client

    def services(self, *texts: str, timeout: int = 500, returns: str = "[]", listen: int = 0, changed: int = 0) -> str:
        values = {"port": self.there.port, "raw": self.there.raw, "timeout": timeout, "returns": returns}
        values["changed"] = changed or self.there.port
        return "".join(each.format(**values, listen=listen) for each in texts)

    async def reload(self, services: str, told: str = "reloaded: policy revision") -> None:
        await asyncio.to_thread(self.up.reload, services, told)

    async def get(self, path: str) -> aiohttp.ClientResponse:
        return await self._client.get(f"{self.up.base}/{path}", headers={"remit-token": TOKEN})

    async def call_on(self, path: str) -> None:
        """Call again and again, until cancelled. What is refused meanwhile may be tried again."""
        while True:
            async with await self.get(path) as answer:
                assert answer.status in (200, 503), await answer.text()

    async def key(self) -> str:
        """The credential that an upstream is sent now."""
        async with await self.get("kept/x") as answer:
            assert answer.status == 200, await answer.text()
        return self.there.requests[-1][2]["authorization"].removeprefix("Bearer ")

    async def tunnel(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A tunnel to what echoes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.up.proxy)
        known = b64encode(f"remit:{TOKEN}".encode()).decode()
        at = f"127.0.0.1:{self.there.raw}"
        writer.write(f"CONNECT {at} HTTP/1.1\r\nhost: {at}\r\nproxy-authorization: Basic {known}\r\n\r\n".encode())
        assert b" 200 " in await reader.readline()
        while await reader.readline() != b"\r\n":
            pass
        return reader, writer

    async def stream(self, service: str) -> aiohttp.ClientResponse:
        """A stream that has begun."""
        answer = await self.get(f"{service}/sse")
        assert answer.status == 200, await answer.text()
        assert await answer.content.readline() == b"data: first\n"
        assert await answer.content.readline() == b"\n"
        return answer

    async def event(self, answer: aiohttp.ClientResponse, text: bytes) -> None:
        """The next event is this one."""
        assert await answer.content.readline() == b"data: " + text + b"\n"
        assert await answer.content.readline() == b"\n"


@asynccontextmanager
async def scene(place: Path) -> AsyncIterator[Scene]:
    (place / "api.key").write_text(OLD)
    (place / "api.key").chmod(0o600)
    async with upstream() as there, aiohttp.ClientSession() as client:
        first = "".join((KEPT, CHANGED, GONE)).format(port=there.port, changed=there.port, timeout=600, returns="[]")
        with_up = egress_up(place, first)
        up = await asyncio.to_thread(with_up.__enter__)
        try:
            yield Scene(up, there, client)
        finally:
            await asyncio.to_thread(with_up.__exit__, None, None, None)


@in_loop
async def test_services_come_go_and_change_under_streams(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Streams of a service that is there still go on to their end, those of one that is not end and say why."""
    async with scene(tmp_path_factory.mktemp("reload")) as on:
        kept, changed, gone = [await on.stream(each) for each in ("kept", "changed", "gone")]
        on.there.more(b"data: second\n\n")
        for each in (kept, changed, gone):
            await on.event(each, b"second")

        await on.reload(on.services(KEPT, CHANGED))
        begun = monotonic()
        refused = await on.get("gone/x")
        assert (refused.status, (await refused.json())["error"]["code"]) == (403, "unknown_resource")
        told = await gone.content.read()
        assert monotonic() - begun < SECONDS + SLACK
        assert b"event: error" in told and b"unknown_resource" in told

        on.there.more(b"data: third\n\n")
        for each in (kept, changed):
            await on.event(each, b"third")
        # Again, and with other addresses, labels and routes, and back: not one of them touches what has not changed.
        await on.reload(on.services(KEPT, CHANGED, GONE, timeout=400, returns="[untrusted]", changed=on.there.raw))
        async with await on.get("gone/x") as back:
            assert back.status == 200
        on.there.more(b"data: fourth\n\n")
        for each in (kept, changed):
            await on.event(each, b"fourth")
        on.there.more(b"")
        for each in (kept, changed):
            assert await each.content.read() == b""
        await until(lambda: unreported(on.up) == set())
        assert "fork" not in on.up.log, "gRPC's handlers may abort what is started beside the sidecar"


@pytest.mark.parametrize("after", ["", TUNNEL.replace("{opaque}", "false")], ids=["no service", "not opaque"])
@in_loop
async def test_a_tunnel_lasts_as_long_as_it_may_be_opened(tmp_path_factory: pytest.TempPathFactory, after: str) -> None:
    """Other services come and go around it; its own being no more, or no more opaque, ends it."""
    async with scene(tmp_path_factory.mktemp("tunnel")) as on:
        tunnel = TUNNEL.format(name="partner", opaque="true", raw=on.there.raw)
        await on.reload(on.services(KEPT) + tunnel)
        reader, writer = await on.tunnel()
        for services in (on.services(KEPT, GONE), on.services(KEPT, CHANGED), ""):
            await on.reload(services + tunnel)
            writer.write(b"still\n")
            assert await reader.readline() == b"still\n"
        await on.reload(on.services(KEPT) + after.format(name="partner", raw=on.there.raw))
        begun = monotonic()
        with suppress(ConnectionError):
            assert await reader.read() == b""
        assert monotonic() - begun < SECONDS + SLACK
        writer.close()
        await until(lambda: on.there.tunnels == 0 and unreported(on.up) == set())


@in_loop
async def test_a_reload_that_is_refused_keeps_the_old_and_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whoever refuses it: the catalogue's reader, or Envoy."""
    async with scene(tmp_path_factory.mktemp("refused")) as on:
        kept = await on.stream("kept")
        refused = "reload refused, the one in force stays"
        await on.reload("kept: {kind: tcp}\n", refused)
        assert "services.kept: found none; expected `listen`" in on.up.log
        with socket.create_server(("127.0.0.1", 0)) as taken:
            await on.reload(on.services(KEPT, WIRE, listen=taken.getsockname()[1]), refused)
        assert "Envoy" in on.up.log.rpartition(refused)[2]

        for service in ("kept", "changed", "gone"):
            async with await on.get(f"{service}/x") as answer:
                assert answer.status == 200
        on.there.more(b"data: second\n\n")
        await on.event(kept, b"second")

        port = free_port()
        await on.reload(on.services(KEPT, WIRE, listen=port))
        async with await on.get("gone/x") as answer:
            assert answer.status == 403
        on.there.more(b"data: third\n\n")
        await on.event(kept, b"third")
        kept.close()


@in_loop
async def test_a_reload_that_opa_refuses_after_envoy_took_it_leads_nobody_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Envoy is told first: where OPA then does not come up, Envoy is told the old catalogue again."""
    place = tmp_path_factory.mktemp("halfway")
    ailing, opa = place / "ailing", place / "opa"
    opa.write_text(f'#!/bin/sh\n[ "$1" = run ] && [ -e {ailing} ] && exit 1\nexec {find(os.environ).path} "$@"\n')
    opa.chmod(0o755)
    monkeypatch.setenv("REMIT_OPA_BIN", str(opa))
    async with scene(place) as on, upstream() as elsewhere:
        ailing.touch()
        moved = on.services(KEPT, CHANGED, GONE, changed=elsewhere.port)
        await on.reload(moved, "reload refused, the one in force stays")

        async with await on.get("changed/x") as answer:
            assert answer.status == 200, await answer.text()
        assert elsewhere.requests == []

        ailing.unlink()
        await on.reload(moved)
        async with await on.get("changed/x") as answer:
            assert answer.status == 200, await answer.text()
        assert len(elsewhere.requests) == 1


@in_loop
async def test_a_disk_that_takes_nothing_refuses_one_reload_and_not_the_next(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """What stands in a document's place here makes its writing fail, as a full disk does."""
    async with scene(tmp_path_factory.mktemp("full")) as on:
        for name in ("whole.json", "cds.json.new"):
            in_the_way = on.up.directory / name
            in_the_way.mkdir()
            await on.reload(on.services(KEPT), "reload refused, the one in force stays")
            assert f"{in_the_way} cannot be written" in on.up.log
            async with await on.get("gone/x") as answer:
                assert answer.status == 200
            in_the_way.rmdir()
        await on.reload(on.services(KEPT))
        async with await on.get("gone/x") as answer:
            assert answer.status == 403


@in_loop
async def test_a_rotated_credential_is_used_within_a_second(tmp_path_factory: pytest.TempPathFactory) -> None:
    """By new calls, without a reload; a stream that has begun with the old one goes on."""
    async with scene(tmp_path_factory.mktemp("rotated")) as on:
        kept = await on.stream("kept")
        assert await on.key() == OLD
        new = on.up.place / "api.new"
        new.write_text(NEW)
        new.chmod(0o600)
        new.replace(on.up.place / "api.key")
        begun = monotonic()
        while await on.key() != NEW:
            assert monotonic() - begun < SECONDS
        on.there.more(b"data: second\n\n")
        await on.event(kept, b"second")
        assert (on.up.log.count("reloaded"), OLD in on.up.log, NEW in on.up.log) == (0, False, False)
        kept.close()


MOVED = """\
moved:
  owner: cx
  endpoints: {{here: {{url: "http://127.0.0.1:{port}", region: eu}}}}
  credentials: [{{file: {key}}}]
  routes: [{{path: "/{{what}}", operation: get, methods: [GET]}}]
"""


@in_loop
async def test_no_credential_goes_where_another_catalogue_leads(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A service moves to another host, with another key, under calls that never pause: each host sees its own key."""
    async with scene(tmp_path_factory.mktemp("moved")) as on, upstream() as elsewhere:
        (on.up.place / "new.key").write_text(NEW)
        (on.up.place / "new.key").chmod(0o600)
        here = MOVED.format(port=on.there.port, key="api.key")
        there = MOVED.format(port=elsewhere.port, key="new.key")
        await on.reload(here)
        async with asyncio.TaskGroup() as calling:
            callers = [calling.create_task(on.call_on("moved/x")) for _ in range(4)]
            for services in (there, here, there):
                await on.reload(services)
            for each in callers:
                each.cancel()
        async with await on.get("moved/x") as answer:
            assert answer.status == 200
        for at, key in ((on.there, OLD), (elsewhere, NEW)):
            assert {got[2]["authorization"] for got in at.requests} == {f"Bearer {key}"}
        await until(lambda: unreported(on.up) == set())


def unreported(up: EgressUp) -> set[str]:
    """What was permitted and is not settled."""
    permitted = {each.id for each in up.decisions() if each.body["effect"] == "ALLOW"}
    return permitted - {each.ref for each in up.records() if each.kind == "report"}
