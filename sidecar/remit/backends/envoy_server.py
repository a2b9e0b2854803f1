"""The Envoy that carries this sidecar's calls: supervised, and told anew what to do without losing a stream.

Its documents are files that it reads again when another is moved into their place. New ones are first judged as a
whole by a second Envoy that runs nothing; then they are put in place, those that others refer to first, and Envoy is
asked until it has taken them. Where it does not take them, the ones before are put back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import stat
from collections.abc import Callable
from dataclasses import dataclass
from os import geteuid
from pathlib import Path

from remit.backends.envoy_admin import EnvoyAdmin, EnvoyUnreachable
from remit.backends.envoy_config import Documents, combined, listening, versions
from remit.backends.envoy_places import BOOTSTRAP, CLUSTERS
from remit.backends.envoy_process import EnvoyFailed, EnvoyProcess, validate
from remit.core.egress.routing import EGRESS, PROXY

Changed = Callable[[bool, str], None]
"""Told whenever Envoy comes up (True) or goes down (False), and why."""

_WHOLE = "whole.json"
_STATISTICS = r"version_text$|update_rejected$"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Times of supervision, in seconds, and how many threads Envoy works with."""

    ready: float = 15.0  # for a new Envoy to serve
    taken: float = 10.0  # for a running one to take new documents
    poll: float = 0.02  # between looks at one that is starting or taking
    first_pause: float = 0.05  # before a restart; doubles up to longest_pause
    longest_pause: float = 2.0
    steady: float = 10.0  # running this long makes the next pause the first again
    check: float = 1.0  # between looks at a running one
    strikes: int = 3  # looks in a row that it may fail
    threads: int = 1


