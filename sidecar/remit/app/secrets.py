"""The credentials that Remit holds and agents do not: of services and of datasets."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from pathlib import Path

from remit.backends.vault_file import FileVault, take_environment
from remit.core.catalogue import Catalogue, Credential


class Secrets:
    """One vault, and the variables that were taken out of the environment for it."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._environ = environ
        self._taken: dict[str, str] = {}
        self.vault = FileVault(self._taken, Path.cwd())

    def take(self, catalogue: Catalogue) -> None:
        """Credentials leave the environment before a child could inherit them."""
        self._taken.update(take_environment(self._environ, _listed(catalogue)))


def _listed(catalogue: Catalogue) -> Iterator[Credential]:
    for service in catalogue.services.values():
        yield from service.credentials
    for dataset in catalogue.datasets.values():
        for source in (dataset.reader, dataset.writer):
            yield Credential(file=source.file, environment=source.environment)
