"""A real sidecar with its egress, of any services, and one agent that may call them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep

from fakes.ports import free_port
from remit.backends.store_sqlite import open_journal
from remit.cli.records import Entry, from_row

TOKEN = "rmt_of_an_agent_in_the_tests"
REMIT = [sys.executable, "-c", "from remit.cli.main import main; main()"]
INNER = ["--grpc", "127.0.0.1:0", "--http", "off"]
HEAD = f"""\
currency: EUR
sidecar: {{watch: false}}
teams: {{cx: {{contact: "#cx"}}}}
agents:
  support:
    team: cx
    roles: [support]
    purposes: [support]
    identity: {{token_hash: "sha256:{sha256(TOKEN.encode()).hexdigest()}"}}
prices: [{{match: "*/*", unit: call, amount: 0, currency: EUR}}]
"""
SECONDS = 30.0


class EgressUp:
    """The sidecar of one place. `services` is the text below `services:`."""

    def __init__(self, place: Path, services: str, *more: str) -> None:
        self.place, self.port, self.proxy = place, free_port(), free_port()
        self.say(services)
        with (place / "up.log").open("w") as log:
            listen = ["--egress-http", f"127.0.0.1:{self.port}", "--egress-proxy", f"127.0.0.1:{self.proxy}"]
            self._process = subprocess.Popen(
                [*REMIT, "up", "--egress", "--json", "--socket", "off", *INNER, *listen, *more],
                cwd=place,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), self.log

    @property
    def base(self) -> str:
        """Where agents reach services."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What the sidecar wrote on stderr."""
        return (self.place / "up.log").read_text()

    @property
    def directory(self) -> Path:
        """What it shares with Envoy."""
        return self.place / ".remit" / "egress"

    def say(self, services: str) -> None:
        """Write the catalogue."""
        text = "".join(f"  {line}\n" for line in services.splitlines())
        new = self.place / "remit.new"
        new.write_text(f"{HEAD}services:\n{text}")
        new.replace(self.place / "remit.yaml")

    def reload(self, services: str, told: str = "reloaded: policy revision") -> None:
        """Have it read another catalogue, and wait until it says what came of it."""
        before = self.log.count(told)
        self.say(services)
        self._process.send_signal(signal.SIGHUP)
        until(lambda: self.log.count(told) > before)

    def records(self) -> list[Entry]:
        """The journal so far."""
        with open_journal(self.place / ".remit" / "state.db") as journal:
            return [from_row(row) for row in journal.rows()]

    def decisions(self) -> list[Entry]:
        """What was decided so far about calls that leave."""
        return [each for each in self.records() if each.kind == "decision" and each.body["action"] != "workflow.open"]

    def stop(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.communicate(timeout=30)
        finally:
            self._process.kill()


@contextmanager
def egress_up(place: Path, services: str, *more: str) -> Iterator[EgressUp]:
    """Run it."""
    running = EgressUp(place, services, *more)
    try:
        yield running
    finally:
        running.stop()


def until(holds: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Wait until something holds that tells nobody; AssertionError if it does not in time."""
    end = monotonic() + seconds
    while not holds():
        assert monotonic() < end, "it did not come to hold"
        sleep(0.01)
