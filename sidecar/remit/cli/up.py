"""`remit up`: the sidecar, from its settings to its last checkpoint."""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import uvloop

from remit.app.sidecar import App
from remit.backends.envoy_binary import EnvoyUnusable
from remit.backends.envoy_process import EnvoyFailed
from remit.backends.keys_file import KeysUnfit
from remit.backends.opa_binary import OpaUnusable
from remit.backends.opa_bundle import BundleInvalid
from remit.backends.opa_process import OpaFailed
from remit.backends.program_install import InstallFailed
from remit.cli.addresses import forget_addresses, write_addresses
from remit.cli.failure import Failure, Unreachable
from remit.cli.local import OPERATOR, catalogue_paths
from remit.cli.screen import Told, emit_line, note, progress, show
from remit.cli.text import clean
from remit.config import CatalogueInvalid, Settings, fingerprint, load
from remit.config.files import MAX_FILES
from remit.core.catalogue import Catalogue
from remit.core.errors import RemitError, StoreUnavailable

PATH = click.Path(path_type=Path)
_WRONG = (RemitError, KeysUnfit, OpaUnusable, EnvoyUnusable)
_NOT_STARTED = "the sidecar did not start: the policies do not compile, or a test of theirs fails"
_UNREACHABLE = (InstallFailed, OpaFailed, EnvoyFailed)


@click.command("up")
@click.option("--catalogue", multiple=True, type=PATH, help="File or directory [REMIT_CATALOGUE, remit.yaml].")
@click.option(
    "--policies", "--policy", multiple=True, type=PATH, help="Directory of your own policies [REMIT_POLICIES]."
)
@click.option("--state", type=PATH, help="State directory [REMIT_STATE; .remit].")
@click.option("--socket", metavar="PATH|off", help="The agents' socket [REMIT_SOCKET; .remit-run/remit.sock].")
@click.option("--grpc", metavar="HOST:PORT|off", help="gRPC over TCP [REMIT_GRPC; 127.0.0.1:7450].")
@click.option("--http", metavar="HOST:PORT|off", help="Metrics and health [REMIT_HTTP; 127.0.0.1:7451].")
@click.option("--ops", metavar="HOST:PORT|off", help="Metrics and health beyond loopback [REMIT_OPS; off].")
@click.option(
    "--egress/--no-egress", "egress_on", default=None, help="Run an Envoy for agents' calls [REMIT_EGRESS_ON]."
)
@click.option(
    "--egress-http", metavar="HOST:PORT", help="Where agents reach services [REMIT_EGRESS_HTTP; 127.0.0.1:7452]."
)
@click.option("--egress-proxy", metavar="HOST:PORT|off", help="The forward proxy [REMIT_EGRESS_PROXY; 127.0.0.1:7453].")
@click.option("--egress-binary", type=PATH, help="The Envoy to run [REMIT_ENVOY_BIN].")
@click.option("--egress-tls/--no-egress-tls", default=None, help="Speak TLS to agents there [REMIT_EGRESS_TLS].")
@click.option("--tls-cert", type=PATH, help="The sidecar's certificate (PEM) [REMIT_TLS_CERT].")
@click.option("--tls-key", type=PATH, help="Its key (PEM) [REMIT_TLS_KEY].")
@click.option("--tls-client-ca", type=PATH, help="Who signs agents' certificates (PEM) [REMIT_TLS_CLIENT_CA].")
@click.option("--opa-binary", type=PATH, help="The OPA to run [REMIT_OPA_BIN].")
@click.option("--opa-socket", metavar="PATH", help="An OPA that runs already [REMIT_OPA_SOCKET].")
@click.option("--opa-url", metavar="URL", help="The same, by URL [REMIT_OPA_URL].")
@click.option("--watch/--no-watch", default=None, help="Reload when the catalogue or a policy changes [REMIT_WATCH].")
@click.option("--json", "as_json", is_flag=True, help="When ready, print one line of JSON.")
def command(catalogue: tuple[Path, ...], as_json: bool, **flags: Any) -> None:
    """Run the sidecar until SIGTERM or Ctrl-C. SIGHUP reloads the catalogue and the policies.

    Example: remit up --catalogue remit.yaml --policy policies
    """
    flags["policies"] = [*flags["policies"]] or None
    files = Files(catalogue_paths(catalogue), flags)
    try:
        settings, read = files.load()
    except CatalogueInvalid as error:
        raise Failure(*str(error).splitlines()) from error
    _log_to_stderr()

    def make(tell: Told) -> App:
        return App(settings, read, load=files.load, fingerprint=files.fingerprint, progress=tell)

    if not uvloop.run(_serve(make, settings, as_json=as_json)):
        raise Unreachable("the store has failed; a restart recovers what is on the disk")


