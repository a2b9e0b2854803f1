"""The OPA that serves this sidecar: supervised here, or somebody else's that serves the same bundle.

An OPA is *ready* when it is healthy and both entry points have answered a probe under the bundle's revision; only
then is anybody sent to it. A reload starts a second one and switches when that is ready; the first one keeps its
questions until they are answered. One that ends, or no longer answers, is started again on the same bundle.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from os import geteuid
from pathlib import Path
from typing import Protocol

from remit.backends.opa_bundle import Bundle
from remit.backends.opa_http import Dial, dial_socket, dial_url
from remit.backends.opa_management import OpaManagement, OpaUnreachable
from remit.backends.opa_process import OpaFailed, OpaProcess
from remit.backends.pdp_opa import DEFAULTS, OpaPdp, PdpSettings
from remit.core.errors import PolicyFailure
from remit.core.reason import Reason

Changed = Callable[[bool, str], None]
"""Told whenever OPA comes up (True) or goes down (False), and why."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Times of supervision, in seconds."""

    ready: float = 10.0  # for a new OPA to answer the probe
    poll: float = 0.02  # between looks at a starting one
    first_pause: float = 0.05  # before a restart; doubles up to longest_pause
    longest_pause: float = 2.0
    steady: float = 10.0  # running this long makes the next pause the first again
    check: float = 1.0  # between looks at a running one
    strikes: int = 3  # looks in a row that it may fail
    linger: float = 2.0  # an OPA that was replaced stays for those who are about to ask it


class PdpServer(Protocol):
    """Where the policy decision point comes from; it serves one bundle at a time."""

    @property
    def pdp(self) -> OpaPdp:
        """The one to ask now. Take it once a request: its revision is the request's."""
        ...

    @property
    def up(self) -> bool:
        """Whether it is believed to answer."""
        ...

    async def start(self, bundle: Bundle) -> None:
        """Serve a bundle, or raise OpaFailed."""
        ...

    async def reload(self, bundle: Bundle) -> None:
        """Serve another one from now on, or raise OpaFailed and keep the first."""
        ...

    async def stop(self) -> None:
        """Stop serving; questions still open end as pdp_unavailable."""
        ...


class _Served:
    """One bundle in service: its own copy of the file, its socket, and the process that runs on both."""

    def __init__(self, bundle: Bundle, directory: Path, number: int, settings: PdpSettings) -> None:
        self.bundle = replace(bundle, path=directory / f"{number}-{bundle.path.name}")
        self.socket = directory / f"opa-{number}.sock"
        self.pdp = OpaPdp(dial_socket(self.socket), bundle.revision, settings, bundle.views)
        self.process: OpaProcess | None = None
        self.watcher: asyncio.Task[None] | None = None
        shutil.copyfile(bundle.path, self.bundle.path)

    async def end(self) -> None:
        if self.watcher is not None:
            self.watcher.cancel()
            await asyncio.gather(self.watcher, return_exceptions=True)
        await self.pdp.close()
        if self.process is not None:
            await self.process.stop()
        self.bundle.path.unlink(missing_ok=True)


