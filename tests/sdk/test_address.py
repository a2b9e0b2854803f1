"""Where the sidecar is, and who calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import remit
from remit.sdk.address import Target, find_target


def _find(
    address: str | None = None,
    token: str | None = None,
    *,
    tls: remit.Tls | None = None,
    socket: bool = False,
    **env: Any,
) -> Target:
    return find_target(address, token, tls=tls, environment=env, exists=lambda _: socket)


@pytest.mark.parametrize(
    ("given", "environment", "socket", "found"),
    [
        ("unix:/run/x.sock", {"REMIT_ADDRESS": "127.0.0.1:1"}, True, "unix:/run/x.sock"),
        (None, {"REMIT_ADDRESS": "127.0.0.1:9999"}, True, "127.0.0.1:9999"),
        (None, {}, True, "unix:./.remit-run/remit.sock"),
        (None, {}, False, "127.0.0.1:7450"),
        (None, {"REMIT_ADDRESS": ""}, False, "127.0.0.1:7450"),
        ("localhost:7450", {}, False, "localhost:7450"),
        ("[::1]:7450", {}, False, "[::1]:7450"),
    ],
)
def test_the_nearest_word_says_where(given: str | None, environment: dict[str, Any], socket: bool, found: str) -> None:
    """An argument, else REMIT_ADDRESS, else the socket where it exists, else loopback."""
    assert _find(given, socket=socket, **environment).address == found


@pytest.mark.parametrize("address", ["10.0.0.7:7450", "0.0.0.0:7450", "sidecar.example:7450", "[2001:db8::1]:7450"])
def test_no_credential_crosses_a_network_in_clear(address: str) -> None:
    """Plain TCP is for loopback alone."""
    with pytest.raises(remit.InvalidRequest, match="a loopback address or TLS"):
        _find(address)


@pytest.mark.parametrize(
    "address", ["unix:", "7450", "http://127.0.0.1:7450", "dns:///localhost:7450", "localhost", "a b:1"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    """A typo is found before the first call."""
    with pytest.raises(remit.InvalidRequest, match="address: expected"):
        _find(address)


def test_tls_reaches_other_hosts(tmp_path: Path) -> None:
    """With TLS any host will do; its files are read when the channel is made."""
    target = _find("sidecar.example:7450", tls=remit.Tls(ca=tmp_path / "none.pem"))

    with pytest.raises(remit.InvalidRequest, match=r"tls\.ca: expected a readable file"):
        target.channel()


def test_the_token_comes_from_argument_environment_or_file(tmp_path: Path) -> None:
    """In this order; a file's last line break is not part of it."""
    file = tmp_path / "token"
    file.write_text("from-file\n")

    assert _find(token="given", REMIT_TOKEN="env").token == "given"
    assert _find(REMIT_TOKEN="env", REMIT_TOKEN_FILE=str(file)).token == "env"
    assert _find(REMIT_TOKEN_FILE=str(file)).token == "from-file"
    assert _find().metadata == ()


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "ümlaut", "x" * 4097])
def test_a_token_that_no_header_carries_is_refused_unseen(token: str) -> None:
    """The error does not repeat the credential."""
    with pytest.raises(remit.InvalidRequest) as refused:
        _find(token=token)

    assert token not in str(refused.value)
    assert "token: expected 1 to 4096 printable ASCII" in str(refused.value)


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    """Without its credential an agent does not start."""
    with pytest.raises(remit.InvalidRequest, match="REMIT_TOKEN_FILE: expected a readable file"):
        _find(REMIT_TOKEN_FILE=str(tmp_path / "none"))


def test_the_credential_is_not_shown() -> None:
    """Nobody logs it by accident."""
    assert "secret" not in repr(_find(token="secret-token"))


def test_a_token_file_that_changes_is_read_anew(tmp_path: Path) -> None:
    """A cluster's tokens live for an hour: each call has the one of now, whichever way the file is changed."""
    old, new = tmp_path / "..1", tmp_path / "..2"
    for directory, text in ((old, "first"), (new, "second")):
        directory.mkdir()
        (directory / "token").write_text(text)
    (tmp_path / "..data").symlink_to(old.name)
    file = tmp_path / "token"
    file.symlink_to("..data/token")
    target = _find(REMIT_TOKEN_FILE=str(file))
    assert target.metadata == (("authorization", "Bearer first"),)

    (tmp_path / "..tmp").symlink_to(new.name)
    (tmp_path / "..tmp").replace(tmp_path / "..data")
    assert target.metadata == (("authorization", "Bearer second"),)
    (new / "token").write_text("third in place")
    assert target.token == "second", "what is no token does not replace one"
    (new / "token").write_text("third")
    assert target.token == "third"
    file.unlink()
    assert target.token == "third", "it may be in the middle of a change"


def test_a_token_that_was_given_is_not_looked_for_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("file")
    target = _find(REMIT_TOKEN="given", REMIT_TOKEN_FILE=str(tmp_path / "token"))
    (tmp_path / "token").write_text("changed")
    assert target.token == "given"
