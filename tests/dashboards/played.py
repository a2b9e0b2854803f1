"""A real sidecar whose agents are allowed, denied and held, and a real Prometheus that watches it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import grpc
from chart.tools import CHART
from fakes.governed import REMIT, bare_environment
from fakes.ports import free_port
from fakes.provider import KEYS, provider
from remit.v1 import resources_pb2, sidecar_pb2
from remit.v1 import sidecar_pb2_grpc as g

RARE = (
    "money: Last seven days against the seven before",
    "money: Burn rate",
    "money: Left lasts, at the pace of six hours",
    "money: Alerts on money",
    "money: Week on week, by agent",
    "money: Week on week, by service",
    "denied: Failures, and what was done",
    "denied: Conflicts between agents",
    "denied: Rows of data that were read",
    "denied: Columns that were masked",
    "health: Desks that answer",
    "health: Certificates: the first expires",
    "health: Alerts on Remit itself",
    "health: Oldest record on a pod's disk alone",
    "health: Certificates",
)
"""Panels that are empty where all is well, or until there is history; each says so."""

INSTALLATION = "here"
AGENTS = ("analysis", "watcher")
CATALOGUE = """\
currency: EUR
teams: {cx: {}}
people: {ana: {roles: [operator], identity: {token_hash: "sha256:HASH_ana"}}}
agents:
  analysis: {team: cx, roles: [analyst], purposes: [onboarding], clearance: [pii],
             identity: {token_hash: "sha256:HASH_analysis"}}
  watcher: {team: cx, roles: [analyst], purposes: [onboarding], mode: observe,
            identity: {token_hash: "sha256:HASH_watcher"}}
services:
  openai:
    owner: cx
    kind: openai
    endpoints: {here: {url: "PROVIDER", region: eu}}
    credentials: [{file: openai.key}]
    variants: {gpt-small: {}}
    clearance: [pii]
  model: {owner: cx, clearance: [pii], metering: agent,
          variants: {small: {}, large: {approval: {roles: [finance]}, cheaper: small}}}
  email: {owner: cx, metering: agent, variants: {standard: {}}}
prices:
  - {match: "openai/*", unit: input_token, per: 1_000_000, amount: 2, currency: EUR}
  - {match: "openai/*", unit: cache_read_token, per: 1_000_000, amount: 1, currency: EUR}
  - {match: "openai/*", unit: output_token, per: 1_000_000, amount: 8, currency: EUR}
  - {match: "model/*", unit: call, amount: 0.5, currency: EUR}
  - {match: "email/*", unit: call, amount: 0.01, currency: EUR}
datasets:
  crm: {owner: cx, tables: {customers: {columns: {iban: [pii], region: []}}}}
budgets:
  month: {when: {team: cx}, limit: 20, window: month}
  pilot: {limit: 100}
"""


class Played:
    """The sidecar's place, and how its agents call."""

    def __init__(self, place: Path, url: str) -> None:
        self.place = place
        text = CATALOGUE.replace("PROVIDER", url)
        for name in (*AGENTS, "ana"):
            (place / f"{name}.token").write_text(f"token-of-{name}")
            text = text.replace(f"HASH_{name}", sha256(f"token-of-{name}".encode()).hexdigest())
        (place / "openai.key").write_text(KEYS["openai"])
        (place / "openai.key").chmod(0o600)
        (place / "remit.yaml").write_text(text)
        self.grpc, self.http, egress, proxy = (free_port() for _ in range(4))
        listen = ["--grpc", f"127.0.0.1:{self.grpc}", "--http", f"127.0.0.1:{self.http}"]
        listen += ["--egress-http", f"127.0.0.1:{egress}", "--egress-proxy", f"127.0.0.1:{proxy}"]
        self._log = (place / "up.log").open("w")
        self._process = subprocess.Popen(
            [*REMIT, "up", "--egress", "--json", *listen],
            cwd=place,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), (place / "up.log").read_text()
        asked = ["env", "--agent", "analysis", "--token-file", "analysis.token", "--show", "--shell", "json"]
        self._environment: Mapping[str, str] = json.loads(self.remit(*asked))

    def remit(self, *arguments: str) -> str:
        """Run the command line there."""
        done = subprocess.run(
            [*REMIT, *arguments], cwd=self.place, env=bare_environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def play(self) -> None:
        """Allowed, denied, held, observed; spent, set aside, used up; unknown; halted."""
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc}") as channel:
            client = g.SidecarStub(channel)
            spent = _ask(client, "analysis", "api.call", "service", "model", variant="small")
            client.Report(_report(spent.id), metadata=_token("analysis"), timeout=10)
            _ask(client, "analysis", "api.call", "service", "model", variant="small")
            _ask(client, "analysis", "api.call", "service", "model", variant="large")
            _ask(client, "analysis", "api.call", "service", "model", variant="huge")
            _ask(client, "watcher", "api.call", "service", "nowhere")
            _ask(client, "analysis", "data.read", "dataset", "crm", fields=["customers.iban"])
            _ask(client, "analysis", "api.call", "service", "email", variant="standard")
            with suppress(grpc.RpcError):
                _ask(client, "stranger", "api.call", "service", "email", variant="standard")
        self._openai("gpt-small")
        self._openai("gpt-huge")

    def halt(self) -> None:
        """Somebody stops an agent."""
        self.remit("halt", "--agent", "watcher", "--reason", "sends the same mail again and again")

    def _openai(self, model: str) -> None:
        body = {"model": model, "messages": [{"role": "user", "content": "How is everything?"}], "max_tokens": 60}
        headers = {
            "Authorization": f"Bearer {self._environment['OPENAI_API_KEY']}",
            "Content-Type": "application/json",
        }
        url = self._environment["OPENAI_BASE_URL"].rstrip("/") + "/chat/completions"
        with suppress(HTTPError), urlopen(Request(url, json.dumps(body).encode(), headers), timeout=20) as answer:
            answer.read()

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.communicate(timeout=30)
        finally:
            self._process.kill()
            self._log.close()