class EnvoyServer:
    """Supervises an Envoy of its own, in a directory that only this user can enter."""

    def __init__(
        self,
        binary: Path,
        directory: Path,
        *,
        changed: Changed = lambda up, why: None,
        settings: ServerSettings = ServerSettings(),
    ) -> None:
        self._binary = binary
        self._directory = directory
        self._changed = changed
        self._settings = settings
        self._documents: Documents = {}
        self._process: EnvoyProcess | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._reloading = asyncio.Lock()
        self._up = False

    @property
    def up(self) -> bool:
        """Whether Envoy is running and answers."""
        return self._up

    @property
    def pid(self) -> int:
        """Envoy's process; 0 where none runs."""
        return self._process.pid if self._process and self._process.running else 0

    async def start(self, documents: Documents) -> None:
        """Serve what the documents say, or raise EnvoyFailed."""
        _make_private(self._directory)
        await self._judge(documents)
        for name in documents:
            self._place(name, documents)
        self._documents = documents
        await self._launch()
        self._watcher = asyncio.create_task(self._watch())
        self._tell(True, "serving")

    async def reload(self, documents: Documents) -> None:
        """Serve what these documents say from now on; on EnvoyFailed those before stay in service.

        The bootstrap is what it was started with: another one takes another start.
        """
        async with self._reloading:
            await self._judge(documents)
            await self._exchange(documents)

    async def update(self, documents: Documents) -> None:
        """Take the endpoints' addresses from these documents, and nothing else; they need no judging."""
        async with self._reloading:
            # Routes and clusters may have been reloaded since these documents were made.
            found = {name: documents.get(name, kept) for name, kept in self._documents.items() if _is_addresses(name)}
            await self._exchange({**self._documents, **found})

    async def stop(self) -> None:
        """Stop Envoy; what it carries ends."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None
        if self._process is not None:
            await self._process.stop()
            self._process = None
            self._tell(False, "stopped")

    async def _judge(self, documents: Documents) -> None:
        path = self._directory / _WHOLE
        _write(path, json.dumps(combined(documents)))
        try:
            await validate(self._binary, path)
        finally:
            path.unlink(missing_ok=True)

    async def _exchange(self, documents: Documents) -> None:
        before = self._documents
        self._documents = {**documents, BOOTSTRAP: before[BOOTSTRAP]}
        try:
            await self._put(before, self._documents)
        except EnvoyFailed:
            refused, self._documents = self._documents, before
            with contextlib.suppress(EnvoyFailed):  # the first failure is the one to tell
                await self._put(refused, before)
            raise
        for name in before.keys() - documents.keys():
            (self._directory / name).unlink(missing_ok=True)

    async def _put(self, before: Documents, after: Documents) -> None:
        """Put documents in place: addresses and clusters, then the routes to them, then the listeners."""
        changed = [name for name in after if after[name] != before.get(name)]
        upstream = [name for name in changed if name == CLUSTERS or _is_addresses(name)]
        rest = [name for name in changed if name not in upstream]
        if not self._up:  # one that is being started takes what is there
            for name in changed:
                self._place(name, after)
            return
        try:
            async with EnvoyAdmin(self._admin) as admin:
                refusals = _refusals(await admin.statistics(_STATISTICS))
                for step, only in ((upstream, "cluster"), (rest, "")):
                    for name in step:
                        self._place(name, after)
                    if step:
                        await self._taken(admin, after, only, refusals)
        except EnvoyUnreachable as error:
            raise EnvoyFailed(f"Envoy does not say whether it took its new configuration: {error}") from error
        await self._accepting(after)

    def _place(self, name: str, documents: Documents) -> None:
        """Move a document into its place: a reader sees the one before or this one, whole."""
        path = self._directory / name
        new = path.with_name(f"{name}.new")
        _write(new, json.dumps(documents[name]))
        try:
            new.replace(path)
        except OSError as error:
            raise EnvoyFailed(f"{path} cannot be written: {error.strerror}") from error

    async def _taken(self, admin: EnvoyAdmin, documents: Documents, only: str, refusals: int) -> None:
        """Wait until Envoy says that it has the documents (by the statistics that begin with `only`)."""
        wanted = {name: version for name, version in versions(documents).items() if name.startswith(only)}
        told: dict[str, str] = {}
        try:
            async with asyncio.timeout(self._settings.taken):
                while any(told.get(name) != version for name, version in wanted.items()):
                    await asyncio.sleep(self._settings.poll)
                    told = await admin.statistics(_STATISTICS)
                    if _refusals(told) > refusals:
                        raise EnvoyFailed(f"Envoy refused its new configuration: {self._words()}")
        except TimeoutError as error:
            missing = sorted(name for name, version in wanted.items() if told.get(name) != version)
            raise EnvoyFailed(f"Envoy did not take its new configuration: {', '.join(missing[:3])}") from error

    async def _launch(self) -> None:
        """Start the process and wait until it serves; on EnvoyFailed none is left running."""
        self._admin.unlink(missing_ok=True)
        process = await EnvoyProcess.start(
            self._binary, self._directory / BOOTSTRAP, self._directory, concurrency=self._settings.threads
        )
        self._process = process
        ended = asyncio.create_task(process.ended())
        ready = asyncio.create_task(self._ready())
        try:
            await asyncio.wait({ended, ready}, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                raise EnvoyFailed(f"Envoy ended with {ended.result()} before it was ready: {process.last_words}")
            ready.result()
        except BaseException:
            process.kill()
            raise
        finally:
            ready.cancel()
            if process.running:
                ended.cancel()
            await asyncio.gather(ended, ready, return_exceptions=True)

    async def _ready(self) -> None:
        documents = self._documents
        try:
            async with EnvoyAdmin(self._admin) as admin:
                async with asyncio.timeout(self._settings.ready):
                    while not await admin.live():  # noqa: ASYNC110 - another process tells no event
                        await asyncio.sleep(self._settings.poll)
                await self._taken(admin, documents, "", 0)
        except (TimeoutError, EnvoyUnreachable) as error:
            raise EnvoyFailed(f"Envoy was not ready within {self._settings.ready:g} s: {self._words()}") from error
        await self._accepting(documents)

    async def _accepting(self, documents: Documents) -> None:
        """Wait until the listeners take connections, or raise EnvoyFailed.

        Those of TCP services are not tried: a connection there is a call, and would be decided.
        """
        try:
            async with asyncio.timeout(self._settings.ready):
                await self._dialled(documents)
        except TimeoutError as error:
            raise EnvoyFailed(f"Envoy takes no connections: {self._words()}") from error

    async def _dialled(self, documents: Documents) -> None:
        tried = [at for name, at in listening(documents).items() if name in (EGRESS, PROXY)]
        for host, port in tried:
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(host, port)
                    writer.close()
                    break
                await asyncio.sleep(self._settings.poll)

    async def _watch(self) -> None:
        """Keep Envoy running, for as long as it is wanted."""
        loop = asyncio.get_running_loop()
        pause = self._settings.first_pause
        while True:
            since = loop.time()
            self._tell(False, await self._until_unwell())
            if loop.time() - since >= self._settings.steady:
                pause = self._settings.first_pause
            pause = await self._restart(pause)
            self._tell(True, "serving again")

    async def _restart(self, pause: float) -> float:
        """Start the process again, however often it takes; the pause that the next restart begins with."""
        while True:
            if self._process is not None:
                await self._process.stop()
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._settings.longest_pause)
            try:
                await self._launch()
            except EnvoyFailed as error:
                self._tell(False, str(error))
            else:
                return pause

    async def _until_unwell(self) -> str:
        """Wait until the process has ended, or has failed too many looks in a row; why it is unwell."""
        process = self._process
        if process is None:
            return "Envoy does not run"
        async with EnvoyAdmin(self._admin) as admin:
            return await process.unwell("Envoy", admin.live, check=self._settings.check, strikes=self._settings.strikes)

    @property
    def _admin(self) -> Path:
        return self._directory / "admin.sock"

    def _words(self) -> str:
        return (self._process.last_words if self._process else "") or "it does not say why"

    def _tell(self, up: bool, why: str) -> None:
        self._up = up
        self._changed(up, why)


def _is_addresses(name: str) -> bool:
    return name.startswith("eds-")


def _refusals(told: dict[str, str]) -> int:
    return sum(int(value) for name, value in told.items() if name.endswith("update_rejected"))


def _write(path: Path, text: str) -> None:
    """Write a file that this user alone can read. Raises EnvoyFailed: on a full disk, the documents before hold."""
    try:
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)
    except OSError as error:
        raise EnvoyFailed(f"{path} cannot be written: {error.strerror}") from error


def _make_private(directory: Path) -> None:
    """Create the directory for this user alone, or raise EnvoyFailed; what an earlier run left in it goes."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != geteuid():
        raise EnvoyFailed(f"{directory} is not a directory of the user that Remit runs as")
    directory.chmod(0o700)
    for left in (*directory.glob("*.json"), *directory.glob("*.new")):
        left.unlink(missing_ok=True)
