"""The files from which Envoy signs: there for as long as they are needed, and then gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.loop import in_loop
from fakes.vault_memory import MemoryVault
from remit.backends.envoy_places import signing_file
from remit.backends.signing_files import NONE, SigningFiles
from remit.core.catalogue import Catalogue, Credential, Endpoint, Service, Signing

KEY = b"AKIA0123456789ABCDEF:abcdefghijklmnopqrst0123456789uvwxyzABCD"
SIGNED = Service(
    owner="cx",
    kind="bedrock",
    endpoints={"eu": Endpoint("https://eu.example"), "us": Endpoint("https://us.example")},
    credentials=(Credential(file="aws", endpoints=("eu",), signing=Signing("eu-west-1")),),
)
NAME = Path(signing_file(("bedrock", "eu"), SIGNED)).name
SIGNS, SIGNS_NOT = Catalogue("EUR", services={"bedrock": SIGNED}), Catalogue("EUR")


@in_loop
async def test_a_file_is_kept_for_a_reload_that_is_refused_and_goes_a_minute_later(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """One for each endpoint that is signed for, of its user alone; what an earlier run left is gone at once."""
    directory, now = tmp_path_factory.mktemp("egress"), [0.0]
    (directory / "signing").mkdir()
    (directory / "signing" / "left").write_text("from an earlier run")
    files = SigningFiles(holding(KEY), directory, monotonic=lambda: now[0])
    await files.start()
    assert listed(directory) == []
    await files.refresh(SIGNS)
    assert listed(directory) == [NAME]
    file = directory / "signing" / NAME
    assert (file.stat().st_mode & 0o777, "AKIA" in file.read_text()) == (0o600, True)
    for moment, catalogue in ((50.0, SIGNS_NOT), (55.0, SIGNS), (110.0, SIGNS_NOT)):
        now[0] = moment
        await files.refresh(catalogue)
        assert listed(directory) == [NAME]
    now[0] = 116.0
    await files.refresh(SIGNS_NOT)
    assert listed(directory) == []
    await files.refresh(SIGNS)
    assert listed(directory) == [NAME]


@in_loop
async def test_a_file_is_written_anew_only_where_its_key_has_changed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """By another file in its place, and with no key where there is none to be had."""
    directory, vault = tmp_path_factory.mktemp("egress"), holding(KEY)
    files = SigningFiles(vault, directory)
    await files.start()
    await files.refresh(SIGNS)
    file = directory / "signing" / NAME
    first = file.stat().st_ino
    await files.refresh(SIGNS)
    assert file.stat().st_ino == first
    vault.put("aws", b"no key at all")
    await files.refresh(SIGNS)
    assert (file.read_text(), file.stat().st_ino == first) == (NONE, False)
    vault.put("aws", None)
    await files.refresh(SIGNS)
    assert file.read_text() == NONE


def holding(key: bytes) -> MemoryVault:
    vault = MemoryVault()
    vault.put("aws", key)
    return vault


def listed(directory: Path) -> list[str]:
    return sorted(each.name for each in (directory / "signing").iterdir())