class OpaServer:
    """Supervises an OPA of its own, in a directory that only this user can enter."""

    def __init__(
        self,
        binary: Path,
        directory: Path,
        probe: Mapping[str, object],
        *,
        changed: Changed = lambda up, why: None,
        settings: ServerSettings = ServerSettings(),
        asking: PdpSettings = DEFAULTS,
    ) -> None:
        self._binary = binary
        self._directory = directory
        self._probe = probe
        self._changed = changed
        self._settings = settings
        self._asking = asking
        self._numbers = count(1)
        self._served: _Served | None = None
        self._up = False
        self._retiring: dict[asyncio.Task[None], _Served] = {}
        self._stopping = asyncio.Event()

    @property
    def pdp(self) -> OpaPdp:
        """The one to ask now. Take it once a request: its revision is the request's."""
        if self._served is None:
            raise PolicyFailure(Reason.PDP_UNAVAILABLE, "OPA was not started")
        return self._served.pdp

    @property
    def up(self) -> bool:
        """Whether the OPA that serves now is running and answers."""
        return self._up

    @property
    def pid(self) -> int:
        """The process that serves now; 0 where none runs."""
        process = self._served.process if self._served else None
        return process.pid if process and process.running else 0

    async def start(self, bundle: Bundle) -> None:
        """Serve a bundle, or raise OpaFailed."""
        _make_private(self._directory)
        self._stopping.clear()
        await self.reload(bundle)

    async def reload(self, bundle: Bundle) -> None:
        """Serve another bundle from now on; on OpaFailed the one before stays in service."""
        served = _Served(bundle, self._directory, next(self._numbers), self._asking)
        try:
            await self._launch(served)
        except BaseException:
            await served.end()
            raise
        before, self._served = self._served, served
        served.watcher = asyncio.create_task(self._watch(served))
        self._tell(True, f"serving revision {bundle.revision}")
        if before is not None:
            retiring = asyncio.create_task(self._retire(before))
            self._retiring[retiring] = before
            retiring.add_done_callback(self._retiring.pop)

    async def stop(self) -> None:
        """Stop every OPA that was started."""
        self._stopping.set()
        for retiring in list(self._retiring.values()):
            await retiring.pdp.close()
        # Not cancelled: one that is ending its process must see it end.
        await asyncio.gather(*self._retiring)
        served, self._served = self._served, None
        if served is not None:
            await served.end()
            self._tell(False, "stopped")

    async def _launch(self, served: _Served) -> None:
        """Start the process and wait until it is ready; on OpaFailed none is left running."""
        process = await OpaProcess.start(self._binary, served.bundle.path, served.socket)
        served.process = process
        ended = asyncio.create_task(process.ended())
        ready = asyncio.create_task(self._ready(served))
        try:
            await asyncio.wait({ended, ready}, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                raise OpaFailed(f"OPA ended with {ended.result()} before it was ready: {process.last_words}")
            ready.result()
        except BaseException:
            process.kill()
            raise
        finally:
            ready.cancel()
            if process.running:
                ended.cancel()
            await asyncio.gather(ended, ready, return_exceptions=True)

    async def _ready(self, served: _Served) -> None:
        try:
            async with OpaManagement(served.socket) as management:
                await management.ready(self._settings.ready, self._settings.poll)
            await served.pdp.probe(self._probe)
        except OpaUnreachable as e:
            raise OpaFailed(str(e)) from e
        except PolicyFailure as e:
            raise OpaFailed(f"OPA does not judge the probe under revision {served.bundle.revision}: {e.detail}") from e

    async def _watch(self, served: _Served) -> None:
        """Keep one bundle served, for as long as it is in service."""
        loop = asyncio.get_running_loop()
        pause = self._settings.first_pause
        while True:
            since = loop.time()
            why = await self._until_unwell(served)
            self._report(served, False, why)
            if loop.time() - since >= self._settings.steady:
                pause = self._settings.first_pause
            pause = await self._restart(served, pause)
            self._report(served, True, f"serving revision {served.bundle.revision} again")

    async def _restart(self, served: _Served, pause: float) -> float:
        """Start the process again, however often it takes; the pause that the next restart begins with."""
        while True:
            if served.process is not None:
                await served.process.stop()
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._settings.longest_pause)
            try:
                await self._launch(served)
            except OpaFailed as e:
                self._report(served, False, str(e))
            else:
                return pause

    async def _until_unwell(self, served: _Served) -> str:
        """Wait until the process has ended, or has failed too many looks in a row; why it is unwell."""
        process = served.process
        if process is None:
            return "OPA does not run"
        async with OpaManagement(served.socket) as management:
            return await process.unwell(
                "OPA", management.healthy, check=self._settings.check, strikes=self._settings.strikes
            )

    async def _retire(self, served: _Served) -> None:
        """End a bundle that was replaced, after all who ask it have their answers."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.linger):
                await self._stopping.wait()
        await served.pdp.drain()
        await served.end()

    def _report(self, served: _Served, up: bool, why: str) -> None:
        if served is self._served:
            self._tell(up, why)

    def _tell(self, up: bool, why: str) -> None:
        self._up = up
        self._changed(up, why)


class ExternalOpa:
    """An OPA that somebody else runs: asked by socket or URL, never managed. It must serve the very same bundle."""

    def __init__(
        self,
        address: str,
        probe: Mapping[str, object],
        *,
        changed: Changed = lambda up, why: None,
        asking: PdpSettings = DEFAULTS,
    ) -> None:
        self._dial = dial(address)
        self._address = address
        self._probe = probe
        self._changed = changed
        self._asking = asking
        self._pdp: OpaPdp | None = None

    @property
    def pdp(self) -> OpaPdp:
        """The one to ask now."""
        if self._pdp is None:
            raise PolicyFailure(Reason.PDP_UNAVAILABLE, "OPA was not started")
        return self._pdp

    @property
    def up(self) -> bool:
        """Whether it once answered under the revision that is expected."""
        return self._pdp is not None

    async def start(self, bundle: Bundle) -> None:
        """Expect this bundle's revision there, or raise OpaFailed."""
        await self.reload(bundle)

    async def reload(self, bundle: Bundle) -> None:
        """Expect another revision from now on; on OpaFailed the one before stays expected."""
        pdp = OpaPdp(self._dial, bundle.revision, self._asking, bundle.views)
        try:
            await pdp.probe(self._probe)
        except PolicyFailure as e:
            await pdp.close()
            raise OpaFailed(f"OPA at {self._address} does not judge the probe: {e.detail}") from e
        before, self._pdp = self._pdp, pdp
        self._changed(True, f"{self._address} serves revision {bundle.revision}")
        if before is not None:
            await before.drain()
            await before.close()

    async def stop(self) -> None:
        """Let go of it."""
        if self._pdp is not None:
            await self._pdp.close()
            self._pdp = None
            self._changed(False, "stopped")


def dial(address: str) -> Dial:
    """How to reach an address: unix:///path, http://host:port or https://host:port; ValueError otherwise."""
    if address.startswith("unix://"):
        return dial_socket(Path(address.removeprefix("unix://")))
    return dial_url(address)


def _make_private(directory: Path) -> None:
    """Create the directory for this user alone, or raise OpaFailed; what an earlier run left in it goes."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != geteuid():
        raise OpaFailed(f"{directory} is not a directory of the user that Remit runs as")
    directory.chmod(0o700)
    for left in (*directory.glob("opa-*.sock"), *directory.glob("*-bundle-*.tar.gz")):
        with contextlib.suppress(FileNotFoundError):
            left.unlink()
