"""What `remit up` and `remit desk` do alike: from their files and flags to a member that serves until a signal."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import click
import uvloop

from remit.app.bundled import Bundled
from remit.app.files import Files as Places
from remit.app.member import Load, Member
from remit.backends.bundle_archive import BundleRefused
from remit.backends.bundle_fetch import BundleAway, Origin
from remit.backends.bundle_remote import Guard, RemoteBundle, Taken
from remit.backends.bundle_signature import KeyUnusable
from remit.backends.envoy_binary import EnvoyUnusable
from remit.backends.envoy_process import EnvoyFailed
from remit.backends.keys_file import KeysUnfit
from remit.backends.opa_binary import OpaUnusable
from remit.backends.opa_bundle import BundleInvalid
from remit.backends.opa_process import OpaFailed
from remit.backends.policy_files import at_one_moment, policy_files
from remit.backends.program_install import InstallFailed
from remit.backends.store_postgres.administration import NotReached
from remit.cli.addresses import forget_addresses, write_addresses
from remit.cli.failure import Failure, Unreachable
from remit.cli.local import OPERATOR, catalogue_paths
from remit.cli.screen import Told, emit_line, progress, show
from remit.cli.text import clean
from remit.config import CatalogueInvalid, Settings, fingerprint, load
from remit.config.files import MAX_FILES
from remit.config.loading import load_bundled
from remit.core.catalogue import Catalogue
from remit.core.errors import RemitError, StoreUnavailable

PATH = click.Path(path_type=Path)
_WRONG = (RemitError, KeysUnfit, OpaUnusable, EnvoyUnusable)
NOT_STARTED = "the {} did not start: the policies do not compile, or a test of theirs fails"
_log = logging.getLogger("remit")
_UNREACHABLE = (InstallFailed, OpaFailed, EnvoyFailed)


class MakesMember(Protocol):
    """A kind of member."""

    kind: str

    def __call__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        /,
        *,
        load: Load,
        fingerprint: Callable[[], str],
        bundled: Bundled,
        progress: Told,
    ) -> Member: ...


def member_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that every member has; the command gets `catalogue`, `as_json` and the settings' flags."""
    for option in reversed(
        [
            click.option(
                "--catalogue", multiple=True, type=PATH, help="File or directory [REMIT_CATALOGUE, remit.yaml]."
            ),
            click.option(
                "--policies",
                "--policy",
                multiple=True,
                type=PATH,
                help="Directory of your own policies [REMIT_POLICIES].",
            ),
            click.option("--state", type=PATH, help="State directory [REMIT_STATE; .remit]."),
            click.option(
                "--keys", type=PATH, help="The installation's keys [REMIT_KEYS; keys/ in the state directory]."
            ),
            click.option("--store-url", metavar="URL", help="PostgreSQL that members share [REMIT_STORE_URL]."),
            click.option("--store-password-file", type=PATH, help="Its password [REMIT_STORE_PASSWORD_FILE]."),
        ]
    ):
        command = option(command)
    return command