def _ask(client: Any, who: str, action: str, type: str, id: str, **more: Any) -> Any:
    resource = resources_pb2.Resource(type=type, id=id, **more)
    context = resources_pb2.Context(purpose="onboarding")
    request = sidecar_pb2.AuthorizeRequest(action=action, resource=resource, context=context)
    return client.Authorize(request, metadata=_token(who), timeout=20).decision


def _report(decision: str) -> Any:
    return sidecar_pb2.ReportRequest(decision=decision, outcome=resources_pb2.OUTCOME_SUCCEEDED)


def _token(who: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer token-of-{who}"),)


class Prometheus:
    """A real one: it scrapes the sidecar every second, as the one of docs/metrics.md, with the rules of the chart."""

    def __init__(self, place: Path, sidecar: int) -> None:
        self.port = free_port()
        target = {"targets": [f"127.0.0.1:{sidecar}"], "labels": {"installation": INSTALLATION}}
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": sorted(map(str, (CHART / "files" / "rules").glob("*.yaml"))),
            "scrape_configs": [{"job_name": "remit-sidecar", "static_configs": [target]}],
        }
        (place / "prometheus.yml").write_text(json.dumps(config))
        self._log = (place / "prometheus.log").open("w")
        named = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
        self._process = subprocess.Popen(
            [*named, f"--web.listen-address=127.0.0.1:{self.port}"], cwd=place, stdout=self._log, stderr=self._log
        )

    def ready(self, seconds: float = 45) -> None:
        """Wait until it answers."""
        late = time.monotonic() + seconds
        while True:
            with suppress(OSError), urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5):
                return
            assert time.monotonic() < late and self._process.poll() is None, "Prometheus does not start"
            time.sleep(0.1)

    def asked(self, path: str, **arguments: str) -> Any:
        """Its answer. AssertionError with what it says against a query."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urlencode(arguments)}"
        try:
            with urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except HTTPError as error:
            raise AssertionError(f"{arguments}: {error.read().decode()}") from error

    def series(self, expression: str, *, over_time: bool) -> list[tuple[dict[str, str], list[float]]]:
        """What a panel gets: labels and values of each series."""
        now = time.time()
        if over_time:
            found = self.asked("query_range", query=expression, start=str(now - 60), end=str(now), step="1")["result"]
            return [(each["metric"], [float(value) for _, value in each["values"]]) for each in found]
        found = self.asked("query", query=expression)["result"]
        return [(each["metric"], [float(each["value"][1])]) for each in found]

    def wait(self, expression: str, seconds: float = 45) -> None:
        """Until the expression has a series."""
        late = time.monotonic() + seconds
        while not self.series(expression, over_time=False):
            assert time.monotonic() < late, expression
            time.sleep(0.2)

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._log.close()


def missing() -> Sequence[str]:
    """Programs that are not here."""
    return [each for each in ("prometheus",) if shutil.which(each) is None]


@contextmanager
def watched(place: Path) -> Iterator[Prometheus]:
    """Played twice, with scrapes between: what is counted is seen to grow."""
    with provider() as upstream:
        played = Played(place, upstream.url)
        try:
            prometheus = Prometheus(place, played.http)
            try:
                prometheus.ready()
                prometheus.wait("remit_build_info")
                played.play()
                prometheus.wait('remit_decisions_total{reason="flow_label_exceeds_clearance"}')
                played.play()
                played.halt()
                prometheus.wait('ALERTS{alertname="RemitHaltInForce", alertstate="firing"}')
                prometheus.wait("remit_usage_total")
                prometheus.wait("remit_checkpoint_age_seconds")  # the first is signed after ten seconds
                yield prometheus
            finally:
                prometheus.stop()
        finally:
            played.stop()
