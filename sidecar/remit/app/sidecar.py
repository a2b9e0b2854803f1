"""The composition root: joins everything, starts it in order, keeps it going, and stops it in the reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from joserfc.jwk import OKPKey

from remit.app.egress import EgressParts
from remit.app.secrets import Secrets
from remit.backends.clock_system import SystemClock
from remit.backends.databases import CatalogueDatabases
from remit.backends.envoy_process import EnvoyFailed
from remit.backends.identity_catalogue import CatalogueIdentity
from remit.backends.ids_random import RandomIds
from remit.backends.keys_file import Keys, open_keys
from remit.backends.opa_bundle import Bundle, BundleInvalid
from remit.backends.opa_install import obtain
from remit.backends.opa_process import OpaFailed
from remit.backends.opa_server import ExternalOpa, OpaServer, PdpServer
from remit.backends.pdp_opa import PdpSettings
from remit.backends.policy_files import Policy, prepare
from remit.backends.signer_ed25519 import Ed25519Signer
from remit.backends.store_sqlite import SqliteStore
from remit.backends.tokens_aessiv import AesSivTokenizer
from remit.config import CatalogueInvalid, Settings
from remit.core.catalogue import Catalogue
from remit.core.database_url import UrlRefused
from remit.core.document import input_document
from remit.core.errors import StoreUnavailable
from remit.core.model import Context, Facts, Identity, Request, Resource, ResourceFacts, Subject
from remit.listeners.grpc_limits import Limits
from remit.listeners.grpc_server import Address, CannotListen, GrpcListener, Tcp, Tls, UnixSocket
from remit.listeners.ops import OpsListener
from remit.metrics import MeteredPdp, Metrics, metered_store
from remit.pep.pipeline import Pipeline
from remit.pep.world import Installation, World
from remit.pep.write import Entry, must_write
from remit.ports import Resolver

SWEEP_SECONDS = 0.5  # half of what a lapse may be late
WATCH_SECONDS = 1.0
PRUNE_SECONDS = 60.0

Load = Callable[[], tuple[Settings, Catalogue]]
Progress = Callable[[str, float], None]
_log = logging.getLogger("remit")


@dataclass(frozen=True, slots=True)
class Files:
    """Where one sidecar keeps its things, all below its state directory."""

    state: Path

    @property
    def store(self) -> Path:
        return self.state / "state.db"

    @property
    def opa(self) -> Path:
        return self.state / "opa"

    @property
    def egress(self) -> Path:
        return self.state / "egress"

    @property
    def bundles(self) -> Path:
        return self.state / "bundles"

    def make(self) -> None:
        """The directories, for this user alone."""
        for each in (self.state, self.bundles):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.state.chmod(0o700)


class App:
    """One sidecar. `load` reads catalogue and settings anew for a reload; `fingerprint` tells when they changed."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        *,
        load: Load,
        fingerprint: Callable[[], str] = lambda: "",
        progress: Progress = lambda text, share: None,
        store_type: Callable[..., SqliteStore] = SqliteStore,
        resolver: Resolver | None = None,
    ) -> None:
        self._settings, self._catalogue = settings, catalogue
        self._load, self._fingerprint, self._progress = load, fingerprint, progress
        self._store_type, self._resolver = store_type, resolver
        self._files = Files(settings.state.absolute())
        self._clock = SystemClock()
        self._ids = RandomIds(self._clock)
        self._metrics = Metrics(version("remit"))
        self._secrets = Secrets(os.environ)
        self._failed = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()
        self._egress: EgressParts | None = None
        self.addresses: tuple[str, ...] = ()

    async def start(self) -> None:
        """Everything, in order; what fails takes the rest down again. Raises RemitError's kin with a clear text."""
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()

    async def _start(self, stack: AsyncExitStack) -> None:
        self._files.make()
        self._secrets.take(self._catalogue)
        keys = open_keys(self._files.state)
        self._store = self._open_store(keys)
        stack.push_async_callback(self._store.close)
        self._metrics.know(self._catalogue)
        self._opa = await asyncio.to_thread(obtain, os.environ, self._settings.opa.binary, self._progress)
        policy = await self._prepare(self._catalogue)
        self._pdp = self._server()
        await self._pdp.start(policy.bundle)
        stack.push_async_callback(self._pdp.stop)
        self._tokenizer = AesSivTokenizer(keys.views)
        self._databases = CatalogueDatabases(self._secrets.vault, self._tokenizer)
        await self._databases.use(self._catalogue)
        stack.push_async_callback(self._databases.close)
        self._world = self._make_world(keys, policy)
        self._identity = CatalogueIdentity(self._catalogue, self._clock, keys.operator_hash)
        self._pipeline = Pipeline(self._world)
        await self._activate(policy, "sidecar.started")
        self._grpc = self._make_grpc()
        self.addresses = await self._grpc.start()
        stack.push_async_callback(self._stop_serving)
        await self._start_egress(stack)
        await self._start_ops(stack)
        self._metrics.reloaded(well=True)
        await self._grpc.serving(True)
        self._run(self._sweep(), self._prune(), self._watch(), self._mind("gRPC", self._grpc.ended))
        if self._egress is not None:
            self._run(self._mind("egress", self._egress.ended))

    async def run(self, stopping: asyncio.Event) -> bool:
        """Serve until asked to stop, or until store or server have failed; whether it ended as asked."""
        waits = {asyncio.create_task(stopping.wait()), asyncio.create_task(self._failed.wait())}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
        return not self._failed.is_set()

    async def stop(self) -> None:
        """In the reverse order: no new calls, those under way end, the last counts and checkpoint are written."""
        self._stopping = True
        for each in self._tasks:
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def reload(self) -> None:
        """Take catalogue and policies anew, whole or not at all; a bad one keeps the good one, and is told."""
        async with self._reloading:
            await self._reload()

    async def _reload(self) -> None:
        try:
            settings, catalogue = await asyncio.to_thread(self._load)
            self._secrets.take(catalogue)
            policy = await self._prepare(catalogue, settings.policies)
            if self._egress is not None:
                await self._egress.reload(catalogue)
            if policy.bundle.revision != self._world.installation.pdp.revision:
                await self._judge_by(policy.bundle)
            await self._databases.use(catalogue)
        except (CatalogueInvalid, BundleInvalid, OpaFailed, EnvoyFailed, UrlRefused, OSError) as error:
            self._metrics.reloaded(well=False)
            _log.error("reload refused, the one in force stays:\n%s", error)
            return
        self._catalogue = catalogue
        self._metrics.know(catalogue)
        self._identity.use(catalogue)
        # From here without a pause: no decision is judged by one and committed under the other.
        self._world.installation = self._installation(policy)
        await self._activate(policy, "policy.activated")
        self._metrics.reloaded(well=True)
        _log.info("reloaded: policy revision %s", policy.bundle.revision)

    async def _judge_by(self, bundle: Bundle) -> None:
        """Have OPA serve a bundle. Raises OpaFailed, with Envoy told the catalogue again that stays in force."""
        try:
            await self._pdp.reload(bundle)
        except OpaFailed:
            if self._egress is not None:
                await self._egress.reload(self._catalogue)
            raise

    @property
    def verifier(self) -> str:
        """What an auditor pins, to know this sidecar's journal from any other."""
        return str(self._store.verifier)

    def _open_store(self, keys: Keys) -> SqliteStore:
        return self._store_type(
            self._files.store, clock=self._clock, ids=self._ids, key=keys.journal, synced=self._metrics.fsynced
        )

    async def _prepare(self, catalogue: Catalogue, policies: tuple[Path, ...] | None = None) -> Policy:
        chosen = self._settings.policies if policies is None else policies
        return await asyncio.to_thread(prepare, catalogue, chosen, opa=self._opa.path, directory=self._files.bundles)

    def _server(self) -> PdpServer:
        opa = self._settings.opa
        asking = PdpSettings(batch=opa.batch, deadline=opa.timeout_ms / 1000)

        def changed(up: bool, why: str) -> None:
            self._metrics.pdp(up=up)
            _log.log(logging.INFO if up or self._stopping else logging.ERROR, "OPA: %s", why)

        if opa.url or opa.socket:
            address = opa.url or f"unix://{opa.socket}"
            return ExternalOpa(address, PROBE, changed=changed, asking=asking)
        return OpaServer(self._opa.path, self._files.opa, PROBE, changed=changed, asking=asking)

    def _make_world(self, keys: Keys, policy: Policy) -> World:
        signer = Ed25519Signer(OKPKey.import_key(keys.context), self._store.log)
        return World(
            store=metered_store(self._store, self._metrics),
            clock=self._clock,
            ids=self._ids,
            signer=signer,
            observer=self._metrics,
            hmac=keys.seal,
            installation=self._installation(policy),
            databases=self._databases,
            tokenizer=self._tokenizer,
        )

    def _installation(self, policy: Policy) -> Installation:
        return Installation(self._catalogue, MeteredPdp(self._pdp.pdp, self._metrics), policy.messages)

    async def _activate(self, policy: Policy, kind: str) -> None:
        self._store.activate(policy.bundle.revision)
        self._metrics.policy(policy.bundle.revision)
        body = {"revision": policy.bundle.revision, "catalogue": self._catalogue.digest, "version": version("remit")}
        await must_write(self._world, Entry(kind, "", body))

    def _make_grpc(self) -> GrpcListener:
        limits = self._settings.limits
        return GrpcListener(
            self._pipeline,
            self._identity,
            self._metrics,
            addresses=self._listen_on(),
            limits=Limits(
                message_bytes=limits.message_bytes,
                metadata_bytes=limits.metadata_bytes,
                concurrency=limits.concurrency,
                call_seconds=limits.call_seconds,
            ),
        )

    def _listen_on(self) -> Sequence[Address]:
        settings = self._settings
        addresses: list[Address] = []
        if settings.socket is not None:
            settings.socket.parent.mkdir(parents=True, exist_ok=True)
            addresses.append(UnixSocket(settings.socket))
        if settings.grpc is not None:
            addresses.append(Tcp(settings.grpc.host, settings.grpc.port, self._tls()))
        return addresses

    def _tls(self) -> Tls | None:
        tls = self._settings.tls
        if tls is None:
            return None
        client_ca = tls.client_ca.read_bytes() if tls.client_ca else b""
        return Tls(tls.cert.read_bytes(), tls.key.read_bytes(), client_ca)

    async def _start_egress(self, stack: AsyncExitStack) -> None:
        if not self._settings.egress.on:
            return
        egress = EgressParts(
            self._settings.egress,
            self._files.egress,
            world=self._world,
            pipeline=self._pipeline,
            identities=self._identity,
            metrics=self._metrics,
            vault=self._secrets.vault,
            tls=self._settings.tls,
            resolver=self._resolver,
        )
        stack.push_async_callback(egress.stop, self._settings.limits.drain_seconds)
        await egress.start(self._catalogue, self._progress)
        self._egress = egress
        self.addresses += egress.addresses

    async def _start_ops(self, stack: AsyncExitStack) -> None:
        self._metrics.expose(self._store, self._clock)
        for address in (self._settings.http, self._settings.ops):
            if address is not None:
                ops = OpsListener(self._metrics.exposition, self._checks)
                try:
                    bound = await ops.start(address.host, address.port)
                except OSError as error:
                    raise CannotListen(f"cannot listen on {address}: {error.strerror or error}") from error
                self.addresses += (f"http://{bound}",)
                stack.push_async_callback(ops.stop)

    def _checks(self) -> dict[str, str]:
        return {
            "opa": "" if self._pdp.up else "OPA does not answer",
            "store": "the store has failed" if self._store.failed else "",
            **({"egress": self._egress.problem} if self._egress is not None else {}),
        }

    async def _stop_serving(self) -> None:
        await self._grpc.stop(self._settings.limits.drain_seconds)
        with contextlib.suppress(StoreUnavailable):
            await self._pipeline.drain()
            await must_write(self._world, Entry("sidecar.stopped", "", {}))

    def _run(self, *loops: Coroutine[Any, Any, None]) -> None:
        for each in loops:
            task = asyncio.create_task(each)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _sweep(self) -> None:
        """Lapses and minute counts. A store that has failed ends the sidecar: a restart recovers from the disk."""
        while not self._store.failed:
            try:
                await self._pipeline.sweep()
            except StoreUnavailable as error:
                _log.error("the sweep could not be recorded: %s", error)
            except Exception:
                # Whatever is wrong with one hold, the others must still end.
                _log.exception("the sweep failed")
            await asyncio.sleep(SWEEP_SECONDS)
        _log.critical("the store has failed: stopping")
        self._failed.set()

    async def _mind(self, name: str, end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A gRPC server that ended by itself ends the sidecar: whoever supervises it starts it anew."""
        # Shielded: cancelling the wait would cancel the server's own end.
        ended = asyncio.ensure_future(end())
        await asyncio.wait({ended})
        if not self._stopping:
            _log.critical("the %s server has ended by itself: stopping (%s)", name, ended.exception())
            self._failed.set()

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_SECONDS)
            with contextlib.suppress(StoreUnavailable):
                await self._store.prune(self._clock.now())

    async def _watch(self) -> None:
        """Reload when the files have changed."""
        if not self._settings.watch:
            return
        seen = await asyncio.to_thread(self._fingerprint)
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                found = await asyncio.to_thread(self._fingerprint)
            except OSError as error:
                _log.error("catalogue and policies could not be looked at: %s", error)
                continue
            if found != seen:
                seen = found
                await self.reload()


_NOBODY = Subject("agent", "probe", "", (), Identity("local", "probe"))
PROBE = input_document(
    Request(_NOBODY, "decision.make", Resource("decision", "probe"), Context()), Facts(0, ResourceFacts(False))
)
"""A question that any library and catalogue can answer: who asks is nobody."""