def process_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options about the process itself, which come last."""
    for option in reversed(
        [
            click.option("--opa-binary", type=PATH, help="The OPA to run [REMIT_OPA_BIN]."),
            click.option("--opa-socket", metavar="PATH", help="An OPA that runs already [REMIT_OPA_SOCKET]."),
            click.option("--opa-url", metavar="URL", help="The same, by URL [REMIT_OPA_URL]."),
            click.option(
                "--watch/--no-watch", default=None, help="Reload when the catalogue or a policy changes [REMIT_WATCH]."
            ),
            click.option("--json", "as_json", is_flag=True, help="When ready, print one line of JSON."),
        ]
    ):
        command = option(command)
    return command


def run_member(
    kind: MakesMember,
    catalogue: tuple[Path, ...],
    flags: Mapping[str, Any],
    *,
    as_json: bool,
    remark: Callable[[], None] = lambda: None,
) -> None:
    """Run a member until SIGTERM or Ctrl-C. `remark` is called once it has said where it listens.

    Raises Failure, Unreachable.
    """
    files = Files(catalogue_paths(catalogue), {**flags, "policies": [*flags["policies"]] or None})
    _log_to_stderr()
    try:
        settings, read = files.load()
    except (CatalogueInvalid, BundleRefused, KeyUnusable) as error:
        raise Failure(*str(error).splitlines()) from error
    except BundleAway as error:
        raise Unreachable(str(error)) from error
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror or error}") from error

    def make(tell: Told) -> Member:
        return kind(settings, read, load=files.load, fingerprint=files.fingerprint, bundled=files, progress=tell)

    if not uvloop.run(_serve(make, settings, as_json=as_json, remark=remark)):
        raise Unreachable("the store has failed; a restart recovers what is durable")


class Files:
    """What a member is started with, and reloaded from: catalogue files, flags, and the policies that they name.

    Where the settings name a bundle, catalogue and policies are in it.
    """

    def __init__(self, paths: Sequence[Path], flags: Mapping[str, object]) -> None:
        self._paths, self._flags = paths, flags
        self._policies: tuple[Path, ...] = ()
        self._remote: RemoteBundle | None = None
        self._settings: Settings | None = None
        self._accepted = False

    def load(self) -> tuple[Settings, Catalogue]:
        """Read them anew. Raises CatalogueInvalid; of a bundle, BundleAway, BundleRefused, KeyUnusable, OSError."""
        try:
            settings, catalogue = load(self._paths, os.environ, self._flags, self._fetched)
        except CatalogueInvalid as error:
            before = None if self._accepted else self.retreat()
            if before is None:
                raise
            _log.error("not used:\n%s", error)
            settings, catalogue = before
        if settings.bundle is None:
            self._remote = None
        # What lies in a bundle is watched where it comes from.
        self._policies = settings.policies if self._remote is None else ()
        return settings, catalogue

    def fingerprint(self) -> str:
        """Another one means that a catalogue file or a policy has changed, or that there is another bundle.

        Raises OSError where the files do not stop changing.
        """
        remote = "" if self._remote is None else self._remote.fingerprint()
        try:
            return at_one_moment(self._policies, self._local) + remote
        except BundleInvalid as error:
            raise OSError(str(error)) from error

    def _local(self) -> str:
        found = [path for root in self._policies for path in policy_files(root)]
        parts = [self._paths, *(found[start : start + MAX_FILES] for start in range(0, len(found), MAX_FILES))]
        return "".join(map(fingerprint, parts))

    @property
    def fetched(self) -> bool:
        """As Bundled says."""
        return self._remote is not None

    @property
    def behind(self) -> bool:
        """As Bundled says."""
        return self._remote is not None and self._remote.behind

    def accept(self, guard: Guard | None) -> Mapping[str, object]:
        """As Bundled says."""
        said = {} if self._remote is None else self._remote.accept(guard)
        self._accepted = True
        return said

    def retreat(self) -> tuple[Settings, Catalogue] | None:
        """As Bundled says."""
        before = None if self._remote is None else self._remote.retreat()
        if before is None or self._settings is None:
            return None
        return load_bundled(self._settings, lambda settings: _places(before))

    def _fetched(self, settings: Settings) -> tuple[Path, Path | None]:
        if self._remote is None or self._settings is None or self._settings.bundle != settings.bundle:
            self._remote = _remote(settings)
        self._settings = settings
        return _places(self._remote.take())


def _remote(settings: Settings) -> RemoteBundle:
    bundle = settings.bundle
    assert bundle is not None
    origin = Origin(bundle.url, bundle.token_file, bundle.ca)
    directory = Places(settings.state.absolute()).remote
    return RemoteBundle(origin, bundle.key, directory, poll_seconds=bundle.poll_seconds)


def _places(taken: Taken) -> tuple[Path, Path | None]:
    return taken.catalogue, taken.policies


async def _serve(
    make: Callable[[Told], Member], settings: Settings, *, as_json: bool, remark: Callable[[], None]
) -> bool:
    """Start, say where, serve until a signal; whether it ended as asked."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stopping.set)
    with progress("starting") as tell:
        member = make(tell)
        if not await _started(member, stopping):
            return True
    reload = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    reloading = loop.create_task(_reload_when(reload, member))
    try:
        write_addresses(settings.state, member.addresses)
        _say(member, settings, as_json=as_json)
        if not as_json:
            remark()
        return await member.run(stopping)
    finally:
        reloading.cancel()
        loop.remove_signal_handler(signal.SIGINT)  # who asks twice does not want to wait
        forget_addresses(settings.state)
        with progress("stopping: calls under way end"):
            await member.stop()


async def _reload_when(asked: asyncio.Event, member: Member) -> None:
    """One reload at a time; what is asked meanwhile is one more."""
    while True:
        await asked.wait()
        asked.clear()
        await member.reload()


async def _started(member: Member, stopping: asyncio.Event) -> bool:
    """Whether it has started; False where it was asked to stop before. Raises Failure, Unreachable."""
    starting = asyncio.create_task(member.start())
    asked = asyncio.create_task(stopping.wait())
    await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if not starting.done():
        starting.cancel()
    try:
        await starting
    except asyncio.CancelledError:
        return False
    except NotReached as error:
        raise Unreachable(error.detail) from error
    except StoreUnavailable as error:
        raise Failure(error.detail) from error
    except BundleInvalid as error:
        raise Failure(NOT_STARTED.format(member.kind), *map(str, error.problems)) from error
    except _WRONG as error:
        raise Failure(*str(error).splitlines()) from error
    except _UNREACHABLE as error:
        raise Unreachable(*str(error).splitlines()) from error
    except OSError as error:
        raise Failure(f"{error.filename or 'the state directory'}: {error.strerror or error}") from error
    return True


def _say(member: Member, settings: Settings, *, as_json: bool) -> None:
    if as_json:
        emit_line({"addresses": list(member.addresses), "state": str(settings.state.absolute()), "pid": os.getpid()})
        return
    for address in member.addresses:
        show(f"listening on {clean(address)}")
    show(f"journal signed by {clean(member.verifier)}")
    show(f"state in {settings.state}; the operator's credential is {settings.state / OPERATOR}")


class _OneLine(logging.Formatter):
    """One record, one line: what a stranger sent cannot start another."""

    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record))


def _log_to_stderr() -> None:
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[lines])
