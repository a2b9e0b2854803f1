"""`remit demo`: the same agents twice, and what became of it each time."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

from remit.cli import envoy, opa
from remit.cli.local import OPERATOR
from remit.cli.screen import progress
from remit.demo.children import Children
from remit.demo.closing import shown, verified
from remit.demo.intake import Upstreams, start_upstreams
from remit.demo.killed import killed
from remit.demo.page import Page
from remit.demo.places import WORLD, Layout, NotOurs, free_ports, prepare, remember
from remit.demo.sidecar import Sidecar, write_catalogue
from remit.demo.views import SAMPLE, SURVEY, survey
from remit.demo.with_remit import accounts, budget, keyless, observed, past, stage, with_remit
from remit.demo.without_remit import without

DONE, FAILED, WRONGLY, INTERRUPTED = 0, 1, 2, 130
KEY = Path("keys") / "journal.pub"


def run(keep: bool, state: Path, world: Path = WORLD) -> int:
    """Play the demo in the directory `state`; the exit code. `keep` leaves the second act's processes running.

    `world` holds the customers, the catalogue and the policy that it is played with. Raises the command line's
    Failure where no Open Policy Agent or Envoy can be found or made.
    """
    # Before the clock starts: building an Open Policy Agent takes minutes, once.
    for program, ready in (("an Open Policy Agent", opa.ready), ("an Envoy", envoy.ready)):
        with progress(f"looking for {program}") as tell:
            ready(None, tell)
    page = Page()
    try:
        layout = prepare(state, world)
    except NotOurs as error:
        page.trouble(str(error))
        return WRONGLY
    except OSError as error:
        page.trouble(f"{state}: {error}; --state may name a directory that can be written to")
        return WRONGLY
    try:
        return asyncio.run(_run(page, layout, keep=keep))
    except (KeyboardInterrupt, asyncio.CancelledError):
        page.trouble("interrupted; everything that was started has been stopped")
        return INTERRUPTED


async def _run(page: Page, layout: Layout, *, keep: bool) -> int:
    _stop_on_signals()
    stays: Sequence[str] = ()
    async with Children(layout.logs) as children:
        try:
            stays = await play(page, layout, children, keep=keep)
        except Exception as error:
            # Whatever it was, it kept something from happening that had to happen.
            page.expect("the demo came to its end", f"{type(error).__name__}: {error}", met=False)
    met = page.verdict()
    if not met:
        page.trouble(f"not met: {'; '.join(each.claim for each in page.failed)}")
        page.lines([f"logs: {layout.logs}"])
    if stays:
        page.heading("Left running")
        page.lines(stays)
    return DONE if met else FAILED


def _stop_on_signals() -> None:
    """Being told to end is an end like any other: what was started is stopped."""
    task = asyncio.current_task()
    if task is not None:
        for each in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(each, task.cancel)


async def play(page: Page, layout: Layout, children: Children, *, keep: bool) -> Sequence[str]:
    """Both acts and what comes after; what to tell of what stays."""
    ports = free_ports(7)
    before, upstreams = await asyncio.gather(
        start_upstreams(children, layout, "without", ports[:2]), start_upstreams(children, layout, "with", ports[2:4])
    )
    await without(page, layout, children, before)
    sidecar = Sidecar(layout, children, ports[4:])
    write_catalogue(layout, upstreams)
    page.heading("2 · With Remit")
    took, acts = await asyncio.gather(sidecar.up(), stage(page, layout, children, upstreams, sidecar))
    page.say(f"remit up: ready after {took:.1f} s, with an Open Policy Agent and an Envoy of its own")
    # Pinned before anybody could have wanted to change anything.
    key = (layout.root / KEY).read_text(encoding="ascii")
    async with acts.intake:
        boarding = await with_remit(acts)
        await survey(acts, children, boarding)
        await budget(acts)
        await accounts(acts)
        await keyless(acts)
        await past(acts, children)
        await observed(acts)
        page.heading("3 · kill -9 in the middle")
        await killed(acts)
        await shown(acts)
    await asyncio.gather(*(worker.leave() for worker in acts.workers.values()))
    await sidecar.down()
    await verified(page, sidecar, layout.root, key)
    if not keep:
        return ()
    await sidecar.up("--console")
    return left(layout, children, upstreams, sidecar)


def left(layout: Layout, children: Children, upstreams: Upstreams, sidecar: Sidecar) -> Sequence[str]:
    """Let the second act's servers stay: where they listen, and how they are stopped."""
    kept = {"sidecar": sidecar.process, **dict(zip(("models", "mail"), upstreams.processes, strict=True))}
    for process in kept.values():
        children.keep(process)
    remember(layout, {name: process.pid for name, process in kept.items()})
    return (
        f"sidecar      grpc {sidecar.grpc}   http://{sidecar.http}/metrics",
        f"egress       {sidecar.egress}",
        f"console      http://{sidecar.http}/   sign in with the token in {layout.root / OPERATOR}",
        f"model API    {upstreams.models}/books",
        f"e-mail API   {upstreams.mail}/inbox",
        f"database     {layout.customers}",
        f"ask it       REMIT_STATE={layout.root} remit budget list",
        "as an agent  "
        f"REMIT_STATE={layout.root} REMIT_TOKEN_FILE={sidecar.credential('analysis')}"
        f' remit query crm "{SAMPLE}" --purpose {SURVEY}',
        f"its view     remit views explain analysis crm --purpose {SURVEY}"
        f" --catalogue {layout.catalogue} --policy {layout.policies}",
        f"stop it      kill {' '.join(str(process.pid) for process in kept.values())}",
    )
