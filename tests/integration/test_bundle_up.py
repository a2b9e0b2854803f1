"""A real sidecar that is governed by a bundle: started, reloaded and restarted against an HTTPS server, with an OPA."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import grpc
import pytest
from fakes.bundle_server import Serving, bundle_server
from fakes.bundles import OTHER, SIGNER, Making, Private, public_pem
from fakes.members_stage import durable_installation
from fakes.store_postgres import SIDECAR
from listeners.certificates import Authority
from remit.app.sidecar import App
from remit.backends.bundle_archive import BundleRefused
from remit.backends.bundle_fetch import BundleAway
from remit.backends.opa_bundle import BundleInvalid
from remit.backends.store_sqlite import open_journal
from remit.cli.serving import Files
from remit.config import CatalogueInvalid
from remit.v1 import resources_pb2, sidecar_pb2
from remit.v1 import sidecar_pb2_grpc as g

pytestmark = pytest.mark.opa
AUTHORITY = Authority("servers")
TOKEN = sha256(b"token-of-support").hexdigest()
CATALOGUE = f"""
currency: EUR
teams: {{cx: {{}}}}
agents: {{support: {{team: cx, roles: [support], purposes: [support], identity: {{token_hash: "sha256:{TOKEN}"}}}}}}
services: {{model: {{owner: cx, metering: agent, variants: {{small: {{}}}}}}}}
prices: [{{match: "model/*", unit: call, amount: 0.01, currency: EUR}}]
"""
OPEN = b"package remit.custom.closing\n\nimport rego.v1\n"
CLOSED = b"""# METADATA
# custom:
#   codes:
#     closed_today: it is closed
package remit.custom.closing

import rego.v1

deny contains "closed_today" if input.resource.id == "model"
"""
FAILING = b"package remit.custom.closing_test\n\nimport rego.v1\n\ntest_never if false\n"


def bundle(serial: int, rule: bytes = OPEN, *, key: Private = SIGNER, **files: bytes) -> bytes:
    """Catalogue and one rule."""
    whole = {"remit.yaml": CATALOGUE.encode(), "policies/closing/closing.rego": rule, **files}
    return Making(serial=serial, key=key, files=whole).packed()


class Place:
    """A sidecar's files, and the server that it is governed from."""

    def __init__(self, directory: Path, server: Serving, **more: object) -> None:
        self.directory, self.server = directory, server
        directory.mkdir(exist_ok=True)
        settings = {
            "state": str(directory / "state"),
            "socket": str(directory / "s"),
            "grpc": "off",
            "http": "off",
            "bundle": {
                "url": server.url,
                "key": str(directory / "key.pub"),
                "ca": str(directory / "ca.pem"),
                "poll_seconds": 5,
            },
            **more,
        }
        (directory / "key.pub").write_bytes(public_pem())
        (directory / "ca.pem").write_bytes(AUTHORITY.certificate)
        self.settings = directory / "remit.yaml"
        self.settings.write_text(json.dumps({"sidecar": settings}))

    def activated(self) -> list[int]:
        """The serials that the journal tells, in order."""
        with open_journal(self.directory / "state" / "state.db") as journal:
            records = [json.loads(row.record.body) for row in journal.rows()]
        return [each["bundle"]["serial"] for each in records if "bundle" in each]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Running]:
        """A sidecar, from its start to its end."""
        files = Files([self.settings], {})
        settings, catalogue = await asyncio.to_thread(files.load)
        app = App(settings, catalogue, load=files.load, fingerprint=files.fingerprint, bundled=files)
        await app.start()
        running = Running(self.directory, app)
        try:
            yield running
        finally:
            await running.channel.close()
            await app.stop()


class Running:
    """A sidecar and an agent beside it."""

    def __init__(self, directory: Path, app: App) -> None:
        self.app = app
        self.channel = grpc.aio.insecure_channel(f"unix:{directory / 's'}")

    async def codes(self) -> list[str]:
        """What is said of one call: "allowed", or why it is not."""
        resource = resources_pb2.Resource(type="service", id="model", operation="chat", variant="small")
        request = sidecar_pb2.AuthorizeRequest(
            action="api.call", resource=resource, context=resources_pb2.Context(purpose="support")
        )
        metadata = (("authorization", "Bearer token-of-support"),)
        answer = await g.SidecarStub(self.channel).Authorize(request, metadata=metadata, timeout=10)
        return [each.code for each in answer.decision.reasons]

    async def well(self) -> bool:
        """Whether the last load succeeded, as the metric says."""
        return b"remit_reload_success 1" in (await self.app._metrics.exposition(""))[0]

    async def until(self, codes: list[str]) -> None:
        """Wait for what a poll brings."""
        end = time.monotonic() + 60
        while await self.codes() != codes:
            assert time.monotonic() < end
            await asyncio.sleep(0.1)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    pair = AUTHORITY.sign(addresses=["127.0.0.1"])
    certificate = tmp_path / "server.pem"
    certificate.write_bytes(pair.certificate + pair.key)
    with bundle_server(certificate, Serving(body=bundle(10))) as server:
        yield Place(tmp_path, server)