class Files:
    """What a sidecar is started with, and reloaded from: catalogue files, flags, and the policies that they name."""

    def __init__(self, paths: Sequence[Path], flags: Mapping[str, object]) -> None:
        self._paths, self._flags = paths, flags
        self._policies: tuple[Path, ...] = ()

    def load(self) -> tuple[Settings, Catalogue]:
        """Read them anew. Raises CatalogueInvalid."""
        settings, catalogue = load(self._paths, os.environ, self._flags)
        self._policies = settings.policies
        return settings, catalogue

    def fingerprint(self) -> str:
        """Another one means that a catalogue file or a policy has changed."""
        found = [path for root in self._policies for path in _files_of(root)]
        parts = [self._paths, *(found[start : start + MAX_FILES] for start in range(0, len(found), MAX_FILES))]
        return "".join(map(fingerprint, parts))


def _files_of(root: Path) -> list[Path]:
    if not root.is_dir():
        return [root]
    return sorted(path for path in root.rglob("*") if path.suffix in (".rego", ".json") and path.is_file())


async def _serve(make: Callable[[Told], App], settings: Settings, *, as_json: bool) -> bool:
    """Start, say where, serve until a signal; whether it ended as asked."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stopping.set)
    with progress("starting") as tell:
        app = make(tell)
        if not await _started(app, stopping):
            return True
    reload = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    reloading = loop.create_task(_reload_when(reload, app))
    try:
        write_addresses(settings.state, app.addresses)
        _say(app, settings, as_json=as_json)
        return await app.run(stopping)
    finally:
        reloading.cancel()
        loop.remove_signal_handler(signal.SIGINT)  # who asks twice does not want to wait
        forget_addresses(settings.state)
        with progress("stopping: calls under way end"):
            await app.stop()


async def _reload_when(asked: asyncio.Event, app: App) -> None:
    """One reload at a time; what is asked meanwhile is one more."""
    while True:
        await asked.wait()
        asked.clear()
        await app.reload()


async def _started(app: App, stopping: asyncio.Event) -> bool:
    """Whether it has started; False where it was asked to stop before. Raises Failure, Unreachable."""
    starting = asyncio.create_task(app.start())
    asked = asyncio.create_task(stopping.wait())
    await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if not starting.done():
        starting.cancel()
    try:
        await starting
    except asyncio.CancelledError:
        return False
    except StoreUnavailable as error:
        raise Failure(error.detail) from error
    except BundleInvalid as error:
        raise Failure(_NOT_STARTED, *map(str, error.problems)) from error
    except _WRONG as error:
        raise Failure(*str(error).splitlines()) from error
    except _UNREACHABLE as error:
        raise Unreachable(*str(error).splitlines()) from error
    except OSError as error:
        raise Failure(f"{error.filename or 'the state directory'}: {error.strerror or error}") from error
    return True


def _say(app: App, settings: Settings, *, as_json: bool) -> None:
    if as_json:
        emit_line({"addresses": list(app.addresses), "state": str(settings.state.absolute()), "pid": os.getpid()})
        return
    for address in app.addresses:
        show(f"listening on {clean(address)}")
    show(f"journal signed by {clean(app.verifier)}")
    show(f"state in {settings.state}; the operator's credential is {settings.state / OPERATOR}")
    if by_hand(os.environ, _login_shell()):
        note(
            "remit: agent and sidecar run as the same user: development set-up. An agent that can read the state "
            "directory can become the operator; give it a user, or a mount, of its own"
        )


def by_hand(environment: Mapping[str, str], shell: str) -> bool:
    """Whether a person's own account runs the sidecar: then agents of that person are not kept apart from it.

    A service's account has no login shell, and a cluster gives each container its own mounts.
    """
    return "KUBERNETES_SERVICE_HOST" not in environment and Path(shell).name not in ("nologin", "false", "")


def _login_shell() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_shell
    except KeyError:
        return ""


class _OneLine(logging.Formatter):
    """One record, one line: what a stranger sent cannot start another."""

    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record))


def _log_to_stderr() -> None:
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[lines])
