"""`remit env`: an agent's environment and credential."""

from __future__ import annotations

import json
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from remit.cli.addresses import FILE, write_addresses
from remit.cli.env import written

from .conftest import Remit

CATALOGUE = "currency: EUR\nteams: {cx: {}}\nagents: {support: {team: cx}}\n"


def test_a_new_token_lies_in_its_file_alone(remit: Remit, place: Path) -> None:
    """The token is in a file of mode 600 and in no output; its hash is told as the catalogue has it."""
    ended = remit("env", "--new-token", "--token-file", "support.token")

    token = (place / "support.token").read_text().strip()
    assert ended.code == 0
    assert (place / "support.token").stat().st_mode & 0o777 == 0o600
    assert token.startswith("rmt_")
    assert len(token) == 4 + 43
    assert token not in ended.out + ended.err
    assert ended.err == f"token_hash: sha256:{sha256(token.encode()).hexdigest()}\n"


def test_tokens_differ(remit: Remit, place: Path) -> None:
    """No two tokens are alike."""
    for name in ("a", "b"):
        remit("env", "--new-token", "--token-file", name)

    assert (place / "a").read_text() != (place / "b").read_text()


def test_a_token_file_is_never_overwritten(remit: Remit, place: Path) -> None:
    """A file that is there stays: agents may be using it."""
    (place / "t").write_text("rmt_old")

    assert remit("env", "--new-token", "--token-file", "t").code == 2
    assert (place / "t").read_text() == "rmt_old"


def test_show_prints_the_token(remit: Remit, place: Path) -> None:
    """Only --show prints it."""
    (place / "t").write_text("rmt_mine\n")

    assert remit("env", "--token-file", "t").out.splitlines()[1] == f"export REMIT_TOKEN_FILE={place / 't'}"
    assert "REMIT_TOKEN=rmt_mine" in remit("env", "--token-file", "t", "--show").out


@pytest.mark.parametrize("value", ["plain", "it's", 'a "b" $c `d` \\e', "a b;c"])
def test_a_shell_reads_back_what_was_meant(value: str) -> None:
    """Values are quoted: a path with a space or a quote is no command."""
    script = written({"REMIT_X": value}, "sh", "") + '\nprintf %s "$REMIT_X"'

    assert subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout == value


def test_fish_and_json(remit: Remit, place: Path) -> None:
    """The other forms: fish, and JSON with the hash of a new token."""
    assert written({"A": "it's \\"}, "fish", "") == "set -gx A 'it\\'s \\\\'"
    document = json.loads(remit("env", "--new-token", "--token-file", "t", "--shell", "json").out)
    assert sorted(document) == ["REMIT_ADDRESS", "REMIT_TOKEN_FILE", "token_hash"]


def test_the_address_is_where_the_sidecar_listens(remit: Remit, place: Path) -> None:
    """What a sidecar wrote down when it started wins; else the agents' socket, else what the settings say."""
    assert remit("env").out == f"export REMIT_ADDRESS=unix:{place}/.remit-run/remit.sock\n"
    (place / "remit.yaml").write_text(
        CATALOGUE + "sidecar: {socket: off, grpc: '0.0.0.0:7777', tls: {cert: c, key: k}}\n"
    )
    assert remit("env").out == "export REMIT_ADDRESS=127.0.0.1:7777\n"
    (place / "kept").mkdir()
    write_addresses(place / "kept", ("127.0.0.1:9", "http://127.0.0.1:8", "unix:/run/x"))
    assert remit("env", "--state", "kept").out == "export REMIT_ADDRESS=unix:/run/x\n"
    (place / "kept" / FILE).write_text("[")
    assert remit("env", "--state", "kept").out == "export REMIT_ADDRESS=127.0.0.1:7777\n"


def test_an_agent_must_be_in_the_catalogue(remit: Remit, place: Path) -> None:
    """A misspelt agent is told, with those that there are, and no token is made."""
    (place / "remit.yaml").write_text(CATALOGUE)

    assert remit("env", "--agent", "support").code == 0
    ended = remit("env", "--agent", "suport", "--new-token", "--token-file", "t")
    assert ended.code == 2
    assert "expected one of support" in ended.err
    assert not (place / "t").exists()


def test_a_first_token_needs_no_finished_catalogue(remit: Remit, place: Path) -> None:
    """The catalogue that waits for the hash is not in the way of making it."""
    (place / "remit.yaml").write_text(CATALOGUE.replace("team: cx}", 'team: cx, identity: {token_hash: "sha256:…"}}'))

    ended = remit("env", "--agent", "support", "--new-token", "--token-file", "support.token")

    assert ended.code == 0
    assert "token_hash: sha256:" in ended.err
