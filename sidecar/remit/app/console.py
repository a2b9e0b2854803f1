"""The console's parts: who signs people in, the script that its live parts run, and where it listens."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from remit.app.certificates import Certificates
from remit.app.draining import Draining
from remit.backends.htmx_install import obtain
from remit.backends.program_install import InstallFailed
from remit.config.desk_settings import DeskSettings
from remit.config.desk_settings import OidcSettings as ProviderSettings
from remit.config.listening import Address
from remit.core.errors import RemitError
from remit.listeners.console.app import Console
from remit.listeners.console.oidc import OidcSettings, ProviderFailed
from remit.listeners.console.server import ConsoleListener
from remit.listeners.grpc_server import CannotListen
from remit.listeners.ops import Besides, Checks
from remit.listeners.pipeline import Identities, Overview
from remit.metrics import Metrics
from remit.ports import Clock, Ids

Progress = Callable[[str, float], None]
_log = logging.getLogger("remit")


class ConsoleUnfit(RemitError):
    """The console cannot be served as the settings say; the message names what is wrong."""


async def serve_console(
    stack: AsyncExitStack,
    address: Address,
    *,
    pipeline: Overview,
    identities: Identities,
    metrics: Metrics,
    checks: Checks,
    clock: Clock,
    ids: Ids,
    desk: DeskSettings,
    certificates: Certificates | None,
    draining: Draining,
    progress: Progress,
    besides: Besides | None = None,
) -> str:
    """Serve it, with health and metrics and what there is `besides`, until the stack is closed.

    Returns the address as a browser dials it.

    Raises ConsoleUnfit, CannotListen, OSError.
    """
    try:
        console = Console(
            pipeline,
            identities,
            exposition=metrics.exposition,
            checks=checks,
            observer=metrics,
            clock=clock,
            ids=ids,
            hosts=desk.hosts,
            public_url=desk.public_url,
            oidc=None if desk.oidc is None else _provider(desk.oidc),
            htmx=await asyncio.to_thread(_script, progress),
            besides=besides,
        )
    except ProviderFailed as error:
        raise ConsoleUnfit(
            f"people cannot sign in by the provider at {desk.oidc and desk.oidc.issuer}: {error}"
        ) from error
    listener = ConsoleListener(console.app)
    try:
        load = None if certificates is None else certificates.now.load
        bound = await listener.start(address.host, address.port, load)
    except OSError as error:
        raise CannotListen(f"cannot listen on {address}: {error.strerror or error}") from error
    stack.push_async_callback(draining.alone, listener.stop)
    if certificates is not None:
        certificates.then(lambda pem: listener.show(pem.load))
    return f"{'http' if certificates is None else 'https'}://{bound}"


def _provider(settings: ProviderSettings) -> OidcSettings:
    secret = "" if settings.client_secret_file is None else _secret(settings.client_secret_file)
    return OidcSettings(settings.issuer, settings.client_id, secret, settings.claim, settings.ca)


def _secret(path: Path) -> str:
    try:
        found = path.read_bytes().strip().decode("ascii")
    except UnicodeDecodeError:
        found = ""
    if not found.isprintable() or not found:
        raise ConsoleUnfit(f"{path}: expected the desk's secret at the provider, in printable ASCII")
    return found


def _script(progress: Progress) -> bytes | None:
    """None where it cannot be had: pages work without it, and are not live."""
    try:
        return obtain(os.environ, progress)
    except InstallFailed as error:
        _log.warning("the console's pages will not be live: %s", error)
        return None
