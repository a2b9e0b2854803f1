"""`remit up` as a container runs it: catalogue, policies and certificates in volumes that change while it serves."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from cryptography import x509
from fakes.egress_up import until
from fakes.mounted_volume import MountedVolume
from fakes.ports import free_port
from listeners.certificates import Authority, Pair

pytestmark = pytest.mark.opa

REMIT = [sys.executable, "-c", "from remit.cli.main import main; main()"]
SERVERS = Authority("servers")
SETTINGS = """\
sidecar:
  policies: [{policies}]
  grpc: 127.0.0.1:{grpc}
  http: 127.0.0.1:{http}
  tls: {{cert: {tls}/tls.crt, key: {tls}/tls.key}}
"""


def catalogue(version: str) -> str:
    return f"""\
currency: EUR
teams: {{cx: {{contact: "#{version}"}}}}
agents:
  support:
    team: cx
    identity: {{token_hash: "sha256:{sha256(version.encode()).hexdigest()}"}}
"""


def policies(version: str) -> dict[str, bytes]:
    """A rule and its test, in directories of their own, that go together."""
    name = f"v{version}"
    rule = f"package remit.custom.cx.hours\n\nversion := data.remit.custom.cx.words.{name}\n"
    words = f"package remit.custom.cx.words\n\n{name} := true\n"
    test = f"package remit.custom.cx.hours_test\n\nimport data.remit.custom.cx.words\n\ntest_it if words.{name}\n"
    return {
        "cx/hours/hours.rego": rule.encode(),
        "cx/words/words.rego": words.encode(),
        "cx/hours/hours_test.rego": test.encode(),
    }


class Up:
    """A sidecar, and the volumes that it reads."""

    def __init__(self, place: Path, pair: Pair) -> None:
        self.place, self.grpc, self.http = place, free_port(), free_port()
        self.config, self.rules, self.tls = (MountedVolume(place / name) for name in ("config", "policies", "tls"))
        self.say("one")
        self.rules.write(policies("1"))
        self.show(pair)
        environment = {"REMIT_CATALOGUE": str(self.config.path), "REMIT_STATE": str(place / "state")}
        with (place / "up.log").open("w") as log:
            self._process = subprocess.Popen(
                [*REMIT, "up", "--json", "--socket", "off"],
                cwd=place,
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), self.log

    @property
    def log(self) -> str:
        return (self.place / "up.log").read_text()

    def say(self, version: str) -> None:
        settings = SETTINGS.format(policies=self.rules.path, grpc=self.grpc, http=self.http, tls=self.tls.path)
        self.config.write({"settings.yaml": settings.encode(), "catalogue.yaml": catalogue(version).encode()})

    def show(self, pair: Pair) -> None:
        self.tls.write({"tls.crt": pair.certificate, "tls.key": pair.key})

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=20) as answer:
            found: str = answer.read().decode()
            return found

    def serial(self) -> int:
        """Of the certificate that a new connection is shown."""
        how = ssl.create_default_context(cadata=SERVERS.certificate.decode())
        how.set_alpn_protocols(["h2"])
        with (
            socket.create_connection(("127.0.0.1", self.grpc), timeout=20) as plain,
            how.wrap_socket(plain, server_hostname="localhost") as client,
        ):
            return x509.load_der_x509_certificate(client.getpeercert(binary_form=True) or b"").serial_number

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=30)


def pair(days: int) -> Pair:
    return SERVERS.sign(dns=["localhost"], after=timedelta(days=days))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("container"), pair(1))
    try:
        yield running
    finally:
        running.stop()


def test_it_finds_its_catalogue_by_the_environment_and_is_ready(up: Up) -> None:
    """REMIT_CATALOGUE is a directory whose files are links: the settings in one, the catalogue in another."""
    told: Mapping[str, Any] = json.loads(up.get("/readyz"))
    assert told["ready"], told


def test_each_update_of_a_volume_is_one_reload(up: Up) -> None:
    """Of the catalogue, or of policies in directories: each is whole, and none is seen twice."""
    before = up.log.count("reloaded:")
    for count, update in enumerate(
        (lambda: up.say("two"), lambda: up.rules.write(policies("2")), lambda: up.rules.write(policies("3"))), 1
    ):
        update()
        until(lambda count=count: up.log.count("reloaded:") >= before + count)  # type: ignore[misc]
    up.rules.write({"cx/hours/hours.rego": b"package elsewhere\n"})
    until(lambda: "reload refused" in up.log)
    assert up.log.count("reloaded:") == before + 3
    assert up.log.count("reload refused") == 1


def test_a_rotated_certificate_is_shown_and_its_end_is_told(up: Up) -> None:
    second = pair(9)
    certificate = x509.load_pem_x509_certificate(second.certificate)
    up.show(second)
    began = monotonic()
    while up.serial() != certificate.serial_number:
        assert monotonic() - began < 2
    line = next(
        each for each in up.get("/metrics").splitlines() if each.startswith("remit_certificate_expiry_seconds{")
    )
    assert line.startswith('remit_certificate_expiry_seconds{use="grpc"}')
    assert float(line.split()[-1]) == certificate.not_valid_after_utc.timestamp()
