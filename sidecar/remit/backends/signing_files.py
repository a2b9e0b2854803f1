"""The key pairs that Envoy signs with, as AWS credentials files in its own directory.

Envoy reads such a file itself, so that no secret stands in its configuration nor in what it tells of it. The files
follow the vault: a rotated key is written within a second, and one that cannot be had is taken away. Their directory
is watched by Envoy, and a file is changed by moving another into its place.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from remit.backends.envoy_clusters import targets
from remit.backends.envoy_places import SIGNING, signing_file
from remit.core.catalogue import Catalogue, Credential
from remit.core.egress.signing import read_key
from remit.ports import Vault, VaultFailed

NONE = "[default]\n"
"""A file without a key, for one that cannot be had: without a file Envoy would refuse its configuration."""

_KEPT_SECONDS = 60.0


class SigningFiles:
    """The files of one Envoy, below its `directory`. `monotonic` is in seconds."""

    def __init__(self, vault: Vault, directory: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._vault, self._directory, self._monotonic = vault, directory, monotonic
        self._written: dict[Path, str] = {}
        self._wanted: dict[Path, float] = {}
        self._writing = asyncio.Lock()

    async def start(self) -> None:
        """An empty directory; what an earlier run left there goes."""
        await asyncio.to_thread(_empty, self._directory / SIGNING)

    async def refresh(self, catalogue: Catalogue) -> None:
        """Write each key of the catalogue as it is now. What has not been wanted for a minute goes: until then a
        reload that is refused, or one that is under way, may need it."""
        async with self._writing:
            now = self._monotonic()
            for name, credential in _signers(catalogue):
                path = self._directory / name
                self._wanted[path] = now
                await self._write(path, await self._text(credential))
            for path in [each for each, since in self._wanted.items() if now - since > _KEPT_SECONDS]:
                del self._wanted[path], self._written[path]
                path.unlink(missing_ok=True)

    async def _write(self, path: Path, text: str) -> None:
        if self._written.get(path) != text:
            await asyncio.to_thread(_replace, path, text)
            self._written[path] = text

    async def _text(self, credential: Credential) -> str:
        try:
            key = read_key((await self._vault.secret(credential)).value)
        except VaultFailed:
            return NONE  # each call is denied with the reason
        return key.profile if key else NONE


def _signers(catalogue: Catalogue) -> list[tuple[str, Credential]]:
    """Each file's name, below the directory, and what stands in it."""
    found = ((signing_file(target, service), service.signer(target[1])) for target, service, _ in targets(catalogue))
    return [(name, signer) for name, signer in found if signer]


def _empty(directory: Path) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    directory.chmod(0o700)
    for left in directory.iterdir():
        left.unlink()


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)
