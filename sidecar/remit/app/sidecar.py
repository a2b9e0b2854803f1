"""The sidecar: a member that stands beside agents, on their socket, and between them and what they call."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, ClassVar

from remit.app.bundled import Bundled
from remit.app.certificates import Certificates
from remit.app.cluster import find_cluster
from remit.app.egress import EgressParts
from remit.app.member import Load, Member, Progress, tcp
from remit.backends.databases import CatalogueDatabases
from remit.backends.envoy_process import EnvoyFailed
from remit.backends.identity_kubernetes import Cluster
from remit.backends.keys_file import Keys
from remit.backends.opa_bundle import Bundle
from remit.backends.opa_process import OpaFailed
from remit.backends.store_sqlite import SqliteStore
from remit.backends.tokens_aessiv import AesSivTokenizer
from remit.config import Settings
from remit.core.catalogue import Catalogue
from remit.core.database_url import UrlRefused
from remit.listeners.authzen import Authzen
from remit.listeners.grpc_call import Methods
from remit.listeners.grpc_server import SERVICES, Address, UnixSocket
from remit.ports import Resolver


class App(Member):
    """One sidecar. `store_type` is the embedded store's, `resolver` what looks hosts up: for tests and measurements."""

    kind: ClassVar[str] = "sidecar"
    services: ClassVar[Sequence[Methods]] = SERVICES
    refusals: ClassVar[tuple[type[Exception], ...]] = (*Member.refusals, EnvoyFailed, UrlRefused)

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
        resolver: Resolver | None = None,
    ) -> None:
        parts: dict[str, Any] = {
            "fingerprint": fingerprint,
            "bundled": bundled,
            "progress": progress,
            "store_type": store_type,
        }
        super().__init__(settings, catalogue, load=load, **parts)
        self._resolver = resolver
        self._egress: EgressParts | None = None

    def _cluster(self) -> Cluster | None:
        return find_cluster(self._settings.kubernetes, os.environ, self._clock)

    async def _serve(self, stack: AsyncExitStack, keys: Keys) -> None:
        tokenizer = AesSivTokenizer(keys.views)
        self._databases = CatalogueDatabases(self._secrets.vault, tokenizer)
        await self._databases.use(self._catalogue)
        stack.push_async_callback(self._databases.close)
        self._world.databases, self._world.tokenizer = self._databases, tokenizer
        settings = self._settings
        served = settings.grpc is not None or (settings.console and settings.http is not None)
        certificates = await self._certified("grpc", settings.tls if served else None)
        await self._serve_grpc(stack, self._listen_on(certificates))
        await self._serve_egress(stack)
        if not self._shared:
            # What many members share, one of them tells: the desk.
            self._metrics.expose(self._store, self._clock)
            await self._tell()
        authzen = Authzen(self._pipeline, self._identity, self._metrics)
        stack.push_async_callback(self._draining.alone, authzen.finish)
        if settings.console and settings.http is not None:
            await self._serve_console(stack, settings.http, certificates, besides=authzen)
        else:
            await self._serve_ops(stack, settings.http, besides=authzen)
        await self._serve_ops(stack, settings.ops)

    async def _take(self, catalogue: Catalogue, bundle: Bundle) -> None:
        """Envoy knows a catalogue before decisions are made by it, and the old one again where OPA refuses."""
        if self._egress is not None:
            await self._egress.reload(catalogue)
        try:
            await super()._take(catalogue, bundle)
        except OpaFailed:
            if self._egress is not None:
                await self._egress.reload(self._catalogue)
            raise
        await self._databases.use(catalogue)

    def _listen_on(self, certificates: Certificates | None) -> Sequence[Address]:
        settings = self._settings
        addresses: list[Address] = []
        if settings.socket is not None:
            settings.socket.parent.mkdir(parents=True, exist_ok=True)
            addresses.append(UnixSocket(settings.socket))
        if settings.grpc is not None:
            addresses.append(tcp(settings.grpc, certificates))
        return addresses

    async def _serve_egress(self, stack: AsyncExitStack) -> None:
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
            longest=self._settings.approvals.wait,
        )
        self._draining.add(stack, egress.stop)
        await egress.start(self._catalogue, self._progress)
        self._egress = egress
        self._servers["egress"] = egress.ended
        self.addresses += egress.addresses

    def _checks(self) -> dict[str, str]:
        egress = {"egress": self._egress.problem} if self._egress is not None else {}
        pod = {"identity": self._identity.problem} if self._settings.kubernetes.token_file is not None else {}
        return super()._checks() | egress | pod
