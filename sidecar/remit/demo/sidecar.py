"""The sidecar as a real process, `remit up`, and the commands that people ask it with."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from secrets import token_urlsafe
from string import Template
from subprocess import Popen
from time import monotonic
from urllib.parse import quote

from aiohttp import ClientError, ClientSession, ClientTimeout

from remit.cli.egress_variables import Secret, egress_variables
from remit.demo.children import ChildFailed, Children, until
from remit.demo.intake import Upstreams
from remit.demo.places import PROVIDERS, Layout, create

WHO = ("intake", "analysis", "decision", "communication", "newcomer", "olga")
AUDITOR = "olga"
READY_SECONDS = 30.0
COLUMNS = 160
"""Of what commands print: their tables are not cut to the terminal that the demo happens to run in."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a command of `remit` ended with."""

    code: int
    output: str
    errors: str

    @property
    def text(self) -> str:
        """What a person sees of it, remarks on stderr apart unless it failed."""
        return self.output if self.code == 0 else f"{self.output}{self.errors}"


def write_catalogue(layout: Layout, upstreams: Upstreams) -> None:
    """The catalogue with fresh credentials: each token in a file of its own, only its hash in the catalogue."""
    hashes = {name: _new_credential(layout.credentials / name) for name in WHO}
    template = Template((layout.world / "remit.yaml").read_text(encoding="utf-8"))
    keys = {f"{provider}_key": str(layout.key(provider)) for provider in PROVIDERS}
    text = template.substitute(
        hashes, **keys, customers=quote(str(layout.customers)), models=upstreams.models, mail=upstreams.mail
    )
    layout.catalogue.write_text(text, encoding="utf-8")


def _new_credential(path: Path) -> str:
    token = token_urlsafe(32)
    create(path, token)
    return f"sha256:{sha256(token.encode()).hexdigest()}"


class Sidecar:
    """One sidecar at fixed addresses: started, killed, started again."""

    def __init__(self, layout: Layout, children: Children, ports: Sequence[int]) -> None:
        self._layout = layout
        self._children = children
        self._process: Popen[bytes] | None = None
        self.grpc, self.http, self.egress = (f"127.0.0.1:{port}" for port in ports)

    @property
    def pid(self) -> int:
        """Of the running process."""
        return self.process.pid

    @property
    def process(self) -> Popen[bytes]:
        """The running process; ChildFailed where there is none."""
        if self._process is None:
            raise ChildFailed("the sidecar was not started")
        return self._process

    async def up(self, *more: str) -> float:
        """Start it, with `more` options; returns the seconds until it was ready."""
        began = monotonic()
        self._process = self._children.start("sidecar", [*remit_command(), "up", *self._options(), *more])
        ready = await until(self._ready_or_gone, seconds=READY_SECONDS)
        if not ready or self._process.poll() is not None:
            how = f"ended with {self._process.poll()}" if ready else f"was not ready within {READY_SECONDS:.0f} s"
            raise ChildFailed(f"`remit up` {how} (log: {self._log()}):\n{self._said()}")
        return monotonic() - began

    async def kill(self) -> None:
        """kill -9, without a word."""
        self.process.kill()
        await asyncio.to_thread(self.process.wait)

    async def closed(self) -> bool:
        """Whether nobody takes calls at the egress, or ceases to within a few seconds."""

        async def refuses() -> bool:
            try:
                _, writer = await asyncio.open_connection(*self.egress.split(":"))
            except OSError:
                return True
            writer.close()
            return False

        return await until(refuses, seconds=5)

    async def down(self) -> None:
        """Ask it to end, and wait for it."""
        code = await self._children.stop(self.process)
        if code != 0:
            raise ChildFailed(f"`remit up` ended with {code} when it was asked to stop (log: {self._log()})")

    def credential(self, name: str) -> str:
        """The path of an agent's or a person's token."""
        return str(self._layout.credentials / name)

    def environment(self, agent: str) -> dict[str, str]:
        """What an agent needs to find its sidecar and prove who it is: what `remit env` says, and where mail goes."""
        file = Path(self.credential(agent))
        named = egress_variables(
            [("models", "openai"), ("mail", "http")],
            http=self.egress,
            proxy="",
            token_file=file,
            known=file.read_text(encoding="ascii"),
        ).named
        return {
            "REMIT_ADDRESS": self.grpc,
            "REMIT_TOKEN_FILE": str(file),
            **{name: value.text if isinstance(value, Secret) else value for name, value in named.items()},
            "MAIL_URL": f"http://{self.egress}/mail",
        }

    async def metrics(self) -> str:
        """GET /metrics."""
        async with ClientSession() as session, session.get(f"http://{self.http}/metrics") as response:
            return await response.text()

    async def command(self, *arguments: str, who: str = AUDITOR) -> Answered:
        """Run a command of `remit` as the auditor, or as an agent."""
        environment = {
            **os.environ,
            "COLUMNS": str(COLUMNS),
            "REMIT_STATE": str(self._layout.root),
            "REMIT_ADDRESS": self.grpc,
            "REMIT_TOKEN_FILE": self.credential(who),
            "REMIT_CATALOGUE": str(self._layout.catalogue),
        }
        return await run(arguments, environment)

    def _options(self) -> list[str]:
        layout = self._layout
        return [
            *("--catalogue", str(layout.catalogue)),
            *("--policy", str(layout.policies)),
            *("--state", str(layout.root)),
            *("--grpc", self.grpc),
            *("--http", self.http),
            *("--socket", "off"),
            *("--egress", "--egress-http", self.egress, "--egress-proxy", "off"),
        ]

    async def _ready_or_gone(self) -> bool:
        if self.process.poll() is not None:
            return True
        try:
            address, timeout = f"http://{self.http}/readyz", ClientTimeout(total=2)
            async with ClientSession(timeout=timeout) as session, session.get(address) as response:
                return response.status == 200
        except (ClientError, OSError, TimeoutError):
            return False

    def _log(self) -> Path:
        return self._children.log("sidecar")

    def _said(self) -> str:
        return "\n".join(self._log().read_text(encoding="utf-8", errors="replace").splitlines()[-15:])


def remit_command() -> list[str]:
    """The command `remit` of this very Python."""
    script = Path(sys.executable).with_name("remit")
    return [str(script)] if script.exists() else [sys.executable, "-c", "from remit.cli.main import main; main()"]


async def run(arguments: Sequence[str], environment: Mapping[str, str]) -> Answered:
    """Run `remit` with these arguments, to its end."""
    process = await asyncio.create_subprocess_exec(
        *remit_command(), *arguments, stdout=PIPE, stderr=PIPE, env=environment
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), 60)
    except TimeoutError as late:
        process.kill()
        raise ChildFailed(f"`remit {' '.join(arguments)}` did not end within 60 s") from late
    return Answered(process.returncode or 0, output.decode(), errors.decode())
