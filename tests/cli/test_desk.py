"""`remit desk`: a real desk on a real PostgreSQL, from its first word to its last."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.members_stage import durable_installation
from fakes.store_postgres import DESK, Installation

from .conftest import Remit
from .test_up import CATALOGUE, REMIT

pytestmark = [pytest.mark.opa, pytest.mark.xdist_group("desk")]
ANYWHERE = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]


@pytest.fixture(scope="module")
def durable() -> Iterator[Installation]:
    with durable_installation() as made:
        yield made


@pytest.fixture
def store(place: Path, durable: Installation) -> list[str]:
    """The options that name a store, in a directory with a catalogue."""
    (place / "remit.yaml").write_text(CATALOGUE)
    (place / "password").write_text(durable.passwords[DESK])
    durable.empty()
    return ["--store-url", durable.url(DESK), "--store-password-file", "password"]


def test_a_desk_says_where_it_listens_and_ends_well(remit: Remit, place: Path, store: list[str]) -> None:
    """People find it by its state directory; `remit store status` shows it while it runs; SIGTERM drains it."""
    desk = subprocess.Popen(
        [*REMIT, "desk", "--json", *ANYWHERE, *store],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert desk.stdout is not None
        said: dict[str, Any] = json.loads(desk.stdout.readline() or "{}")
        listed = remit("budget", "list", "--json").document
        halted = remit("halt", "--all", "--reason", "a drill")
        asked = ["--url", store[1], "--password-file", store[3]]
        status = remit("store", "status", "--json", *asked).document["members"]
        second = remit("desk", *ANYWHERE, *store)
    finally:
        desk.send_signal(signal.SIGTERM)
        err = desk.communicate(timeout=30)[1]
    after = remit("store", "status", "--json", *asked).document["members"]

    assert [each.partition("://")[0] for each in said["addresses"]][1:] == ["http"]
    assert [each["budget"] for each in listed] == ["month"]
    assert halted.code == 0, halted
    assert (desk.returncode, "Traceback" in err) == (0, False), err
    assert [(each["kind"], each["running"]) for each in status] == [("desk", True)]
    assert [(each["kind"], each["running"]) for each in after] == [("desk", False)]
    assert after[0]["records"] > status[0]["records"] >= 2
    assert second.code == 2 and f"belongs to a running sidecar (process {desk.pid})" in second.err


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        ([], 2, "a desk needs the store that the sidecars share: expected `store.url` (REMIT_STORE_URL, --store-url)"),
        (["--grpc", "0.0.0.0:0"], 2, "command line: --desk-grpc: sidecar.desk.grpc: found"),
        (["--http", "0.0.0.0:0"], 2, "or a certificate (`tls`) to listen elsewhere with"),
        (["--store-url", "postgresql://a@127.0.0.1:1/b?sslmode=disable"], 3, "PostgreSQL at 127.0.0.1:1/b cannot be"),
        (["--store-url", "postgresql://a:hunter2@db/b"], 2, "found a password; expected none in it"),
    ],
)
def test_a_desk_that_cannot_be_says_why(remit: Remit, place: Path, options: list[str], code: int, told: str) -> None:
    """Without a store, beyond loopback without TLS, with nobody at the store's address."""
    (place / "remit.yaml").write_text(CATALOGUE)

    ended = remit("desk", *options)

    assert ended.code == code, ended
    assert told in ended.err and "hunter2" not in ended.err


def test_a_store_that_was_never_migrated_is_told(remit: Remit, place: Path, durable: Installation) -> None:
    """With what to run."""
    (place / "remit.yaml").write_text(CATALOGUE)
    (place / "password").write_text(durable.passwords[DESK])
    url = durable.server.url(DESK, "postgres")

    ended = remit("desk", *ANYWHERE, "--store-url", url, "--store-password-file", "password")

    assert ended.code == 2
    assert ended.err.endswith("remit: the database is no store of Remit's yet: run `remit store migrate`\n")
