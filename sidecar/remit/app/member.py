"""A member of an installation: what sidecar and desk have alike, from its keys to its last checkpoint.

Store, OPA, policy, the world that the pipeline stands on, who is who; reload, sweep, watch. What it serves, and to
whom, is the part of the kind of member: `App` (sidecar.py), the sidecar, and `Desk` (desk.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from joserfc.jwk import OKPKey

from remit.app.bundled import Bundled, FilesAlone
from remit.app.certificates import Certificates
from remit.app.draining import Draining
from remit.app.files import Files
from remit.app.secrets import Secrets
from remit.app.stores import OpenedStore, bundle_guard, open_store
from remit.backends.bundle_archive import BundleRefused
from remit.backends.bundle_fetch import BundleAway
from remit.backends.bundle_signature import KeyUnusable
from remit.backends.clock_system import SystemClock
from remit.backends.identity_catalogue import CatalogueIdentity
from remit.backends.identity_kubernetes import Cluster
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
from remit.config import CatalogueInvalid, Settings
from remit.config.listening import Address as ListenOn
from remit.config.listening import TlsSettings
from remit.core.catalogue import Catalogue
from remit.core.document import input_document
from remit.core.errors import StoreUnavailable
from remit.core.model import Context, Facts, Identity, Request, Resource, ResourceFacts, Subject
from remit.core.money import NANOS
from remit.listeners.grpc_call import Methods
from remit.listeners.grpc_limits import Limits
from remit.listeners.grpc_server import Address, CannotListen, GrpcListener, Tcp
from remit.listeners.ops import Besides, OpsListener
from remit.metrics import MeteredPdp, Metrics, metered_store
from remit.pep.pipeline import Pipeline
from remit.pep.telling import Teller
from remit.pep.world import Installation, World
from remit.pep.write import Entry, must_write

SWEEP_SECONDS = 0.5  # half of what a lapse may be late
WATCH_SECONDS = 1.0
READ_TRIES = 3
PRUNE_SECONDS = 60.0

Load = Callable[[], tuple[Settings, Catalogue]]
Progress = Callable[[str, float], None]
_log = logging.getLogger("remit")


class Member(ABC):
    """One member. `load` reads catalogue and settings anew for a reload; `fingerprint` tells when they changed."""

    kind: ClassVar[str]
    """sidecar or desk, as the journal and the store say it."""

    services: ClassVar[Sequence[Methods]]
    """What its gRPC serves."""

    refusals: ClassVar[tuple[type[Exception], ...]] = (
        CatalogueInvalid,
        BundleInvalid,
        BundleAway,
        BundleRefused,
        KeyUnusable,
        StoreUnavailable,
        OpaFailed,
        OSError,
    )
    """What a reload may end with: then everything stays as it was."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        *,
        load: Load,
        fingerprint: Callable[[], str] = lambda: "",
        bundled: Bundled | None = None,
        progress: Progress = lambda text, share: None,
        store_type: Callable[..., SqliteStore] = SqliteStore,
    ) -> None:
        self._settings, self._catalogue = settings, catalogue
        self._load, self._fingerprint, self._progress = load, fingerprint, progress
        self._bundled = bundled or FilesAlone()
        self._store_type = store_type
        self._files = Files(settings.state.absolute())
        self._clock = SystemClock()
        self._ids = RandomIds(self._clock)
        self._metrics = Metrics(version("remit"))
        self._secrets = Secrets(os.environ)
        self._failed = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._stopping = False
        self._draining = Draining(settings.limits.drain_seconds)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()
        self._grpc: GrpcListener | None = None
        self._servers: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}
        """Each server's name, and what returns once it serves no more."""
        self.addresses: tuple[str, ...] = ()

    async def start(self) -> None:
        """Everything, in order; what fails takes the rest down again. Raises RemitError's kin with a clear text."""
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()

    async def _start(self, stack: AsyncExitStack) -> None:
        self._metrics.started(self._clock.now())
        # Of now, not of when it is watched: what is changed while this starts is seen as well.
        self._seen = await asyncio.to_thread(self._fingerprint)
        self._files.make()
        self._secrets.take(self._catalogue)
        keys = open_keys(self._files.state, self._settings.keys)
        opened = await self._open_store(keys)
        self._store, self._shared = opened.store, opened.shared
        stack.push_async_callback(opened.close)
        self._metrics.know(self._catalogue)
        self._opa = await asyncio.to_thread(obtain, os.environ, self._settings.opa.binary, self._progress)
        policy = await self._first_policy()
        bundle = await self._accept()
        self._pdp = self._server()
        await self._pdp.start(policy.bundle)
        stack.push_async_callback(self._pdp.stop)
        self._world = self._make_world(keys, opened, policy)
        cluster = self._cluster()
        self._identity = CatalogueIdentity(self._catalogue, self._clock, keys.operator_hash, cluster)
        if cluster is not None:
            await cluster.start()
        self._pipeline = Pipeline(self._world)
        await self._activate(policy, f"{self.kind}.started", bundle)
        stack.push_async_callback(self._settle)
        await self._serve(stack, keys)
        self._metrics.reloaded(well=not self._bundled.behind)
        if self._grpc is not None:
            await self._grpc.serving(True)
        minding = (self._mind(name, end) for name, end in self._servers.items())
        following = (cluster.follow(),) if cluster is not None else ()
        self._run(self._sweep(), self._prune(), self._watch(), *minding, *following)

    def _cluster(self) -> Cluster | None:
        """By what service accounts are proved; None where nobody is by theirs."""
        return None

    @abstractmethod
    async def _serve(self, stack: AsyncExitStack, keys: Keys) -> None:
        """Give the world what this kind of member has besides, and open the listeners.

        Adds to `addresses` where clients dial them.
        """

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
        self._draining.begin()
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
            catalogue, policy = await self._read()
            accepted = await self._accept()
            await self._take(catalogue, policy.bundle)
        except self.refusals as error:
            self._metrics.reloaded(well=False)
            _log.error("reload refused, the one in force stays:\n%s", error)
            return
        self._catalogue = catalogue
        self._metrics.know(catalogue)
        self._identity.use(catalogue)
        # From here without a pause: no decision is judged by one and committed under the other.
        self._world.installation = self._installation(policy)
        await self._activate(policy, "policy.activated", accepted)
        self._metrics.reloaded(well=True)
        _log.info("reloaded: policy revision %s", policy.bundle.revision)

    async def _read(self) -> tuple[Catalogue, Policy]:
        """Each is of one moment; both are, unless they do not stop changing: then the watcher sees that again."""
        tries = READ_TRIES
        while True:
            before, tries = await asyncio.to_thread(self._fingerprint), tries - 1
            settings, catalogue = await asyncio.to_thread(self._load)
            self._secrets.take(catalogue)
            policy = await self._prepare(catalogue, settings.policies)
            if not tries or await asyncio.to_thread(self._fingerprint) == before:
                return catalogue, policy

    async def _take(self, catalogue: Catalogue, bundle: Bundle) -> None:
        """Have all that works by catalogue or bundle know the new ones. Raises one of `refusals`: the old ones hold."""
        if bundle.revision != self._world.installation.pdp.revision:
            await self._pdp.reload(bundle)

    @property
    def verifier(self) -> str:
        """What an auditor pins, to know this member's log from any other."""
        return str(self._store.verifier)

    async def _open_store(self, keys: Keys) -> OpenedStore:
        return await open_store(
            self._settings,
            self._files,
            clock=self._clock,
            ids=self._ids,
            keys=keys,
            vault=self._secrets.vault,
            kind=self.kind,
            synced=self._metrics.fsynced,
            embedded=self._store_type,
        )

    async def _prepare(self, catalogue: Catalogue, policies: tuple[Path, ...] | None = None) -> Policy:
        chosen = self._settings.policies if policies is None else policies
        return await asyncio.to_thread(prepare, catalogue, chosen, opa=self._opa.path, directory=self._files.bundles)

    async def _first_policy(self) -> Policy:
        """Of what was loaded; where that is a bundle that cannot be used, of the one that was accepted before."""
        try:
            return await self._prepare(self._catalogue)
        except BundleInvalid as error:
            before = await asyncio.to_thread(self._bundled.retreat)
            if before is None:
                raise
            _log.error("not used:\n%s", error)
        self._settings, self._catalogue = before
        self._secrets.take(self._catalogue)
        self._metrics.know(self._catalogue)
        return await self._prepare(self._catalogue)

    async def _accept(self) -> Mapping[str, object]:
        """A bundle that has proved good is the oldest that may be used from now on: what the journal says of it.

        Raises BundleRefused where a newer one was in force before, StoreUnavailable, OSError.
        """
        fetched = self._bundled.fetched
        guard = await bundle_guard(self._settings.store, self._secrets.vault) if fetched else None
        return await asyncio.to_thread(self._bundled.accept, guard)

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

    def _make_world(self, keys: Keys, opened: OpenedStore, policy: Policy) -> World:
        return World(
            store=metered_store(self._store, self._metrics, self._waits(opened)),
            clock=self._clock,
            ids=self._ids,
            signer=Ed25519Signer(OKPKey.import_key(keys.context), opened.issuer),
            observer=self._metrics,
            hmac=keys.seal,
            installation=self._installation(policy),
        )

    def _waits(self, opened: OpenedStore) -> Callable[[], float] | None:
        """For how many seconds the oldest record has been on this disk alone; None where none ever is."""
        unshipped = opened.unshipped
        if unshipped is None:
            return None

        def seconds() -> float:
            # A disk that cannot be read has failed the store, which is told apart.
            with contextlib.suppress(StoreUnavailable):
                since = unshipped()
                return 0.0 if since is None else (self._clock.now() - since) / NANOS
            return 0.0

        return seconds

    def _installation(self, policy: Policy) -> Installation:
        return Installation(self._catalogue, MeteredPdp(self._pdp.pdp, self._metrics), policy.messages, policy.failure)

    async def _activate(self, policy: Policy, kind: str, bundle: Mapping[str, object]) -> None:
        self._store.activate(policy.bundle.revision)
        self._metrics.policy(policy.bundle.revision)
        body = {"revision": policy.bundle.revision, "catalogue": self._catalogue.digest, "version": version("remit")}
        await must_write(self._world, Entry(kind, "", {**body, **({"bundle": bundle} if bundle else {})}))

    async def _serve_grpc(self, stack: AsyncExitStack, addresses: Sequence[Address]) -> None:
        """Serve the pipeline at these addresses; calls under way end before what stands below it."""
        limits = self._settings.limits
        grpc = self._grpc = GrpcListener(
            self._pipeline,
            self._identity,
            self._metrics,
            addresses=addresses,
            limits=Limits(
                message_bytes=limits.message_bytes,
                metadata_bytes=limits.metadata_bytes,
                concurrency=limits.concurrency,
                call_seconds=limits.call_seconds,
            ),
            services=self.services,
        )
        self.addresses += await grpc.start()
        self._draining.add(stack, grpc.stop)
        self._servers["gRPC"] = grpc.ended

    async def _serve_console(
        self,
        stack: AsyncExitStack,
        address: ListenOn,
        certificates: Certificates | None,
        *,
        besides: Besides | None = None,
    ) -> None:
        """Serve people's web pages, with health and metrics beside them, and what there is besides."""
        # What they are made with takes memory and time to load: a sidecar that serves none goes without.
        console = import_module("remit.app.console")
        bound: str = await console.serve_console(
            stack,
            address,
            pipeline=self._pipeline,
            identities=self._identity,
            metrics=self._metrics,
            checks=self._checks,
            clock=self._clock,
            ids=self._ids,
            desk=self._settings.desk,
            certificates=certificates,
            draining=self._draining,
            progress=self._progress,
            besides=besides,
        )
        self.addresses += (bound,)

    async def _serve_ops(
        self, stack: AsyncExitStack, *addresses: ListenOn | None, besides: Besides | None = None
    ) -> None:
        """Serve health and metrics at each of these addresses, and what there is besides."""
        for address in filter(None, addresses):
            about = self._about if besides is None else None
            ops = OpsListener(self._metrics.exposition, self._checks, besides=besides, about=about)
            try:
                bound = await ops.start(address.host, address.port)
            except OSError as error:
                raise CannotListen(f"cannot listen on {address}: {error.strerror or error}") from error
            self.addresses += (f"http://{bound}",)
            stack.push_async_callback(ops.stop)

    async def _certified(self, use: str, settings: TlsSettings | None) -> Certificates | None:
        """The certificate that these settings name, kept as its files say. Raises TlsUnusable."""
        if settings is None:
            return None
        found = await Certificates.read(use, settings, self._metrics)
        self._run(found.follow())
        return found

    async def _tell(self) -> None:
        """Tell chat tools of approvals, where the settings say so. Raises VaultFailed."""
        settings = self._settings.approvals.webhook
        if settings is None:
            return
        # Its HTTP client takes memory: who tells nobody goes without.
        http = import_module("remit.backends.webhook_http")
        hook = await http.webhook(settings.url, settings.secret_file, self._secrets.vault)
        teller = Teller(self._world, hook, public_url=self._settings.desk.public_url)
        self._run(teller.run())

    def _checks(self) -> dict[str, str]:
        """What must be well for this member to be ready: "" where it is."""
        return {
            "opa": "" if self._pdp.up else "OPA does not answer",
            "store": "the store has failed" if self._store.failed else self._metrics.store_problem(),
        }

    def _about(self) -> dict[str, object]:
        """What `remit k8s check` asks: what is well, without words, and the clock in seconds since the epoch."""
        return {
            "checks": {name: not problem for name, problem in self._checks().items()},
            "revision": self._world.installation.pdp.revision,
            "time": self._clock.now() / 1_000_000_000,
            "version": version("remit"),
        }

    async def _settle(self) -> None:
        """The last words, once nothing is served any more; none where the store is away: nobody waits for it."""
        if self._metrics.store_problem():
            return
        with contextlib.suppress(StoreUnavailable):
            await self._pipeline.drain()
            await must_write(self._world, Entry(f"{self.kind}.stopped", "", {}))

    def _run(self, *loops: Coroutine[Any, Any, None]) -> None:
        for each in loops:
            task = asyncio.create_task(each)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _sweep(self) -> None:
        """Lapses and minute counts. A store that has failed ends the member: a restart recovers what is durable."""
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
        """A server that ended by itself ends the member: whoever supervises it starts it anew."""
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
        seen = self._seen
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


def tcp(address: ListenOn, certificates: Certificates | None) -> Tcp:
    """As the gRPC listener takes it."""
    return Tcp(address.host, address.port, None if certificates is None else certificates.grpc())


_NOBODY = Subject("agent", "probe", "", (), Identity("local", "probe"))
PROBE = input_document(
    Request(_NOBODY, "decision.make", Resource("decision", "probe"), Context()), Facts(0, ResourceFacts(False))
)
"""A question that any library and catalogue can answer: who asks is nobody."""