def test_a_new_bundle_is_in_force_within_a_poll_and_a_bad_one_keeps_the_good(place: Place) -> None:
    """Policies that fail their tests, a broken catalogue, another key, an old serial: each is told, none is used."""

    async def scene() -> None:
        async with place.running() as sidecar:
            assert await sidecar.codes() == ["allowed"]
            assert await sidecar.well()
            place.server.body = bundle(11, CLOSED)
            await sidecar.until(["closed_today"])
            for bad in (
                bundle(12, OPEN, **{"policies/closing/closing_test.rego": FAILING}),
                bundle(12, b"package remit.custom.closing\n\nnot rego"),
                bundle(12, OPEN, **{"remit.yaml": b"currency: nothing\n"}),
                bundle(12, OPEN, **{"remit.yaml": CATALOGUE.encode() + b"sidecar: {grpc: off}\n"}),
                bundle(12, OPEN, key=OTHER),
                bundle(10, OPEN),
                bundle(11, OPEN),
                b"<html>",
            ):
                place.server.body = bundle(11, CLOSED)
                await sidecar.app.reload()
                assert await sidecar.well()
                place.server.body = bad
                await sidecar.app.reload()
                assert not await sidecar.well()
                assert await sidecar.codes() == ["closed_today"]
            place.server.body = bundle(12, OPEN)
            await sidecar.app.reload()
            assert await sidecar.well()
            assert await sidecar.codes() == ["allowed"]

    asyncio.run(scene())
    serials = place.activated()
    assert serials == sorted(serials)
    assert (serials[0], serials[-1]) == (10, 12)
    assert 200 in place.server.statuses
    assert 304 in place.server.statuses


def test_a_restart_needs_no_server_and_takes_no_older_bundle(place: Place) -> None:
    """Away, or serving an old one or one that fails: it starts with the last good one, and says that it is behind."""

    async def started(closed: bool, well: bool) -> None:
        async with place.running() as sidecar:
            assert (await sidecar.codes() == ["closed_today"]) == closed
            assert await sidecar.well() == well

    place.server.body = bundle(11, CLOSED)
    asyncio.run(started(closed=True, well=True))
    place.server.status = 503
    asyncio.run(started(closed=True, well=False))
    place.server.status = 200
    failing = {"policies/closing/closing_test.rego": FAILING}
    broken = {"remit.yaml": b"currency: nothing\n"}
    for bad in (bundle(10), bundle(12, OPEN, **failing), bundle(12, OPEN, **broken), b"<html>"):
        place.server.body = bad
        asyncio.run(started(closed=True, well=False))
    place.server.body = bundle(12)
    asyncio.run(started(closed=False, well=True))


def test_without_any_good_bundle_it_does_not_start(place: Place) -> None:
    """Nobody there, no bundle there, policies that fail."""

    async def start() -> None:
        async with place.running():
            pass

    place.server.status = 404
    with pytest.raises(BundleAway, match="answered 404"):
        asyncio.run(start())
    place.server.status = 200
    for body, refusal in (
        (b"<html>", BundleRefused),
        (bundle(10, key=OTHER), BundleRefused),
        (bundle(10, OPEN, **{"policies/closing/closing_test.rego": FAILING}), BundleInvalid),
        (bundle(10, OPEN, **{"remit.yaml": b"currency: nothing\n"}), CatalogueInvalid),
    ):
        place.server.body = body
        with pytest.raises(refusal):
            asyncio.run(start())
    assert not (place.directory / "state" / "bundle" / "highest.json").exists()


def test_a_new_pod_takes_no_older_bundle_than_the_installation_has_had(place: Place, tmp_path: Path) -> None:
    """Its disk is empty, and a mirror serves it what another pod has gone beyond: it does not start."""

    async def start(name: str) -> None:
        async with Place(tmp_path / name, place.server, **shared).running() as pod:
            assert await pod.well()

    with durable_installation() as installation:
        secret = tmp_path / "password"
        secret.write_text(installation.passwords[SIDECAR])
        secret.chmod(0o600)
        shared = {"store": {"url": installation.url(), "password_file": str(secret)}, "keys": str(tmp_path / "keys")}
        place.server.body = bundle(11)
        asyncio.run(start("a"))
        for old in (bundle(10), bundle(11, CLOSED)):
            place.server.body = old
            with pytest.raises(BundleRefused, match="accepted in this installation"):
                asyncio.run(start("b"))
        place.server.body = bundle(12)
        asyncio.run(start("b"))
        assert installation.rows("SELECT serial FROM remit.bundle") == [(12,)]


def test_a_catalogue_beside_a_bundle_is_one_too_many(place: Place) -> None:
    """And nothing is fetched."""
    place.settings.write_text(place.settings.read_text() + "\n")
    other = place.directory / "more.yaml"
    other.write_text("currency: EUR\nteams: {}\n")
    with pytest.raises(CatalogueInvalid, match="a catalogue beside a bundle"):
        Files([place.settings, other], {}).load()
    with pytest.raises(CatalogueInvalid, match="not both"):
        Files([place.settings], {"policies": [place.directory]}).load()
    assert place.server.asked == []
